"""From one number a case to a statement about a method: intervals, paired tests, several training seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import ArrayLike

from medgen.metrics.resampling import (
    NOTHING,
    bca_interval,
    finite_means,
    grand_mean,
    interval,
    mean_of,
    paired,
    ratio,
    sd_of,
    table_of,
    times_drawn,
    two_level_means,
    vector,
    wilcoxon_p,
)


class Summary(TypedDict):
    """A metric over cases; ``n + n_failed + n_infinite`` and, where it is told apart, ``n_not_applicable`` add up.

    Attributes:
        n_not_applicable: cases where the metric has no meaning, such as the Dice of a structure that is neither there
            nor predicted; without this key they are among ``n_failed``.
        n_missed: of the ``n`` cases, those where a structure that is there was not predicted at all.
        n_lesions: in the ``n`` cases, where the number is of lesions.
        reason: why a number over all cases, such as an AUROC, does not exist.
    """

    mean: float
    sd: float
    ci95: tuple[float, float]
    n: int
    n_failed: int
    n_infinite: int
    n_not_applicable: NotRequired[int]
    n_missed: NotRequired[int]
    n_lesions: NotRequired[int]
    reason: NotRequired[str]


class Comparison(TypedDict):
    """A metric of two methods on the same cases."""

    mean_difference: float
    ci95: tuple[float, float]
    p: float
    n: int
    n_failed: int


class RunComparison(TypedDict):
    """A metric of two methods, each trained under several seeds, on the same cases."""

    mean_difference: float
    ci95: tuple[float, float]
    p: float
    n_cases: int
    n_seeds: tuple[int, int]
    n_failed: int


class GapShare(TypedDict):
    """How much of the distance from a low to a high method a third one covers."""

    share: float
    ci95: tuple[float, float]
    gap: float
    gap_ci95: tuple[float, float]
    n_cases: int


class RunSummary(TypedDict):
    """A metric over training seeds and cases."""

    mean: float
    sd_cases: float
    sd_seeds: float
    ci95: tuple[float, float]
    n_cases: int
    n_seeds: int
    n_failed: int


def summarise(values: ArrayLike, *, seed: int = 0, draws: int = 2000) -> Summary:
    """Mean over cases with a bootstrap interval; nothing is dropped without being counted.

    Args:
        values: one number a case. NaN is a case that failed (``n_failed``). An infinite value, such as the PSNR of two
            equal images, has no place in a mean and is counted on its own (``n_infinite``).
        seed: of the bootstrap; the same seed gives the same interval.
        draws: bootstrap samples.

    Returns:
        Over the ``n`` finite values: mean, sample standard deviation (n - 1) and the 95 % interval of the mean by the
        bias-corrected, accelerated bootstrap over cases. One value has no sd, fewer than six have no interval (NaN).
        Without a finite value the mean is NaN, or infinite if every value that did not fail is the same infinity.

    >>> summarise([1.0, 3.0, float("nan")])["mean"], summarise([1.0, 3.0, float("nan")])["n_failed"]
    (2.0, 1)
    """
    numbers = vector(values)
    finite = numbers[np.isfinite(numbers)]
    infinite = numbers[np.isinf(numbers)]
    mean = float(finite.mean()) if len(finite) else float("nan")
    if not len(finite) and len(infinite) and (infinite == infinite[0]).all():
        mean = float(infinite[0])
    return {
        "mean": mean,
        "sd": float(finite.std(ddof=1)) if len(finite) > 1 else float("nan"),
        "ci95": bca_interval(finite, seed, draws),
        "n": len(finite),
        "n_failed": int(np.isnan(numbers).sum()),
        "n_infinite": len(infinite),
    }


def compare(first: ArrayLike, second: ArrayLike, *, seed: int = 0, draws: int = 2000) -> Comparison:
    """Paired comparison of two methods on the same cases.

    Args:
        first: one number a case.
        second: the same cases in the same order.
        seed: of the bootstrap.
        draws: bootstrap samples.

    Returns:
        The mean of ``first - second`` with its bootstrap 95 % interval over cases, and the two-sided p-value of the
        Wilcoxon signed-rank test (1 if all pairs are equal); both are NaN below six pairs. A pair with a value that is
        not finite counts as failed.

    Raises:
        ValueError: the two differ in length.
    """
    one, two = vector(first), vector(second)
    if one.shape != two.shape:
        raise ValueError(f"{len(one)} and {len(two)} values cannot be paired")
    usable = np.isfinite(one) & np.isfinite(two)
    differences = one[usable] - two[usable]
    summary = summarise(differences, seed=seed, draws=draws)
    return {
        "mean_difference": summary["mean"],
        "ci95": summary["ci95"],
        "p": wilcoxon_p(differences),
        "n": len(differences),
        "n_failed": int((~usable).sum()),
    }


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction of a family of p-values (Holm 1979).

    Args:
        p_values: name of a comparison to its p-value; NaN is a test that could not be made and is no member.

    Returns:
        The adjusted values under the same names, in [0, 1].

    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'b': 0.06, 'c': 0.06}
    """
    members = sorted((value, name) for name, value in p_values.items() if value == value)
    adjusted, highest = dict.fromkeys(p_values, float("nan")), 0.0
    for rank, (value, name) in enumerate(members):
        highest = max(highest, min(1.0, value * (len(members) - rank)))
        adjusted[name] = highest
    return adjusted


def summarise_runs(values: Sequence[ArrayLike], *, seed: int = 0, draws: int = 2000) -> RunSummary:
    """Mean over cases, then over training seeds, with a bootstrap that resamples both.

    The same cases are scored under every seed, so seeds and cases are drawn independently, and a drawn case is drawn
    for every seed. For a paired comparison of two methods give the differences.

    Args:
        values: ``(seeds, cases)``; a value that is not finite is a failure and is left out of the means.
        seed: of the bootstrap.
        draws: bootstrap samples.

    Returns:
        The mean over seeds of the means over cases; the sample sd over cases (of each case's mean over seeds) and
        over seeds (of each seed's mean over cases), NaN for one of them; the 95 % percentile interval, NaN below
        six cases.

    Raises:
        ValueError: not a table of seeds by cases.
    """
    table = table_of(values)
    generator = np.random.default_rng(seed)
    seeds, cases = (times_drawn(count, draws, generator) for count in table.shape)
    seed_means = finite_means(table, axis=1)
    return {
        "mean": mean_of(seed_means),
        "sd_cases": sd_of(finite_means(table, axis=0)),
        "sd_seeds": sd_of(seed_means),
        "ci95": interval(two_level_means(table, seeds, cases), int(np.isfinite(table).any(axis=0).sum())),
        "n_cases": table.shape[1],
        "n_seeds": table.shape[0],
        "n_failed": int((~np.isfinite(table)).sum()),
    }


def compare_runs(
    first: Sequence[ArrayLike], second: Sequence[ArrayLike], *, seed: int = 0, draws: int = 2000
) -> RunComparison:
    """Paired comparison of two methods that were each trained under several seeds.

    A bootstrap draw takes the same cases for both methods, and seeds for each method on its own: seed 3 of one has
    nothing in common with seed 3 of the other but a number, and they may differ in how many seeds there are.

    Args:
        first: ``(seeds, cases)``.
        second: ``(seeds, cases)``, the same cases in the same order, any number of seeds.
        seed: of the bootstrap.
        draws: bootstrap samples.

    Returns:
        The mean of ``first`` less that of ``second`` (over cases, then over seeds) with its 95 % percentile interval,
        and the two-sided p-value of the Wilcoxon signed-rank test on the cases' means over seeds: seeds are no
        patients, so they do not make the test sharper. Both are NaN below six cases. A case
        without a finite value in either is left out and counted.

    Raises:
        ValueError: not tables of seeds by cases, or not the same number of cases.
    """
    (one, two), usable = paired([first, second])
    generator = np.random.default_rng(seed)
    cases = times_drawn(one.shape[1], draws, generator)
    drawn = [two_level_means(table, times_drawn(len(table), draws, generator), cases) for table in (one, two)]
    return {
        "mean_difference": grand_mean(one) - grand_mean(two),
        "ci95": interval(drawn[0] - drawn[1], one.shape[1]),
        "p": wilcoxon_p(finite_means(one, axis=0) - finite_means(two, axis=0)),
        "n_cases": one.shape[1],
        "n_seeds": (len(one), len(two)),
        "n_failed": int((~usable).sum()),
    }


def gap_share(
    low: Sequence[ArrayLike],
    middle: Sequence[ArrayLike],
    high: Sequence[ArrayLike],
    *,
    seed: int = 0,
    draws: int = 2000,
) -> GapShare:
    """The share ``(middle - low) / (high - low)`` of a gap that a method closes.

    Args:
        low: ``(seeds, cases)`` of the method to improve on, e.g. trained on the source domain alone.
        middle: of the method in question; the same cases in the same order.
        high: of the method to reach, e.g. trained on the target domain.
        seed: of the bootstrap.
        draws: bootstrap samples; each takes the same cases for all three, and seeds for each on its own.

    Returns:
        The share (1 is the whole gap; it may be negative or above 1) and the gap ``high - low``, with 95 % percentile
        intervals. Where the interval of the gap reaches down to 0 there is nothing to close, and below six cases
        there is no interval: the share is NaN.

    Raises:
        ValueError: not tables of seeds by cases, or not the same number of cases.
    """
    tables, _ = paired([low, middle, high])
    generator = np.random.default_rng(seed)
    cases = times_drawn(tables[0].shape[1], draws, generator)
    drawn = [two_level_means(table, times_drawn(len(table), draws, generator), cases) for table in tables]
    bottom, reached, top = (grand_mean(table) for table in tables)
    gap_interval = interval(drawn[2] - drawn[0], tables[0].shape[1])
    sure = gap_interval[0] > 0
    share = ratio(drawn[1] - drawn[0], drawn[2] - drawn[0])
    return {
        "share": (reached - bottom) / (top - bottom) if sure else float("nan"),
        "ci95": interval(share, tables[0].shape[1]) if sure else NOTHING,
        "gap": top - bottom,
        "gap_ci95": gap_interval,
        "n_cases": tables[0].shape[1],
    }
