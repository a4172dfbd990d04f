"""A picture of one case: the inputs with prediction, truth and error in three planes, or with the lesions in one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medgen.names import literal
from medgen.report.drawing import BLACK, GREY, WHITE, draw_colour_bar, new_figure
from medgen.report.overlays import Overlay, draw_overlay, explain_candidates, explain_overlay
from medgen.report.ranges import error_limit, robust_range, slice_range
from medgen.report.slices import PLANES, CaseImages, Plane, fullest_slice, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CT_WINDOW = (-500.0, 1300.0)
"""Range of HU shown from black to white: wide enough for air, soft tissue and bone in one picture."""

DISCLAIMER = "Research software, not for clinical use."

_BODY_MARGIN, _ORGAN_MARGIN = 8.0, 12.0  # mm kept around the body, and around an organ with all that is marked
_DARK = 0.1  # share of the white of an image below which there is no patient
_TITLE_INCHES = 0.62
_NAMES = {"hbv": "DWI, high b"}


class _Layout(NamedTuple):
    """Sizes in inches: of a column, and left of and below the images; and the gap, as a share of an image."""

    column: float
    left: float
    below: float
    gap: float


_VALUES = _Layout(2.35, 0.34, 0.62, 0.03)
_LABELS = _VALUES._replace(below=0.42)
_LESIONS = _Layout(3.0, 0.1, 0.85, 0.02)


class _Panel(NamedTuple):
    title: str
    volume: NDArray[Any]
    limits: tuple[float, float]
    colours: str = "gray"
    kind: Literal["input", "value", "error", "spread"] = "input"
    unit: str = ""
    overlay: Overlay | None = None


class _Row(NamedTuple):
    plane: Plane
    place: int
    panels: Sequence[_Panel]


def montage(images: CaseImages, *, title: str, window: tuple[float, float] | None = CT_WINDOW) -> Figure:
    """Draw one case in radiological convention (the patient's right on the left), voxels in their proportions.

    Images have a row for each plane and a column for each volume, the last ones the error and where the prediction is
    unsure; planes go through the middle of the body. Label maps have the outlines of truth and prediction over an
    input, and the voxels that are right, missed and invented over another; planes go where most of the structure is. A
    detection map, which has a target, has the one slice with most of the target: the inputs plain above, and below with
    the candidates.

    Args:
        images: the volumes.
        title: a line above the picture.
        window: values shown as black and as white; by default the range of the truth or the prediction.

    Returns:
        A figure on black.
    """
    images = cropped(images)
    if images.target is not None:
        return _lesion_montage(images, images.target, title)
    panels = _label_panels(images) if images.classes else _value_panels(images, window)
    centre = middle(images)
    rows = [_Row(plane, centre[plane.axis], panels) for plane in PLANES]
    figure, lowest = _grid(images, rows, title, _LABELS if images.classes and not images.spreads else _VALUES)
    for axes, shown, panel in lowest:
        if panel.overlay:
            explain_overlay(axes, panel.overlay, several=len(images.classes) > 1)
        elif panel.kind != "input":
            _explain_values(figure, axes, shown, panel)
    return figure


def _lesion_montage(images: CaseImages, target: NDArray[np.bool_], title: str) -> Figure:
    plane = images.acquired
    index = fullest_slice(target, plane.axis)
    plain = [
        panel._replace(limits=slice_range(picture(panel.volume, plane.axis, index)))
        for panel in _inputs(images) or [_blank(images)]
    ]
    marked = [panel._replace(title="", overlay="candidates") for panel in plain]
    figure, _ = _grid(images, [_Row(plane, index, plain), _Row(plane, index, marked)], title, _LESIONS)
    grades = None if images.truth is None else picture(images.truth, plane.axis, index)
    explain_candidates(figure, grades, images.least_grade)
    return figure


def _grid(
    images: CaseImages, rows: Sequence[_Row], title: str, layout: _Layout
) -> tuple[Figure, list[tuple[Axes, Any, _Panel]]]:
    """Draw rows of slices; gives the figure, and the axes, images and panels of the lowest row."""
    extents = [_extent(row.plane, images) for row in rows]
    heights = [layout.column * height / max(width for width, _ in extents) for _, height in extents]
    count = len(rows[0].panels)
    width, total = layout.left + layout.column * count, _TITLE_INCHES + sum(heights) + layout.below
    figure = new_figure(width, total, background=BLACK)
    figure.text(0.11 / width, 1 - 0.09 / total, literal(title), color=WHITE, size=10.5, va="top", weight="bold")
    # A picture is passed on without the page that says so.
    figure.text(0.11 / width, 0.05 / total, DISCLAIMER, color=GREY, size=7.5, va="bottom")
    grid = figure.add_gridspec(
        len(rows),
        count,
        height_ratios=heights,
        left=layout.left / width,
        right=1.0,
        bottom=layout.below / total,
        top=1 - _TITLE_INCHES / total,
        wspace=layout.gap,
        hspace=layout.gap,
    )
    drawn: list[tuple[Axes, Any, _Panel]] = []
    one_plane = len({row.plane for row in rows}) == 1
    for position, row in enumerate(rows):
        for number, panel in enumerate(row.panels):
            axes = figure.add_subplot(grid[position, number])
            drawn.append((axes, _draw(axes, panel, row, images), panel))
            if position == 0:
                axes.set_title(literal(panel.title), color=WHITE, size=10, pad=5)
            if number == 0 and not one_plane:
                axes.set_ylabel(row.plane.name, color=GREY, size=9)
            if number == 0 and not (one_plane and position):
                _mark_sides(axes, row.plane, images.oriented)
    return figure, drawn[-count:]


def _label_panels(images: CaseImages) -> list[_Panel]:
    """The inputs alone; the first of them with outlines, and the last with the agreement."""
    inputs = _inputs(images)
    below = inputs or [_blank(images)]
    outlined = below[0]._replace(title=f"{below[0].title}, outlines".strip(", "), overlay="contours")
    compared = below[-1]._replace(title=f"{below[-1].title}, agreement".strip(", "), overlay="agreement")
    return [*inputs, outlined, *([] if images.truth is None else [compared]), *_spread_panels(images)]


def input_title(role: str) -> str:
    """The name of an input for people.

    >>> input_title("t1")
    'T1'
    """
    return _NAMES.get(role, role.upper())


def _inputs(images: CaseImages) -> list[_Panel]:
    return [_Panel(input_title(role), volume, robust_range(volume)) for role, volume in images.inputs.items()]


def _blank(images: CaseImages) -> _Panel:
    return _Panel("", np.zeros(images.prediction.shape), (0.0, 1.0))


def _value_panels(images: CaseImages, window: tuple[float, float] | None) -> list[_Panel]:
    panels = _inputs(images)
    window = window or robust_range(images.reference)
    name = "CT" if images.unit == "HU" else "image"
    panels.append(_Panel(f"synthetic {name}", images.prediction, window, kind="value", unit=images.unit))
    if images.truth is not None:
        error = _counted((images.prediction - images.truth).astype(np.float32), images)
        limit = error_limit(error)
        panels.append(_Panel(f"true {name}", images.truth, window, kind="value", unit=images.unit))
        panels.append(_Panel("error (synthetic − true)", error, (-limit, limit), "berlin", "error", images.unit))
    return [*panels, *_spread_panels(images)]


def _spread_panels(images: CaseImages) -> list[_Panel]:
    panels = []
    for title, volume, unit, limit in images.spreads:
        shown = _counted(volume.astype(np.float32), images)
        end = error_limit(shown) if limit is None else limit
        panels.append(_Panel(title, shown, (0.0, end), "inferno", "spread", unit))
    return panels


def _counted(values: NDArray[Any], images: CaseImages) -> NDArray[Any]:
    """Values in the mask, where they count; NaN outside."""
    return values if images.mask is None else np.where(images.mask > 0, values, np.float32(np.nan))


def cropped(images: CaseImages) -> CaseImages:
    """The smallest box around the body, or around the organ and all that is marked, so that little air is shown."""
    return images.cropped(_body(images), _BODY_MARGIN if images.target is None else _ORGAN_MARGIN)


def _body(images: CaseImages) -> NDArray[np.bool_]:
    """Where the patient is: the mask, or what is denser than air in CT, or brighter than nothing elsewhere.

    Of a detection map the organ and all that is marked, or the whole image where no organ is known.
    """
    if images.target is not None:
        marked = [images.target, images.prediction > 0, *([] if images.lesions is None else [images.lesions])]
        organ = np.zeros(images.target.shape, bool) if images.mask is None else images.mask > 0
        return np.asarray(np.logical_or.reduce([organ, *marked]) if organ.any() else np.ones_like(organ))
    if images.mask is not None:
        return np.asarray(images.mask > 0)
    if images.classes:
        bright = (volume > _DARK * robust_range(volume)[1] for volume in images.inputs.values())
        return np.asarray(np.logical_or.reduce([images.prediction > 0, *bright]))
    reference = images.reference
    return np.asarray(reference > (-300 if images.unit == "HU" else 0))


def middle(images: CaseImages) -> tuple[int, ...]:
    """Voxel through which the planes go: the centre of mass of the body; of label maps most of the structure."""
    if images.classes:
        labels = images.reference
        drawn = labels if labels.any() else images.prediction
        if drawn.any():
            return tuple(fullest_slice(drawn > 0, axis) for axis in range(3))
    index = np.argwhere(_body(images))
    if index.size == 0:
        index = np.argwhere(np.ones(images.prediction.shape, dtype=bool))
    return tuple(int(value) for value in np.round(index.mean(axis=0)))


def _extent(plane: Plane, images: CaseImages) -> tuple[float, float]:
    """Width and height of a plane in millimetres."""
    sizes = [n * mm for n, mm in zip(images.prediction.shape, images.spacing, strict=True)]
    width, height = (size for axis, size in enumerate(sizes) if axis != plane.axis)
    return width, height


def _draw(axes: Axes, panel: _Panel, row: _Row, images: CaseImages) -> Any:
    across, down = (mm for axis, mm in enumerate(images.spacing) if axis != row.plane.axis)
    axes.set_facecolor(BLACK)
    shown = axes.imshow(
        picture(panel.volume, row.plane.axis, row.place),
        cmap=panel.colours,
        vmin=panel.limits[0],
        vmax=panel.limits[1],
        aspect=down / across,
        interpolation="nearest" if panel.kind in {"error", "spread"} else "bilinear",
    )
    if panel.overlay:
        prediction = picture(images.prediction, row.plane.axis, row.place)
        truth = None if images.truth is None else picture(images.truth, row.plane.axis, row.place)
        draw_overlay(axes, panel.overlay, prediction, truth, least_grade=images.least_grade)
    axes.set_anchor("C")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return shown


def _mark_sides(axes: Axes, plane: Plane, oriented: bool) -> None:
    """Write the sides of the patient into the upper corners of a picture; question marks where they are unknown."""
    from matplotlib.patheffects import withStroke

    edge = withStroke(linewidth=2, foreground=BLACK)  # to be read on bright fat too
    sides = plane.sides if oriented else ("?", "?")
    for x, side, alignment in ((0.03, sides[0], "left"), (0.97, sides[1], "right")):
        text = axes.text(x, 0.97, side, transform=axes.transAxes, color="#ffd166", size=9.5, ha=alignment, va="top")
        text.set_path_effects([edge])


def _explain_values(figure: Figure, axes: Axes, shown: Any, panel: _Panel) -> None:
    """A colour bar below the picture of ``axes``."""
    box, total = axes.get_position(), float(figure.get_figheight())
    place = (box.x0 + 0.12 * box.width, 0.36 / total, 0.76 * box.width, 0.085 / total)
    low, high = panel.limits
    ticks = {
        low: _readable(low),
        (low + high) / 2: _readable((low + high) / 2),
        high: f"{_readable(high)} {panel.unit}",
    }
    extend = {"error": "both", "spread": "max"}.get(panel.kind, "neither")
    draw_colour_bar(figure, shown, place, ticks, extend=extend)


def _readable(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")
