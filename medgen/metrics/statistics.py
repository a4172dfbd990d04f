"""From one number a case to a statement about a method: intervals, paired tests, several training seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers = NDArray[np.float64]
_BLOCK = 2**22


class Summary(TypedDict):
    """A metric over cases; ``n + n_failed + n_infinite`` is the number of cases."""

    mean: float
    sd: float
    ci95: tuple[float, float]
    n: int
    n_failed: int
    n_infinite: int


class Comparison(TypedDict):
    """A metric of two methods on the same cases."""

    mean_difference: float
    ci95: tuple[float, float]
    p: float
    n: int
    n_failed: int


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
        Over the ``n`` finite values: mean, sample standard deviation (n - 1) and the 95 % percentile interval of the
        mean over resampled cases. One value has no sd and no interval (NaN). Without a finite value the mean is NaN, or
        infinite if every value that did not fail is the same infinity.

    >>> summarise([1.0, 3.0, float("nan")])["mean"], summarise([1.0, 3.0, float("nan")])["n_failed"]
    (2.0, 1)
    """
    numbers = _vector(values)
    finite = numbers[np.isfinite(numbers)]
    infinite = numbers[np.isinf(numbers)]
    mean = float(finite.mean()) if len(finite) else float("nan")
    if not len(finite) and len(infinite) and (infinite == infinite[0]).all():
        mean = float(infinite[0])
    return {
        "mean": mean,
        "sd": float(finite.std(ddof=1)) if len(finite) > 1 else float("nan"),
        "ci95": _interval(_resampled_means(finite, seed, draws)) if len(finite) > 1 else (float("nan"), float("nan")),
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
        Wilcoxon signed-rank test (1 if all pairs are equal, NaN below two pairs). A pair with a value that is not
        finite counts as failed.

    Raises:
        ValueError: the two differ in length.
    """
    one, two = _vector(first), _vector(second)
    if one.shape != two.shape:
        raise ValueError(f"{len(one)} and {len(two)} values cannot be paired")
    usable = np.isfinite(one) & np.isfinite(two)
    differences = one[usable] - two[usable]
    summary = summarise(differences, seed=seed, draws=draws)
    return {
        "mean_difference": summary["mean"],
        "ci95": summary["ci95"],
        "p": _wilcoxon(differences),
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
        over seeds (of each seed's mean over cases), NaN for one of them; the 95 % percentile interval.

    Raises:
        ValueError: not a table of seeds by cases.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or not table.size:
        raise ValueError(f"a table of seeds by cases is needed, not the shape {table.shape}")
    valid = np.isfinite(table)
    table = np.where(valid, table, 0.0)
    seed_means = _ratio(table.sum(1), valid.sum(1))
    case_means = _ratio(table.sum(0), valid.sum(0))
    return {
        "mean": _mean(seed_means),
        "sd_cases": _sd(case_means),
        "sd_seeds": _sd(seed_means),
        "ci95": _interval(_two_level_means(table, valid, seed, draws)),
        "n_cases": table.shape[1],
        "n_seeds": table.shape[0],
        "n_failed": int((~valid).sum()),
    }


def _vector(values: ArrayLike) -> Numbers:
    return np.asarray(values, dtype=np.float64).reshape(-1)


def _resampled_means(values: Numbers, seed: int, draws: int) -> Numbers:
    generator = np.random.default_rng(seed)
    block = max(1, _BLOCK // len(values))
    means = [
        values[generator.integers(0, len(values), (min(block, draws - start), len(values)))].mean(axis=1)
        for start in range(0, draws, block)
    ]
    return np.concatenate(means)


def _two_level_means(table: Numbers, valid: NDArray[np.bool_], seed: int, draws: int) -> Numbers:
    generator = np.random.default_rng(seed)
    seeds, cases = table.shape
    times_seed = generator.multinomial(seeds, np.full(seeds, 1 / seeds), draws).astype(np.float64)
    times_case = generator.multinomial(cases, np.full(cases, 1 / cases), draws).astype(np.float64)
    # For each draw: each seed's mean over the drawn cases, then the mean over the drawn seeds.
    per_seed = _ratio(times_case @ table.T, times_case @ valid.T.astype(np.float64))
    usable = np.isfinite(per_seed)
    weights = times_seed * usable
    return _ratio((weights * np.where(usable, per_seed, 0.0)).sum(1), weights.sum(1))


def _ratio(total: NDArray[np.floating], count: NDArray[np.number]) -> Numbers:
    quotient = np.full(np.shape(total), np.nan)
    np.divide(total, count, out=quotient, where=count > 0)
    return quotient


def _mean(values: Numbers) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


def _sd(values: Numbers) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.std(ddof=1)) if len(finite) > 1 else float("nan")


def _interval(means: Numbers) -> tuple[float, float]:
    means = means[np.isfinite(means)]
    if not len(means):
        return float("nan"), float("nan")
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _wilcoxon(differences: Numbers) -> float:
    from scipy.stats import wilcoxon

    if len(differences) < 2:
        return float("nan")
    if not differences.any():
        return 1.0
    return float(wilcoxon(differences).pvalue)
