"""Padding: voxels in which nothing was measured, such as those outside the circle that a CT scanner sees.

One rule for all of medgen. Where a DICOM header names padding (PixelPaddingValue, PixelPaddingRangeLimit), the reader
sets those voxels to air. Elsewhere the values of a CT tell (``medgen.checks``): what lies below :data:`AIR` counts as
:data:`AIR`; what lies above :data:`HIGHEST` is no measurement either and is refused, because nothing says what it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pydicom import Dataset

AIR = -1024.0
"""HU; the lowest value of a 12 bit CT, and what padding counts as."""
HIGHEST = 31000.0
"""HU; above lie the largest numbers of 16 bits (31743, 32767, 64511), which are padding or saturation."""
PADDING = "padding: "
"""How every note on padding begins."""

_TISSUE = (-900.0, 3071.0)
"""HU, both exclusive: between them lies what a patient is made of, which no padding may be. 3071 is the largest number
of a 12 bit CT."""


@dataclass(frozen=True)
class Padding:
    """What the header of a slice says about padding.

    Attributes:
        low: the smallest stored number that is padding.
        high: the largest.
        hounsfield: whether slope and intercept make HU of the stored numbers.
    """

    low: int
    high: int
    hounsfield: bool

    def doubtful(self, slope: float, intercept: float) -> bool:
        """Whether tissue of a CT has these values too, so that the header cannot be right."""
        low, high = sorted((self.low * slope + intercept, self.high * slope + intercept))
        return self.hounsfield and low < _TISSUE[1] and high > _TISSUE[0]

    def __str__(self) -> str:
        """The range in stored numbers, as the elements of the header name it."""
        return f"PixelPaddingValue {self.low}" + (f" to {self.high}" if self.high != self.low else "")


def named_padding(header: Dataset, stored: str) -> Padding | None:
    """The padding that a DICOM header names (PS3.3, C.7.5.1.1.2), or None.

    Args:
        header: of one file.
        stored: type of the stored numbers, as numpy calls it.
    """
    value, limit = header.get("PixelPaddingValue"), header.get("PixelPaddingRangeLimit")
    if not isinstance(value, int):
        return None
    ends = sorted(_stored(each, header, stored) for each in (value, limit if isinstance(limit, int) else value))
    kind = str(header.get("RescaleType") or "HU")
    return Padding(ends[0], ends[1], header.get("Modality") == "CT" and kind in ("HU", "US"))


def _stored(value: int, header: Dataset, stored: str) -> int:
    """A number of the header as the pixel data have it: 63536, written without a sign, is -2000 of 16 signed bits."""
    kind = np.dtype(stored)
    if kind.kind == "u":
        return value % (1 << 8 * kind.itemsize)
    bits = int(header.get("BitsStored") or 8 * kind.itemsize)
    if not -(1 << bits - 1) <= value < 1 << bits:  # beyond BitsStored: the number has all the bits of the voxel
        bits = 8 * kind.itemsize
    half = 1 << bits - 1
    return (value + half) % (2 * half) - half


def fill_padding(data: NDArray[Any], padded: NDArray[np.bool_], padding: Padding) -> str:
    """Set the padding of a series to air, in place.

    Args:
        data: values in the unit of the image.
        padded: of the same shape: which are padding.
        padding: of a slice that has some, for the message.

    Returns:
        A note on how many voxels were set to what: -1024 HU in a CT, in other images 0 or, where it is below 0, the
        smallest measured value. It is "" where all of them held that.
    """
    air = AIR if padding.hounsfield else float(np.min(data, where=~padded, initial=0))
    before = data[padded]
    if (before == air).all():
        return ""
    data[padded] = air
    return (
        f"{PADDING}{share(len(before), data.size)} hold what the header calls no measurement ({padding}), "
        f"set to {air:g}{' HU' if padding.hounsfield else ''}"
    )


def doubtful_padding(count: int, size: int, padding: Padding) -> str:
    """The note on named padding that was left as it is, because tissue has these values."""
    return (
        f"{PADDING}{share(count, size)} hold what the header calls no measurement ({padding}); "
        "tissue has such values too, so they were left as they are"
    )


def share(count: int, size: int) -> str:
    """A number of voxels in words.

    >>> share(3, 20)
    '3 of 20 voxels (15.00%)'
    """
    return f"{count} of {size} voxels ({count / size:.2%})"
