"""What each input looks like after normalisation, so that a swapped channel is noticed at prediction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from medgen.config import Config, build
from medgen.errors import UsageError
from medgen.preparation.intensity import thinned

_QUANTILES = (5, 25, 50, 75, 95)
_SHELLS = 4
_NUMBERS = len(_QUANTILES) + 1 + _SHELLS
_SMALLEST_SPREAD = 0.1
"""Normalised units; a training set of few subjects knows its own spread badly."""
_FAR, _DOUBTFUL = 4.0, 1.5
"""Spreads of the training set, on average over the numbers of a fingerprint: unlike any of it; odd enough to ask
whether another channel fits better."""


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
        if not len(found.mean) == len(found.spread) == _NUMBERS:
            raise UsageError(
                f"a fingerprint has {len(found.mean)} means and {len(found.spread)} spreads, expected {_NUMBERS} each",
                fix="use another model",
            )
        return found


def fingerprint(image: NDArray[Any], body: NDArray[np.bool_]) -> tuple[float, ...]:
    """Numbers that tell one sequence from another.

    Five percentiles of the normalised body, the median of what lies outside it, and the mean in four shells from the
    skin inwards: T1 and T2 of a head have nearly the same percentiles, but not in the same places.

    Args:
        image: (X, Y, Z) normalised.
        body: (X, Y, Z), not empty.
    """
    from scipy import ndimage

    inside = np.percentile(thinned(image[body]), _QUANTILES)
    air = thinned(image[~body])
    coarse = tuple(slice(None, None, max(1, size // 48)) for size in image.shape)
    values, depth = image[coarse], ndimage.distance_transform_edt(np.pad(body[coarse], 1))[1:-1, 1:-1, 1:-1]
    order = values[depth > 0][np.argsort(depth[depth > 0], kind="stable")]
    shells = [part.mean() if part.size else inside[2] for part in np.array_split(order, _SHELLS)]
    return (*map(float, inside), float(np.median(air) if air.size else image.min()), *map(float, shells))


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


def unlike_training(patient: Mapping[str, Sequence[float]], training: Mapping[str, Fingerprint]) -> tuple[str, ...]:
    """One warning for each input that looks like another one, or like none of the training set."""
    warnings = []
    for role, numbers in patient.items():
        if role not in training:
            continue
        distances = {other: _distance(numbers, known) for other, known in training.items()}
        nearest = min(distances, key=lambda other: distances[other])
        if distances[role] > _DOUBTFUL and distances[nearest] < distances[role] / 2:
            warnings.append(f"the image given for '{role}' looks like '{nearest}': are the channels swapped?")
        elif distances[role] > _FAR:
            warnings.append(f"the image given for '{role}' looks unlike any the model was trained on")
    return tuple(warnings)


def _distance(numbers: Sequence[float], known: Fingerprint) -> float:
    spread = np.maximum(known.spread, _SMALLEST_SPREAD)
    return float(np.mean(np.abs(np.asarray(numbers) - known.mean) / spread))
