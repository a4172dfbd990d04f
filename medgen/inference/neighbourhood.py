"""What boosted trees read of a voxel: its intensity, smoothed more and more, and the intensities around it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from scipy import ndimage

from medgen.config import Config
from medgen.types import Array

_TRUNCATE = 4.0


class Features(Config):
    """The features of a voxel, for each input channel in this order. Lengths are in voxels.

    Beyond the border of the volume, smoothing and boxes see its mirror image, and all others its last voxel.
    """

    sigmas: tuple[NonNegativeFloat, ...] = Field(default=(0.0, 1.0, 2.0, 4.0), min_length=1)
    """The intensity after Gaussian smoothing; 0 is the intensity itself."""
    shifts: tuple[tuple[NonNegativeFloat, PositiveInt], ...] = ()
    """(sigma, distance): the smoothed intensity at this distance before and behind along each axis, six values."""
    edges: tuple[PositiveFloat, ...] = ()
    """Gradient magnitude and Laplacian after Gaussian smoothing."""
    boxes: tuple[PositiveInt, ...] = ()
    """Smallest and largest intensity in a cube with this side."""

    @property
    def count(self) -> int:
        """Features of each channel."""
        return len(self.sigmas) + 6 * len(self.shifts) + 2 * len(self.edges) + 2 * len(self.boxes)

    @property
    def reach(self) -> int:
        """How far from a voxel the farthest intensity is that counts for it."""
        smoothed = [(sigma, 0) for sigma in self.sigmas] + [(sigma, 1) for sigma in self.edges] + [*self.shifts]
        return max([_radius(sigma) + distance for sigma, distance in smoothed] + [side // 2 for side in self.boxes])

    def of(self, image: Array, planes: slice) -> Iterator[Array]:
        """Each feature in turn, ``(X', Y, Z)``, on some planes of the first axis of ``image`` (C, X, Y, Z)."""
        first, last = max(planes.start - self.reach, 0), min(planes.stop + self.reach, image.shape[1])
        wanted = slice(planes.start - first, planes.stop - first)
        for channel in image:  # a slab with what its features reach; a border that is none of the volume is cut off
            for feature in self._of_block(np.ascontiguousarray(channel[first:last], dtype=np.float32)):
                yield feature[wanted]

    def _of_block(self, block: Array) -> Iterator[Array]:
        needed = {*self.sigmas, *self.edges, *(sigma for sigma, _ in self.shifts)}
        smooth = {s: ndimage.gaussian_filter(block, s, truncate=_TRUNCATE) if s else block for s in needed}
        yield from (smooth[sigma] for sigma in self.sigmas)
        for sigma, distance in self.shifts:
            for axis, sign in product(range(3), (-1, 1)):
                yield _moved(smooth[sigma], axis, sign * distance)
        for sigma in self.edges:
            steepness, laplacian = np.zeros_like(block), -6 * smooth[sigma]
            for axis in range(3):
                after, before = _moved(smooth[sigma], axis, 1), _moved(smooth[sigma], axis, -1)
                steepness += ((after - before) / 2) ** 2
                laplacian += after + before
            yield np.sqrt(steepness)
            yield laplacian
        for side in self.boxes:
            yield ndimage.minimum_filter(block, side)
            yield ndimage.maximum_filter(block, side)


VOXELWISE = Features()
"""One place: smoothing tells something of the surroundings, and nothing of shape."""
NEIGHBOURHOOD = Features(
    shifts=((0, 1), (0, 2), (1, 3), (2, 6), (4, 12)),
    edges=(1, 2),
    boxes=(3, 5),
)
"""Also what lies around it, the farther the coarser."""


def _radius(sigma: float) -> int:
    return int(_TRUNCATE * sigma + 0.5)


def _moved(block: Array, axis: int, by: int) -> Array:
    """The value ``by`` voxels further along an axis."""
    length = block.shape[axis]
    return np.take(block, np.clip(np.arange(length) + by, 0, length - 1), axis=axis)
