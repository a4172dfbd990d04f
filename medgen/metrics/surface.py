# mypy: allow-untyped-calls
# MONAI carries annotations in part only.
"""How far apart the surfaces of a predicted structure and the true one lie, in mm.

The definition is that of DeepMind's ``surface-distance`` (Nikolov et al. 2018, arXiv:1809.04430, section "Metrics"):
the surface is cut into elements by marching cubes on the voxel centres, an element has an area in mm2, and its distance
to the other surface is that to the nearest of its elements. The table of areas is MONAI's. Its metrics are not used:
``HausdorffDistanceMetric`` weighs every voxel of the border the same whatever the spacing and drops a missed structure
(NaN) from the mean, and its subvoxel surfaces take a float convolution of the whole box, several times as long.

Policy for empty masks: both empty is not applicable (NaN). One of them empty is the worst that can happen on the image:
HD95 is its diagonal in mm, NSD is 0.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from medgen.metrics.overlap import Mask, Spacing, joint_box, require_masks

TOLERANCE = 2.0
"""mm; default tolerance of the normalised surface Dice."""

_Numbers = NDArray[np.float64]


class Surfaces(NamedTuple):
    """The elements of two surfaces: distance to the other surface (mm) and area (mm2) of each, sorted by distance."""

    prediction: tuple[_Numbers, _Numbers]
    truth: tuple[_Numbers, _Numbers]


def surface_distances(prediction: Mask, truth: Mask, spacing: Spacing) -> Surfaces | None:
    """The elements of both surfaces with their distances.

    A structure at the border of the image is closed there.

    Args:
        prediction: ``(X, Y, Z)``.
        truth: as the prediction.
        spacing: voxel size in mm, which may differ between the axes.

    Returns:
        The surfaces; None where a mask is empty.

    Raises:
        ValueError: the two are not masks of one shape.
    """
    require_masks(prediction, truth)
    box = joint_box(prediction, truth)
    if box is None or not prediction.any() or not truth.any():
        return None
    (predicted, predicted_areas), (true, true_areas) = (_elements(mask[box], spacing) for mask in (prediction, truth))
    return Surfaces(
        _sorted(KDTree(true).query(predicted)[0], predicted_areas),
        _sorted(KDTree(predicted).query(true)[0], true_areas),
    )


def _elements(mask: Mask, spacing: Spacing) -> tuple[_Numbers, _Numbers]:
    """Places (n, 3) in mm and areas (n,) in mm2 of the elements of a surface.

    An element lies between eight voxels, some of which are in the mask; which ones is coded in one byte.
    """
    from monai.metrics.utils import get_code_to_measure_table

    areas, weights = (np.asarray(each) for each in get_code_to_measure_table(spacing))
    padded = np.pad(mask, 1).view(np.uint8)  # closes the surface at the border of the image
    codes = np.zeros([size - 1 for size in padded.shape], dtype=np.uint8)
    for offset in np.ndindex(2, 2, 2):
        part = padded[tuple(slice(start, start + size) for start, size in zip(offset, codes.shape, strict=True))]
        codes += part * np.uint8(weights.reshape(2, 2, 2)[offset])
    places = np.argwhere((codes != 0) & (codes != 255))
    return places * np.asarray(spacing), areas[codes[tuple(places.T)]].astype(np.float64)


def surface_scores(
    prediction: Mask, truth: Mask, spacing: Spacing, *, tolerance: float = TOLERANCE
) -> tuple[float, float]:
    """:func:`hd95` and :func:`nsd` from one computation of the surfaces; the arguments are theirs."""
    surfaces = surface_distances(prediction, truth, spacing)
    if surfaces is None:
        return _missed(prediction, truth, spacing)
    distance = max(_percentile(distances, areas, 95.0) for distances, areas in surfaces)
    near = sum(float(areas[distances <= tolerance].sum()) for distances, areas in surfaces)
    return distance, near / sum(float(areas.sum()) for _, areas in surfaces)


def hd95(prediction: Mask, truth: Mask, spacing: Spacing) -> float:
    """Robust Hausdorff distance in mm: the larger of the two directed 95th percentiles, by area.

    Args:
        prediction: ``(X, Y, Z)``.
        truth: as the prediction.
        spacing: voxel size in mm.

    Returns:
        The distance that 95 % of each surface does not exceed; the diagonal of the image where one mask is empty, NaN
        where both are.

    >>> hd95(np.zeros((3, 4, 12), bool), np.ones((3, 4, 12), bool), (1.0, 1.0, 1.0))
    13.0
    """
    return surface_scores(prediction, truth, spacing)[0]


def nsd(prediction: Mask, truth: Mask, spacing: Spacing, *, tolerance: float = TOLERANCE) -> float:
    """Normalised surface Dice: the share of both surfaces that lies within ``tolerance`` mm of the other, in [0, 1].

    Args:
        prediction: ``(X, Y, Z)``.
        truth: as the prediction.
        spacing: voxel size in mm.
        tolerance: mm.

    Returns:
        The share; 0 where one mask is empty, NaN where both are.
    """
    return surface_scores(prediction, truth, spacing, tolerance=tolerance)[1]


def _missed(prediction: Mask, truth: Mask, spacing: Spacing) -> tuple[float, float]:
    """HD95 and NSD where a mask is empty."""
    if not prediction.any() and not truth.any():
        return math.nan, math.nan
    return math.hypot(*(size * step for size, step in zip(truth.shape, spacing, strict=True))), 0.0


def _sorted(distances: _Numbers, areas: _Numbers) -> tuple[_Numbers, _Numbers]:
    """Distances and areas of the elements of one surface, the nearest first."""
    order = np.argsort(distances, kind="stable")
    return distances[order], areas[order]


def _percentile(distances: _Numbers, areas: _Numbers, percentile: float) -> float:
    """The distance that ``percentile`` % of the area does not exceed."""
    share = np.cumsum(areas) / areas.sum()
    return float(distances[min(int(np.searchsorted(share, percentile / 100)), len(distances) - 1)])
