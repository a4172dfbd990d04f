"""Context-aware GAN for MR to CT (Nie et al. 2017, https://arxiv.org/abs/1612.05362).

A fully convolutional generator G is trained with a voxel-wise loss, the gradient difference loss and an adversary D
that classifies CT patches; an auto-context cascade repeats this with the estimate of the stage before as a further
input channel. The cascade itself is trained by :mod:`medgen.run.cascade`; this file is one stage.

Three forms, chosen by ``preset``; the rest of each stands in :mod:`medgen.methods._paired`:

| preset | adversary, l1, mse, GDL | reduction          | generator                      | first context |
|--------|-------------------------|--------------------|--------------------------------|---------------|
| tuned  | 0.01, 1, 0, 0.25        | means over voxels  | half-resolution U-Net          | boosted trees |
| paper  | 0.5, 0, 1, 1            | means over voxels  | FCN as printed                 | none          |
| code   | 0.05, 0, 1, 1           | the authors' sums  | FCN as released                | none          |

The authors' code sums: ``mse = sum |d|^2 / (2 B)`` and ``GDL = sum / B``. On a 16^3 patch that is 2,048 and 4,096 times
the mean, so their 0.05 corresponds to ``adversarial_weight: 2.4e-5, gradient_difference_weight: 2`` with
``reduction: mean``, and 0.05 with means is an adversary 2,048 times stronger than theirs.

Not as published, in ``tuned``: soft tissue counts more in the voxel-wise loss and air less; the adversary begins
half-way, when there is an image to judge, and sees the middle 16^3 of a patch, with the truth where no loss looks; D is
narrower and has a rate of its own. On the phantom at 2 mm and equal time the adversary costs 7 HU and buys no sharpness
(docs/benchmarks.md): ``supervised`` is the same network and cascade without it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.optim import Optimizer

from medgen.losses.adversarial import binary_cross_entropy
from medgen.methods._paired import PUBLISHED, PairedConfig, adam, covered, estimate, new_generator, reconstruction
from medgen.methods.base import Method, Predicts, Shape, Update, Window
from medgen.networks.discriminators import ContextAwareDiscriminator
from medgen.sampling.batches import Paired
from medgen.sampling.parts import centre

JUDGED = 16
"""Voxels a side that the discriminator sees: the output of the published FCN."""
_ALWAYS = {**PUBLISHED, "adversary_from": 0.0, "discriminator_width": 1.0, "discriminator_learning_rate": None}


class Config(PairedConfig):
    """Settings of the context-aware GAN."""

    published = {
        "paper": {**_ALWAYS, "adversarial_weight": 0.5, "reduction": "mean"},
        "code": {**_ALWAYS, "adversarial_weight": 0.05, "reduction": "sum"},
    }

    adversarial_weight: NonNegativeFloat = 1e-2
    """lambda_1 of the paper."""
    adversary_from: float = Field(default=0.5, ge=0, lt=1)
    """Share of the training after which the adversary begins; 0 is published."""
    discriminator_width: PositiveFloat = 0.25
    """Factor on the published number of filters and units of D, beside ``width``."""
    discriminator_learning_rate: PositiveFloat | None = 5e-4
    """Of D's Adam; in the published presets that of G."""
    reduction: Literal["mean", "sum"] = "mean"
    """How the reconstruction losses are reduced: means over voxels, or the sums of the authors' code."""


class ContextAwareGAN(Method, Predicts):
    """One stage: the discriminator steps first, then the generator works against the new discriminator."""

    config_class = Config
    batch_class = Paired
    learns = "generator/l1"
    opponents: ClassVar = {"discriminator": 2 * math.log(2)}
    config: Config

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        self.generator, self._window = new_generator(config, shape)
        self.discriminator = ContextAwareDiscriminator(shape.outputs, width=config.width * config.discriminator_width)

    @property
    def window(self) -> Window:
        """That of the generator; the discriminator halves its patch four times, so it must have 16 voxels a side."""
        return replace(self._window, minimum=JUDGED + 2 * self._window.margin)

    def optimizers(self) -> dict[str, Optimizer]:
        """Adam for each network."""
        return {
            "discriminator": adam(self.discriminator, self.config, self.config.discriminator_learning_rate),
            "generator": adam(self.generator, self.config),
        }

    def updates(self, batch: Paired, progress: float) -> Iterator[Update]:
        """Discriminator: ``BCE(D(y), 1) + BCE(D(G(x)), 0)``; generator: the weighted sum of its terms."""
        config = self.config
        fake = self.predict(batch.source)
        losses = reconstruction(fake, batch, config, config.reduction)
        if progress < config.adversary_from or not config.adversarial_weight:
            yield Update("generator", losses)
            return
        real, judged = self._judged(fake, batch)
        yield Update(
            "discriminator",
            {
                "real": binary_cross_entropy(self.discriminator(real), real=True),
                "fake": binary_cross_entropy(self.discriminator(judged.detach()), real=False),
            },
        )
        # The discriminator has just stepped: the generator works against the new one.
        adversarial = config.adversarial_weight * binary_cross_entropy(self.discriminator(judged), real=True)
        yield Update("generator", {"adversarial": adversarial, **losses})

    def _judged(self, fake: Tensor, batch: Paired) -> tuple[Tensor, Tensor]:
        """The true and the estimated patch as the discriminator sees them."""
        middle = fake.new_empty((1, 1, *(min(side, JUDGED) for side in fake.shape[2:])))
        real = centre(batch.target, middle)
        fake = centre(fake, middle)
        where = covered(batch, middle, self.config)
        if where is not None:  # nothing asks the generator for anything elsewhere, so nothing may be judged there
            fake = torch.where(where > 0, fake, real.to(fake.dtype))
        return real, fake

    def predict(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The generator's estimate, in the range of the targets."""
        return estimate(self.generator, image, self.config, self.shape)

    def exported(self) -> Sequence[str]:
        """What prediction needs."""
        return ("generator",)


METHOD = ContextAwareGAN
