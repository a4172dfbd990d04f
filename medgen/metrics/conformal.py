"""Split-conformal quantiles of voxel-wise scores, in which patients and not voxels are the independent units.

A score is the absolute error of a voxel in standard deviations, ``|y - mean| / sd``. The scores of a patient are kept
as a histogram over :data:`EDGES`, so that a cohort of any size takes the memory of one volume; a quantile is the upper
edge of its bin, at most 0.1 % too wide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

EDGES = 1e-4 * 1.001 ** np.arange(23_038)
"""Upper edges of the bins: 0.0001 to 1e6 standard deviations in steps of 0.1 %. One more bin is above them."""

Histogram = NDArray[np.float64]
"""Share of the voxels in each bin; sums to 1."""


def histogram(scores: NDArray[np.floating]) -> Histogram:
    """The histogram of one patient.

    Args:
        scores: any shape, not empty, at least 0.
    """
    places = np.searchsorted(EDGES, np.ravel(scores), side="left")
    return np.bincount(places, minlength=len(EDGES) + 1) / places.size


def fewest_patients(coverage: float) -> int:
    """Patients that a guaranteed coverage needs: a new patient is as likely as any of them to be the worst.

    >>> fewest_patients(0.9), fewest_patients(0.5)
    (9, 1)
    """
    return max(1, math.ceil(coverage / (1 - coverage) - 1e-9))


def conformal_quantile(patients: Sequence[Histogram], coverage: float, *, guaranteed: bool = False) -> float:
    """How many standard deviations cover a share of the voxels, when every patient counts alike.

    Of exchangeable patients, the interval holds a voxel drawn at random from a new one with a probability near
    ``coverage``: on average over patients, not for each patient, tissue or voxel. The plain quantile has no guarantee
    for few patients. The guaranteed one counts the new patient as one all of whose voxels lie outside: it takes the
    share ``coverage (K + 1) / K`` of K patients (Lee, Barber and Willett 2023, hierarchical conformal prediction);
    then the probability is at least ``coverage``, and the interval is wide where patients are few.

    Args:
        patients: a histogram each.
        coverage: in (0, 1).
        guaranteed: whether to take the second quantile.

    Returns:
        In standard deviations; infinite where it lies above :data:`EDGES`.

    Raises:
        ValueError: there are too few patients, see :func:`fewest_patients`.

    >>> one, two = histogram(np.array([1.0, 2.0, 3.0, 4.0])), histogram(np.array([8.0]))
    >>> round(conformal_quantile([one, two], 0.5), 2)
    4.0
    """
    count = len(patients)
    if count < (fewest_patients(coverage) if guaranteed else 1):
        raise ValueError(f"{count} patients are too few for a coverage of {coverage:g}")
    level = coverage * (count + 1) / count if guaranteed else coverage
    below = np.cumsum(np.mean(patients, axis=0))
    place = int(np.searchsorted(below, level - 1e-9, side="left"))
    return float(EDGES[place]) if place < len(EDGES) else math.inf


def share_within(patient: Histogram, quantile: float) -> float:
    """The share of a patient's voxels within an edge of the histogram."""
    return float(patient[: np.searchsorted(EDGES, quantile, side="right")].sum())


def left_out_coverage(patients: Sequence[Histogram], coverage: float) -> list[float]:
    """The coverage of each patient by the plain quantile of the others; of two patients or more."""
    others = ([*patients[:index], *patients[index + 1 :]] for index in range(len(patients)))
    return [share_within(own, conformal_quantile(rest, coverage)) for own, rest in zip(patients, others, strict=True)]
