"""Label maps: integers, each of a declared class."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.errors import InputError
from medgen.volume.image import Volume, read_volume
from medgen.volume.nifti import Geometry

_INTEGER = 1e-3
_NAMED = 6  # values named in a message


def read_label(path: str | Path, classes: Collection[int] | None = None, *, geometry: Geometry | None = None) -> Volume:
    """Read a label map.

    Args:
        path: a NIfTI file.
        classes: the values that may occur beside the background 0; None allows every integer >= 0.
        geometry: as for ``read_volume``.

    Returns:
        A volume of the smallest unsigned integer type, with a note where values had to be rounded.

    Raises:
        InputError: a value is further than 0.001 from an integer, or is none of the classes; the message lists the
            values and how many voxels have them.
    """
    return as_label(read_volume(path, geometry=geometry, dtype=None), classes)


def as_label(volume: Volume, classes: Collection[int] | None = None) -> Volume:
    """A volume that was read as it is stored, as a label map; see :func:`read_label`.

    Args:
        volume: numbers of any type.
        classes: as for :func:`read_label`.

    Raises:
        InputError: as for :func:`read_label`.
    """
    data, note = _integers(volume)
    values, counts = np.unique(data, return_counts=True)
    allowed = None if classes is None else {0, *classes}
    wrong = [i for i, value in enumerate(values) if (value < 0 if allowed is None else int(value) not in allowed)]
    if wrong:
        expected = "integers >= 0" if allowed is None else ", ".join(str(value) for value in sorted(allowed))
        raise InputError(
            f"label values outside the declared classes: {_listed(values[wrong], counts[wrong])}; expected {expected}",
            where=volume.source,
            fix="map the values to the classes, or declare them",
        )
    smallest = np.min_scalar_type(int(values.max()))
    return replace(volume, data=data.astype(smallest, copy=False), notes=volume.notes + note)


def class_indices(values: NDArray[Any], classes: Mapping[str, Collection[int]]) -> NDArray[Any]:
    """Label values as class indices: 1 for a value of the first class, and so on; 0 for a value of none.

    Args:
        values: any shape, integers >= 0.
        classes: name of a class to the values that belong to it, each to one class.

    Returns:
        An array of the shape of ``values``, of the smallest unsigned integer type.

    >>> class_indices(np.array([0, 1, 2, 4, 7]), {"core": [1, 4], "oedema": [2]}).tolist()
    [0, 1, 2, 1, 0]
    """
    index_of = np.zeros(int(values.max(initial=0)) + 1, np.min_scalar_type(len(classes)))
    for index, members in enumerate(classes.values(), start=1):
        index_of[[value for value in members if value < len(index_of)]] = index
    return np.asarray(index_of[values])


def _integers(volume: Volume) -> tuple[NDArray[Any], tuple[str, ...]]:
    data = volume.data
    if data.dtype.kind in "iub":
        return data, ()
    rounded = np.rint(data)
    with np.errstate(invalid="ignore"):
        away = np.abs(data - rounded)
    wrong = ~(away <= _INTEGER)  # also true for NaN
    if wrong.any():
        values, counts = np.unique(data[wrong], return_counts=True)
        raise InputError(
            f"the label map has values that are no integers: {_listed(values, counts)}",
            where=volume.source,
            fix="give a label map, not probabilities or an image; threshold or resample it with nearest neighbour",
        )
    largest = float(away.max())
    note = (f"label values rounded to integers (by up to {largest:.1g})",) if largest > 0 else ()
    return rounded.astype(np.int64), note


def _listed(values: NDArray[Any], counts: NDArray[Any]) -> str:
    named = [f"{value:g} ({count} voxels)" for value, count in zip(values[:_NAMED], counts[:_NAMED], strict=True)]
    return ", ".join(named) + (f" and {len(values) - _NAMED} more" if len(values) > _NAMED else "")
