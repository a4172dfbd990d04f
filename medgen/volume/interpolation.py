"""Slices between slices, and a sheared volume on a straight grid."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.errors import InputError
from medgen.volume.image import Volume

_LONGEST = 32767  # voxels along an axis of a NIfTI-1 file
_ROUNDING = 1e-3  # voxel; what rounding of an affine can make


def between_slices(data: NDArray[Any], places: NDArray[np.float64], *, nearest: bool) -> NDArray[Any]:
    """Slices at fractional places of the third axis.

    Args:
        data: (X, Y, Z).
        places: index of each wanted slice among those of ``data``, in [0, Z - 1].
        nearest: take the nearest slice, the first of two equally near; else each voxel linearly between both.

    Returns:
        (X, Y, places) of the type of ``data``; ``data`` itself where all its slices are wanted as they are.
    """
    if np.array_equal(places, np.arange(data.shape[2])):
        return data
    result = np.empty((len(places), *data.shape[1::-1]), data.dtype).transpose(2, 1, 0)
    for number, place in enumerate(places):
        below, share = int(place), place % 1
        if share == 0 or nearest:
            result[:, :, number] = data[:, :, below + int(share > 0.5)]
        else:
            result[:, :, number] = data[:, :, below] * (1 - share) + data[:, :, below + 1] * share
    return result


def onto_straight_grid(volume: Volume, shear: float, *, nearest: bool) -> Volume:
    """The volume on the straight grid that Gram-Schmidt makes of its axes.

    Seen along the new axes a voxel moves along the first with its second and third index, along the second with its
    third, and along the third not at all. So every slice stays where it is, and is moved within its plane.

    Args:
        volume: one channel, on a sheared grid.
        shear: its angle in degrees, for the note.
        nearest: the volume is a label map: nearest neighbour in place of linear interpolation.

    Returns:
        A volume that covers the other; its first axis keeps direction and spacing, and so does the second where it
        stands at a right angle to the first. Beyond the source stands the image's smallest value, in a label map 0.
    """
    directions, triangle = np.linalg.qr(volume.affine[:3, :3])
    lengths = np.diag(triangle)  # some negative; the directions are so too
    forth = triangle / lengths[:, None]
    back = np.linalg.inv(forth)
    ends = np.array(list(product(*((0, size - 1) for size in volume.shape)))) @ forth.T
    low, high = np.floor(ends.min(axis=0) + _ROUNDING), np.ceil(ends.max(axis=0) - _ROUNDING)
    shape = tuple(int(size) for size in high - low + 1)
    affine = np.eye(4)
    affine[:3, :3] = directions * lengths
    affine[:3, 3] = volume.affine[:3, 3] + affine[:3, :3] @ low
    source = volume.data[0]
    if max(shape) > _LONGEST:
        raise InputError(
            f"the shear of {shear:.2f} degrees would make a straight grid of {max(shape)} voxels along one axis",
            where=volume.source or None,
            fix="look at the affine: it can hardly be meant",
        )
    finite = source[np.isfinite(source)]
    fill = 0 if nearest or not len(finite) else finite.min()
    data = np.empty(shape, source.dtype, order="F")
    for z in range(shape[2]):
        offset = back[:2] @ [low[0], low[1], z]
        data[:, :, z] = _moved(source[:, :, z], back[:2, :2], offset, (shape[0], shape[1]), fill, nearest=nearest)
    how = "nearest neighbour" if nearest else "linear interpolation"
    note = f"sheared by {shear:.2f} degrees: on a straight grid by {how}; voxels outside the source hold {fill:g}"
    held = np.asarray(affine, np.float32).astype(np.float64)
    return replace(volume, data=data[None], affine=held, notes=(*volume.notes, note))


def _moved(
    source: NDArray[Any],
    matrix: NDArray[Any],
    offset: NDArray[Any],
    shape: tuple[int, int],
    fill: float,
    *,
    nearest: bool,
) -> NDArray[Any]:
    """One slice (X, Y) with new index -> old index by ``matrix`` and ``offset``."""
    from scipy import ndimage

    result = np.empty(shape, source.dtype)
    order = 0 if nearest else 1
    ndimage.affine_transform(source, matrix, offset, output_shape=shape, output=result, order=order, mode="nearest")
    first, second = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij", sparse=True)
    for row, start, size in zip(matrix, offset, source.shape, strict=True):
        place = row[0] * first + row[1] * second + start
        result[(place < -0.5 - _ROUNDING) | (place > size - 0.5 + _ROUNDING)] = fill
    return result
