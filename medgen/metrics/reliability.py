"""Whether the probability of a class is the share of voxels that have it: reliability, expected calibration error.

The voxels are put into equal bins by the probability of the class. Where it is calibrated, the mean probability of a
bin is the share of its voxels that have the class (Guo et al. 2017, by class as in Barfoot et al. 2025). MONAI 1.6.1
computes the same, but counts in single precision and so stops at 2^24 voxels a bin: the background of one CT has more.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 10


def reliability(
    probability: NDArray[np.floating], truth: NDArray[np.bool_], mask: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Probability and truth by bins of the probability, as shares of all voxels: tables of cases can be averaged.

    Args:
        probability: ``(X, Y, Z)`` in [0, 1].
        truth: ``(X, Y, Z)``, where the class is.
        mask: ``(X, Y, Z)``, the voxels that count; None: all.

    Returns:
        (3, :data:`BINS`): share of the voxels in each bin (lower end included, and 1 in the last), and the sums of
        their probabilities and of their truth over the number of all voxels; NaN without a voxel.

    >>> reliability(np.array([[[0.1, 0.15, 0.9, 0.9]]]), np.array([[[False, False, True, False]]]))[:, [1, 9]].tolist()
    [[0.5, 0.5], [0.0625, 0.45], [0.0, 0.25]]
    """
    sums = np.zeros((3, BINS))
    for x in range(len(probability)):  # a slab at a time: bincount takes 8 bytes a voxel
        inside = ... if mask is None else mask[x]
        values, true = probability[x][inside].ravel(), truth[x][inside].ravel()
        bins = np.minimum((values * BINS).astype(np.intp), BINS - 1)
        sums += [np.bincount(bins, weights, BINS) for weights in (None, values, true)]
    count = sums[0].sum()
    return sums / count if count else np.full_like(sums, math.nan)


def calibration_error(table: NDArray[np.float64]) -> float:
    """The expected calibration error of a table: the mean distance of the two over voxels, bin by bin; in [0, 1].

    >>> round(calibration_error(np.array([[0.5, 0.5], [0.1, 0.45], [0.0, 0.25]])), 3)
    0.3
    """
    return float(np.abs(table[1] - table[2]).sum())


def reliability_rows(table: NDArray[np.float64]) -> dict[str, list[Any]]:
    """A table for a file: by bin the mean ``probability``, the ``frequency`` of the class, and the ``share`` of voxels.

    The first two are NaN in a bin without a voxel.
    """
    share = table[0]
    means = [np.divide(each, share, where=share > 0, out=np.full(BINS, math.nan)).tolist() for each in table[1:]]
    return {"probability": means[0], "frequency": means[1], "share": share.tolist()}
