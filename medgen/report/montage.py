"""A picture of one case: input, prediction, truth and error in three planes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medgen.report.drawing import new_figure
from medgen.report.overlays import Overlay, draw_overlay, explain_overlay
from medgen.report.slices import PLANES, CaseImages, Plane, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CT_WINDOW = (-500.0, 1300.0)
"""Range of HU shown from black to white: wide enough for air, soft tissue and bone in one picture."""

DISCLAIMER = "Research software, not for clinical use."

MARGIN = 8.0
"""Millimetres of air that a picture keeps around the body."""

_DARK = 0.1  # share of the white of an image below which there is no patient
_BLACK, _WHITE, _GREY = "#000000", "#f2f2f2", "#9a9a9a"
_INCHES_A_COLUMN = 2.35
_BAR_INCHES, _LEGEND_INCHES, _TITLE_INCHES, _LEFT_INCHES = 0.62, 0.42, 0.62, 0.34


class _Column(NamedTuple):
    title: str
    volume: NDArray[Any]
    colours: str
    limits: tuple[float, float]
    kind: Literal["input", "value", "error"]
    overlay: Overlay | None = None


def montage(images: CaseImages, *, title: str, window: tuple[float, float] | None = CT_WINDOW) -> Figure:
    """Draw one case: a row for each plane, a column for each volume, the last one the error.

    Of a segmentation the last columns are an image with the outlines of truth and prediction, and one with the voxels
    that are right, missed and invented.

    Pictures are in radiological convention (the patient's right on the left), planes go through the middle of
    the body or, of a segmentation, where most of the structure is, and voxels keep their proportions in millimetres.

    Args:
        images: the volumes.
        title: a line above the picture.
        window: values shown as black and as white; by default the range of the truth or the prediction.

    Returns:
        A figure on black.
    """
    images = cropped(images)
    columns = _label_columns(images) if images.classes else _columns(images, window)
    centre = _middle(images)
    extents = [_extent(plane, images) for plane in PLANES]
    heights = [_INCHES_A_COLUMN * height / max(width for width, _ in extents) for _, height in extents]
    width = _LEFT_INCHES + _INCHES_A_COLUMN * len(columns)
    bar = _LEGEND_INCHES if images.classes else _BAR_INCHES
    total = _TITLE_INCHES + sum(heights) + bar
    figure = new_figure(width, total, background=_BLACK)
    figure.text(0.11 / width, 1 - 0.09 / total, title, color=_WHITE, size=10.5, va="top", weight="bold")
    # A picture is passed on without the page that says so.
    figure.text(0.11 / width, 0.05 / total, DISCLAIMER, color=_GREY, size=7.5, va="bottom")
    layout = figure.add_gridspec(
        len(PLANES),
        len(columns),
        height_ratios=heights,
        left=_LEFT_INCHES / width,
        right=1.0,
        bottom=bar / total,
        top=1 - _TITLE_INCHES / total,
        wspace=0.03,
        hspace=0.03,
    )
    for row, plane in enumerate(PLANES):
        for number, column in enumerate(columns):
            axes = figure.add_subplot(layout[row, number])
            shown = _draw(axes, column, plane, centre[plane.axis], images)
            if row == 0:
                axes.set_title(column.title, color=_WHITE, size=10, pad=5)
            if number == 0:
                axes.set_ylabel(plane.name, color=_GREY, size=9)
                mark_sides(axes, plane, images.oriented)
            if row < len(PLANES) - 1:
                continue
            if column.overlay:
                explain_overlay(axes, column.overlay, several=len(images.classes) > 1)
            elif column.kind != "input":
                _colour_bar(figure, axes, shown, column, images.unit, total)
    return figure


def _label_columns(images: CaseImages) -> list[_Column]:
    """The inputs alone; the first of them with outlines, and the last with the agreement."""
    inputs = _inputs(images)
    below = inputs or [_Column("", np.zeros(images.prediction.shape), "gray", (0.0, 1.0), "input")]
    outlined = below[0]._replace(title=f"{below[0].title}, outlines".strip(", "), overlay="contours")
    compared = below[-1]._replace(title=f"{below[-1].title}, agreement".strip(", "), overlay="agreement")
    return [*inputs, outlined, *([] if images.truth is None else [compared])]


def _inputs(images: CaseImages) -> list[_Column]:
    return [
        _Column(role.upper(), volume, "gray", _robust_range(volume), "input") for role, volume in images.inputs.items()
    ]


def _columns(images: CaseImages, window: tuple[float, float] | None) -> list[_Column]:
    columns = _inputs(images)
    window = window or _robust_range(_first(images.truth, images.prediction))
    name = "CT" if images.unit == "HU" else "image"
    columns.append(_Column(f"synthetic {name}", images.prediction, "gray", window, "value"))
    if images.truth is not None:
        error = (images.prediction - images.truth).astype(np.float32)
        if images.mask is not None:
            error = np.where(images.mask > 0, error, np.nan)
        limit = error_limit(error)
        columns.append(_Column(f"true {name}", images.truth, "gray", window, "value"))
        columns.append(_Column("error (synthetic − true)", error, "berlin", (-limit, limit), "error"))
    return columns


def cropped(images: CaseImages) -> CaseImages:
    """The smallest box around the body, so that the picture is not mostly air."""
    index = np.argwhere(_body(images))
    if index.size == 0:
        return images
    border = [round(MARGIN / size) for size in images.spacing]
    low = [max(0, start - extra) for start, extra in zip(index.min(axis=0), border, strict=True)]
    high = [stop + 1 + extra for stop, extra in zip(index.max(axis=0), border, strict=True)]
    box = tuple(slice(start, stop) for start, stop in zip(low, high, strict=True))
    return replace(
        images,
        inputs={role: volume[box] for role, volume in images.inputs.items()},
        prediction=images.prediction[box],
        truth=None if images.truth is None else images.truth[box],
        mask=None if images.mask is None else images.mask[box],
    )


def _body(images: CaseImages) -> NDArray[np.bool_]:
    """Where the patient is: the mask, or what is denser than air in CT, or brighter than nothing elsewhere."""
    if images.mask is not None:
        return np.asarray(images.mask > 0)
    if images.classes:
        bright = (volume > _DARK * _robust_range(volume)[1] for volume in images.inputs.values())
        return np.asarray(np.logical_or.reduce([images.prediction > 0, *bright]))
    reference = _first(images.truth, images.prediction)
    return np.asarray(reference > (-300 if images.unit == "HU" else 0))


def error_limit(error: NDArray[Any]) -> float:
    """The end of the symmetric colour scale of an error map: a round number that 2 % of the voxels exceed.

    >>> error_limit(np.linspace(-230, 230, 1001))
    250.0
    """
    finite = np.abs(error[np.isfinite(error)])
    if finite.size == 0:
        return 100.0
    wanted = float(np.percentile(finite, 98))
    steps = [mantissa * 10.0**exponent for exponent in range(-3, 5) for mantissa in (1, 1.5, 2, 2.5, 3, 4, 5, 7.5)]
    return next((step for step in steps if step >= wanted), wanted)


def _first(truth: NDArray[Any] | None, prediction: NDArray[Any]) -> NDArray[Any]:
    return prediction if truth is None else truth


def _robust_range(volume: NDArray[Any]) -> tuple[float, float]:
    """Black at zero or the minimum, white at the 99.5th percentile of what is not background."""
    finite = volume[np.isfinite(volume)]
    low = float(min(0.0, finite.min())) if finite.size else 0.0
    inside = finite[finite > low]
    high = float(np.percentile(inside, 99.5)) if inside.size else low + 1.0
    return low, max(high, low + 1e-6)


def _middle(images: CaseImages) -> tuple[int, int, int]:
    """Voxel through which the planes go: the centre of mass of the body; of a segmentation see :func:`_fullest`."""
    if images.classes:
        labels = _first(images.truth, images.prediction)
        drawn = labels if labels.any() else images.prediction
        if drawn.any():
            return _fullest(drawn > 0)
    index = np.argwhere(_body(images))
    if index.size == 0:
        index = np.argwhere(np.ones(images.prediction.shape, dtype=bool))
    x, y, z = (int(value) for value in np.round(index.mean(axis=0)))
    return x, y, z


def _fullest(mask: NDArray[np.bool_]) -> tuple[int, int, int]:
    """The slice along each axis that holds most of a structure."""
    x, y, z = (int(mask.sum(axis=tuple({0, 1, 2} - {axis})).argmax()) for axis in range(3))
    return x, y, z


def _extent(plane: Plane, images: CaseImages) -> tuple[float, float]:
    """Width and height of a plane in millimetres."""
    sizes = [n * mm for n, mm in zip(images.prediction.shape, images.spacing, strict=True)]
    width, height = (size for axis, size in enumerate(sizes) if axis != plane.axis)
    return width, height


def _draw(axes: Axes, column: _Column, plane: Plane, index: int, images: CaseImages) -> Any:
    across, down = (mm for axis, mm in enumerate(images.spacing) if axis != plane.axis)
    axes.set_facecolor(_BLACK)
    shown = axes.imshow(
        picture(column.volume, plane.axis, index),
        cmap=column.colours,
        vmin=column.limits[0],
        vmax=column.limits[1],
        aspect=down / across,
        interpolation="nearest" if column.kind == "error" else "bilinear",
    )
    if column.overlay:
        truth = None if images.truth is None else picture(images.truth, plane.axis, index)
        draw_overlay(axes, column.overlay, picture(images.prediction, plane.axis, index), truth)
    axes.set_anchor("C")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return shown


def mark_sides(axes: Axes, plane: Plane, oriented: bool) -> None:
    """Write the sides of the patient into the upper corners of a picture; question marks where they are unknown."""
    from matplotlib.patheffects import withStroke

    edge = withStroke(linewidth=2, foreground=_BLACK)  # to be read on bright fat too
    sides = plane.sides if oriented else ("?", "?")
    for x, side, alignment in ((0.03, sides[0], "left"), (0.97, sides[1], "right")):
        text = axes.text(x, 0.97, side, transform=axes.transAxes, color="#ffd166", size=9.5, ha=alignment, va="top")
        text.set_path_effects([edge])


def _colour_bar(figure: Figure, axes: Axes, shown: Any, column: _Column, unit: str, total: float) -> None:
    box = axes.get_position()
    place = figure.add_axes((box.x0 + 0.12 * box.width, 0.36 / total, 0.76 * box.width, 0.085 / total))
    bar = figure.colorbar(shown, cax=place, orientation="horizontal", extend="both" if column.kind == "error" else None)
    low, high = column.limits
    bar.set_ticks([low, (low + high) / 2, high])
    bar.ax.set_xticklabels([_readable(low), _readable((low + high) / 2), f"{_readable(high)} {unit}"])
    bar.ax.tick_params(colors=_GREY, labelsize=7.5, length=2)
    bar.outline.set_edgecolor(_GREY)


def _readable(value: float) -> str:
    return f"{value:g}".replace("-", "−")
