"""All patients of a study, the worst first: a small picture of each, and those that a page shows larger."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medgen.report.columns import Column
from medgen.report.content import MethodScores
from medgen.report.detection import read_patients
from medgen.report.images import load_detected, load_images
from medgen.report.montage import CT_WINDOW, cropped, middle
from medgen.report.overlays import CONFIDENCES, areas_of_agreement, rgb
from medgen.report.ranges import error_limit, robust_range
from medgen.report.slices import PLANES, CaseImages, fullest_slice, picture
from medgen.report.sources import Sources

MOST_CARDS = 48
"""Patients with a small picture; a larger cohort shows its worst ones."""

_HEIGHT = 116  # pixels of a small picture
_OPACITY = 0.55


class Card(NamedTuple):
    """One patient of the overview.

    Attributes:
        case: name.
        score: its first score, as text.
        picture: JPEG.
        shows: what the small pictures are, from left to right.
    """

    case: str
    score: str
    picture: bytes
    shows: str


def ordering_column(method: MethodScores | None) -> Column | None:
    """The first metric of a method that single cases have and that has a good direction."""
    if method is None:
        return None
    known = method.metrics_of_cases
    columns = (Column.of(key) for key in method.metrics if key in known)
    return next((column for column in columns if column.better), None)


def worst_first(method: MethodScores) -> list[str]:
    """The cases of a method, the worst first; those without a score last."""
    column = ordering_column(method)

    def place(name: str) -> tuple[float, str]:
        value = math.nan if column is None else method.cases[name].get(column.key, math.nan)
        return (-column.badness(value), name) if column and math.isfinite(value) else (math.inf, name)

    return sorted(method.cases, key=place)


def ranked_cases(sources: Sources) -> list[str]:
    """The predicted cases of the table, the worst first: of a detection those with misses, then false positives."""
    if sources.detects:
        patients = [patient for patient in read_patients(sources) if patient.case in sources.cases]
        wrong = {
            each.case: max((sure for lesion, sure, _ in each.findings or () if not lesion), default=0.0)
            for each in patients
        }
        return [each.case for each in sorted(patients, key=lambda each: (-each.missed, -wrong[each.case], each.case))]
    names = [name for name in sources.predictions if name in sources.cases]
    scored = worst_first(sources.main) if sources.main else []
    return [name for name in scored if name in names] + [name for name in names if name not in scored]


def load_case(sources: Sources, name: str) -> CaseImages:
    """The volumes of one case, of a detection with all that is marked as its target."""
    if not sources.detects:
        return load_images(sources, name)[0]
    images = load_detected(sources, name)[0]
    marked = images.prediction > 0
    return replace(images, target=marked if images.lesions is None else marked | images.lesions)


def make_card(sources: Sources, name: str, images: CaseImages) -> Card:
    """A card with pictures of one slice.

    Args:
        sources: scores.
        name: of the case.
        images: its volumes.
    """
    images = cropped(images)
    plane = images.acquired if images.target is not None else PLANES[0]
    index = middle(images)[plane.axis] if images.target is None else fullest_slice(images.target, plane.axis)
    panels, shows = _panels(images, plane.axis, index)
    across, down = (mm for axis, mm in enumerate(images.spacing) if axis != plane.axis)
    return Card(name, _score(sources, name), _jpeg(panels, down / across), shows)


def _panels(images: CaseImages, axis: int, index: int) -> tuple[list[NDArray[np.uint8]], str]:
    """(rows, columns, 3) of each small picture, and what they are."""

    def cut(volume: NDArray[Any]) -> NDArray[Any]:
        return picture(volume, axis, index)

    role, below = next(iter(images.inputs.items()), ("", np.zeros(images.prediction.shape)))
    first = _grey(cut(below), robust_range(below))
    shown = role.upper() or "no input"
    if images.target is not None:
        return [first, _candidates(first, cut(images.prediction))], f"{shown}; candidates"
    if images.classes:
        truth = np.zeros(images.prediction.shape) if images.truth is None else images.truth
        areas = areas_of_agreement(cut(images.prediction), cut(truth))
        return [first, _tinted(first, areas)], f"{shown}; {'prediction' if images.truth is None else 'agreement'}"
    window = CT_WINDOW if images.unit == "HU" else robust_range(images.reference)
    panels, names = [first, _grey(cut(images.prediction), window)], [shown, "synthetic"]
    if images.truth is not None:
        panels.append(_error(images, cut))
        names.append("error")
    return panels, "; ".join(names)


def _grey(values: NDArray[Any], limits: tuple[float, float]) -> NDArray[np.uint8]:
    share = np.clip((np.nan_to_num(values.astype(float)) - limits[0]) / (limits[1] - limits[0]), 0, 1)
    return np.repeat(np.rint(255 * share).astype(np.uint8)[..., None], 3, axis=-1)


def _error(images: CaseImages, cut: Any) -> NDArray[np.uint8]:
    from matplotlib import colormaps

    error = images.prediction.astype(np.float32) - images.reference
    counted = np.ones(error.shape, bool) if images.mask is None else images.mask > 0
    limit = error_limit(np.where(counted, error, np.nan))
    colours = colormaps["berlin"](0.5 + cut(error) / (2 * limit), bytes=True)[..., :3]
    return np.where(cut(counted)[..., None], colours, 0).astype(np.uint8)


def _candidates(below: NDArray[np.uint8], confidence: NDArray[Any]) -> NDArray[np.uint8]:
    from matplotlib import colormaps

    colours = colormaps[CONFIDENCES](confidence, bytes=True)[..., :3]
    mixed = (1 - _OPACITY) * below + _OPACITY * colours
    return np.where((confidence > 0)[..., None], mixed, below).astype(np.uint8)


def _tinted(below: NDArray[np.uint8], areas: Sequence[tuple[str, NDArray[np.bool_]]]) -> NDArray[np.uint8]:
    mixed = below.astype(float)
    for colour, area in areas:
        mixed[area] = (1 - _OPACITY) * mixed[area] + _OPACITY * np.array(rgb(colour))
    return mixed.astype(np.uint8)


def _jpeg(panels: Sequence[NDArray[np.uint8]], aspect: float) -> bytes:
    """Pictures side by side, each of the height of a card; ``aspect``: height of a voxel by its width."""
    from PIL import Image

    rows, columns = panels[0].shape[:2]
    width = max(1, round(_HEIGHT * columns / (rows * aspect)))
    both = Image.fromarray(np.concatenate(panels, axis=1)).resize((width * len(panels), _HEIGHT))
    buffer = BytesIO()
    both.save(buffer, format="JPEG", quality=85)
    return buffer.getvalue()


def _score(sources: Sources, name: str) -> str:
    if sources.detects:
        patient = next(each for each in read_patients(sources) if each.case == name)
        return f"patient score {patient.score:.2f}" + (f", {patient.missed} missed" if patient.missed else "")
    column = ordering_column(sources.main)
    value = sources.main.cases.get(name, {}).get(column.key) if sources.main and column else None
    return "" if column is None or value is None else f"{column.heading} {column.text(value)} {column.unit}".strip()
