"""Whether the voxels with the largest standard deviation are those with the largest error: the sparsification curve.

Voxels are removed in the order of their standard deviation, the largest first. The curve is the mean absolute error of
those that are left over that of all; the oracle removes by the error itself. The area between the two is 0 if the
standard deviation ranks voxels as the error does (AUSE, Ilg et al. 2018).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

REMOVED = np.arange(20) / 20
"""Shares of the voxels that are removed: 0 to 0.95."""

Values = NDArray[np.floating]


def sparsification(sd: Values, error: Values) -> tuple[Values, Values]:
    """The curve and that of the oracle at :data:`REMOVED`, relative to the error of all voxels.

    Of voxels with one standard deviation all have the mean of their errors, so that their order does not matter.

    Args:
        sd: (N,), not negative.
        error: (N,), absolute errors.

    Returns:
        Two arrays of the length of :data:`REMOVED`; NaN if there is no voxel or no error.

    >>> curve, oracle = sparsification(np.array([1.0, 2.0]), np.array([3.0, 1.0]))
    >>> curve[[0, 10]].tolist(), oracle[[0, 10]].tolist()
    ([1.0, 1.5], [1.0, 0.5])
    """
    if not len(error) or not (total := float(np.mean(error))):
        return np.full(len(REMOVED), np.nan), np.full(len(REMOVED), np.nan)
    _, place, count = np.unique(sd, return_inverse=True, return_counts=True)
    tied = (np.bincount(place, weights=error) / count)[place]
    left = np.maximum(1, np.ceil((1 - REMOVED) * len(error) - 1e-9).astype(int))
    curves = (np.cumsum(tied[np.argsort(sd, kind="stable")]), np.cumsum(np.sort(error)))
    curve, oracle = (np.asarray(sums[left - 1] / left / total) for sums in curves)
    return curve, oracle


def ause(sd: Values, error: Values) -> float:
    """The area between the curve and that of the oracle, by the trapezium rule; NaN as for :func:`sparsification`."""
    if np.isnan(sd).any() or np.isnan(error).any():
        return math.nan
    curve, oracle = sparsification(sd, error)
    return float(np.trapezoid(curve - oracle, REMOVED))


def accept_reject(scores: Values, errors: Values) -> tuple[list[float], list[float]]:
    """The gate's curve: the mean error of the cases with the smallest scores against their share of all cases.

    Args:
        scores: (N,), such as the mean standard deviation of each case; cases whose score or error is NaN are left out.
        errors: (N,), such as its mean absolute error.

    >>> accept_reject(np.array([3.0, 1.0]), np.array([40.0, 20.0]))
    ([0.5, 1.0], [20.0, 30.0])
    """
    known = np.isfinite(scores) & np.isfinite(errors)
    ranked = np.asarray(errors)[known][np.argsort(np.asarray(scores)[known], kind="stable")]
    counts = np.arange(1, len(ranked) + 1)
    return (counts / max(1, len(ranked))).tolist(), (np.cumsum(ranked) / counts).tolist()
