"""What the methods for registered pairs share: the generator, reconstruction losses, cascade settings, presets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Protocol, Self, get_args

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn
from torch.optim import Adam

from medgen.config import Config
from medgen.losses.image import gradient_difference, mean_absolute, mean_squared
from medgen.methods._monai import MonaiNetworkConfig, or_monai
from medgen.methods.base import WHOLE, Shape, Window
from medgen.networks.fcn import Preset
from medgen.networks.generators import Generator, Norm, build_generator
from medgen.networks.monai_network import MonaiNetwork
from medgen.preparation.task import AIR_BELOW, BONE_FROM
from medgen.sampling.batches import Paired
from medgen.sampling.parts import centre

Reduction = Literal["mean", "sum"]
Region = Literal["body", "mask", "patch"]
PresetName = Literal["tuned", "paper", "code"]

PUBLISHED: dict[str, Any] = {
    "generator": "fcn",
    "l1_weight": 0.0,
    "mse_weight": 1.0,
    "gradient_difference_weight": 1.0,
    "region": "patch",
    "tissue_weights": (1.0, 1.0, 1.0),
    "learning_rate": 1e-4,
    "beta1": 0.5,
    "context": "none",
    "residual": False,
}
"""Nie et al. 2017, but for the rate: theirs is 1e-6 over 500,000 steps."""
_ONCE_NULL = ("adversarial_weight", "reduction")
"""Keys that earlier versions saved as null, for the preset's value."""


class PairedConfig(Config):
    """Settings of a generator for registered pairs and of the cascade around it."""

    published: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": PUBLISHED, "code": PUBLISHED}
    """By preset, the values that differ from the defaults."""

    preset: PresetName = "tuned"
    """``tuned``: the defaults below, which work for small and for large budgets (docs/benchmarks.md). ``paper`` and
    ``code``: the two published forms of Nie et al. 2017, as printed and as released; every key that is not named then
    has its published value."""
    generator: Annotated[Generator | MonaiNetworkConfig, or_monai(*get_args(Generator))] = "half_resolution"
    """``half_resolution``: a residual U-Net on folded voxels, same size. ``fcn``: Nie et al. 2017, 32^3 in and 16^3
    out. ``unet``: MONAI's residual U-Net, same size. Or any network of MONAI: ``{monai: SegResNet, arguments:
    {init_filters: 16}}``."""
    width: PositiveFloat = 1.0
    """Factor on the number of filters of every network; 1 is published. A generator of MONAI has its own."""
    norm: Norm = "batch"
    """Normalisation of MONAI's U-Net. ``instance`` forgets the absolute intensity of a patch, which is what tells
    tissues apart: on the phantom 226 HU against 165 (docs/benchmarks.md). The FCN has batch normalisation, the
    half-resolution U-Net none."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Rate in the U-Nets, for ``predict --dropout``: of whole channels in the half-resolution one."""
    l1_weight: NonNegativeFloat = 1.0
    """Weight of the mean absolute difference."""
    mse_weight: NonNegativeFloat = 0.0
    """Weight of the mean squared difference; lambda_2 of the paper."""
    gradient_difference_weight: NonNegativeFloat = 0.25
    """lambda_3 of the paper; 0 leaves the term out."""
    gradient_difference_power: float = Field(default=2.0, ge=1)
    """alpha of the gradient difference loss; below 1 its slope has no bound."""
    tissue_weights: tuple[NonNegativeFloat, PositiveFloat, NonNegativeFloat] = (0.75, 2.0, 1.0)
    """Factors on the voxel-wise losses where the target is air, soft tissue and bone (below -268 HU, from 201 HU, in
    the window [-1024, 2000]). Equal weights, which are published, buy bone and air with soft tissue; with these soft
    tissue is no worse than the context (docs/benchmarks.md). Of a target that is no such CT, set them to 1, 1, 1."""
    region: Region = "body"
    """Voxels that the losses cover. ``body``: those inside the mask, and of the rest that will be predicted those that
    are air in the target, so that no rim of tissue grows around the patient. ``mask``: inside the mask alone.
    ``patch``: all (published)."""
    learning_rate: PositiveFloat = 5e-4
    """Of Adam. With 2e-3 the half-resolution U-Net learns little (docs/benchmarks.md)."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Adam's first moment; 0.5 is published."""
    weight_decay: NonNegativeFloat = 0.0
    """L2 on the weights; the authors' code has 5e-4."""
    context: Literal["neighbourhood", "voxelwise", "none"] = "neighbourhood"
    """What the first network sees beside the image. ``neighbourhood``: the estimate of boosted trees on the
    intensities around a voxel, fitted in seconds (:mod:`medgen.run.first_context`). ``voxelwise``: trees that read
    the smoothed intensities at the voxel alone. ``none``: nothing, as published."""
    residual: bool = True
    """Whether a network with a context adds its output to it, so that it learns a correction."""
    stages: PositiveInt = 1
    """Networks of the auto-context cascade; stage s also sees the whole-volume estimate of stage s - 1."""
    context_folds: int = Field(default=3, ge=2)
    """Inner folds whose held-out predictions are the training context of the next network."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, values: Any) -> Any:
        """Fill in the published values, and read the names that models of earlier versions were saved with."""
        if not isinstance(values, dict):
            return values
        values = {key: value for key, value in values.items() if value is not None or key not in _ONCE_NULL}
        if values.keys() & {"distance", "distance_weight"}:
            weight, distance = values.pop("distance_weight", 1.0), values.pop("distance", "mse")
            if distance not in ("mse", "l1"):
                raise ValueError(f"'distance' is {distance!r}; mse or l1, or their weights instead")
            l1 = distance == "l1"
            values = {"l1_weight": weight if l1 else 0.0, "mse_weight": 0.0 if l1 else weight, **values}
        return {**cls.published.get(str(values.get("preset")), {}), **values}

    @model_validator(mode="after")
    def _dropout_somewhere(self) -> Self:
        if self.dropout and self.generator == "fcn":
            raise ValueError("dropout is of the U-Nets; the generator fcn has none")
        if isinstance(self.generator, MonaiNetworkConfig) and (self.dropout or self.norm != "batch"):
            raise ValueError("norm and dropout are of medgen's U-Nets: give a network of MONAI its own arguments")
        return self

    def warnings(self, steps: int) -> tuple[str, ...]:
        """Says where a preset is one in name only, as after ``--set config.preset=paper`` on a recipe of all keys."""
        published = self.published.get(self.preset, {})
        changed = [key for key, value in published.items() if getattr(self, key) != value]
        if 2 * len(changed) <= len(published):
            return ()
        keys = ", ".join(changed)
        return (f"config.preset is {self.preset}, but the recipe names other values for {keys}; take those keys out",)

    def for_ct(self) -> tuple[str, ...]:
        """The tissues of unequal weight, and the air that ``body`` adds, are told by their HU."""
        weights = ("tissue_weights: [1, 1, 1]",) if len(set(self.tissue_weights)) > 1 else ()
        return (*weights, "region: mask") if self.region == "body" else weights

    def recipe(self) -> Mapping[str, Any]:
        """The schedule, patches and inference that the tuned settings were tuned with."""
        if self.preset != "tuned":
            return {}
        return {
            "patches": {"augmentation": {"flip": ["x"]}, "overhang": self.generator == "fcn"},
            "schedule": {
                "batch": 2,
                "precision": "auto",
                "learning_rate": {"kind": "cosine", "warmup": 0.03},
                "averaging": 0.99,
            },
            "inference": {"flips": ["x"]},
        }


def new_generator(config: PairedConfig, shape: Shape) -> tuple[nn.Module, Window]:
    """The generator, and its window: a margin of 8 for the FCN; sides divisible by 8 for the U-Nets."""
    if isinstance(config.generator, MonaiNetworkConfig):
        network = MonaiNetwork(
            config.generator.monai, config.generator.arguments, shape.inputs, shape.outputs, shape.size
        )
        return network, Window(multiple=network.multiple, exact=network.exact, least=network.minimum)
    form: Preset = "paper" if config.preset == "paper" else "code"
    generator, margin, multiple = build_generator(
        config.generator,
        shape.inputs,
        shape.outputs,
        preset=form,
        width=config.width,
        norm=config.norm,
        dropout=config.dropout,
    )
    return generator, Window(margin, multiple, tile=WHOLE if config.generator == "half_resolution" else 0)


def adam(module: nn.Module, config: PairedConfig, rate: float | None = None) -> Adam:
    """The published optimiser for one network."""
    betas = (config.beta1, 0.999)
    return Adam(module.parameters(), rate or config.learning_rate, betas, weight_decay=config.weight_decay)


def estimate(generator: nn.Module, image: Tensor, config: PairedConfig, shape: Shape) -> Tensor:
    """What a stage makes of its input: the generator's output, added to the context where there is one."""
    output: Tensor = generator(image)
    if not (config.residual and shape.context):
        return output
    # In 32 bits: the context carries grey levels that half precision would round to 8 HU.
    with torch.autocast(image.device.type, enabled=False):
        return centre(image[:, -shape.context :], output).float() + output.float()


class Covers(Protocol):
    """Settings that say where the losses look."""

    @property
    def region(self) -> Region:
        """See :attr:`PairedConfig.region`."""
        ...


def covered(batch: Paired, like: Tensor, config: Covers) -> Tensor | None:
    """Where the losses look, ``(B, 1, x, y, z)`` in {0, 1} for an output of the size of ``like``; None: everywhere."""
    if config.region == "patch":
        return None
    mask = centre(batch.mask, like)
    if config.region == "mask":
        return mask
    air = (centre(batch.target, like) < AIR_BELOW).all(dim=1, keepdim=True)
    return torch.maximum(mask, centre(batch.body, like) * air)


def _weights(target: Tensor, mask: Tensor | None, config: PairedConfig) -> Tensor | None:
    """What each voxel counts in the voxel-wise losses."""
    if len(set(config.tissue_weights)) == 1:
        return mask
    air, soft, bone = config.tissue_weights
    weights = torch.where(target < AIR_BELOW, air, torch.where(target < BONE_FROM, soft, bone))
    weights = weights.mean(dim=1, keepdim=True)
    return weights if mask is None else weights * mask


def reconstruction(
    estimated: Tensor, batch: Paired, config: PairedConfig, reduction: Reduction = "mean"
) -> dict[str, Tensor]:
    """The weighted voxel-wise and gradient-difference terms of ``estimated`` against ``batch.target``."""
    target, mask = centre(batch.target, estimated), covered(batch, estimated, config)
    importance = _weights(target, mask, config)
    losses: dict[str, Tensor] = {}
    for name, weight, distance in (
        ("l1", config.l1_weight, mean_absolute),
        ("mse", config.mse_weight, mean_squared),
    ):
        if weight or (name == "mse" and not losses):  # an update has a loss, even where only the adversary counts
            losses[name] = weight * distance(estimated, target, mask=importance, reduction=reduction)
    if config.gradient_difference_weight:
        losses["gradient_difference"] = config.gradient_difference_weight * gradient_difference(
            estimated, target, mask=mask, alpha=config.gradient_difference_power, reduction=reduction
        )
    return losses
