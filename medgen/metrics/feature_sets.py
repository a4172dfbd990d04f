"""Two sets of images as tables of numbers: the checks and the distances that all metrics of samples share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

from medgen.errors import InputError, UsageError

Numbers = NDArray[np.float64]

_BLOCK = 2**22
"""Distances that are in memory at a time."""


def pair_of(real: ArrayLike, generated: ArrayLike, *, fewest: int, metric: str) -> tuple[Numbers, Numbers]:
    """Two sets of images as ``(N, D)`` and ``(M, D)`` float64, checked.

    Args:
        real: features or pixels of real images, one row an image.
        generated: of generated images.
        fewest: images that the metric needs of each.
        metric: its name, for messages.

    Raises:
        InputError: not tables of equally many columns, too few rows, or values that are not finite.
    """
    first, second = (
        checked(each, what, fewest=fewest, metric=metric)
        for each, what in ((real, "real images"), (generated, "generated images"))
    )
    require_same_features({"real": first, "generated": second})
    return first, second


def checked(values: ArrayLike, what: str, *, fewest: int, metric: str) -> Numbers:
    """One set of images as ``(N, D)`` float64; see :func:`pair_of`.

    Raises:
        InputError: as there.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or not table.shape[1]:
        raise InputError(
            f"the {metric} needs a table of {what} by features, not an array of shape {table.shape}",
            fix="give one row an image",
        )
    if len(table) < fewest:
        raise InputError(
            f"the {metric} needs at least {fewest} {what}, got {len(table)}",
            fix=f"give more {what}, or use a metric that needs fewer",
        )
    if bad := int((~np.isfinite(table)).any(axis=1).sum()):
        raise InputError(
            f"{bad} of {len(table)} {what} have values that are NaN or infinite",
            fix="leave them out, or use a network that computes finite features for them",
        )
    return table


def require_same_features(sets: Mapping[str, Numbers]) -> None:
    """Refuse sets of images, by kind, whose tables have different numbers of columns.

    Raises:
        InputError: they have.
    """
    if len({table.shape[1] for table in sets.values()}) > 1:
        raise InputError(
            " and ".join(f"{kind} images have {table.shape[1]} features" for kind, table in sets.items()),
            fix="compute all with the same network, from images of the same size",
        )


def require_varied(table: Numbers, what: str, *, metric: str) -> None:
    """Refuse a set in which all images are equal.

    Raises:
        InputError: they are.
    """
    if (table == table[0]).all():
        raise InputError(
            f"all {len(table)} {what} are equal, so the {metric} has no scale",
            fix="check the images, and that the network is trained: one that is not may give the same for all",
        )


def require_neighbours(neighbours: int, count: int, *, metric: str) -> None:
    """Refuse a number of neighbours that a set does not have.

    Raises:
        UsageError: it is below 1.
        InputError: the set has not more images than that.
    """
    if neighbours < 1:
        raise UsageError(f"the number of neighbours must be at least 1, got {neighbours}", fix="e.g. 5")
    if count <= neighbours:
        raise InputError(
            f"the {metric} with {neighbours} neighbours needs more than {neighbours} images of each kind, got {count}",
            fix="give more images, or use fewer neighbours",
        )


def distance_blocks(first: Numbers, second: Numbers) -> Iterator[tuple[slice, Numbers]]:
    """Euclidean distances ``(n, M)`` from some rows of ``first`` to all of ``second``, and which rows these are.

    They come from differences and not from scalar products: the distance of an image to its copy is exactly 0.
    """
    rows = max(1, _BLOCK // max(1, len(second)))
    for start in range(0, len(first), rows):
        part = slice(start, min(start + rows, len(first)))
        yield part, cdist(first[part], second)


def neighbour_radius(table: Numbers, neighbours: int) -> Numbers:
    """Distance ``(N,)`` of each row to its nearest other row of that rank; 1 is the nearest."""
    radius = np.empty(len(table))
    for part, distances in distance_blocks(table, table):
        # The row itself is among them, at distance 0, so the rank counts from it.
        radius[part] = np.partition(distances, neighbours, axis=1)[:, neighbours]
    return radius
