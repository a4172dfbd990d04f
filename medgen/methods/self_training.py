"""Class-balanced self-training: the segmenter learns from its surest labels (Zou et al. 2018, arXiv 1810.07911).

From a share ``begin`` of the training on, each target voxel where a class passes its threshold gets that class as its
label. Each class has a threshold of its own, which the most confident ``portion`` of the voxels predicted as that class
pass (eq. 5 and algorithm 2): a rare class such as lesion is never as confident as background, and would be forgotten.

Published are rounds: label all images, train, label again. Here the labels are made in each step, from a moving average
of the weights or from the current ones, and the thresholds are moving averages over the steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, model_validator
from torch import Tensor
from torch.optim import Optimizer

from medgen.losses.consistency import balanced_labels, class_thresholds
from medgen.methods._domains import DomainStatistics, Share, ramp, require_order
from medgen.methods._prediction import Monitored, Predictor
from medgen.methods._segmentation import new_network, new_optimizer, pseudo_label_loss, supervised, window_of
from medgen.methods._teacher import Teacher, TeacherConfig, detached_probabilities, source_patches, student_patches
from medgen.methods.base import Adapts, Method, Predicts, Shape, Update, Window
from medgen.sampling.batches import Adaptation
from medgen.sampling.parts import centre

Portion = Annotated[float, Field(gt=0, le=1)]


class Config(TeacherConfig):
    """Settings of self-training."""

    pseudo_weight: NonNegativeFloat = 1.0
    """Of the loss with these labels; 1 is published. 0 is supervised training."""
    begin: Share = 0.3
    """Share of the training until which nothing is labelled: the first labels must be good enough."""
    full: Share = 1.0
    """Share of the training from which the portion is at its largest."""
    portion: tuple[Portion, Portion] = (0.2, 0.5)
    """Of the voxels predicted as a class, how many are labelled at ``begin`` and at ``full``; published."""
    labelled_by: Literal["teacher", "student"] = "teacher"
    """Whose predictions on the unperturbed patch become labels: the moving average's, or the current weights'."""
    memory: float = Field(default=0.9, ge=0, lt=1)
    """Of the thresholds: the decay of their moving average over the steps."""

    @model_validator(mode="after")
    def _self_training_in_order(self) -> Config:
        require_order(begin=self.begin, full=self.full)
        return self


class SelfTraining(Method, Predicts, Adapts, Monitored):
    """Supervised loss on the source domain, and the same loss with its own labels on the target."""

    config_class = Config
    batch_class = Adaptation
    learns = "segmenter/cross_entropy"
    config: Config
    thresholds: Tensor
    seen: Tensor

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        self.network = new_network(config, shape)
        self.statistics = DomainStatistics(self.network, config.statistics)
        self.teacher = Teacher(self.network, config.decay)
        predicts = self.teacher if config.predict_with == "teacher" else None
        self.predictor = Predictor(self.network, self.statistics, predicts)
        self.register_buffer("thresholds", torch.ones(shape.outputs))
        self.register_buffer("seen", torch.zeros(shape.outputs, dtype=torch.int64))

    @property
    def window(self) -> Window:
        """That of the network."""
        return window_of(self.config, self.network)

    @property
    def target_begins(self) -> float:
        """When voxels are first labelled."""
        return self.config.begin if self.config.pseudo_weight else 1.0

    def optimizers(self) -> dict[str, Optimizer]:
        """The segmenter's."""
        return {"segmenter": new_optimizer(self.config, self.network)}

    def updates(self, batch: Adaptation, progress: float) -> Iterator[Update]:
        """One step of the student, ``L_seg + w L_pseudo``; then the teacher moves towards it."""
        config = self.config
        if progress < self.target_begins:
            logits = self.statistics.forward_source(self.network, source_patches(config, batch))
            yield Update("segmenter", supervised(config, self.network, logits, batch.label))
        else:
            label, chosen = self._label(batch, progress)
            outputs = self.statistics.forward_both(self.network, *student_patches(config, batch)[:2])
            losses = supervised(config, self.network, outputs.source, batch.label)
            losses["pseudo"] = config.pseudo_weight * pseudo_label_loss(config, outputs.target, label, chosen)
            yield Update("segmenter", losses)
        self.teacher.follow(self.network, self.statistics)

    def predict(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Class probabilities ``(B, K, X - 2m, Y - 2m, Z - 2m)`` in [0, 1]; channel 0 is background."""
        return self.predictor.probabilities(image)

    def exported(self) -> Sequence[str]:
        """What prediction needs."""
        return self.predictor.parts

    def _label(self, batch: Adaptation, progress: float) -> tuple[Tensor, Tensor]:
        """Labels of the target's voxels, and which of them count: both ``(B, 1, x, y, z)``."""
        config, network = self.config, self.network
        chosen = self.teacher.used_by if config.labelled_by == "teacher" else self.statistics.for_prediction
        with chosen(network):
            probability = detached_probabilities(network, batch.target)
        mask, (first, last) = centre(batch.target_mask, probability), config.portion
        portion = first + (last - first) * ramp(progress, config.begin, config.full)
        self._remember(class_thresholds(probability, mask, portion))
        return balanced_labels(probability, mask, self.thresholds)

    def _remember(self, found: Tensor) -> None:
        """Move the thresholds towards those of this step; the first found for a class is taken as it is."""
        decay = (self.seen / (self.seen + 1.0)).clamp(max=self.config.memory)
        there = ~found.isnan()
        self.thresholds.copy_(torch.where(there, decay * self.thresholds + (1 - decay) * found, self.thresholds))
        self.seen += there


METHOD = SelfTraining
