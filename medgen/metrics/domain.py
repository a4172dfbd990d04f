"""How well two domains can be told apart by the features of a network, and how well a signal ranks checkpoints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Z95 = 1.959964
"""Two-sided 95 % quantile of the normal distribution."""
LEAST_CORRELATION = 0.1
"""The least that segments of one patient are taken to have in common. Where all answers are right the correlation
cannot be estimated, and without a floor 64 segments of four patients would count as 64 patients."""
MOST_FOLDS = 5


class Accuracy(NamedTuple):
    """A share of right answers with its 95 % interval.

    Attributes:
        value: mean over the domains of the share of right answers, in [0, 1]; 0.5 is chance.
        low: lower end of the Wilson interval.
        high: upper end.
        effective: number of independent answers that the interval stands on.
    """

    value: float
    low: float
    high: float
    effective: float


UNKNOWN = Accuracy(math.nan, math.nan, math.nan, 0.0)


def domain_accuracy(features: ArrayLike, domains: ArrayLike, cases: ArrayLike) -> Accuracy:
    """How often a linear probe names the domain of a segment of a patient that it was not trained on.

    The probe is Fisher's linear discriminant with Ledoit-Wolf shrinkage on standardised features. The folds leave out
    patients, as many of each domain: a probe that recognises patients scores 0.5, not 1.

    Args:
        features: (N, C), one row a segment; constant columns do no harm.
        domains: (N,), two different values.
        cases: (N,), the patient of each segment; no patient is in both domains.

    Returns:
        The balanced accuracy, see :func:`clustered_accuracy`; NaN where a domain has fewer than two patients.

    Raises:
        ValueError: the lengths differ, there are not two domains, or a feature is not finite.
    """
    table, domain, case = np.asarray(features, dtype=np.float64), np.asarray(domains), np.asarray(cases)
    if table.ndim != 2 or not len(table) == len(domain) == len(case):
        raise ValueError(f"features {table.shape}, domains {domain.shape} and cases {case.shape} do not fit together")
    if not np.isfinite(table).all():
        raise ValueError("a feature is not a finite number")
    _require_two(domain)
    folds = _folds(domain, case)
    if folds is None:
        return UNKNOWN
    right = np.zeros(len(table))
    for fold in range(int(folds.max()) + 1):
        tested = folds == fold
        right[tested] = _probed(table[~tested], domain[~tested], table[tested]) == domain[tested]
    return clustered_accuracy(right, domain, case)


def clustered_accuracy(right: ArrayLike, domains: ArrayLike, cases: ArrayLike) -> Accuracy:
    """Balanced accuracy of answers that come in clusters, with a Wilson interval on their effective number.

    N answers of which m belong to one patient are worth ``N / (1 + (m - 1) rho)`` independent ones (Kish 1965). The
    correlation rho within a patient is estimated by analysis of variance inside each domain, and is at least
    :data:`LEAST_CORRELATION`. As few patients tell rho badly, the number is multiplied by ``(z / t)^2`` with the
    quantile t of Student's distribution for the patients less two (Korn and Graubard 1998).

    Args:
        right: (N,), 1 or True where the answer is right.
        domains: (N,), two different values.
        cases: (N,), the patient of each answer.

    Raises:
        ValueError: the lengths differ, or there are not two domains.

    >>> found = clustered_accuracy([1, 1, 1, 0], ["a", "a", "b", "b"], [1, 2, 3, 4])
    >>> found.value, round(found.effective, 2)  # 4 (1.96 / 4.30)^2
    (0.75, 0.83)
    """
    answers, domain, case = np.asarray(right, dtype=np.float64), np.asarray(domains), np.asarray(cases)
    if not len(answers) == len(domain) == len(case):
        raise ValueError(f"{len(answers)} answers, {len(domain)} domains and {len(case)} cases do not fit together")
    names = _require_two(domain)
    value = float(np.mean([answers[domain == name].mean() for name in names]))
    patients = len(np.unique(case))
    size = len(answers) / patients
    rho = max(LEAST_CORRELATION, _correlation(answers, domain, case))
    effective = len(answers) / (1 + (size - 1) * rho) * _small_sample(patients - 2)
    return Accuracy(value, *wilson(value, effective), effective)


def wilson(share: float, n: float) -> tuple[float, float]:
    """Wilson's 95 % score interval of a share that was seen in ``n`` independent answers (Wilson 1927).

    >>> low, high = wilson(1.0, 10)
    >>> round(low, 3), round(high, 3)
    (0.722, 1.0)
    """
    if not n > 0 or math.isnan(share):
        return math.nan, math.nan
    squared = Z95**2
    middle = (share + squared / (2 * n)) / (1 + squared / n)
    half = Z95 / (1 + squared / n) * math.sqrt(share * (1 - share) / n + squared / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Rank correlation over the pairs that are finite; NaN below three of them, or where one side never changes.

    >>> spearman([1, 2, 3, 4], [10, 20, 30, 25])
    0.8
    """
    from scipy.stats import spearmanr

    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    usable = np.isfinite(one) & np.isfinite(two)
    one, two = one[usable], two[usable]
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(two) == 0:
        return math.nan
    return round(float(spearmanr(one, two).statistic), 12)


def regret(goodness: Sequence[float], truth: Sequence[float]) -> float:
    """What is lost when the item with the highest ``goodness`` is chosen in place of that with the highest ``truth``.

    Args:
        goodness: by item; an item that has none (NaN) is not chosen. Of equals the last is chosen: it was trained most.
        truth: by item, larger is better; finite.

    Returns:
        At least 0, in the unit of ``truth``; NaN where no item has a goodness.

    >>> round(regret([0.1, 0.9, 0.5], [0.2, 0.5, 0.6]), 3)
    0.1
    """
    scores, true = np.asarray(goodness, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if not np.isfinite(scores).any():
        return math.nan
    best = np.flatnonzero(scores == np.nanmax(scores))[-1]
    return float(true.max() - true[best])


def _require_two(domain: NDArray[np.generic]) -> NDArray[np.generic]:
    names = np.unique(domain)
    if len(names) != 2:
        raise ValueError(f"answers of two domains are needed, not of {len(names)}")
    return names


def _folds(domain: NDArray[np.generic], case: NDArray[np.generic]) -> NDArray[np.intp] | None:
    """The fold of each segment; every fold has patients of both domains. None where that cannot be."""
    patients = [np.unique(case[domain == name]) for name in np.unique(domain)]
    count = min(MOST_FOLDS, *(len(names) for names in patients))
    if count < 2:
        return None
    folds = np.empty(len(case), dtype=np.intp)
    for names in patients:
        for position, name in enumerate(names):
            folds[case == name] = position % count
    return folds


def _probed(known: NDArray[np.float64], domain: NDArray[np.generic], asked: NDArray[np.float64]) -> NDArray[np.generic]:
    """Domains of ``asked`` as a probe sees them that was fitted on ``known``."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    mean, spread = known.mean(0), known.std(0)
    used = spread > 1e-9 * (1 + np.abs(mean))
    if not used.any():  # dead features say nothing: every answer is the first domain, which is chance
        return np.full(len(asked), np.unique(domain)[0])
    probe = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[0.5, 0.5])
    probe.fit((known[:, used] - mean[used]) / spread[used], domain)
    answers: NDArray[np.generic] = probe.predict((asked[:, used] - mean[used]) / spread[used])
    return answers


def _small_sample(freedom: int) -> float:
    """``(z / t)^2``; 0, which is no answer at all, where there is nothing to estimate a variance from."""
    from scipy.stats import t

    return float((Z95 / t.ppf(0.975, freedom)) ** 2) if freedom > 0 else 0.0


def _correlation(answers: NDArray[np.float64], domain: NDArray[np.generic], case: NDArray[np.generic]) -> float:
    """Intra-class correlation of the answers of one patient, pooled over the domains; at most 1, may be negative."""
    between = within = 0.0
    patients = 0
    for name in np.unique(domain):
        mine, owner = answers[domain == name], case[domain == name]
        for patient in np.unique(owner):
            part = mine[owner == patient]
            between += len(part) * float(part.mean() - mine.mean()) ** 2
            within += float(((part - part.mean()) ** 2).sum())
            patients += 1
    if len(answers) == patients or patients <= 2:  # nothing to compare within, or between, patients
        return 1.0
    between, within = between / (patients - 2), within / (len(answers) - patients)
    size = len(answers) / patients
    total = between + (size - 1) * within
    return (between - within) / total if total > 0 else 0.0
