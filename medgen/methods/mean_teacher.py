"""A student consistent with its own moving average on the unlabelled domain (Tarvainen & Valpola 2017, 1703.01780).

The student learns from the labels of the source domain, and on target patches whose intensities were changed at random
from what its teacher says of the unchanged ones. The teacher is the moving average of the student's weights. For the
segmentation of MRI across sites: Perone et al. 2019 (arXiv 1811.06042).

Published teachers have dropout of their own; this one predicts as it will after training. The published weights and
perturbations are for photographs and for grey matter of the spinal cord: they are settings here.
"""

from __future__ import annotations

from collections.abc import Iterator

from medgen.methods._domains import ramp
from medgen.methods._teacher import ConsistencyConfig, Student, consistency, patches_of_source, patches_of_student
from medgen.methods.base import Update
from medgen.sampling.batches import Adaptation


class Config(ConsistencyConfig):
    """Settings of the mean teacher."""


class MeanTeacher(Student):
    """Supervised loss on the source domain, consistency on the target, then the teacher follows."""

    config_class = Config
    config: Config

    @property
    def target_begins(self) -> float:
        """When the consistency first counts."""
        return self.config.consistency_starts

    def updates(self, batch: Adaptation, progress: float) -> Iterator[Update]:
        """One step of the student; then the teacher moves towards it."""
        config = self.config
        weight = config.consistency_weight * ramp(progress, config.consistency_begin, config.consistency_full)
        if not weight:
            logits = self.statistics.alone(self.network, patches_of_source(config, batch))
            yield Update("segmenter", self.supervised(logits, batch.label))
        else:
            expected = self.teacher.probabilities(self.network, batch.target)
            passed = self.statistics.both(self.network, *patches_of_student(config, batch))
            losses = self.supervised(passed.source, batch.label)
            losses["consistency"] = weight * consistency(config, passed.target, expected, batch.target_mask)
            yield Update("segmenter", losses)
        with self.statistics.kept(self.network):
            self.teacher.follow(self.network)


METHOD = MeanTeacher
