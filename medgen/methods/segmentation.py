"""Supervised segmentation, e.g. of brain lesions: DeepMedic (Kamnitsas et al. 2017, MedIA 36:61) or a U-Net.

What adaptation has to beat when it is trained on one domain, and the bound it may reach when trained on the other.
"""

from __future__ import annotations

from collections.abc import Iterator

from medgen.methods._segmentation import SegmentationConfig, Segmenter
from medgen.methods.base import Update
from medgen.sampling.batches import Labelled


class Config(SegmentationConfig):
    """Settings of supervised segmentation."""


class Segmentation(Segmenter):
    """Minimise cross-entropy, by its weight the soft Dice, and the penalties of the weights."""

    config_class = Config
    config: Config

    def updates(self, batch: Labelled, progress: float) -> Iterator[Update]:
        """One step of the segmenter."""
        yield Update("segmenter", self.supervised(self.network(batch.source), batch.label))


METHOD = Segmentation
