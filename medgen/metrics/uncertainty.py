"""How well a standard deviation tells where a synthetic CT is wrong.

Every function takes the standard deviation, the prediction and the truth, ``(X, Y, Z)`` in HU on one grid, and a mask
of that shape (None: every voxel); only voxels of the mask count. An empty mask, an absent tissue, and NaN in one of the
images inside the mask give NaN. :func:`mean_sd` alone needs no truth: it is the score by which a case is accepted.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from medgen.metrics.intervals import by_tissue, of_tissues
from medgen.metrics.sparsification import ause

Image = NDArray[np.floating]
Mask = NDArray[np.bool_]

WITHIN = 2.0
"""Standard deviations that an error may have to be covered; 95 % of the errors, if they were normally distributed with
this standard deviation."""

SETTINGS: dict[str, object] = {"coverage_within_sd": WITHIN}
"""What the numbers depend on besides the thresholds of tissue; written beside every result."""

UNITS = {
    "sd_error_correlation": "",
    **of_tissues("coverage", ""),
    **of_tissues("ause", ""),
}
"""The metrics of :func:`uncertainty_scores` in their order, with their units."""

SCORE = {"mean_sd": "HU"}
"""The score of a case: :func:`mean_sd`."""


def mean_sd(sd: Image, body: Mask) -> float:
    """The score of a case, by which the gate accepts or rejects it: its mean standard deviation in the body.

    ``calibrate`` and ``predict`` take the body that is found in the image, because a new patient has no mask. In the
    file that ``predict`` writes the standard deviation is 0 outside it, so the body is where that is above 0.

    Args:
        sd: ``(X, Y, Z)``, any unit.
        body: ``(X, Y, Z)``.

    Returns:
        The mean, in the unit of ``sd``; 0 without a body.

    >>> mean_sd(np.array([[[0.0, 20.0, 40.0]]]), np.array([[[False, True, True]]]))
    30.0
    """
    return float(np.mean(sd, where=body, dtype=np.float64)) if body.any() else 0.0


def sd_error_correlation(sd: Image, prediction: Image, truth: Image, mask: Mask | None = None) -> float:
    """Spearman's rank correlation of the standard deviation with the absolute error: 1 if both rank voxels alike.

    NaN if one of the two is constant, because it then ranks nothing.

    >>> volume = np.arange(4.0).reshape(1, 2, 2)
    >>> sd_error_correlation(volume, -volume, np.zeros((1, 2, 2)))
    1.0
    """
    spread, error = inside(sd, prediction, truth, mask)
    if not len(error) or np.isnan(error).any() or np.isnan(spread).any():
        return math.nan
    if np.ptp(spread) == 0 or np.ptp(error) == 0:
        return math.nan
    from scipy.stats import rankdata

    return float(np.clip(np.corrcoef(rankdata(spread), rankdata(error))[0, 1], -1, 1))


def coverage(sd: Image, prediction: Image, truth: Image, mask: Mask | None = None) -> float:
    """Share of voxels whose absolute error is at most two standard deviations.

    A voxel with a standard deviation of 0 is covered only if its error is 0.

    Args:
        sd: ``(X, Y, Z)``, HU.
        prediction: as ``sd``.
        truth: as ``sd``.
        mask: ``(X, Y, Z)``; None takes every voxel.
    """
    spread, error = inside(sd, prediction, truth, mask)
    if not len(error) or np.isnan(error).any() or np.isnan(spread).any():
        return math.nan
    return float((error <= WITHIN * spread).mean())


def uncertainty_scores(sd: Image, prediction: Image, truth: Image, mask: Mask | None = None) -> dict[str, float]:
    """The metrics of this module that compare with the truth, for one case, by name: see :data:`UNITS`."""
    given = (sd, prediction, truth, mask)
    return {
        "sd_error_correlation": sd_error_correlation(*given),
        **by_tissue("coverage", lambda where: coverage(sd, prediction, truth, where), truth, mask),
        **by_tissue("ause", lambda where: ause(*inside(sd, prediction, truth, where)), truth, mask),
    }


def inside(sd: Image, prediction: Image, truth: Image, mask: Mask | None) -> tuple[Image, Image]:
    """Standard deviation and absolute error of the voxels of the mask."""
    shapes = {sd.shape, prediction.shape, truth.shape, truth.shape if mask is None else mask.shape}
    if len(shapes) > 1 or truth.ndim != 3:
        raise ValueError(
            f"standard deviation, prediction, truth and mask must be (X, Y, Z) of one shape, not {sorted(shapes)}"
        )
    where = np.ones(truth.shape, bool) if mask is None else mask > 0
    error = np.abs(prediction[where].astype(np.float64) - truth[where].astype(np.float64))
    return sd[where].astype(np.float64), error
