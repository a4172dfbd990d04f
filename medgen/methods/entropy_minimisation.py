"""Entropy minimisation: the segmenter becomes confident on the unlabelled domain.

Grandvalet & Bengio 2005 (NeurIPS 17) for classifiers; Vu et al. 2019 (arXiv 1811.12833), "MinEnt", for segmentation
across domains: the entropy of each voxel's prediction, divided by log K, is averaged over target patches (eq. 2, 3).

It makes predictions confident, not right: with a large weight, every uncertain voxel becomes background.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from pydantic import NonNegativeFloat, model_validator
from torch import Tensor
from torch.optim import Optimizer

from medgen.losses.segmentation import entropy
from medgen.methods._domains import DomainStatistics, Share, StatisticsConfig, ramp, require_order
from medgen.methods._prediction import Monitored, Predictor
from medgen.methods._segmentation import new_network, new_optimizer, supervised, window_of
from medgen.methods.base import Adapts, Method, Predicts, Shape, Update, Window
from medgen.sampling.batches import Adaptation
from medgen.sampling.parts import centre


class Config(StatisticsConfig):
    """Settings of entropy minimisation."""

    entropy_weight: NonNegativeFloat = 0.001
    """At its largest; published by Vu et al. 0 is supervised training."""
    entropy_begin: Share = 0.0
    """Share of the training until which the weight is 0: a segmenter should learn before it is made sure."""
    entropy_full: Share = 0.0
    """Share of the training from which the weight is at its largest; published is no rise."""

    @model_validator(mode="after")
    def _entropy_in_order(self) -> Config:
        require_order(entropy_begin=self.entropy_begin, entropy_full=self.entropy_full)
        return self


class EntropyMinimisation(Method, Predicts, Adapts, Monitored):
    """Supervised loss on the source domain, entropy inside the mask on the target."""

    config_class = Config
    batch_class = Adaptation
    learns = "segmenter/cross_entropy"
    config: Config

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        self.network = new_network(config, shape)
        self.statistics = DomainStatistics(self.network, config.statistics)
        self.predictor = Predictor(self.network, self.statistics)

    @property
    def window(self) -> Window:
        """That of the network."""
        return window_of(self.config, self.network)

    @property
    def target_begins(self) -> float:
        """When the entropy first counts."""
        return self.config.entropy_begin if self.config.entropy_weight else 1.0

    def optimizers(self) -> dict[str, Optimizer]:
        """The segmenter's."""
        return {"segmenter": new_optimizer(self.config, self.network)}

    def updates(self, batch: Adaptation, progress: float) -> Iterator[Update]:
        """One step of the segmenter: ``L_seg + w H / log K``."""
        config = self.config
        weight = config.entropy_weight * ramp(progress, config.entropy_begin, config.entropy_full)
        if not weight:
            logits = self.statistics.forward_source(self.network, batch.source)
            yield Update("segmenter", supervised(config, self.network, logits, batch.label))
            return
        outputs = self.statistics.forward_both(self.network, batch.source, batch.target)
        losses = supervised(config, self.network, outputs.source, batch.label)
        share = entropy(outputs.target, centre(batch.target_mask, outputs.target)) / math.log(self.shape.outputs)
        yield Update("segmenter", losses | {"entropy": weight * share})

    def predict(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Class probabilities ``(B, K, X - 2m, Y - 2m, Z - 2m)`` in [0, 1]; channel 0 is background."""
        return self.predictor.probabilities(image)

    def exported(self) -> Sequence[str]:
        """What prediction needs."""
        return self.predictor.parts


METHOD = EntropyMinimisation
