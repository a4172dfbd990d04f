"""Structural similarity with separable windows: uniform (as scikit-image), Gaussian, multi-scale.

MONAI's SSIM convolves with a dense 11^3 kernel; here a window is three passes along the axes. Both work on the
smallest box that holds the mask, a slab of planes at a time, so memory does not grow with the volume.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Window = Literal["uniform", "gaussian"]
Image = NDArray[np.floating]
Mask = NDArray[np.bool_]

UNIFORM_SIZE = 7
GAUSSIAN_SIGMA, GAUSSIAN_RADIUS = 1.5, 5
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales, finest first (Wang, Simoncelli, Bovik 2003)."""
SMALLEST_SIDE = 97
"""Sides are padded to this before the five scales, as in SynthRAD2025."""
_SLAB_VOXELS = 2**21


def radius(window: Window) -> int:
    """Voxels on each side of the centre that a window covers."""
    return UNIFORM_SIZE // 2 if window == "uniform" else GAUSSIAN_RADIUS


def ssim_map(first: Image, second: Image, *, data_range: float, window: Window = "uniform") -> Image:
    """Structural similarity around each voxel whose window lies inside the image.

    ``uniform``: 7^3 box and sample covariance, the defaults of scikit-image. ``gaussian``: sigma 1.5, 11^3, population
    covariance (Wang et al. 2004). K1 = 0.01, K2 = 0.03.

    Args:
        first: ``(X, Y, Z)``, any unit.
        second: as the first.
        data_range: width of the range of possible values, in the unit of the images.
        window: shape of the window.

    Returns:
        ``(X - 2r, Y - 2r, Z - 2r)`` float64 in [-1, 1] with r = :func:`radius`; empty where a side is too short.
    """
    luminance, contrast = _terms(first, second, data_range, window)
    return luminance * contrast


def plain_multiscale_ssim(first: Image, second: Image, *, data_range: float, scales: int) -> float:
    """Multi-scale SSIM as published (Wang, Simoncelli, Bovik 2003, eq. 7), with Gaussian windows, of whole images.

    The means of contrast and structure over each scale, and of luminance, contrast and structure over the coarsest,
    are cut off at 0, raised to the weights of the scales and multiplied. A scale is halved by means of 2 x 2 (x 2)
    pixels. With fewer than five scales the weights of the finest are taken and divided by their sum.

    Args:
        first: ``(X, Y)`` or ``(X, Y, Z)``, any unit.
        second: as the first.
        data_range: width of the range of possible values, in the unit of the images.
        scales: at most :func:`most_scales`.

    Returns:
        A number in [0, 1].
    """
    weights = np.array(SCALE_WEIGHTS[:scales]) / sum(SCALE_WEIGHTS[:scales])
    score = 1.0
    for scale, weight in enumerate(weights.tolist(), 1):
        luminance, contrast = _terms(first, second, data_range, "gaussian")
        mean = float((luminance * contrast if scale == scales else contrast).mean())
        score *= max(mean, 0.0) ** weight
        first, second = _paired_means(first), _paired_means(second)
    return score


def most_scales(size: tuple[int, ...]) -> int:
    """Of how many scales, at most five, an image has one whole Gaussian window.

    >>> most_scales((176, 176)), most_scales((64, 64)), most_scales((32, 32, 32)), most_scales((10, 64))
    (5, 3, 2, 0)
    """
    side, scales = min(size), 0
    while side > 2 * GAUSSIAN_RADIUS and scales < len(SCALE_WEIGHTS):
        side, scales = side // 2, scales + 1
    return scales


def _terms(first: Image, second: Image, data_range: float, window: Window) -> tuple[Image, Image]:
    """Luminance, and contrast times structure, around each voxel whose window lies inside the image."""
    first, second = first.astype(np.float64), second.astype(np.float64)
    size = UNIFORM_SIZE**first.ndim
    correction = size / (size - 1) if window == "uniform" else 1.0
    stabiliser_mean, stabiliser_variance = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mean_first, mean_second = _smooth(first, window), _smooth(second, window)
    product = mean_first * mean_second
    squares = mean_first**2 + mean_second**2
    covariance = correction * (_smooth(first * second, window) - product)
    variances = correction * (_smooth(first**2 + second**2, window) - squares)
    luminance = (2 * product + stabiliser_mean) / (squares + stabiliser_mean)
    return luminance, (2 * covariance + stabiliser_variance) / (variances + stabiliser_variance)


def mean_ssim(
    first: Image,
    second: Image,
    mask: Mask,
    *,
    data_range: float,
    window: Window = "uniform",
    exponent: float | None = None,
) -> float:
    """Mean of :func:`ssim_map` over the voxels of the mask whose window lies inside the image.

    Args:
        first: ``(X, Y, Z)``.
        second: as the first.
        mask: ``(X, Y, Z)``.
        data_range: width of the range of possible values.
        window: shape of the window.
        exponent: raise each value, cut off at 0, to this power before the mean; None leaves values as they are.

    Returns:
        The mean, at most 1; NaN where no voxel of the mask has a whole window.
    """
    edge = radius(window)
    inner = mask[tuple(slice(edge, max(side - edge, 0)) for side in mask.shape)]
    total, count = 0.0, 0
    for box in _slabs(inner):
        # A voxel (i, j, k) of the inner box is the centre of the window that starts at (i, j, k) in the image.
        around = tuple(slice(part.start, part.stop + 2 * edge) for part in box)
        values = ssim_map(first[around], second[around], data_range=data_range, window=window)[inner[box]]
        if exponent is not None:
            values = np.maximum(values, 0) ** exponent
        total, count = total + float(values.sum()), count + len(values)
    return total / count if count else float("nan")


def multiscale_ssim(first: Image, second: Image, mask: Mask, *, data_range: float) -> float:
    """Masked multi-scale SSIM over five scales as SynthRAD2025 scores it, for non-negative images.

    At each scale the luminance, contrast and structure terms, cut off at 0 and raised to that scale's weight, are
    multiplied voxel by voxel and averaged inside the mask; the result is the product of the five averages. Three
    habits of the challenge's code are kept, so that the numbers can be compared: the luminance term enters at every
    scale, not only at the coarsest; sides below 97 are padded with their edge values; a scale is halved by 2^3 means
    of the images (with a zero before the first voxel) and by every second voxel of the mask.

    Args:
        first: ``(X, Y, Z)``, values at least 0 (with negative ones the luminance term has no meaning).
        second: as the first.
        mask: ``(X, Y, Z)``.
        data_range: width of the range of possible values.

    Returns:
        A number in [0, 1]; NaN where a scale has no voxel of the mask with a whole window.
    """
    padding = [_padding(side) for side in mask.shape]
    mask = np.pad(mask, padding, mode="edge")
    first, second = (np.pad(image, padding, mode="edge") for image in (first, second))
    score = 1.0
    for scale, weight in enumerate(SCALE_WEIGHTS):
        if scale:
            first, second, mask = _halve(first), _halve(second), mask[::2, ::2, ::2]
        score *= mean_ssim(first, second, mask, data_range=data_range, exponent=weight)
    return score


def _smooth(image: Image, window: Window) -> Image:
    """Window means around the voxels that have a whole window; each pass drops the edge it has used."""
    edge = radius(window)
    for axis in range(image.ndim):
        if window == "uniform":
            image = ndimage.uniform_filter1d(image, UNIFORM_SIZE, axis=axis)
        else:
            image = ndimage.gaussian_filter1d(image, GAUSSIAN_SIGMA, axis=axis, radius=GAUSSIAN_RADIUS)
        image = image[(slice(None),) * axis + (slice(edge, max(image.shape[axis] - edge, 0)),)]
    return image


def _slabs(mask: Mask) -> Iterator[tuple[slice, ...]]:
    """Boxes of whole planes that cover the mask, of a bounded number of voxels each."""
    if not mask.any():
        return
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    first, *others = box
    planes = max(1, _SLAB_VOXELS // max(1, int(np.prod([part.stop - part.start for part in others]))))
    for start in range(first.start, first.stop, planes):
        yield (slice(start, min(start + planes, first.stop)), *others)


def _padding(side: int) -> tuple[int, int]:
    missing = max(SMALLEST_SIDE - side, 0)
    return missing // 2, missing - missing // 2


def _paired_means(image: Image) -> Image:
    """Means of 2 voxels along each axis; a last one without a partner is dropped."""
    for axis in range(image.ndim):
        image = np.moveaxis(image, axis, 0)
        even = len(image) // 2 * 2
        image = np.moveaxis((image[0:even:2] + image[1:even:2]) / 2, 0, axis)
    return image


def _halve(image: Image) -> Image:
    """Mean of voxels 2k - 1 and 2k along each axis, where voxel -1 is zero."""
    for axis in range(image.ndim):
        image = np.moveaxis(image, axis, 0)
        even = image[::2].astype(np.float64)
        even[1:] += image[1::2][: len(even) - 1]
        image = np.moveaxis(even / 2, 0, axis)
    return image
