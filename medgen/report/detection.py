"""The candidates of each patient, hits or false positives: the rows of a table, and the cases to show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from medgen.errors import content_errors
from medgen.report.content import MethodScores, read_json
from medgen.report.sources import Sources

Kind = Literal["hit", "miss", "false positive", "candidate"]

EACH = 2
"""Pictures of each kind."""

SAME_CONFIDENCE = 1e-6
"""Confidences nearer than this are the same: maps and scores hold the value of one voxel in single precision."""


class LesionRow(NamedTuple):
    """One line of the table of lesions, as text."""

    case: str
    score: str
    number: str
    confidence: str
    volume: str
    centre: str
    region: str
    verdict: str
    good: bool | None


@dataclass(frozen=True)
class Patient:
    """One case with its candidates, and their scores where it was scored.

    Args:
        case: name.
        score: the highest confidence, 0 without a candidate.
        lesions: candidates as ``medgen predict`` lists them, the highest confidence first.
        findings: (true lesion, confidence, overlap) from the scores; None where the case was not scored.
    """

    case: str
    score: float
    lesions: tuple[Mapping[str, Any], ...]
    findings: tuple[tuple[bool, float, float], ...] | None

    @property
    def missed(self) -> int:
        """True lesions without a candidate."""
        return sum(lesion and confidence == 0 for lesion, confidence, _ in self.findings or ())

    def verdict(self, confidence: float) -> tuple[str, bool | None]:
        """Whether a candidate is a hit, in words, and whether that is good; None where neither is known."""
        if self.findings is None:
            return "–", None
        same = [
            (lesion, overlap) for lesion, other, overlap in self.findings if abs(other - confidence) < SAME_CONFIDENCE
        ]
        if not same:
            return "on a lesion that another candidate finds", None
        if len({lesion for lesion, _ in same}) > 1:
            return "hit or false positive: several of this confidence", None
        lesion, overlap = same[0]
        return (f"hit, overlap {overlap:.2f}", True) if lesion else ("false positive", False)


class Example(NamedTuple):
    """A case to show.

    Attributes:
        case: name.
        kind: what is shown.
        confidence: of the candidate that is shown; 0 of a miss.
        remark: the reason, in words.
    """

    case: str
    kind: Kind
    confidence: float
    remark: str


def read_patients(sources: Sources) -> list[Patient]:
    """The cases with a detection map, the highest score first.

    Raises:
        InputError: a list of lesions is damaged.
    """
    findings = _findings(sources.detection)
    patients = []
    for case, path in sources.detections.items():
        scored = findings.get(case)
        listed = path.with_name(f"{case}_lesions.json")
        lesions = _listed(listed) if listed.is_file() else _candidates(scored or ())
        score = max((float(lesion["confidence"]) for lesion in lesions), default=0.0)
        patients.append(Patient(case, score, lesions, scored))
    return sorted(patients, key=lambda patient: (-patient.score, patient.case))


def lesion_rows(patients: Sequence[Patient]) -> list[LesionRow]:
    """A line for each candidate and each missed lesion, and one for a case that has neither."""
    rows: list[LesionRow] = []
    for patient in patients:
        lines: list[tuple[str, str, str, str, str, str, bool | None]] = []
        for number, lesion in enumerate(patient.lesions, start=1):
            confidence = float(lesion["confidence"])
            lines.append(
                (
                    str(number),
                    f"{confidence:.3f}",
                    _number(lesion.get("volume_mm3"), 0),
                    point(lesion.get("centre_mm")),
                    str(lesion.get("region") or "–"),
                    *patient.verdict(confidence),
                )
            )
        lines += [("–", "–", "–", "–", "–", "missed lesion", False)] * patient.missed
        if not lines:
            lines = [("–", "–", "–", "–", "–", *_nothing(patient))]
        rows += [LesionRow(patient.case, f"{patient.score:.3f}", *line) for line in lines]
    return rows


def choose_examples(patients: Sequence[Patient], each: int = EACH) -> list[Example]:
    """The hits of highest and lowest confidence, misses, and the most confident false positives; a case is shown once.

    Without scores, the candidates of highest confidence.
    """
    if all(patient.findings is None for patient in patients):
        return [
            Example(patient.case, "candidate", patient.score, "the truth is not known")
            for patient in patients[: 2 * each]
            if patient.lesions
        ]
    found = [(patient.case, *finding) for patient in patients for finding in patient.findings or ()]
    hits = sorted(((case, sure) for case, lesion, sure, _ in found if lesion and sure > 0), key=lambda hit: -hit[1])
    misses = [(case, sure) for case, lesion, sure, _ in found if lesion and sure == 0]
    wrong = sorted(((case, sure) for case, lesion, sure, _ in found if not lesion), key=lambda item: -item[1])
    taken: set[str] = set()
    # Errors are rarer than hits and tell more: a case with a miss is shown for it.
    chosen = _first(misses, "miss", "a true lesion that was missed", taken, each)
    chosen += _first(wrong, "false positive", "a false positive", taken, each)
    ends = [*hits[:1], *reversed(hits[1:])]
    return _first(ends, "hit", "a true lesion that was found", taken, each) + chosen


def point(values: Any) -> str:
    """A place in millimetres.

    >>> point([1.25, -3.0, 40])
    '1.2, −3.0, 40.0'
    """
    return "–" if values is None else ", ".join(_number(value, 1) for value in values)


def _first(found: Sequence[tuple[str, float]], kind: Kind, remark: str, taken: set[str], each: int) -> list[Example]:
    chosen: list[Example] = []
    for case, confidence in found:
        if case not in taken and len(chosen) < each:
            taken.add(case)
            sure = f", confidence {confidence:.2f}" if confidence else ""
            chosen.append(Example(case, kind, confidence, remark + sure))
    return chosen


def _nothing(patient: Patient) -> tuple[str, bool | None]:
    """The result of a case without a candidate and without a missed lesion."""
    return ("no candidate", None) if patient.findings is None else ("no lesion and no candidate", True)


def _number(value: Any, decimals: int) -> str:
    if value is None or not math.isfinite(float(value)):
        return "–"
    return f"{float(value):.{decimals}f}".replace("-", "−")


def _listed(path: Path) -> tuple[Mapping[str, Any], ...]:
    """The lesions of ``<case>_lesions.json``."""
    content = read_json(path)
    with content_errors("the list of lesions is damaged", where=path, fix="predict the case again"):
        for lesion in content["lesions"]:
            _number(lesion.get("volume_mm3"), 0), point(lesion.get("centre_mm"))
        return tuple(sorted(content["lesions"], key=lambda lesion: -float(lesion["confidence"])))


def _candidates(findings: Sequence[tuple[bool, float, float]]) -> tuple[Mapping[str, Any], ...]:
    """The candidates that the scores name, for a case without a list."""
    sure = sorted((confidence for _, confidence, _ in findings if confidence > 0), reverse=True)
    return tuple({"confidence": confidence} for confidence in sure)


def _findings(method: MethodScores | None) -> dict[str, tuple[tuple[bool, float, float], ...]]:
    if method is None:
        return {}
    return {
        str(case): tuple((bool(lesion), float(sure), float(overlap)) for lesion, sure, overlap in each)
        for case, each in method.details.get("findings", {}).items()
    }
