"""Matching of the candidates in detection maps with the true lesions, case by case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.errors import InputError, PathError, UsageError
from medgen.evaluation.references import Reference, compare_grids, find_predictions
from medgen.evaluation.tumour import TumourMaps, lesion_values
from medgen.metrics.detection import CaseDetection, match_lesions
from medgen.metrics.overlap import Mask
from medgen.types import Progress
from medgen.volume import read_label, read_volume

DETECTION_MAP = "detection_map"
LEAST_GRADE = 2

_LABEL = "label"


@dataclass(frozen=True)
class Rule:
    """Definition of a lesion in the truth and of a detection.

    Args:
        least_grade: lowest value of the truth that counts as a lesion.
        overlap: smallest intersection over union at which a candidate detects a lesion.
        values: if given, exactly these values of the truth are lesions, and ``least_grade`` is ignored.
        name: name of the class with these values.
    """

    least_grade: int
    overlap: float
    values: tuple[int, ...] = ()
    name: str = ""

    @classmethod
    def choose(
        cls, least_grade: int | None, overlap: float, role: str, folder: Path, found: Sequence[Reference]
    ) -> Rule:
        """Choose the rule for references of a role.

        Args:
            least_grade: None means ISUP grade 2; for label maps (role ``label``) it means exactly the values of the
                class of the detection maps, as recorded with the predictions.
            overlap: as for the rule.
            role: role of the references.
            folder: folder of the predictions.
            found: the references.

        Raises:
            UsageError: a number is out of its range, or the values are not recorded with the predictions.
            InputError: ``prediction.json`` or ``<case>_lesions.json`` is damaged.
        """
        grade = LEAST_GRADE if least_grade is None else least_grade
        if grade < 1 or not 0 < overlap <= 1:
            raise UsageError(
                f"least_grade must be at least 1 and overlap must lie in (0, 1], got {grade} and {overlap:g}"
            )
        if least_grade is not None or role != _LABEL:
            return cls(grade, overlap)
        name, values = lesion_values(folder, found)
        if not values:
            raise UsageError(
                "it is unknown which values of the true label maps are lesions: no file of the predictions records it",
                where=found[0].truth,
                fix="give --least-grade (least_grade in Python), the lowest value of a lesion: 2 for ISUP grades, "
                "1 for a truth of 0 and 1, 3 if 1 and 2 are the zones and 3 is the tumour",
            )
        return cls(min(values), overlap, tuple(sorted(values)), name)

    def lesion(self, values: NDArray[Any]) -> Mask:
        """Mask of the lesions in a reference with these values."""
        return np.isin(values, self.values) if self.values else values >= self.least_grade

    def as_settings(self) -> dict[str, Any]:
        """The rule as recorded with the scores."""
        grade = None if self.values else self.least_grade
        return {"least_grade": grade, "lesion_values": list(self.values) or None, "overlap": self.overlap}


@dataclass
class Scored:
    """Results, all by case.

    Attributes:
        found: detected lesions and false positives.
        voxels: metrics of the label map.
        highest: highest value of the reference.
        broken: the reason why there is no usable detection map.
        unlabelled: the reason why there is no usable label map.
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
        folder: folder of the predictions.
        rule: definition of a lesion and of a detection.
        tumours: the label maps; if there are none, voxels are not scored.
        progress: called with (cases done, number of cases, name of the case).

    Raises:
        InputError: no case has a prediction; a map is on another grid than its reference; no map can be used; or a
            reference cannot be used.
    """
    scored, refused = Scored(), list[InputError | PathError]()
    paths = _maps(folder, found)
    broken, _ = compare_grids(found, paths, resample=None)  # interpolation would damage a map of candidates
    scored.broken.update(broken)
    for number, item in enumerate(found):
        if progress:
            progress(number, len(found), item.case)
        if item.case in scored.broken:
            continue
        truth, highest = _truth(item, rule)
        try:
            matched = _match(paths[item.case], truth, rule)
        except (InputError, PathError) as error:
            refused.append(error)
            scored.broken[item.case] = error.what
            continue
        scored.found[item.case], scored.highest[item.case] = matched, highest
        if tumours.paths:
            voxels = tumours.score(item, truth)
            if isinstance(voxels, str):
                scored.unlabelled[item.case] = voxels
            else:
                scored.voxels[item.case] = voxels
    if refused and not scored.found:
        raise refused[0]  # not the fault of one case
    if progress:
        progress(len(found), len(found), "scores")
    return scored


def _maps(folder: Path, found: Sequence[Reference]) -> dict[str, Path]:
    """Detection maps by case; references named ``<case>.nii.gz`` in the same folder are left out."""
    truths = {item.case: item.truth.resolve() for item in found}
    maps = find_predictions(folder, found, DETECTION_MAP)
    maps = {case: path for case, path in maps.items() if path.resolve() != truths[case]}
    if not maps:
        raise InputError(
            "the folder contains the references, but no detection map",
            where=folder,
            fix=f"give the folder that contains {found[0].case}_{DETECTION_MAP}.nii.gz",
        )
    return maps


def _truth(item: Reference, rule: Rule) -> tuple[Mask, int]:
    """Mask of the true lesions, and the highest value of the reference."""
    values = read_label(item.truth).data[0]
    return rule.lesion(values), int(values.max())


def _match(path: Path, truth: Mask, rule: Rule) -> CaseDetection:
    """The detections in a case.

    Raises:
        InputError: the file is damaged, or not a detection map.
    """
    values = read_volume(path).data[0]
    try:
        return match_lesions(values, truth, overlap=rule.overlap)
    except ValueError as error:
        raise InputError(
            str(error),
            where=path,
            fix="give detection maps; 'medgen predict' writes them for a model with inference.detection",
        ) from error
