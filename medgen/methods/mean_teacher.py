"""A student consistent with its own moving average on the unlabelled domain (Tarvainen & Valpola 2017, 1703.01780).

The student learns from the labels of the source domain and, on target patches with randomly changed intensities, from
the teacher's predictions for the unchanged ones. The teacher is the moving average of the student's weights. For the
segmentation of MRI across sites: Perone et al. 2019 (arXiv 1811.06042).

Published teachers have dropout of their own; this one predicts as it will after training. The published weights and
perturbations are for photographs and for grey matter of the spinal cord: they are settings here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from medgen.methods._domains import DomainStatistics, ramp
from medgen.methods._prediction import Monitored, Predictor
from medgen.methods._segmentation import new_network, new_optimizer, supervised, window_of
from medgen.methods._teacher import ConsistencyConfig, Teacher, consistency, source_patches, student_patches
from medgen.methods.base import Adapts, Method, Predicts, Shape, Update, Window
from medgen.sampling.batches import Adaptation


class Config(ConsistencyConfig):
    """Settings of the mean teacher."""


class MeanTeacher(Method, Predicts, Adapts, Monitored):
    """Supervised loss on the source domain, consistency on the target, then the teacher follows."""

    config_class = Config
    batch_class = Adaptation
    learns = "segmenter/cross_entropy"
    config: Config

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        self.network = new_network(config, shape)
        self.statistics = DomainStatistics(self.network, config.statistics)
        self.teacher = Teacher(self.network, config.decay)
        predicts = self.teacher if config.predict_with == "teacher" else None
        self.predictor = Predictor(self.network, self.statistics, predicts)

    @property
    def window(self) -> Window:
        """That of the network."""
        return window_of(self.config, self.network)

    @property
    def target_begins(self) -> float:
        """When the consistency first counts."""
        return self.config.consistency_starts

    def optimizers(self) -> dict[str, Optimizer]:
        """The segmenter's."""
        return {"segmenter": new_optimizer(self.config, self.network)}

    def updates(self, batch: Adaptation, progress: float) -> Iterator[Update]:
        """One step of the student, ``L_seg + w L_consistency``; then the teacher moves towards it."""
        config = self.config
        weight = config.consistency_weight * ramp(progress, config.consistency_begin, config.consistency_full)
        if not weight:
            logits = self.statistics.forward_source(self.network, source_patches(config, batch))
            yield Update("segmenter", supervised(config, self.network, logits, batch.label))
        else:
            expected = self.teacher.probabilities(self.network, batch.target)
            outputs = self.statistics.forward_both(self.network, *student_patches(config, batch)[:2])
            losses = supervised(config, self.network, outputs.source, batch.label)
            losses["consistency"] = weight * consistency(config, outputs.target, expected, batch.target_mask)
            yield Update("segmenter", losses)
        self.teacher.follow(self.network, self.statistics)

    def predict(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Class probabilities ``(B, K, X - 2m, Y - 2m, Z - 2m)`` in [0, 1]; channel 0 is background."""
        return self.predictor.probabilities(image)

    def exported(self) -> Sequence[str]:
        """What prediction needs."""
        return self.predictor.parts


METHOD = MeanTeacher
