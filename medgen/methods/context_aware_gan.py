"""Context-aware GAN for MR to CT (Nie et al. 2017, https://arxiv.org/abs/1612.05362).

A fully convolutional generator G is trained with a voxel-wise loss, the gradient difference loss and an adversary D
that classifies CT patches; an auto-context cascade (``stages``) repeats this with the estimate of the stage before as a
second input channel. The cascade itself is trained by :mod:`medgen.run.cascade`; this file is one stage.

Two published forms, chosen by ``preset``:

| preset | loss weights (adversarial, mse, GDL) | reduction          | generator   |
|--------|--------------------------------------|--------------------|-------------|
| paper  | 0.5, 1, 1                            | means over voxels  | as printed  |
| code   | 0.05, 1, 1                           | the authors' sums  | as released |

The authors' code sums: ``mse = sum |d|^2 / (2 B)`` and ``GDL = sum / B``. On a 16^3 patch that is 2,048 and 4,096 times
the mean, so their 0.05 corresponds to ``adversarial_weight: 2.4e-5, gradient_difference_weight: 2`` with
``reduction: mean``, and 0.05 with means is an adversary 2,048 times stronger than theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import torch
from pydantic import NonNegativeFloat
from torch import Tensor
from torch.optim import Optimizer

from medgen.losses.adversarial import binary_cross_entropy
from medgen.methods._paired import PairedConfig, Reduction, adam, new_generator, reconstruction
from medgen.methods.base import Method, Predicts, Shape, Update, Window
from medgen.networks.discriminators import ContextAwareDiscriminator
from medgen.sampling.batches import Paired, centre

PRESETS: dict[str, tuple[float, Reduction]] = {"paper": (0.5, "mean"), "code": (0.05, "sum")}


class Config(PairedConfig):
    """Settings of the context-aware GAN."""

    adversarial_weight: NonNegativeFloat | None = None
    """lambda_1 of the paper; by default the preset's: 0.5 (paper) or 0.05 (code)."""
    reduction: Literal["mean", "sum"] | None = None
    """How the reconstruction losses are reduced; by default the preset's: mean (paper) or sum (code)."""


class ContextAwareGAN(Method, Predicts):
    """One stage: the discriminator steps first, then the generator works against the new discriminator."""

    config_class = Config
    batch_class = Paired
    learns = "generator/mse"
    config: Config

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        self.generator, self._window = new_generator(config, shape)
        weight, reduction = PRESETS[config.preset]
        self.adversarial_weight = weight if config.adversarial_weight is None else config.adversarial_weight
        self.reduction: Reduction = config.reduction or reduction
        self.discriminator = ContextAwareDiscriminator(shape.outputs, width=config.width)

    @property
    def window(self) -> Window:
        """That of the generator; the discriminator halves its patch four times, so it must have 16 voxels a side."""
        return replace(self._window, minimum=16 + 2 * self._window.margin)

    def optimizers(self) -> dict[str, Optimizer]:
        """Adam for each network."""
        return {
            "discriminator": adam(self.discriminator, self.config),
            "generator": adam(self.generator, self.config),
        }

    def updates(self, batch: Paired, progress: float) -> Iterator[Update]:
        """Discriminator: ``BCE(D(y), 1) + BCE(D(G(x)), 0)``; generator: the weighted sum of its three terms."""
        fake = self.generator(batch.source)
        yield Update(
            "discriminator",
            {
                "real": binary_cross_entropy(self.discriminator(centre(batch.target, fake)), real=True),
                "fake": binary_cross_entropy(self.discriminator(fake.detach()), real=False),
            },
        )
        # The discriminator has just stepped: the generator works against the new one.
        adversarial = self.adversarial_weight * binary_cross_entropy(self.discriminator(fake), real=True)
        losses = reconstruction(fake, batch, self.config, self.reduction)
        yield Update("generator", {"adversarial": adversarial, **losses})

    def predict(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The generator's estimate, in the range of the targets."""
        estimate: Tensor = self.generator(image)
        return estimate

    def exported(self) -> Sequence[str]:
        """What prediction needs."""
        return ("generator",)


METHOD = ContextAwareGAN
