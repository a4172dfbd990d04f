"""Adversarial adaptation of a segmenter to an unlabelled domain (Kamnitsas et al. 2017, arXiv 1612.08894).

A discriminator looks at feature maps of several layers at once and learns which domain a voxel comes from. The
segmenter minimises ``L_seg - alpha L_adv``: its own loss on the labelled domain, less alpha times the cross-entropy of
the discriminator on both. alpha is 0 until ``begin`` and then rises linearly to ``adversarial_weight`` at ``full``.

The authors' code was never released. The one public re-implementation never trains its discriminator and draws target
patches with the help of target labels; here the discriminator steps first, on its own optimiser, and target patches
are drawn uniformly in the mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from medgen.methods._adversary import AdversaryConfig, DomainAdversary, batches_of
from medgen.methods._domains import DomainStatistics
from medgen.methods._prediction import Monitored, Predictor
from medgen.methods._segmentation import new_network, new_optimizer, supervised
from medgen.methods.base import Adapts, Method, Predicts, Shape, Update, Window
from medgen.sampling.batches import Adaptation, Batch, MatchedAdaptation


class Config(AdversaryConfig):
    """Settings of domain-adversarial training."""


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
        """The discriminator's and the segmenter's."""
        segmenter = new_optimizer(self.config, self.network)
        return {"discriminator": self.adversary.optimizer(), "segmenter": segmenter}

    @classmethod
    def batches(cls, config: Config) -> type[Batch]:
        """With ``matched``, also source patches that are drawn like those of the target."""
        return batches_of(config)

    def updates(self, batch: Adaptation | MatchedAdaptation, progress: float) -> Iterator[Update]:
        """Discriminator: ``L_adv``, the cross-entropy of the domain; segmenter: ``L_seg - alpha L_adv``."""
        adversary, config = self.adversary, self.config
        if not adversary.learns(progress):
            logits = self.statistics.forward_source(self.network, batch.source)
            yield Update("segmenter", supervised(config, self.network, logits, batch.label))
            return
        matched = batch.matched if isinstance(batch, MatchedAdaptation) else None
        outputs = self.statistics.forward_both(self.network, batch.source, batch.target, adversary.layers, matched)
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
        return self.adversary.domain_logits(self.statistics, image, of_target=of_target)


METHOD = DomainAdversarial
