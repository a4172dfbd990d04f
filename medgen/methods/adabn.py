"""AdaBN: the target domain has its own batch-normalisation statistics (Li et al. 2016, arXiv 1603.04779).

The segmenter learns from the source domain alone. Meanwhile the unlabelled target patches pass through the network
without learning, only to collect their own running means and variances, which prediction then uses. So it is for images
of the target domain: those of the source domain are predicted by the wrong statistics.

A network with instance normalisation has no running statistics: it normalises each image by itself, so it adapts in
this sense without help, and here there is nothing for it to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch

from medgen.errors import UsageError
from medgen.methods._domains import DomainStatistics, Share
from medgen.methods._segmentation import SegmentationConfig, Segmenter
from medgen.methods.base import Adapts, Shape, Update
from medgen.networks.shadow_weights import statistics_of
from medgen.sampling.batches import Adaptation, Batch


class Config(SegmentationConfig):
    """Settings of AdaBN."""

    norm: Literal["batch", "instance"] | None = "batch"
    """Normalisation; it must be batch here."""
    begin: Share = 0.8
    """Share of the training from which statistics of the target are collected. Published is one pass after training;
    running statistics forget as the weights move, so only the last ones count: DeepMedic's are of some 50 steps."""


class AdaBN(Segmenter, Adapts):
    """Supervised training, then a forward pass of the target patches in the state of the new weights."""

    config_class = Config
    batch_class: ClassVar[type[Batch]] = Adaptation
    config: Config
    statistics: DomainStatistics

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        if not statistics_of(self.network):
            raise UsageError(
                "this network has no batch normalisation, so AdaBN has nothing to adapt: instance normalisation "
                "takes the statistics of each image by itself",
                fix="set config.norm to batch, or the method to segmentation",
            )
        self.statistics = DomainStatistics(self.network, "target")

    @property
    def target_begins(self) -> float:
        """When statistics of the target are first collected."""
        return self.config.begin

    def updates(self, batch: Adaptation, progress: float) -> Iterator[Update]:
        """One step of the segmenter on the source; then a pass of the target that only counts."""
        if progress < self.config.begin:
            logits = self.statistics.alone(self.network, batch.source)
            yield Update("segmenter", self.supervised(logits, batch.label))
            return
        yield Update("segmenter", self.supervised(self.network(batch.source), batch.label))
        with torch.no_grad(), self.statistics.used_by(self.network):
            self.network(batch.target)


METHOD = AdaBN
