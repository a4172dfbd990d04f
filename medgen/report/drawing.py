"""Figures without a window and without global state; matplotlib is loaded when the first one is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from medgen.names import literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Theme:
    """Colours of a chart for a light or a dark page."""

    name: str
    background: str
    text: str
    quiet: str
    grid: str
    series: tuple[str, ...]


# Okabe and Ito's palette, which colour-blind readers can tell apart, without black and yellow.
_SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7a7a7a")
LIGHT = Theme("light", "#ffffff", "#1d2329", "#5c6770", "#e3e7ea", _SERIES)
DARK = Theme("dark", "#171b20", "#e8ebee", "#9aa5ae", "#2e353c", ("#4aa3df", "#f08a4b", "#3fbf98", *_SERIES[3:]))

BLACK, WHITE, GREY, PALE = "#000000", "#f2f2f2", "#9a9a9a", "#d0d0d0"
"""Of a picture on black: background, titles, what matters less, and legends."""


@dataclass(frozen=True)
class Picture:
    """One figure.

    Args:
        name: of its file, without suffix.
        kind: the part of the page: "case", "scores", "uncertainty", "health", "training", or "samples " and the name of
            their folder.
        heading: a short title.
        caption: what is seen, with orientation and units.
        light: PNG for a light page.
        dark: PNG for a dark page; the same where the picture is dark anyway.
        media: "png", or "gif" for a film.
        case: the patient, of a picture of one.
    """

    name: str
    kind: str
    heading: str
    caption: str
    light: bytes
    dark: bytes
    media: str = "png"
    case: str = ""


def new_figure(width: float, height: float, *, background: str) -> Figure:
    """An empty figure of ``width`` x ``height`` inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor=background)
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure, *, dots_per_inch: int = 130) -> bytes:
    """The figure as a PNG that names no software, no date and no path."""
    buffer = BytesIO()
    figure.savefig(
        buffer, format="png", dpi=dots_per_inch, facecolor=figure.get_facecolor(), metadata={"Software": None}
    )
    return buffer.getvalue()


def themed(name: str, kind: str, heading: str, caption: str, draw: Callable[[Theme], Figure]) -> Picture:
    """A chart for light and for dark pages.

    Args:
        name: of its file, without suffix.
        kind: the part of the page.
        heading: a short title.
        caption: what is seen.
        draw: with the colours of a theme.
    """
    return Picture(name, kind, heading, caption, png(draw(LIGHT)), png(draw(DARK)))


def style_axes(axes: Axes, title: str, theme: Theme, across: str = "", up: str = "") -> None:
    """Give a chart its title, the names of its axes, a grid and the colours of a theme."""
    axes.set_facecolor(theme.background)
    axes.set_title(literal(title), fontsize=9.5, color=theme.text, loc="left")
    axes.set_xlabel(literal(across), fontsize=8, color=theme.quiet)
    axes.set_ylabel(literal(up), fontsize=8, color=theme.quiet)
    axes.tick_params(colors=theme.quiet, labelsize=8, length=0)
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom" or (name == "left" and bool(up)))
        spine.set_color(theme.quiet)
    axes.grid(color=theme.grid, linewidth=0.7)
    axes.set_axisbelow(True)


def draw_curve(
    axes: Axes,
    across: ArrayLike,
    up: ArrayLike,
    colour: str,
    *,
    label: str = "",
    interval: tuple[ArrayLike, ArrayLike] | None = None,
    dots: bool = True,
    steps: str = "default",
    style: str = "solid",
) -> None:
    """Draw a curve, with the band of its interval where there is one.

    Args:
        axes: of the chart.
        across: (n,), positions.
        up: (n,), values; NaN leaves a gap.
        colour: of line and band.
        label: in the legend.
        interval: lower and upper ends, each (n,).
        dots: mark the points.
        steps: how points are joined, as matplotlib's ``drawstyle``.
        style: of the line.
    """
    if interval is not None:
        axes.fill_between(across, *interval, color=colour, alpha=0.13, linewidth=0)
    axes.plot(
        across,
        up,
        marker="o" if dots else "",
        linestyle=style,
        color=colour,
        linewidth=1.7,
        markersize=3,
        drawstyle=steps,
        label=literal(label),
    )


def draw_legend(axes: Axes, theme: Theme, **place: Any) -> None:
    """Name the curves of a chart, at the best place inside it or at ``loc`` and ``bbox_to_anchor`` of matplotlib."""
    axes.legend(frameon=False, fontsize=8, labelcolor=theme.text, handlelength=1.4, **place)


def draw_colour_bar(
    figure: Figure,
    colours: Any,
    place: tuple[float, float, float, float],
    ticks: Mapping[float, str],
    *,
    label: str = "",
    extend: str = "neither",
) -> None:
    """Draw a horizontal colour bar on black.

    Args:
        figure: of the picture.
        colours: an image or a mappable of matplotlib.
        place: left, bottom, width and height in parts of the figure.
        ticks: text by value.
        label: below the bar.
        extend: which ends are open, as matplotlib names it.
    """
    bar = figure.colorbar(colours, cax=figure.add_axes(place), orientation="horizontal", extend=extend)
    bar.set_ticks(list(ticks), labels=list(ticks.values()))
    bar.ax.tick_params(colors=GREY, labelsize=7.5, length=2)
    bar.set_label(label, color=PALE, fontsize=8, labelpad=2)
    bar.outline.set_edgecolor(GREY)
