"""Detection maps and the true lesions become scores: cases told apart, lesions found, voxels covered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from medgen.cases import listed
from medgen.evaluation.matching import DETECTION_MAP, Rule, Scored, score_all
from medgen.evaluation.references import Reference, find_references, without_reference
from medgen.evaluation.scores import Scores
from medgen.evaluation.tumour import VOXEL_METRICS, TumourMaps
from medgen.metrics.detection import OVERLAP, Detection, summarise
from medgen.metrics.permutation import permutation_test
from medgen.metrics.statistics import Summary
from medgen.metrics.statistics import summarise as summarise_cases
from medgen.types import Progress, SplitOrAll

COUNTS = ("lesions_true", "lesions_found", "false_positives")

DEFINITIONS: dict[str, object] = {
    "auroc": "of cases, by the confidence of their surest candidate",
    "ap": "average precision of lesions: precision summed over the steps of recall",
    "score": "(auroc + ap) / 2, that of the PI-CAI challenge",
    "sensitivity_at_N": "share of the lesions found with at most N false positives a case",
    "lesions": "26-connected pieces; a candidate that overlaps a lesion enough is no false positive, matched or not",
    "voxels": "dice and voxel_sensitivity are of the whole image and do not apply to a case without a lesion; "
    "voxel_specificity is the share of the voxels without lesion, in the mask where there is one, that are called so",
    "interval": "percentile bootstrap over patients; all studies of one are drawn together",
    "p": "two-sided; the results of the two models are exchanged patient by patient, as ranks within each model",
}
"""What the numbers mean; written beside every result."""


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
    """Score detection maps as the PI-CAI challenge does, and the label maps beside them voxel by voxel.

    Args:
        predictions: folder with ``<case>/<case>_detection_map.nii.gz`` (as ``predict`` writes) or
            ``<case>_detection_map.nii.gz`` (as PI-CAI does; also ``.mha``).
        references: ``cases.csv`` (or a folder that holds it), or a folder with ``<case>_lesion.nii.gz``,
            ``<case>_label.nii.gz`` or ``<case>.nii.gz``.
        role: column or name of the true lesions; ``lesion`` by default, in a folder whichever of the three is there.
        mask_role: column or name of the region in which the voxel specificity is told; without one, and with None, it
            is the whole image. Lesions and Dice are those of the whole image always.
        least_grade: voxels of the truth with this value or more are lesion; a truth of 0 and 1 needs 1. By default
            ISUP grades from 2, but of the role ``label``, a map of several classes, the values of the class that the
            detection maps are of, as ``<case>_lesions.json`` and ``prediction.json`` beside them tell, and no others.
        overlap: least intersection over union of a hit, in (0, 1].
        tumour: class whose voxels are scored in the label maps that ``predict`` writes beside the detection maps, a
            name among the model's classes or its number. By default the class that ``<case>_lesions.json`` names.
        split: which cases of the table; by default ``test`` if there is one, else all.
        compare: a second folder like ``predictions``, compared on the cases that both have.
        seed: of bootstrap and permutations.
        draws: bootstrap samples, and permutations.
        progress: told the number of cases done, of cases, and the name of the case.

    Returns:
        The scores. The summary has ``auroc``, ``ap``, ``score`` and ``sensitivity_at_0.1`` ... over all cases, and the
        means of ``dice``, ``voxel_sensitivity``, ``voxel_specificity``, ``lesions_true``, ``lesions_found`` and
        ``false_positives``. ``details`` has ``curves`` (``roc``, ``precision_recall``, ``froc``), the ``findings`` of
        each case as (lesion, confidence, overlap), and ``comparison``. A number that does not exist, such as the AUROC
        of one class, is NaN and its summary has a ``reason``. A case whose prediction is missing or damaged has failed:
        it is in no number, ``n_failed`` counts it and ``failed`` names it.

    Raises:
        InputError: no case has a prediction; a map lies on another grid than its reference, or is no detection map; or
            a reference cannot be used.
        UsageError: an option is out of its range, the class is not one of the model, a split is asked of references
            that have none, or which values of true label maps are lesion is neither given nor told by the predictions.
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
            *_unknown(predictions, references, found),
            *_remarks(found, mask_role, rule, tumours, detection, scored),
        ),
        settings={
            "role": role,
            **settings,
            "mask": mask_role,
            **rule.as_settings(),
            "voxels": tumours.chosen,
            "cohort": _cohort(detection),
            "definitions": DEFINITIONS,
            "bootstrap": {"seed": seed, "draws": draws},
        },
        details=details,
    )


def _role_of(references: Path) -> str:
    """What the true lesions are called: in a folder without a table, and of one volume, by the files."""
    if references.name.split(".")[0].endswith("_label") and references.is_file():
        return "label"
    if references.is_dir() and not (references / "cases.csv").is_file():
        for role in ("lesion", "label"):
            if any(references.glob(f"*_{role}.*")) or any(references.glob(f"*/*_{role}.*")):
                return role
    return "lesion"


def _row(case: str, scored: Scored, tumours: TumourMaps) -> dict[str, float]:
    """The numbers of a case; NaN where it failed."""
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
        # Of a case with a label map, NaN means that the metric does not apply; that is no failure of the model.
        unlabelled = len(scored.unlabelled) if name in VOXEL_METRICS else 0
        each["n_not_applicable"], each["n_failed"] = each["n_failed"] - unlabelled, failed + unlabelled
        summary[name] = each
    return summary


def _curves(detection: Detection) -> dict[str, dict[str, list[float]]]:
    """Points by curve and axis, for whoever draws them."""
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
    """The first model less the second, on the cases that both have."""
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


def _unknown(predictions: str | Path, references: str | Path, found: Sequence[Reference]) -> list[str]:
    """A note on the detection maps of cases that the references do not have."""
    names = without_reference(Path(predictions), DETECTION_MAP, Path(references), found)
    maps = f"{len(names)} detection maps have" if len(names) > 1 else "1 detection map has"
    return [f"{maps} no reference: {listed(names)}"] if names else []


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
        remarks.append(f"lesion: {', '.join(map(str, rule.values))} in the true label maps, the class '{rule.name}'")
    elif low and not detection.ranked.positive.any():
        remarks.append(
            f"no reference has a value of {rule.least_grade} or more, {listed(low)} have lower ones; "
            "if 1 is a lesion, give --least-grade 1 (least_grade in Python)"
        )
    remarks.append(f"voxels: {tumours.chosen}")
    if tumours.paths and mask_role and (without := [item.case for item in found if item.mask is None]):
        remarks.append(f"no {mask_role} for {listed(without)}: voxel_specificity is that of the whole image")
    if absent := sum(math.isnan(row["dice"]) for row in scored.voxels.values()):
        cases = f"{absent} cases" if absent > 1 else "the case"
        remarks.append(f"dice and voxel_sensitivity do not apply to {cases} without a lesion")
    if scored.unlabelled:
        remarks.append(
            f"voxels of {listed(list(scored.unlabelled))} not scored: {next(iter(scored.unlabelled.values()))}"
        )
    return remarks


def _by_reason(detection: Detection) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for name, text in detection.reasons.items():
        reasons.setdefault(text, []).append(name)
    return reasons
