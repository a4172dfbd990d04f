"""The box that is scanned, as a lattice of voxels in millimetres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Field of view in mm of the scanner's RAS+ frame: from the level of the mouth to above the vertex.
LOWER = (-88.0, -130.0, -98.0)
UPPER = (88.0, 106.0, 102.0)


@dataclass(frozen=True)
class Grid:
    """Regular isotropic lattice, axes along RAS+.

    Attributes:
        shape: voxels along X, Y, Z.
        spacing: mm.
        origin: centre of voxel (0, 0, 0) in mm.
    """

    shape: tuple[int, int, int]
    spacing: float
    origin: tuple[float, float, float]

    @property
    def affine(self) -> NDArray[np.float64]:
        """Voxel index to RAS+ mm, (4, 4)."""
        affine = np.diag([self.spacing, self.spacing, self.spacing, 1.0])
        affine[:3, 3] = self.origin
        return affine

    def axis(self, axis: int) -> NDArray[np.float64]:
        """Centres of the voxels along one axis in mm."""
        return self.origin[axis] + self.spacing * np.arange(self.shape[axis], dtype=np.float64)

    def points(self) -> NDArray[np.float64]:
        """Centres of all voxels in mm, (3, X, Y, Z)."""
        return np.stack(np.meshgrid(*(self.axis(axis) for axis in range(3)), indexing="ij"))

    def lattice(self, knots: float) -> Grid:
        """Control points every ``knots`` mm that carry a cubic spline over the whole field of view.

        Does not depend on the spacing, so neither does what is drawn on it.
        """
        return _lattice(LOWER, UPPER, knots)


@dataclass(frozen=True)
class SliceGrid:
    """Lattice of voxels with one size per axis over a box centred on the origin, axes along RAS+.

    Attributes:
        extent: of the box along X, Y, Z in mm.
        spacing: wanted size of a voxel in mm; each axis has the nearest whole number of voxels.
    """

    extent: tuple[float, float, float]
    spacing: tuple[float, float, float]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along X, Y, Z."""
        x, y, z = (max(1, round(size / step)) for size, step in zip(self.extent, self.spacing, strict=True))
        return x, y, z

    @property
    def affine(self) -> NDArray[np.float64]:
        """Voxel index to RAS+ mm, (4, 4)."""
        affine = np.diag([*self.spacing, 1.0])
        affine[:3, 3] = [self.axis(axis)[0] for axis in range(3)]
        return affine

    def axis(self, axis: int) -> NDArray[np.float64]:
        """Centres of the voxels along one axis in mm."""
        count = self.shape[axis]
        return self.spacing[axis] * (np.arange(count, dtype=np.float64) - (count - 1) / 2)

    def points(self) -> NDArray[np.float64]:
        """Centres of all voxels in mm, (3, X, Y, Z)."""
        return np.stack(np.meshgrid(*(self.axis(axis) for axis in range(3)), indexing="ij"))

    def lattice(self, knots: float) -> Grid:
        """Control points every ``knots`` mm that carry a cubic spline over the whole box, at every spacing the same."""
        upper = (self.extent[0] / 2, self.extent[1] / 2, self.extent[2] / 2)
        return _lattice((-upper[0], -upper[1], -upper[2]), upper, knots)


def _lattice(lower: tuple[float, float, float], upper: tuple[float, float, float], knots: float) -> Grid:
    counts = [int(np.ceil((high - low) / knots)) + 4 for low, high in zip(lower, upper, strict=True)]
    origin = [low - 1.5 * knots for low in lower]
    return Grid((counts[0], counts[1], counts[2]), float(knots), (origin[0], origin[1], origin[2]))


def field_of_view(spacing: float) -> Grid:
    """The scanned box at isotropic ``spacing`` in mm."""
    counts = [round((high - low) / spacing) for low, high in zip(LOWER, UPPER, strict=True)]
    # Centred on the same box at every spacing.
    origin = [
        (low + high) / 2 - spacing * (count - 1) / 2 for low, high, count in zip(LOWER, UPPER, counts, strict=True)
    ]
    return Grid((counts[0], counts[1], counts[2]), float(spacing), (origin[0], origin[1], origin[2]))
