"""Areas under curves of ranked cases and findings, for many weightings of the cases at once.

A bootstrap sample and a permutation are both a number of times that each case counts, so two thousand of them are
``(draws, cases)`` weights and a few cumulative sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medgen.metrics.resampling import Numbers, ratio

_Mask = NDArray[np.bool_]
_EMPTY: Numbers = np.zeros(0)


@dataclass(frozen=True)
class Ranked:
    """Cases with a confidence each, and what was found in them.

    Args:
        positive: ``(N,)``, whether a case has a lesion.
        case_confidence: ``(N,)``, in [0, 1].
        lesion: ``(F,)``, whether a finding is a true lesion (found, or missed with the confidence 0).
        confidence: ``(F,)``, in [0, 1].
        owner: ``(F,)``, the index of the case of each finding.
    """

    positive: _Mask
    case_confidence: Numbers
    lesion: _Mask
    confidence: Numbers
    owner: NDArray[np.intp]

    def in_ranks(self, findings: int) -> Ranked:
        """The same order, with ranks for confidences: all areas stay, and two scales of confidence become one.

        The surest is 1 and each after it lower by an equal step, equal ones sharing their mean rank, all in (0, 1].
        A lesion that was missed stays at 0.

        Args:
            findings: steps between the surest finding and 0; the most candidates of those that are to be joined.
        """
        candidate = self.confidence > 0
        confidence = np.zeros_like(self.confidence)
        confidence[candidate] = _ranks(self.confidence[candidate], findings)
        cases = _ranks(self.case_confidence, len(self.case_confidence))
        return Ranked(self.positive, cases, self.lesion, confidence, self.owner)

    def joined(self, other: Ranked) -> Ranked:
        """The cases of both, those of ``other`` behind."""
        return Ranked(
            np.concatenate([self.positive, other.positive]),
            np.concatenate([self.case_confidence, other.case_confidence]),
            np.concatenate([self.lesion, other.lesion]),
            np.concatenate([self.confidence, other.confidence]),
            np.concatenate([self.owner, other.owner + len(self.positive)]),
        )


def _ranks(values: Numbers, steps: int) -> Numbers:
    """From 1, the highest, down by ``1 / steps`` each; equal values share the mean of their ranks.

    >>> _ranks(np.array([0.2, 0.9, 0.2, 0.1]), 4).tolist()
    [0.625, 1.0, 0.625, 0.25]
    """
    _, which, counts = np.unique(-values, return_inverse=True, return_counts=True)
    before = np.cumsum(counts) - counts + (counts - 1) / 2
    return np.asarray((steps - before[which]) / steps, np.float64)


@dataclass(frozen=True)
class Counts:
    """What is found at each threshold, from the strictest to the most lenient.

    Args:
        thresholds: ``(K,)``, the distinct confidences above 0, descending.
        hits: ``(D, K)``, true lesions with at least this confidence.
        false_alarms: ``(D, K)``, likewise.
        lesions: ``(D,)``, all true lesions.
        cases: ``(D,)``, all cases.
    """

    thresholds: Numbers
    hits: Numbers
    false_alarms: Numbers
    lesions: Numbers
    cases: Numbers


def count_findings(ranked: Ranked, weights: Numbers) -> Counts:
    """Count hits and false alarms at every threshold.

    Args:
        ranked: N cases.
        weights: ``(D, N)``, how often each case counts in each of D samples.
    """
    of_finding = weights[:, ranked.owner]
    lesions = of_finding[:, ranked.lesion].sum(axis=1)
    order = np.argsort(-ranked.confidence, kind="stable")
    order = order[ranked.confidence[order] > 0]  # confidence 0 is a lesion that was missed, not a candidate
    values, of_finding, lesion = ranked.confidence[order], of_finding[:, order], ranked.lesion[order]
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True)) if len(values) else np.zeros(0, np.intp)
    hits = np.cumsum(of_finding * lesion, axis=1)[:, last]
    false_alarms = np.cumsum(of_finding * ~lesion, axis=1)[:, last]
    return Counts(values[last], hits, false_alarms, lesions, weights.sum(axis=1))


def average_precision(counts: Counts) -> Numbers:
    """``(D,)``: precision summed over the steps of recall, without interpolation; NaN without a lesion.

    A lesion that is missed counts in the recall and has no step of its own.
    """
    steps = np.diff(counts.hits, axis=1, prepend=0.0)
    precision = np.divide(
        counts.hits,
        counts.hits + counts.false_alarms,
        out=np.zeros_like(counts.hits),
        where=counts.hits + counts.false_alarms > 0,
    )
    return ratio((steps * precision).sum(axis=1), counts.lesions)


def sensitivity_at(counts: Counts, false_positives: float) -> Numbers:
    """``(D,)``: share of the lesions found at the most lenient threshold with so many false positives a case, or fewer.

    NaN without a lesion.
    """
    allowed = ratio(counts.false_alarms, counts.cases[:, None]) <= false_positives
    reached = allowed.sum(axis=1)  # false alarms only grow, so the allowed thresholds are the first ones
    hits = np.concatenate([np.zeros((len(counts.hits), 1)), counts.hits], axis=1)
    return ratio(np.take_along_axis(hits, reached[:, None], axis=1)[:, 0], counts.lesions)


def area_under_roc(ranked: Ranked, weights: Numbers) -> Numbers:
    """``(D,)``: how often a case with a lesion has a higher confidence than one without, a tie counting half.

    NaN where a sample holds one class alone.
    """
    order = np.argsort(ranked.case_confidence, kind="stable")
    values = ranked.case_confidence[order]
    first = np.flatnonzero(np.insert(values[1:] != values[:-1], 0, True)) if len(values) else np.zeros(0, np.intp)
    if not len(first):
        return np.full(len(weights), np.nan)
    weights, positive = weights[:, order], ranked.positive[order]
    with_lesion = np.add.reduceat(weights * positive, first, axis=1)
    without = np.add.reduceat(weights * ~positive, first, axis=1)
    below = np.cumsum(without, axis=1) - without
    won = (with_lesion * (below + without / 2)).sum(axis=1)
    return ratio(won, with_lesion.sum(axis=1) * without.sum(axis=1))


class RocCurve(NamedTuple):
    """Cases told apart; each ``(K,)``, from no case to all of them. Empty where there is one class alone."""

    false_positive_rate: Numbers
    sensitivity: Numbers
    threshold: Numbers


class PrecisionRecallCurve(NamedTuple):
    """Lesions found; each ``(K,)``, from no candidate (precision 1) to all of them. Empty without a lesion."""

    recall: Numbers
    precision: Numbers
    threshold: Numbers


class FrocCurve(NamedTuple):
    """Lesions found, and false positives a case; each ``(K,)``, from no candidate to all. Empty without a lesion."""

    false_positives: Numbers
    sensitivity: Numbers
    threshold: Numbers


def roc_curve(ranked: Ranked) -> RocCurve:
    """Sensitivity against false positive rate of cases, at each confidence."""
    order = np.argsort(-ranked.case_confidence, kind="stable")
    values, positive = ranked.case_confidence[order], ranked.positive[order]
    if positive.all() or not positive.any():
        return RocCurve(_EMPTY, _EMPTY, _EMPTY)
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True))
    wrong, right = np.cumsum(~positive)[last], np.cumsum(positive)[last]
    return RocCurve(_begun(wrong / wrong[-1], 0.0), _begun(right / right[-1], 0.0), _begun(values[last], np.inf))


def precision_recall_curve(counts: Counts) -> PrecisionRecallCurve:
    """Precision against recall of lesions, at each confidence, of the first sample."""
    if not counts.lesions[0]:
        return PrecisionRecallCurve(_EMPTY, _EMPTY, _EMPTY)
    hits = counts.hits[0]
    precision = ratio(hits, hits + counts.false_alarms[0])
    return PrecisionRecallCurve(
        _begun(hits / counts.lesions[0], 0.0), _begun(precision, 1.0), _begun(counts.thresholds, np.inf)
    )


def froc_curve(counts: Counts) -> FrocCurve:
    """Sensitivity for lesions against false positives a case, at each confidence, of the first sample."""
    if not counts.lesions[0]:
        return FrocCurve(_EMPTY, _EMPTY, _EMPTY)
    return FrocCurve(
        _begun(counts.false_alarms[0] / counts.cases[0], 0.0),
        _begun(counts.hits[0] / counts.lesions[0], 0.0),
        _begun(counts.thresholds, np.inf),
    )


def _begun(values: Numbers, start: float) -> Numbers:
    """The values behind the point where no case and no candidate counts."""
    return np.insert(values.astype(np.float64), 0, start)
