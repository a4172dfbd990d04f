"""Several cascades as one model: the voxel-wise mean of their estimates, e.g. of the folds of a cross-validation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medgen.inference.stages import Cascade, Estimate, Request
from medgen.types import Array, Progress


def estimate_mean(
    cascades: Sequence[Cascade], image: Array, body: Array, request: Request, progress: Progress | None = None
) -> tuple[Estimate, tuple[str, ...]]:
    """The mean of the estimates of all cascades, with the notes made on the way.

    Args:
        cascades: at least one.
        image: (C, X, Y, Z), prepared.
        body: (X, Y, Z), non-zero where a result is wanted.
        request: value range, direction and seed.
        progress: called with (tiles done, tiles in all, what).

    Raises:
        ModelError: a network returned NaN, or values that are no probabilities.
        MemoryExhausted: nothing that was tried fits into memory.
    """
    mean, notes = cascades[0].predict(image, body, request, _numbered(progress, 1, len(cascades)))
    clipped, voxels = mean.clipped, mean.voxels
    for number, cascade in enumerate(cascades[1:], start=2):
        each, more = cascade.predict(image, body, request, _numbered(progress, number, len(cascades)))
        notes += more
        clipped, voxels = clipped + each.clipped, voxels + each.voxels
        # The running mean stays in the value range, where a sum would not.
        for total, new in zip(mean.data, each.data, strict=True):
            new -= total
            new /= np.float32(number)
            total += new
    return Estimate(mean.data, clipped, voxels), notes


def _numbered(progress: Progress | None, number: int, count: int) -> Progress | None:
    if progress is None or count == 1:
        return progress
    return lambda done, total, what: progress(done, total, f"model {number} of {count}, {what}")
