"""Figure of a benchmark: one row per regime, one dot per case, lines that join the dots of a case, means, intervals."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medgen.benchmark.table import DICE, Row
from medgen.files import atomic_path
from medgen.metrics.resampling import finite_means, mean_of
from medgen.names import literal
from medgen.report.drawing import LIGHT, Theme, new_figure, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_INCHES_A_ROW = 0.52


def dots(rows: Sequence[Row], theme: Theme = LIGHT, *, phantom: bool = False) -> Figure:
    """Draw the Dice on the target domain: one row per regime; each case is a dot (mean of its seeds), joined by a line.

    Args:
        rows: rows in the order of the table; with two or more, a line joins the dots of a case.
        theme: colours.
        phantom: whether the patients are virtual; the title then says so.
    """
    cases = rows[0].target.cases
    values = np.stack([_by_case(row, cases) for row in rows], axis=1) * 100
    figure = new_figure(9.0, 0.95 + _INCHES_A_ROW * len(rows), background=theme.background)
    axes = figure.subplots()
    # Dots are spread vertically so that they do not overlap. A case has the same offset in every row, so that lines
    # stay straight.
    offsets = np.linspace(-0.32, 0.04, len(cases))[np.argsort(np.argsort(np.nan_to_num(values).mean(axis=1)))]
    places = np.arange(len(rows))
    for case, offset in zip(values, offsets, strict=True):
        axes.plot(case, places + offset, color=theme.quiet, alpha=0.22, linewidth=0.8, zorder=1)
    for place, row in enumerate(rows):
        colour = theme.series[place % len(theme.series)]
        axes.plot(values[:, place], place + offsets, "o", color=colour, alpha=0.6, markersize=4, markeredgewidth=0)
        _mean(axes, row, place, colour, theme)
    _style(axes, rows, theme)
    kind = "Phantom: " if phantom else ""
    axes.set_title(
        f"{kind}{len(cases)} cases of T. Dot: case (mean of seeds). Diamond: mean, 95 % interval. Tick: seed.",
        fontsize=8.5,
        color=theme.quiet,
        loc="left",
    )
    figure.tight_layout(pad=0.8)
    return figure


def write_figure(rows: Sequence[Row], out: Path, *, phantom: bool = False) -> list[Path]:
    """Write ``benchmark.png`` and ``benchmark.svg``; see :func:`dots`.

    Raises:
        UsageError: matplotlib is not installed.
    """
    figure = dots(rows, phantom=phantom)
    with atomic_path(out / "benchmark.png") as temporary:
        temporary.write_bytes(png(figure))
    from matplotlib import rc_context

    with rc_context({"svg.hashsalt": "medgen"}), atomic_path(out / "benchmark.svg") as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})
    return [out / "benchmark.png", out / "benchmark.svg"]


def _by_case(row: Row, cases: Sequence[str]) -> NDArray[np.float64]:
    """The mean of each case over seeds."""
    order = [row.target.cases.index(case) for case in cases]
    return finite_means(row.target.values[DICE][:, order], axis=0)


def _mean(axes: Axes, row: Row, place: int, colour: str, theme: Theme) -> None:
    """Draw mean and interval below the dots, the mean of every seed as a tick, and the numbers at the right edge."""
    summary = row.metrics[DICE]
    below = place + 0.2
    low, high = (100 * edge for edge in summary["ci95"])
    axes.plot([low, high], [below, below], color=colour, linewidth=2.4, solid_capstyle="butt", zorder=3)
    axes.plot(100 * summary["mean"], below, "D", color=colour, markersize=6, zorder=4)
    for seed in row.target.values[DICE]:
        if np.isfinite(seed).any():
            axes.plot(100 * mean_of(seed), below + 0.16, "|", color=colour, markersize=6, zorder=3)
    known = np.isfinite([summary["mean"], low, high])
    text = (f"{100 * summary['mean']:.0f}" if known[0] else "–") + (f" [{low:.0f}, {high:.0f}]" if known.all() else "")
    axes.text(1.01, place, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5, color=theme.text)


def _style(axes: Axes, rows: Sequence[Row], theme: Theme) -> None:
    axes.set_facecolor(theme.background)
    axes.set_yticks(range(len(rows)), [literal(_wrapped(row.title)) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.5)
    axes.set_xlim(-2, 102)
    axes.set_xlabel("DSC on T, %", fontsize=9, color=theme.text)
    axes.tick_params(colors=theme.quiet, labelsize=8, length=0)
    for label in axes.get_yticklabels():
        label.set_color(theme.text)
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(theme.quiet)
    axes.grid(axis="x", color=theme.grid, linewidth=0.7)
    axes.set_axisbelow(True)


def _wrapped(title: str) -> str:
    """Wrap a title into at most two lines, the height of a row."""
    return "\n".join(textwrap.wrap(title, 38, max_lines=2, placeholder=" …"))
