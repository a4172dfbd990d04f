"""What the segmentation methods share: the network, the supervised loss, the published way to train it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from medgen.cases import TARGET
from medgen.config import Config
from medgen.losses.segmentation import cross_entropy, focal, soft_dice, weight_penalties
from medgen.methods._domains import DomainStatistics, Network
from medgen.methods._optimizers import NesterovRMSprop
from medgen.methods.base import Method, Predicts, Shape, Window
from medgen.networks.segmenters import Slices, build_segmenter
from medgen.networks.shadow_weights import without_shadow_statistics
from medgen.sampling.batches import Batch, Labelled, centre


class SegmentationConfig(Config):
    """Settings of a segmenter; the defaults are DeepMedic as published (Kamnitsas et al. 2017 and its code)."""

    network: Literal["deepmedic", "unet"] = "deepmedic"
    preset: Literal["original", "res2016", "current", "wide", "small"] = "res2016"
    """Of DeepMedic: ``original`` and ``res2016`` have one pathway of low resolution, ``current`` and ``wide`` two;
    ``small`` is ``res2016`` with a third of the width of its widest layers (16 and 48 filters for 50 and 150)."""
    width: PositiveFloat = 1.0
    """Factor on the number of filters of the U-Net."""
    slices: Slices = "thin"
    """Of the U-Net: ``thick`` for e.g. 1 x 1 x 3 mm, ``thicker`` for 0.5 x 0.5 x 3 mm, ``apart`` for a 2D network."""
    norm: Literal["batch", "instance"] | None = None
    """Normalisation; by default the network's own: batch in DeepMedic, instance in the U-Net."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Rate in the last layers; by default the network's own: 0.5 in DeepMedic, none in the U-Net."""
    cross_entropy_weight: NonNegativeFloat = 1.0
    dice_weight: NonNegativeFloat = 0.0
    """Of the soft Dice of the batch; 0 is published."""
    focal_weight: NonNegativeFloat = 0.0
    """Of the focal loss, in place of the cross-entropy or beside it."""
    focal_gamma: NonNegativeFloat = 2.0
    """How much less a voxel counts that is right already; the detectors of PI-CAI have 1."""
    optimizer: Literal["rmsprop", "adam"] = "rmsprop"
    """``rmsprop`` with Nesterov momentum is published; a third of the steps are enough with ``adam``."""
    learning_rate: PositiveFloat = 1e-3
    momentum: float = Field(default=0.6, ge=0, lt=1)
    """Of RMSprop; the code's default."""
    l1: NonNegativeFloat = 1e-6
    """Weight of the sum of the absolute weights of the convolutions."""
    l2: NonNegativeFloat = 1e-4
    """Weight of the sum of the squared weights of the convolutions."""

    @model_validator(mode="after")
    def _some_loss(self) -> SegmentationConfig:
        if not self.cross_entropy_weight and not self.dice_weight and not self.focal_weight:
            raise ValueError("cross_entropy_weight, dice_weight and focal_weight are 0, so there is nothing to learn")
        return self


class Segmenter(Method, Predicts):
    """A network that labels voxels; subclasses say how it learns.

    Like the base of the methods for pairs, it shares no training: what the network fixes (margin, divisor, alignment),
    its supervised loss and its optimiser.
    """

    batch_class: ClassVar[type[Batch]] = Labelled
    learns = "segmenter/cross_entropy"
    config: SegmentationConfig
    statistics: DomainStatistics | None

    def __init__(self, config: SegmentationConfig, shape: Shape) -> None:
        super().__init__(config, shape)
        self.network = new_network(config, shape)
        self.statistics = None

    @property
    def window(self) -> Window:
        """The context and sub-sampling of DeepMedic's pathways, or the levels of the U-Net."""
        return self.window_of(0)

    def window_of(self, minimum: int) -> Window:
        """The window of the network where the smallest side is at least ``minimum``; one slice where they are thick."""
        network = self.network
        least = max(network.multiple, 2 * network.margin + network.align, network.minimum, minimum)
        smallest = least if self.config.slices == "thin" else (least, least, 1)
        return Window(network.margin, network.multiple, network.align, smallest)

    def optimizers(self) -> dict[str, Optimizer]:
        """The segmenter's optimiser."""
        return {"segmenter": self.optimizer_of(self.network)}

    def optimizer_of(self, module: nn.Module, learning_rate: float | None = None) -> Optimizer:
        """An optimiser of the recipe's kind for one network."""
        config, rate = self.config, learning_rate or self.config.learning_rate
        if config.optimizer == "adam":
            return Adam(module.parameters(), rate)
        return NesterovRMSprop(module.parameters(), rate, momentum=config.momentum)

    def supervised(self, logits: Tensor, label: Tensor, network: nn.Module | None = None) -> dict[str, Tensor]:
        """The weighted losses of logits ``(B, K, x, y, z)`` against a label ``(B, 1, X, Y, Z)``, and the penalties.

        Args:
            logits: raw.
            label: cut to the size of the logits.
            network: whose weights are penalised; by default :attr:`network`.
        """
        config = self.config
        penalties = weight_penalties(_convolutions(network or self.network), l1=config.l1, l2=config.l2)
        return label_losses(config, logits, centre(label, logits)) | penalties

    def deployed(self) -> AbstractContextManager[None]:
        """Inside the block :attr:`network` is what prediction uses: for some methods a teacher, or other statistics."""
        return nullcontext() if self.statistics is None else self.statistics.kept(self.network)

    def on_domain(self, domain: str | None) -> AbstractContextManager[None]:
        """Inside the block :meth:`predict` and :meth:`features` are for images of one domain.

        A model that predicts with the statistics of the target domain is wrong about images of the source. For those
        its weights get the statistics of the source; everything else is as prediction does it.

        Args:
            domain: ``target``; any other is the labelled one.
        """
        of_target = self.statistics is not None and self.statistics.mode == "target"
        return without_shadow_statistics(self) if of_target and domain != TARGET else nullcontext()

    def predict(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Class probabilities ``(B, K, X - 2m, Y - 2m, Z - 2m)`` in [0, 1]; channel 0 is background."""
        with self.deployed():
            logits: Tensor = self.network(image)
        return logits.float().softmax(dim=1)

    def features(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits ``(B, K, x, y, z)`` and all feature maps ``(B, C, x, y, z)`` by name, as prediction computes them."""
        with self.deployed():
            return self.network.features(image, self.network.layers)


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


def new_network(config: SegmentationConfig, shape: Shape) -> Network:
    """The network that the settings describe."""
    return build_segmenter(
        config.network,
        shape.inputs,
        shape.outputs,
        preset=config.preset,
        width=config.width,
        norm=config.norm or ("batch" if config.network == "deepmedic" else "instance"),
        dropout=config.dropout,
        slices=config.slices,
    )


def _convolutions(network: nn.Module) -> Iterator[Tensor]:
    return (parameter for parameter in network.parameters() if parameter.dim() == 5)
