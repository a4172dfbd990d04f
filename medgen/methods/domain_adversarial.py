"""Adversarial adaptation of a segmenter to an unlabelled domain (Kamnitsas et al. 2017, arXiv 1612.08894).

A discriminator looks at feature maps of several layers at once and learns which domain a voxel comes from. The
segmenter minimises ``L_seg - alpha L_adv``: its own loss on the labelled domain, less alpha times the cross-entropy of
the discriminator on both. alpha is 0 until ``begin`` and then rises linearly to ``adversarial_weight`` at ``full``.

The authors' code was never released. The one public re-implementation never trains its discriminator and draws target
patches with the help of target labels; here the discriminator steps first, on its own optimiser, and target patches
are drawn uniformly in the mask.
"""

from __future__ import annotations

from collections.abc import Iterator

from medgen.methods._adversary import AdversarialSegmenter, AdversaryConfig
from medgen.methods.base import Update
from medgen.sampling.batches import Adaptation


class Config(AdversaryConfig):
    """Settings of domain-adversarial training."""


class DomainAdversarial(AdversarialSegmenter):
    """The discriminator steps first, then the segmenter works against the new discriminator."""

    config_class = Config
    config: Config

    def updates(self, batch: Adaptation, progress: float) -> Iterator[Update]:
        """Discriminator: cross-entropy of the domain; segmenter: ``L_seg - alpha L_adv``."""
        if not self.judges(progress):
            logits = self.statistics.alone(self.network, batch.source)
            yield Update("segmenter", self.supervised(logits, batch.label))
            return
        passed = self.statistics.both(self.network, batch.source, batch.target, self.layers)
        yield Update("discriminator", self.judged(passed.source_maps.detach(), passed.target_maps.detach()))
        # The discriminator has just stepped: the segmenter works against the new one.
        yield Update("segmenter", self.supervised(passed.source, batch.label) | self.resisted(passed, progress))


METHOD = DomainAdversarial
