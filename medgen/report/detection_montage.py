"""A picture of what was detected: the inputs side by side in one slice, and below them the candidates over them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medgen.report.drawing import new_figure
from medgen.report.montage import DISCLAIMER, mark_sides
from medgen.report.overlays import TRUE, outline
from medgen.report.slices import PLANES, Plane, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = "autumn_r"
"""From yellow to red: apart from grey and from the blue of the truth for every kind of colour vision."""

MARGIN = 12.0
"""Millimetres that a picture keeps around the organ and all that is marked."""

_BLACK, _WHITE, _GREY = "#000000", "#f2f2f2", "#9a9a9a"
_OPACITY = 0.35  # of a candidate; its outline has the full colour
_INCHES_A_COLUMN = 3.0
_TITLE_INCHES, _LEGEND_INCHES, _LEFT_INCHES = 0.62, 0.85, 0.1
_NAMES = {"hbv": "DWI, high b", "dwi": "DWI"}


@dataclass(frozen=True, eq=False)
class DetectionImages:
    """The volumes of one case on the grid of its detection map in RAS+ order, each (X, Y, Z).

    Args:
        inputs: by role, in the image's own unit.
        confidence: the detection map, in [0, 1].
        grades: of the true lesions, 0 elsewhere; None where they are not known.
        least_grade: from here on a lesion should be found.
        organ: bool, what the picture is cut to, with all that is marked; None for the whole image.
        spacing: voxel size in mm.
        affine: (4, 4) voxel index to RAS+ mm.
        oriented: whether the files say where left and right are.
    """

    inputs: Mapping[str, NDArray[Any]]
    confidence: NDArray[np.float32]
    grades: NDArray[Any] | None
    least_grade: int
    organ: NDArray[np.bool_] | None
    spacing: tuple[float, float, float]
    affine: NDArray[np.float64]
    oriented: bool = True

    @property
    def truth(self) -> NDArray[np.bool_] | None:
        """Where the lesions are that should be found."""
        return None if self.grades is None else self.grades >= self.least_grade

    @property
    def plane(self) -> Plane:
        """The plane of the acquisition: across the thickest direction, axial among equals."""
        thickest = max(range(3), key=lambda axis: (round(self.spacing[axis], 2), axis))
        return next(plane for plane in PLANES if plane.axis == thickest)


def detection_montage(images: DetectionImages, target: NDArray[np.bool_], *, title: str) -> Figure:
    """Draw one slice of a case: a column for each input, above plain and below with the candidates.

    The picture is in radiological convention (the patient's right on the left), and voxels keep their proportions in
    millimetres.

    Args:
        images: the volumes.
        target: (X, Y, Z), what is shown: the slice goes where most of it is.
        title: a line above the picture.

    Returns:
        A figure on black.
    """
    box, plane = _box(images, target), images.plane
    index = fullest_slice(target, plane.axis)
    flat = {role: picture(volume[box], plane.axis, index - box[plane.axis].start) for role, volume in _shown(images)}
    across, down = (mm for axis, mm in enumerate(images.spacing) if axis != plane.axis)
    rows, columns = flat["confidence"].shape
    height = _INCHES_A_COLUMN * (rows * down) / (columns * across)
    count = max(1, len(images.inputs))
    width, total = _LEFT_INCHES + _INCHES_A_COLUMN * count, _TITLE_INCHES + 2 * height + _LEGEND_INCHES
    figure = new_figure(width, total, background=_BLACK)
    figure.text(0.11 / width, 1 - 0.09 / total, title, color=_WHITE, size=10.5, va="top", weight="bold")
    figure.text(0.11 / width, 0.05 / total, DISCLAIMER, color=_GREY, size=7.5, va="bottom")
    layout = figure.add_gridspec(
        2,
        count,
        left=_LEFT_INCHES / width,
        right=1.0,
        bottom=_LEGEND_INCHES / total,
        top=1 - _TITLE_INCHES / total,
        wspace=0.02,
        hspace=0.02,
    )
    for column, role in enumerate(images.inputs or [""]):
        image = flat.get(f"input {role}", np.zeros((rows, columns)))
        for row in range(2):
            axes = figure.add_subplot(layout[row, column])
            _image(axes, image, down / across)
            if row == 0:
                axes.set_title(_NAMES.get(role, role.upper()), color=_WHITE, size=10, pad=5)
            else:
                _mark(axes, flat, images.least_grade)
            if column == 0 and row == 0:
                mark_sides(axes, plane, images.oriented)
    _explain(figure, flat, images, total)
    return figure


def fullest_slice(target: NDArray[np.bool_], axis: int) -> int:
    """The slice along ``axis`` that holds most of a structure; the middle one where there is none."""
    if not target.any():
        return int(target.shape[axis]) // 2
    return int(np.argmax(target.sum(axis=tuple({0, 1, 2} - {axis}))))


def _shown(images: DetectionImages) -> list[tuple[str, NDArray[Any]]]:
    volumes = [(f"input {role}", volume) for role, volume in images.inputs.items()]
    volumes.append(("confidence", images.confidence))
    return volumes if images.grades is None else [*volumes, ("grades", images.grades)]


def _box(images: DetectionImages, target: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Around the organ and all that is marked; the whole image where no organ is known."""
    if images.organ is None or not images.organ.any():
        return tuple(slice(0, size) for size in target.shape)
    marked = images.organ | target | (images.confidence > 0)
    if images.truth is not None:
        marked = marked | images.truth
    box = []
    for axis, (size, step) in enumerate(zip(target.shape, images.spacing, strict=True)):
        where = np.flatnonzero(marked.any(axis=tuple({0, 1, 2} - {axis})))
        border = round(MARGIN / step)
        box.append(slice(max(0, int(where[0]) - border), min(size, int(where[-1]) + 1 + border)))
    return tuple(box)


def _image(axes: Axes, image: NDArray[Any], aspect: float) -> None:
    finite = image[np.isfinite(image)]
    low, high = np.percentile(finite, (0.5, 99.7)) if finite.size else (0.0, 1.0)
    axes.set_facecolor(_BLACK)
    axes.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), aspect=aspect, interpolation="bilinear")
    axes.set_anchor("C")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _mark(axes: Axes, flat: Mapping[str, NDArray[Any]], least_grade: int) -> None:
    from matplotlib import colormaps

    confidence = flat["confidence"]
    axes.imshow(
        np.ma.masked_where(confidence <= 0, confidence),
        cmap=COLOURS,
        vmin=0.0,
        vmax=1.0,
        alpha=_OPACITY,
        aspect=axes.get_aspect(),
        interpolation="nearest",
    )
    if "grades" in flat:
        # Wider than that of a candidate, so that it shows on both sides of one that is right.
        outline(axes, flat["grades"] >= least_grade, TRUE, 2.4)
        outline(axes, _lower(flat["grades"], least_grade), _WHITE, 1.3, style="dotted")
    for value in np.unique(confidence[confidence > 0]):
        outline(axes, confidence == value, colormaps[COLOURS](float(value)), 1.1)


def _lower(grades: NDArray[Any], least_grade: int) -> NDArray[np.bool_]:
    """Lesions that need not be found, such as an indolent tumour."""
    return (grades > 0) & (grades < least_grade)


def _explain(figure: Figure, flat: Mapping[str, NDArray[Any]], images: DetectionImages, total: float) -> None:
    """A colour bar of confidence, and the names of the lines, below the picture."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.lines import Line2D

    place = figure.add_axes((0.04, 0.57 / total, 0.3, 0.1 / total))
    bar = figure.colorbar(ScalarMappable(cmap=COLOURS), cax=place, orientation="horizontal")
    bar.set_ticks([0.0, 0.5, 1.0])
    bar.ax.tick_params(colors=_GREY, labelsize=7.5, length=2)
    bar.set_label("confidence of a candidate", color="#d0d0d0", fontsize=8, labelpad=2)
    bar.outline.set_edgecolor(_GREY)
    if images.grades is None:
        return
    above = f" (grade {images.least_grade} or more)" if images.least_grade > 1 else ""
    handles = [Line2D([], [], color=TRUE, linewidth=2, label=f"true lesion{above}")]
    if _lower(flat["grades"], images.least_grade).any():
        handles.append(Line2D([], [], color=_WHITE, linewidth=1.2, linestyle=":", label="lesion of a lower grade"))
    figure.legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=(0.38, 0.53 / total),
        ncols=1,
        frameon=False,
        fontsize=8,
        labelcolor="#d0d0d0",
    )
