"""Lesions found and invented: connected pieces of a mask instead of its voxels.

Two voxels that share a face, an edge or a corner belong to one lesion (26-connectivity). A true lesion is found when
the prediction covers enough of it, whichever predicted pieces do so; a predicted lesion is right when enough of it lies
in the truth. So one prediction over two true lesions finds both, and one lesion predicted in two pieces is found once
without a false alarm. Touching lesions are one.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medgen.metrics.overlap import CUBE, Mask, Spacing, joint_box, require_masks


class LesionCounts(NamedTuple):
    """Lesions of one case.

    Attributes:
        true: lesions of the truth.
        found: of these, how many the prediction covers.
        predicted: lesions of the prediction.
        right: of these, how many lie on a true one.
    """

    true: int
    found: int
    predicted: int
    right: int

    @property
    def recall(self) -> float:
        """Share of the true lesions that are found; NaN without one."""
        return self.found / self.true if self.true else math.nan

    @property
    def precision(self) -> float:
        """Share of the predicted lesions that are right; 0 if none is predicted of those there are, NaN without any."""
        if self.predicted:
            return self.right / self.predicted
        return 0.0 if self.true else math.nan

    @property
    def f1(self) -> float:
        """Harmonic mean of recall and precision; 0 if all lesions are missed or invented, NaN without any.

        >>> LesionCounts(true=4, found=2, predicted=2, right=2).f1  # doctest: +ELLIPSIS
        0.666...
        """
        if not self.true and not self.predicted:
            return math.nan
        if not self.found or not self.right:
            return 0.0
        return 2 * self.recall * self.precision / (self.recall + self.precision)


def count_lesions(
    prediction: Mask,
    truth: Mask,
    spacing: Spacing = (1.0, 1.0, 1.0),
    *,
    share: float = 0.0,
    minimum_ml: float = 0.0,
) -> LesionCounts:
    """Count the lesions of one case.

    Args:
        prediction: ``(X, Y, Z)``.
        truth: as the prediction.
        spacing: voxel size in mm; matters for ``minimum_ml`` alone.
        share: part of a lesion, in (0, 1], that the other mask must cover for a hit; 0 takes any voxel.
        minimum_ml: lesions smaller than this, true or predicted, are not counted. They still count as cover: a
            prediction on a true lesion too small to be counted is right.

    Returns:
        The counts, with recall, precision and F1.

    Raises:
        ValueError: the two are not masks of one shape, or the share is outside [0, 1].
    """
    require_masks(prediction, truth)
    if not 0 <= share <= 1:
        raise ValueError(f"the share of a lesion lies in [0, 1], not {share:g}")
    box = joint_box(prediction, truth)
    if box is None:
        return LesionCounts(0, 0, 0, 0)
    smallest = minimum_ml * 1000 / math.prod(spacing)
    true, found = _pieces(truth[box], prediction[box], share, smallest)
    predicted, right = _pieces(prediction[box], truth[box], share, smallest)
    return LesionCounts(true, found, predicted, right)


def _pieces(mask: Mask, cover: Mask, share: float, smallest: float) -> tuple[int, int]:
    """How many pieces of ``mask`` are large enough, and how many of these are covered."""
    labelled, count = ndimage.label(mask, CUBE)
    sizes = np.bincount(labelled.ravel(), minlength=count + 1)[1:]
    covered = np.bincount(labelled[cover].ravel(), minlength=count + 1)[1:]
    # A volume given in ml, such as 0.024 for three voxels of 8 mm3, must not lose the lesion to rounding.
    counted: NDArray[np.bool_] = sizes >= smallest - 1e-6
    hit = (covered > 0) & (covered >= share * sizes - 1e-6)
    return int(counted.sum()), int((counted & hit).sum())
