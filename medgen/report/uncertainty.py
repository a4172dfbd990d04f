"""How sure a method is, and whether rightly: coverage and width of its intervals, and the curves of its deviations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from medgen.metrics import intervals, uncertainty
from medgen.report.columns import Column
from medgen.report.content import MethodScores
from medgen.report.details import TISSUES, curve
from medgen.report.drawing import Theme, draw_curve, draw_legend, new_figure, style_axes
from medgen.report.runs import scored_by

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRICS = frozenset({**uncertainty.SCORE, **uncertainty.UNITS, **intervals.UNITS})
"""Scores of images that have a place of their own in a report, apart from those of the values."""
COVERAGE, WIDTH = "interval_coverage", "interval_width"
SHOWN = tuple(map(Column.of, (COVERAGE, WIDTH, "coverage", "ause", "sd_error_correlation", "mean_sd")))
"""The columns that the table can have."""


class Region(NamedTuple):
    """One row of the table: a method in all voxels, or in the voxels of one tissue of the true image."""

    method: MethodScores
    name: str
    nominal: str
    columns: Sequence[Column]


def measures(methods: Sequence[MethodScores]) -> list[Column]:
    """The columns of the table: those of :data:`SHOWN` that a method has a score of, in any voxels."""
    known = {key for method in methods for key in method.summary}
    return [column for column in SHOWN if known & {_key(column, tissue) for tissue in TISSUES}]


def _key(column: Column, tissue: str) -> str:
    """The name of a metric in the voxels of one tissue."""
    return column.key if tissue == "all" else f"{column.key}_{tissue}"


def nominal_of(method: MethodScores) -> float | None:
    """The share of the voxels that its intervals should hold; None where the scores do not say it."""
    share = _interval(method).get("coverage")
    return float(share) if isinstance(share, int | float) else None


def _interval(method: MethodScores) -> Mapping[str, Any]:
    found = scored_by(method).get("interval")
    return found if isinstance(found, Mapping) else {}


def with_uncertainty(methods: Sequence[MethodScores]) -> list[MethodScores]:
    """The methods whose standard deviations or intervals were scored."""
    return [method for method in methods if METRICS & set(method.summary)]


def regions(methods: Sequence[MethodScores]) -> list[Region]:
    """The rows of the table: of each method all voxels, then each tissue."""
    rows, columns = [], measures(methods)
    for method in with_uncertainty(methods):
        nominal, plain = nominal_of(method), "" if _interval(method).get("calibrated") else ", not calibrated"
        for tissue, name in TISSUES.items():
            keys = [_key(column, tissue) for column in columns]
            if any(key in method.summary for key in keys):
                known = nominal is not None and _key(SHOWN[0], tissue) in method.summary
                text = SHOWN[0].text(nominal) + plain if known else "–"
                rows.append(Region(method, name, text, [Column.of(key) for key in keys]))
    return rows


def interval_columns(methods: Sequence[MethodScores]) -> list[Column]:
    """Coverage and width in all voxels and by tissue, as far as a method has them."""
    keys = [key for key in intervals.UNITS if any(key in method.summary for method in methods)]
    return [Column.of(key) for key in keys]


def having_curve(methods: Sequence[MethodScores], name: str) -> list[MethodScores]:
    """The methods whose scores have the curve ``sparsification`` or ``accept_reject`` with two points or more.

    Of the sparsification in one of the known tissues: a case without an error has no curve at all.
    """
    across = {"sparsification": "removed", "accept_reject": "accepted"}[name]
    found = [method for method in methods if name in method.details and len(curve(method.details, name, across)) > 1]
    return [method for method in found if name == "accept_reject" or TISSUES.keys() & method.details[name].keys()]


def sparsification_chart(methods: Sequence[MethodScores], theme: Theme) -> Figure:
    """The error of the voxels that are left, by tissue: a curve for each method, dashed if removed by the error itself.

    Args:
        methods: with the curves that ``medgen evaluate synthesis`` stores.
        theme: colours.
    """
    curves = {name for method in methods for name in method.details["sparsification"]}
    tissues = {key: name for key, name in TISSUES.items() if key in curves}
    figure = new_figure(2.75 * max(2, len(tissues)) + 0.4, 2.9, background=theme.background)
    grid = figure.subplots(1, len(tissues), squeeze=False, sharey=True)[0]
    for axes, (tissue, name) in zip(grid, tissues.items(), strict=True):
        up = "error left, of that of all" if axes is grid[0] else ""
        style_axes(axes, name[0].upper() + name[1:], theme, "share of voxels removed", up)
        for number, method in enumerate(methods):
            if tissue not in method.details["sparsification"]:
                continue
            colour = theme.series[number % len(theme.series)]
            removed = curve(method.details, "sparsification", "removed")
            for key, label, style in (("error", method.label, "solid"), ("oracle", "by the true error", "dashed")):
                left = curve(method.details, "sparsification", tissue, key)
                draw_curve(axes, removed, left, colour, label=label, dots=False, style=style)
    grid[0].set_ylim(bottom=0)  # of all, since they share the axis
    draw_legend(grid[0], theme)
    figure.tight_layout(pad=0.9, w_pad=1.2)
    return figure


def accept_reject_chart(methods: Sequence[MethodScores], theme: Theme) -> Figure:
    """The mean error of the accepted cases against their share, and that of all cases: a curve for each method.

    A vertical line is at the share that the gate of ``predict`` accepted, where it gave verdicts.

    Args:
        methods: with the curves that ``medgen evaluate synthesis`` stores.
        theme: colours.
    """
    figure = new_figure(11.0, 3.0, background=theme.background)
    axes = figure.subplots()
    style_axes(axes, "", theme, "share of cases accepted, the surest first", Column.of("mae").titled)
    for number, method in enumerate(methods):
        colour = theme.series[number % len(theme.series)]
        accepted, error = (curve(method.details, "accept_reject", key) for key in ("accepted", "mae"))
        draw_curve(axes, accepted, error, colour, label=method.label)
        axes.axhline(error[-1], color=colour, linewidth=0.8, linestyle=":")
        if (share := _accepted(method)) is not None:
            axes.axvline(share, color=colour, linewidth=1.1, linestyle="--")
    axes.set_xlim(0, 1.03)
    draw_legend(axes, theme)
    figure.tight_layout(pad=0.9)
    return figure


def reliability_chart(methods: Sequence[MethodScores], theme: Theme) -> Figure:
    """The frequency of a class against its probability: a panel for each class, a curve for each method.

    Args:
        methods: with the tables that ``medgen evaluate segmentation`` stores.
        theme: colours.
    """
    classes = list(dict.fromkeys(name for method in methods for name in method.details["reliability"]))
    across = min(4, len(classes))
    down = -(-len(classes) // across)
    figure = new_figure(11.0, 3.0 * down, background=theme.background)
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat[len(classes) :]:
        axes.set_visible(False)
    for axes, name in zip(grid.flat, classes, strict=False):
        style_axes(axes, name, theme, "probability", "frequency in the truth")
        axes.plot([0, 1], [0, 1], color=theme.quiet, linewidth=0.8, linestyle=":")
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        for number, method in enumerate(methods):
            if name in method.details["reliability"]:
                table = method.details["reliability"][name]
                said, true = (curve(table, key) for key in ("probability", "frequency"))
                draw_curve(axes, said, true, theme.series[number % len(theme.series)], label=method.label)
    draw_legend(grid[0, 0], theme)
    figure.tight_layout(pad=0.9, w_pad=1.2)
    return figure


def charts_of(methods: Sequence[MethodScores]) -> dict[str, tuple[str, str, Callable[[Theme], Figure]]]:
    """The charts that the scores allow, by the name of their file: heading, caption and function."""
    from medgen.report.charts import score_chart

    found: dict[str, tuple[str, str, Callable[[Theme], Figure]]] = {}
    scored = with_uncertainty(methods)
    if columns := interval_columns(scored):
        shares = {nominal for method in scored if (nominal := nominal_of(method)) is not None}
        line = ", the dotted line the nominal share" if len(shares) == 1 else ""
        marks = {column.key: share for column in columns if column.key.startswith(COVERAGE) for share in shares}
        found["intervals"] = (
            "Coverage and width of the intervals",
            f"A dot is a case, a diamond the mean, the bar its 95 % interval{line}. Tissues are those of the true CT.",
            lambda theme: score_chart(scored, columns, theme, marks=marks if len(shares) == 1 else {}),
        )
    if sparse := having_curve(scored, "sparsification"):
        found["sparsification"] = (
            "Sparsification",
            "Mean absolute error of the voxels that are left when those with the largest standard deviation are "
            "removed, over that of all; dashed if those with the largest error are. The nearer the two, the better the "
            "standard deviation tells where the error is. Mean over the cases.",
            lambda theme: sparsification_chart(sparse, theme),
        )
    if gated := having_curve(scored, "accept_reject"):
        found["accept_reject"] = (
            "Accepted and rejected cases",
            "Mean error of the cases that are accepted when the gate takes those with the smallest mean standard "
            "deviation. Dotted: of all cases; dashed: the share that the gate of the model accepts. A curve that rises "
            "says that the gate rejects the worse ones.",
            lambda theme: accept_reject_chart(gated, theme),
        )
    if reliable := [method for method in methods if method.details.get("reliability")]:
        found["reliability"] = (
            "Reliability of the probabilities",
            "How often a voxel has the class, against its probability, in ten bins; on the dotted line where the "
            "probabilities are right, below it where the method is too sure. Mean over the cases.",
            lambda theme: reliability_chart(reliable, theme),
        )
    return found


def _accepted(method: MethodScores) -> float | None:
    """The share of the scored cases that the gate accepted; None where it gave no verdicts."""
    sides = method.details.get("gate") or {}
    accepted, rejected = (int(sides[side]["mae"]["n"]) for side in ("accepted", "rejected")) if sides else (0, 0)
    return accepted / (accepted + rejected) if accepted + rejected else None
