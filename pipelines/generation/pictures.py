"""A picture of slices, one row a model; the studies share it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

NAME, PIXELS = 1.9, 800
"""Inches left for the name of a row, where an image has one inch; 800 / dpi is its font size in points."""


def picture_of_rows(rows: Mapping[str, Sequence[Any]], path: Path, *, low: float = -1.5, dpi: int = 70) -> None:
    """Write images side by side, the name of the row before them.

    Args:
        rows: by name, images of shape (x, y) in normalised units; None leaves a place empty.
        path: PNG to write.
        low: grey level that is black; 3 is white.
        dpi: pixels of an image.
    """
    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = max(map(len, rows.values()))
    figure, axes = pyplot.subplots(len(rows), columns, figsize=(columns + NAME, len(rows)), squeeze=False)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for axis in line:
            axis.set_axis_off()
        for axis, image in zip(line, images, strict=False):
            if image is not None:
                axis.imshow(image.T[::-1, ::-1], cmap="gray", vmin=low, vmax=3)
        words = name.replace(", ", ",\n").replace(" ", "\n", 1) if len(name) > 17 else name
        line[0].text(-0.08, 0.5, words, transform=line[0].transAxes, va="center", ha="right", fontsize=PIXELS / dpi)
    figure.subplots_adjust(NAME / (columns + NAME), 0, 1, 1, wspace=0.02, hspace=0.02)
    figure.savefig(path, dpi=dpi)
    pyplot.close(figure)
