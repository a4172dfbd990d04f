"""The voxels of a result on the slices of the series that it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medgen.dicom.elements import plain_text
from medgen.dicom.source import SourceSeries
from medgen.errors import InputError, UsageError
from medgen.volume.grid import SAME_GRID
from medgen.volume.image import Volume
from medgen.volume.labels import as_label
from medgen.volume.slices import Slice
from medgen.volume.stack import Stack

_ROUNDING = 1e-3
"""Voxels; a place that is less away from the centre of a voxel lies on it."""
_LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])


def require_one_channel(volume: Volume) -> None:
    """Refuse a volume of several images.

    Raises:
        UsageError: it has more than one channel.
    """
    if len(volume.data) != 1:
        raise UsageError(
            f"the volume has {len(volume.data)} channels, and DICOM takes one image", fix="write each by itself"
        )


def labels_on_slices(
    volume: Volume, source: SourceSeries, classes: Sequence[str]
) -> tuple[list[str], NDArray[Any], tuple[str, ...]]:
    """The values of a label map on each slice of a series.

    Args:
        volume: (1, X, Y, Z), whole numbers: 0 background, 1 the first class.
        source: the series.
        classes: the names of the values from 1 on.

    Returns:
        The names as an element can hold them, (slices, rows, columns), and what was decided on the way.

    Raises:
        InputError: the volume lies elsewhere, or is no label map.
        UsageError: the volume has several channels, two classes have one name or none, or a value has no class.
    """
    names = [plain_text(name).strip() for name in classes]
    if not names or not all(names) or len(set(names)) < len(names):
        raise UsageError(f"the classes need a name each: {', '.join(classes) or 'none'}", fix="name each once")
    require_one_channel(volume)
    values, exact = on_slices(as_label(volume), source.stack, fill=0, nearest=True)
    if values.max() > len(names):
        raise UsageError(
            f"the label map has the value {values.max():g}, and there are {len(names)} classes",
            where=volume.source or None,
            fix="name all classes of the label map",
        )
    told = () if exact else ("the labels lie on another grid: at each voxel of the source is the nearest one",)
    return names, values, (*told, *source.notes)


def on_slices(volume: Volume, stack: Stack, *, fill: float, nearest: bool) -> tuple[NDArray[Any], bool]:
    """One image for each slice of a series.

    Where the volume has a voxel at every voxel of the slices it is that one. Elsewhere, as for a volume from a mended
    series (gaps filled, a tilted gantry straightened), it is what the volume has at that place.

    Args:
        volume: (1, X, Y, Z).
        stack: the slices.
        fill: value beyond the volume.
        nearest: take the nearest voxel, as for a label map; else interpolate linearly.

    Returns:
        (slices, rows, columns) and whether every voxel was taken as it is.

    Raises:
        InputError: the volume lies elsewhere, or not even one voxel of a slice is inside.
    """
    slices = stack.slices
    if (same := _in_order(volume, slices)) is not None:
        return same, True
    inverse = np.linalg.inv(volume.affine)
    data = np.asarray(volume.data[0], dtype=volume.data.dtype if nearest else np.float64)
    result = np.full((len(slices), *slices[0].shape[::-1]), fill, data.dtype)
    inside, whole = 0, True
    for number, each in enumerate(slices):
        places = np.einsum("ij,jrc->irc", inverse[:3, :3], _centres(each)) + inverse[:3, 3][:, None, None]
        places = np.where(np.abs(places - np.rint(places)) < _ROUNDING, np.rint(places), places)
        within = _within(places, volume.shape)
        inside += int(within.sum())
        whole &= bool(within.all() and (places == np.rint(places)).all())
        # The border voxels reach half a step further than their centres.
        found = ndimage.map_coordinates(data, places, order=0 if nearest else 1, mode="nearest")
        result[number] = np.where(within, found, fill)
    if not inside:
        raise InputError(
            "the result lies beside the series: no voxel of a slice is inside it",
            where=stack.path,
            fix="give the series that the result was made from",
        )
    return result, whole


def _in_order(volume: Volume, slices: list[Slice]) -> NDArray[Any] | None:
    """The voxels slice by slice where those of the volume lie at those of the slices; else None."""
    if volume.shape != (*slices[0].shape, len(slices)):
        return None
    columns, rows = slices[0].shape
    ends = np.array([[0, 0], [columns - 1, 0], [0, rows - 1], [columns - 1, rows - 1]])
    for number, each in enumerate(slices):
        index = np.column_stack([ends, np.full(4, number), np.ones(4)])
        there = (volume.affine @ index.T)[:3]
        away = np.linalg.norm(there - _centres(each)[:, ends[:, 1], ends[:, 0]], axis=0)
        if away.max() > SAME_GRID * min(volume.spacing):  # what the reader of the series took for straight
            return None
    return np.ascontiguousarray(volume.data[0].transpose(2, 1, 0))


def _centres(each: Slice) -> NDArray[np.float64]:
    """RAS+ mm (3, rows, columns) of the centres of the voxels of a slice."""
    columns, rows = each.shape
    across, down = (np.array(each.orientation[part]) for part in (slice(0, 3), slice(3, 6)))
    x, y = np.arange(columns) * each.spacing[0], np.arange(rows) * each.spacing[1]
    along_rows, along_columns = across[:, None, None] * x, down[:, None, None] * y[:, None]
    place = np.array(each.position)[:, None, None] + along_rows + along_columns
    return np.asarray(place * _LPS_TO_RAS[:, None, None])


def _within(places: NDArray[np.float64], shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    limits = np.array(shape)[:, None, None] - 0.5 + _ROUNDING
    return np.asarray(((places > -0.5 - _ROUNDING) & (places < limits)).all(axis=0))
