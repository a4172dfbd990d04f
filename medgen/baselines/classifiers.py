"""What a segmentation network has to beat: one class everywhere, and boosted trees on the intensities.

The trees of a class learn whether a voxel is of it. Half of their voxels are, since of a small lesion a uniform draw
would see next to nothing; the probability from which a voxel counts as the class is then the one with the highest mean
Dice on the training cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.baselines.regressors import BoostingConfig, fit_boosting
from medgen.errors import InputError
from medgen.inference.boosting import BoostedEstimator
from medgen.preparation import StoredCase
from medgen.types import Array

_LEVELS = 200
"""Probabilities among which the threshold of a class is chosen."""


@dataclass(frozen=True)
class ConstantClass:
    """The most frequent class after the background in every voxel: a map of nothing has a Dice of 0.

    Attributes:
        classes: after the background.
        chosen: number of the class.
    """

    classes: int
    chosen: int

    @classmethod
    def fit(cls, cases: Sequence[StoredCase], classes: int) -> ConstantClass:
        """Find the class in the masks of the training cases.

        Raises:
            InputError: no voxel there has a class.
        """
        counts = np.zeros(classes + 1, np.int64)
        for case in cases:
            counts += np.bincount(_labels(case)[np.asarray(case.mask) > 0], minlength=classes + 1)[: classes + 1]
        _require_classes(counts)
        return cls(classes, 1 + int(counts[1:].argmax()))

    def predict(self, image: Array) -> NDArray[np.float32]:
        """``(1 + classes, X, Y, Z)``: certainly this class; of the image ``(C, X, Y, Z)`` only the shape matters."""
        result = np.zeros((1 + self.classes, *image.shape[1:]), np.float32)
        result[self.chosen] = 1
        return result


@dataclass(frozen=True, eq=False)
class BoostedClasses:
    """Boosted trees for each class after the background.

    Attributes:
        estimators: from an image to -1 (another class) .. 1 (this class); None: no training voxel has the class.
        thresholds: by class, the probability in (0, 1) from which a voxel counts as it.
    """

    estimators: tuple[BoostedEstimator | None, ...]
    thresholds: tuple[float, ...]

    def predict(self, image: Array) -> NDArray[np.float32]:
        """Probabilities, moved so that a class is the most probable one where it is above its threshold.

        Args:
            image: ``(C, X, Y, Z)`` inputs, prepared.

        Returns:
            ``(1 + classes, X, Y, Z)`` float32 in [0, 1] with sum 1, background first.
        """
        result = np.zeros((1 + len(self.estimators), *image.shape[1:]), np.float32)
        for index, (estimator, threshold) in enumerate(zip(self.estimators, self.thresholds, strict=True), start=1):
            if estimator is not None:
                share = _probability(estimator, image)
                above = share * (1 - threshold)  # the odds of the threshold become 1
                result[index] = above / np.maximum(above + (1 - share) * threshold, np.finfo(np.float32).tiny)
        result[0] = 1 - result[1:].max(axis=0)
        result /= result.sum(axis=0)
        return result


def fit_boosted_classes(
    cases: Sequence[StoredCase], classes: int, config: BoostingConfig | None = None, *, seed: int = 0
) -> BoostedClasses:
    """Fit the trees and the threshold of each class.

    Args:
        cases: the training cases; voxels in their masks are used.
        classes: after the background.
        config: of the trees; drawing half of the voxels from the class and the squared error are added.
        seed: see :func:`~medgen.baselines.regressors.fit_boosting`.

    Raises:
        InputError: a case has no labels, no voxel in a mask has a class, or a training value is not finite.
    """
    counts = np.zeros(classes + 1, np.int64)
    for case in cases:
        counts += np.bincount(_labels(case)[np.asarray(case.mask) > 0], minlength=classes + 1)[: classes + 1]
    _require_classes(counts)
    found = [_fit_class(cases, index, counts, config or BoostingConfig(), seed) for index in range(1, classes + 1)]
    estimators, thresholds = zip(*found, strict=True)
    return BoostedClasses(estimators, thresholds)


@dataclass(frozen=True)
class _OneClass:
    """A stored case whose target is one class: 1 inside it, -1 elsewhere."""

    case: StoredCase
    index: int

    @property
    def name(self) -> str:
        return self.case.name

    @property
    def image(self) -> NDArray[Any]:
        return self.case.image

    @property
    def target(self) -> NDArray[Any]:
        return np.where(_labels(self.case) == self.index, np.float32(1), np.float32(-1))[None]

    @property
    def mask(self) -> NDArray[Any]:
        return self.case.mask


def _fit_class(
    cases: Sequence[StoredCase], index: int, counts: NDArray[np.int64], config: BoostingConfig, seed: int
) -> tuple[BoostedEstimator | None, float]:
    if not counts[index]:
        return None, 0.5
    weight = max(1.0, float((counts.sum() - counts[index]) / counts[index]))
    # The target is -1 or 1, which lie in the ranges of air and bone.
    balanced = config.model_copy(update={"loss": "squared_error", "tissue_weights": (1.0, 1.0, weight)})
    estimator = fit_boosting([_OneClass(case, index) for case in cases], balanced, seed=seed)
    curves = [
        _dice_by_threshold(_probability(estimator, case.image, case.mask)[inside], (labels == index)[inside])
        for case in cases
        if (labels := _labels(case))[inside := np.asarray(case.mask) > 0].size and (labels[inside] == index).any()
    ]
    best = np.mean(curves, axis=0)
    return estimator, float((1 + best.argmax()) / _LEVELS)


def _probability(estimator: BoostedEstimator, image: Array, mask: Array | None = None) -> NDArray[np.float32]:
    """(X, Y, Z) in [0, 1]."""
    probability: NDArray[np.float32] = np.clip((estimator.predict(image, mask)[0] + 1) / 2, 0, 1)
    return probability


def _dice_by_threshold(probability: NDArray[np.float32], true: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Dice of "at least t" for t = 1/200, 2/200 .. 199/200, of voxels (N)."""
    level = np.minimum((probability * _LEVELS).astype(np.int64), _LEVELS - 1)
    counts, hits = np.bincount(level, minlength=_LEVELS), np.bincount(level[true], minlength=_LEVELS)
    predicted, found = (each[::-1].cumsum()[::-1][1:] for each in (counts, hits))
    dice: NDArray[np.float64] = 2 * found / (predicted + np.count_nonzero(true))
    return dice


def _labels(case: StoredCase) -> NDArray[Any]:
    """(X, Y, Z) class numbers."""
    if case.label is None:
        raise InputError(f"the case '{case.name}' has no labels to learn from", fix="give it some or leave it out")
    return np.asarray(case.label)


def _require_classes(counts: NDArray[np.int64]) -> None:
    if not counts[1:].any():
        raise InputError("no training case has a labelled voxel in its mask", fix="check the role in data.labels")
