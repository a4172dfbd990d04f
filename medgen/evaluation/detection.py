"""Scores of detection maps against the true lesions: of cases, of lesions and of voxels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from medgen.cases import listed
from medgen.evaluation.matching import DETECTION_MAP, Rule, Scored, score_all
from medgen.evaluation.provenance import provenance
from medgen.evaluation.references import Reference, find_optional, find_references
from medgen.evaluation.scores import Scores
from medgen.evaluation.strays import file_notes
from medgen.evaluation.tumour import VOXEL_METRICS, TumourMaps
from medgen.metrics.detection import OVERLAP, Detection, summarise
from medgen.metrics.permutation import permutation_test
from medgen.metrics.statistics import Summary
from medgen.metrics.statistics import summarise as summarise_cases
from medgen.types import Progress, SplitOrAll

COUNTS = ("lesions_true", "lesions_found", "false_positives")

DEFINITIONS: dict[str, object] = {
    "auroc": "of cases; the score of a case is its highest candidate confidence",
    "ap": "average precision of lesions: precision summed over the steps of recall",
    "score": "(auroc + ap) / 2, that of the PI-CAI challenge",
    "sensitivity_at_N": "fraction of the lesions detected at no more than N false positives per case",
    "lesions": "26-connected components; a candidate that overlaps a lesion enough is never a false positive, even if "
    "another one is matched to the lesion",
    "voxels": "dice and voxel_sensitivity are computed in the whole image and do not apply to a case without a lesion; "
    "voxel_specificity is the fraction of the voxels without lesion that are predicted as such, inside the mask if "
    "there is one",
    "interval": "percentile bootstrap over patients; all studies of a patient are drawn together",
    "p": "two-sided permutation test; the two models' results, as ranks within each model, are swapped per patient",
}
"""Definitions of the scores; written beside every result."""


class DetectionOptions(TypedDict, total=False):
    """Keyword arguments of :func:`evaluate_detection`."""

    role: str | None
    mask_role: str | None
    least_grade: int | None
    overlap: float
    tumour: str | int | None
    split: SplitOrAll | None
    compare: str | Path | None
    seed: int
    draws: int
    progress: Progress | None


def evaluate_detection(
    predictions: str | Path,
    references: str | Path,
    *,
    role: str | None = None,
    mask_role: str | None = "mask",
    least_grade: int | None = None,
    overlap: float = OVERLAP,
    tumour: str | int | None = None,
    split: SplitOrAll | None = None,
    compare: str | Path | None = None,
    seed: int = 0,
    draws: int = 2000,
    progress: Progress | None = None,
) -> Scores:
    """Score detection maps as the PI-CAI challenge does, and label maps beside them voxel by voxel.

    Args:
        predictions: folder with ``<case>/<case>_detection_map.nii.gz`` (as ``predict`` writes) or
            ``<case>_detection_map.nii.gz`` (as PI-CAI does; also ``.mha``).
        references: ``cases.csv`` (or a folder that holds it), or a folder with ``<case>_lesion.nii.gz``,
            ``<case>_label.nii.gz`` or ``<case>.nii.gz``.
        role: role of the true lesions: their column in the table, or their name in the files. By default ``lesion``;
            in a folder the first of the three names above that exists.
        mask_role: role of the mask inside which voxel specificity is computed; with None, and for a case without one,
            it is computed in the whole image. Lesions and Dice are always scored in the whole image.
        least_grade: lowest value of the truth that counts as a lesion; give 1 if the truth is 0 or 1. By default ISUP
            grade 2. For the role ``label``, a map of several classes, the default is exactly the values of the class
            of the detection maps, read from ``<case>_lesions.json`` and ``prediction.json`` beside the predictions.
        overlap: smallest intersection over union at which a candidate detects a lesion, in (0, 1].
        tumour: name or number of the class whose voxels are scored in the label maps that ``predict`` writes beside
            the detection maps. By default the class named in ``<case>_lesions.json``.
        split: split of the table to score; by default ``test`` if it has cases, else all.
        compare: a second folder like ``predictions``, compared on the cases that have usable predictions in both.
        seed: random seed of bootstrap and permutations.
        draws: number of bootstrap samples and of permutations.
        progress: called with (cases done, number of cases, name of the case).

    Returns:
        The scores. The summary has ``auroc``, ``ap``, ``score`` and ``sensitivity_at_0.1`` ... over all cases, and the
        means of ``dice``, ``voxel_sensitivity``, ``voxel_specificity``, ``lesions_true``, ``lesions_found`` and
        ``false_positives``. ``details`` has ``curves`` (``roc``, ``precision_recall``, ``froc``), the ``findings`` of
        each case as (lesion, confidence, overlap), and ``comparison``. An undefined score, such as the AUROC if all
        cases have a tumour, is NaN, and its summary has a ``reason``. A case fails if its prediction is missing or
        damaged: no score includes it, ``n_failed`` counts it and ``failed`` lists it.

    Raises:
        InputError: no case has a prediction; a map is on another grid than its reference, or is not a detection map;
            or a reference cannot be used.
        UsageError: an option is out of its range; the model has no such class; a split is given, but the references
            are not a case table; or the values of a lesion in true label maps are neither given nor recorded with the
            predictions.
    """
    role = role or _role_of(Path(references))
    found, settings, notes = find_references(Path(references), role, mask_role, split)
    rule = Rule.choose(least_grade, overlap, role, Path(predictions), found)
    tumours = TumourMaps.find(Path(predictions), found, tumour)
    scored = score_all(found, Path(predictions), rule, tumours, progress)
    detection = summarise(scored.found, patients={item.case: item.patient for item in found if item.patient})
    details: dict[str, Any] = {"curves": _curves(detection), "findings": dict(_findings(scored))}
    if compare is not None:
        details["comparison"] = _compare(Path(compare), found, detection, rule, seed, draws, progress)
    return Scores(
        task="detection",
        cases=tuple({"case": item.case, **_row(item.case, scored, tumours)} for item in found),
        summary=_summary(detection, scored, tumours, seed, draws),
        failed=tuple({"case": case, "reason": reason} for case, reason in _in_order(found, scored.broken)),
        notes=(
            *notes,
            *file_notes(Path(predictions), DETECTION_MAP, Path(references), found),
            *_remarks(found, mask_role, rule, tumours, detection, scored),
        ),
        settings={
            "role": role,
            **settings,
            **provenance(Path(predictions), _scored_maps(predictions, found, scored)),
            "mask": mask_role,
            **rule.as_settings(),
            "voxels": tumours.chosen,
            "cohort": _cohort(detection),
            "definitions": DEFINITIONS,
            "bootstrap": {"seed": seed, "draws": draws},
        },
        details=details,
    )


def _scored_maps(predictions: str | Path, found: Sequence[Reference], scored: Scored) -> dict[str, Path]:
    """By case, the detection map that was scored."""
    maps = find_optional(Path(predictions), found, DETECTION_MAP)
    return {case: path for case, path in maps.items() if case in scored.found}


def _role_of(references: Path) -> str:
    """Role of the true lesions: by the file names for one volume and for a folder without a table, else ``lesion``."""
    if references.name.split(".")[0].endswith("_label") and references.is_file():
        return "label"
    if references.is_dir() and not (references / "cases.csv").is_file():
        for role in ("lesion", "label"):
            if any(references.glob(f"*_{role}.*")) or any(references.glob(f"*/*_{role}.*")):
                return role
    return "lesion"


def _row(case: str, scored: Scored, tumours: TumourMaps) -> dict[str, float]:
    """The scores of a case; NaN if it failed."""
    matched = scored.found.get(case)
    counts = {name: math.nan if matched is None else float(getattr(matched, name)) for name in ("confidence", *COUNTS)}
    voxels = scored.voxels.get(case, dict.fromkeys(VOXEL_METRICS, math.nan)) if tumours.paths else {}
    return {**counts, **voxels}


def _summary(detection: Detection, scored: Scored, tumours: TumourMaps, seed: int, draws: int) -> dict[str, Summary]:
    failed, reasons, count = len(scored.broken), detection.reasons, len(detection.cases)
    intervals = detection.intervals(seed=seed, draws=draws)
    summary: dict[str, Summary] = {}
    for name, value in detection.values.items():
        summary[name] = {
            "mean": value,
            "sd": math.nan,
            "ci95": intervals[name],
            "n": 0 if name in reasons else count,
            "n_failed": failed,
            "n_infinite": 0,
            "n_not_applicable": count if name in reasons else 0,
        }
        if name in reasons:
            summary[name]["reason"] = reasons[name]
        if name != "auroc":
            summary[name]["n_lesions"] = _cohort(detection)["lesions"]
    for name in (*(VOXEL_METRICS if tumours.paths else ()), *COUNTS):
        values = [_row(case, scored, tumours)[name] for case in detection.cases]
        each = summarise_cases(values, seed=seed, draws=draws)
        if detection.patients:
            each["ci95"] = detection.mean_interval(values, seed=seed, draws=draws)
        # If a case has a label map, NaN means that the metric does not apply, which is not a failure of the model.
        unlabelled = len(scored.unlabelled) if name in VOXEL_METRICS else 0
        each["n_not_applicable"], each["n_failed"] = each["n_failed"] - unlabelled, failed + unlabelled
        summary[name] = each
    return summary


def _curves(detection: Detection) -> dict[str, dict[str, list[float]]]:
    """Points of each curve by axis, for plots."""
    curves = {
        "roc": detection.roc._asdict(),
        "precision_recall": detection.precision_recall._asdict(),
        "froc": detection.froc._asdict(),
    }
    return {name: {axis: values.tolist() for axis, values in curve.items()} for name, curve in curves.items()}


def _findings(scored: Scored) -> Mapping[str, list[list[float]]]:
    return {case: [[int(lesion), *rest] for lesion, *rest in each.findings] for case, each in scored.found.items()}


def _cohort(detection: Detection) -> dict[str, int]:
    cases = detection.cases.values()
    return {
        "cases": len(cases),
        "patients": len(set(detection.patient_numbers.tolist())),
        "cases_with_lesion": sum(case.lesions_true > 0 for case in cases),
        "lesions": sum(case.lesions_true for case in cases),
    }


def _compare(
    folder: Path,
    found: Sequence[Reference],
    detection: Detection,
    rule: Rule,
    seed: int,
    draws: int,
    progress: Progress | None,
) -> dict[str, Any]:
    """First model minus second model, on the cases that have usable predictions of both."""
    both = [item for item in found if item.case in detection.cases]
    other = score_all(both, folder, rule, TumourMaps(), progress).found
    one = Detection({case: detection.cases[case] for case in other}, detection.patients)
    results = permutation_test(one, Detection(other, detection.patients), seed=seed, draws=draws)
    return {
        "with": "/".join(folder.absolute().parts[-2:]),
        "n": len(other),
        "left_out": [item.case for item in found if item.case not in other],
        "metrics": {name: result._asdict() for name, result in results.items()},
    }


def _in_order(found: Sequence[Reference], reasons: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(item.case, reasons[item.case]) for item in found if item.case in reasons]


def _remarks(
    found: Sequence[Reference],
    mask_role: str | None,
    rule: Rule,
    tumours: TumourMaps,
    detection: Detection,
    scored: Scored,
) -> list[str]:
    remarks = [f"{', '.join(names)}: not applicable, {text}" for text, names in _by_reason(detection).items()]
    low = [case for case, highest in scored.highest.items() if 0 < highest < rule.least_grade]
    if rule.values:
        values = ", ".join(map(str, rule.values))
        remarks.append(f"lesions: voxels of value {values} in the true label maps, the class '{rule.name}'")
    elif low and not detection.ranked.positive.any():
        remarks.append(
            f"no reference has a value of {rule.least_grade} or more, but some have lower values: {listed(low)}; "
            "if 1 is a lesion, give --least-grade 1 (least_grade in Python)"
        )
    remarks.append(f"voxels: {tumours.chosen}")
    if tumours.paths and mask_role and (without := [item.case for item in found if item.mask is None]):
        remarks.append(f"no {mask_role} for {listed(without)}: voxel_specificity is computed in the whole image")
    if absent := sum(math.isnan(row["dice"]) for row in scored.voxels.values()):
        cases = f"{absent} cases" if absent > 1 else "the case"
        remarks.append(f"dice and voxel_sensitivity do not apply to {cases} without a lesion")
    if scored.unlabelled:
        remarks.append(
            f"voxels not scored in {listed(list(scored.unlabelled))}: {next(iter(scored.unlabelled.values()))}"
        )
    return remarks


def _by_reason(detection: Detection) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for name, text in detection.reasons.items():
        reasons.setdefault(text, []).append(name)
    return reasons
