"""Supervised segmentation, e.g. of brain lesions: DeepMedic (Kamnitsas et al. 2017, MedIA 36:61) or a U-Net.

What adaptation has to beat when it is trained on one domain, and the bound it may reach when trained on the other.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.optim import Optimizer

from medgen.methods._segmentation import (
    SegmentationConfig,
    feature_maps,
    new_network,
    new_optimizer,
    probabilities,
    supervised,
    window_of,
)
from medgen.methods.base import HasFeatures, Method, Predicts, Shape, Update, Window
from medgen.sampling.batches import Labelled


class Config(SegmentationConfig):
    """Settings of supervised segmentation."""


class Segmentation(Method, Predicts, HasFeatures):
    """Minimise cross-entropy, by its weight the soft Dice, and the penalties of the weights."""

    config_class = Config
    batch_class = Labelled
    learns = "segmenter/cross_entropy"
    config: Config

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        self.network = new_network(config, shape)

    @property
    def window(self) -> Window:
        """That of the network."""
        return window_of(self.config, self.network)

    def optimizers(self) -> dict[str, Optimizer]:
        """The segmenter's."""
        return {"segmenter": new_optimizer(self.config, self.network)}

    def updates(self, batch: Labelled, progress: float) -> Iterator[Update]:
        """One step of the segmenter."""
        yield Update("segmenter", supervised(self.config, self.network, self.network(batch.source), batch.label))

    def predict(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Class probabilities ``(B, K, X - 2m, Y - 2m, Z - 2m)`` in [0, 1]; channel 0 is background."""
        return probabilities(self.network, image)

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        """All feature maps ``(B, C, x, y, z)`` of the network, in the order of its layers."""
        return feature_maps(self.network, image)


METHOD = Segmentation
