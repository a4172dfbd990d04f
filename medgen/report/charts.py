"""Charts of a report: losses over training, scores of several methods side by side, curves of a detection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from medgen.metrics.detection import FALSE_POSITIVES, sensitivity_name
from medgen.names import literal
from medgen.report.columns import Column
from medgen.report.content import Curves, MethodScores
from medgen.report.details import PANELS, curve
from medgen.report.drawing import Theme, draw_curve, draw_legend, new_figure, style_axes
from medgen.types import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOG_FROM = 20.0  # a loss that spans more than this factor is shown on a logarithmic axis
_AT_ONE = sensitivity_name(1.0)
_FAR = 10.0  # false positives a case beyond the end of the axis


class _Panel(NamedTuple):
    """One chart of a detection: the key of its curve, the name of each axis, and the metric it shows."""

    curve: str
    title: str
    across: str
    up: str
    metric: str


_ROC = _Panel("roc", "ROC", "1 − specificity, cases", "sensitivity, cases", "auroc")
_PRECISION = _Panel("precision_recall", "Precision and recall", "recall, lesions", "precision, candidates", "ap")
_FROC = _Panel("froc", "FROC", "false positives a case", "sensitivity, lesions", _AT_ONE)
# The area that average precision sums: between two recalls the precision of the higher one holds.
_JOINED = {"precision_recall": "steps-pre", "froc": "steps-post"}


def training_chart(parts: Mapping[str, Sequence[Curves]], theme: Theme) -> Figure:
    """Losses and validation over the steps: a row for each stage, a column for each optimiser.

    Args:
        parts: by stage its own curves, then those of its inner folds, which are drawn faint.
        theme: colours.
    """
    optimizers = list(dict.fromkeys(name for stage in parts.values() for name in stage[0].optimizers))
    validated = any(stage[0].validation for stage in parts.values())
    columns = len(optimizers) + validated
    figure = new_figure(3.7 * columns + 0.3, 2.45 * len(parts) + 0.35, background=theme.background)
    grid = figure.subplots(len(parts), columns, squeeze=False)
    for row, (name, stage) in enumerate(parts.items()):
        across = "step" if row == len(parts) - 1 else ""
        for number, optimizer in enumerate(optimizers):
            axes = grid[row, number]
            _losses(axes, stage, optimizer, theme)
            style_axes(axes, f"{readable_part(name)}: {optimizer}", theme, across)
        if validated:
            axes = grid[row, -1]
            _validation(axes, stage[0], theme)
            style_axes(axes, f"{readable_part(name)}: validation", theme, across)
    for axes in grid.flat:
        axes.tick_params(axis="y", labelcolor=theme.text)
    figure.tight_layout(pad=0.9, w_pad=1.6, h_pad=1.2)
    return figure


def readable_part(name: str) -> str:
    """``stage0`` as a person counts.

    >>> readable_part("stage0")
    'stage 1'
    """
    head = name.rstrip("0123456789")
    return f"{head} {int(name[len(head) :]) + 1}" if head != name else name


def _losses(axes: Axes, stage: Sequence[Curves], optimizer: str, theme: Theme) -> None:
    names = [name for name in stage[0].losses if name.split("/")[0] == optimizer]
    values: list[float] = []
    for number, name in enumerate(names):
        colour = theme.series[number % len(theme.series)]
        for position, curves in enumerate(stage):
            if name not in curves.losses:
                continue
            steps, losses = curves.losses[name]
            values += [value for value in losses if np.isfinite(value)]
            if position:
                axes.plot(steps, smoothed(losses), color=colour, alpha=0.3, linewidth=0.9)
                continue
            axes.plot(steps, losses, color=colour, alpha=0.22, linewidth=0.8)
            draw_curve(axes, steps, smoothed(losses), colour, label=_term(name), dots=False)
    if values and min(values) > 0 and max(values) > _LOG_FROM * min(values):
        axes.set_yscale("log")
    if names:
        draw_legend(axes, theme)


def _validation(axes: Axes, curves: Curves, theme: Theme) -> None:
    for number, (name, (steps, values)) in enumerate(curves.validation.items()):
        colour = theme.series[number % len(theme.series)]
        column = Column.of(name)
        draw_curve(axes, steps, values, colour, label=column.titled)
        if number == 0 and np.isfinite(values).any():
            best = int(np.nanargmin([column.badness(value) if column.better else value for value in values]))
            axes.plot(steps[best], values[best], "o", color=colour, markersize=8, fillstyle="none")
            axes.annotate(
                f"best {column.text(values[best])}",
                (steps[best], values[best]),
                xytext=(0, 9),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=theme.text,
            )
    if curves.validation:
        axes.margins(y=0.2)
        draw_legend(axes, theme)


def smoothed(values: Floats, share: float = 0.04) -> Floats:
    """Running mean of the finite values over ``share`` of the curve; the window is cut at both ends.

    >>> smoothed(np.array([0.0, 3.0, 0.0]), share=1.0).tolist()
    [1.5, 1.0, 1.5]
    """
    half = round(share * len(values)) // 2
    if half == 0:
        return values
    finite = np.isfinite(values)
    total = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    count = np.concatenate([[0], np.cumsum(finite)])
    position = np.arange(len(values))
    low, high = np.maximum(position - half, 0), np.minimum(position + half + 1, len(values))
    number = count[high] - count[low]
    with np.errstate(invalid="ignore"):
        return np.asarray((total[high] - total[low]) / np.where(number > 0, number, np.nan))


def score_chart(
    methods: Sequence[MethodScores],
    columns: Sequence[Column],
    theme: Theme,
    *,
    marks: Mapping[str, float] = MappingProxyType({}),
) -> Figure:
    """Every case of every method as a dot, with the mean and its 95 % interval beside them.

    Args:
        methods: in the order of the table.
        columns: the metrics to show, one panel each.
        theme: colours.
        marks: by metric, a value to compare with, a dotted line.
    """
    across = min(4, len(columns))
    down = -(-len(columns) // across)
    height = 0.42 * len(methods) + 0.95
    figure = new_figure(2.55 * across + 1.5, height * down, background=theme.background)
    grid = figure.subplots(down, across, squeeze=False, sharey=True)
    for axes in grid.flat[len(columns) :]:
        axes.set_visible(False)
    for axes, column in zip(grid.flat, columns, strict=False):
        for row, method in enumerate(methods):
            _dots(axes, method, column, row, theme)
        if column.key in marks:
            axes.axvline(marks[column.key], color=theme.text, linewidth=1.1, linestyle=":")
        axes.set_yticks(range(len(methods)), [literal(method.label) for method in methods])
        axes.set_ylim(len(methods) - 0.45, -0.55)
        style_axes(axes, f"{column.titled}  {column.arrow}".strip(), theme)
        axes.tick_params(axis="y", labelcolor=theme.text)
        axes.grid(axis="y", visible=False)
    marked = [axes for axes, column in zip(grid.flat, columns, strict=False) if column.key in marks]
    for axes in marked:  # on one scale
        axes.set_xlim(min(each.get_xlim()[0] for each in marked), max(each.get_xlim()[1] for each in marked))
    figure.tight_layout(pad=0.9, w_pad=1.4)
    return figure


def _dots(axes: Axes, method: MethodScores, column: Column, row: int, theme: Theme) -> None:
    values = np.array([case.get(column.key, np.nan) for case in method.cases.values()], dtype=float)
    values = values[np.isfinite(values)]
    colour = theme.series[row % len(theme.series)]
    offsets = np.linspace(-0.14, 0.14, len(values)) if len(values) > 1 else np.zeros(len(values))
    axes.plot(values, row + 0.1 + offsets, "o", color=colour, alpha=0.55, markersize=3.6, markeredgewidth=0)
    summary = method.summary.get(column.key)
    if summary is None or summary.mean is None:
        return
    if summary.interval is not None:
        axes.plot(summary.interval, [row - 0.24] * 2, color=colour, linewidth=2.2, solid_capstyle="butt")
    axes.plot(summary.mean, row - 0.24, "D", color=colour, markersize=5)


def case_chart(
    methods: Sequence[MethodScores], column: Column, theme: Theme, *, order_by: MethodScores | None
) -> Figure:
    """One metric of every case, with its name: a row for each case, a dot for each method.

    Args:
        methods: in the order of the table.
        column: the metric.
        theme: colours.
        order_by: the method by which the cases are ordered, the worst on top; None keeps the order of the first one.
    """
    names = list(dict.fromkeys(name for method in methods for name in method.cases))

    def badness(name: str) -> float:
        value = order_by.cases.get(name, {}).get(column.key, np.nan) if order_by else np.nan
        return column.badness(value) if np.isfinite(value) else np.inf

    names.sort(key=badness, reverse=True)
    figure = new_figure(7.4, 0.21 * len(names) + 0.95, background=theme.background)
    axes = figure.subplots()
    for number, method in enumerate(methods):
        values = np.array([method.cases.get(name, {}).get(column.key, np.nan) for name in names], dtype=float)
        rows, known = np.arange(len(names)), np.isfinite(values)
        colour = theme.series[number % len(theme.series)]
        label = literal(method.label)
        axes.plot(values[known], rows[known], "o", color=colour, markersize=5.5, label=label, alpha=0.85)
        absent = np.full((~known).sum(), 0.012)
        axes.plot(absent, rows[~known], "x", color=colour, markersize=5, transform=axes.get_yaxis_transform())
    axes.set_yticks(range(len(names)), [literal(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    style_axes(axes, f"{column.titled}  {column.arrow}".strip(), theme)
    axes.tick_params(axis="y", labelcolor=theme.text)
    if column.better == "higher" and not column.unit:
        axes.set_xlim(-0.03, 1.03)
    if len(methods) > 1:
        draw_legend(axes, theme, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.tight_layout(pad=0.9)
    return figure


def detection_chart(methods: Sequence[MethodScores], theme: Theme) -> Figure:
    """ROC, precision and recall, and FROC with its operating points: a curve for each method.

    Args:
        methods: with the curves that ``medgen evaluate detection`` stores.
        theme: colours.
    """
    panels = (_ROC, _PRECISION, _FROC)
    figure = new_figure(10.6, 3.6 + 0.17 * len(methods), background=theme.background)
    for axes, panel in zip(figure.subplots(1, len(panels)), panels, strict=True):
        style_axes(axes, panel.title, theme, panel.across, panel.up)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.04)
        if panel is _ROC:
            axes.plot([0, 1], [0, 1], color=theme.quiet, linewidth=0.8, linestyle=":")
        if panel is _FROC:
            # A logarithmic axis has no 0, where the curve begins.
            axes.set_xscale("symlog", linthresh=FALSE_POSITIVES[0], linscale=0.5)
            axes.set_xticks([0.0, *FALSE_POSITIVES], ["0", *(f"{rate:g}" for rate in FALSE_POSITIVES)])
            axes.xaxis.minorticks_off()
            axes.set_xlim(-0.01, 2.3)
        for number, method in enumerate(methods):
            colour = theme.series[number % len(theme.series)]
            name = f"{method.label}, " if len(methods) > 1 else ""
            _detection_curve(axes, panel, method, colour, label=name + _with_interval(method, panel.metric))
        draw_legend(axes, theme, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    figure.tight_layout(pad=0.9, w_pad=1.8)
    return figure


def _detection_curve(axes: Axes, panel: _Panel, method: MethodScores, colour: str, *, label: str) -> None:
    across, up = (curve(method.details, "curves", panel.curve, key) for key in PANELS[panel.curve])
    if panel is _FROC and across.size:
        across, up = np.append(across, across[-1] + _FAR), np.append(up, up[-1])  # further down, nothing more is found
    draw_curve(axes, across, up, colour, label=label, dots=False, steps=_JOINED.get(panel.curve, "default"))
    if panel is _FROC:
        rates = [rate for rate in FALSE_POSITIVES if sensitivity_name(rate) in method.summary]
        means = np.array([method.summary[sensitivity_name(rate)].mean for rate in rates], dtype=float)  # None is NaN
        axes.plot(rates, means, "o", color=colour, markersize=5)


def _with_interval(method: MethodScores, metric: str) -> str:
    """A metric with its name and interval, for a legend."""
    column, summary = Column.of(metric), method.summary.get(metric)
    if summary is None or summary.mean is None:
        return f"{column.heading}: not applicable"
    interval = f" [{column.interval(summary.interval, ', ')}]" if summary.interval else ""
    return f"{column.heading}: {column.text(summary.mean)}{interval}"


def _term(name: str) -> str:
    return name.split("/", 1)[-1].replace("_", " ")
