"""Give labelled source images the intensities of the target in the channel that differs, without a target label.

The shifted channel of S is mapped by ``F_T^-1(F_S(v | others) | others)``: the quantile of the value ``v`` among the
voxels of S whose other channels look alike, then the value of T at that quantile among the voxels of T whose other
channels look so. That is the last step of the Knothe-Rosenblatt rearrangement (Rosenblatt 1952, "Remarks on a
multivariate transformation"; Santambrogio 2015, "Optimal Transport for Applied Mathematicians", section 2.3).

Without other channels it is histogram matching (Nyul et al. 2000, "New variants of a method of MRI scale
standardization"), which fails where a contrast changes its meaning: a tissue that is bright in GE and dark in SWI stays
bright. Pitie et al. 2007 ("Automated colour grading using colour distribution transfer") match all channels at once, by
rotations; here the other channels are the same scans in both domains and stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from medgen.config import Config
from medgen.errors import UsageError
from medgen.preparation import StoredCase
from medgen.types import Array

VOXELS = 200_000
"""Of the masks of each domain, over all its cases, that the map is learnt from."""
LEVELS = (0.1, 0.26, 0.42, 0.58, 0.74, 0.9, 0.95, 0.98, 0.995)
"""Quantiles at which another channel is cut into bins: finer where it is bright, since lesions are few voxels."""
SEGMENTS = 32
"""Between the quantiles of a bin, between which its map is linear; a power of two."""
LEAST = 400
"""Voxels that a bin needs in both domains; others are mapped as if nothing were known of the other channels."""


class TransferConfig(Config):
    """Train on labelled patches whose channel ``input`` looks like that of the target domain.

    Validation and the health signals look at labelled cases as they are. With ``probability: 1.0`` the network has seen
    none such: its source Dice says how it does on a contrast that it was not trained for, and may be low.
    """

    input: str
    """Which of ``data.inputs`` is shifted between the domains, e.g. ``ge|swi``."""
    given: Annotated[tuple[str, ...], Field(max_length=2)] | None = None
    """Up to two other inputs that say which tissue a voxel is. By default all others, or of more than two the pair
    from which ``input`` is predicted best by linear regression, on average over the domains; ``[]`` matches the
    histograms alone."""
    probability: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the labelled patches that are changed; the rest stay as they are."""

    def channels(self, inputs: Sequence[str]) -> tuple[int, tuple[int, ...] | None]:
        """The places of ``input`` and of ``given`` among the channels.

        Raises:
            UsageError: a name that is not an input, or ``given`` repeats a name.
        """
        for name in (self.input, *(self.given or ())):
            if name not in inputs:
                raise UsageError(
                    f"patches.transfer names '{name}', which is not an input", fix=f"name one of: {', '.join(inputs)}"
                )
        named = (self.input, *(self.given or ()))
        if len(set(named)) < len(named):
            raise UsageError(f"patches.transfer names an input twice: {', '.join(named)}", fix="name each once")
        return inputs.index(self.input), None if self.given is None else tuple(map(inputs.index, self.given))


def check_transfer(config: TransferConfig | None, inputs: Sequence[str], *, adapts: bool) -> None:
    """Refuse a transfer that could not be made.

    Raises:
        UsageError: the method has no images of a second domain, or a name is not an input.
    """
    if config is None:
        return
    if not adapts:
        raise UsageError(
            "patches.transfer learns from the images of a second domain, which this method is not given",
            fix="choose a method that adapts, or set patches.transfer to null",
        )
    config.channels(inputs)


class QuantileMap:
    """The conditional quantile map, learnt from voxels of both domains.

    Within a bin it is linear between 33 quantiles and never falls; beyond the outermost of them it goes on
    with the same slope, as far as the range of the target's voxels. Where many voxels of S have one value, it becomes
    the mean of what T has at their quantiles.

    Args:
        source: (1 + G, N) values of S: the shifted channel, then G others.
        target: (1 + G, M) values of T.
    """

    def __init__(self, source: Array, target: Array) -> None:
        self._edges = [_edges(channel) for channel in source[1:]]
        own = _bins(source[1:], self._edges)
        other = _bins(target[1:], [_edges(channel) for channel in target[1:]])
        count = (len(LEVELS) + 1) ** (len(source) - 1)
        whole = _knots(source[0], target[0])
        tables = [
            _knots(a, b) if min(len(a), len(b)) >= LEAST else whole
            for a, b in zip(_grouped(source[0], own, count), _grouped(target[0], other, count), strict=True)
        ]
        self.conditional = sum(table is not whole for table in tables)
        """Bins with a map of their own."""
        knots, values = np.stack(tables, axis=1)  # (bins, SEGMENTS + 1) each
        width, rise = np.diff(knots), np.diff(values)
        self._knots, self._values = knots[:, :-1].ravel(), values[:, :-1].ravel()
        self._slopes = np.divide(rise, width, out=np.zeros_like(rise), where=width > 0).ravel()
        self.range = float(target[0].min()), float(target[0].max())
        """Of the target's voxels; no value leaves it."""

    def __call__(self, values: Array, given: Array) -> NDArray[np.float32]:
        """Map voxels of S.

        Args:
            values: (N,) float32 of the shifted channel.
            given: (G, N) of the others.

        Returns:
            (N,), in the range of the target.
        """
        segment = _bins(given, self._edges)
        segment *= SEGMENTS
        step = SEGMENTS // 2
        while step:  # one binary search of all voxels at once, each among the knots of its own bin
            segment += step * (values >= self._knots.take(segment + step))
            step //= 2
        mapped = (values - self._knots.take(segment)) * self._slopes.take(segment) + self._values.take(segment)
        return np.asarray(np.clip(mapped, *self.range), np.float32)


@dataclass(frozen=True)
class Transfer:
    """A fitted map and how often it is applied; for :class:`~medgen.sampling.patches.PatchSource`.

    Attributes:
        map: of the shifted channel.
        channel: which one that is.
        given: the channels that the map looks at.
        probability: of a patch to be changed.
    """

    map: QuantileMap
    channel: int
    given: tuple[int, ...]
    probability: float

    def __call__(self, crop: dict[str, Array], generator: np.random.Generator) -> dict[str, Array]:
        """Change the shifted channel of ``source`` (C, X, Y, Z) in place, inside ``mask`` (1, X, Y, Z) only."""
        if generator.random() < self.probability:
            inside = np.flatnonzero(crop["mask"])
            channels = [channel.reshape(-1) for channel in crop["source"]]
            given = np.stack([channels[g][inside] for g in self.given]) if self.given else np.empty((0, len(inside)))
            channels[self.channel][inside] = self.map(channels[self.channel][inside], given)
        return crop


def fit_transfer(
    config: TransferConfig, inputs: Sequence[str], source: Sequence[StoredCase], target: Sequence[StoredCase]
) -> Transfer:
    """Learn the map from the images of the training cases; no label is opened.

    Args:
        config: what is shifted.
        inputs: names of the channels of the prepared images, in order.
        source: cases of S.
        target: cases of T.

    Raises:
        UsageError: a name is not an input.
    """
    channel, given = config.channels(inputs)
    own, other = sample_voxels(source), sample_voxels(target)
    if given is None:
        given = _best_pair(channel, own, other)
    chosen = [channel, *given]
    return Transfer(QuantileMap(own[chosen], other[chosen]), channel, given, config.probability)


def sample_voxels(cases: Sequence[StoredCase], voxels: int = VOXELS) -> Array:
    """(C, N) values of about ``voxels`` voxels of the masks, as many of each case, evenly spaced: the same each time.

    A small case gives all it has.
    """
    found = []
    for case in cases:
        candidates = case.candidates
        share = min(len(candidates), max(1, voxels // len(cases)))
        places = candidates[np.linspace(0, len(candidates) - 1, share).astype(np.int64)]
        found.append(case.image.reshape(len(case.air), -1)[:, places])
    return np.concatenate(found, axis=1)


def _best_pair(channel: int, *domains: Array) -> tuple[int, ...]:
    others = [c for c in range(len(domains[0])) if c != channel]
    if len(others) <= 2:
        return tuple(others)
    covariances = [np.cov(values) for values in domains]

    def explained(pair: tuple[int, ...]) -> float:
        """The mean share of the variance that a linear regression on the pair explains."""
        shares = []
        for c in covariances:
            cross = c[channel, pair]
            shares.append(
                float(cross @ np.linalg.pinv(c[np.ix_(pair, pair)]) @ cross) / max(c[channel, channel], 1e-12)
            )
        return float(np.mean(shares))

    return max(combinations(others, 2), key=explained)


def _edges(values: Array) -> NDArray[np.float32]:
    return np.quantile(values, LEVELS).astype(np.float32)


def _bins(given: Array, edges: Sequence[Array]) -> NDArray[np.intp]:
    """(N,) the joint bin of each voxel."""
    place = np.zeros(given.shape[1], np.intp)
    for channel, cuts in zip(given, edges, strict=True):
        place *= len(cuts) + 1
        for cut in cuts:  # nine comparisons take a third of the time of a search
            place += channel >= cut
    return place


def _grouped(values: Array, bins: Array, count: int) -> list[Array]:
    order = np.argsort(bins, kind="stable")
    ends = np.searchsorted(bins[order], np.arange(1, count))
    return np.split(values[order], ends)


def _knots(source: Array, target: Array) -> NDArray[np.float32]:
    """(2, SEGMENTS + 1) quantiles of S and what they become; equal ones become the same."""
    levels = np.linspace(0, 1, SEGMENTS + 1)
    knots, values = np.quantile(source, levels).astype(np.float32), np.quantile(target, levels)
    _, tied = np.unique(knots, return_inverse=True)
    return np.stack([knots, (np.bincount(tied, values) / np.bincount(tied))[tied]]).astype(np.float32)
