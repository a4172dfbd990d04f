"""Lesion candidates of the channels that both scanners have, each confirmed by the shifted channel alone.

A network with all channels learns to trust the shifted one everywhere, and fails on a new scanner wherever that
channel looks odd. Here one network sees only the channels that both scanners have and says where a lesion may be. A
second one sees only the shifted channel, and learns from the labels of the source to tell true candidates from false
ones, at the candidates and nowhere else: what an artefact looks like elsewhere never comes up. The probability of a
class is the smaller one of two: that of the first network at the voxel, and the mean of the second one over the
candidate around it.

Images of the target say how sure the second network is on the new scanner: its mean evidence at candidates is moved to
what it is on the source. That is right if the share of true ones among candidates is the same, and wrong where the
patients of the target have fewer lesions, or more that only looks like them. Nothing else of the target is used, and
nothing is learnt while that evidence is counted: in the last steps of a training, or in a short run that starts from a
model of the source alone, with ``begin`` and ``calibrate`` at 0. One such model serves every new scanner.

The rule is medgen's. Detectors of lesions have long had a second stage that tells true candidates from false ones; that
two views of one image should err independently is the idea of co-training (Blum & Mitchell 1998).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional
from torch.optim import Optimizer

from medgen.errors import UsageError
from medgen.methods._domains import Share, require_order
from medgen.methods._segmentation import (
    feature_maps,
    label_losses,
    new_network,
    probabilities,
    supervised,
    window_of,
)
from medgen.methods._teacher import detached_probabilities
from medgen.methods._views import Views, ViewsConfig, agreement
from medgen.methods.base import Adapts, HasFeatures, Method, Predicts, Shape, Update, Window
from medgen.sampling.batches import MatchedAdaptation, centre

REACH = 3
"""Voxels of the grid on each side over which the second network's answer is averaged: 9 mm at the 3 mm that it was
chosen at. A multiple of 3, as DeepMedic's sides are."""


class Config(ViewsConfig):
    """Settings of the two networks."""

    begin: Share = 0.2
    """Share of the training from which the second network learns: there must be candidates first."""
    threshold: float = Field(default=0.2, gt=0, lt=1)
    """Probability that the first network must give to any lesion for a voxel to belong to a candidate in training."""
    calibrate: Share = 0.9
    """Share of the training from which both networks stand still and their evidence at candidates of both domains is
    counted; at 1 never."""

    @model_validator(mode="after")
    def _in_order(self) -> Config:
        require_order(begin=self.begin, calibrate=self.calibrate)
        return self


class ConfirmedCandidates(Method, Predicts, Adapts, HasFeatures):
    """One network proposes by the shared channels, the other one confirms by the shifted channel."""

    config_class = Config
    batch_class = MatchedAdaptation
    learns = "second/cross_entropy"
    fresh = ("evidence", "voxels")
    config: Config
    evidence: Tensor
    voxels: Tensor
    learnt: Tensor

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        self.hidden = config.hidden_of(shape.inputs)
        self.network = new_network(config, Shape(len(self.hidden), shape.outputs))
        self.views = Views(config, shape, self.network)
        self.second = self.views.second
        self.register_buffer("evidence", torch.zeros(2, shape.outputs, dtype=torch.float64))
        self.register_buffer("voxels", torch.zeros(2, 1, dtype=torch.float64))
        self.register_buffer("learnt", torch.zeros((), dtype=torch.int64))

    @property
    def window(self) -> Window:
        """That of the networks, and the reach of the average."""
        return window_of(self.config, self.network, reach=self._reach)

    @property
    def target_begins(self) -> float:
        """When images of the target are first looked at."""
        return self.config.calibrate

    def optimizers(self) -> dict[str, Optimizer]:
        """One for each network."""
        return self.views.optimizers()

    def updates(self, batch: MatchedAdaptation, progress: float) -> Iterator[Update]:
        """A step of the network that proposes, and one of the network that confirms at its candidates.

        Raises:
            UsageError: evidence is to be counted of a network that has learnt nothing.
        """
        config, second = self.config, self.second
        if progress >= config.calibrate:
            self._require_learnt()
            self._gather(0, batch.matched, batch.matched_mask)
            self._gather(1, batch.target, batch.target_mask)
            return
        proposed = second(batch.source[:, self.views.kept])
        candidates = 1 - proposed.detach().float().softmax(dim=1)[:, :1]
        yield Update("second", supervised(config, second, proposed, batch.label))
        if progress >= config.begin:
            logits = self.network(batch.source[:, self.hidden])
            around = functional.max_pool3d(candidates, 3, stride=1, padding=1) > config.threshold
            label = centre(batch.label, logits)
            weight = balanced(around * centre(batch.mask, logits), label > 0)
            yield Update("segmenter", label_losses(config, logits, label, weight))
            self.learnt += 1

    def _require_learnt(self) -> None:
        if not self.learnt:
            raise UsageError(
                "the network that confirms has learnt nothing whose evidence could be counted",
                fix="let config.calibrate come after config.begin, or start from a trained model with --init-from",
            )

    @torch.no_grad()
    def _gather(self, domain: int, image: Tensor, mask: Tensor) -> None:
        """Add up the evidence of the second network in one domain, 0 for the source, 1 the target.

        The weight of a voxel is the square of what the first network proposes, so that only candidates count. Patches
        with a value that is not finite count for nothing.
        """
        proposed = detached_probabilities(self.second, image[:, self.views.kept])
        found = detached_probabilities(self.network, image[:, self.hidden]).clamp_min(1e-6).log()
        there = (1 - proposed[:, :1]) ** 2 * centre(mask, proposed)
        more = ((found - found[:, :1]) * there).sum((0, 2, 3, 4), dtype=torch.float64)
        if more.isfinite().all():
            self.evidence[domain] += more
            self.voxels[domain] += there.sum()

    def predict(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Class probabilities ``(B, K, X - 2m, Y - 2m, Z - 2m)`` in [0, 1]; channel 0 is background."""
        proposed = probabilities(self.second, image[:, self.views.kept])
        evidence = self.network(image[:, self.hidden]).float() + self._shift().reshape(1, -1, 1, 1, 1)
        confirmed = averaged(evidence.softmax(dim=1), 1 - proposed[:, :1])
        low, sides = self._reach, [side - 2 * self._reach for side in proposed.shape[2:]]
        both = [centre(each, each.new_empty(1, 1, *sides)) if low else each for each in (proposed, confirmed)]
        return agreement(*both)

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        """All feature maps ``(B, C, x, y, z)`` of the network that confirms, in the order of its layers."""
        return feature_maps(self.network, image[:, self.hidden])

    def named_maps(self, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits ``(B, K, x, y, z)`` and all feature maps of that network by name, for the monitor."""
        return self.network.features(image[:, self.hidden], self.network.layers)

    @property
    def _reach(self) -> int:
        """0 for a network that keeps the size of its input."""
        return REACH if self.network.margin else 0

    def _shift(self) -> Tensor:
        """What is added to the logits (K,) so that the evidence at candidates of the target is that of the source."""
        mean = self.evidence / self.voxels.clamp_min(1)
        known = (self.voxels > 0).all()
        return torch.where(known, mean[0] - mean[1], 0.0).float()


def balanced(weight: Tensor, lesion: Tensor) -> Tensor:
    """``weight`` in which lesion and background have the same sum, where there is some of both.

    Patches are drawn so that they show lesions, so how many candidates in them are true says nothing.

    >>> balanced(torch.ones(4), torch.tensor([True, False, False, False])).tolist()
    [2.0, 0.6666666865348816, 0.6666666865348816, 0.6666666865348816]

    Args:
        weight: at least 0, of any shape.
        lesion: of the same shape.
    """
    true, false = (weight * lesion).sum(), (weight * ~lesion).sum()
    if not true or not false:
        return weight
    return weight * torch.where(lesion, (true + false) / (2 * true), (true + false) / (2 * false))


def averaged(found: Tensor, weight: Tensor) -> Tensor:
    """The weighted mean of ``found`` over the cube of :data:`REACH` voxels around each voxel.

    Args:
        found: (B, K, X, Y, Z).
        weight: (B, 1, X, Y, Z), at least 0.

    Returns:
        (B, K, X, Y, Z); outside the volume there is nothing.
    """
    size = 2 * REACH + 1
    weight = weight + 1e-4
    parts = [functional.avg_pool3d(each, size, stride=1, padding=REACH) for each in (found * weight, weight)]
    mean: Tensor = parts[0] / parts[1]
    return mean


METHOD = ConfirmedCandidates
