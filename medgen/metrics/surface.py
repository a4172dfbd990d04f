"""How far apart the surfaces of a predicted structure and the true one lie, in mm.

The definition is that of DeepMind's ``surface-distance`` (Nikolov et al. 2018, arXiv:1809.04430, section "Metrics"):
the surface is cut into elements by marching cubes on the voxel centres, an element has an area in mm2, and its distance
to the other surface is that to the nearest of its elements. Elements and distances come from MONAI; its own summaries
are not used, because ``HausdorffDistanceMetric`` weighs every voxel of the border the same whatever the spacing, and
drops a missed structure (NaN) from the mean.

Policy for empty masks: both empty is not applicable (NaN). One of them empty is the worst that can happen on the image:
HD95 is its diagonal in mm, NSD is 0.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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
    import torch
    from monai.metrics.utils import get_mask_edges, get_surface_distance

    masks = (torch.from_numpy(np.ascontiguousarray(mask[box])) for mask in (prediction, truth))
    # MONAI adds a margin outside the box, which closes a surface at the border of the image.
    predicted, true, predicted_areas, true_areas = get_mask_edges(*masks, spacing=spacing)
    return Surfaces(
        _sorted(get_surface_distance(predicted, true, spacing=spacing), predicted_areas[predicted]),
        _sorted(get_surface_distance(true, predicted, spacing=spacing), true_areas[true]),
    )


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


def _sorted(distances: Any, areas: Any) -> tuple[_Numbers, _Numbers]:
    """Distances and areas of the elements of one surface, the nearest first."""
    distance, area = np.asarray(distances, dtype=np.float64), np.asarray(areas, dtype=np.float64)
    order = np.argsort(distance, kind="stable")
    return distance[order], area[order]


def _percentile(distances: _Numbers, areas: _Numbers, percentile: float) -> float:
    """The distance that ``percentile`` % of the area does not exceed."""
    share = np.cumsum(areas) / areas.sum()
    return float(distances[min(int(np.searchsorted(share, percentile / 100)), len(distances) - 1)])
