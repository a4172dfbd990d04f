"""How well lesions are found and cases told apart: AUROC, average precision and FROC, as PI-CAI scores them.

AUROC is of cases, whose confidence is that of their surest candidate; average precision is of lesions. The numbers are
those of picai_eval (1.4) with two exceptions: an area that does not exist is NaN with a reason in place of a warning or
0, and the sensitivity at a number of false positives counts the least sure candidate too where every lesion is found
(picai_eval replaces that last point of the curve).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgen.metrics.matching import OVERLAP, CaseDetection, Finding, match_lesions
from medgen.metrics.ranking import (
    Counts,
    FrocCurve,
    PrecisionRecallCurve,
    Ranked,
    RocCurve,
    area_under_roc,
    average_precision,
    count_findings,
    froc_curve,
    precision_recall_curve,
    roc_curve,
    sensitivity_at,
)
from medgen.metrics.resampling import FEWEST, Numbers, interval, ratio, times_drawn, vector

__all__ = [
    "FALSE_POSITIVES",
    "OVERLAP",
    "CaseDetection",
    "Detection",
    "Finding",
    "match_lesions",
    "sensitivity_name",
    "summarise",
]

FALSE_POSITIVES = (0.1, 0.25, 0.5, 1.0, 2.0)
"""False positives a case at which the sensitivity is told."""

_BLOCK = 2**21  # numbers held at a time


@dataclass(frozen=True)
class Detection:
    """What was found in all cases.

    Args:
        cases: by name.
        patients: case to patient; a case that is not in it is a patient of its own.
    """

    cases: Mapping[str, CaseDetection]
    patients: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cases", MappingProxyType(dict(self.cases)))
        object.__setattr__(self, "patients", MappingProxyType(dict(self.patients)))

    @property
    def auroc(self) -> float:
        """How often a case with a lesion has a higher confidence than one without, in [0, 1]; NaN of one class."""
        return self.values["auroc"]

    @property
    def ap(self) -> float:
        """Average precision of the lesions, in [0, 1]; NaN without a lesion."""
        return self.values["ap"]

    @property
    def score(self) -> float:
        """The PI-CAI score, ``(AUROC + AP) / 2``."""
        return self.values["score"]

    def sensitivity_at(self, false_positives: float) -> float:
        """Share of the lesions found with at most so many false positives a case; NaN without a lesion.

        It is that of the most lenient threshold that keeps to the limit; nothing is interpolated.
        """
        return float(sensitivity_at(self.counts, false_positives)[0])

    @cached_property
    def values(self) -> dict[str, float]:
        """All areas and sensitivities by name; see :data:`FALSE_POSITIVES`."""
        return {name: float(value[0]) for name, value in _metrics(self.ranked, np.ones((1, len(self.cases)))).items()}

    @property
    def reasons(self) -> dict[str, str]:
        """Why a number of :attr:`values` does not exist, for each that does not."""
        count, with_lesion = len(self.cases), int(self.ranked.positive.sum())
        text = "there is no case"
        if count == 1:
            text = f"the only case has {'a' if with_lesion else 'no'} lesion"
        elif count:
            text = (
                f"all of the {count} cases have a lesion" if with_lesion else f"none of the {count} cases has a lesion"
            )
        return {name: text for name, value in self.values.items() if np.isnan(value)}

    @property
    def roc(self) -> RocCurve:
        """Sensitivity against false positive rate of cases."""
        return roc_curve(self.ranked)

    @property
    def precision_recall(self) -> PrecisionRecallCurve:
        """Precision against recall of lesions."""
        return precision_recall_curve(self.counts)

    @property
    def froc(self) -> FrocCurve:
        """Sensitivity for lesions against false positives a case."""
        return froc_curve(self.counts)

    @cached_property
    def counts(self) -> Counts:
        """Hits and false alarms at each threshold."""
        return count_findings(self.ranked, np.ones((1, len(self.cases))))

    @cached_property
    def ranked(self) -> Ranked:
        """Cases and findings as arrays."""
        cases = list(self.cases.values())
        findings = [(finding, owner) for owner, case in enumerate(cases) for finding in case.findings]
        return Ranked(
            np.array([case.lesions_true > 0 for case in cases], bool),
            np.array([case.confidence for case in cases], np.float64),
            np.array([finding.lesion for finding, _ in findings], bool),
            np.array([finding.confidence for finding, _ in findings], np.float64),
            np.array([owner for _, owner in findings], np.intp),
        )

    @cached_property
    def patient_numbers(self) -> NDArray[np.intp]:
        """``(N,)``: the number of the patient of each case, from 0."""
        names = [("patient", self.patients[name]) if name in self.patients else ("case", name) for name in self.cases]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        return np.array([numbers[name] for name in names], np.intp)

    @property
    def enough(self) -> bool:
        """Whether there are enough patients for intervals and tests."""
        return _count(self.patient_numbers) >= FEWEST

    def resampled(self, *, seed: int = 0, draws: int = 2000) -> dict[str, Numbers]:
        """The numbers of :attr:`values` on bootstrap samples of the patients, ``(draws,)`` each.

        The same seed draws the same patients where another model has the same cases in the same order, so samples of
        several models or training seeds can be averaged and subtracted. NaN is a sample of one class.
        """
        return over_blocks(self.ranked, _drawn(self.patient_numbers, seed, draws))

    def intervals(self, *, seed: int = 0, draws: int = 2000) -> dict[str, tuple[float, float]]:
        """95 % percentile intervals over patients, by the names of :attr:`values`.

        NaN where there is no number, and below six patients.
        """
        return {name: self.interval(values) for name, values in self.resampled(seed=seed, draws=draws).items()}

    def interval(self, drawn: Numbers) -> tuple[float, float]:
        """95 % percentile interval of a number on bootstrap samples of the patients; NaN below six patients."""
        return interval(drawn, _count(self.patient_numbers))

    def mean_interval(self, values: ArrayLike, *, seed: int = 0, draws: int = 2000) -> tuple[float, float]:
        """95 % percentile interval of a mean over the cases, the patients being drawn.

        Args:
            values: one number a case; NaN does not count.
            seed: of the bootstrap.
            draws: bootstrap samples.
        """
        numbers = vector(values)
        valid = np.isfinite(numbers)
        times = _drawn(self.patient_numbers, seed, draws)
        drawn = ratio(times @ np.where(valid, numbers, 0.0), times @ valid.astype(np.float64))
        return interval(drawn, len(np.unique(self.patient_numbers[valid])))


def summarise(cases: Mapping[str, CaseDetection], *, patients: Mapping[str, str] | None = None) -> Detection:
    """What was found in all cases: areas, curves and, on demand, intervals.

    Args:
        cases: by name, from :func:`match_lesions`.
        patients: case to patient, where a patient has several; they are drawn together in the bootstrap.

    >>> found = CaseDetection((Finding(True, 0.9, 0.5),), 0.9)
    >>> wrong = CaseDetection((Finding(False, 0.95, 0.0),), 0.95)
    >>> healthy = CaseDetection((), 0.0)
    >>> both = summarise({"a": found, "b": wrong, "c": healthy})
    >>> both.auroc, both.ap, both.score, both.sensitivity_at(0.25), both.sensitivity_at(0.5)
    (0.5, 0.5, 0.5, 0.0, 1.0)
    """
    return Detection(cases, patients or {})


def sensitivity_name(false_positives: float) -> str:
    """What the sensitivity at a number of false positives a case is called.

    >>> sensitivity_name(0.25), sensitivity_name(1.0)
    ('sensitivity_at_0.25', 'sensitivity_at_1')
    """
    return f"sensitivity_at_{false_positives:g}"


def _metrics(ranked: Ranked, weights: Numbers) -> dict[str, Numbers]:
    """Every number for each of ``(D, N)`` weightings of the cases."""
    counts = count_findings(ranked, weights)
    auroc, precision = area_under_roc(ranked, weights), average_precision(counts)
    rates = {sensitivity_name(rate): sensitivity_at(counts, rate) for rate in FALSE_POSITIVES}
    return {"auroc": auroc, "ap": precision, "score": (auroc + precision) / 2, **rates}


def over_blocks(ranked: Ranked, weights: Numbers) -> dict[str, Numbers]:
    """Every number of :attr:`Detection.values` for each of ``(D, N)`` weightings of the cases, block by block."""
    parts = [_metrics(ranked, block) for block in _blocks(ranked, weights)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _blocks(ranked: Ranked, weights: Numbers) -> Iterator[Numbers]:
    step = max(1, _BLOCK // max(1, len(ranked.lesion), len(ranked.positive)))
    for start in range(0, len(weights), step):
        yield weights[start : start + step]


def _drawn(units: NDArray[np.intp], seed: int, draws: int) -> Numbers:
    """How often each case is drawn with its patient, ``(draws, N)``."""
    return times_drawn(_count(units), draws, np.random.default_rng(seed))[:, units]


def _count(units: NDArray[np.intp]) -> int:
    return int(units.max(initial=-1)) + 1
