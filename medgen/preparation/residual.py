"""What one channel says beyond the others: a lesion stands out alike on scanners that weight tissue differently."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from medgen.preparation.intensity import LIMIT
from medgen.types import Array

_ROUNDS = 3
_CLOSE = 2.5
"""Robust standard deviations beyond which a voxel (lesion, vein, dropout) has no say in the regression."""
_MAD_TO_SD = 1.4826
_LEAST = 0.01
"""Normalised units; where less is left, the others explain the channel, and rounding must not be made an image."""


def residual(channel: Array, others: Sequence[Array], body: NDArray[np.bool_]) -> Array:
    """What is left of a channel when a quadratic function of the others is taken from it, in robust units.

    Contrasts such as GE and SWI differ mostly in how they weight T1, T2 and proton density, which the other channels
    see too; blood and iron, which the others do not see, stay. The regression is fitted to the patient's own body, by
    least squares from which outliers are left out in three rounds, so a new scanner needs neither labels nor training.

    Args:
        channel: (X, Y, Z) normalised.
        others: at least one, on the same grid.
        body: (X, Y, Z), not empty.

    Returns:
        (X, Y, Z) float32: median absolute deviations (as standard deviations) from what is expected, within
        +-:data:`~medgen.preparation.intensity.LIMIT`; 0 outside the body.
    """
    values = channel[body].astype(np.float64)
    known = [other[body].astype(np.float64) for other in others]
    squares = [first * second for first, second in combinations_with_replacement(known, 2)]
    terms = np.stack([np.ones_like(values), *known, *squares], axis=1)
    kept = np.ones(len(values), bool)
    for _ in range(_ROUNDS):
        weights, *_rest = np.linalg.lstsq(terms[kept], values[kept], rcond=None)
        left = values - terms @ weights
        spread = _spread(left)
        kept = np.abs(left) <= _CLOSE * spread
    result = np.zeros(channel.shape, np.float32)
    result[body] = np.clip(left / spread, -LIMIT, LIMIT)
    return result


def _spread(left: NDArray[np.float64]) -> float:
    """Robust standard deviation, and no less than :data:`_LEAST`."""
    return max(float(_MAD_TO_SD * np.median(np.abs(left))), _LEAST)
