"""All figures of a report, as PNG bytes with their captions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from medgen.report.charts import case_chart, detection_chart, score_chart, training_chart
from medgen.report.columns import Column, in_order
from medgen.report.detection import Example, Patient, choose_examples, point, read_patients
from medgen.report.drawing import Picture, png, themed
from medgen.report.health import CAPTION, health_chart
from medgen.report.images import load_detected, load_images, target_of
from medgen.report.montage import CT_WINDOW, montage
from medgen.report.slices import CaseImages
from medgen.report.sources import Sources, choose_cases
from medgen.report.uncertainty import COVERAGE, METRICS, charts_of
from medgen.types import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_PANELS = 8  # metrics in the chart of scores; the table has all
MOST_ROWS = 60  # cases in the chart of single cases; the table has all

_DETECTION_CAPTION = (
    "ROC: cases, by the highest confidence of their candidates. Precision and recall, and FROC: lesions. The dots on "
    "the FROC are the sensitivities of the table, each at no more than that many false positives a case. In brackets "
    "95 % intervals, from a bootstrap over patients."
)

Work: TypeAlias = Iterator[tuple[str, Callable[[], Picture]]]
"""Figures to draw: the name of each for the progress, and its function."""


def draw_figures(sources: Sources, *, progress: Progress | None = None) -> list[Picture]:
    """Draw all figures that the sources allow: chosen cases, the scores of the methods, the curves of the training."""
    work = [figure for maker in MAKERS for figure in maker(sources)]
    pictures: list[Picture] = []
    for done, (name, draw) in enumerate(work):
        if progress is not None:
            progress(done, len(work), name)
        pictures.append(draw())
    if progress is not None:
        progress(len(work), len(work), "done")
    return pictures


def _cases(sources: Sources) -> Work:
    for name, remark in [] if sources.detects else choose_cases(sources):
        yield f"case {name}", partial(_case_picture, sources, name, remark)


def _lesions(sources: Sources) -> Work:
    shown = {patient.case: patient for patient in read_patients(sources) if patient.case in sources.cases}
    for example in choose_examples(list(shown.values())):
        yield f"case {example.case}", partial(_lesion_picture, sources, shown[example.case], example)


def _detection(sources: Sources) -> Work:
    methods = [method for method in sources.methods if method.of_lesions]
    if methods:
        draw = partial(detection_chart, methods)
        yield "curves of the detection", partial(themed, "detection", "scores", "Curves", _DETECTION_CAPTION, draw)


def _scores(sources: Sources) -> Work:
    # Of one detection the table and the curves suffice, and one case of one method is a row of the table.
    columns = compared_columns(sources)[:MOST_PANELS]
    if columns and (len(sources.methods) > 1 or (_most_cases(sources) > 1 and not sources.detects)):
        marks = "A diamond is the score" if sources.detects else "A dot is a case, a diamond the mean"
        caption = (
            f"{marks}, the bar its 95 % interval. "
            "Arrows show the better direction; methods are ordered by the first metric, the worst on top."
        )
        heading = "Scores" if sources.detects else "Scores by case"
        draw = partial(score_chart, sources.methods, columns)
        yield "scores", partial(themed, "scores", "scores", heading, caption, draw)


def _single_cases(sources: Sources) -> Work:
    single = sources.segments and not sources.detects and _most_cases(sources) > 1
    if single and any(0 < len(method.cases) <= MOST_ROWS for method in sources.methods):
        column = Column.of(next(method.metrics[0] for method in sources.methods if method.metrics))
        caption = "A row is a case, the worst one of the main method on top. A cross is a case without a score."
        heading = f"{column.heading} of every case"
        draw = partial(case_chart, sources.methods, column, order_by=sources.main)
        yield "scores of single cases", partial(themed, "cases", "scores", heading, caption, draw)


def _uncertainty(sources: Sources) -> Work:
    for name, (heading, caption, draw) in charts_of(sources.methods).items():
        yield heading.lower(), partial(themed, name, "uncertainty", heading, caption, draw)


def _samples(sources: Sources) -> Work:
    for folder in sources.samples:
        yield from folder.pictures()


def _health(sources: Sources) -> Work:
    if sources.validations:
        draw = partial(health_chart, sources.validations)
        yield "health of the adaptation", partial(themed, "health", "health", "Signals", CAPTION, draw)


def _training(sources: Sources) -> Work:
    if not sources.curves:
        return
    kept = "the best value" if sources.segments else "the weights that were kept"
    caption = "Losses as logged (pale) and as a running mean"
    validated = any(curves.validation for stage in sources.curves.values() for curves in stage[:1])
    caption += f"; the circle marks {kept}." if validated else "; there was no validation."
    if any(len(stage) > 1 for stage in sources.curves.values()):
        caption += " Faint lines are the networks of the inner folds, whose estimates the next stage was trained on."
    draw = partial(training_chart, sources.curves)
    yield "training curves", partial(themed, "training", "training", "Training", caption, draw)


MAKERS: tuple[Callable[[Sources], Work], ...] = (
    _cases,
    _lesions,
    _detection,
    _samples,
    _scores,
    _single_cases,
    _uncertainty,
    _health,
    _training,
)
"""One for each kind of figure, in the order of the page; a maker without data yields none."""


def compared_columns(sources: Sources) -> list[Column]:
    """The metrics of any method, without those of uncertainty, which have a table of their own.

    Of segmentations without volumes and counts too, which do not rank methods.
    """
    columns = _in_order(sources, (key for method in sources.methods for key in method.metrics))
    columns = [column for column in columns if column.key not in METRICS]
    return [column for column in columns if column.better or not sources.segments]


def case_columns(sources: Sources) -> list[Column]:
    """The metrics that any method has of a single case."""
    return _in_order(sources, (key for method in sources.methods for row in method.cases.values() for key in row))


def _in_order(sources: Sources, keys: Iterable[str]) -> list[Column]:
    """The usual order; of a detection that of the file, which begins with the metrics that the challenge ranks by."""
    return [Column.of(key) for key in dict.fromkeys(keys)] if sources.detects else in_order(keys)


def _most_cases(sources: Sources) -> int:
    return max((len(method.cases) for method in sources.methods), default=0)


def _case_picture(sources: Sources, name: str, remark: str) -> Picture:
    images, notes = load_images(sources, name)
    title = " · ".join(part for part in (name, _case_scores(sources, name)) if part)
    figure = montage(images, title=title, window=CT_WINDOW if images.unit == "HU" else None)
    where = "with most of the structure" if images.classes else "through the middle of the body"
    sides = (
        f"Planes {where} in radiological convention: the patient's right (R) is "
        "on the left of the picture, anterior (A) on the left of the sagittal plane."
    )
    sentences = [_orientation(images, sides), _voxels(images)]
    if images.unit == "HU":
        low, high = (f"{value:g}".replace("-", "−") for value in CT_WINDOW)
        sentences.append(f"CT from {low} (black) to {high} HU (white).")
    if len(images.classes) > 1:
        sentences.append(f"Classes: {', '.join(images.classes)}.")
    elif images.truth is not None and not images.classes:
        inside = " inside the mask" if images.mask is not None else ""
        sentences.append(
            f"Error{inside}: red where the synthetic value is too high, blue where too low, black where right."
        )
    if images.spreads:
        shown = " and ".join(f"{each.title} ({each.unit})" if each.unit else each.title for each in images.spreads)
        sentences.append(f"{shown[0].upper()}{shown[1:]}: the brighter, the less sure.")
    heading = f"{name}, {remark}" if remark else name
    return replace(_montage_picture(f"case_{name}", heading, figure, sentences, notes), case=name)


def _lesion_picture(sources: Sources, patient: Patient, example: Example) -> Picture:
    images, notes = load_detected(sources, example.case)
    images = replace(images, target=target_of(images, example))
    figure = montage(images, title=f"{example.case} · {_lesion_scores(patient)}")
    what = "true lesion" if example.kind in {"hit", "miss"} and images.truth is not None else "candidate"
    plane, centre = images.acquired, _centre(images)
    where = f", whose centre is at {centre} mm (right, anterior, superior)" if centre else ""
    sides = f"Radiological convention: {plane.sides[0]} is on the left of the picture. {_voxels(images)}"
    sentences = [
        f"The {plane.name} slice with most of the {what}{where}, plain above and with the candidates below.",
        _orientation(images, sides),
        "Grey values are scaled to this slice, colours to confidences from 0 to 1.",
    ]
    heading = f"{example.case}: {example.remark}"
    return replace(_montage_picture(f"lesion_{example.case}", heading, figure, sentences, notes), case=example.case)


def _montage_picture(
    name: str, heading: str, figure: Figure, sentences: Sequence[str], notes: Sequence[str]
) -> Picture:
    caption = " ".join([*sentences, *(f"{note[0].upper()}{note[1:]}." for note in notes)])
    drawn = png(figure)
    return Picture(name, "case", heading, caption, drawn, drawn)


def _orientation(images: CaseImages, known: str) -> str:
    return known if images.oriented else "The file does not define left and right: the sides are unknown."


def _voxels(images: CaseImages) -> str:
    return f"Voxels of {' × '.join(f'{size:g}' for size in np.round(images.spacing, 3))} mm."


def _centre(images: CaseImages) -> str:
    """The centre of the target in mm; nothing where there is no target."""
    if images.target is None or not images.target.any():
        return ""
    voxel = np.argwhere(images.target).mean(axis=0)
    return point((images.affine[:3, :3] @ voxel + images.affine[:3, 3]).tolist())


def _case_scores(sources: Sources, name: str) -> str:
    """The first scores of a case, for the title of its picture."""
    if sources.main is None:
        return ""
    scores = sources.main.cases.get(name, {})
    wanted = ("mae", "mae_soft", "mae_bone", "psnr", "dice", "recall", "precision", "hd95", "lesion_f1", COVERAGE)
    columns = [Column.of(metric) for metric in wanted if metric in scores]
    texts = [f"{column.heading} {column.text(scores[column.key])} {column.unit}".strip() for column in columns]
    return ", ".join(texts)


def _lesion_scores(patient: Patient) -> str:
    """The result of a case, for the title of its picture."""
    score = f"patient score {patient.score:.2f}"
    if patient.findings is None:
        return f"{score}, candidates: {len(patient.lesions)}"
    lesions = sum(lesion for lesion, _, _ in patient.findings)
    wrong = sum(not lesion for lesion, _, _ in patient.findings)
    return f"{score}, lesions found: {lesions - patient.missed} of {lesions}, false positives: {wrong}"
