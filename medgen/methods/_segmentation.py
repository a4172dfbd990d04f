"""What the segmentation methods share: settings, network, optimiser, window, supervised loss and prediction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from medgen.config import Config
from medgen.losses.segmentation import cross_entropy, focal, soft_dice, weight_penalties
from medgen.methods._monai import MonaiNetworkConfig, or_monai
from medgen.methods._optimizers import NesterovRMSprop
from medgen.methods.base import Shape, Window
from medgen.networks.deepmedic import DeepMedic
from medgen.networks.monai_network import MonaiNetwork
from medgen.networks.segmenters import SegmentationUNet, Slices, build_segmenter
from medgen.sampling.parts import centre

Network = DeepMedic | SegmentationUNet | MonaiNetwork


PUBLISHED: Mapping[str, Any] = {
    "network": "deepmedic",
    "dice_weight": 0.0,
    "optimizer": "rmsprop",
    "learning_rate": 1e-3,
    "l1": 1e-6,
    "l2": 1e-4,
}
"""DeepMedic as published (Kamnitsas et al. 2017 and its code)."""
DeepMedicName = Literal["original", "res2016", "current", "wide", "small"]


class SegmentationConfig(Config):
    """Settings of a segmenter and of its training."""

    published: ClassVar[Mapping[str, Any]] = PUBLISHED
    """What a key that is not named is with a preset other than ``tuned``."""

    preset: Literal["tuned", DeepMedicName] = "tuned"
    """``tuned``: the defaults below, which work for small and for large budgets (docs/benchmarks.md), with the patches
    and the schedule that they were tuned with. The others are forms of DeepMedic, with its published training:
    ``original`` and ``res2016`` have one pathway of low resolution, ``current`` and ``wide`` two; ``small`` is
    ``res2016`` with a third of the width of its widest layers (16 and 48 filters for 50 and 150)."""
    network: Annotated[Literal["deepmedic", "unet"] | MonaiNetworkConfig, or_monai("deepmedic", "unet")] = "unet"
    """DeepMedic is ``res2016`` where no preset names another form. It needs patches larger than its margin. Or any
    network of MONAI: ``{monai: SegResNet, arguments: {init_filters: 16}}``."""
    width: PositiveFloat = 1.0
    """Factor on the number of filters of the U-Net."""
    slices: Slices = "thin"
    """Of the U-Net: ``thick`` for e.g. 1 x 1 x 3 mm, ``thicker`` for 0.5 x 0.5 x 3 mm, ``apart`` for a 2D network."""
    norm: Literal["batch", "instance"] | None = None
    """Normalisation; by default the network's own: batch in DeepMedic, instance in the U-Net."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Rate in the last layers; by default the network's own: 0.5 in DeepMedic, none in the U-Net."""
    cross_entropy_weight: NonNegativeFloat = 1.0
    dice_weight: NonNegativeFloat = 1.0
    """Of the soft Dice of the batch; 0 is published, and finds no small lesion in a short training."""
    focal_weight: NonNegativeFloat = 0.0
    """Of the focal loss, in place of the cross-entropy or beside it."""
    focal_gamma: NonNegativeFloat = 2.0
    """How much less a voxel counts that is right already; the detectors of PI-CAI have 1."""
    optimizer: Literal["rmsprop", "adam"] = "adam"
    """``rmsprop`` with Nesterov momentum is published; a third of the steps are enough with ``adam``."""
    learning_rate: PositiveFloat = 3e-3
    """1e-3 is published."""
    momentum: float = Field(default=0.6, ge=0, lt=1)
    """Of RMSprop; the code's default."""
    l1: NonNegativeFloat = 0.0
    """Weight of the sum of the absolute weights of the convolutions; 1e-6 is published."""
    l2: NonNegativeFloat = 0.0
    """Weight of the sum of the squared weights of the convolutions; 1e-4 is published."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, values: Any) -> Any:
        """Fill in the published values where a published form is named."""
        if not isinstance(values, dict) or values.get("preset", "tuned") == "tuned":
            return values
        return {**cls.published, **values}

    def recipe(self) -> Mapping[str, Any]:
        """The schedule and patches that the tuned settings were tuned with; half of the patches show a lesion."""
        if self.preset != "tuned":
            return {}
        return {
            "patches": {"sampling": "balanced", "jitter": 0.7, "augmentation": {"flip": ["x"]}},
            "schedule": {
                "batch": 4,
                "precision": "auto",
                "learning_rate": {"kind": "cosine", "warmup": 0.05},
                "clip": 5.0,
            },
        }

    @model_validator(mode="after")
    def _some_loss(self) -> SegmentationConfig:
        if not self.cross_entropy_weight and not self.dice_weight and not self.focal_weight:
            raise ValueError("cross_entropy_weight, dice_weight and focal_weight are 0, so there is nothing to learn")
        return self

    @model_validator(mode="after")
    def _arguments_of_its_own(self) -> SegmentationConfig:
        if isinstance(self.network, MonaiNetworkConfig):
            for key in ("preset", "width", "slices", "norm", "dropout"):
                if getattr(self, key) != type(self).model_fields[key].default:
                    raise ValueError(f"{key} is of medgen's own networks: give one of MONAI its own arguments")
        return self


def new_network(config: SegmentationConfig, shape: Shape) -> Network:
    """The network that the settings describe."""
    if isinstance(config.network, MonaiNetworkConfig):
        return MonaiNetwork(config.network.monai, config.network.arguments, shape.inputs, shape.outputs, shape.size)
    return build_segmenter(
        config.network,
        shape.inputs,
        shape.outputs,
        preset="res2016" if config.preset == "tuned" else config.preset,
        width=config.width,
        norm=config.norm or ("batch" if config.network == "deepmedic" else "instance"),
        dropout=config.dropout,
        slices=config.slices,
    )


def new_optimizer(config: SegmentationConfig, module: nn.Module, learning_rate: float | None = None) -> Optimizer:
    """An optimiser of the kind in ``config`` for one network; with its learning rate, where none is given."""
    rate = learning_rate or config.learning_rate
    if config.optimizer == "adam":
        return Adam(module.parameters(), rate)
    return NesterovRMSprop(module.parameters(), rate, momentum=config.momentum)


def window_of(config: SegmentationConfig, network: Network, minimum: int = 0, reach: int = 0) -> Window:
    """The context and sub-sampling of DeepMedic's pathways, or the levels of the U-Net.

    Args:
        config: says how thick the slices are; where they are, a patch may have one slice.
        network: of these settings.
        minimum: voxels of the smallest side that something else asks for, such as a discriminator.
        reach: voxels on each side that the method loses after the network.
    """
    if isinstance(network, MonaiNetwork):
        fewest = max(2 * reach + 1, minimum)
        return Window(reach, network.multiple, 1, fewest, exact=network.exact, least=network.minimum)
    least = max(network.multiple, 2 * (network.margin + reach) + network.align, network.minimum, minimum)
    smallest = least if config.slices == "thin" else (least, least, 1)
    return Window(network.margin + reach, network.multiple, network.align, smallest)


def supervised(config: SegmentationConfig, network: nn.Module, logits: Tensor, label: Tensor) -> dict[str, Tensor]:
    """The weighted losses of logits ``(B, K, x, y, z)`` against a label ``(B, 1, X, Y, Z)``, and the penalties.

    Args:
        config: which losses.
        network: whose weights are penalised.
        logits: raw.
        label: cut to the size of the logits.
    """
    return label_losses(config, logits, centre(label, logits)) | penalties(config, network)


def penalties(config: SegmentationConfig, network: nn.Module) -> dict[str, Tensor]:
    """What the settings ask for of the weights of a network's convolutions."""
    convolutions = (parameter for parameter in network.parameters() if parameter.dim() == 5)
    return weight_penalties(convolutions, l1=config.l1, l2=config.l2)


def label_losses(
    config: SegmentationConfig, logits: Tensor, label: Tensor, weight: Tensor | None = None
) -> dict[str, Tensor]:
    """The losses that the settings ask for, weighted, of logits ``(B, K, x, y, z)`` against ``(B, 1, x, y, z)``.

    Args:
        config: which losses.
        logits: raw.
        label: of the same size.
        weight: (B, 1, x, y, z), at least 0, of each voxel.
    """
    losses: dict[str, Tensor] = {}
    if config.cross_entropy_weight:
        losses["cross_entropy"] = config.cross_entropy_weight * cross_entropy(logits, label, weight)
    if config.dice_weight:
        losses["dice"] = config.dice_weight * soft_dice(logits, label, weight)
    if config.focal_weight:
        losses["focal"] = config.focal_weight * focal(logits, label, weight, gamma=config.focal_gamma)
    return losses


def pseudo_label_loss(config: SegmentationConfig, logits: Tensor, label: Tensor, weight: Tensor) -> Tensor:
    """The sum of the weighted losses with a label that a network made; arguments as for :func:`label_losses`."""
    return torch.stack(list(label_losses(config, logits, label, weight).values())).sum()


def feature_maps(network: Network, image: Tensor) -> tuple[Tensor, ...]:
    """All feature maps ``(B, C, x, y, z)`` of a network for images ``(B, C, X, Y, Z)``, in the order of its layers."""
    return tuple(network.features(image, network.layers)[1].values())


def probabilities(network: nn.Module, image: Tensor) -> Tensor:
    """Class probabilities ``(B, K, X - 2m, Y - 2m, Z - 2m)`` in [0, 1]; channel 0 is background."""
    logits: Tensor = network(image)
    return logits.float().softmax(dim=1)
