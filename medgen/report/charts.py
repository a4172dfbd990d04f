"""Charts of a report: losses over training, and the scores of several methods side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medgen.report.columns import Column
from medgen.report.content import Curves, MethodScores
from medgen.report.drawing import Theme, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOG_FROM = 20.0  # a loss that spans more than this factor is shown on a logarithmic axis


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
        for number, optimizer in enumerate(optimizers):
            axes = grid[row, number]
            _losses(axes, stage, optimizer, theme)
            _style(axes, f"{readable_part(name)}: {optimizer}", theme, below=row == len(parts) - 1)
        if validated:
            axes = grid[row, -1]
            _validation(axes, stage[0], theme)
            _style(axes, f"{readable_part(name)}: validation", theme, below=row == len(parts) - 1)
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
            axes.plot(steps, smoothed(losses), color=colour, linewidth=1.7, label=_term(name))
    if values and min(values) > 0 and max(values) > _LOG_FROM * min(values):
        axes.set_yscale("log")
    if names:
        axes.legend(frameon=False, fontsize=8, labelcolor=theme.text, handlelength=1.4)


def _validation(axes: Axes, curves: Curves, theme: Theme) -> None:
    for number, (name, (steps, values)) in enumerate(curves.validation.items()):
        colour = theme.series[number % len(theme.series)]
        column = Column.of(name)
        axes.plot(steps, values, "o-", color=colour, linewidth=1.7, markersize=3.5, label=column.titled)
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
        axes.legend(frameon=False, fontsize=8, labelcolor=theme.text, handlelength=1.4)


def smoothed(values: NDArray[np.float64], share: float = 0.04) -> NDArray[np.float64]:
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


def score_chart(methods: Sequence[MethodScores], columns: Sequence[Column], theme: Theme) -> Figure:
    """Every case of every method as a dot, with the mean and its 95 % interval beside them.

    Args:
        methods: in the order of the table.
        columns: the metrics to show, one panel each.
        theme: colours.
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
        axes.set_yticks(range(len(methods)), [method.label for method in methods])
        axes.set_ylim(len(methods) - 0.45, -0.55)
        _style(axes, f"{column.titled}  {column.arrow}".strip(), theme, below=False)
        axes.grid(axis="y", visible=False)
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
        axes.plot(values[known], rows[known], "o", color=colour, markersize=5.5, label=method.label, alpha=0.85)
        absent = np.full((~known).sum(), 0.012)
        axes.plot(absent, rows[~known], "x", color=colour, markersize=5, transform=axes.get_yaxis_transform())
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    _style(axes, f"{column.titled}  {column.arrow}".strip(), theme, below=False)
    if column.better == "higher" and not column.unit:
        axes.set_xlim(-0.03, 1.03)
    if len(methods) > 1:
        axes.legend(frameon=False, fontsize=8, labelcolor=theme.text, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.tight_layout(pad=0.9)
    return figure


def _style(axes: Axes, title: str, theme: Theme, *, below: bool) -> None:
    axes.set_facecolor(theme.background)
    axes.set_title(title, fontsize=9.5, color=theme.text, loc="left")
    axes.tick_params(colors=theme.quiet, labelsize=8, length=0)
    for label in axes.get_yticklabels():
        label.set_color(theme.text)
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(theme.quiet)
    axes.grid(color=theme.grid, linewidth=0.7)
    axes.set_axisbelow(True)
    if below:
        axes.set_xlabel("step", fontsize=8, color=theme.quiet)


def _term(name: str) -> str:
    return name.split("/", 1)[-1].replace("_", " ")
