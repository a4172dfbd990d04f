"""Lesions found and invented: connected pieces of a mask instead of its voxels.

Two voxels that share a face, an edge or a corner belong to one lesion (26-connectivity); touching lesions are one. A
true and a predicted lesion match where their intersection over union is at least 0.1, the rule of the PI-CAI challenge,
and each matches one other at most. So a prediction that fills the brain matches no small lesion, one prediction
over two lesions finds one of them, and one lesion predicted in two pieces is found once, with a false alarm.
Any common voxel, the rule of the WMH challenge, would let a prediction of everything find everything.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from medgen.metrics.matching import OVERLAP, one_to_one, overlapping
from medgen.metrics.overlap import CUBE, Mask, Spacing, joint_box, require_masks


class LesionCounts(NamedTuple):
    """Lesions of one case.

    Attributes:
        true: lesions of the truth.
        found: of these, how many match a predicted one.
        predicted: lesions of the prediction.
        right: of these, how many match a true one.
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
    overlap: float = OVERLAP,
    minimum_ml: float = 0.0,
) -> LesionCounts:
    """Count the lesions of one case.

    Args:
        prediction: ``(X, Y, Z)``.
        truth: as the prediction.
        spacing: voxel size in mm; matters for ``minimum_ml`` alone.
        overlap: least intersection over union of a match, in (0, 1].
        minimum_ml: lesions smaller than this, true or predicted, are not counted. They still match: a prediction that
            matches a true lesion too small to be counted is right.

    Returns:
        The counts, with recall, precision and F1.

    Raises:
        ValueError: the two are not masks of one shape, or the overlap is outside (0, 1].
    """
    require_masks(prediction, truth)
    if not 0 < overlap <= 1:
        raise ValueError(f"the least overlap of a match lies in (0, 1], not {overlap:g}")
    box = joint_box(prediction, truth)
    if box is None:
        return LesionCounts(0, 0, 0, 0)
    true, predicted = (ndimage.label(mask[box], CUBE)[0] for mask in (truth, prediction))
    matched = one_to_one(overlapping(true, predicted, overlap))
    # A volume given in ml, such as 0.024 for three voxels of 8 mm3, must not lose the lesion to rounding.
    least = minimum_ml * 1000 / math.prod(spacing) - 1e-6
    counts: list[int] = []
    for side, pieces in enumerate((true, predicted)):
        large = set((np.flatnonzero(np.bincount(pieces.ravel())[1:] >= least) + 1).tolist())
        counts += [len(large), len(large & {pair[side] for pair in matched})]
    return LesionCounts(*counts)
