"""How much there is to describe in an image: the length of its lossless compression."""

from __future__ import annotations

import lzma

import numpy as np
from numpy.typing import ArrayLike

from medgen.types import Array

LEVELS, LOWEST, HIGHEST = 256, -4.0, 4.0
"""Grey levels and range in normalised units; values beyond it count as its ends."""
BIN = (HIGHEST - LOWEST) / LEVELS
"""Width of a level in normalised units."""

_FILTERS = [{"id": lzma.FILTER_LZMA1, "dict_size": 2**22, "lc": 0, "lp": 0, "pb": 0}]
"""Every byte is a value of its own: no position and no byte before it tells anything of its high bits."""


def compressed_bits(image: ArrayLike) -> float:
    """Bits a voxel of the shortest of several lossless compressions of an image of 256 grey levels.

    LZMA compresses the values, their differences along each axis, and their differences from the plane through the
    three neighbours before them in the last two axes (a predictor of lossless JPEG). LZMA has one implementation; the
    length by zlib would depend on the machine, and that by bzip2 is a bit a voxel longer for so small images.

    Args:
        image: (C, *size), in normalised units.

    Raises:
        ValueError: it has no voxel, or a value that is not finite.

    >>> round(compressed_bits(np.zeros((1, 64, 64))), 2)
    0.06
    """
    values = np.asarray(image, np.float64)
    if not values.size or not np.isfinite(values).all():
        raise ValueError("an image without voxels or with values that are not finite has no complexity")
    levels = np.clip(np.floor((values - LOWEST) / BIN), 0, LEVELS - 1).astype(np.uint8)
    lengths = (len(lzma.compress(each.tobytes(), lzma.FORMAT_RAW, filters=_FILTERS)) for each in _residuals(levels))
    return 8 * min(lengths) / values.size


def _residuals(levels: Array) -> list[Array]:
    """Arrays of bytes from each of which the levels can be computed; differences are modulo 256."""
    plain = [levels, *(np.diff(levels, axis=axis, prepend=np.uint8(0)) for axis in range(1, levels.ndim))]
    return plain if levels.ndim < 3 else [*plain, np.diff(plain[-1], axis=levels.ndim - 2, prepend=np.uint8(0))]
