"""Smooth invertible maps: one brain template becomes many heads, and MR and CT are moved against each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medgen.phantom.grid import LOWER, UPPER, Grid
from medgen.phantom.randomness import Stream, evaluate_spline, smooth_field
from medgen.types import Floats

_COARSE = 6.0  # mm; every displacement is smooth enough to be computed here and then interpolated by a cubic spline
_CENTRE = (0.0, -12.0, 2.0)  # of the box that is scanned, in mm
# Lateral ventricles in template mm: centre (right side), extent of the region that grows or shrinks.
_VENTRICLE, _VENTRICLE_REACH = (13.0, -10.0, 15.0), (11.0, 32.0, 14.0)


class SubjectMap:
    """Invertible map from the scanner's millimetres to template millimetres for one subject.

    Pose (a few degrees and millimetres) and size come first, then a random diffeomorphism, then larger or smaller
    ventricles on each side.
    """

    def __init__(self, stream: Stream) -> None:
        generator = stream.generator("shape")
        coarse = _coarse_grid()
        displacement = _diffeomorphism(generator, coarse)
        self._matrix, self._offset = _pose(generator)
        points = self._affine(coarse.points() + displacement)
        points = _ventricles(points, np.clip(generator.normal(0.08, 0.13, 2), -0.15, 0.35))
        self._coarse = coarse
        self._points = points
        self._coefficients = _spline(points - coarse.points())

    def __call__(self, grid: Grid) -> Floats:
        """Template mm of every voxel of ``grid``, (3, X, Y, Z)."""
        return grid.points() + evaluate_spline(self._coefficients, self._coarse, grid)

    def box(self, grid: Grid, low: Floats, high: Floats) -> tuple[slice, slice, slice] | None:
        """Part of ``grid`` that surely holds every voxel mapped between ``low`` and ``high`` (template mm)."""
        inside = np.ones(self._coarse.shape, bool)
        for axis in range(3):
            margin = 0.8 * _COARSE
            inside &= (self._points[axis] > low[axis] - margin) & (self._points[axis] < high[axis] + margin)
        if not inside.any():
            return None
        parts = []
        for axis in range(3):
            others = tuple(other for other in range(3) if other != axis)
            found = np.flatnonzero(inside.any(axis=others))
            edges = self._coarse.axis(axis)[[found[0], found[-1]]] + (-_COARSE, _COARSE)
            first, last = (edges - grid.origin[axis]) / grid.spacing
            parts.append(slice(max(0, int(np.floor(first))), min(grid.shape[axis], int(np.ceil(last)) + 1)))
            if parts[-1].stop <= parts[-1].start:
                return None
        return parts[0], parts[1], parts[2]

    def _affine(self, points: Floats) -> Floats:
        return np.tensordot(self._matrix, points, axes=1) + self._offset[:, None, None, None]


def misalignment(stream: Stream, grid: Grid, mask: NDArray[np.bool_], amount: float) -> Floats:
    """Displacement between two scans of one patient: a rigid part and a smooth part of equal size.

    Args:
        stream: the realisation's stream.
        grid: voxels of the result.
        mask: the head, (X, Y, Z).
        amount: root mean square displacement over ``mask`` in mm; exactly this.

    Returns:
        Displacement in mm, (3, X, Y, Z).
    """
    generator = stream.generator("misalignment")
    points = grid.points()
    centred = points - points[:, mask].mean(axis=1)[:, None, None, None]
    turn, shift = generator.standard_normal(3), generator.standard_normal(3)
    # A rotation of a few degrees moves the edge of the head (80 mm) as far as the translation does.
    rigid = np.cross(turn / 60.0, centred, axisb=0, axisc=0) + shift[:, None, None, None]
    smooth = smooth_field(generator, grid, 60.0, 3)
    total = rigid / _size(rigid, mask) + smooth / _size(smooth, mask)
    return total * (amount / _size(total, mask))


def _size(displacement: Floats, mask: NDArray[np.bool_]) -> float:
    return float(np.sqrt((displacement[:, mask] ** 2).sum(axis=0).mean()))


def _coarse_grid() -> Grid:
    """Lattice that is three nodes wider than the scanned box on each side, for splines and for displacement."""
    counts = [int(np.ceil((high - low) / _COARSE)) + 7 for low, high in zip(LOWER, UPPER, strict=True)]
    origin = [low - 3 * _COARSE for low in LOWER]
    return Grid((counts[0], counts[1], counts[2]), _COARSE, (origin[0], origin[1], origin[2]))


def _diffeomorphism(generator: np.random.Generator, coarse: Grid) -> Floats:
    """Displacement in mm of the exponential of a random stationary velocity (scaling and squaring)."""
    amplitude = generator.uniform(1.6, 2.6)
    velocity = amplitude * smooth_field(generator, coarse, 60.0, 3)
    velocity += 0.45 * amplitude * smooth_field(generator, coarse, 25.0, 3)
    steps = 5
    displacement: Floats = velocity / 2**steps
    index = np.indices(coarse.shape, dtype=np.float64)
    for _ in range(steps):
        where = index + displacement / coarse.spacing
        displacement = displacement + np.stack(
            [ndimage.map_coordinates(part, where, order=1, mode="nearest") for part in displacement]
        )
    return displacement


def _pose(generator: np.random.Generator) -> tuple[Floats, Floats]:
    """Matrix and offset of the affine part, scanner mm to template mm."""
    tilt, roll, yaw = np.deg2rad(np.clip(generator.normal(0, (4.0, 2.0, 3.0)), -9, 9))
    about_x = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    about_y = np.array([[np.cos(roll), 0, np.sin(roll)], [0, 1, 0], [-np.sin(roll), 0, np.cos(roll)]])
    about_z = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    # The MNI152 brain is larger than most: heads are 0.925 of it on average, and none as broad as another.
    size = np.clip(generator.normal(0.925, 0.022), 0.87, 0.98) * np.exp(
        np.clip(generator.normal(0, 0.015, 3), -0.03, 0.03)
    )
    matrix = np.diag(1 / size) @ about_x @ about_y @ about_z
    shift = np.clip(generator.normal(0, (2.0, 2.5, 2.5)), -6, 6)
    centre = np.array(_CENTRE)
    return matrix, centre - matrix @ (centre + shift)


def _ventricles(points: Floats, growth: Floats) -> Floats:
    """Pull points towards each ventricle's centre, so that it looks larger by the factor ``growth`` (2,) there."""
    moved = points.copy()
    for side, amount in zip((1.0, -1.0), growth, strict=True):
        centre = np.array(_VENTRICLE) * (side, 1, 1)
        local = points - centre[:, None, None, None]
        reach = np.reshape(_VENTRICLE_REACH, (3, 1, 1, 1))
        moved -= amount * local * np.exp(-0.5 * ((local / reach) ** 2).sum(axis=0))
    return moved


def _spline(displacement: Floats) -> Floats:
    return np.stack([ndimage.spline_filter(part, order=3, mode="mirror") for part in displacement])
