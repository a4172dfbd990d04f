"""Solid shapes as distance functions, in template millimetres."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from medgen.types import Floats

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Ellipsoid:
    """Ellipsoid with half axes ``radii`` in mm, turned by ``tilt`` degrees about X (forward) after ``roll`` about Y."""

    center: Point
    radii: Point
    tilt: float = 0.0
    roll: float = 0.0

    def distance(self, points: Floats) -> Floats:
        """Approximate signed distance in mm at ``points`` (3, ...), exact to first order at the surface."""
        local = points - np.reshape(self.center, (3,) + (1,) * (points.ndim - 1))
        if self.tilt or self.roll:
            local = np.tensordot(_rotation(self.tilt, self.roll).T, local, axes=1)
        radii = np.reshape(self.radii, (3,) + (1,) * (points.ndim - 1))
        scaled = local / radii
        norm = np.sqrt(np.einsum("i...,i...->...", scaled, scaled))
        scaled /= radii
        slope = np.sqrt(np.einsum("i...,i...->...", scaled, scaled))
        distance: Floats = norm * (norm - 1) / np.maximum(slope, 1e-9)
        return distance

    def bounds(self) -> tuple[Floats, Floats]:
        """Lower and upper corner of a box that holds the shape."""
        reach = np.full(3, max(self.radii)) if self.tilt or self.roll else np.array(self.radii)
        return np.array(self.center) - reach, np.array(self.center) + reach

    def varied(self, shift: Floats, scale: Floats) -> Ellipsoid:
        """Moved by ``shift`` mm, half axes times ``scale``."""
        return replace(self, center=_moved(self.center, shift), radii=_times(self.radii, scale))

    def mirrored(self) -> Ellipsoid:
        """The same on the other side of the head."""
        return replace(self, center=_mirror(self.center), roll=-self.roll)


@dataclass(frozen=True)
class Capsule:
    """Segment from ``start`` to ``end`` with a radius that runs from ``radius`` to ``end_radius`` (mm)."""

    start: Point
    end: Point
    radius: float
    end_radius: float

    def distance(self, points: Floats) -> Floats:
        """Signed distance in mm at ``points`` (3, ...) (to the tapered tube, measured across the segment)."""
        shape = (3,) + (1,) * (points.ndim - 1)
        start, along = np.reshape(self.start, shape), np.subtract(self.end, self.start)
        local = points - start
        part = np.clip(np.tensordot(along, local, axes=1) / (along @ along), 0, 1)
        local -= part * along.reshape(shape)
        radius = self.radius + (self.end_radius - self.radius) * part
        distance: Floats = np.sqrt(np.einsum("i...,i...->...", local, local)) - radius
        return distance

    def bounds(self) -> tuple[Floats, Floats]:
        """Lower and upper corner of a box that holds the shape."""
        reach = max(self.radius, self.end_radius)
        return np.minimum(self.start, self.end) - reach, np.maximum(self.start, self.end) + reach

    def varied(self, shift: Floats, scale: Floats) -> Capsule:
        """Moved by ``shift`` mm, radii times the mean of ``scale``."""
        size = float(np.mean(scale))
        return Capsule(_moved(self.start, shift), _moved(self.end, shift), self.radius * size, self.end_radius * size)

    def mirrored(self) -> Capsule:
        """The same on the other side of the head."""
        return replace(self, start=_mirror(self.start), end=_mirror(self.end))


Shape = Ellipsoid | Capsule


def smooth_union(first: Floats, second: Floats, blend: float) -> Floats:
    """Union of two distance fields whose junction is rounded over ``blend`` mm (polynomial smooth minimum)."""
    if blend <= 0:
        return np.minimum(first, second)
    overlap = np.maximum(blend - np.abs(first - second), 0) / blend
    return np.minimum(first, second) - overlap**2 * blend / 4


def coverage(distance: Floats, width: float) -> Floats:
    """Part of a voxel of ``width`` mm that lies inside a flat surface at signed ``distance`` mm."""
    return np.clip(0.5 - distance / width, 0.0, 1.0)


def _rotation(tilt: float, roll: float) -> Floats:
    a, b = np.deg2rad([tilt, roll])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    turned: Floats = about_x @ about_y
    return turned


def _moved(point: Point, shift: Floats) -> Point:
    x, y, z = np.add(point, shift)
    return float(x), float(y), float(z)


def _times(point: Point, scale: Floats) -> Point:
    x, y, z = np.multiply(point, scale)
    return float(x), float(y), float(z)


def _mirror(point: Point) -> Point:
    return -point[0], point[1], point[2]
