"""Label maps drawn over an image: the outlines of truth and prediction, and where the two agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Overlay = Literal["contours", "agreement"]

# Of Okabe and Ito's palette, brightened for a dark image: apart for every kind of colour vision, and from grey.
TRUE, PREDICTED, BOTH, CONFUSED = "#56b4e9", "#ff7f2a", "#00a878", "#e58ac0"
_OPACITY = 0.6
_LABELS = {
    "contours": ((TRUE, "true"), (PREDICTED, "predicted")),
    "agreement": ((BOTH, "both"), (TRUE, "missed"), (PREDICTED, "invented")),
}


def draw_overlay(axes: Axes, overlay: Overlay, prediction: NDArray[Any], truth: NDArray[Any] | None) -> None:
    """Draw two slices of label maps over the image that ``axes`` shows.

    Args:
        axes: with an image of the same slice.
        overlay: ``contours``: an outline for each class; ``agreement``: colour where one or both have a class.
        prediction: ``(rows, columns)``, class indices.
        truth: the same; None where it is not known.
    """
    if overlay == "contours":
        if truth is not None:
            outline(axes, truth, TRUE, 2.0)  # wider, so that it shows on both sides of a prediction that is right
        outline(axes, prediction, PREDICTED, 1.1)
        return
    true = np.zeros_like(prediction) if truth is None else truth
    areas = (
        (BOTH, (prediction == true) & (true > 0)),
        (TRUE, (prediction == 0) & (true > 0)),
        (PREDICTED, (prediction > 0) & (true == 0)),
        (CONFUSED, (prediction != true) & (prediction > 0) & (true > 0)),
    )
    colours = np.zeros((*prediction.shape, 4))
    for colour, area in areas:
        colours[area] = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)] + [_OPACITY]
    axes.imshow(colours, interpolation="nearest", aspect=axes.get_aspect())


def explain_overlay(axes: Axes, overlay: Overlay, *, several: bool) -> None:
    """Name the colours below the picture of ``axes``.

    Args:
        axes: of the lowest row.
        overlay: what is drawn.
        several: whether classes can be confused with each other.
    """
    from matplotlib.lines import Line2D

    labels = _LABELS[overlay] + (((CONFUSED, "other class"),) if several and overlay == "agreement" else ())
    style: dict[str, Any] = {"linestyle": "none", "marker": "s", "markersize": 6}
    handles = [
        Line2D([], [], color=colour, label=label, **(style if overlay == "agreement" else {"linewidth": 2}))
        for colour, label in labels
    ]
    axes.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.01),
        ncols=2 if len(handles) == 4 else len(handles),
        frameon=False,
        fontsize=8,
        labelcolor="#d0d0d0",
        handlelength=1.0,
        columnspacing=1.0,
        handletextpad=0.4,
    )


def outline(axes: Axes, labels: NDArray[Any], colour: Any, width: float, *, style: str = "solid") -> None:
    """Draw a line around each class of a label map.

    Args:
        axes: with an image of the same slice.
        labels: ``(rows, columns)``, class indices.
        colour: as matplotlib takes it.
        width: of the line, in points.
        style: of the line.
    """
    # One voxel of background around the slice closes the outline of what touches the border.
    for index in np.unique(labels[labels > 0]):
        inside = np.pad((labels == index).astype(float), 1)
        rows, columns = (np.arange(size) - 1 for size in inside.shape)
        axes.contour(columns, rows, inside, levels=[0.5], colors=[colour], linewidths=width, linestyles=style)
    axes.set_xlim(-0.5, labels.shape[1] - 0.5)
    axes.set_ylim(labels.shape[0] - 0.5, -0.5)
