"""What each input looks like after normalisation, so that a swapped channel is noticed at prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.config import Config
from medgen.preparation.intensity import thinned

_QUANTILES = (5, 25, 50, 75, 95)
_SMALLEST_SPREAD = 0.1
"""Normalised units; a training set of few subjects knows its own spread badly."""
_FAR = 4.0
"""Spreads of the training set, on average over the numbers of a fingerprint."""


class Fingerprint(Config):
    """Mean and standard deviation over the training set of each number of :func:`fingerprint`."""

    mean: tuple[float, ...]
    spread: tuple[float, ...]


def fingerprint(image: NDArray[Any], body: NDArray[np.bool_]) -> tuple[float, ...]:
    """Five percentiles of the normalised body and the median of what lies outside it.

    Args:
        image: (X, Y, Z) normalised.
        body: (X, Y, Z), not empty.
    """
    inside = np.percentile(thinned(image[body]), _QUANTILES)
    air = thinned(image[~body])
    return (*(float(value) for value in inside), float(np.median(air)) if air.size else float(image.min()))


def summarise(cases: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, Fingerprint]:
    """The fingerprint of a training set from those of its subjects, by role."""
    if not cases:
        return {}
    tables = {role: np.array([case[role] for case in cases]) for role in cases[0]}
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
        if distances[role] <= _FAR:
            continue
        if nearest != role and distances[nearest] < distances[role] / 2:
            warnings.append(f"the image given for '{role}' looks like '{nearest}': are the channels swapped?")
        else:
            warnings.append(f"the image given for '{role}' looks unlike any the model was trained on")
    return tuple(warnings)


def _distance(numbers: Sequence[float], known: Fingerprint) -> float:
    spread = np.maximum(known.spread, _SMALLEST_SPREAD)
    return float(np.mean(np.abs(np.asarray(numbers) - known.mean) / spread))
