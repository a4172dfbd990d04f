"""The volumes of one case, and slices of them in radiological convention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medgen.types import Floats


class Plane(NamedTuple):
    """A direction of view, along ``axis``."""

    name: str
    axis: int
    sides: tuple[str, str]  # patient sides at the left and the right edge of the picture


# Radiological convention: the viewer faces the patient, whose right is on the left of the picture.
PLANES = (
    Plane("axial", 2, ("R", "L")),
    Plane("coronal", 1, ("R", "L")),
    Plane("sagittal", 0, ("A", "P")),
)


class Spread(NamedTuple):
    """A map of how unsure a prediction is.

    Attributes:
        title: what it shows.
        volume: (X, Y, Z), not negative.
        unit: of its values.
        limit: end of the colour scale; None: a round number that few voxels exceed.
    """

    title: str
    volume: NDArray[Any]
    unit: str
    limit: float | None = None


@dataclass(frozen=True, eq=False)
class CaseImages:
    """The volumes of one case on the RAS+ grid of its prediction, each (X, Y, Z).

    Args:
        inputs: by role, in the image's own unit.
        prediction: an image in ``unit``, a label map, or a detection map of confidences in [0, 1].
        truth: the same, of a detection map the grades of the true lesions; None where it is not known.
        mask: where errors count (non-zero), of a detection map the organ; None for everywhere.
        spacing: voxel size in mm.
        oriented: whether the files define left and right.
        unit: of an image and its truth.
        classes: of a label map, the names of the classes 1, 2, ...
        affine: (4, 4) voxel index to RAS+ mm.
        least_grade: of a detection map, the lowest grade of a lesion that should be found.
        target: of a detection map, bool, the lesion or candidate that the picture is about.
        spreads: where the prediction is unsure.
    """

    inputs: Mapping[str, NDArray[Any]]
    prediction: NDArray[Any]
    truth: NDArray[Any] | None
    mask: NDArray[Any] | None
    spacing: tuple[float, float, float]
    oriented: bool = True
    unit: str = "HU"
    classes: tuple[str, ...] = ()
    affine: Floats = field(default_factory=lambda: np.eye(4))
    least_grade: int = 1
    target: NDArray[np.bool_] | None = None
    spreads: tuple[Spread, ...] = ()

    @property
    def reference(self) -> NDArray[Any]:
        """The truth, or else the prediction."""
        return self.prediction if self.truth is None else self.truth

    @property
    def lesions(self) -> NDArray[np.bool_] | None:
        """Where the true lesions are that should be found."""
        return None if self.truth is None else self.truth >= self.least_grade

    @property
    def acquired(self) -> Plane:
        """The plane of the acquisition: across the thickest direction, axial among equals."""
        thickest = max(range(3), key=lambda axis: (round(self.spacing[axis], 2), axis))
        return next(plane for plane in PLANES if plane.axis == thickest)

    def cropped(self, where: NDArray[np.bool_], margin: float) -> CaseImages:
        """The smallest box around ``where`` with ``margin`` mm on each side; the whole images where it is empty."""
        index = np.argwhere(where)
        if index.size == 0:
            return self
        border = [round(margin / size) for size in self.spacing]
        low = [max(0, start - extra) for start, extra in zip(index.min(axis=0), border, strict=True)]
        high = [stop + 1 + extra for stop, extra in zip(index.max(axis=0), border, strict=True)]
        box = tuple(slice(start, stop) for start, stop in zip(low, high, strict=True))

        def cut(volume: NDArray[Any] | None) -> NDArray[Any] | None:
            return None if volume is None else volume[box]

        affine = self.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ np.asarray(low, float)
        return replace(
            self,
            affine=affine,
            inputs={role: volume[box] for role, volume in self.inputs.items()},
            prediction=self.prediction[box],
            truth=cut(self.truth),
            mask=cut(self.mask),
            target=cut(self.target),
            spreads=tuple(each._replace(volume=each.volume[box]) for each in self.spreads),
        )


def picture(volume: NDArray[Any], axis: int, index: int) -> NDArray[Any]:
    """One slice of an RAS+ volume as an image: first row at the top, first column at the left.

    Axial and coronal: the patient's right is on the left. Sagittal: anterior is on the left. At the top is
    superior, in an axial slice anterior.

    Args:
        volume: (X, Y, Z), axes pointing right, anterior, superior.
        axis: the axis that the slice is perpendicular to.
        index: of the slice.
    """
    return np.asarray(np.take(volume, index, axis=axis)[::-1, ::-1].T)


def fullest_slice(structure: NDArray[np.bool_], axis: int) -> int:
    """The slice along ``axis`` that holds most of a structure; the middle one where there is none."""
    if not structure.any():
        return int(structure.shape[axis]) // 2
    return int(structure.sum(axis=tuple({0, 1, 2} - {axis})).argmax())
