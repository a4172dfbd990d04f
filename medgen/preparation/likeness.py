"""How far a patient is from the training set by the fingerprints of the images, and what is said of one too far.

The distance of a patient is the largest root mean square deviation of a group of numbers, in standard deviations of
the training set; how large it may be is calibrated when the training set is known, see :func:`calibrate`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import permutations, product
from typing import ClassVar

import numpy as np

from medgen.config import Config
from medgen.preparation.fingerprint import GROUPS, LOOK, NUMBERS, PARTS, Fingerprint, summarise
from medgen.types import Array

_SMALLEST_SPREAD = 0.1
"""Normalised units; a training set of few subjects knows its own spread badly."""
_FAR, _DOUBTFUL = 4.0, 1.5
"""Spreads of the training set, on average over the first numbers: unlike any of it, for models without a calibration;
odd enough to ask whether another channel fits better."""
_LEAST_LIMIT, _RARE = 2.5, 0.01
"""The smallest limit of a distance; the chance of a new case of the same kind beyond it for which it is computed."""
_LEAST_CASES, _ENOUGH = 3, 200
"""Training cases that a limit needs; training cases that are left out in turn, at most."""
_TURNED = 0.6
"""An image lies another way round if turning it brings it to this share of its distance, or closer. Of 1000 pairs of a
held-out phantom head and a training set none does, upside down most do (docs/explanation/odd-images.md)."""
_UPRIGHT = {((0, 1, 2), (0, 0, 0)), ((0, 1, 2), (1, 0, 0))}
"""Left and right are alike in most of the body, so an exchange of the two is not seen."""
_SMALLEST = np.concatenate([group.smallest for group in GROUPS])
_ENDS = np.cumsum([len(group.smallest) for group in GROUPS])[:-1]
_PROFILES = (slice(_ENDS[0], _ENDS[1]), slice(_ENDS[4], NUMBERS))
"""Of grey levels and of the body, four parts along each axis."""


class Calibration(Config):
    """How far from the training set a patient may be, see :func:`calibrate`."""

    largest: ClassVar[float] = math.inf  # what is measured has no limit

    training_cases: int
    held_out_cases: int
    limit: float | None
    """Of the distance; null: too few cases to know one."""
    turned: float
    """Share of its distance that is left of an image that lies another way round, once it is turned."""
    rule: str
    """How the limit was made, and what it guarantees."""


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
    left_out = range(0, count, -(-count // _ENOUGH))
    pairs = [(training[number], summarise([*training[:number], *training[number + 1 :]])) for number in left_out]
    pairs += [(case, known) for case in held_out]
    scores = [score for case, rest in pairs if (score := distance(case, rest)) > 0]
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


def distance(patient: Mapping[str, Sequence[float]], training: Mapping[str, Fingerprint]) -> float:
    """The distance of a patient from the training set, of the input that fits worst; 0 where no role is known."""
    found = (max(_groups(numbers, training[role])) for role, numbers in patient.items() if role in training)
    return max(found, default=0.0)


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
        odd = [f"{group.name} {each:.2f}" for group, each in zip(GROUPS, groups, strict=True) if each > limit]
        return f"{image}: {', '.join(odd)} standard deviations from the training images, at most {limit:.2f} expected"
    share, perm, flips = _turned(numbers, known)
    if share < calibration.turned:
        order, along = ("".join("XYZ"[axis] for axis in axes) for axes in (perm, (a for a in (1, 2) if flips[a])))
        turned = f"with its axes in the order {order}" if order != "XYZ" else f"flipped along {' and '.join(along)}"
        return f"the image given for '{role}' may lie another way round: {turned} it is like the training images"
    return ""


def _look(numbers: Sequence[float], known: Fingerprint) -> float:
    """The distance by the first numbers, which tell one sequence from another."""
    count = min(LOOK, len(known.mean))
    spread = np.maximum(known.spread[:count], _SMALLEST_SPREAD)
    return float(np.mean(np.abs(np.asarray(numbers[:count]) - known.mean[:count]) / spread))


def _groups(numbers: Sequence[float], known: Fingerprint) -> list[float]:
    """Root mean square deviation of each group, in standard deviations of the training set."""
    deviation = (np.asarray(numbers) - known.mean) / np.maximum(known.spread, _SMALLEST)
    return [float(np.sqrt(np.mean(part**2))) for part in np.split(deviation, _ENDS)]


def _turned(numbers: Sequence[float], known: Fingerprint) -> tuple[float, tuple[int, ...], tuple[int, ...]]:
    """Turned so that it fits best: which share of its distance is left, with which axes and flips."""
    mean, spread = (
        np.concatenate([np.asarray(each)[part] for part in _PROFILES]) for each in (known.mean, known.spread)
    )
    spread = np.maximum(spread, np.concatenate([_SMALLEST[part] for part in _PROFILES]))
    profiles = np.asarray([np.asarray(numbers)[part] for part in _PROFILES]).reshape(2, 3, PARTS)

    def from_training(turned: Array) -> float:
        return float(np.sqrt(np.mean(((turned.ravel() - mean) / spread) ** 2)))

    own, found = from_training(profiles), []
    for perm, flips in product(permutations(range(3)), product((0, 1), repeat=3)):
        if (perm, flips) not in _UPRIGHT:
            moved = profiles[:, list(perm)]
            moved = np.stack([moved[:, axis, :: -1 if flips[axis] else 1] for axis in range(3)], axis=1)
            found.append((from_training(moved), perm, flips))
    best, perm, flips = min(found)
    return best / own if own > 0 else 1.0, perm, flips
