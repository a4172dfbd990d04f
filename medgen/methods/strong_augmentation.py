"""Supervised segmentation of the source domain alone, with intensities changed so much that scanners differ less.

Random contrast and channels that go missing are what adaptation has to beat before its target images are worth
anything (Billot et al. 2021, arXiv 2107.09559, take it furthest). No target image is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator

from medgen.methods._perturbation import PerturbationConfig, perturb
from medgen.methods._segmentation import SegmentationConfig, Segmenter
from medgen.methods.base import Update
from medgen.sampling.batches import Labelled


class Config(SegmentationConfig):
    """Settings of supervised segmentation with strong augmentation."""

    perturbation: PerturbationConfig = PerturbationConfig(
        curve=0.7, mixing=0.5, scale=0.4, shift=0.4, blur=0.5, channel_dropout=0.1
    )
    """What is done to the patches. Every channel is missing from a tenth of them; where it is known which one differs
    between the domains, give that one alone, by its number, in ``channel_dropout``."""


class StrongAugmentation(Segmenter):
    """Minimise the supervised loss on perturbed patches."""

    config_class = Config
    config: Config

    def updates(self, batch: Labelled, progress: float) -> Iterator[Update]:
        """One step of the segmenter."""
        changed = perturb(batch.source, batch.mask, self.config.perturbation)
        yield Update("segmenter", self.supervised(self.network(changed), batch.label))


METHOD = StrongAugmentation
