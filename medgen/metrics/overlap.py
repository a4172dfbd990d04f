"""How far a predicted structure and the true one cover each other: Dice, recall, precision, volumes.

Every function takes masks ``(X, Y, Z)`` on one grid, True inside the structure. What an empty mask means is decided by
the truth alone, so that no method gains by predicting nothing: a structure that is missed scores 0 everywhere, one that
is invented scores 0, and only where both masks are empty is the overlap not applicable (NaN).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]

CUBE: Mask = np.ones((3, 3, 3), dtype=bool)
"""Which voxels are connected: those that share a face, an edge or a corner (26 neighbours), as PI-CAI scores them."""


def dice(prediction: Mask, truth: Mask) -> float:
    """Dice similarity coefficient ``2 |P and T| / (|P| + |T|)``, in [0, 1]; NaN if both masks are empty.

    >>> dice(np.array([[[1, 1, 0, 0]]]) > 0, np.array([[[0, 1, 1, 1]]]) > 0)
    0.4
    """
    total = _size(prediction, truth) + np.count_nonzero(truth)
    return float(2 * np.count_nonzero(prediction & truth) / total) if total else math.nan


def recall(prediction: Mask, truth: Mask) -> float:
    """Share of the true voxels that are predicted (sensitivity), in [0, 1]; NaN if the truth is empty.

    >>> recall(np.array([[[1, 1, 0, 0]]]) > 0, np.array([[[0, 1, 1, 1]]]) > 0)  # doctest: +ELLIPSIS
    0.333...
    """
    _size(prediction, truth)
    size = np.count_nonzero(truth)
    return float(np.count_nonzero(prediction & truth) / size) if size else math.nan


def precision(prediction: Mask, truth: Mask) -> float:
    """Share of the predicted voxels that are true, in [0, 1]; NaN if both masks are empty.

    An empty prediction of a structure that is there has the precision 0: as NaN it would leave the mean over cases, and
    missing the hard cases would improve it.

    >>> precision(np.array([[[1, 1, 0, 0]]]) > 0, np.array([[[0, 1, 1, 1]]]) > 0)
    0.5
    """
    size = _size(prediction, truth)
    if size:
        return float(np.count_nonzero(prediction & truth) / size)
    return 0.0 if truth.any() else math.nan


def volume(mask: Mask, spacing: Spacing) -> float:
    """Volume of a structure in ml.

    Args:
        mask: ``(X, Y, Z)``.
        spacing: voxel size in mm.

    >>> volume(np.ones((10, 10, 10), bool), (1.0, 1.0, 3.0))
    3.0
    """
    return float(np.count_nonzero(mask) * math.prod(spacing) / 1000)


def volume_error(prediction: Mask, truth: Mask, spacing: Spacing) -> float:
    """Predicted minus true volume in ml: positive where too much is predicted, 0 if both masks are empty.

    >>> volume_error(np.zeros((10, 10, 10), bool), np.ones((10, 10, 10), bool), (1.0, 1.0, 1.0))
    -1.0
    """
    _size(prediction, truth)
    return volume(prediction, spacing) - volume(truth, spacing)


def _size(prediction: Mask, truth: Mask) -> int:
    """Number of predicted voxels; both masks are looked at before they are compared."""
    require_masks(prediction, truth)
    return int(np.count_nonzero(prediction))


def require_masks(prediction: Mask, truth: Mask) -> None:
    """Refuse what is not two masks of one grid.

    Raises:
        ValueError: the shapes differ or are not ``(X, Y, Z)``, or a type is not bool (a probability has no overlap).
    """
    if prediction.shape != truth.shape or truth.ndim != 3:
        raise ValueError(f"prediction and truth must be (X, Y, Z) of one shape, not {prediction.shape}, {truth.shape}")
    if prediction.dtype != bool or truth.dtype != bool:
        raise ValueError(f"prediction and truth must be masks of bool, not {prediction.dtype} and {truth.dtype}")


def joint_box(prediction: Mask, truth: Mask) -> tuple[slice, slice, slice] | None:
    """The smallest box that holds both masks; None if both are empty."""
    either = prediction | truth
    sides = []
    for axis in range(3):
        found = np.flatnonzero(either.any(axis=tuple(other for other in range(3) if other != axis)))
        if not len(found):
            return None
        sides.append(slice(int(found[0]), int(found[-1]) + 1))
    return sides[0], sides[1], sides[2]
