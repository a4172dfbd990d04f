"""An adversary of a segmenter: the discriminator of domains on its feature maps (Kamnitsas et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor
from torch.nn import functional
from torch.optim import Optimizer

from medgen.errors import UsageError
from medgen.losses.domain import SOURCE, TARGET, domain_confusion, domain_cross_entropy
from medgen.losses.penalties import r1_penalty
from medgen.methods._domains import DomainStatistics, Outputs, Share, StatisticsConfig, joined, ramp, require_order
from medgen.methods._segmentation import PUBLISHED, Network, new_optimizer, window_of
from medgen.methods.base import Update, Window
from medgen.networks.discriminators import DomainDiscriminator
from medgen.networks.segmenters import MAP_STRIDE, SegmentationUNet
from medgen.networks.shadow_weights import statistics_of
from medgen.sampling.batches import Adaptation, Batch, MatchedAdaptation
from medgen.sampling.parts import centre


class AdversaryConfig(StatisticsConfig):
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
    discriminator_steps: PositiveInt = 1
    """Steps of the discriminator before each of the segmenter, on the same maps; 1 is published."""
    discriminator_norm: Literal["batch", "spectral"] = "batch"
    """``batch`` normalisation is published; ``spectral`` has that of the weights in its place."""
    discriminator_input_norm: bool = False
    """Whether the maps are normalised first: their scales differ from layer to layer."""
    discriminator_penalty: NonNegativeFloat = 0.0
    """Weight of half the mean squared slope at the maps of both domains, R1 (Mescheder et al. 2018)."""
    objective: Literal["reversed", "confusion"] = "reversed"
    """What the segmenter adds, times alpha. ``reversed``: the negative of the discriminator's loss, which is published,
    has no bound, and is least for features that were pushed past each other. ``confusion``: the cross-entropy to
    "either domain", which is least for features that cannot be told apart."""
    matched: bool = False
    """Whether the discriminator's source patches are drawn like those of the target, uniformly and without labels, by
    a third stream. Without, half of them may lie on lesions, and a lesion is a sign of the source."""
    conditional: bool = False
    """Whether the discriminator has an answer for each predicted class, and each class counts alike: lesions are then
    compared with lesions. Without, one answer for all voxels is published, and few of those are lesions."""

    @model_validator(mode="after")
    def _adversary_in_order(self) -> AdversaryConfig:
        require_order(discriminator_begin=self.discriminator_begin, begin=self.begin, full=self.full)
        return self


def batches_of(config: AdversaryConfig) -> type[Batch]:
    """What training with these settings is fed with: with ``matched``, a third stream."""
    return MatchedAdaptation if config.matched else Adaptation


class DomainAdversary:
    """A discriminator of domains on feature maps of a segmenter, and how strongly the segmenter works against it.

    The discriminator is registered by the method, whose weights are named after its own parts.

    Args:
        config: layers, discriminator and schedule of alpha.
        network: the segmenter.
        classes: that it tells apart, with the background.

    Attributes:
        layers: feature maps that the discriminator sees.
        discriminator: of the domain of a voxel.
    """

    def __init__(self, config: AdversaryConfig, network: Network, classes: int = 2) -> None:
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
            norm="batch" if config.discriminator_norm == "batch" else "none",
            spectral=config.discriminator_norm == "spectral",
            classes=classes if config.conditional else 1,
            input_norm=config.discriminator_input_norm,
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
        touched = config.statistics in ("shared", "target") and statistics_of(self.network)
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

    def steps(self, outputs: Outputs) -> Iterator[Update]:
        """Those of the discriminator: ``L_adv``, its cross-entropy of the domain, half of it for each."""
        maps = torch.cat([outputs.source_maps, outputs.target_maps]).detach()
        seen = _on_grid(outputs.candidates, maps)
        for _ in range(self.config.discriminator_steps):
            logits = self.discriminator(maps, seen)
            losses = domain_cross_entropy(logits, len(outputs.source_maps), self._shares(outputs, logits, seen))
            if self.config.discriminator_penalty:
                slope = r1_penalty(partial(self._difference, seen=seen, sources=len(outputs.source_maps)), maps)
                losses["slope"] = self.config.discriminator_penalty * slope
            yield Update("discriminator", losses)

    def adversarial_loss(self, outputs: Outputs, progress: float) -> dict[str, Tensor]:
        """What the segmenter adds: ``-alpha L_adv``, or alpha times the confusion; empty while alpha is 0."""
        if not (alpha := self.alpha(progress)):
            return {}
        maps = torch.cat([outputs.source_maps, outputs.target_maps])
        seen = _on_grid(outputs.candidates, maps)
        logits = self.discriminator(maps, seen)
        confused = self.config.objective == "confusion"
        loss, sign = (domain_confusion, 1) if confused else (domain_cross_entropy, -1)
        found = loss(logits, len(outputs.source_maps), self._shares(outputs, logits, seen))
        return {name: sign * alpha * each for name, each in found.items()}

    def domain_logits(
        self, statistics: DomainStatistics, image: Tensor, candidates: Tensor | None = None, *, of_target: bool
    ) -> Tensor:
        """Logits ``(B, 2, x, y, z)`` of the discriminator for patches ``(B, C, X, Y, Z)`` of one domain.

        Of a conditional one the mean over the classes, by how much of a voxel belongs to each. Where there are
        ``candidates``, as in :class:`~medgen.methods._domains.Outputs`, both are NaN at every other voxel.
        """
        with statistics.of_domain(self.network, target=of_target):
            logits, found = self.network.features(image, self.layers)
        maps = joined(logits, found.values())
        seen = _on_grid(candidates, maps)
        domain: Tensor = self.discriminator(maps, seen)
        if self.config.conditional:
            domain = (_by_class(domain) * _shares(logits, maps, domain)[:, :, None]).sum(1)
        return domain if seen is None else domain.masked_fill(~centre(seen, domain), torch.nan)

    def _shares(self, outputs: Outputs, logits: Tensor, seen: Tensor | None) -> Tensor | None:
        """How much each voxel of ``logits`` counts for each class of the discriminator; None: all alike.

        It is as much as the segmenter gives to that class, of a candidate; nothing flows back through it.
        """
        share = None if seen is None else _judged(seen, logits, len(outputs.source_maps))
        if not self.config.conditional:
            return share
        given = _shares(torch.cat([outputs.matched, outputs.target]).detach(), outputs.target_maps, logits)
        return given if share is None else given * share

    def _difference(self, maps: Tensor, seen: Tensor | None, sources: int) -> Tensor:
        """How much more "source" than "target" each patch is, so that its squared slope is a mean over the voxels."""
        logits = self.discriminator(maps, seen)
        each = _by_class(logits)
        score: Tensor = (each[:, :, SOURCE] - each[:, :, TARGET]).mean(1)
        if seen is None:
            return score.flatten(1).sum(1) / math.sqrt(math.prod(maps.shape[2:]))
        score = score * _judged(seen, logits, sources)[:, 0]
        return score.flatten(1).sum(1) / seen.flatten(1).sum(1).clamp_min(1).sqrt()


def _by_class(logits: Tensor) -> Tensor:
    """Logits (B, 2 K, x, y, z) of a discriminator as (B, K, 2, x, y, z)."""
    return logits.reshape(len(logits), -1, 2, *logits.shape[2:])


def _shares(segmented: Tensor, maps: Tensor, like: Tensor) -> Tensor:
    """Class probabilities (B, K, x, y, z) of a segmenter's logits, on the grid of a discriminator's output ``like``.

    The maps that the discriminator reads may be coarser than the logits, and valid convolutions cut its output.
    """
    return centre(_pooled(segmented.float().softmax(1), maps), like)


def _pooled(volume: Tensor, maps: Tensor) -> Tensor:
    """Mean of ``volume`` over each voxel of ``maps``, which may be coarser."""
    x, y, z = maps.shape[2:]
    return volume if volume.shape[2:] == maps.shape[2:] else functional.adaptive_avg_pool3d(volume, (x, y, z))


def _on_grid(candidates: Tensor | None, maps: Tensor) -> Tensor | None:
    """Whether a voxel (B, 1, x, y, z) of ``maps`` has a candidate in it."""
    return None if candidates is None else _pooled(candidates.float(), maps) > 0


def _judged(seen: Tensor, logits: Tensor, sources: int) -> Tensor:
    """1 at the voxels (B, 1, x, y, z) of ``logits`` that count, else 0: the candidates, if both domains have some.

    A step that sees one domain alone would teach the discriminator which domain is the more frequent one.
    """
    seen = centre(seen, logits)
    return (seen & seen[:sources].any() & seen[sources:].any()).float()
