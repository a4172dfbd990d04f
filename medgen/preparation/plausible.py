"""How much of each class a patient may plausibly have, by the label maps of the training set."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import numpy as np

from medgen.config import Config
from medgen.metrics.pieces import Pieces, count_pieces
from medgen.types import Array

_VOLUME, _EXTENT, _PIECES = 2.0, 1.5, 10
"""The range reaches from half of the least to twice the largest volume, to 1.5 times the largest extent (1.26 would be
that of twice the volume), and to twice the number of pieces and ten more."""
RULE = (
    f"from the least / {_VOLUME:g} (0 if a training case has none) to the largest x {_VOLUME:g}; extent to the largest "
    f"x {_EXTENT:g}; pieces to the most x {_VOLUME:g} + {_PIECES}"
)


class Range(Config):
    """What the training cases have of one class, and what a prediction may have."""

    largest: ClassVar[float] = math.inf  # what is measured has no limit

    cases: int
    """Training cases with the class."""
    trained_ml: tuple[float, float]
    """Least and largest volume in the cases that have it."""
    ml: tuple[float, float]
    """That a prediction may have."""
    trained_mm: float
    """Longest edge of the box around any connected piece."""
    mm: float
    pieces: int
    """Connected pieces (26 neighbours) that a prediction may have."""


def measure(labels: Array, spacing: Sequence[float]) -> dict[int, Pieces]:
    """The pieces of each class of a label map (X, Y, Z); 0 is background."""
    from scipy import ndimage

    boxes = enumerate(ndimage.find_objects(labels), start=1)
    return {value: count_pieces(labels[box] == value, spacing) for value, box in boxes if box is not None}


def plausible_ranges(
    cases: Iterable[Mapping[int, tuple[float, int, float]]], classes: Sequence[str]
) -> dict[str, Range]:
    """The range of each class that some training case has.

    Args:
        cases: of each labelled training case, by class (from 1), ml, pieces and the longest edge in mm.
        classes: names of the classes, without the background.
    """
    cases, ranges = list(cases), {}
    for value, name in enumerate(classes, start=1):
        found = [case[value] for case in cases if value in case]
        if not found:
            continue
        ml, pieces, mm = (np.array(each, float) for each in zip(*found, strict=True))
        least = ml.min() / _VOLUME if len(found) == len(cases) else 0.0
        ranges[name] = Range(
            cases=len(found),
            trained_ml=(_short(ml.min()), _short(ml.max())),
            ml=(_short(least), _short(ml.max() * _VOLUME)),
            trained_mm=_short(mm.max()),
            mm=_short(mm.max() * _EXTENT),
            pieces=int(_VOLUME * pieces.max()) + _PIECES,
        )
    return ranges


def implausible(name: str, ml: float, pieces: int, mm: float, known: Range) -> tuple[str, ...]:
    """Warnings on the prediction of one class.

    Args:
        name: of the class.
        ml: its volume.
        pieces: connected pieces.
        mm: longest edge of the box around any of them.
        known: of the class.

    >>> known = plausible_ranges([{1: (20.0, 1, 40.0)}, {1: (60.0, 2, 60.0)}], ["prostate"])["prostate"]
    >>> implausible("prostate", 411.0, 1, 50.0, known)
    ('prostate: 411 ml is implausible: 20 to 60 ml in the training cases, 10 to 120 ml expected',)
    """
    warnings = []
    low, high = known.ml
    if not low <= ml <= high:
        trained = f"{known.trained_ml[0]:g} to {known.trained_ml[1]:g} ml in the training cases"
        warnings.append(f"{name}: {ml:.3g} ml is implausible: {trained}, {low:g} to {high:g} ml expected")
    if mm > known.mm:
        trained = f"at most {known.trained_mm:g} mm in the training cases"
        warnings.append(f"{name}: a piece of {mm:.3g} mm is implausible: {trained}, up to {known.mm:g} mm expected")
    if pieces > known.pieces:
        warnings.append(f"{name}: {pieces} connected pieces are implausible, at most {known.pieces} expected")
    return tuple(warnings)


def _short(value: float) -> float:
    return float(f"{value:.4g}")
