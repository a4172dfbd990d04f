"""Figures without a window and without global state; matplotlib is loaded when the first one is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from medgen.errors import UsageError

if TYPE_CHECKING:
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


@dataclass(frozen=True)
class Picture:
    """One figure.

    Args:
        name: of its file, without suffix.
        kind: the part of the page: "case", "scores", "health" or "training".
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


def new_figure(width: float, height: float, *, background: str) -> Figure:
    """An empty figure of ``width`` x ``height`` inches.

    Raises:
        UsageError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("a report needs matplotlib", fix="pip install 'medgen[report]'") from None
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
