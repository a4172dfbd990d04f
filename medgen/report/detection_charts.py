"""Charts of a detection: ROC of the cases, precision and recall of the lesions, FROC with its operating points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medgen.errors import InputError
from medgen.metrics.detection import FALSE_POSITIVES, sensitivity_name
from medgen.report.columns import Column
from medgen.report.content import MethodScores
from medgen.report.drawing import Theme, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTION = (
    "ROC: cases, by the confidence of their surest candidate. Precision and recall, and FROC: lesions. The dots on the "
    "FROC are the sensitivities of the table, at no more than so many false positives a case. In brackets 95 % "
    "intervals, patients being drawn again."
)


_FAR = 10.0  # false positives a case beyond the end of the axis


class _Panel(NamedTuple):
    curve: str
    across: str
    up: str
    title: str
    horizontal: str
    vertical: str
    number: str
    steps: str


_PANELS = (
    _Panel(
        "roc", "false_positive_rate", "sensitivity", "ROC", "1 − specificity, cases", "sensitivity, cases", "auroc", ""
    ),
    # The area that average precision sums: between two recalls the precision of the higher one holds.
    _Panel(
        "precision_recall",
        "recall",
        "precision",
        "Precision and recall",
        "recall, lesions",
        "precision, candidates",
        "ap",
        "steps-pre",
    ),
    _Panel(
        "froc",
        "false_positives",
        "sensitivity",
        "FROC",
        "false positives a case",
        "sensitivity, lesions",
        sensitivity_name(1.0),
        "steps-post",
    ),
)


def detection_chart(methods: Sequence[MethodScores], theme: Theme) -> Figure:
    """Three panels with a curve for each method.

    Args:
        methods: with the curves that ``medgen evaluate detection`` stores.
        theme: colours.

    Raises:
        InputError: the curves are damaged.
    """
    figure = new_figure(10.6, 3.6 + 0.17 * len(methods), background=theme.background)
    for axes, panel in zip(figure.subplots(1, len(_PANELS)), _PANELS, strict=True):
        _frame(axes, panel, theme)
        for number, method in enumerate(methods):
            _curve(axes, panel, method, theme.series[number % len(theme.series)], several=len(methods) > 1)
        axes.legend(
            frameon=False,
            fontsize=8,
            labelcolor=theme.text,
            handlelength=1.3,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.2),
        )
    figure.tight_layout(pad=0.9, w_pad=1.8)
    return figure


def _frame(axes: Axes, panel: _Panel, theme: Theme) -> None:
    axes.set_facecolor(theme.background)
    axes.set_title(panel.title, fontsize=9.5, color=theme.text, loc="left")
    axes.set_xlabel(panel.horizontal, fontsize=8.5, color=theme.quiet)
    axes.set_ylabel(panel.vertical, fontsize=8.5, color=theme.quiet)
    axes.tick_params(colors=theme.quiet, labelsize=8, length=0)
    for name, spine in axes.spines.items():
        spine.set_visible(name in {"bottom", "left"})
        spine.set_color(theme.quiet)
    axes.grid(color=theme.grid, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.04)
    if panel.curve == "roc":
        axes.plot([0, 1], [0, 1], color=theme.quiet, linewidth=0.8, linestyle=":")
    if panel.curve == "froc":
        # A logarithmic axis has no 0, where the curve begins.
        axes.set_xscale("symlog", linthresh=FALSE_POSITIVES[0], linscale=0.5)
        axes.set_xticks([0.0, *FALSE_POSITIVES], ["0", *(f"{rate:g}" for rate in FALSE_POSITIVES)])
        axes.xaxis.minorticks_off()
        axes.set_xlim(-0.01, 2.3)


def _curve(axes: Axes, panel: _Panel, method: MethodScores, colour: str, *, several: bool) -> None:
    across, up = _points(method, panel.curve, panel.across), _points(method, panel.curve, panel.up)
    if across.shape != up.shape:
        raise _damaged(method, f"the two axes of {panel.curve} differ in length")
    if panel.curve == "froc" and across.size:
        across, up = np.append(across, across[-1] + _FAR), np.append(up, up[-1])  # further down, nothing more is found
    style = panel.steps or "default"
    label = f"{method.label}, {_value(method, panel.number)}" if several else _value(method, panel.number)
    axes.plot(across, up, color=colour, linewidth=1.8, drawstyle=style, label=label, clip_on=True)
    if panel.curve == "froc":
        rates = [rate for rate in FALSE_POSITIVES if sensitivity_name(rate) in method.summary]
        heights = [_mean(method, sensitivity_name(rate)) for rate in rates]
        axes.plot(rates, heights, "o", color=colour, markersize=5)


def _points(method: MethodScores, curve: str, axis: str) -> NDArray[np.float64]:
    try:
        values = method.details["curves"][curve][axis]
        return np.array([math.nan if value is None else float(value) for value in values], dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(method, f"{type(error).__name__}: {error}") from None


def _damaged(method: MethodScores, problem: str) -> InputError:
    return InputError(
        f"the scores '{method.name}' hold no curves ({problem})",
        fix="write them again with 'medgen evaluate detection'",
    )


def _mean(method: MethodScores, key: str) -> float:
    mean = method.summary[key].mean
    return math.nan if mean is None else mean


def _value(method: MethodScores, key: str) -> str:
    """A number with its name and interval, for a legend."""
    column, summary = Column.of(key), method.summary.get(key)
    if summary is None or summary.mean is None:
        return f"{column.heading}: not applicable"
    low_high = f" [{column.text(summary.interval[0])}, {column.text(summary.interval[1])}]" if summary.interval else ""
    return f"{column.heading}: {column.text(summary.mean)}{low_high}"
