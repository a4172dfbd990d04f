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
        counts = [int(np.ceil((high - low) / knots)) + 4 for low, high in zip(LOWER, UPPER, strict=True)]
        origin = [low - 1.5 * knots for low in LOWER]
        return Grid((counts[0], counts[1], counts[2]), float(knots), (origin[0], origin[1], origin[2]))


def field_of_view(spacing: float) -> Grid:
    """The scanned box at isotropic ``spacing`` in mm."""
    counts = [round((high - low) / spacing) for low, high in zip(LOWER, UPPER, strict=True)]
    # Centred on the same box at every spacing.
    origin = [
        (low + high) / 2 - spacing * (count - 1) / 2 for low, high, count in zip(LOWER, UPPER, counts, strict=True)
    ]
    return Grid((counts[0], counts[1], counts[2]), float(spacing), (origin[0], origin[1], origin[2]))
