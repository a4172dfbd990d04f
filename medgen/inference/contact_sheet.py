"""One picture of many samples, on a dark background."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medgen.files import atomic_path
from medgen.types import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 64
"""Samples on a sheet."""
_BACKGROUND, TEXT, QUIET = "#0c0e11", "#e8ebee", "#9aa5ae"
_WIDTH, _WIDEST_TILE, _NARROWEST = 10.0, 2.4, 6.4
"""Inches: of the tiles of a sheet together, of one tile at most, of a sheet at least."""
_TOP, _BOTTOM, _GAP, _LABEL = 0.72, 0.42, 0.09, 0.26
"""Inches: for the title, the footer, between tiles, and above a row with a label."""
_SHAPE = 1.3
"""Width over height that the grid of tiles comes close to."""


@dataclass(frozen=True, eq=False)
class View:
    """One direction of view of some samples.

    Attributes:
        name: e.g. ``axial``.
        pictures: one a sample, (rows, columns) in [0, 1], NaN where the background shows; the first row is at the top.
        aspect: height of a pixel over its width.
        labels: one a picture; by default its number.
    """

    name: str
    pictures: Sequence[Array]
    aspect: float = 1.0
    labels: Sequence[str] = ()

    @property
    def height(self) -> float:
        """Of a tile, over its width."""
        rows, columns = self.pictures[0].shape
        return float(rows * self.aspect / columns)


def grey(values: Array, window: tuple[float, float]) -> Array:
    """Values of any unit as grey levels in [0, 1]: the window from black to white; what lies beyond is clipped."""
    low, high = window
    return np.clip((values - low) / max(high - low, 1e-12), 0.0, 1.0)


def side_by_side(pictures: Sequence[Array]) -> Array:
    """Pictures of one sample, (rows, columns) each, in one with a narrow gap between them."""
    gap = np.full((pictures[0].shape[0], max(1, pictures[0].shape[1] // 64)), np.nan)
    joined = [part for picture in pictures for part in (gap, picture)]
    return np.concatenate(joined[1:], axis=1)


def write_contact_sheet(
    path: Path,
    main: View,
    below: Sequence[View],
    *,
    title: str,
    subtitle: str,
    footer: str,
    columns: int | None = None,
) -> None:
    """Write a grid of all pictures of ``main`` and, below it, one row of each view in ``below``, as PNG.

    Args:
        path: ends in ``.png``.
        main: at most :data:`MOST` samples.
        below: other views of the first samples, in the same order; as many are drawn as stand in one row.
        title: the first line.
        subtitle: the second line.
        footer: the last line.
        columns: pictures in a row; by default as many as make a sheet of a handy shape.
    """
    count = len(main.pictures)
    columns = columns or min(count, max(1, round(math.sqrt(count * _SHAPE * main.height))))
    tile = min(_WIDEST_TILE, _WIDTH / columns)
    rows = [(main, start) for start in range(0, count, columns)] + [(view, 0) for view in below]
    labelled = [number for number, (_, start) in enumerate(rows) if below and start == 0]
    grid = sum(tile * view.height + _GAP for view, _ in rows) + _LABEL * len(labelled)
    width, height = max(_NARROWEST, columns * (tile + _GAP) + 0.3), _TOP + grid + _BOTTOM
    figure = dark_figure(width, height)
    left, top = (width - columns * (tile + _GAP) + _GAP) / 2, _TOP
    for number, (view, start) in enumerate(rows):
        if number in labelled:
            top += _LABEL
            write_text(figure, left, top - 0.06, view.name, size=9, colour=QUIET)
        for place, picture in enumerate(view.pictures[start : start + columns]):
            corner = left + place * (tile + _GAP)
            label = view.labels[start + place] if view.labels else str(start + place)
            draw_tile(figure, picture, (corner, top, tile, tile * view.height), label)
        top += tile * view.height + _GAP
    write_text(figure, 0.15, 0.33, title, size=12, colour=TEXT, weight="bold")
    write_text(figure, 0.15, 0.56, subtitle, size=8.5, colour=QUIET)
    write_text(figure, 0.15, height - 0.14, footer, size=8, colour=QUIET)
    save_png(figure, path)


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure without the name of a program, a date or a path."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130, facecolor=_BACKGROUND, metadata={"Software": None})


def dark_figure(width: float, height: float) -> Figure:
    """An empty figure of ``width`` x ``height`` inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor=_BACKGROUND)
    FigureCanvasAgg(figure)
    return figure


def draw_tile(figure: Figure, picture: Array, box: tuple[float, float, float, float], number: str) -> None:
    """One tile; ``box`` is left, top, width and height in inches from the upper left corner."""
    left, top, wide, high = box
    width, height = figure.get_size_inches()
    axes = figure.add_axes((left / width, 1 - (top + high) / height, wide / width, high / height))
    axes.set_axis_off()
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    behind = {"facecolor": _BACKGROUND, "edgecolor": "none", "pad": 1.5}  # readable on white, too
    axes.text(0, 1, number, transform=axes.transAxes, color=TEXT, size=7, va="top", bbox=behind, parse_math=False)


def write_text(
    figure: Figure, left: float, top: float, text: str, *, size: float, colour: str, weight: str = ""
) -> None:
    """One line of text; ``left`` and ``top`` are of its base line, in inches from the upper left corner."""
    width, height = figure.get_size_inches()
    figure.text(
        left / width,
        1 - top / height,
        text,
        size=size,
        color=colour,
        weight=weight or "normal",
        va="baseline",
        parse_math=False,
    )
