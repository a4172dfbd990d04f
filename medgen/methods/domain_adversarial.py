"""Adversarial adaptation of a segmenter to an unlabelled domain (Kamnitsas et al. 2017, arXiv 1612.08894).

A discriminator looks at feature maps of several layers at once and learns which domain a voxel comes from. The
segmenter minimises ``L_seg - alpha L_adv``: its own loss on the labelled domain, less alpha times the cross-entropy of
the discriminator on both. alpha is 0 until ``begin`` and then rises linearly to ``adversarial_weight`` at ``full``.

The authors' code was never released. The one public re-implementation never trains its discriminator and draws target
patches with the help of target labels; here the discriminator steps first, on its own optimiser, and target patches
are drawn uniformly in the mask.

With ``candidates``, which is medgen's rule and not published, the discriminator sees lesion candidates only, so that
lesions are aligned with lesions and not brain with brain. A candidate is what a second network takes for a possible
lesion, in both domains alike. That network lacks the channel that differs between them, so it means the same in both.
It learns from the labels of the source, beside the segmenter, and is never used for prediction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from pydantic import Field
from torch import Tensor
from torch.optim import Optimizer

from medgen.methods._adversary import AdversaryConfig, DomainAdversary, batches_of
from medgen.methods._domains import DomainStatistics
from medgen.methods._prediction import Monitored, Predictor
from medgen.methods._segmentation import new_network, new_optimizer, supervised
from medgen.methods._teacher import detached_probabilities
from medgen.methods._views import Views, ViewsConfig
from medgen.methods.base import Adapts, Method, Predicts, Shape, Update, Window
from medgen.sampling.batches import Adaptation, Batch, MatchedAdaptation


class Config(AdversaryConfig, ViewsConfig):
    """Settings of domain-adversarial training; ``hidden`` is for ``candidates``."""

    candidates: float | None = Field(default=None, gt=0, lt=1)
    """Probability that a network without the channels ``hidden`` must give to any lesion for the discriminator to see
    that voxel; by default it sees all of them, which is published. Where one domain of a batch has no such voxel, the
    adversary has no loss. The network learns from the first step on: unless the run starts from one that has it
    (``view_agreement``, ``co_training``, ``shared_channels``), a later ``discriminator_begin`` gives it time."""

    def warnings(self, steps: int) -> tuple[str, ...]:
        """Also on channels hidden from a second network that there is not."""
        found = super().warnings(steps)
        if self.hidden and self.candidates is None:
            found += ("config.hidden changes nothing without config.candidates: no second network is trained",)
        return found


class DomainAdversarial(Method, Predicts, Adapts, Monitored):
    """The discriminator steps first, then the segmenter works against the new discriminator."""

    config_class = Config
    batch_class = Adaptation
    learns = "segmenter/cross_entropy"
    config: Config

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        self.network = new_network(config, shape)
        self.adversary = DomainAdversary(config, self.network, shape.outputs)
        self.discriminator = self.adversary.discriminator
        self.statistics = DomainStatistics(self.network, config.statistics)
        if config.candidates is not None:
            self.views = Views(config, shape, self.network)
            self.second = self.views.second
        self.predictor = Predictor(self.network, self.statistics)

    @property
    def window(self) -> Window:
        """That of the network and the discriminator."""
        return self.adversary.window

    @property
    def target_begins(self) -> float:
        """When the adversary begins."""
        return self.adversary.target_begins

    def optimizers(self) -> dict[str, Optimizer]:
        """The discriminator's, the segmenter's and, with ``candidates``, that of the second network."""
        config = self.config
        found = {"discriminator": self.adversary.optimizer(), "segmenter": new_optimizer(config, self.network)}
        return found if config.candidates is None else found | {"second": new_optimizer(config, self.second)}

    @classmethod
    def batches(cls, config: Config) -> type[Batch]:
        """With ``matched``, also source patches that are drawn like those of the target."""
        return batches_of(config)

    def updates(self, batch: Adaptation | MatchedAdaptation, progress: float) -> Iterator[Update]:
        """Discriminator: ``L_adv``, the cross-entropy of the domain; segmenter: ``L_seg - alpha L_adv``.

        With ``candidates``, the network that finds them steps first, with ``L_seg``.
        """
        adversary, config = self.adversary, self.config
        if config.candidates is not None:
            logits = self.second(batch.source[:, self.views.kept])
            yield Update("second", supervised(config, self.second, logits, batch.label))
        if not adversary.learns(progress):
            logits = self.statistics.forward_source(self.network, batch.source)
            yield Update("segmenter", supervised(config, self.network, logits, batch.label))
            return
        matched = batch.matched if isinstance(batch, MatchedAdaptation) else None
        outputs = self.statistics.forward_both(self.network, batch.source, batch.target, adversary.layers, matched)
        judged = torch.cat([batch.source if matched is None else matched, batch.target])
        outputs = outputs._replace(candidates=self._candidates(judged))
        yield from adversary.steps(outputs)
        # The discriminator has just stepped: the segmenter works against the new one.
        losses = supervised(config, self.network, outputs.source, batch.label)
        yield Update("segmenter", losses | adversary.adversarial_loss(outputs, progress))

    def predict(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Class probabilities ``(B, K, X - 2m, Y - 2m, Z - 2m)`` in [0, 1]; channel 0 is background."""
        return self.predictor.probabilities(image)

    def exported(self) -> Sequence[str]:
        """What prediction needs."""
        return self.predictor.parts

    def domain_logits(self, image: Tensor, *, of_target: bool) -> Tensor:
        """Logits of the discriminator, as in training, for the monitor."""
        return self.adversary.domain_logits(self.statistics, image, self._candidates(image), of_target=of_target)

    def _candidates(self, image: Tensor) -> Tensor | None:
        """Whether each voxel (B, 1, x, y, z) of patches (B, C, X, Y, Z) may be of a lesion; None: all are seen."""
        if self.config.candidates is None:
            return None
        found = detached_probabilities(self.second, image[:, self.views.kept])
        return 1 - found[:, :1] >= self.config.candidates


METHOD = DomainAdversarial
