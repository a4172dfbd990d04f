"""One picture of samples, each beside the training patches that are nearest to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medgen.inference.contact_sheet import QUIET, TEXT, View, dark_figure, draw_tile, save_png, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARK = "#f0a04b"
_TILE, _GAP, _CAPTION, _BETWEEN = 1.25, 0.06, 0.2, 0.35
"""Inches: width of a tile, between tiles, for the line below, and between the two columns of rows."""
_TOP, _LABEL, _BOTTOM = 0.75, 0.34, 0.4
"""Inches: for the title, above the held-out rows, and for the footer."""


@dataclass(frozen=True, eq=False)
class Row:
    """An image and its nearest training patches.

    Attributes:
        view: pictures of the image, then of the patches.
        captions: below each of them.
        marked: whether it is nearer to the first patch than any held-out image is to one.
    """

    view: View
    captions: tuple[str, ...]
    marked: bool = False


def write_neighbour_sheet(path: Path, rows: Sequence[Row], scale: Sequence[Row], *, title: str, subtitle: str) -> None:
    """Write rows of samples and, below, rows of held-out patches for scale, as PNG; two rows stand side by side.

    Args:
        path: ends in ``.png``.
        rows: of samples, at least one.
        scale: of real held-out images, or none.
        title: the first line.
        subtitle: the second line.
    """
    tiles = len(rows[0].captions)
    wide, high = tiles * (_TILE + _GAP), _TILE * rows[0].view.height + _CAPTION + _GAP
    lines = [(len(each) + 1) // 2 for each in (rows, scale)]
    width = 2 * wide + _BETWEEN + 0.3
    height = _TOP + sum(lines) * high + (_LABEL if scale else 0) + _BOTTOM
    figure = dark_figure(width, height)
    write_text(figure, 0.15, 0.33, title, size=12, colour=TEXT, weight="bold")
    write_text(figure, 0.15, 0.56, subtitle, size=8.5, colour=QUIET)
    _draw_rows(figure, rows, _TOP, wide, high)
    if scale:
        top = _TOP + lines[0] * high + _LABEL
        note = "for scale: real patches of patients that the model has not seen, and their nearest training patches"
        write_text(figure, 0.15, top - 0.1, note, size=8.5, colour=QUIET)
        _draw_rows(figure, scale, top, wide, high)
    footer = "Holds images and case names of patients: handle it like the case table. Research use only."
    write_text(figure, 0.15, height - 0.14, footer, size=8, colour=QUIET)
    save_png(figure, path)


def _draw_rows(figure: Figure, rows: Sequence[Row], top: float, wide: float, high: float) -> None:
    for number, row in enumerate(rows):
        left, upper = 0.15 + (number % 2) * (wide + _BETWEEN), top + (number // 2) * high
        for place, (picture, caption) in enumerate(zip(row.view.pictures, row.captions, strict=True)):
            corner, tall = left + place * (_TILE + _GAP), _TILE * row.view.height
            draw_tile(figure, picture, (corner, upper, _TILE, tall), "")
            colour = _MARK if row.marked and place < 2 else TEXT if place == 0 else QUIET
            text = caption if len(caption) <= _FITS else f"{caption[: _FITS // 2 - 1]}…{caption[-(_FITS // 2) :]}"
            write_text(figure, corner, upper + tall + 0.13, text, size=6.5, colour=colour)


_FITS = 27
"""Characters of a caption below a tile."""
