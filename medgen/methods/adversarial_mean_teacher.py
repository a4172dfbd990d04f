"""A domain adversary and a mean teacher together: the target's features are made alike, and its labels consistent.

The segmenter minimises ``L_seg - alpha L_adv + w L_consistency``. The first two terms are those of Kamnitsas et al.
2017 (arXiv 1612.08894), the last is that of Tarvainen & Valpola 2017 (arXiv 1703.01780). The combination is medgen's.

Patches of both domains are perturbed before the student sees them: if those of one were not, the discriminator would
learn to see the perturbation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from medgen.methods._adversary import AdversaryConfig, DomainAdversary, batches_of
from medgen.methods._domains import DomainStatistics, ramp
from medgen.methods._prediction import Monitored, Predictor
from medgen.methods._segmentation import new_network, new_optimizer, supervised
from medgen.methods._teacher import ConsistencyConfig, Teacher, consistency, source_patches, student_patches
from medgen.methods.base import Adapts, Method, Predicts, Shape, Update, Window
from medgen.sampling.batches import Adaptation, Batch, MatchedAdaptation


class Config(AdversaryConfig, ConsistencyConfig):
    """Settings of the adversary and of the teacher."""

    perturb_source: bool = True
    """Whether the labelled patches are changed as those of the target are."""


class AdversarialMeanTeacher(Method, Predicts, Adapts, Monitored):
    """Discriminator, then student, then teacher."""

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
        self.teacher = Teacher(self.network, config.decay)
        predicts = self.teacher if config.predict_with == "teacher" else None
        self.predictor = Predictor(self.network, self.statistics, predicts)

    @property
    def window(self) -> Window:
        """That of the network and the discriminator."""
        return self.adversary.window

    @property
    def target_begins(self) -> float:
        """When the first of adversary and consistency begins."""
        return min(self.adversary.target_begins, self.config.consistency_starts)

    def optimizers(self) -> dict[str, Optimizer]:
        """The discriminator's and the segmenter's."""
        segmenter = new_optimizer(self.config, self.network)
        return {"discriminator": self.adversary.optimizer(), "segmenter": segmenter}

    @classmethod
    def batches(cls, config: Config) -> type[Batch]:
        """With ``matched``, also source patches that are drawn like those of the target."""
        return batches_of(config)

    def updates(self, batch: Adaptation | MatchedAdaptation, progress: float) -> Iterator[Update]:
        """Discriminator: ``L_adv``; student: ``L_seg - alpha L_adv + w L_consistency``; then the teacher follows."""
        adversary, config = self.adversary, self.config
        weight = config.consistency_weight * ramp(progress, config.consistency_begin, config.consistency_full)
        if not weight and not adversary.learns(progress):
            logits = self.statistics.forward_source(self.network, source_patches(config, batch))
            yield Update("segmenter", supervised(config, self.network, logits, batch.label))
        else:
            source, target, matched = student_patches(config, batch)
            outputs = self.statistics.forward_both(self.network, source, target, adversary.layers, matched)
            if adversary.learns(progress):
                yield from adversary.steps(outputs)
            losses = supervised(config, self.network, outputs.source, batch.label)
            losses |= adversary.adversarial_loss(outputs, progress)
            if weight:
                expected = self.teacher.probabilities(self.network, batch.target)
                losses["consistency"] = weight * consistency(config, outputs.target, expected, batch.target_mask)
            yield Update("segmenter", losses)
        self.teacher.follow(self.network, self.statistics)

    def predict(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Class probabilities ``(B, K, X - 2m, Y - 2m, Z - 2m)`` in [0, 1]; channel 0 is background."""
        return self.predictor.probabilities(image)

    def exported(self) -> Sequence[str]:
        """What prediction needs."""
        return self.predictor.parts

    def domain_logits(self, image: Tensor, *, of_target: bool) -> Tensor:
        """Logits of the discriminator, as in training, for the monitor."""
        return self.adversary.domain_logits(self.statistics, image, of_target=of_target)


METHOD = AdversarialMeanTeacher
