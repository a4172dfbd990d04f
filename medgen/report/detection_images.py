"""The volumes of one detected case from its files, and what of it a picture is to show."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medgen.cases import Case, columns_of
from medgen.errors import InputError
from medgen.metrics.overlap import CUBE
from medgen.preparation.resampling import resample
from medgen.report.content import read_json
from medgen.report.detection import MAP_ENDINGS, Example
from medgen.report.detection_montage import DetectionImages
from medgen.volume import Volume, read_label, read_volume, require_same_grid, to_ras

if TYPE_CHECKING:
    from medgen.report.sources import Sources

MOST_INPUTS = 4
LEAST_GRADE = 2
"""Of a lesion that should be found, where no scores say another; ISUP grade 2 is Gleason 3 + 4."""

_MODALITIES = ("t2w", "adc", "hbv", "dwi", "dce")
_NOT_INPUTS = {"label", "mask", "lesion", "zones", "gland"}
_SAME = 1e-6


def load_detected(sources: Sources, name: str) -> tuple[DetectionImages, list[str]]:
    """The volumes of one case on the grid of its detection map, in RAS+ order; inputs are brought onto it.

    Returns:
        The volumes, and notes on what is left out and why.

    Raises:
        InputError: a file is damaged.
    """
    case, path = sources.cases[name], sources.detections[name]
    found = to_ras(read_volume(path))
    notes: list[str] = []
    inputs = {}
    for role in _roles(sources, case, path)[:MOST_INPUTS]:
        image = case.path(role)
        shown = next((column for column in columns_of(role) if column in case.images), role.removesuffix("?"))
        if image is None:
            notes.append(f"the case has no {shown}")
        elif (data := _onto(to_ras(read_volume(image)), found)) is None:
            notes.append(f"{shown} is not shown: its place on the grid of the detection map is not known")
        else:
            inputs[shown] = data
    settings = sources.detection.settings if sources.detection else {}
    grades, least = _truth(case, settings, found)
    if grades is None:
        notes.append("the true lesions are not shown: the table has none on the grid of the detection map")
    organ = _labels(_beside(path, "label"), found)
    if organ is None:
        organ = _labels(case.path(sources.roles.get("mask") or "mask"), found)
    images = DetectionImages(
        inputs=inputs,
        confidence=found.data[0].astype(np.float32),
        grades=grades,
        least_grade=least,
        organ=None if organ is None else organ > 0,
        spacing=found.spacing,
        affine=found.affine,
        oriented=found.has_world_position,
    )
    return images, notes


def target_of(images: DetectionImages, example: Example) -> NDArray[np.bool_]:
    """(X, Y, Z), what an example is about: its candidate, or the true lesion that was missed."""
    truth = images.truth
    if example.kind == "miss":
        return np.zeros(images.confidence.shape, bool) if truth is None else _least_found(truth, images.confidence > 0)
    candidate = np.asarray(np.abs(images.confidence - np.float32(example.confidence)) < _SAME)
    if truth is None:
        return candidate
    part: NDArray[np.bool_] = candidate & truth if example.kind == "hit" else candidate & ~truth
    return part if part.any() else candidate


def _least_found(truth: NDArray[np.bool_], candidates: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The lesion of which the least share is covered; of equals the largest one."""
    from scipy import ndimage

    lesions, count = ndimage.label(truth, CUBE)
    sizes = np.bincount(lesions.ravel(), minlength=count + 1)[1:]
    covered = np.bincount(lesions[candidates], minlength=count + 1)[1:] / np.maximum(sizes, 1)
    if count == 0:
        return truth
    return np.asarray(lesions == 1 + int(np.lexsort((-sizes, covered))[0]))


def _roles(sources: Sources, case: Case, path: Path) -> list[str]:
    """The inputs of the model: by the recipe, or else by the prediction, or else by what the columns are called."""
    if named := sources.roles.get("inputs"):
        return [str(role) for role in named]
    for folder in (path.parent, path.parent.parent):
        if (report := folder / "prediction.json").is_file():
            model = read_json(report).get("model")
            if isinstance(model, dict) and model.get("inputs"):
                return [str(role) for role in model["inputs"]]
    known = [role for role in _MODALITIES if role in case.images]
    return known or [role for role in case.images if role not in _NOT_INPUTS]


def _onto(image: Volume, reference: Volume) -> NDArray[Any] | None:
    """An image on the grid of another; None where it cannot be known where it lies."""
    if not (image.has_world_position and reference.has_world_position):
        return None
    return resample(image.data[0], image.affine, reference.affine, reference.shape, fill=0.0)


def _truth(case: Case, settings: Mapping[str, Any], found: Volume) -> tuple[NDArray[Any] | None, int]:
    """The reference of a case, and from which value on it is lesion; of certain values alone it is 1 there, else 0."""
    values = _labels(case.path(str(settings.get("role") or "lesion")), found)
    if chosen := settings.get("lesion_values"):
        return None if values is None else np.isin(values, chosen).astype(np.uint8), 1
    return values, int(settings.get("least_grade") or LEAST_GRADE)


def _labels(path: Path | None, reference: Volume) -> NDArray[Any] | None:
    """A label map on the grid of the reference, where it lies on that."""
    if path is None or not path.exists():
        return None
    label = to_ras(read_label(path))
    try:
        require_same_grid(label, reference)
    except InputError:
        return None
    values: NDArray[Any] = label.data[0]
    return values


def _beside(path: Path, role: str) -> Path:
    """The file of another role, named like a detection map."""
    ending = next(ending for ending in MAP_ENDINGS if path.name.endswith(ending))
    return path.with_name(path.name.removesuffix(ending) + ending.replace("detection_map", role))
