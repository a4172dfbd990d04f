"""An adversary of a segmenter: the discriminator of domains on its feature maps (Kamnitsas et al. 2017)."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor
from torch.optim import Optimizer

from medgen.errors import UsageError
from medgen.losses.domain import domain_cross_entropy
from medgen.methods._domains import DomainStatistics, Outputs, Share, StatisticsName, joined, ramp, require_order
from medgen.methods._segmentation import PUBLISHED, Network, SegmentationConfig, new_optimizer, window_of
from medgen.methods.base import Window
from medgen.networks.discriminators import DomainDiscriminator
from medgen.networks.segmenters import MAP_STRIDE, SegmentationUNet
from medgen.networks.shadow_weights import statistics_of


class AdversaryConfig(SegmentationConfig):
    """Settings of the adversary; epochs of the publication are shares of the training here."""

    published: ClassVar = {**PUBLISHED, "discriminator_padding": "valid"}

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
    """Share of the training at which the discriminator starts to learn; before it no target image is used. From
    it on, ``shared`` batch statistics are those of both domains, whatever alpha is."""
    discriminator_width: PositiveInt = 100
    discriminator_depth: PositiveInt = 4
    discriminator_padding: Literal["valid", "same"] = "same"
    """``valid``, which is published, takes 4 voxels off each side of the maps, which leaves one of the 9^3 that a
    published segment has. The maps of the U-Net are a quarter as long as its patches: ``same`` is for those."""
    discriminator_learning_rate: PositiveFloat | None = None
    """By default that of the segmenter."""
    statistics: StatisticsName = "shared"
    """Batch normalisation: statistics of both domains in one batch; each domain by itself, with those of the source
    domain kept for prediction; or those of the target domain kept."""

    @model_validator(mode="after")
    def _adversary_in_order(self) -> AdversaryConfig:
        require_order(discriminator_begin=self.discriminator_begin, begin=self.begin, full=self.full)
        return self


class DomainAdversary:
    """A discriminator of domains on feature maps of a segmenter, and how strongly the segmenter works against it.

    The discriminator is registered by the method, whose weights are named after its own parts.

    Args:
        config: layers, discriminator and schedule of alpha.
        network: the segmenter.

    Attributes:
        layers: feature maps that the discriminator sees.
        discriminator: of the domain of a voxel.
    """

    def __init__(self, config: AdversaryConfig, network: Network) -> None:
        self.config, self.network = config, network
        self.layers = config.layers or network.layers
        if unknown := [name for name in self.layers if name not in network.layers]:
            raise UsageError(
                f"the network has no layer '{unknown[0]}'", fix=f"choose from: {', '.join(network.layers)}"
            )
        self.discriminator = DomainDiscriminator(
            sum(network.widths[name] for name in self.layers),
            width=config.discriminator_width,
            depth=config.discriminator_depth,
            padding=config.discriminator_padding,
        )

    @property
    def window(self) -> Window:
        """That of the network; the discriminator must have a voxel left of the smallest patch."""
        network = self.network
        stride = MAP_STRIDE if isinstance(network, SegmentationUNet) else 1
        unit = max(network.multiple, network.align)
        needed = stride * (2 * self.discriminator.margin + 1)
        return window_of(self.config, network, 2 * network.margin + unit * math.ceil(needed / unit))

    @property
    def target_begins(self) -> float:
        """When alpha rises; when the discriminator begins to learn where target patches touch statistics that are kept.

        While the discriminator learns, patches of both domains pass the network. With batch normalisation that changes
        the statistics of the source as well (``shared``), or collects those of the target (``target``).
        """
        config = self.config
        if not config.adversarial_weight:
            return 1.0
        touched = config.statistics != "source" and statistics_of(self.network)
        return config.discriminator_begin if touched else config.begin

    def optimizer(self) -> Optimizer:
        """That of the discriminator."""
        return new_optimizer(self.config, self.discriminator, self.config.discriminator_learning_rate)

    def learns(self, progress: float) -> bool:
        """Whether the discriminator is trained when a share ``progress`` of the training is done."""
        return progress >= self.config.discriminator_begin and self.config.adversarial_weight > 0

    def alpha(self, progress: float) -> float:
        """The weight of the adversary when a share ``progress`` of the training is done."""
        return self.config.adversarial_weight * ramp(progress, self.config.begin, self.config.full)

    def domain_loss(self, outputs: Outputs) -> dict[str, Tensor]:
        """``L_adv`` for the discriminator: its cross-entropy of the domain, half of it for each."""
        return self._cross_entropy(outputs.source_maps.detach(), outputs.target_maps.detach())

    def adversarial_loss(self, outputs: Outputs, progress: float) -> dict[str, Tensor]:
        """``-alpha L_adv`` for the segmenter; empty while alpha is 0."""
        if not (alpha := self.alpha(progress)):
            return {}
        losses = self._cross_entropy(outputs.source_maps, outputs.target_maps)
        return {name: -alpha * loss for name, loss in losses.items()}

    def domain_logits(self, statistics: DomainStatistics, image: Tensor, *, of_target: bool) -> Tensor:
        """Logits ``(B, 2, x, y, z)`` of the discriminator for patches ``(B, C, X, Y, Z)`` of one domain."""
        with statistics.of_domain(self.network, target=of_target):
            logits, maps = self.network.features(image, self.layers)
        domain: Tensor = self.discriminator(joined(logits, maps.values()))
        return domain

    def _cross_entropy(self, source: Tensor, target: Tensor) -> dict[str, Tensor]:
        return domain_cross_entropy(self.discriminator(torch.cat([source, target])), len(source))
