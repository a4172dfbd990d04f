"""What an image-to-image model does to lesions: those that it loses, those that it invents, the contrast that it keeps.

A model that is trained to match the distribution of its target set can remove lesions which that set has not, and paint
lesions which that set has (Cohen et al. 2018, arXiv 1805.08841). The mean error of the image hardly shows it. Here the
true image of the same patient and a label map of its lesions tell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medgen.metrics.overlap import CUBE
from medgen.types import Array

RING_MM = (1.0, 6.0)
"""Distance from a lesion of the tissue that it is compared with."""
LOST_BELOW = 0.5
"""Share of the true contrast below which a lesion is lost."""
SMALLEST_ML = 0.25
"""Smaller pieces are no invented lesions: a ball of 4 mm radius."""
_SMOOTH = 3
"""Voxels along each axis of the box over which a deviation is averaged, so that no thin edge counts as a lesion."""


@dataclass(frozen=True)
class LesionFidelity:
    """Lesions of one patient, or of several by :meth:`__add__`.

    Attributes:
        contrasts: of each lesion that the true image shows, in the unit of the images.
        kept: of each of them, the contrast in the prediction divided by the true one; 1 is right.
        unseen: lesions that the true image does not show, outside the mask, or without tissue around; not judged.
        invented_ml: volume of each region that is as far beyond the truth as half a lesion.
        unknown: patients without any contrast to call something invented by: ``invented_ml`` is not of them.
    """

    contrasts: tuple[float, ...] = ()
    kept: tuple[float, ...] = ()
    unseen: int = 0
    invented_ml: tuple[float, ...] = field(default=())
    unknown: int = 0

    @property
    def lesions(self) -> int:
        """Lesions that the true image shows."""
        return len(self.kept)

    @property
    def lost(self) -> int:
        """Of them, those whose prediction has less than half of the contrast."""
        return sum(not share >= LOST_BELOW for share in self.kept)

    @property
    def invented(self) -> int:
        """Regions of the prediction that look like a lesion and are none; without those of ``unknown`` patients."""
        return len(self.invented_ml)

    @property
    def contrast_kept(self) -> float:
        """Median of ``kept``; NaN without a lesion."""
        return float(np.median(self.kept)) if self.kept else math.nan

    def __add__(self, other: LesionFidelity) -> LesionFidelity:
        """The lesions of both."""
        return LesionFidelity(
            self.contrasts + other.contrasts,
            self.kept + other.kept,
            self.unseen + other.unseen,
            self.invented_ml + other.invented_ml,
            self.unknown + other.unknown,
        )


def lesion_fidelity(
    prediction: Array,
    truth: Array,
    label: Array,
    mask: Array,
    *,
    spacing: Sequence[float],
    contrast: float | None = None,
    smallest_ml: float = SMALLEST_ML,
) -> LesionFidelity:
    """Compare the lesions of a predicted image with those of the true one.

    The contrast of a lesion (26-connected piece of ``label``) is its mean less the median of the tissue 1 to 6 mm
    around, where no other lesion is. It is *lost* where the prediction has less than half of the true contrast. A
    lesion is *invented* where the prediction, averaged over 3 x 3 x 3 voxels, lies beyond the truth by more than half
    of ``contrast``, in its direction, in a connected region of at least ``smallest_ml``, over 2 mm from all lesions.
    What is no lesion of the label but stands in the true image is not invented.

    Args:
        prediction: (X, Y, Z), in the unit of the truth.
        truth: (X, Y, Z), the true image.
        label: (X, Y, Z), non-zero in lesions; empty for a patient without one.
        mask: (X, Y, Z), non-zero where lesions can be, such as the brain.
        spacing: voxel size in mm.
        contrast: of a typical lesion, positive for a bright one; by default the median of this patient's. Of a patient
            without lesions it must be given, else nothing can be called invented, and the patient counts as
            ``unknown``.
        smallest_ml: of an invented lesion.

    Returns:
        The lesions of this patient; add those of others with ``+``.

    Raises:
        ValueError: arrays that differ in shape, or a number in the mask of an image that is not finite.
    """
    inside, lesion = np.asarray(mask) > 0, np.asarray(label) > 0
    images = [np.asarray(each, np.float64) for each in (prediction, truth)]
    if not images[0].shape == images[1].shape == lesion.shape == inside.shape:
        raise ValueError(
            f"shapes differ: {images[0].shape}, truth {images[1].shape}, label {lesion.shape}, mask {inside.shape}"
        )
    if not all(np.isfinite(each[inside]).all() for each in images):
        raise ValueError("an image has numbers in the mask that are not finite")
    found, true, unseen = [], [], _outside(lesion, inside)
    for piece, ring in _with_rings(lesion, inside, spacing):
        predicted, real = (_contrast(each, piece, ring) for each in images)
        if abs(real) > float(np.std(images[1][ring])) / 2:
            true.append(real)
            found.append(predicted / real)
        else:
            unseen += 1
    if contrast is None:
        contrast = float(np.median(true)) if true else math.nan
    if not math.isfinite(contrast) or contrast == 0:
        return LesionFidelity(tuple(true), tuple(found), unseen, unknown=1)
    invented = _invented(images[0] - images[1], lesion, inside, spacing, contrast, smallest_ml)
    return LesionFidelity(tuple(true), tuple(found), unseen, invented)


def _outside(lesion: NDArray[np.bool_], inside: NDArray[np.bool_]) -> int:
    """How many lesions have no voxel in the mask."""
    numbered, count = ndimage.label(lesion, CUBE)
    return int(count) - len(np.unique(numbered[lesion & inside]))


def _with_rings(
    lesion: NDArray[np.bool_], inside: NDArray[np.bool_], spacing: Sequence[float]
) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Each lesion in the mask and the tissue around it; an empty ring counts as the lesion itself: no contrast."""
    numbered, count = ndimage.label(lesion & inside, CUBE)
    pairs = []
    for number in range(1, count + 1):
        piece = numbered == number
        distance = ndimage.distance_transform_edt(~piece, sampling=spacing)
        ring = (distance >= RING_MM[0]) & (distance <= RING_MM[1]) & inside & ~lesion
        pairs.append((piece, ring if ring.any() else piece))
    return pairs


def _contrast(image: NDArray[np.float64], piece: NDArray[np.bool_], ring: NDArray[np.bool_]) -> float:
    return float(image[piece].mean() - np.median(image[ring]))


def _invented(
    deviation: NDArray[np.float64],
    lesion: NDArray[np.bool_],
    inside: NDArray[np.bool_],
    spacing: Sequence[float],
    contrast: float,
    smallest_ml: float,
) -> tuple[float, ...]:
    """Volumes in ml of the regions that are half a lesion beyond the truth."""
    smooth = ndimage.uniform_filter(np.where(inside, deviation, 0.0), _SMOOTH)
    beyond = (smooth * math.copysign(1, contrast) > abs(contrast) / 2) & inside
    if lesion.any():
        beyond &= ndimage.distance_transform_edt(~lesion, sampling=spacing) > 2
    numbered, _ = ndimage.label(beyond, CUBE)
    volumes = np.bincount(numbered.ravel())[1:] * math.prod(spacing) / 1000
    return tuple(float(each) for each in volumes if each >= smallest_ml)
