"""The cases of a folder of detection maps, each matched with its truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.errors import InputError, UsageError
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
    """What is a lesion, and what is a hit.

    Args:
        least_grade: values of the truth from here on are lesion.
        overlap: least intersection over union of a candidate and the lesion that it finds.
        values: where there are any, these values of the truth alone are lesion, and ``least_grade`` does not count.
        name: the class of these values.
    """

    least_grade: int
    overlap: float
    values: tuple[int, ...] = ()
    name: str = ""

    @classmethod
    def choose(
        cls, least_grade: int | None, overlap: float, role: str, folder: Path, found: Sequence[Reference]
    ) -> Rule:
        """The rule for references of a role.

        Args:
            least_grade: None: 2, an ISUP grade; but of label maps (role ``label``) the values of the class that the
                detection maps are of, as the predictions tell.
            overlap: as for the rule.
            role: of the references.
            folder: of the predictions.
            found: the references.

        Raises:
            UsageError: a number is out of its range, or the predictions do not tell the values.
            InputError: ``prediction.json`` or ``<case>_lesions.json`` is damaged.
        """
        grade = LEAST_GRADE if least_grade is None else least_grade
        if grade < 1 or not 0 < overlap <= 1:
            raise UsageError(f"least_grade must be 1 or more and overlap in (0, 1], not {grade} and {overlap:g}")
        if least_grade is not None or role != _LABEL:
            return cls(grade, overlap)
        name, values = lesion_values(folder, found)
        if not values:
            raise UsageError(
                "which values of the true label maps are lesion is not known: the predictions do not tell it",
                where=found[0].truth,
                fix="give --least-grade (least_grade in Python), the lowest value that is lesion: 2 for ISUP grades, "
                "1 for a truth of 0 and 1, 3 where 1 and 2 are the zones and 3 the tumour",
            )
        return cls(min(values), overlap, tuple(sorted(values)), name)

    def lesion(self, values: NDArray[Any]) -> Mask:
        """Where a reference of such values is lesion."""
        return np.isin(values, self.values) if self.values else values >= self.least_grade

    def as_settings(self) -> dict[str, Any]:
        """The rule as it is recorded with the scores."""
        grade = None if self.values else self.least_grade
        return {"least_grade": grade, "lesion_values": list(self.values) or None, "overlap": self.overlap}


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
    return rule.lesion(values), int(values.max())


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
