"""Shares with their interval, and agreement of several readers."""

from __future__ import annotations

import math
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike


class Proportion(TypedDict):
    """A share of cases.

    Keys:
        share: in [0, 1]; NaN without cases.
        ci95: interval of Wilson (1927), in [0, 1].
        p: exact binomial test against the share that guessing gives, two-sided.
        n: number of cases.
    """

    share: float
    ci95: tuple[float, float]
    p: float
    n: int


def proportion(hits: int, n: int, *, chance: float = 0.5) -> Proportion:
    """The share of ``hits`` in ``n`` independent cases, with Wilson's 95 % interval and the exact binomial test.

    Args:
        hits: 0 to ``n``.
        n: number of cases.
        chance: share that guessing gives, in [0, 1].

    >>> low, high = proportion(15, 20)["ci95"]
    >>> round(low, 3), round(high, 3)
    (0.531, 0.888)
    """
    from scipy.stats import binomtest

    if n == 0:
        return {"share": math.nan, "ci95": (math.nan, math.nan), "p": math.nan, "n": 0}
    test = binomtest(hits, n, chance)
    low, high = test.proportion_ci(0.95, method="wilson")
    return {"share": hits / n, "ci95": (float(low), float(high)), "p": float(test.pvalue), "n": n}


def fleiss_kappa(counts: ArrayLike) -> float:
    """Agreement of several readers beyond chance (Fleiss 1971, eq. 7): 1 is perfect, 0 what chance gives.

    Args:
        counts: (cases, categories), how many readers gave a case to a category; each case has the same number of
            readers, at least 2.

    Returns:
        NaN where all readers gave all cases to one category, so that chance alone gives perfect agreement.

    Raises:
        ValueError: the number of readers differs between cases, or is below 2.

    >>> round(fleiss_kappa([[3, 0], [0, 3], [2, 1]]), 3)
    0.55
    """
    table = np.asarray(counts, np.float64)
    readers = table.sum(axis=1)
    if table.ndim != 2 or not len(table) or readers[0] < 2 or np.any(readers != readers[0]):
        raise ValueError("each case needs the same number of readers, at least 2")
    observed = float(np.mean((np.square(table).sum(axis=1) - readers) / (readers * (readers - 1))))
    expected = float(np.square(table.sum(axis=0) / table.sum()).sum())
    return math.nan if expected >= 1 else (observed - expected) / (1 - expected)
