"""The cases of a folder of detection maps, each matched with its truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medgen.errors import InputError
from medgen.evaluation.scores import Progress
from medgen.evaluation.tumour import TumourMaps
from medgen.metrics.detection import CaseDetection, match_lesions
from medgen.metrics.overlap import Mask
from medgen.references import Reference, compare_grids, find_predictions
from medgen.volume import read_label, read_volume

DETECTION_MAP = "detection_map"


@dataclass(frozen=True)
class Rule:
    """What is a lesion, and what is a hit.

    Args:
        least_grade: values of the truth from here on are lesion.
        overlap: least intersection over union of a candidate and the lesion that it finds.
    """

    least_grade: int
    overlap: float


@dataclass
class Scored:
    """What came out, by case.

    Attributes:
        found: lesions and false positives.
        voxels: metrics of the label map.
        highest: value of the reference.
        broken: why there is no usable detection map.
        unlabelled: why there is no usable label map.
    """

    found: dict[str, CaseDetection] = field(default_factory=dict)
    voxels: dict[str, dict[str, float]] = field(default_factory=dict)
    highest: dict[str, int] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    unlabelled: dict[str, str] = field(default_factory=dict)


def score_all(
    found: Sequence[Reference], folder: Path, rule: Rule, tumours: TumourMaps, progress: Progress | None
) -> Scored:
    """Match the detection maps of a folder with the truth, and score its label maps.

    Args:
        found: the cases.
        folder: of the predictions.
        rule: what is a lesion, and what is a hit.
        tumours: the label maps; without any, voxels are not scored.
        progress: told the number of cases done, of cases, and the name of the case.

    Raises:
        InputError: no case has a prediction; a map lies on another grid than its reference, or is no detection map; or
            a reference cannot be used.
    """
    scored = Scored()
    paths = _maps(folder, found)
    broken, _ = compare_grids(found, paths, resample=None)  # a map of candidates does not survive interpolation
    scored.broken.update(broken)
    for number, item in enumerate(found):
        if progress:
            progress(number, len(found), item.case)
        if item.case in scored.broken:
            continue
        truth, highest = _truth(item, rule)
        matched = _match(paths[item.case], truth, rule)
        if isinstance(matched, str):
            scored.broken[item.case] = matched
            continue
        scored.found[item.case], scored.highest[item.case] = matched, highest
        if tumours.paths:
            voxels = tumours.score(item, truth)
            if isinstance(voxels, str):
                scored.unlabelled[item.case] = voxels
            else:
                scored.voxels[item.case] = voxels
    if progress:
        progress(len(found), len(found), "scores")
    return scored


def _maps(folder: Path, found: Sequence[Reference]) -> dict[str, Path]:
    """Detection maps by case; references in the same folder, called ``<case>.nii.gz``, are none."""
    truths = {item.case: item.truth.resolve() for item in found}
    maps = find_predictions(folder, found, DETECTION_MAP)
    maps = {case: path for case, path in maps.items() if path.resolve() != truths[case]}
    if not maps:
        raise InputError(
            "the folder holds the references and no detection map",
            where=folder,
            fix=f"give the folder with {found[0].case}_{DETECTION_MAP}.nii.gz",
        )
    return maps


def _truth(item: Reference, rule: Rule) -> tuple[Mask, int]:
    """Where the true lesions are, and the highest value of the reference."""
    values = read_label(item.truth).data[0]
    return values >= rule.least_grade, int(values.max())


def _match(path: Path, truth: Mask, rule: Rule) -> CaseDetection | str:
    """What was found in a case, or why it failed.

    Raises:
        InputError: the file is no detection map.
    """
    try:
        values = read_volume(path).data[0]
    except InputError as error:
        return error.what
    try:
        return match_lesions(values, truth, overlap=rule.overlap)
    except ValueError as error:
        raise InputError(
            str(error),
            where=path,
            fix="make a detection map of it; 'medgen predict' writes them for a model with inference.detection",
        ) from error
