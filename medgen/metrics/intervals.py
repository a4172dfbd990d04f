"""How often an interval of a synthetic CT holds the true value, and how wide it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.metrics.tissue import Tissue, tissue

Image = NDArray[np.floating]
Mask = NDArray[np.bool_]
_KINDS: tuple[Tissue, ...] = ("air", "soft", "bone")


def of_tissues(name: str, unit: str) -> dict[str, str]:
    """A metric over all voxels and in each tissue, with its unit.

    >>> list(of_tissues("ause", ""))
    ['ause', 'ause_air', 'ause_soft', 'ause_bone']
    """
    return {name: unit} | {f"{name}_{kind}": unit for kind in _KINDS}


UNITS = of_tissues("interval_coverage", "") | of_tissues("interval_width", "HU")
"""The metrics of :func:`interval_scores` in their order, with their units."""


def by_tissue(name: str, metric: Callable[[Mask], float], truth: Image, mask: Mask | None = None) -> dict[str, float]:
    """A metric over all voxels of the mask, and over those that are air, soft tissue and bone in the true CT."""
    everywhere = np.ones(truth.shape, bool) if mask is None else mask > 0
    kinds = {f"{name}_{kind}": metric(everywhere & tissue(truth, kind)) for kind in _KINDS}
    return {name: metric(everywhere), **kinds}


def interval_scores(lower: Image, upper: Image, truth: Image, mask: Mask | None = None) -> dict[str, float]:
    """Share of the voxels whose true value lies in the interval, and its mean width (sharpness), by tissue.

    Args:
        lower: ``(X, Y, Z)``, HU.
        upper: as ``lower``.
        truth: as ``lower``.
        mask: ``(X, Y, Z)``; None takes every voxel.

    Returns:
        By name, see :data:`UNITS`; NaN for a tissue that is absent.
    """
    if not lower.shape == upper.shape == truth.shape:
        raise ValueError(f"lower, upper and truth have shapes {lower.shape}, {upper.shape}, {truth.shape}")
    holds = (lower <= truth) & (truth <= upper)
    width = upper - lower
    shares = by_tissue("interval_coverage", lambda where: _mean(holds, where), truth, mask)
    return shares | by_tissue("interval_width", lambda where: _mean(width, where), truth, mask)


def _mean(values: NDArray[Any], where: Mask) -> float:
    return float(np.mean(values[where], dtype=np.float64)) if where.any() else math.nan
