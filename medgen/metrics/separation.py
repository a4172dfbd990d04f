"""How well a score tells two kinds of cases apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike

from medgen.metrics.ranking import Ranked, area_under_roc
from medgen.metrics.resampling import FEWEST, vector


class Separation(TypedDict):
    """The area under the ROC curve, its 95 % interval, and how many there are of either kind."""

    auroc: float
    ci95: tuple[float, float]
    n_odd: int
    n_usual: int


def separation(values: ArrayLike, odd: Sequence[bool], *, patients: Sequence[str] | None = None) -> Separation:
    """How often an odd case has the greater score than a usual one, a tie counting half.

    The interval is that of Student's t with the standard error of the jackknife over patients (Arvesen 1969). A
    bootstrap would draw a patient with itself too often where patients are both usual and odd.

    Args:
        values: (N,) finite scores.
        odd: of each, whether it is odd.
        patients: of each, whose it is; by default every case has a patient of its own.

    Returns:
        NaN where one kind is missing; the interval is NaN for fewer than six patients too, or if without some patient
        one kind is missing.

    >>> separation([1.0, 2.0, 2.0, 3.0], [False, False, True, True])["auroc"]
    0.875
    """
    from scipy.stats import t

    numbers, positive = vector(values), np.asarray(odd, bool)
    names = np.unique(np.arange(len(numbers)) if patients is None else np.asarray(patients), return_inverse=True)[1]
    ranked = Ranked(positive, numbers, np.zeros(0, bool), np.zeros(0), np.zeros(0, np.intp))
    area = float(area_under_roc(ranked, np.ones((1, len(numbers))))[0])
    low = high = float("nan")
    count = int(names.max(initial=-1)) + 1
    if count >= FEWEST and np.isfinite(area):
        areas = area_under_roc(ranked, (names != np.arange(count)[:, None]).astype(np.float64))
        error = float(np.sqrt((count - 1) * areas.var()))
        reach = float(t.ppf(0.975, count - 1)) * error
        low, high = max(0.0, area - reach), min(1.0, area + reach)
        low, high = (low, high) if np.isfinite(error) else (float("nan"), float("nan"))
    return Separation(auroc=area, ci95=(low, high), n_odd=int(positive.sum()), n_usual=int((~positive).sum()))
