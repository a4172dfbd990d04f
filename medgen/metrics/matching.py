"""Candidates of one case against its true lesions, by the rules of the PI-CAI challenge (picai_eval 1.4).

A detection map holds candidates: connected pieces (26 neighbours) of one confidence each, on 0. A true lesion is found
by a candidate with an intersection over union of at least 0.1; the matching maximises first how many lesions are found,
then their overlap. A candidate that overlaps a lesion enough and is not the one that was matched is neither a hit nor a
false positive.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from medgen.metrics.overlap import CUBE

OVERLAP = 0.1
"""Least intersection over union of a hit."""

Pairs = dict[tuple[int, int], float]
"""Intersection over union by the numbers, from 1, of a true and a predicted piece."""

_SMOOTHING = 1e-8  # picai_eval adds it above and below; where two overlaps are equal fractions, it decides
_NAMED = 4
_ROUNDING = 1e-5  # of a mean or a softmax in single precision


class Finding(NamedTuple):
    """One true lesion, or one false positive.

    Attributes:
        lesion: whether it is a true lesion.
        confidence: of the candidate, in (0, 1]; 0 of a lesion that was missed.
        overlap: intersection over union of lesion and candidate; 0 of a miss and of a false positive.
    """

    lesion: bool
    confidence: float
    overlap: float


@dataclass(frozen=True)
class CaseDetection:
    """What was found in one case.

    Args:
        findings: lesions found, lesions missed, false positives.
        confidence: of the case, in [0, 1]; 0 without a candidate.
    """

    findings: tuple[Finding, ...]
    confidence: float

    @property
    def lesions_true(self) -> int:
        """True lesions."""
        return sum(finding.lesion for finding in self.findings)

    @property
    def lesions_found(self) -> int:
        """True lesions that some candidate finds, however unsure."""
        return sum(finding.lesion and finding.confidence > 0 for finding in self.findings)

    @property
    def false_positives(self) -> int:
        """Candidates, however unsure, that overlap no lesion enough."""
        return sum(not finding.lesion for finding in self.findings)


def match_lesions(detection_map: NDArray[Any], truth: NDArray[Any], *, overlap: float = OVERLAP) -> CaseDetection:
    """Match the candidates of a detection map with the true lesions.

    Args:
        detection_map: ``(X, Y, Z)`` in [0, 1] up to rounding: 0, or the confidence of the candidate that a voxel
            belongs to.
        truth: ``(X, Y, Z)``, bool or integer; what is not 0 is lesion, each connected piece of it one.
        overlap: least intersection over union of a hit, in (0, 1].

    Returns:
        The findings, equal to those of ``picai_eval.eval.evaluate_case``.

    Raises:
        ValueError: the shapes differ, the truth is not of integers, a confidence is outside [0, 1] or not finite, or a
            candidate has several confidences (a map of probabilities is no detection map).

    >>> truth = np.zeros((9, 9, 1), bool)
    >>> truth[2:5, 2:5] = True
    >>> found = np.zeros((9, 9, 1), np.float32)
    >>> found[3:5, 2:5] = 0.5
    >>> found[7, 7] = 0.25
    >>> for finding in match_lesions(found, truth).findings:
    ...     print(finding.lesion, finding.confidence, round(finding.overlap, 3))
    True 0.5 0.667
    False 0.25 0.0
    """
    _require_maps(detection_map, truth, overlap)
    confidences = np.clip(np.asarray(detection_map, np.float32), 0, 1)
    candidates, found = ndimage.label(confidences, CUBE)
    sure = _confidence_of_each(confidences, candidates, found)
    lesions, count = ndimage.label(truth, CUBE)
    pairs = overlapping(lesions, candidates, overlap)
    matched = one_to_one(pairs)
    near = {candidate for _, candidate in pairs}
    findings = [Finding(True, float(sure[candidate - 1]), share) for (_, candidate), share in matched.items()]
    findings += [Finding(True, 0.0, 0.0)] * (count - len(matched))
    findings += [Finding(False, float(sure[number - 1]), 0.0) for number in range(1, found + 1) if number not in near]
    return CaseDetection(tuple(findings), float(confidences.max(initial=0)))


def overlapping(lesions: NDArray[Any], candidates: NDArray[Any], least: float) -> Pairs:
    """The pairs of a true and a predicted piece that overlap enough.

    Args:
        lesions: ``(X, Y, Z)``, 0 or the number of the true piece, from 1.
        candidates: as ``lesions``, of the predicted pieces.
        least: intersection over union of a pair, in (0, 1].
    """
    lesion_sizes, candidate_sizes = np.bincount(lesions.ravel()), np.bincount(candidates.ravel())
    both = (lesions > 0) & (candidates > 0)
    pairs, shared = np.unique(np.stack([lesions[both], candidates[both]]), axis=1, return_counts=True)
    union = lesion_sizes[pairs[0]] + candidate_sizes[pairs[1]] - shared
    shares = (shared + _SMOOTHING) / (union + _SMOOTHING)
    return {
        (int(lesion), int(candidate)): float(share)
        for lesion, candidate, share in zip(*pairs, shares, strict=True)
        if share >= least
    }


def one_to_one(pairs: Pairs) -> Pairs:
    """The pairs of a matching in which a piece occurs once: as many as can be, then of the largest overlap.

    >>> one_to_one({(1, 1): 0.5, (2, 1): 0.2})
    {(1, 1): 0.5}
    """
    first, second = (sorted({pair[side] for pair in pairs}) for side in (0, 1))
    shares = np.array([[pairs.get((one, other), 0.0) for other in second] for one in first]).reshape(
        len(first), len(second)
    )
    # One more for each pair: no sum of overlaps outweighs another pair.
    rows, columns = linear_sum_assignment(np.where(shares > 0, shares + 1, 0), maximize=True)
    chosen = ((first[row], second[column]) for row, column in zip(rows, columns, strict=True))
    return {pair: pairs[pair] for pair in chosen if pair in pairs}


def _require_maps(detection_map: NDArray[Any], truth: NDArray[Any], overlap: float) -> None:
    if detection_map.shape != truth.shape or truth.ndim != 3:
        raise ValueError(f"map and truth must be (X, Y, Z) of one shape, not {detection_map.shape}, {truth.shape}")
    if truth.dtype.kind not in "biu":
        raise ValueError(f"the truth must be of bool or integers, not {truth.dtype}")
    if not 0 < overlap <= 1:
        raise ValueError(f"the least overlap of a hit lies in (0, 1], not {overlap:g}")
    low, high = (float(end(detection_map, initial=0)) for end in (np.min, np.max))
    if math.isnan(low):
        raise ValueError("the confidences contain nan")
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise ValueError(f"the confidences run from {low:.7g} to {high:.7g}, they must lie in [0, 1]")


def _confidence_of_each(confidences: NDArray[np.float32], candidates: NDArray[Any], count: int) -> NDArray[np.float32]:
    """The confidence of each candidate."""
    numbers = np.arange(1, count + 1)
    high = np.asarray(ndimage.maximum(confidences, candidates, numbers), np.float32)
    low = np.asarray(ndimage.minimum(confidences, candidates, numbers), np.float32)
    if several := np.flatnonzero(high != low).tolist():
        values = np.unique(confidences[candidates == several[0] + 1])
        listed = ", ".join(f"{value:g}" for value in values[:_NAMED]) + (", ..." if len(values) > _NAMED else "")
        raise ValueError(
            f"{len(several)} of {count} candidates have several confidences ({listed}); the connected voxels of a "
            f"detection map share one, so this is a map of probabilities, or candidates touch"
        )
    return high
