"""What each input looks like, so that a prediction can say that an image is like none of the training set.

A fingerprint is :data:`NUMBERS` numbers in six groups: grey levels, where bright and dark lie, sharpness, scale of the
values, size and shape of the body. :mod:`medgen.preparation.likeness` compares it with those of the training set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medgen.config import Config, build
from medgen.errors import UsageError
from medgen.types import Array

_QUANTILES = (5, 25, 50, 75, 95)
PARTS, _SHELLS = 4, 4
_FINE, _COARSE = 100, 48
"""Voxels along an axis that are looked at: of grey levels, and of places."""
LOOK = 10
"""The first numbers alone tell one sequence from another; models from before the other groups know no more."""


class Group(NamedTuple):
    """Some numbers of a fingerprint that are compared together.

    Attributes:
        name: in words, for warnings.
        smallest: the least standard deviation of each: what differs between scanners of one kind, so that a training
            set from a single one does not refuse the others.
    """

    name: str
    smallest: tuple[float, ...]


GROUPS = (
    Group("grey levels", (0.15,) * LOOK),
    Group("where bright and dark lie", (0.08,) * 3 * PARTS),
    Group("sharpness or noise", (0.12,) * 3),
    Group("scale or sign of the values", (0.5, 0.05)),
    Group("size of the body", (0.1, 0.05, 0.05, 0.05)),
    Group("shape of the body", (0.1,) * 3 * PARTS),
)
NUMBERS = sum(len(group.smallest) for group in GROUPS)


class Fingerprint(Config):
    """Mean and standard deviation over the training set of each number of :func:`fingerprint`."""

    largest: ClassVar[float] = math.inf  # what is measured has no limit

    mean: tuple[float, ...]
    spread: tuple[float, ...]

    @classmethod
    def saved(cls, values: Mapping[str, Any]) -> Fingerprint:
        """From the plain values of a model, which can hold any number of numbers.

        Raises:
            UsageError: they are no fingerprint.
        """
        found = build(cls, values)
        if len(found.mean) != len(found.spread) or len(found.mean) not in (LOOK, NUMBERS):
            raise UsageError(
                f"a fingerprint has {len(found.mean)} means and {len(found.spread)} standard deviations, expected "
                f"{NUMBERS} each",
                fix="use another model",
            )
        return found


def fingerprint(image: Array, body: NDArray[np.bool_], affine: Array, scale: tuple[float, float]) -> tuple[float, ...]:
    """The numbers of one image, in the order of :data:`GROUPS`.

    Five percentiles of the normalised body, the median of what lies outside it, and the mean in four shells from the
    skin inwards (T1 and T2 of a head have nearly the same percentiles, but not in the same places); the mean in four
    parts of the body along each axis; the logarithm of the mean step between neighbours along each axis; decimal
    logarithm of the largest values and share of negative ones before normalisation; logarithms of the body's volume in
    ml and extent in mm; share of the body in four parts of its box along each axis.

    Args:
        image: (X, Y, Z) normalised.
        body: (X, Y, Z), not empty.
        affine: (4, 4) voxel index to mm; the axes point right, anterior, superior.
        scale: by :func:`scale_of`, of the image before it was normalised.
    """
    from scipy import ndimage

    fine, coarse = _every(image.shape, _FINE), _every(image.shape, _COARSE)
    inside = np.percentile(image[fine][body[fine]] if body[fine].any() else image[body], _QUANTILES)
    air = image[fine][~body[fine]]
    values, thin = image[coarse], body[coarse]
    depth = ndimage.distance_transform_edt(np.pad(thin, 1))[1:-1, 1:-1, 1:-1]
    order = values[depth > 0][np.argsort(depth[depth > 0], kind="stable")]
    shells = [part.mean() if part.size else inside[2] for part in np.array_split(order, _SHELLS)]
    levels, shares = _profiles(values, thin, float(inside[2]))
    numbers = (
        *inside,
        np.median(air) if air.size else image.min(),
        *shells,
        *levels,
        *_steps(image, body),
        *scale,
        *_size(body, affine),
        *shares,
    )
    return tuple(map(float, numbers))


def _every(shape: Sequence[int], most: int) -> tuple[slice, ...]:
    """Regular places, at most ``most`` along each axis."""
    return tuple(slice(None, None, -(-size // most)) for size in shape)


def scale_of(raw: Array) -> tuple[float, float]:
    """Decimal logarithm of the largest values (99th percentile) and share of clearly negative ones.

    Args:
        raw: (X, Y, Z), in the image's own unit, finite.
    """
    values = raw[_every(raw.shape, _FINE)]
    largest = float(np.percentile(np.abs(values), 99))
    return math.log10(largest + 1e-12), float(np.mean(values < -0.01 * largest))


def _profiles(values: Array, body: NDArray[np.bool_], middle: float) -> tuple[list[float], list[float]]:
    """Mean value of the body, and its share, in equal parts of its box along each axis."""
    box = _box(body)
    levels, shares = list[float](), list[float]()
    for axis in range(3):
        parts = (np.array_split(each[box], PARTS, axis) for each in (values, body))
        for value, part in zip(*parts, strict=True):
            levels.append(float(value[part].mean()) if part.any() else middle)
            shares.append(float(part.mean()) if part.size else 0.0)
    return levels, shares


def _steps(image: Array, body: NDArray[np.bool_]) -> list[float]:
    """Logarithm of the mean absolute step to the next voxel along each axis, in standard deviations of the body."""
    fine = _every(image.shape, _FINE)
    spread = float(image[fine].std(where=body[fine])) if body[fine].any() else 0.0
    steps = []
    for axis, size in enumerate(image.shape):
        places = np.arange(0, size - 1, -(-size // _COARSE))
        rows = list(_every(image.shape, _COARSE))
        rows[axis] = slice(None)
        here, there = (
            (image[tuple(rows)].take(at, axis), body[tuple(rows)].take(at, axis)) for at in (places, places + 1)
        )
        step = np.abs(here[0] - there[0])[here[1] & there[1]]
        steps.append(math.log((float(step.mean()) if step.size else 0.0) / (spread or 1.0) + 1e-3))
    return steps


def _size(body: NDArray[np.bool_], affine: Array) -> list[float]:
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    extent = [(part.stop - part.start) * edge for part, edge in zip(_box(body), edges, strict=True)]
    return [math.log(float(np.count_nonzero(body) * np.prod(edges)) / 1000), *map(math.log, extent)]


def _box(body: NDArray[np.bool_]) -> tuple[slice, ...]:
    reach = [np.flatnonzero(body.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    return tuple(slice(int(each[0]), int(each[-1]) + 1) if each.size else slice(None) for each in reach)


def summarise(cases: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, Fingerprint]:
    """The fingerprint of a training set from those of its subjects, by role."""
    if not cases:
        return {}
    roles = dict.fromkeys(role for case in cases for role in case)
    tables = {role: np.array([case[role] for case in cases if role in case]) for role in roles}
    return {
        role: Fingerprint(mean=tuple(map(float, table.mean(axis=0))), spread=tuple(map(float, table.std(axis=0))))
        for role, table in tables.items()
    }
