"""CycleGAN (Zhu et al. 2017, https://arxiv.org/abs/1703.10593): translation between two sets of images without pairs.

Two generators F: X -> Y and B: Y -> X are trained against a discriminator of each set, by least squares, so that
``B(F(x)) = x`` and ``F(B(y)) = y`` (eq. 2, cycle consistency). Here X are the inputs of the recipe and Y is its target;
F is ``forward``, B is ``backward``. The discriminators see earlier outputs of the generators, too (section 4).

Not as published: weights start as torch starts them; generators end linearly, since prepared inputs have no bounds,
repeat the border voxels instead of mirroring them, and repeat voxels where they go up.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import ClassVar

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat
from torch import Tensor
from torch.nn.functional import l1_loss
from torch.optim import Adam, Optimizer

from medgen.config import Config as Settings
from medgen.errors import UsageError
from medgen.losses.adversarial import least_squares
from medgen.methods._history import History
from medgen.methods.base import Direction, Memory, Method, Shape, Translates, Update, Window
from medgen.networks.ranks import Norm
from medgen.networks.translation import PatchDiscriminator, ResidualGenerator
from medgen.sampling.batches import Unpaired


class Config(Settings):
    """Settings of CycleGAN."""

    width: PositiveFloat = 1.0
    """Factor on the channels of all networks; 64 at full resolution are published, for images of 256 x 256."""
    blocks: NonNegativeInt = 6
    """Residual blocks of a generator; published are 6, and 9 for 256 x 256."""
    levels: int = Field(default=2, ge=1, le=4)
    """Halvings of a discriminator; 3 (it sees 70 voxels) is published, for images larger than most patches."""
    norm: Norm = "instance"
    """Normalisation of the generators; instance is published. The others keep the absolute intensity of a patch."""
    cycle_weight: NonNegativeFloat = 10.0
    """lambda; published."""
    identity_weight: NonNegativeFloat = 0.0
    """Of ``|F(y) - y|`` and ``|B(x) - x|``, as a share of ``cycle_weight``; 0.5 is published for paintings. It needs as
    many inputs as targets, and is of use where both sets have one contrast."""
    history: NonNegativeInt = 50
    """Earlier outputs of each generator that its discriminator sees; published."""
    learning_rate: PositiveFloat = 2e-4
    """Adam; published, with ``schedule.learning_rate: {kind: linear, hold: 0.5}``."""
    beta1: float = Field(default=0.5, ge=0, lt=1)
    """Adam's first moment; published."""


class CycleGAN(Method, Translates):
    """The generators step together, then the discriminators."""

    config_class = Config
    batch_class = Unpaired
    learns = "generators/cycle_source"
    dimensions = (2, 3)
    opponents: ClassVar = {"discriminators": 0.5}
    config: Config

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        if config.identity_weight and shape.inputs != shape.outputs:
            raise UsageError(
                f"the identity loss compares {shape.inputs} inputs with {shape.outputs} target",
                fix="set config.identity_weight to 0, or give one input",
            )
        inputs, outputs, width = shape.inputs, shape.outputs, max(4, round(64 * config.width))
        generator = partial(ResidualGenerator, width=width, blocks=config.blocks, norm=config.norm)
        discriminator = partial(PatchDiscriminator, width=width, levels=config.levels)
        self.to_target = generator(shape.dimensions, inputs, outputs)
        self.to_source = generator(shape.dimensions, outputs, inputs)
        self.of_source = discriminator(shape.dimensions, inputs)
        self.of_target = discriminator(shape.dimensions, outputs)
        self.sources, self.targets = History(config.history), History(config.history)

    @property
    def window(self) -> Window:
        """Sides divisible by 4, and large enough for a discriminator."""
        return Window(multiple=ResidualGenerator.multiple, minimum=self.of_source.minimum)

    def memory(self) -> dict[str, Memory]:
        """Earlier outputs of both generators."""
        return {"sources": self.sources, "targets": self.targets}

    def exported(self) -> tuple[str, ...]:
        """The generators."""
        return "to_target", "to_source"

    def optimizers(self) -> dict[str, Optimizer]:
        """One for both generators, one for both discriminators."""
        rate, betas = self.config.learning_rate, (self.config.beta1, 0.999)
        generators = [*self.to_target.parameters(), *self.to_source.parameters()]
        discriminators = [*self.of_source.parameters(), *self.of_target.parameters()]
        return {"generators": Adam(generators, rate, betas), "discriminators": Adam(discriminators, rate, betas)}

    def updates(self, batch: Unpaired, progress: float) -> Iterator[Update]:
        """Eq. 3 with least squares; the discriminators then see new and earlier outputs."""
        config, source, target = self.config, batch.source, batch.target
        fake_target, fake_source = self.to_target(source), self.to_source(target)
        losses = {
            "adversarial_target": least_squares(self.of_target(fake_target), real=True),
            "adversarial_source": least_squares(self.of_source(fake_source), real=True),
            "cycle_source": config.cycle_weight * l1_loss(self.to_source(fake_target), source),
            "cycle_target": config.cycle_weight * l1_loss(self.to_target(fake_source), target),
        }
        if weight := config.cycle_weight * config.identity_weight:
            losses["identity_target"] = weight * l1_loss(self.to_target(target), target)
            losses["identity_source"] = weight * l1_loss(self.to_source(source), source)
        yield Update("generators", losses)
        old_source, old_target = self.sources.exchange(fake_source), self.targets.exchange(fake_target)
        losses = {
            "real_source": 0.5 * least_squares(self.of_source(source), real=True),
            "fake_source": 0.5 * least_squares(self.of_source(old_source), real=False),
            "real_target": 0.5 * least_squares(self.of_target(target), real=True),
            "fake_target": 0.5 * least_squares(self.of_target(old_target), real=False),
        }
        yield Update("discriminators", losses)

    def score(self, batch: Unpaired) -> dict[str, float]:
        """What a patch of each set loses on its way there and back, in normalised units."""
        there, back = self.to_target(batch.source), self.to_source(batch.target)
        return {
            "cycle_source": l1_loss(self.to_source(there), batch.source).item(),
            "cycle_target": l1_loss(self.to_target(back), batch.target).item(),
        }

    def predict(self, image: Tensor, direction: Direction, generator: torch.Generator | None = None) -> Tensor:
        """F of the inputs, or B of the target."""
        network = self.to_target if direction == "forward" else self.to_source
        translated: Tensor = network(image)
        return translated


METHOD = CycleGAN
