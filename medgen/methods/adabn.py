"""AdaBN: the target domain has its own batch-normalisation statistics (Li et al. 2016, arXiv 1603.04779).

The segmenter learns from the source domain alone. Meanwhile the unlabelled target patches pass through the network
without learning, only to collect their own running means and variances, which prediction then uses. So it is for images
of the target domain: those of the source domain are predicted by the wrong statistics.

A network with instance normalisation has no running statistics: it normalises each image by itself, so it adapts in
this sense without help, and here there is nothing for it to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from medgen.errors import UsageError
from medgen.methods._domains import DomainStatistics, Share
from medgen.methods._prediction import Monitored, Predictor
from medgen.methods._segmentation import SegmentationConfig, new_network, new_optimizer, supervised, window_of
from medgen.methods.base import Adapts, Method, Predicts, Shape, Update, Window
from medgen.networks.shadow_weights import statistics_of
from medgen.sampling.batches import Adaptation


class Config(SegmentationConfig):
    """Settings of AdaBN."""

    norm: Literal["batch", "instance"] | None = "batch"
    """Normalisation; it must be batch here."""
    begin: Share = 0.8
    """Share of the training from which statistics of the target are collected. Published is one pass after training;
    running statistics forget as the weights move, so only the last ones count: DeepMedic's are of some 50 steps."""


class AdaBN(Method, Predicts, Adapts, Monitored):
    """Supervised training, then a forward pass of the target patches in the state of the new weights."""

    config_class = Config
    batch_class = Adaptation
    learns = "segmenter/cross_entropy"
    config: Config

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        self.network = new_network(config, shape)
        if not statistics_of(self.network):
            raise UsageError(
                "this network has no batch normalisation, so AdaBN has nothing to adapt: instance normalisation "
                "takes the statistics of each image by itself",
                fix="set config.norm to batch, or the method to segmentation",
            )
        self.statistics = DomainStatistics(self.network, "target")
        self.predictor = Predictor(self.network, self.statistics)

    @property
    def window(self) -> Window:
        """That of the network."""
        return window_of(self.config, self.network)

    @property
    def target_begins(self) -> float:
        """When statistics of the target are first collected."""
        return self.config.begin

    def optimizers(self) -> dict[str, Optimizer]:
        """The segmenter's."""
        return {"segmenter": new_optimizer(self.config, self.network)}

    def updates(self, batch: Adaptation, progress: float) -> Iterator[Update]:
        """One step of the segmenter on the source; then a pass of the target that only collects statistics."""
        begun = progress >= self.config.begin
        logits = self.network(batch.source) if begun else self.statistics.forward_source(self.network, batch.source)
        yield Update("segmenter", supervised(self.config, self.network, logits, batch.label))
        if begun:
            with torch.no_grad(), self.statistics.used_by(self.network):
                self.network(batch.target)

    def predict(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Class probabilities ``(B, K, X - 2m, Y - 2m, Z - 2m)`` in [0, 1]; channel 0 is background."""
        return self.predictor.probabilities(image)


METHOD = AdaBN
