"""Several estimates as one: the voxel-wise mean over cascades (e.g. folds) and over flips of the volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medgen.inference.stages import Cascade, Estimate, Request
from medgen.types import Array, Progress


@dataclass(frozen=True, eq=False)
class Mean:
    """The mean of the estimates of one volume.

    Attributes:
        data: (K, X, Y, Z) float32 in the value range asked for.
        clipped: voxels inside the body that were outside that range, over all estimates.
        voxels: voxels inside the body, over all estimates.
        sd: (K, X, Y, Z) float32, the standard deviation of the estimates in the same unit; None if not wanted.
        notes: made on the way.
    """

    data: NDArray[np.float32]
    clipped: int
    voxels: int
    sd: NDArray[np.float32] | None
    notes: tuple[str, ...]


OnSample = Callable[[int, NDArray[np.float32]], None]
"""Is called with the number of a draw, from 0, and its (K, X, Y, Z), which may be overwritten."""


class Pass(NamedTuple):
    """One estimate of a cascade: the axes of (X, Y, Z) that are flipped, the seed, and the number of the draw."""

    axes: tuple[int, ...]
    seed: int | None
    number: int | None = None


def count_estimates(cascades: Sequence[Cascade]) -> int:
    """Estimates that :func:`estimate_mean` averages without draws: one for each flip of each cascade."""
    return sum(len(cascade.settings.passes) for cascade in cascades)


def passes_of(cascades: Sequence[Cascade], seed: int | None, seeds: Sequence[int]) -> list[list[Pass]]:
    """The estimates of each cascade: every flip once, or draws dealt round the cascades and then round their flips."""
    if not seeds:
        return [[Pass(axes, seed) for axes in cascade.settings.passes] for cascade in cascades]
    dealt: list[list[Pass]] = [[] for _ in cascades]
    for number, each in enumerate(seeds):
        turn, place = divmod(number, len(cascades))
        flips = cascades[place].settings.passes
        dealt[place].append(Pass(flips[turn % len(flips)], each, number))
    return dealt


def estimate_mean(
    cascades: Sequence[Cascade],
    image: Array,
    body: Array,
    request: Request,
    progress: Progress | None = None,
    *,
    deviation: bool = False,
    seeds: Sequence[int] = (),
    on_sample: OnSample | None = None,
) -> Mean:
    """The mean, and perhaps the standard deviation, of the estimates of all cascades over the flips of each.

    Every cascade counts alike, however many flips it has. The standard deviation is that of the population (divided
    by the number of estimates, not by one less), with these weights. It is computed by a running update and needs the
    memory of one more estimate, however many there are.

    Args:
        cascades: at least one; each has its own flips (``inference.flips`` of its recipe).
        image: (C, X, Y, Z), prepared.
        body: (X, Y, Z), non-zero where a result is wanted.
        request: value range, direction, dropout, and the seed of estimates that are no draws.
        progress: called with (tiles done, tiles in all, what).
        deviation: whether the standard deviation is wanted.
        seeds: of draws, which then take the place of the flips: see :func:`passes_of`. At least one for each cascade.
        on_sample: is called with each draw.

    Raises:
        ModelError: a network returned NaN, or values that are no probabilities.
        MemoryExhausted: nothing that was tried fits into memory.
    """
    running = _Running(deviation)
    clipped, voxels, notes = 0, 0, list[str]()
    noun = "sample" if seeds else "flip"
    dealt = zip(cascades, passes_of(cascades, request.seed, seeds), strict=True)
    for number, (cascade, passes) in enumerate(dealt, start=1):
        context = cascade.first_context(image, body, progress)
        for turn, (axes, seed, draw) in enumerate(passes, start=1):
            named = _named(progress, ("model", number, len(cascades)), (noun, turn, len(passes)))
            asked = replace(request, seed=seed)
            estimate, more = _estimate_flipped(cascade, image, body, context, asked, axes, named)
            if on_sample is not None and draw is not None:
                on_sample(draw, estimate.data.copy())
            running.add(estimate.data, 1 / len(passes))
            clipped, voxels = clipped + estimate.clipped, voxels + estimate.voxels
            notes += more
            del estimate  # else it would stay beside the next one
    return Mean(running.mean, clipped, voxels, running.sd() if deviation else None, tuple(notes))


class _Running:
    """A weighted mean and the sum of squared deviations from it, updated in place (West 1979).

    Args:
        deviation: whether the squares are summed too.

    Attributes:
        mean: of the estimates so far.
    """

    mean: NDArray[np.float32]

    def __init__(self, deviation: bool) -> None:
        self._deviation = deviation
        self._weight = 0.0

    def add(self, new: NDArray[np.float32], weight: float) -> None:
        """Take one more estimate (K, X, Y, Z); it is kept or overwritten."""
        first = self._weight == 0
        self._weight += weight
        if first:
            self.mean = new
            self._squares = np.zeros_like(new) if self._deviation else None
            return
        share = self._weight / weight
        # The running mean stays in the value range, where a sum would not; slabs spare a temporary of the whole volume.
        for x in range(new.shape[1]):
            total, slab = self.mean[:, x], new[:, x]
            slab -= total
            if self._squares is not None:
                self._squares[:, x] += np.square(slab) * np.float32(weight * (1 - 1 / share))
            slab /= np.float32(share)
            total += slab

    def sd(self) -> NDArray[np.float32]:
        """The standard deviation of the population; ends the update."""
        squares = self._squares
        assert squares is not None
        squares /= np.float32(self._weight)
        return np.sqrt(squares, out=squares)


def _estimate_flipped(
    cascade: Cascade,
    image: Array,
    body: Array,
    context: Array | None,
    request: Request,
    axes: tuple[int, ...],
    progress: Progress | None,
) -> tuple[Estimate, tuple[str, ...]]:
    """The estimate of the volume flipped along ``axes`` of (X, Y, Z), flipped back; views, not copies.

    The context is flipped, not made anew of the flipped image: so are those of patches in training.
    """
    spatial = tuple(1 + axis for axis in axes)
    turned = None if context is None else np.flip(context, spatial)
    estimate, notes = cascade.predict(
        np.flip(image, spatial), np.flip(body, axes), request, context=turned, progress=progress
    )
    return Estimate(np.flip(estimate.data, spatial), estimate.clipped, estimate.voxels), notes


def _named(progress: Progress | None, *counted: tuple[str, int, int]) -> Progress | None:
    """``progress`` with "model 1 of 2, flip 3 of 4" before its text; what there is one of is not named."""
    names = [f"{noun} {number} of {count}, " for noun, number, count in counted if count > 1]
    if progress is None or not names:
        return progress
    return lambda done, total, what: progress(done, total, f"{''.join(names)}{what}")
