"""Which values of an image are black and white, and how far the colours of a map of errors reach."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def error_limit(error: NDArray[Any]) -> float:
    """The end of the symmetric colour scale of an error map: a round number that 2 % of the voxels exceed.

    >>> error_limit(np.linspace(-230, 230, 1001))
    250.0
    """
    finite = np.abs(error[np.isfinite(error)])
    if finite.size == 0:
        return 100.0
    wanted = float(np.percentile(finite, 98))
    steps = [mantissa * 10.0**exponent for exponent in range(-3, 5) for mantissa in (1, 1.5, 2, 2.5, 3, 4, 5, 7.5)]
    return next((step for step in steps if step >= wanted), wanted)


def robust_range(volume: NDArray[Any]) -> tuple[float, float]:
    """Black at zero or the minimum, white at the 99.5th percentile of what is not background."""
    finite = volume[np.isfinite(volume)]
    low = float(min(0.0, finite.min())) if finite.size else 0.0
    inside = finite[finite > low]
    high = float(np.percentile(inside, 99.5)) if inside.size else low + 1.0
    return low, max(high, low + 1e-6)


def slice_range(image: NDArray[Any]) -> tuple[float, float]:
    """Black and white of one slice, where contrast inside an organ matters more than that between slices."""
    finite = image[np.isfinite(image)]
    low, high = (float(end) for end in np.percentile(finite, (0.5, 99.7))) if finite.size else (0.0, 1.0)
    return low, max(high, low + 1e-6)
