"""What is drawn over an image: outlines of label maps, where two of them agree, and the candidates of a detection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from medgen.report.drawing import PALE, WHITE, draw_colour_bar

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Overlay = Literal["contours", "agreement", "candidates"]

# Of Okabe and Ito's palette, brightened for a dark image: apart for every kind of colour vision, and from grey.
TRUE, PREDICTED, BOTH, CONFUSED = "#56b4e9", "#ff7f2a", "#00a878", "#e58ac0"
CONFIDENCES = "autumn_r"
"""From yellow to red: apart from grey and from the blue of the truth for every kind of colour vision."""

_OPACITY, _CANDIDATE_OPACITY = 0.6, 0.35  # the outline of a candidate has the full colour
_LABELS = {
    "contours": ((TRUE, "true"), (PREDICTED, "predicted")),
    "agreement": ((BOTH, "both"), (TRUE, "missed"), (PREDICTED, "invented")),
}


def draw_overlay(
    axes: Axes, overlay: Overlay, prediction: NDArray[Any], truth: NDArray[Any] | None, *, least_grade: int = 1
) -> None:
    """Draw two slices over the image that ``axes`` shows.

    Args:
        axes: with an image of the same slice.
        overlay: ``contours``: an outline for each class; ``agreement``: colour where one or both have a class;
            ``candidates``: colour by confidence, and outlines of the true lesions.
        prediction: ``(rows, columns)``, class indices, or confidences in [0, 1].
        truth: ``(rows, columns)``, class indices, or grades of lesions; None where it is not known.
        least_grade: the lowest grade of a lesion that should be found; others have a dotted outline.
    """
    if overlay == "candidates":
        _draw_candidates(axes, prediction, truth, least_grade)
    elif overlay == "agreement":
        _draw_agreement(axes, prediction, np.zeros_like(prediction) if truth is None else truth)
    else:
        if truth is not None:
            outline(axes, truth, TRUE, 2.0)  # wider, so that it shows on both sides of a prediction that is right
        outline(axes, prediction, PREDICTED, 1.1)


def areas_of_agreement(prediction: NDArray[Any], true: NDArray[Any]) -> list[tuple[str, NDArray[np.bool_]]]:
    """Where two label maps of one shape agree, miss, invent and confuse a class, each with its colour."""
    return [
        (BOTH, (prediction == true) & (true > 0)),
        (TRUE, (prediction == 0) & (true > 0)),
        (PREDICTED, (prediction > 0) & (true == 0)),
        (CONFUSED, (prediction != true) & (prediction > 0) & (true > 0)),
    ]


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue from 0 to 255.

    >>> rgb("#ff7f2a")
    (255, 127, 42)
    """
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _draw_agreement(axes: Axes, prediction: NDArray[Any], true: NDArray[Any]) -> None:
    colours = np.zeros((*prediction.shape, 4))
    for colour, area in areas_of_agreement(prediction, true):
        colours[area] = [*(part / 255 for part in rgb(colour)), _OPACITY]
    axes.imshow(colours, interpolation="nearest", aspect=axes.get_aspect())


def _draw_candidates(axes: Axes, confidence: NDArray[Any], grades: NDArray[Any] | None, least_grade: int) -> None:
    from matplotlib import colormaps

    axes.imshow(
        np.ma.masked_where(confidence <= 0, confidence),
        cmap=CONFIDENCES,
        vmin=0.0,
        vmax=1.0,
        alpha=_CANDIDATE_OPACITY,
        aspect=axes.get_aspect(),
        interpolation="nearest",
    )
    if grades is not None:
        outline(axes, grades >= least_grade, TRUE, 2.4)
        outline(axes, _lower(grades, least_grade), WHITE, 1.3, style="dotted")
    for value in np.unique(confidence[confidence > 0]):
        outline(axes, confidence == value, colormaps[CONFIDENCES](float(value)), 1.1)


def _lower(grades: NDArray[Any], least_grade: int) -> NDArray[np.bool_]:
    """Lesions that need not be found, such as an indolent tumour."""
    return (grades > 0) & (grades < least_grade)


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
        labelcolor=PALE,
        handlelength=1.0,
        columnspacing=1.0,
        handletextpad=0.4,
    )


def explain_candidates(figure: Figure, grades: NDArray[Any] | None, least_grade: int) -> None:
    """Draw a colour bar of confidence, and name the outlines, below the picture.

    Args:
        figure: with the picture.
        grades: ``(rows, columns)``, of the true lesions in the slice; None where they are not known.
        least_grade: the lowest grade of a lesion that should be found.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.lines import Line2D

    total = float(figure.get_figheight())
    ticks = {0.0: "0.0", 0.5: "0.5", 1.0: "1.0"}
    place = (0.04, 0.57 / total, 0.3, 0.1 / total)
    draw_colour_bar(figure, ScalarMappable(cmap=CONFIDENCES), place, ticks, label="confidence of a candidate")
    if grades is None:
        return
    above = f" (grade {least_grade} or more)" if least_grade > 1 else ""
    handles = [Line2D([], [], color=TRUE, linewidth=2, label=f"true lesion{above}")]
    if _lower(grades, least_grade).any():
        handles.append(Line2D([], [], color=WHITE, linewidth=1.2, linestyle=":", label="lesion of a lower grade"))
    anchor = (0.38, 0.53 / total)
    figure.legend(handles=handles, loc="center left", bbox_to_anchor=anchor, frameon=False, fontsize=8, labelcolor=PALE)


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
