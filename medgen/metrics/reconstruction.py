"""How much of an image a reconstruction keeps: error, similarity, and sharpness."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from medgen.metrics.sample_images import gradient_energy
from medgen.metrics.ssim import ssim_map

NORMALISED_RANGE = 2.0
"""Of images whose intensities lie in [-1, 1]."""
UNITS = {"mae": "", "psnr": "dB", "ssim": "", "gradient_energy_ratio": ""}
"""The numbers of :func:`reconstruction_scores` in their order; the MAE has the unit of the images."""


def reconstruction_scores(
    reconstruction: NDArray[np.floating], image: NDArray[np.floating], *, data_range: float | None = NORMALISED_RANGE
) -> dict[str, float]:
    """Compare a reconstruction with its image; the mean over the channels.

    Args:
        reconstruction: ``(C, A, B)`` or ``(C, X, Y, Z)``, any unit.
        image: as the reconstruction.
        data_range: width of the range of possible values, for PSNR and SSIM; None takes that of each channel of the
            image.

    Returns:
        ``mae`` in the unit of the images; ``psnr`` in dB, infinite for equal images; ``ssim`` with a uniform window of
        7 voxels a side, NaN where a side is shorter; ``gradient_energy_ratio``, the
        :func:`~medgen.metrics.sample_images.gradient_energy` of the reconstruction over that of the image: below 1 is
        blurred, above 1 noisy. NaN of an image of one value.

    Raises:
        ValueError: the shapes differ.

    >>> image = np.tile([[0.0, 1.0]], (1, 8, 8))[None]
    >>> reconstruction_scores(0.5 * image, image)["gradient_energy_ratio"]
    0.25
    """
    if reconstruction.shape != image.shape or image.ndim not in (3, 4):
        raise ValueError(f"both must be (C, ...) of one shape, not {reconstruction.shape} and {image.shape}")
    found, true = reconstruction.astype(np.float64), image.astype(np.float64)
    ranges = [float(np.ptp(each)) if data_range is None else data_range for each in true]
    rows = [_scores(*each) for each in zip(found, true, ranges, strict=True)]
    return {name: float(np.mean([row[name] for row in rows])) for name in UNITS}


def _scores(found: NDArray[np.float64], true: NDArray[np.float64], data_range: float) -> dict[str, float]:
    squared = float(np.square(found - true).mean())
    similarity = ssim_map(found, true, data_range=data_range)
    energy, own = (float(each) for each in gradient_energy(np.stack([true, found])[:, None]))
    return {
        "mae": float(np.abs(found - true).mean()),
        "psnr": _decibel(data_range, squared),
        "ssim": float(similarity.mean()) if similarity.size and data_range > 0 else math.nan,
        "gradient_energy_ratio": own / energy if energy > 0 else math.nan,
    }


def _decibel(peak: float, squared: float) -> float:
    if squared == 0:
        return math.inf
    return 10 * math.log10(peak**2 / squared) if peak > 0 else math.nan
