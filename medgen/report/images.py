"""The volumes of one case from its files, on the grid of its prediction."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.cases import Case, columns_of
from medgen.errors import InputError, PathError
from medgen.evaluation.deviations import find_deviations
from medgen.inference.labels import ENTROPY
from medgen.inference.writing import files_of
from medgen.metrics.overlap import CUBE
from medgen.preparation.resampling import resample
from medgen.preparation.settings import CT_WINDOW, IntensityConfig
from medgen.report.content import read_json
from medgen.report.detection import SAME_CONFIDENCE, Example
from medgen.report.slices import CaseImages, Spread
from medgen.report.sources import MAP_ENDINGS, Sources
from medgen.volume import AIR, Volume, class_indices, read_label, read_volume, require_same_grid, to_ras

MOST_INPUTS, MOST_DETECTED = 2, 4  # columns of input images in a picture; more would make it too small to read
LEAST_GRADE = 2
"""Of a lesion that should be found, where the scores name no other; ISUP grade 2 is Gleason 3 + 4."""

_MODALITIES = ("t2w", "adc", "hbv", "dwi", "dce")
_NOT_INPUTS = {"ct", "label", "mask"}
_NOT_DETECTED = {"label", "mask", "lesion", "zones", "gland"}


def load_images(sources: Sources, name: str) -> tuple[CaseImages, list[str]]:
    """The volumes of one case on the grid of its predicted image or label map, in RAS+ order.

    Returns:
        The volumes, and notes on images that are left out because they lie on another grid.

    Raises:
        InputError: a file is damaged.
    """
    case, path = sources.cases[name], sources.predictions[name]
    role = path.name.removesuffix(".gz").removesuffix(".nii").removeprefix(f"{name}_")
    reference = to_ras(read_label(path) if sources.segments else read_volume(path))
    notes: list[str] = []

    def shown(wanted: str) -> NDArray[Any] | None:
        image = case.path(wanted)
        data = _on_grid(image, reference, label=sources.segments and wanted == role)
        if image is not None and data is None:
            notes.append(f"{wanted} is not shown: it lies on another grid than the prediction")
        return data

    unit = "HU" if not sources.segments and _in_hounsfield(sources.settings, role) else ""
    spreads = _spreads(sources, name, role, reference, unit, notes)
    most = MOST_INPUTS + sources.segments - bool(spreads)  # a label map needs no columns of its own
    roles = _input_roles(sources, case, {*_NOT_INPUTS, role})[:most]
    images = CaseImages(
        inputs={_column(wanted, case): data for wanted in roles if (data := shown(wanted)) is not None},
        prediction=reference.data[0],
        truth=shown(role),
        mask=shown(sources.roles.get("mask") or "mask"),
        spacing=reference.spacing,
        oriented=reference.has_world_position,
        unit=unit,
        affine=reference.affine,
        spreads=spreads,
    )
    return (_labelled(images, sources) if sources.segments else _without_padding(images)), notes


def _spreads(
    sources: Sources, name: str, role: str, reference: Volume, unit: str, notes: list[str]
) -> tuple[Spread, ...]:
    """The standard deviation and the width of the interval beside a prediction, or the entropy of a label map.

    A note is added on what lies on another grid.
    """
    path = sources.predictions[name]

    def beside(what: str) -> NDArray[Any] | None:
        file = find_deviations({name: path}, what).get(name)
        data = _on_grid(file, reference, label=False)
        if file is not None and data is None:
            notes.append(f"{file.name} is not shown: it lies on another grid than the prediction")
        return data

    if sources.segments:
        file = _existing(files_of(path, [role], spread=[ENTROPY]).uncertainty[ENTROPY])
        entropy, most = _on_grid(file, reference, label=False), math.log(max(2, len(sources.classes) + 1))
        return () if entropy is None else (Spread("entropy", entropy, "nats", most),)
    sd, lower, upper = (beside(what) for what in ("sd", "lower", "upper"))
    spreads = [] if sd is None else [Spread("standard deviation", sd, unit)]
    if lower is not None and upper is not None:
        share = sources.warned.coverage
        title = "width of the interval" if share is None else f"width of the {100 * share:g} % interval"
        spreads.append(Spread(title, upper - lower, unit))
    return tuple(spreads)


def _without_padding(images: CaseImages) -> CaseImages:
    """HU as they are scored: what lies below -1024 HU counts as air, so that the errors shown are those counted."""
    if images.unit != "HU":
        return images
    truth = None if images.truth is None else np.maximum(images.truth, np.float32(AIR))
    return replace(images, prediction=np.maximum(images.prediction, np.float32(AIR)), truth=truth)


def load_detected(sources: Sources, name: str) -> tuple[CaseImages, list[str]]:
    """The volumes of one case on the grid of its detection map, in RAS+ order; inputs are resampled to it.

    Returns:
        The volumes, without a target, and notes on what is left out and why.

    Raises:
        InputError: a file is damaged.
    """
    case, path = sources.cases[name], sources.detections[name]
    found = to_ras(read_volume(path))
    notes: list[str] = []
    inputs = {}
    usual = _model_inputs(path) or [role for role in _MODALITIES if role in case.images]
    for role in _input_roles(sources, case, _NOT_DETECTED, usual)[:MOST_DETECTED]:
        image, column = case.path(role), _column(role, case)
        if image is None:
            notes.append(f"the case has no {column}")
        elif (data := _resampled(to_ras(read_volume(image)), found)) is None:
            notes.append(f"{column} is not shown: its position relative to the detection map is not known")
        else:
            inputs[column] = data
    grades, least = _truth(case, sources.detection.settings if sources.detection else {}, found)
    if grades is None:
        notes.append("the true lesions are not shown: the table has none on the grid of the detection map")
    organ = _on_grid(_beside(path, "label"), found, label=True)
    if organ is None:
        organ = _on_grid(_existing(case.path(sources.roles.get("mask") or "mask")), found, label=True)
    images = CaseImages(
        inputs=inputs,
        prediction=found.data[0].astype(np.float32),
        truth=grades,
        mask=organ,
        spacing=found.spacing,
        oriented=found.has_world_position,
        unit="",
        affine=found.affine,
        least_grade=least,
    )
    return images, notes


def target_of(images: CaseImages, example: Example) -> NDArray[np.bool_]:
    """(X, Y, Z), what an example is about: its candidate, or the true lesion that was missed."""
    truth = images.lesions
    if example.kind == "miss":
        return np.zeros(images.prediction.shape, bool) if truth is None else _least_found(truth, images.prediction > 0)
    candidate = np.asarray(np.abs(images.prediction - np.float32(example.confidence)) < SAME_CONFIDENCE)
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


def _input_roles(sources: Sources, case: Case, skipped: Collection[str], usual: Sequence[str] = ()) -> list[str]:
    """The inputs of the model: by the recipe, or else ``usual``, or else the columns of the case but ``skipped``."""
    named = [str(role) for role in sources.roles.get("inputs") or usual]
    return named or [role for role in case.images if role not in skipped]


def _model_inputs(path: Path) -> list[str]:
    """The inputs of the model that predicted a file, by ``prediction.json``."""
    for folder in (path.parent, path.parent.parent):
        if (report := folder / "prediction.json").is_file():
            model = read_json(report).get("model")
            if isinstance(model, dict) and model.get("inputs"):
                return [str(role) for role in model["inputs"]]
    return []


def _column(role: str, case: Case) -> str:
    """The column that an input such as ``ge|swi`` or ``hbv?`` means for a case."""
    return next((name for name in columns_of(role) if name in case.images), role.removesuffix("?"))


def _on_grid(path: Path | None, reference: Volume, *, label: bool) -> NDArray[Any] | None:
    """(X, Y, Z) of a file; None where there is none, or where it lies on another grid."""
    if path is None:
        return None
    volume = to_ras(read_label(path) if label else read_volume(path))
    try:
        require_same_grid(volume, reference)
    except (InputError, PathError):
        return None
    data: NDArray[Any] = volume.data[0]
    return data


def _resampled(image: Volume, reference: Volume) -> NDArray[Any] | None:
    """An image on the grid of another; None where its position is not known."""
    if not (image.has_world_position and reference.has_world_position):
        return None
    return resample(image.data[0], image.affine, reference.affine, reference.shape, fill=0.0)


def _truth(case: Case, settings: Mapping[str, Any], found: Volume) -> tuple[NDArray[Any] | None, int]:
    """The reference of a case, and from which value on it is lesion; of certain values alone it is 1 there, else 0."""
    values = _on_grid(_existing(case.path(str(settings.get("role") or "lesion"))), found, label=True)
    if chosen := settings.get("lesion_values"):
        return None if values is None else np.isin(values, chosen).astype(np.uint8), 1
    return values, int(settings.get("least_grade") or LEAST_GRADE)


def _beside(path: Path, role: str) -> Path | None:
    """The file of another role, named like a detection map."""
    ending = next(ending for ending in MAP_ENDINGS if path.name.endswith(ending))
    return _existing(path.with_name(path.name.removesuffix(ending) + ending.replace("detection_map", role)))


def _existing(path: Path | None) -> Path | None:
    return path if path is not None and path.exists() else None


def _labelled(images: CaseImages, sources: Sources) -> CaseImages:
    """The label maps as class indices, with the names of the classes."""
    classes, scored = sources.classes, sources.main.settings if sources.main else {}
    prediction, truth = images.prediction, images.truth
    if classes and truth is not None:
        truth = class_indices(truth, classes)
    if classes and scored.get("group_predictions"):
        prediction = class_indices(prediction, classes)
    highest = int(max(prediction.max(), 0 if truth is None else truth.max(), 1))
    names = tuple(classes) or tuple(str(index) for index in range(1, highest + 1))
    return replace(images, prediction=prediction, truth=truth, classes=names)


def _in_hounsfield(settings: dict[str, Any], role: str) -> bool:
    """Whether the predicted image is in HU, by the recipe; without one, by its name."""
    target = (settings.get("data") or {}).get("target")
    if target is None:
        return role == "ct"
    given = (settings.get("preparation") or {}).get("intensity") or {}
    rules = (IntensityConfig.model_validate(given[name]) for name in (target, *target.split("|")) if name in given)
    return next(rules, CT_WINDOW).hounsfield
