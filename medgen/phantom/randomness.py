"""Random streams that do not touch each other, and random fields that vary smoothly over millimetres."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from medgen.phantom.grid import Grid, SliceGrid

SUBJECT, SCANNER, REALISATION = 0, 1, 2


@dataclass(frozen=True)
class Stream:
    """One of the three independent sources of chance: who lies in the scanner, which scanner, which noise.

    Attributes:
        seed: user's seed.
        kind: :data:`SUBJECT`, :data:`SCANNER` or :data:`REALISATION`.
        index: number of the subject, or of the scanner.
    """

    seed: int
    kind: int
    index: int

    def generator(self, purpose: str) -> np.random.Generator:
        """A generator for one ``purpose``; another purpose never shifts its numbers."""
        key = (self.kind, self.index, crc32(purpose.encode()))
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))


def smooth_field(
    generator: np.random.Generator, grid: Grid | SliceGrid, knots: float, channels: int = 1
) -> NDArray[np.float64]:
    """Random field without preferred sign that varies over about ``knots`` millimetres.

    Cubic B-spline with independent normal coefficients on a lattice fixed in millimetres: the same generator gives
    the same field at every spacing.

    Args:
        generator: source of the coefficients.
        grid: where to evaluate.
        knots: distance of the control points in mm.
        channels: number of independent fields.

    Returns:
        Array (channels, X, Y, Z), mean 0 and standard deviation about 1.
    """
    lattice = grid.lattice(knots)
    coefficients = generator.standard_normal((channels, *lattice.shape))
    # The squares of a cubic B-spline's weights sum to 151/315 on average along each axis.
    field: NDArray[np.float64] = evaluate_spline(coefficients, lattice, grid) / (151 / 315) ** 1.5
    return field


def evaluate_spline(coefficients: NDArray[np.float64], lattice: Grid, grid: Grid | SliceGrid) -> NDArray[np.float64]:
    """Values at the voxels of ``grid`` of a cubic B-spline whose ``coefficients`` (C, x, y, z) stand on ``lattice``."""
    along_x, along_y, along_z = (_weights(lattice, grid, axis) for axis in range(3))
    # Innermost axis first: every step is then a plain matrix product on contiguous memory.
    partial = along_y @ (coefficients @ along_z.T)
    channels, knots = partial.shape[:2]
    result: NDArray[np.float64] = along_x @ partial.reshape(channels, knots, -1)
    return result.reshape(channels, *grid.shape)


@lru_cache(maxsize=64)
def _weights(lattice: Grid, grid: Grid | SliceGrid, axis: int) -> NDArray[np.float64]:
    """Matrix (voxels, knots) of cubic B-spline weights along one axis."""
    position = (grid.axis(axis)[:, None] - lattice.axis(axis)[None, :]) / lattice.spacing
    distance = np.abs(position)
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far)
