"""The volumes of one case, and slices of them as a radiologist looks at them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class CaseImages:
    """The volumes of one case on one RAS+ grid, each (X, Y, Z).

    Args:
        inputs: by role, in the image's own unit.
        prediction: HU, or the unit of ``unit``.
        truth: the same, or None where it is not known.
        mask: where errors count (non-zero), or None for everywhere.
        spacing: voxel size in mm.
        oriented: whether the files say where left and right are.
        unit: of prediction and truth.
        classes: where prediction and truth are label maps, the names of the classes 1, 2, ...
    """

    inputs: dict[str, NDArray[Any]]
    prediction: NDArray[Any]
    truth: NDArray[Any] | None
    mask: NDArray[Any] | None
    spacing: tuple[float, float, float]
    oriented: bool = True
    unit: str = "HU"
    classes: tuple[str, ...] = ()


class Plane(NamedTuple):
    """A direction to look in, along ``axis``."""

    name: str
    axis: int
    sides: tuple[str, str]  # patient sides at the left and the right edge of the picture


# Radiological convention: the viewer faces the patient, whose right is on the left of the picture.
PLANES = (
    Plane("axial", 2, ("R", "L")),
    Plane("coronal", 1, ("R", "L")),
    Plane("sagittal", 0, ("A", "P")),
)


def picture(volume: NDArray[Any], axis: int, index: int) -> NDArray[Any]:
    """One slice of an RAS+ volume as an image: first row at the top, first column at the left.

    Axial and coronal: the patient's right is on the left. Sagittal: anterior is on the left. At the top is
    superior, in an axial slice anterior.

    Args:
        volume: (X, Y, Z), axes pointing right, anterior, superior.
        axis: the axis that the slice is perpendicular to.
        index: which slice.
    """
    return np.asarray(np.take(volume, index, axis=axis)[::-1, ::-1].T)
