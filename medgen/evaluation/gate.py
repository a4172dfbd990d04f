"""The gate of a cohort: the score and the verdict of each case as ``predict`` gave them, and the error either way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medgen.cases import listed
from medgen.evaluation.classes import Judged, predicted_by
from medgen.metrics.sparsification import accept_reject
from medgen.metrics.statistics import Summary, summarise


def find_judged(predictions: Path, paths: Mapping[str, Path]) -> dict[str, Judged]:
    """What ``predict`` said of each case with several estimates, by case.

    Args:
        predictions: the folder, or one file.
        paths: by case, the file that is scored; what was said of another file of the case does not count.

    Raises:
        InputError: ``prediction.json`` is damaged.
    """
    known = predicted_by(predictions).judged
    places = {case: path.relative_to(predictions).as_posix() for case, path in paths.items()}
    return {case: known[place] for case, place in places.items() if place in known}


def gate_details(
    cases: Sequence[Mapping[str, Any]], judged: Mapping[str, Judged], *, seed: int, draws: int
) -> dict[str, Any]:
    """The accept-reject curve over the cases, and the error of those that the gate accepted and rejected.

    Args:
        cases: rows with ``mae`` and, of cases with several estimates, ``mean_sd``: the score of the gate.
        judged: by case, what ``predict`` said.
        seed: random seed of the bootstrap.
        draws: number of bootstrap samples.

    Returns:
        ``accept_reject`` if a case has a score, and ``gate`` if one has a verdict, for ``scores.json``.
    """
    rows = [row for row in cases if "mean_sd" in row]
    if not rows:
        return {}
    accepted, mae = accept_reject(*(np.array([row[key] for row in rows], float) for key in ("mean_sd", "mae")))
    details: dict[str, Any] = {"accept_reject": {"accepted": accepted, "mae": mae}}
    if sides := _sides(cases, judged):
        details["gate"] = {side: {"mae": summarise(each, seed=seed, draws=draws)} for side, each in sides.items()}
    return details


def gate_notes(
    cases: Sequence[Mapping[str, Any]], judged: Mapping[str, Judged], details: Mapping[str, Any]
) -> tuple[str, ...]:
    """How many cases the gate accepted, with their error; and which cases' score ``predict`` did not record.

    Args:
        cases: rows, as for :func:`gate_details`.
        judged: by case, what ``predict`` said.
        details: from :func:`gate_details`.
    """
    notes = []
    if gate := details.get("gate"):
        said = (f"{_count(each['mae'])} {side}{_error(each['mae'])}" for side, each in gate.items())
        notes.append(f"the gate: {', '.join(said)}")
    scored = [row["case"] for row in cases if math.isfinite(row.get("mean_sd", math.nan)) and row["case"] not in judged]
    if scored:
        notes.append(
            f"predict recorded no mean_sd of {listed(scored)}: it is the mean of the standard deviation where that is "
            "above 0"
        )
    return tuple(notes)


def _sides(cases: Sequence[Mapping[str, Any]], judged: Mapping[str, Judged]) -> dict[str, list[float]]:
    """The errors of the accepted and of the rejected cases; nothing if no case has a verdict."""
    verdicts = {case: each.accepted for case, each in judged.items() if each.accepted is not None}
    if not verdicts:
        return {}
    return {
        side: [row["mae"] for row in cases if verdicts.get(row["case"]) is accepted]
        for side, accepted in (("accepted", True), ("rejected", False))
    }


def _count(errors: Summary) -> int:
    return errors["n"] + errors["n_failed"] + errors["n_infinite"]


def _error(errors: Summary) -> str:
    """The mean of the errors that are known, in words; empty if there is none."""
    failed = f", {errors['n_failed']} without a score" if errors["n_failed"] else ""
    return f" (MAE {errors['mean']:.1f} HU{failed})" if errors["n"] else ""
