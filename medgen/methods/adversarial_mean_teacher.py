"""A domain adversary and a mean teacher together: the target's features are made alike, and its labels consistent.

The segmenter minimises ``L_seg - alpha L_adv + w L_consistency``. The first two terms are those of Kamnitsas et al.
2017 (arXiv 1612.08894), the last is that of Tarvainen & Valpola 2017 (arXiv 1703.01780). The combination is medgen's.

Patches of both domains are perturbed before the student sees them: if those of one were not, the discriminator would
learn to see the perturbation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

from medgen.methods._adversary import AdversarialSegmenter, AdversaryConfig
from medgen.methods._domains import ramp
from medgen.methods._teacher import ConsistencyConfig, Teacher, consistency, patches_of_source, patches_of_student
from medgen.methods.base import Shape, Update
from medgen.sampling.batches import Adaptation


class Config(AdversaryConfig, ConsistencyConfig):
    """Settings of the adversary and of the teacher."""

    perturb_source: bool = True
    """Whether the labelled patches are changed as those of the target are."""


class AdversarialMeanTeacher(AdversarialSegmenter):
    """Discriminator, then student, then teacher."""

    config_class = Config
    config: Config

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        self.teacher = Teacher(self.network, config.decay)

    @property
    def target_begins(self) -> float:
        """When the first of the two has a say."""
        return min(super().target_begins, self.config.consistency_starts)

    def updates(self, batch: Adaptation, progress: float) -> Iterator[Update]:
        """Discriminator: cross-entropy of the domain; student: ``L_seg - alpha L_adv + w L_consistency``."""
        config = self.config
        weight = config.consistency_weight * ramp(progress, config.consistency_begin, config.consistency_full)
        if not weight and not self.judges(progress):
            logits = self.statistics.alone(self.network, patches_of_source(config, batch))
            yield Update("segmenter", self.supervised(logits, batch.label))
        else:
            passed = self.statistics.both(self.network, *patches_of_student(config, batch), self.layers)
            if self.judges(progress):
                yield Update("discriminator", self.judged(passed.source_maps.detach(), passed.target_maps.detach()))
            losses = self.supervised(passed.source, batch.label) | self.resisted(passed, progress)
            if weight:
                expected = self.teacher.probabilities(self.network, batch.target)
                losses["consistency"] = weight * consistency(config, passed.target, expected, batch.target_mask)
            yield Update("segmenter", losses)
        with self.statistics.kept(self.network):
            self.teacher.follow(self.network)

    def deployed(self) -> AbstractContextManager[None]:
        """As the teacher, or as the student with the statistics that are kept."""
        return self.teacher.used_by(self.network) if self.config.predict_with == "teacher" else super().deployed()


METHOD = AdversarialMeanTeacher
