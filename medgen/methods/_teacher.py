"""A teacher: the moving average of a segmenter's weights, and the consistency of the student with it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator
from torch import Tensor, nn

from medgen.losses.consistency import confident, mean_squared, sharpened, soft_cross_entropy
from medgen.methods._domains import DomainStatistics, Share, StatisticsConfig, require_order
from medgen.methods._perturbation import PerturbationConfig, perturb
from medgen.methods._segmentation import probabilities, pseudo_label_loss
from medgen.networks.shadow_weights import ShadowWeights
from medgen.sampling.batches import Adaptation, MatchedAdaptation
from medgen.sampling.parts import centre


class TeacherConfig(StatisticsConfig):
    """Settings of the moving average."""

    decay: float = Field(default=0.99, ge=0, lt=1)
    """Of the moving average, reached as ``min(decay, 1 - 1 / (steps + 1))``; 0.99 is published for the first part of
    the training (Tarvainen & Valpola) and for MRI (Perone et al.)."""
    predict_with: Literal["teacher", "student"] = "teacher"
    """Whose weights the model predicts with."""
    perturbation: PerturbationConfig = PerturbationConfig()
    """Random changes of the target patches of the student. Published are noise and affine maps; changes of contrast are
    the difference between the domains that adaptation is for."""
    perturb_source: bool = False
    """Whether the labelled patches are changed in the same way. Augmentation of the recipe would change the patches of
    the teacher too."""


class ConsistencyConfig(TeacherConfig):
    """Settings of the consistency between student and teacher."""

    consistency: Literal["mse", "cross_entropy", "label"] = "mse"
    """``mse``: squared difference of the probabilities; published. ``cross_entropy``: with the teacher's
    probabilities, sharpened by ``temperature``. ``label``: the segmenter's own losses with the teacher's labels."""
    temperature: PositiveFloat = 1.0
    """Of ``cross_entropy``: below 1 the teacher's probabilities are moved towards 0 and 1."""
    confidence: Share = 0.0
    """Voxels where the teacher's most probable class has less than this are left out."""
    consistency_weight: NonNegativeFloat = 10.0
    """At its largest. The publications leave it open (1 to 100 for ``mse``); 0 is supervised training."""
    consistency_begin: Share = 0.0
    """Share of the training until which the weight is 0."""
    consistency_full: Share = 0.25
    """Share of the training from which the weight is at its largest; published is a rise over the first quarter."""

    @property
    def consistency_starts(self) -> float:
        """Share of the training until which the consistency does nothing; 1 where it never does."""
        return self.consistency_begin if self.consistency_weight else 1.0

    @model_validator(mode="after")
    def _consistency_in_order(self) -> ConsistencyConfig:
        require_order(consistency_begin=self.consistency_begin, consistency_full=self.consistency_full)
        return self


class Teacher(nn.Module):
    """A second set of values for all weights and statistics of a network, which follows it.

    Args:
        network: the student.
        decay: of the moving average.
    """

    steps: Tensor

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.state = ShadowWeights(network, network.state_dict())
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def follow(self, network: nn.Module, statistics: DomainStatistics) -> None:
        """Move towards the student, which has just stepped; at first fast, so that its random start is forgotten.

        With ``schedule.accumulate`` this happens after each micro-batch: a step then counts as often as it has those.

        Args:
            network: the student.
            statistics: of both domains; the teacher follows those that prediction uses.
        """
        self.steps += 1
        with statistics.for_prediction(network):
            self.state.follow(network, min(self.decay, 1 - 1 / (int(self.steps) + 1)))

    def probabilities(self, network: nn.Module, image: Tensor) -> Tensor:
        """The teacher's class probabilities (B, K, x, y, z) of ``image``."""
        with self.used_by(network):
            return detached_probabilities(network, image)

    def used_by(self, network: nn.Module) -> AbstractContextManager[None]:
        """Inside the block ``network`` is the teacher."""
        return self.state.used_by(network)


@torch.no_grad()
def detached_probabilities(network: nn.Module, image: Tensor) -> Tensor:
    """Class probabilities (B, K, x, y, z) to learn from: without gradient and dropout, by running statistics."""
    training = network.training
    probability = probabilities(network.eval(), image)
    network.train(training)
    return probability


def student_patches(
    config: TeacherConfig, batch: Adaptation | MatchedAdaptation
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Patches for the student: source as by :func:`source_patches`, target perturbed, matched ones as the source."""
    target = perturb(batch.target, batch.target_mask, config.perturbation)
    matched = batch.matched if isinstance(batch, MatchedAdaptation) else None
    if isinstance(batch, MatchedAdaptation) and config.perturb_source:
        matched = perturb(batch.matched, batch.matched_mask, config.perturbation)
    return source_patches(config, batch), target, matched


def source_patches(config: TeacherConfig, batch: Adaptation | MatchedAdaptation) -> Tensor:
    """The labelled patches, perturbed where ``config.perturb_source`` is set."""
    return perturb(batch.source, batch.mask, config.perturbation) if config.perturb_source else batch.source


def consistency(config: ConsistencyConfig, logits: Tensor, probability: Tensor, mask: Tensor) -> Tensor:
    """How far the student's logits are from the teacher's probabilities, by the kind of loss in ``config``.

    Args:
        config: kind of loss, temperature and confidence.
        logits: (B, K, x, y, z) of the student.
        probability: (B, K, x, y, z) of the teacher.
        mask: (B, 1, X, Y, Z) in {0, 1}, cut to the size of the logits.

    Returns:
        A scalar without the weight.
    """
    weight = confident(probability, centre(mask, logits), config.confidence)
    if config.consistency == "mse":
        return mean_squared(logits, probability, weight)
    if config.consistency == "cross_entropy":
        return soft_cross_entropy(logits, sharpened(probability, config.temperature), weight)
    return pseudo_label_loss(config, logits, probability.argmax(dim=1, keepdim=True), weight)
