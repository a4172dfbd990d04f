"""All figures of a report, as PNG bytes with their captions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from medgen.report.charts import case_chart, score_chart, training_chart
from medgen.report.columns import Column, in_order
from medgen.report.detection_figures import curves_picture, detection_pictures
from medgen.report.drawing import Picture, png, themed
from medgen.report.health import CAPTION, health_chart
from medgen.report.montage import CT_WINDOW, montage
from medgen.report.sources import Sources, choose_cases, load_images
from medgen.types import Progress

MOST_PANELS = 8  # metrics in the chart of scores; the table has all
MOST_ROWS = 60  # cases in the chart of single cases; the table has all


def draw_figures(sources: Sources, *, progress: Progress | None = None) -> list[Picture]:
    """Draw what there is to draw: chosen cases, the scores of the methods, the curves of the training."""
    work = list(_work(sources))
    pictures: list[Picture] = []
    for done, (what, draw) in enumerate(work):
        if progress is not None:
            progress(done, len(work), what)
        pictures.append(draw())
    if progress is not None:
        progress(len(work), len(work), "done")
    return pictures


def _work(sources: Sources) -> Iterator[tuple[str, Callable[[], Picture]]]:
    """What is to be drawn, in words, and how."""
    for name, remark in [] if sources.detects else choose_cases(sources):
        yield f"case {name}", partial(_case_picture, sources, name, remark)
    yield from detection_pictures(sources)
    if sources.detection:
        yield "curves of the detection", partial(curves_picture, sources)
    most = max((len(method.cases) for method in sources.methods), default=0)
    # Of one detection the table and the curves say it all, and one case of one method is a row of the table.
    if len(sources.methods) > 1 or (most > 1 and not sources.detects):
        yield "scores", partial(_scores_picture, sources)
    single = sources.segments and not sources.detects and most > 1
    if single and any(0 < len(method.cases) <= MOST_ROWS for method in sources.methods):
        yield "scores of single cases", partial(_cases_picture, sources)
    if sources.looks:
        yield "health of the adaptation", partial(_health_picture, sources)
    if sources.curves:
        yield "training curves", partial(_training_picture, sources)


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
    marks = "A diamond is the number" if sources.detects else "A dot is a case, a diamond the mean"
    caption = (
        f"{marks}, the bar its 95 % interval. "
        "Arrows point to the good side; methods are ordered by the first metric, the worst on top."
    )
    heading = "Scores" if sources.detects else "Scores by case"
    return themed("scores", "scores", heading, caption, lambda theme: score_chart(methods, columns, theme))


def _health_picture(sources: Sources) -> Picture:
    return themed("health", "health", "Signals", CAPTION, lambda theme: health_chart(sources.looks, theme))


def _cases_picture(sources: Sources) -> Picture:
    column = Column.of(next(method.metrics[0] for method in sources.methods if method.metrics))
    caption = "A row is a case, the one that is worst by the main method on top. A cross is a case without a score."
    return themed(
        "cases",
        "scores",
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
    return themed("training", "training", "Training", caption, lambda theme: training_chart(sources.curves, theme))


def shared_columns(sources: Sources) -> list[Column]:
    """The metrics that any method has over all cases."""
    return _in_order(sources, (key for method in sources.methods for key in method.metrics))


def case_columns(sources: Sources) -> list[Column]:
    """The metrics that any method has of a single case."""
    return _in_order(sources, (key for method in sources.methods for row in method.cases.values() for key in row))


def _in_order(sources: Sources, keys: Iterable[str]) -> list[Column]:
    """The usual order; of a detection that of the file, which begins with what the challenge ranks by."""
    return [Column.of(key) for key in dict.fromkeys(keys)] if sources.detects else in_order(keys)


def judged_columns(sources: Sources) -> list[Column]:
    """These, of segmentations without volumes and counts, which describe a case and judge no method."""
    return [column for column in shared_columns(sources) if column.better or not sources.segments]
