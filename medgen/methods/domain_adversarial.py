"""Adversarial adaptation of a segmenter to an unlabelled domain (Kamnitsas et al. 2017, arXiv 1612.08894).

A discriminator looks at feature maps of several layers at once and learns which domain a voxel comes from. The
segmenter minimises ``L_seg - alpha L_adv``: its own loss on the labelled domain, less alpha times the cross-entropy of
the discriminator on both. alpha is 0 until ``begin`` and then rises linearly to ``adversarial_weight`` at ``full``.

The authors' code was never released. The one public re-implementation never trains its discriminator and draws target
patches with the help of target labels; here the discriminator steps first, on its own optimiser, and target patches
are drawn uniformly in the mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor
from torch.optim import Optimizer

from medgen.batches import Adaptation
from medgen.errors import UsageError
from medgen.losses.domain import domain_cross_entropy
from medgen.method import Channels, Update
from medgen.methods._segmentation import SegmentationConfig, Segmenter
from medgen.networks.alternate import Alternate, statistics_of
from medgen.networks.domain_discriminator import DomainDiscriminator

Share = Annotated[float, Field(ge=0, le=1)]


class Config(SegmentationConfig):
    """Settings of domain-adversarial training; epochs of the publication are shares of the training here."""

    layers: tuple[str, ...] = ()
    """Feature maps that the discriminator sees; by default 4, 6, 8 (of every pathway) and 10 of DeepMedic, all of
    another network."""
    adversarial_weight: NonNegativeFloat = 0.05
    """alpha at its largest; published. 0 is supervised training on the source domain."""
    begin: Share = 10 / 35
    """Share of the training until which alpha is 0; epoch 10 of 35."""
    full: Share = 1.0
    """Share of the training from which alpha is at its largest; epoch 35 of 35."""
    discriminator_begin: Share = 0.0
    """Share of the training at which the discriminator starts to learn; before it no target image is looked at."""
    discriminator_width: PositiveInt = 100
    discriminator_depth: PositiveInt = 4
    discriminator_padding: Literal["valid", "same"] = "valid"
    """``valid`` takes 4 voxels off each side of the maps, which leaves one of the 9^3 that a published segment has."""
    discriminator_learning_rate: PositiveFloat | None = None
    """By default that of the segmenter."""
    statistics: Literal["shared", "source", "target"] = "shared"
    """Batch normalisation: statistics of both domains in one batch; each domain by itself, with those of the source
    domain kept for prediction; or those of the target domain kept."""

    @model_validator(mode="after")
    def _in_order(self) -> Config:
        if not self.discriminator_begin <= self.begin < self.full:
            raise ValueError("the shares must be in order: discriminator_begin <= begin < full")
        return self


class DomainAdversarial(Segmenter):
    """The discriminator steps first, then the segmenter works against the new discriminator."""

    config_class = Config
    batch_class = Adaptation
    config: Config

    def __init__(self, config: Config, channels: Channels) -> None:
        super().__init__(config, channels)
        self.layers = config.layers or self.network.layers
        if unknown := [name for name in self.layers if name not in self.network.layers]:
            raise UsageError(
                f"the network has no layer '{unknown[0]}'", fix=f"choose from: {', '.join(self.network.layers)}"
            )
        self.discriminator = DomainDiscriminator(
            sum(self.network.widths[name] for name in self.layers),
            width=config.discriminator_width,
            depth=config.discriminator_depth,
            padding=config.discriminator_padding,
        )
        self.statistics = Alternate(self.network, statistics_of(self.network))
        """Running statistics of the target domain; unused where they are shared."""

    @property
    def minimum(self) -> int:
        """The smallest side of a patch: the discriminator must have a voxel left."""
        return max(super().minimum, 2 * (self.margin + self.discriminator.margin) + self.align)

    def optimizers(self) -> dict[str, Optimizer]:
        """The discriminator's optimiser, and the segmenter's."""
        rate = self.config.discriminator_learning_rate
        return {"discriminator": self.optimizer_of(self.discriminator, rate), **super().optimizers()}

    def alpha(self, progress: float) -> float:
        """The weight of the adversary when a share ``progress`` of the training is done."""
        config = self.config
        risen = (progress - config.begin) / (config.full - config.begin)
        return config.adversarial_weight * min(1.0, max(0.0, risen))

    def updates(self, batch: Adaptation, progress: float) -> Iterator[Update]:
        """Discriminator: cross-entropy of the domain; segmenter: ``L_seg - alpha L_adv``."""
        if progress < self.config.discriminator_begin or not self.config.adversarial_weight:
            yield Update("segmenter", self.supervised(self.network(batch.source), batch.label))
            return
        logits, source, target = self._both(batch)
        yield Update("discriminator", self.judged(source.detach(), target.detach()))
        losses, alpha = self.supervised(logits, batch.label), self.alpha(progress)
        if alpha:  # the discriminator has just stepped: the segmenter works against the new one
            losses |= {name: -alpha * loss for name, loss in self.judged(source, target).items()}
        yield Update("segmenter", losses)

    def _both(self, batch: Adaptation) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of the source patches, and the joined feature maps of both domains."""
        if self.config.statistics == "shared":
            logits, maps = self.network.features(torch.cat([batch.source, batch.target]), self.layers)
            joined = _join(maps)
            return logits[: len(batch.source)], joined[: len(batch.source)], joined[len(batch.source) :]
        logits, source = self.network.features(batch.source, self.layers)
        with self.statistics.used_by(self.network):
            _, target = self.network.features(batch.target, self.layers)
        return logits, _join(source), _join(target)

    def judged(self, source: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Halves of the discriminator's cross-entropy, from the joined maps of each domain."""
        return domain_cross_entropy(self.discriminator(torch.cat([source, target])), len(source))

    def predict(self, image: Tensor) -> Tensor:
        """Class probabilities ``(B, K, X - 2m, Y - 2m, Z - 2m)`` in [0, 1]; channel 0 is background."""
        if self.config.statistics != "target" or not self.config.adversarial_weight:
            return super().predict(image)
        with self.statistics.used_by(self.network):
            return super().predict(image)


def _join(maps: Mapping[str, Tensor]) -> Tensor:
    return torch.cat(tuple(maps.values()), dim=1)


METHOD = DomainAdversarial
