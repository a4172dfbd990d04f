"""What the methods for registered pairs share: the generator, reconstruction losses, cascade settings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.optim import Adam

from medgen.config import Config
from medgen.losses.image import gradient_difference, mean_absolute, mean_squared
from medgen.methods.base import Shape, Window
from medgen.networks.generators import Generator, Norm, build_generator
from medgen.sampling.batches import Paired, centre

Reduction = Literal["mean", "sum"]


class PairedConfig(Config):
    """Settings of a generator for registered pairs and of the cascade around it."""

    generator: Generator = "fcn"
    """``fcn``: Nie et al. 2017, 32^3 in and 16^3 out; ``unet``: MONAI's residual U-Net, same size."""
    preset: Literal["paper", "code"] = "code"
    """Published form of the FCN and, where there is an adversary, of the loss weights."""
    width: PositiveFloat = 1.0
    """Factor on the number of filters of every network; 1 is published."""
    norm: Norm = "batch"
    """Normalisation of the U-Net. ``instance`` forgets the absolute intensity of a patch, which is what tells tissues
    apart: on the phantom 226 HU against 165 (docs/benchmarks.md). The FCN has batch normalisation."""
    distance: Literal["mse", "l1"] = "mse"
    """Voxel-wise loss; mse is published."""
    distance_weight: NonNegativeFloat = 1.0
    """lambda_2 of the paper."""
    gradient_difference_weight: NonNegativeFloat = 1.0
    """lambda_3 of the paper; 0 leaves the term out."""
    gradient_difference_power: float = Field(default=2.0, ge=1)
    """alpha of the gradient difference loss; below 1 its slope has no bound."""
    region: Literal["patch", "mask"] = "patch"
    """Voxels that the reconstruction losses cover: the whole patch (published) or those inside the mask."""
    learning_rate: PositiveFloat = 1e-4
    """Adam; the paper has 1e-6 over 500,000 steps."""
    beta1: float = Field(default=0.5, ge=0, lt=1)
    """Adam's first moment; published."""
    weight_decay: NonNegativeFloat = 0.0
    """L2 on the weights; the authors' code has 5e-4."""
    stages: PositiveInt = 1
    """Networks of the auto-context cascade; stage s also sees the whole-volume estimate of stage s - 1."""
    context_folds: int = Field(default=3, ge=2)
    """Inner folds whose held-out predictions are the training context of the next stage."""


def new_generator(config: PairedConfig, shape: Shape) -> tuple[nn.Module, Window]:
    """The generator, and its window: a margin of 8 for the FCN; sides divisible by 8 for the U-Net."""
    generator, margin, multiple = build_generator(
        config.generator, shape.inputs, shape.outputs, preset=config.preset, width=config.width, norm=config.norm
    )
    return generator, Window(margin, multiple)


def adam(module: nn.Module, config: PairedConfig) -> Adam:
    """The published optimiser for one network."""
    betas = (config.beta1, 0.999)
    return Adam(module.parameters(), config.learning_rate, betas, weight_decay=config.weight_decay)


def reconstruction(estimate: Tensor, batch: Paired, config: PairedConfig, reduction: Reduction) -> dict[str, Tensor]:
    """The weighted voxel-wise and gradient-difference terms of ``estimate`` against ``batch.target``."""
    target = centre(batch.target, estimate)
    mask = centre(batch.mask, estimate) if config.region == "mask" else None
    distance = mean_squared if config.distance == "mse" else mean_absolute
    losses: dict[str, Tensor] = {}
    losses[config.distance] = config.distance_weight * distance(estimate, target, mask=mask, reduction=reduction)
    if config.gradient_difference_weight:
        losses["gradient_difference"] = config.gradient_difference_weight * gradient_difference(
            estimate, target, mask=mask, alpha=config.gradient_difference_power, reduction=reduction
        )
    return losses
