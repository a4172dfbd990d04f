"""Supervised segmentation of the source domain alone, with intensities changed so much that scanners differ less.

Random contrast and channels that go missing are what adaptation has to beat before its target images are worth
anything (Billot et al. 2021, arXiv 2107.09559, take it furthest). No target image is used.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.optim import Optimizer

from medgen.methods._perturbation import PerturbationConfig, perturb
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
    """Settings of supervised segmentation with strong augmentation."""

    perturbation: PerturbationConfig = PerturbationConfig(
        curve=0.7, mixing=0.5, scale=0.4, shift=0.4, blur=0.5, channel_dropout=0.1
    )
    """Random changes of the patches. Every channel is missing from a tenth of them; where it is known which one differs
    between the domains, give that one alone, by its number, in ``channel_dropout``."""


class StrongAugmentation(Method, Predicts, HasFeatures):
    """Minimise the supervised loss on perturbed patches."""

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
        logits = self.network(perturb(batch.source, batch.mask, self.config.perturbation))
        yield Update("segmenter", supervised(self.config, self.network, logits, batch.label))

    def predict(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Class probabilities ``(B, K, X - 2m, Y - 2m, Z - 2m)`` in [0, 1]; channel 0 is background."""
        return probabilities(self.network, image)

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        """All feature maps ``(B, C, x, y, z)`` of the network, in the order of its layers."""
        return feature_maps(self.network, image)


METHOD = StrongAugmentation
