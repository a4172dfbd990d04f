"""Whether one of two detectors is better: a permutation test on the patients that both have read."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from medgen.metrics.detection import Detection, over_blocks

_ROUNDING = 1e-12


class DetectionComparison(NamedTuple):
    """One metric of two models on the same cases.

    Attributes:
        difference: the first less the second.
        ci95: bootstrap interval over patients.
        p: two-sided p-value of the permutation test; as the interval, NaN below six patients.
    """

    difference: float
    ci95: tuple[float, float]
    p: float


def permutation_test(
    first: Detection, second: Detection, *, seed: int = 0, draws: int = 2000
) -> dict[str, DetectionComparison]:
    """Compare two models on the same cases.

    Under the hypothesis that both are equally good it does not matter which of the two read a patient. So each
    permutation exchanges the results of the two for every patient with probability one half, and p is the share of
    permutations (with the one observed) whose difference is at least as large as the one observed. What is exchanged
    are ranks within each model, of cases and of findings from the surest on (Venkatraman and Begg 1996), so the scales
    of the confidences do not matter. Differences and intervals are of the models as they are.

    Args:
        first: of one model.
        second: of the other; the same cases with the same number of lesions, in any order.
        seed: of the permutations and the bootstrap.
        draws: permutations, and bootstrap samples.

    Returns:
        A comparison for each name of :attr:`Detection.values`; NaN where that is NaN.

    Raises:
        ValueError: the cases or their lesions differ.
    """
    _require_same_truth(first, second)
    second = Detection({name: second.cases[name] for name in first.cases}, first.patients)
    units = first.patient_numbers
    generator = np.random.default_rng(seed)
    swapped = generator.integers(0, 2, (draws, int(units.max(initial=-1)) + 1))[:, units].astype(np.float64)
    most = max(int((each.ranked.confidence > 0).sum()) for each in (first, second))
    joined = first.ranked.in_ranks(most).joined(second.ranked.in_ranks(most))
    one = over_blocks(joined, np.concatenate([1 - swapped, swapped], axis=1))
    two = over_blocks(joined, np.concatenate([swapped, 1 - swapped], axis=1))
    drawn = [each.resampled(seed=seed, draws=draws) for each in (first, second)]
    comparisons = {}
    for name, value in first.values.items():
        difference = value - second.values[name]
        extreme = np.abs(one[name] - two[name]) >= abs(difference) - _ROUNDING
        tested = first.enough and not np.isnan(difference)
        p = (1 + int(extreme.sum())) / (1 + draws) if tested else float("nan")
        comparisons[name] = DetectionComparison(difference, first.interval(drawn[0][name] - drawn[1][name]), p)
    return comparisons


def _require_same_truth(first: Detection, second: Detection) -> None:
    if set(first.cases) != set(second.cases):
        raise ValueError(f"{len(set(first.cases) ^ set(second.cases))} cases are in one of the two alone")
    differing = [name for name, case in first.cases.items() if case.lesions_true != second.cases[name].lesions_true]
    if differing:
        raise ValueError(f"{len(differing)} cases have other lesions in the two, the first is {differing[0]}")
