"""What each input looks like, so that a prediction can say that an image is like none of the training set.

A fingerprint is :data:`NUMBERS` numbers in six groups: grey levels, where bright and dark lie, sharpness, scale of the
values, size and shape of the body. The distance of a patient to the training set is the largest root mean square
deviation of a group, in standard deviations of the training set; how large it may be is calibrated when the training
set is known, see :func:`calibrate`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import permutations, product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from medgen.config import Config
from medgen.types import Array

_QUANTILES = (5, 25, 50, 75, 95)
_SHELLS, _PARTS = 4, 4
_FINE, _COARSE = 100, 48
"""Voxels along an axis that are looked at: of grey levels, and of places."""
_LOOK = 10
"""The first numbers alone tell one sequence from another; models from before the other groups know no more."""
_SMALLEST_SPREAD = 0.1
"""Normalised units; a training set of few subjects knows its own spread badly."""
_FAR, _DOUBTFUL = 4.0, 1.5
"""Spreads of the training set, on average over the first numbers: unlike any of it, for models without a calibration;
odd enough to ask whether another channel fits better."""
_LEAST_LIMIT, _RARE = 2.5, 0.01
"""The smallest limit of a distance; the chance of a new case of the same kind beyond it for which it is computed."""
_LEAST_CASES = 3
_TURNED = 0.6
"""An image lies another way round if turning it brings it to this share of its distance, or closer. Of 1000 pairs of a
held-out phantom head and a training set none does, upside down most do (docs/explanation/odd-images.md)."""
_UPRIGHT = {((0, 1, 2), (0, 0, 0)), ((0, 1, 2), (1, 0, 0))}
"""Left and right are alike in most of the body, so an exchange of the two is not seen."""


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
    Group("grey levels", (0.15,) * _LOOK),
    Group("where bright and dark lie", (0.08,) * 3 * _PARTS),
    Group("sharpness or noise", (0.12,) * 3),
    Group("scale or sign of the values", (0.5, 0.05)),
    Group("size of the body", (0.1, 0.05, 0.05, 0.05)),
    Group("shape of the body", (0.1,) * 3 * _PARTS),
)
NUMBERS = sum(len(group.smallest) for group in GROUPS)
_SMALLEST = np.concatenate([group.smallest for group in GROUPS])
_ENDS = np.cumsum([len(group.smallest) for group in GROUPS])[:-1]
_PROFILES = (slice(_ENDS[0], _ENDS[1]), slice(_ENDS[4], NUMBERS))
"""Of grey levels and of the body, four parts along each axis."""


class Fingerprint(Config):
    """Mean and standard deviation over the training set of each number of :func:`fingerprint`."""

    mean: tuple[float, ...]
    spread: tuple[float, ...]

    @model_validator(mode="after")
    def _of_one_length(self) -> Fingerprint:
        if not len(self.mean) == len(self.spread) > 0:
            raise ValueError(f"{len(self.mean)} means and {len(self.spread)} standard deviations")
        return self


class Calibration(Config):
    """How far from the training set a patient may be, see :func:`calibrate`."""

    training_cases: int
    held_out_cases: int
    limit: float | None
    """Of the distance; null: too few cases to know one."""
    turned: float
    """Share of its distance that is left of an image that lies another way round, once it is turned."""
    rule: str
    """How the limit was made, and what it guarantees."""


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
        parts = (np.array_split(each[box], _PARTS, axis) for each in (values, body))
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


def calibrate(
    training: Sequence[Mapping[str, Sequence[float]]], held_out: Sequence[Mapping[str, Sequence[float]]] = ()
) -> Calibration:
    """The limit of the distance that a new case of the same kind keeps with a chance of 49 in 50 or more.

    The distances of training cases to the others (leave one out) and of held-out cases to the training set are taken
    as log-normal. The limit is the upper prediction limit of one more (Student's t) at 1 in 100, at least their
    largest, and at least 2.5.

    Args:
        training: by role, the fingerprints of the training cases.
        held_out: of the validation cases.
    """
    from scipy.stats import t

    training, held_out = ([case for case in cases if case] for cases in (training, held_out))
    count, others = len(training), len(held_out)
    if count < _LEAST_CASES:
        rule = f"{count} training cases with inputs, {_LEAST_CASES} are needed: no limit"
        return Calibration(training_cases=count, held_out_cases=others, limit=None, turned=0.0, rule=rule)
    known = summarise(training)
    pairs = [(case, summarise([*training[:number], *training[number + 1 :]])) for number, case in enumerate(training)]
    pairs += [(case, known) for case in held_out]
    scores = [distance for case, rest in pairs if (distance := max(_distances(case, rest).values(), default=0.0)) > 0]
    logs, n = np.log(scores or [1.0]), max(1, len(scores))
    spread = float(logs.std(ddof=1)) if n > 1 else 0.0
    beyond = math.exp(float(logs.mean()) + float(t.ppf(1 - _RARE, max(1, n - 1))) * spread * math.sqrt(1 + 1 / n))
    ratios = [_turned(case[role], rest[role])[0] for case, rest in pairs for role in case if role in rest]
    return Calibration(
        training_cases=count,
        held_out_cases=others,
        limit=round(max(_LEAST_LIMIT, beyond, *scores), 3),
        turned=round(min([_TURNED, *(0.95 * ratio for ratio in ratios)]), 3),
        rule=f"the largest of {_LEAST_LIMIT:g}, the largest of {n} distances (leave one out, held out) and the "
        f"{1 - _RARE:.0%} prediction limit of a log-normal distribution; a new case of the same kind exceeds it with a "
        f"chance of at most 1 in {n + 1} whatever the distribution, 1 in 100 if it is log-normal",
    )


def unlike_training(
    patient: Mapping[str, Sequence[float]], training: Mapping[str, Fingerprint], calibration: Calibration | None = None
) -> tuple[str, ...]:
    """One warning for each input that looks like another one, lies another way round, or is like none of training.

    Args:
        patient: by role, its fingerprint.
        training: by role, that of the training set.
        calibration: of the model; None for one of an earlier version, whose first numbers alone are compared.
    """
    found = [_compare(role, numbers, training, calibration) for role, numbers in patient.items() if role in training]
    return tuple(warning for warning in found if warning)


def _compare(
    role: str, numbers: Sequence[float], training: Mapping[str, Fingerprint], calibration: Calibration | None
) -> str:
    looks = {other: _look(numbers, known) for other, known in training.items()}
    nearest = min(looks, key=lambda other: looks[other])
    if looks[role] > _DOUBTFUL and looks[nearest] < looks[role] / 2:
        return f"the image given for '{role}' looks like '{nearest}': are the channels swapped?"
    image = f"the image given for '{role}' looks unlike any the model was trained on"
    known = training[role]
    if calibration is None or len(known.mean) != NUMBERS:
        return image if looks[role] > _FAR else ""
    groups = _groups(numbers, known)
    limit = calibration.limit
    if limit is not None and max(groups) > limit:
        odd = [f"{group.name} {each:.1f}" for group, each in zip(GROUPS, groups, strict=True) if each > limit]
        return f"{image}: {', '.join(odd)} standard deviations from the training images, at most {limit:.1f} expected"
    share, perm, flips = _turned(numbers, known)
    if share < calibration.turned:
        order, along = ("".join("XYZ"[axis] for axis in axes) for axes in (perm, (a for a in (1, 2) if flips[a])))
        turned = f"with its axes in the order {order}" if order != "XYZ" else f"flipped along {' and '.join(along)}"
        return f"the image given for '{role}' may lie another way round: {turned} it is like the training images"
    return ""


def _look(numbers: Sequence[float], known: Fingerprint) -> float:
    """The distance by the first numbers, which tell one sequence from another."""
    count = min(_LOOK, len(known.mean))
    spread = np.maximum(known.spread[:count], _SMALLEST_SPREAD)
    return float(np.mean(np.abs(np.asarray(numbers[:count]) - known.mean[:count]) / spread))


def _groups(numbers: Sequence[float], known: Fingerprint) -> list[float]:
    """Root mean square deviation of each group, in standard deviations of the training set."""
    deviation = (np.asarray(numbers) - known.mean) / np.maximum(known.spread, _SMALLEST)
    return [float(np.sqrt(np.mean(part**2))) for part in np.split(deviation, _ENDS)]


def _distances(case: Mapping[str, Sequence[float]], known: Mapping[str, Fingerprint]) -> dict[str, float]:
    return {role: max(_groups(numbers, known[role])) for role, numbers in case.items() if role in known}


def _turned(numbers: Sequence[float], known: Fingerprint) -> tuple[float, tuple[int, ...], tuple[int, ...]]:
    """Turned so that it fits best: which share of its distance is left, with which axes and flips."""
    mean, spread = (
        np.concatenate([np.asarray(each)[part] for part in _PROFILES]) for each in (known.mean, known.spread)
    )
    spread = np.maximum(spread, np.concatenate([_SMALLEST[part] for part in _PROFILES]))
    profiles = np.asarray([np.asarray(numbers)[part] for part in _PROFILES]).reshape(2, 3, _PARTS)

    def distance(turned: Array) -> float:
        return float(np.sqrt(np.mean(((turned.ravel() - mean) / spread) ** 2)))

    own, found = distance(profiles), []
    for perm, flips in product(permutations(range(3)), product((0, 1), repeat=3)):
        if (perm, flips) not in _UPRIGHT:
            moved = profiles[:, list(perm)]
            moved = np.stack([moved[:, axis, :: -1 if flips[axis] else 1] for axis in range(3)], axis=1)
            found.append((distance(moved), perm, flips))
    best, perm, flips = min(found)
    return best / own if own > 0 else 1.0, perm, flips
