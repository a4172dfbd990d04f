"""Class-balanced self-training: the segmenter learns from its own surest labels (Zou et al. 2018, arXiv 1810.07911).

From a share ``begin`` of the training on, each target voxel where a class is sure enough gets it as its label. What is
sure enough differs from class to class: the surest ``portion`` of the voxels predicted as a class (eq. 5 and algorithm
2), so that a rare class such as lesion, of which no voxel is ever as sure as background, is not forgotten.

Published are rounds: label all images, train, label again. Here the labels are made in each step, from a moving average
of the weights or from the current ones, and the thresholds are moving averages over the steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, model_validator
from torch import Tensor

from medgen.losses.consistency import balanced_labels, class_thresholds
from medgen.methods._domains import Share, ramp, require_order
from medgen.methods._teacher import (
    Student,
    TeacherConfig,
    labelled_by_another,
    patches_of_source,
    patches_of_student,
    probabilities,
)
from medgen.methods.base import Shape, Update
from medgen.sampling.batches import Adaptation, centre

Portion = Annotated[float, Field(gt=0, le=1)]


class Config(TeacherConfig):
    """Settings of self-training."""

    pseudo_weight: NonNegativeFloat = 1.0
    """Of the loss with these labels; 1 is published. 0 is supervised training."""
    begin: Share = 0.3
    """Share of the training until which nothing is labelled: the first labels must be worth something."""
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


class SelfTraining(Student):
    """Supervised loss on the source domain, and the same loss with its own labels on the target."""

    config_class = Config
    config: Config
    thresholds: Tensor
    seen: Tensor

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        self.register_buffer("thresholds", torch.ones(shape.outputs))
        self.register_buffer("seen", torch.zeros(shape.outputs, dtype=torch.int64))

    @property
    def target_begins(self) -> float:
        """When voxels are first labelled."""
        return self.config.begin if self.config.pseudo_weight else 1.0

    def updates(self, batch: Adaptation, progress: float) -> Iterator[Update]:
        """One step of the student; then the teacher moves towards it."""
        config = self.config
        if progress < config.begin or not config.pseudo_weight:
            logits = self.statistics.alone(self.network, patches_of_source(config, batch))
            yield Update("segmenter", self.supervised(logits, batch.label))
        else:
            label, chosen = self._label(batch, progress)
            passed = self.statistics.both(self.network, *patches_of_student(config, batch))
            losses = self.supervised(passed.source, batch.label)
            losses["pseudo"] = config.pseudo_weight * labelled_by_another(config, passed.target, label, chosen)
            yield Update("segmenter", losses)
        with self.statistics.kept(self.network):
            self.teacher.follow(self.network)

    def _label(self, batch: Adaptation, progress: float) -> tuple[Tensor, Tensor]:
        """Labels of the target's voxels, and which of them count: both ``(B, 1, x, y, z)``."""
        config, network = self.config, self.network
        shown = self.teacher.used_by if config.labelled_by == "teacher" else self.statistics.kept
        with shown(network):
            probability = probabilities(network, batch.target)
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
