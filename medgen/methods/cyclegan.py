"""CycleGAN (Zhu et al. 2017, https://arxiv.org/abs/1703.10593): translation between two sets of images without pairs.

Two generators F: X -> Y and B: Y -> X are trained against a discriminator of each set, by least squares, so that
``B(F(x)) = x`` and ``F(B(y)) = y`` (eq. 2, cycle consistency). Here X are the inputs of the recipe and Y is its target;
F is ``forward``, B is ``backward``. The discriminators see earlier outputs of the generators, too (section 4).

Not as published: the generators normalise the channels of each voxel (``norm: instance`` is published), so that its
value does not depend on what else is in its tile; weights start as torch starts them; generators end linearly, since
prepared inputs have no bounds, repeat the border voxels instead of mirroring them, and repeat voxels where they go up.

Beside it there may be a term for a share of the cases that are known to be pairs, and one that asks for the edges or
the grey levels of an image and its translation to tell of each other, against anatomy that drifts: the cycle is
consistent for every translation that can be undone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, model_validator
from torch import Tensor, nn
from torch.nn.functional import l1_loss
from torch.optim import Adam, Optimizer

from medgen.config import Config as Settings
from medgen.errors import UsageError
from medgen.losses.adversarial import least_squares
from medgen.losses.image import gradient_correlation, mean_absolute, mutual_information
from medgen.methods._history import History
from medgen.methods.base import WHOLE, Direction, HasFeatures, Memory, Method, Shape, Translates, Update, Window
from medgen.networks.half_resolution import HalfResolutionUNet
from medgen.networks.ranks import Norm
from medgen.networks.translation import PatchDiscriminator, ResidualGenerator
from medgen.sampling.batches import Batch, PartlyPaired, Unpaired

HALO = 40
"""Voxels at the border of a tile, where a larger volume is cut, that its neighbour predicts."""
Structure = Literal["none", "gradient_correlation", "mutual_information"]
_STRUCTURES = {"gradient_correlation": gradient_correlation, "mutual_information": mutual_information}


class Config(Settings):
    """Settings of CycleGAN."""

    generator: Literal["resnet", "unet"] = "resnet"
    """``resnet``: published. ``unet``: a residual U-Net on folded voxels, several times as fast; its last layer starts
    at 0, and it has no normalisation."""
    width: PositiveFloat = 1.0
    """Factor on the channels of all networks; 64 at full resolution are published, for images of 256 x 256."""
    blocks: NonNegativeInt = 6
    """Residual blocks of a ``resnet``; published are 6, and 9 for 256 x 256."""
    levels: int = Field(default=2, ge=1, le=4)
    """Halvings of a discriminator; 3 (it sees 70 voxels) is published, for images larger than most patches."""
    norm: Norm | None = None
    """Normalisation of a ``resnet``: by default ``voxel``, over the channels of each voxel; ``instance`` is published.
    With ``instance`` and ``group`` a voxel's value depends on the rest of its tile: tiles of one volume disagree, and a
    whole volume is not translated as a patch is. Without any it may collapse to one value."""
    cycle_weight: NonNegativeFloat = 10.0
    """lambda; published."""
    identity_weight: NonNegativeFloat = 0.0
    """Of ``|F(y) - y|`` and ``|B(x) - x|``, as a share of ``cycle_weight``; 0.5 is published for paintings. It needs as
    many inputs as targets, and is of use where both sets have one contrast."""
    structure: Structure = "none"
    """Compares each image with its translation: ``gradient_correlation`` the places of their edges,
    ``mutual_information`` how much one grey level tells of the other. Neither sees an inverted contrast."""
    structure_weight: NonNegativeFloat = 1.0
    """Of each direction; the losses lie between 0 and about 1."""
    paired_fraction: float = Field(default=0.0, ge=0, le=1)
    """Share of the training cases with inputs and target that are known to be pairs; the others' pairing is not used.
    See :func:`medgen.sampling.streams.known_pairs`."""
    paired_weight: NonNegativeFloat = 10.0
    """Of ``|F(x) - y|`` and ``|B(y) - x|`` in the mask, over known pairs."""
    history: NonNegativeInt = 50
    """Earlier outputs of each generator that its discriminator sees; published."""
    learning_rate: PositiveFloat = 2e-4
    """Adam; published."""
    discriminator_learning_rate: PositiveFloat | None = None
    """Adam's for the discriminators; that of the generators by default, as published."""
    beta1: float = Field(default=0.5, ge=0, lt=1)
    """Adam's first moment; published."""

    @model_validator(mode="after")
    def _norm_of_a_resnet(self) -> Config:
        if self.generator == "unet" and self.norm not in (None, "none"):
            raise ValueError(f"norm is {self.norm}, and the generator unet has no normalisation")
        return self

    def recipe(self) -> Mapping[str, Any]:
        """The published schedule: half of the steps at the full rate, then linearly to 0."""
        return {"schedule": {"learning_rate": {"kind": "linear", "hold": 0.5}}}


class CycleGAN(Method, Translates, HasFeatures):
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
        discriminator = partial(PatchDiscriminator, width=width, levels=config.levels)
        self.to_target, self.multiple = _generator(config, shape.dimensions, inputs, outputs)
        self.to_source, _ = _generator(config, shape.dimensions, outputs, inputs)
        self.of_source = discriminator(shape.dimensions, inputs)
        self.of_target = discriminator(shape.dimensions, outputs)
        self.sources, self.targets = History(config.history), History(config.history)
        self.paired_fraction = config.paired_fraction

    @classmethod
    def batches(cls, config: Config) -> type[Batch]:
        """With a third stream where pairs are known."""
        return PartlyPaired if config.paired_fraction else Unpaired

    @property
    def window(self) -> Window:
        """Sides that the generators can halve, and large enough for a discriminator; whole volumes where they fit."""
        return Window(
            multiple=self.multiple, align=self.multiple, minimum=self.of_source.minimum, tile=WHOLE, halo=HALO
        )

    def memory(self) -> dict[str, Memory]:
        """Earlier outputs of both generators."""
        return {"sources": self.sources, "targets": self.targets}

    def exported(self) -> tuple[str, ...]:
        """The generators."""
        return "to_target", "to_source"

    def optimizers(self) -> dict[str, Optimizer]:
        """One for both generators, one for both discriminators."""
        config = self.config
        rate, betas = config.learning_rate, (config.beta1, 0.999)
        generators = [*self.to_target.parameters(), *self.to_source.parameters()]
        discriminators = [*self.of_source.parameters(), *self.of_target.parameters()]
        return {
            "generators": Adam(generators, rate, betas),
            "discriminators": Adam(discriminators, config.discriminator_learning_rate or rate, betas),
        }

    def updates(self, batch: Unpaired | PartlyPaired, progress: float) -> Iterator[Update]:
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
        if config.structure != "none":
            compare, weight = _STRUCTURES[config.structure], config.structure_weight
            losses["structure_target"] = weight * compare(source, fake_target)
            losses["structure_source"] = weight * compare(target, fake_source)
        if isinstance(batch, PartlyPaired):
            losses |= self._of_pairs(batch)
        yield Update("generators", losses)
        old_source, old_target = self.sources.exchange(fake_source), self.targets.exchange(fake_target)
        losses = {
            "real_source": 0.5 * least_squares(self.of_source(source), real=True),
            "fake_source": 0.5 * least_squares(self.of_source(old_source), real=False),
            "real_target": 0.5 * least_squares(self.of_target(target), real=True),
            "fake_target": 0.5 * least_squares(self.of_target(old_target), real=False),
        }
        yield Update("discriminators", losses)

    def _of_pairs(self, batch: PartlyPaired) -> dict[str, Tensor]:
        source, target, mask = batch.paired_source, batch.paired_target, batch.paired_mask
        weight = self.config.paired_weight
        return {
            "paired_target": weight * mean_absolute(self.to_target(source), target, mask),
            "paired_source": weight * mean_absolute(self.to_source(target), source, mask),
        }

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

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        """Of the discriminator of the target; ``image`` is a target, or an image that is to look like one."""
        return self.of_target.features(image)


def _generator(config: Config, dimensions: int, inputs: int, outputs: int) -> tuple[nn.Module, int]:
    """A generator, and what the sides of its input must be divisible by."""
    if config.generator == "unet":
        unet = HalfResolutionUNet(inputs, outputs, width=config.width, dimensions=dimensions)
        return unet, unet.multiple
    width = max(4, round(64 * config.width))
    resnet = ResidualGenerator(
        dimensions, inputs, outputs, width=width, blocks=config.blocks, norm=config.norm or "voxel"
    )
    return resnet, resnet.multiple


METHOD = CycleGAN
