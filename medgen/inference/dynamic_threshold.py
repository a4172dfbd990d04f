"""The dynamic threshold: each piece reaches down to a fraction of its own highest value."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medgen.metrics.overlap import CUBE
from medgen.recipe.prediction import DetectionConfig

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]

_REACH = 4
"""Voxels on each side of a peak that are labelled first to find its piece."""


class _Piece(NamedTuple):
    """Connected voxels: a box of the map, and which voxels of the box."""

    box: tuple[slice, slice, slice]
    mask: Mask


def dynamic_pieces(work: Map, least: float, settings: DetectionConfig) -> list[Mask]:
    """Pieces in the order in which they are found; ``work`` is used up.

    The highest voxels are looked up in one sorted list, and each piece is labelled in a box that fits it. The whole map
    is labelled only where the highest piece is too small, see ``_all_above``; the next peak is then lower by more than
    ``settings.factor``, so that this happens a few times at most, however many pieces there are.
    """
    found: list[Mask] = []
    near = np.zeros(work.shape, bool)
    flat = work.reshape(-1)
    falling = np.flatnonzero(flat >= settings.floor)
    falling = falling[np.argsort(-flat[falling], kind="stable")]
    negative = -flat[falling]
    for index, place in enumerate(falling):
        peak = flat[place]
        if not peak:  # part of a piece that is done
            continue
        above = peak / np.float32(settings.factor)
        equals = falling[index : np.searchsorted(negative, -peak, side="right")]
        pieces = _take(work, equals, above, least)
        if pieces is None:
            chosen = _all_above(work, above, least, near, settings.most)
        else:
            chosen = [_whole_mask(piece, work.shape) for piece in pieces if not near[piece.box][piece.mask].any()]
        for mask in chosen:
            found.append(mask)
            _mark_around(near, mask)
            if len(found) == settings.most:
                return found
    return found


def _take(work: Map, peaks: NDArray[np.intp], above: np.float32, least: float) -> list[_Piece] | None:
    """Cut the pieces around equally high voxels out of ``work``; the one that begins first is the first.

    Returns:
        The pieces, or None with ``work`` unchanged if one of them is too small.
    """
    pieces: list[_Piece] = []
    heights: list[Map] = []
    for place in peaks:
        x, y, z = (int(each) for each in np.unravel_index(place, work.shape))
        if not work[x, y, z]:  # in one of the others
            continue
        piece = _flood(work, (x, y, z), above)
        if np.count_nonzero(piece.mask) < least:
            for done, values in zip(pieces, heights, strict=True):
                work[done.box][done.mask] = values
            return None
        pieces.append(piece)
        heights.append(work[piece.box][piece.mask])
        work[piece.box][piece.mask] = 0
    return sorted(pieces, key=_first_voxel)


def _flood(work: Map, seed: tuple[int, int, int], above: np.float32) -> _Piece:
    """All that is connected to a voxel at or above a value, labelled in a box that grows until it fits."""
    from scipy import ndimage

    size = np.asarray(work.shape)
    reach = np.full((2, 3), _REACH)
    while True:
        low, high = np.maximum(seed - reach[0], 0), np.minimum(seed + reach[1] + 1, size)
        box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
        labels, _ = ndimage.label(work[box] >= above, CUBE)
        mask = labels == labels[tuple(seed - low)]
        ends = [(mask.take(0, axis).any(), mask.take(-1, axis).any()) for axis in range(3)]
        grow = np.array(ends).T & np.array([low > 0, high < size])
        if not grow.any():
            return _Piece(box, mask)
        reach[grow] *= 2


def _all_above(work: Map, above: np.float32, least: float, near: Mask, most: int) -> list[Mask]:
    """Clear all that lies at or above a value, and give the highest large pieces that touch none in ``near``.

    As long as the highest voxel belongs to a piece that is too small, it stays, and the threshold with it: the large
    pieces go one after the other, and at last the small ones, below which a larger, fainter one may lie. Pieces of one
    threshold do not touch, so that one of them is never the rim of another.
    """
    from scipy import ndimage

    labels, _ = ndimage.label(work >= above, CUBE)
    large = np.setdiff1d(large_pieces(labels, least), labels[near])
    peaks = np.asarray(ndimage.maximum(work, labels, large)) if large.size else np.zeros(0)
    work[labels > 0] = 0
    return [np.asarray(labels == large[index]) for index in np.argsort(-peaks, kind="stable")[:most]]


def _first_voxel(piece: _Piece) -> tuple[int, ...]:
    """The first voxel of a piece in the order of the map: the order in which scipy numbers pieces."""
    return tuple(int(at) + edge.start for at, edge in zip(np.argwhere(piece.mask)[0], piece.box, strict=True))


def _whole_mask(piece: _Piece, shape: tuple[int, ...]) -> Mask:
    mask = np.zeros(shape, bool)
    mask[piece.box] = piece.mask
    return mask


def _mark_around(near: Mask, mask: Mask) -> None:
    """Mark a piece and all that touches it."""
    from scipy import ndimage

    near |= ndimage.binary_dilation(mask, CUBE)


def large_pieces(labels: NDArray[Any], least: float) -> NDArray[Any]:
    """Numbers of the pieces with at least ``least`` voxels."""
    return 1 + np.flatnonzero(np.bincount(labels.ravel())[1:] >= least)
