"""Entropy minimisation: the segmenter is made sure of what it says of the unlabelled domain.

Grandvalet & Bengio 2005 (NeurIPS 17) for classifiers; Vu et al. 2019 (arXiv 1811.12833), "MinEnt", for segmentation
across domains: the entropy of each voxel's prediction, divided by log K, is averaged over target patches (eq. 2, 3).

It makes predictions sure, not right: with a large weight, everything that was doubtful becomes background.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

from pydantic import NonNegativeFloat, model_validator

from medgen.losses.segmentation import entropy
from medgen.methods._domains import DomainStatistics, Share, StatisticsName, ramp, require_order
from medgen.methods._segmentation import SegmentationConfig, Segmenter
from medgen.methods.base import Adapts, Shape, Update
from medgen.sampling.batches import Adaptation, Batch, centre


class Config(SegmentationConfig):
    """Settings of entropy minimisation."""

    entropy_weight: NonNegativeFloat = 0.001
    """At its largest; published by Vu et al. 0 is supervised training."""
    entropy_begin: Share = 0.0
    """Share of the training until which the weight is 0: a segmenter should know something before it is sure of it."""
    entropy_full: Share = 0.0
    """Share of the training from which the weight is at its largest; published is no rise."""
    statistics: StatisticsName = "shared"
    """Batch normalisation: statistics of both domains in one batch; or each domain by itself, with those of the
    source or of the target domain kept for prediction."""

    @model_validator(mode="after")
    def _entropy_in_order(self) -> Config:
        require_order(entropy_begin=self.entropy_begin, entropy_full=self.entropy_full)
        return self


class EntropyMinimisation(Segmenter, Adapts):
    """Supervised loss on the source domain, entropy inside the mask on the target."""

    config_class = Config
    batch_class: ClassVar[type[Batch]] = Adaptation
    config: Config
    statistics: DomainStatistics

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        self.statistics = DomainStatistics(self.network, config.statistics)

    @property
    def target_begins(self) -> float:
        """When the entropy first counts."""
        return self.config.entropy_begin if self.config.entropy_weight else 1.0

    def updates(self, batch: Adaptation, progress: float) -> Iterator[Update]:
        """One step of the segmenter."""
        config = self.config
        weight = config.entropy_weight * ramp(progress, config.entropy_begin, config.entropy_full)
        if not weight:
            logits = self.statistics.alone(self.network, batch.source)
            yield Update("segmenter", self.supervised(logits, batch.label))
            return
        passed = self.statistics.both(self.network, batch.source, batch.target)
        doubt = entropy(passed.target, centre(batch.target_mask, passed.target)) / math.log(self.shape.outputs)
        yield Update("segmenter", self.supervised(passed.source, batch.label) | {"entropy": weight * doubt})


METHOD = EntropyMinimisation
