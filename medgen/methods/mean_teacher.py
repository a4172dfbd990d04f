"""A student consistent with its own moving average on the unlabelled domain (Tarvainen & Valpola 2017, 1703.01780).

The student learns from the labels of the source domain, and on target patches whose intensities were changed at random
from what its teacher says of the unchanged ones. The teacher is the moving average of the student's weights. For the
segmentation of MRI across sites: Perone et al. 2019 (arXiv 1811.06042).

Published teachers have dropout of their own; this one predicts as it will after training. The published weights and
perturbations are for photographs and for grey matter of the spinal cord: they are settings here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from torch import Tensor

from medgen.batches import Adaptation
from medgen.method import Channels, Update
from medgen.methods._domains import DomainStatistics, StatisticsName, ramp
from medgen.methods._perturbation import perturb
from medgen.methods._segmentation import Segmenter
from medgen.methods._teacher import ConsistencyConfig, Teacher, consistency


class Config(ConsistencyConfig):
    """Settings of the mean teacher."""

    statistics: StatisticsName = "shared"
    """Batch normalisation: statistics of both domains in one batch; or each domain by itself, with those of the
    source or of the target domain kept for the teacher and for prediction."""


class MeanTeacher(Segmenter):
    """Supervised loss on the source domain, consistency on the target, then the teacher follows."""

    config_class = Config
    batch_class: ClassVar[type[Any]] = Adaptation
    config: Config

    def __init__(self, config: Config, channels: Channels) -> None:
        super().__init__(config, channels)
        self.statistics = DomainStatistics(self.network, config.statistics)
        self.teacher = Teacher(self.network, config.decay)

    def updates(self, batch: Adaptation, progress: float) -> Iterator[Update]:
        """One step of the student; then the teacher moves towards it."""
        config = self.config
        weight = config.consistency_weight * ramp(progress, config.consistency_begin, config.consistency_full)
        if not weight:
            yield Update("segmenter", self.supervised(self.statistics.alone(self.network, batch.source), batch.label))
        else:
            expected = self.teacher.probabilities(self.network, batch.target)
            changed = perturb(batch.target, batch.target_mask, config.perturbation)
            passed = self.statistics.both(self.network, batch.source, changed)
            losses = self.supervised(passed.source, batch.label)
            losses["consistency"] = weight * consistency(config, passed.target, expected, batch.target_mask)
            yield Update("segmenter", losses)
        with self.statistics.kept(self.network):
            self.teacher.follow(self.network)

    def predict(self, image: Tensor) -> Tensor:
        """Class probabilities ``(B, K, X - 2m, Y - 2m, Z - 2m)`` in [0, 1]; channel 0 is background."""
        if self.config.predict_with == "teacher":
            with self.teacher.used_by(self.network):
                return super().predict(image)
        with self.statistics.kept(self.network):
            return super().predict(image)


METHOD = MeanTeacher
