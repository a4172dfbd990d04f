"""From one voxel grid to another: separable where the axes are parallel, which they nearly always are.

MONAI's ``SpatialResample`` gives the same numbers (a test says so) but builds a dense coordinate grid: 2.3 GiB beyond
a 512 x 512 x 200 volume of 0.2 GiB. Weights along one axis at a time need the result and one slab, take a third of
the time, and use one thread, so that the bits do not depend on how many there are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from medgen.types import Array

_SLANT = 0.02
"""Largest drift, in voxels over the whole volume, at which two axes still count as parallel."""
_SAME = 1e-3
"""Largest difference, in voxels, at which two grids are the same grid."""


def fitted_grid(
    affine: Array, shape: tuple[int, ...], spacing: tuple[float, ...] | None
) -> tuple[Array, tuple[int, ...]]:
    """The grid of ``spacing`` that covers a field of view and has its centre.

    Args:
        affine: (4, 4) voxel index to mm, of the grid to cover.
        shape: (X, Y, Z) of the grid to cover.
        spacing: mm along each axis; None, or one within 0.001 of what there is, keeps the grid as it is.

    Returns:
        The (4, 4) affine and the (X, Y, Z) shape; rounded up, so that no voxel is left out.
    """
    present = np.linalg.norm(affine[:3, :3], axis=0)
    wanted = present if spacing is None else np.asarray(spacing, float)
    wanted = np.where(np.abs(wanted - present) <= 1e-3, present, wanted)
    if np.array_equal(wanted, present):
        return affine.copy(), tuple(shape)
    old = np.asarray(shape)
    new = np.maximum(1, np.ceil(old * present / wanted - 1e-3)).astype(int)
    fitted = affine.astype(float)
    fitted[:3, :3] = affine[:3, :3] * (wanted / present)
    middle = affine[:3, :3] @ ((old - 1) / 2) + affine[:3, 3]
    fitted[:3, 3] = middle - fitted[:3, :3] @ ((new - 1) / 2)
    return fitted, tuple(int(size) for size in new)


def resample(
    data: Array, affine: Array, new_affine: Array, new_shape: tuple[int, ...], *, fill: float, nearest: bool = False
) -> Array:
    """Values of ``data`` on another grid.

    Args:
        data: (X, Y, Z) or (C, X, Y, Z).
        affine: (4, 4) of ``data``.
        new_affine: (4, 4) of the result.
        new_shape: (X, Y, Z) of the result.
        fill: value of voxels whose centre is outside the field of view of ``data``.
        nearest: take the nearest voxel, for labels and masks; else linear, with a kernel that widens with the
            step where the new grid is coarser, so that detail it cannot hold is averaged and not aliased.

    Returns:
        float32, or the type of ``data`` for ``nearest``; ``data`` itself where the grids are the same.
    """
    matrix = np.linalg.inv(affine) @ new_affine  # new index -> old index
    old_shape = data.shape[-3:]
    extent = np.asarray(new_shape, float)
    if tuple(new_shape) == tuple(old_shape) and np.all(np.abs(matrix - np.eye(4)) @ [*extent, 1.0] < _SAME):
        return data
    if data.ndim == 4:
        channels = [resample(each, affine, new_affine, new_shape, fill=fill, nearest=nearest) for each in data]
        return np.stack(channels)
    slant = np.abs(matrix[:3, :3] - np.diag(np.diag(matrix))[:3, :3]) @ extent
    if np.all(slant < _SLANT) and np.all(np.diag(matrix)[:3] > 0):
        positions = [matrix[axis, axis] * np.arange(new_shape[axis]) + matrix[axis, 3] for axis in range(3)]
        return _parallel(data, positions, np.diag(matrix)[:3], fill, nearest)
    return _oblique(data, matrix, tuple(new_shape), fill, nearest)


def _parallel(data: Array, positions: list[Array], steps: Array, fill: float, nearest: bool) -> Array:
    if nearest:
        picks = [np.clip(np.floor(p + 0.5), 0, n - 1).astype(int) for p, n in zip(positions, data.shape, strict=True)]
        result = np.ascontiguousarray(data[np.ix_(*picks)])
    else:
        result = data
        for axis in np.argsort(-steps):  # the axis that shrinks most goes first: fewest voxels in between
            result = _along(result, _weights(positions[axis], data.shape[axis], steps[axis]), int(axis))
    for axis, (position, size) in enumerate(zip(positions, data.shape, strict=True)):
        outside = (position < -0.5 - _SAME) | (position > size - 0.5 + _SAME)
        result[(slice(None),) * axis + (outside,)] = fill
    return result


def _weights(positions: Array, size: int, step: float) -> Any:
    """Sparse (new, old) matrix of linear weights; the edge voxel stands for what lies beyond it."""
    from scipy.sparse import csr_array

    width = max(1.0, step)
    reach = int(np.ceil(width))
    taps = np.floor(positions)[:, None] + np.arange(-reach, reach + 2)
    away = taps - positions[:, None]
    weights = np.maximum(0.0, 1 - np.abs(away) / width)
    # A sampled triangle is lopsided by up to 0.06 voxel; weights (a + b away) with mean position 0 shift nothing.
    zeroth, first, second = (np.sum(weights * away**power, axis=1, keepdims=True) for power in range(3))
    determinant = zeroth * second - first**2
    safe = np.where(determinant > 1e-9, determinant, 1.0)
    tilted = weights * (second - first * away) / safe
    weights = np.where(determinant > 1e-9, tilted, weights / zeroth)
    rows = np.repeat(np.arange(len(positions)), taps.shape[1])
    columns = np.clip(taps, 0, size - 1).astype(int).ravel()
    matrix = csr_array((weights.ravel(), (rows, columns)), shape=(len(positions), size), dtype=np.float32)
    matrix.eliminate_zeros()
    return matrix


def _along(data: Array, weights: Any, axis: int) -> Array:
    shape = list(data.shape)
    shape[axis] = weights.shape[0]
    result = np.empty(shape, np.float32)
    if axis == 0:
        for index in range(shape[1]):
            result[:, index] = weights @ data[:, index].astype(np.float32, copy=False)
    else:
        for index in range(shape[0]):
            slab = data[index].astype(np.float32, copy=False)
            result[index] = weights @ slab if axis == 1 else (weights @ slab.T).T
    return result


def _oblique(data: Array, matrix: Array, shape: tuple[int, ...], fill: float, nearest: bool) -> Array:
    from scipy import ndimage

    steps = np.linalg.norm(matrix[:3, :3], axis=1)
    if not nearest and np.any(steps > 1):
        # A triangle as wide as the step has the variance (step^2 - 1) / 6 beyond that of linear interpolation.
        data = ndimage.gaussian_filter(
            data, np.sqrt(np.maximum(steps**2 - 1, 0) / 6), output=np.float32, mode="nearest"
        )
    result = np.empty(shape, data.dtype if nearest else np.float32)
    ndimage.affine_transform(
        data,
        matrix[:3, :3],
        matrix[:3, 3],
        shape,
        output=result,
        order=0 if nearest else 1,
        mode="nearest",
        prefilter=False,
    )
    y, z = np.meshgrid(np.arange(shape[1]), np.arange(shape[2]), indexing="ij")
    for x in range(shape[0]):
        outside = np.zeros(shape[1:], bool)
        for axis in range(3):
            position = matrix[axis, 0] * x + matrix[axis, 1] * y + matrix[axis, 2] * z + matrix[axis, 3]
            outside |= (position < -0.5 - _SAME) | (position > data.shape[axis] - 0.5 + _SAME)
        result[x, outside] = fill
    return result
