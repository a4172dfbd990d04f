"""All figures of a report, as PNG bytes with their captions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medgen.report.charts import case_chart, score_chart, training_chart
from medgen.report.columns import Column, in_order
from medgen.report.drawing import DARK, LIGHT, Theme, png
from medgen.report.health import CAPTION, health_chart
from medgen.report.montage import CT_WINDOW, montage
from medgen.report.sources import Sources, choose_cases, load_images

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Progress = Callable[[int, int, str], None]
MOST_PANELS = 8  # metrics in the chart of scores; the table has all
MOST_ROWS = 60  # cases in the chart of single cases; the table has all


@dataclass(frozen=True)
class Picture:
    """One figure.

    Args:
        name: of its file, without suffix.
        kind: "case", "scores", "health" or "training".
        heading: a short title.
        caption: what is seen, with orientation and units.
        light: PNG for a light page.
        dark: PNG for a dark page; the same where the picture is dark anyway.
    """

    name: str
    kind: str
    heading: str
    caption: str
    light: bytes
    dark: bytes


def draw_figures(sources: Sources, *, progress: Progress | None = None) -> list[Picture]:
    """Draw what there is to draw: chosen cases, the scores of the methods, the curves of the training."""
    chosen = choose_cases(sources)
    most = max((len(method.cases) for method in sources.methods), default=0)
    several = most > 1 or len(sources.methods) > 1  # one case of one method is a row of the table and no chart
    single = sources.segments and most > 1 and any(0 < len(method.cases) <= MOST_ROWS for method in sources.methods)
    total = len(chosen) + several + single + bool(sources.curves) + bool(sources.looks)
    pictures: list[Picture] = []

    def report(what: str) -> None:
        if progress is not None:
            progress(len(pictures), total, what)

    for name, remark in chosen:
        report(f"case {name}")
        pictures.append(_case_picture(sources, name, remark))
    if several:
        report("scores")
        pictures.append(_scores_picture(sources))
    if single:
        report("scores of single cases")
        pictures.append(_cases_picture(sources))
    if sources.looks:
        report("health of the adaptation")
        pictures.append(_themed("health", "Signals", CAPTION, lambda theme: health_chart(sources.looks, theme)))
    if sources.curves:
        report("training curves")
        pictures.append(_training_picture(sources))
    report("done")
    return pictures


def _case_picture(sources: Sources, name: str, remark: str) -> Picture:
    images, notes = load_images(sources, name)
    score = _case_scores(sources, name)
    window = CT_WINDOW if images.unit == "HU" else None
    drawn = png(montage(images, title=" · ".join(part for part in (name, score) if part), window=window))
    spacing = " × ".join(f"{size:g}" for size in images.spacing)
    where = "with most of the structure" if images.classes else "through the middle of the body"
    sentences = [
        f"Planes {where} in radiological convention: the patient's right (R) is "
        "on the left of the picture, anterior (A) on the left of the sagittal plane."
        if images.oriented
        else "The file does not say which side is left: the sides are unknown.",
        f"Voxels of {spacing} mm.",
    ]
    if images.unit == "HU":
        low, high = (f"{value:g}".replace("-", "−") for value in CT_WINDOW)
        sentences.append(f"CT from {low} (black) to {high} HU (white).")
    if images.classes:
        sentences.append(f"Classes: {', '.join(images.classes)}." if len(images.classes) > 1 else "")
    elif images.truth is not None:
        inside = " inside the mask" if images.mask is not None else ""
        sentences.append(
            f"Error{inside}: red where the synthetic value is too high, blue where too low, black where right."
        )
    caption = " ".join([*filter(None, sentences), *(f"{note[0].upper()}{note[1:]}." for note in notes)])
    heading = f"{name}, {remark}" if remark else name
    return Picture(f"case_{name}", "case", heading, caption, drawn, drawn)


def _case_scores(sources: Sources, name: str) -> str:
    """The first scores of a case in words, for the title of its picture."""
    if sources.main is None:
        return ""
    scores = sources.main.cases.get(name, {})
    wanted = ("mae", "mae_soft", "mae_bone", "psnr", "dice", "recall", "precision", "hd95", "lesion_f1")
    columns = [Column.of(metric) for metric in wanted if metric in scores]
    texts = [f"{column.heading} {column.text(scores[column.key])} {column.unit}".strip() for column in columns]
    return ", ".join(texts)


def _scores_picture(sources: Sources) -> Picture:
    methods = sources.methods
    columns = judged_columns(sources)[:MOST_PANELS]
    caption = (
        "A dot is a case, a diamond the mean, the bar its 95 % interval. "
        "Arrows point to the good side; methods are ordered by the first metric, the worst on top."
    )
    return _themed("scores", "Scores by case", caption, lambda theme: score_chart(methods, columns, theme))


def _cases_picture(sources: Sources) -> Picture:
    column = Column.of(next(method.metrics[0] for method in sources.methods if method.metrics))
    caption = "A row is a case, the one that is worst by the main method on top. A cross is a case without a score."
    return _themed(
        "cases",
        f"{column.heading} of every case",
        caption,
        lambda theme: case_chart(sources.methods, column, theme, order_by=sources.main),
    )


def _training_picture(sources: Sources) -> Picture:
    kept = "the best value" if sources.segments else "the weights that were kept"
    caption = "Losses as logged (pale) and as a running mean"
    validated = any(curves.validation for stage in sources.curves.values() for curves in stage[:1])
    caption += f"; the circle marks {kept}." if validated else "; no case was held out to validate on."
    if any(len(stage) > 1 for stage in sources.curves.values()):
        caption += " Faint lines are the networks of the inner folds, whose estimates the next stage was trained on."
    return _themed("training", "Training", caption, lambda theme: training_chart(sources.curves, theme))


def _themed(kind: str, heading: str, caption: str, draw: Callable[[Theme], Figure]) -> Picture:
    return Picture(kind, "scores" if kind == "cases" else kind, heading, caption, png(draw(LIGHT)), png(draw(DARK)))


def shared_columns(sources: Sources) -> list[Column]:
    """The metrics that any method has."""
    return in_order(key for method in sources.methods for key in method.metrics)


def judged_columns(sources: Sources) -> list[Column]:
    """These, of segmentations without volumes and counts, which describe a case and judge no method."""
    return [column for column in shared_columns(sources) if column.better or not sources.segments]
