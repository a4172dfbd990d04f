"""Arithmetic under the statistics: means that leave out what is not finite, bootstrap draws, intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers = NDArray[np.float64]
FEWEST = 6
"""Cases below which there is no interval and no test.

A bootstrap of five cases covers far less than it says, and the signed-rank test of five pairs cannot reach p = 0.05.
"""
NOTHING = (float("nan"), float("nan"))
"""The interval where there is none."""

_BLOCK = 2**22
"""Numbers drawn at a time."""


def vector(values: ArrayLike) -> Numbers:
    """The values as one row of numbers."""
    return np.asarray(values, dtype=np.float64).reshape(-1)


def bca_interval(values: Numbers, seed: int, draws: int) -> tuple[float, float]:
    """The 95 % interval of the mean of ``(n,)`` finite values: bias-corrected, accelerated bootstrap (Efron 1987).

    NaN below :data:`FEWEST` values; of equal values they themselves.
    """
    from scipy.stats import bootstrap

    if len(values) < FEWEST:
        return NOTHING
    if (values == values[0]).all():
        return float(values[0]), float(values[0])
    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=draws,
        batch=max(1, _BLOCK // len(values)),
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def table_of(values: Sequence[ArrayLike]) -> Numbers:
    """The values as a table ``(seeds, cases)``.

    Raises:
        ValueError: they are none.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or not table.size:
        raise ValueError(f"a table of seeds by cases is needed, not the shape {table.shape}")
    return table


def paired(values: Sequence[Sequence[ArrayLike]]) -> tuple[list[Numbers], NDArray[np.bool_]]:
    """Tables ``(seeds, cases)`` of the cases that have a finite value in each, and which cases these are.

    Raises:
        ValueError: not tables, or not the same number of cases.
    """
    tables = [table_of(each) for each in values]
    if len({table.shape[1] for table in tables}) > 1:
        raise ValueError(f"{' and '.join(str(table.shape[1]) for table in tables)} cases cannot be paired")
    usable = np.all([np.isfinite(table).any(axis=0) for table in tables], axis=0)
    return [table[:, usable] for table in tables], usable


def times_drawn(count: int, draws: int, generator: np.random.Generator) -> Numbers:
    """How often each of ``count`` things is drawn: ``(draws, count)``."""
    if count == 0:
        return np.zeros((draws, 0))
    return generator.multinomial(count, np.full(count, 1 / count), draws).astype(np.float64)


def two_level_means(table: Numbers, times_seed: Numbers, times_case: Numbers) -> Numbers:
    """For each draw: each seed's mean over the drawn cases, then the mean over the drawn seeds."""
    valid = np.isfinite(table)
    per_seed = ratio(times_case @ np.where(valid, table, 0.0).T, times_case @ valid.T.astype(np.float64))
    usable = np.isfinite(per_seed)
    weights = times_seed * usable
    return ratio((weights * np.where(usable, per_seed, 0.0)).sum(1), weights.sum(1))


def grand_mean(table: Numbers) -> float:
    """The mean over cases, then over seeds, of a table ``(seeds, cases)``; NaN without a finite value."""
    return mean_of(finite_means(table, axis=1))


def finite_means(table: Numbers, *, axis: int) -> Numbers:
    """Means along an axis of what is finite; NaN where nothing is."""
    valid = np.isfinite(table)
    return ratio(np.where(valid, table, 0.0).sum(axis), valid.sum(axis))


def ratio(total: NDArray[np.floating], count: NDArray[np.number]) -> Numbers:
    """``total / count``, NaN where ``count`` is 0."""
    quotient = np.full(np.shape(total), np.nan)
    np.divide(total, count, out=quotient, where=np.asarray(count) != 0)
    return quotient


def mean_of(values: Numbers) -> float:
    """The mean of what is finite; NaN where nothing is.

    >>> mean_of(np.array([1.0, np.nan, 3.0]))
    2.0
    """
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


def sd_of(values: Numbers) -> float:
    """The sample standard deviation (n - 1) of what is finite; NaN below two values."""
    finite = values[np.isfinite(values)]
    return float(finite.std(ddof=1)) if len(finite) > 1 else float("nan")


def interval(means: Numbers, cases: int) -> tuple[float, float]:
    """The 2.5th and 97.5th percentile of what is finite; NaN where nothing is, and below :data:`FEWEST` cases."""
    means = means[np.isfinite(means)]
    if not len(means) or cases < FEWEST:
        return NOTHING
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def wilcoxon_p(differences: Numbers) -> float:
    """The two-sided p-value of the signed-rank test: 1 if all are 0, NaN below :data:`FEWEST` differences."""
    from scipy.stats import wilcoxon

    if len(differences) < FEWEST:
        return float("nan")
    if not differences.any():
        return 1.0
    return float(wilcoxon(differences).pvalue)
