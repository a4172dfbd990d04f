"""Voxel scores of the tumour class in predicted label maps."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medgen.errors import InputError, PathError, UsageError
from medgen.evaluation.classes import PredictedBy, predicted_by
from medgen.evaluation.references import Reference, find_optional
from medgen.metrics.overlap import Mask, dice, recall
from medgen.volume import read_header, read_label, require_same_grid

VOXEL_METRICS = ("dice", "voxel_sensitivity", "voxel_specificity")

_LABEL = "label"


@dataclass(frozen=True)
class TumourMaps:
    """The label maps of a folder of predictions, and the tumour's value in them.

    Args:
        paths: label maps by case.
        value: value of the tumour.
        chosen: a note on the choice, or the reason why nothing is scored.
    """

    paths: Mapping[str, Path] = field(default_factory=dict)
    value: int = 0
    chosen: str = ""

    @classmethod
    def find(cls, folder: Path, found: Sequence[Reference], tumour: str | int | None) -> TumourMaps:
        """Find the label maps that a medgen model wrote, and the class of its detection maps.

        Args:
            folder: folder of the predictions.
            found: the cases.
            tumour: name or number of the class; None means that of ``<case>_lesions.json``, or the model's only class.

        Raises:
            UsageError: the model has no such class.
            InputError: ``prediction.json`` or ``<case>_lesions.json`` is damaged.
        """
        model = predicted_by(folder)
        wanted = _class_of_lesions(folder, found, model) if tumour is None else tumour
        if wanted is None:
            return cls(chosen="not scored: it is unknown which class of the label maps is the tumour")
        value = _value(wanted, model, folder)
        role = model.target.replace("|", "-") or _LABEL
        paths = find_optional(folder, found, role, bare=False)
        truths = {item.case: item.truth.resolve() for item in found}
        paths = {case: path for case, path in paths.items() if path.resolve() != truths[case]}
        if not paths:
            return cls(chosen=f"not scored: the predictions contain no <case>_{role}.nii.gz")
        return cls(paths, value, f"value {value} of <case>_{role}.nii.gz, '{wanted}'")

    def score(self, item: Reference, truth: Mask) -> dict[str, float] | str:
        """The metrics of one case, or the reason why there are none.

        Args:
            item: the case; specificity is computed inside ``item.mask``.
            truth: (X, Y, Z), mask of the true lesions.

        Raises:
            InputError: the label map is on another grid than the truth, or is not a label map.
        """
        if item.case not in self.paths:
            return "there is no label map"
        path = self.paths[item.case]
        try:
            header = read_header(path)
        except (InputError, PathError) as error:
            return error.what
        require_same_grid(header, read_header(item.truth))
        predicted = read_label(path).data[0] == self.value
        region = np.ones_like(truth) if item.mask is None else read_label(item.mask).data[0] > 0
        return voxel_scores(predicted, truth, region)


def voxel_scores(predicted: Mask, truth: Mask, region: Mask) -> dict[str, float]:
    """Dice, sensitivity and specificity of the tumour's voxels, as in the table of Kohl et al. 2017.

    Dice and sensitivity are computed in the whole image. They do not apply to a patient without a tumour (NaN); false
    detections in such a patient lower the specificity and count as false positives.

    Args:
        predicted: (X, Y, Z), mask.
        truth: (X, Y, Z), mask.
        region: (X, Y, Z), mask inside which specificity is computed.

    >>> truth, all_ = np.zeros((1, 1, 10), bool), np.ones((1, 1, 10), bool)
    >>> truth[..., :4] = True
    >>> predicted = np.roll(truth, 2)
    >>> voxel_scores(predicted, truth, all_)  # doctest: +ELLIPSIS
    {'dice': 0.5, 'voxel_sensitivity': 0.5, 'voxel_specificity': 0.666...}
    """
    healthy = region & ~truth
    count = np.count_nonzero(healthy)
    return {
        "dice": dice(predicted, truth) if truth.any() else math.nan,
        "voxel_sensitivity": recall(predicted, truth),
        "voxel_specificity": float(np.count_nonzero(healthy & ~predicted) / count) if count else math.nan,
    }


def lesion_values(folder: Path, found: Sequence[Reference]) -> tuple[str, tuple[int, ...]]:
    """The class of the detection maps, and its values in the label maps of training.

    Args:
        folder: folder of the predictions.
        found: the cases.

    Returns:
        The name and the values; no values if they are not recorded.

    Raises:
        InputError: ``prediction.json`` or ``<case>_lesions.json`` is damaged.
    """
    model = predicted_by(folder)
    name = _class_of_lesions(folder, found, model) or ""
    return name, model.values.get(name, ())


def _class_of_lesions(folder: Path, found: Sequence[Reference], model: PredictedBy) -> str | None:
    """The class of the detection maps, read from the list of lesions beside them."""
    for item in found:
        path = next((p for p in (folder / item.case, folder) if (p / f"{item.case}_lesions.json").is_file()), None)
        if path is not None:
            place = path / f"{item.case}_lesions.json"
            try:
                return str(json.loads(place.read_text(encoding="utf-8"))["class"])
            except (ValueError, KeyError, TypeError):
                raise InputError("this list of lesions is damaged", where=place, fix="predict again") from None
    return model.classes[0] if len(model.classes) == 1 else None


def _value(wanted: str | int, model: PredictedBy, folder: Path) -> int:
    """The value of a class in the label maps: n for the n-th class, or its name if that is a value."""
    name = str(wanted)
    by_value = all(each.isdecimal() for each in model.classes)
    if name in model.classes:
        return int(name) if by_value else 1 + model.classes.index(name)
    if name.isdecimal() and int(name) > 0 and (not model.classes or (not by_value and int(name) <= len(model.classes))):
        return int(name)
    known = ", ".join(f"{number} {each}" for number, each in enumerate(model.classes, start=1))
    raise UsageError(
        f"the label maps have no class '{name}'",
        where=folder,
        fix=f"choose one of: {known}"
        if known
        else "give the number of the class, because no prediction.json names the classes",
    )
