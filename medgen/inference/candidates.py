"""From a map of tumour probability to a short list of lesions, each one connected piece with one confidence.

The dynamic threshold is that of the PI-CAI baselines (Bosma et al. 2023, Radiology: AI 5:e230031, and their package
report-guided-annotation): a lesion reaches down to a fraction of its own highest probability, so a faint one is
outlined as completely as a bright one, and no threshold has to be chosen for a whole cohort.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.inference.dynamic_threshold import Map, Mask, dynamic_pieces, large_pieces
from medgen.metrics.overlap import CUBE
from medgen.recipe.prediction import DetectionConfig

_ROUNDING = 1e-6
"""Of a voxel: a spacing in single precision must not decide whether a lesion is large enough."""


@dataclass(frozen=True)
class Lesion:
    """One candidate; lengths along the axes of the voxel grid, voxel indices from 0.

    Attributes:
        confidence: its highest probability, in (0, 1].
        volume_mm3: its volume.
        voxels: how many it has.
        centre_mm: its centre of mass, in the millimetres of the affine (RAS+).
        centre_voxel: the same as a voxel index, not rounded.
        peak_voxel: a voxel with the highest probability.
        slice: of the slices across the thickest direction (the last one of equals), the one that shows most of it.
        slice_axis: that direction, 0 to 2.
        extent_mm: edges of the box around it.
        first_voxel: lowest corner of that box.
        last_voxel: highest corner, inside the box.
        mean_probability: over its voxels.
    """

    confidence: float
    volume_mm3: float
    voxels: int
    centre_mm: tuple[float, float, float]
    centre_voxel: tuple[float, float, float]
    peak_voxel: tuple[int, int, int]
    slice: int
    slice_axis: int
    extent_mm: tuple[float, float, float]
    first_voxel: tuple[int, int, int]
    last_voxel: tuple[int, int, int]
    mean_probability: float


@dataclass(frozen=True, eq=False)
class Candidates:
    """The lesions of one patient.

    Attributes:
        map: (X, Y, Z) float32, the confidence of a lesion in all of its voxels, 0 elsewhere; no two lesions touch.
        lesions: the most confident first.
    """

    map: Map
    lesions: tuple[Lesion, ...]

    @property
    def score(self) -> float:
        """The patient's score: the highest confidence, 0 where nothing was found."""
        return max((lesion.confidence for lesion in self.lesions), default=0.0)


def find_candidates(
    probability: NDArray[Any],
    spacing: Sequence[float],
    settings: DetectionConfig,
    *,
    affine: NDArray[Any] | None = None,
    inside: NDArray[Any] | None = None,
) -> Candidates:
    """Find the lesions in a map of probability.

    With the dynamic threshold, the highest probability left is taken, divided by ``settings.factor``, and everything
    connected above that is one lesion, which is removed; and so on with the next. A piece that touches one that was
    found before is its rim and no lesion. With a fixed threshold, every connected piece above it is a lesion.

    Args:
        probability: (X, Y, Z) in [0, 1].
        spacing: of its voxels along (X, Y, Z), in mm.
        settings: threshold, smallest size and largest number.
        affine: (4, 4) voxel index to RAS+ mm; None: the spacing alone, from voxel (0, 0, 0).
        inside: (X, Y, Z), non-zero where a lesion may lie; None: everywhere.

    Raises:
        ValueError: the map is not three-dimensional or not between 0 and 1, or the shapes differ.
    """
    values = _checked(probability, inside)
    least = max(1.0, settings.minimum_mm3 / float(np.prod(spacing)) - _ROUNDING)
    box = _box(values > 0 if settings.threshold == "dynamic" else values >= np.float32(settings.threshold))
    result = np.zeros(values.shape, np.float32)
    if box is None:
        return Candidates(result, ())
    part = values[box]
    pieces = (
        dynamic_pieces(part.copy(), least, settings)
        if settings.threshold == "dynamic"
        else _fixed(part, least, settings)
    )
    place = np.diag([*spacing, 1.0]) if affine is None else np.asarray(affine, float)
    first = [each.start for each in box]
    lesions = []
    for piece in pieces:
        lesions.append(_describe(piece, part, first, spacing, place))
        result[box][piece] = lesions[-1].confidence
    order = sorted(lesions, key=lambda lesion: -lesion.confidence)
    return Candidates(result, tuple(order))


def _checked(probability: NDArray[Any], inside: NDArray[Any] | None) -> Map:
    values = np.asarray(probability, np.float32)
    if values.ndim != 3:
        raise ValueError(f"a map of probability has shape (X, Y, Z), not {values.shape}")
    if values.size and not (values.min() >= 0 and values.max() <= 1):  # so written, NaN is refused too
        raise ValueError(f"probabilities lie in [0, 1], not in [{values.min():g}, {values.max():g}]")
    if inside is None:
        return values
    if np.shape(inside) != values.shape:
        raise ValueError(f"a mask of shape {np.shape(inside)} does not fit a map of {values.shape}")
    return np.where(np.asarray(inside) != 0, values, np.float32(0))


def _box(mask: Mask) -> tuple[slice, slice, slice] | None:
    """The box around the voxels that are True; None where there are none."""
    from scipy import ndimage

    boxes = ndimage.find_objects(mask.view(np.uint8))
    return boxes[0] if boxes else None


def _fixed(values: Map, least: float, settings: DetectionConfig) -> list[Mask]:
    from scipy import ndimage

    labels, _ = ndimage.label(values >= np.float32(settings.threshold), CUBE)
    large = large_pieces(labels, least)
    peaks = np.asarray(ndimage.maximum(values, labels, large)) if large.size else np.zeros(0)
    order = np.argsort(-peaks, kind="stable")[: settings.most]
    return [np.asarray(labels == large[index]) for index in order]


def _describe(piece: Mask, values: Map, first: Sequence[int], spacing: Sequence[float], affine: NDArray[Any]) -> Lesion:
    """Measures of one piece of the box that begins at voxel ``first``."""
    where = np.argwhere(piece)
    inside = values[piece]
    index = where + np.asarray(first)
    low, high = index.min(axis=0), index.max(axis=0)
    centre = index.mean(axis=0)
    axis = max(range(3), key=lambda each: (round(float(spacing[each]), 3), each))
    return Lesion(
        confidence=float(inside.max()),
        volume_mm3=len(where) * float(np.prod(spacing)),
        voxels=len(where),
        centre_mm=_three(affine[:3, :3] @ centre + affine[:3, 3]),
        centre_voxel=_three(centre),
        peak_voxel=_whole(index[int(np.argmax(inside))]),
        slice=int(np.argmax(np.bincount(index[:, axis]))),
        slice_axis=axis,
        extent_mm=_three((high - low + 1) * np.asarray(spacing)),
        first_voxel=_whole(low),
        last_voxel=_whole(high),
        mean_probability=float(inside.mean(dtype=np.float64)),
    )


def _three(values: NDArray[Any]) -> tuple[float, float, float]:
    x, y, z = (float(each) for each in values)
    return x, y, z


def _whole(values: NDArray[Any]) -> tuple[int, int, int]:
    x, y, z = (int(each) for each in values)
    return x, y, z
