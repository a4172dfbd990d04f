# mypy: allow-untyped-calls
# SimpleITK and scikit-image carry annotations in part only.
"""Intensities of one volume: where the body is, how the coil lights it, what its values mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.preparation.resampling import fitted_grid, resample
from medgen.types import Array

Mask = NDArray[np.bool_]

_COARSE = 2.0
"""mm; a body needs no finer grid, and a coarse one costs little memory."""
_AIR_SHARE = 0.15
"""Mean of the dark class over that of the bright: air of real scans has 0.00 to 0.08, dark tissue of scans without
air (prostate T2 with a small field of view) 0.24."""
_DEEP = 0.05
"""How far below the background of a z-scored brain its dark tissue reaches at least, as a share of the whole range."""
_FIT_GRID = 6.0
"""mm; on a head with a known field of 17 % (sd) the residual is 0.6 %, against 10 % when fitted at 4 mm, where noise
blurs the histogram that N4 sharpens; and a third of the time."""
_SAMPLES = 4_000_000
LIMIT = 8.0
"""Standard deviations at which a z-score is clipped: a hot vessel or a metal artefact must not rule the network."""


def body_mask(image: Array, affine: Array, *, quiet_air: bool = True) -> Mask:
    """The body in an MR or CT volume, found from the volume alone.

    Otsu's threshold on the logarithm of clipped intensities (dark tissue and fat then lie closer together than
    either lies to air), the large connected pieces, their cavities filled. A volume without air is body throughout;
    one whose commonest single value lies between others (a skull-stripped, z-scored brain) has that as background.

    Args:
        image: (X, Y, Z), any unit, finite.
        affine: (4, 4) voxel index to mm.
        quiet_air: tell air of whole numbers (0, 1 and 2, mostly 1) from the background of a z-scored brain; False, as
            earlier versions did not, is for the models that they trained.

    Returns:
        (X, Y, Z) bool; nothing is True where the volume holds a single value.
    """
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    background = _inner_background(image, _DEEP if quiet_air else 0.0)
    if background is not None:
        return _pieces(image != background)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    grid = fitted_grid(affine, image.shape, tuple(np.maximum(spacing, _COARSE)))
    coarse = resample(image, affine, *grid, fill=float(image.min()))
    low, high = np.percentile(coarse, [0.5, 99.5])
    low, high = (min(low, 0.0), high) if high > low else (float(coarse.min()), float(coarse.max()))
    if high <= low:
        return np.zeros(image.shape, bool)
    values = np.clip((coarse - low) / (high - low), 0, 1)
    blur = np.minimum(1.0, _COARSE / np.linalg.norm(grid[0][:3, :3], axis=0))
    smooth = ndimage.gaussian_filter(np.log1p(20 * values), blur)
    bright = smooth > threshold_otsu(smooth.ravel())
    if not bright.any() or values[~bright].mean() > _AIR_SHARE * values[bright].mean():
        return np.ones(image.shape, bool)
    found = _pieces(bright).astype(np.float32)
    return np.asarray(resample(found, grid[0], affine, image.shape, fill=0.0) >= 0.5)


def grown(body: Mask, affine: Array, margin: float) -> Mask:
    """``body`` and ``margin`` mm around it along each axis; (X, Y, Z) bool."""
    from scipy import ndimage

    result = body.view(np.uint8)
    for axis, step in enumerate(np.linalg.norm(affine[:3, :3], axis=0)):
        result = ndimage.maximum_filter1d(result, 2 * int(margin / step + 1e-6) + 1, axis)
    return result.view(bool)


def _inner_background(image: Array, deep: float) -> float | None:
    """A value that fills a quarter of the volume with others on both sides of it.

    Those below reach far: air of a scan with little noise is 0, 1 and 2, most of it 1, and is no such background.
    """
    sample = thinned(image.ravel())
    values, counts = np.unique(sample, return_counts=True)
    commonest = values[counts.argmax()]
    low, high = np.percentile(sample, [0.5, 99.5])
    reaches = commonest - low > deep * (high - low) if deep else values[0] < commonest
    inner = reaches and commonest < values[-1] and np.mean(sample < commonest) > 0.01
    return float(commonest) if inner and counts.max() > sample.size / 4 else None


def _pieces(mask: Mask) -> Mask:
    """Connected pieces of at least a tenth of the largest (both legs, not the noise), without cavities."""
    from scipy import ndimage

    labels, number = ndimage.label(mask)
    if number > 1:
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        mask = (sizes >= 0.1 * sizes.max())[labels]
    return np.asarray(ndimage.binary_fill_holes(mask), bool)


def correct_bias(image: Array, body: Mask, affine: Array) -> Array:
    """Divide out the smooth coil profile, estimated by N4 (Tustison et al., IEEE TMI 2010).

    The field is fitted on a grid of about 6 mm inside the body and applied at full resolution. One thread, because
    the sums of ITK's spline fit depend on their number: so the result is the same bits wherever it is made.

    Args:
        image: (X, Y, Z) MR magnitude; values of zero and below are left out of the fit.
        body: (X, Y, Z).
        affine: (4, 4) voxel index to mm.

    Returns:
        (X, Y, Z) float32 with the mean logarithm of the body unchanged.
    """
    import SimpleITK as sitk

    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    shrink = np.maximum(1, np.round(_FIT_GRID / spacing))
    shrink = np.minimum(shrink, np.maximum(1, np.asarray(image.shape) // 8))  # a thin stack keeps its slices
    grid = fitted_grid(affine, image.shape, tuple(spacing * shrink))
    coarse = resample(image, affine, *grid, fill=0.0)
    inside = resample(body, affine, *grid, fill=0, nearest=True) & (coarse > 0)
    if inside.sum() < 100:
        return image
    volume = _itk(coarse.astype(np.float32), spacing * shrink)
    with _one_itk_thread():
        fitter = sitk.N4BiasFieldCorrectionImageFilter()
        fitter.Execute(volume, _itk(inside.astype(np.uint8), spacing * shrink))
        log_field = sitk.GetArrayFromImage(fitter.GetLogBiasFieldAsImage(volume)).T
    log_field -= log_field[inside].mean()
    field = resample(log_field, grid[0], affine, image.shape, fill=0.0)
    corrected = np.exp(-field, dtype=np.float32)
    corrected *= image
    return corrected


@contextmanager
def _one_itk_thread() -> Iterator[None]:
    """The filter's own setting does not reach the spline fit inside it; only the process-wide default does."""
    import SimpleITK as sitk

    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def _itk(array: Array, spacing: Array) -> Any:
    import SimpleITK as sitk

    volume = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    volume.SetSpacing([float(each) for each in spacing])
    return volume


def zscore(image: Array, body: Mask) -> Array:
    """Subtract the mean of the body and divide by its standard deviation.

    Both are taken over the body's values between its 0.5th and 99.5th percentiles; the result is clipped to
    +-:data:`LIMIT`. Air counts for nothing: the same head in a larger field of view gets the same values.

    Args:
        image: (X, Y, Z), any unit.
        body: (X, Y, Z), not empty.

    Returns:
        (X, Y, Z) float32.
    """
    values = image[body]
    low, high = np.percentile(thinned(values), [0.5, 99.5])
    values = values[(values >= low) & (values <= high)]
    mean, spread = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    return _linear(image, mean, spread if spread > 0 else 1.0, -LIMIT, LIMIT)


def window_to_unit(image: Array, low: float, high: float) -> Array:
    """Map [low, high] to [-1, 1] and clip; float32."""
    return _linear(image, (low + high) / 2, (high - low) / 2, -1.0, 1.0)


def unit_to_window(image: Array, low: float, high: float) -> Array:
    """The inverse of :func:`window_to_unit`: [-1, 1] to [low, high]; not clipped; float32."""
    result = np.multiply(image, np.float32((high - low) / 2), dtype=np.float32)
    result += np.float32((low + high) / 2)
    return result


def body_percentiles(image: Array, body: Mask, low: float, high: float) -> tuple[float, float]:
    """Two percentiles (0 to 100) of the body; the second at least a little above the first."""
    first, second = np.percentile(thinned(image[body]), [low, high])
    return float(first), float(second if second > first else first + 1)


def _linear(image: Array, centre: float, unit: float, low: float, high: float) -> Array:
    result = np.subtract(image, np.float32(centre), dtype=np.float32)
    result /= np.float32(unit)
    return np.clip(result, low, high, out=result)


def thinned(values: Array) -> Array:
    """Every k-th value, at most some millions: percentiles need no more, and sorting a copy of all costs memory."""
    return values[:: (values.size // _SAMPLES) | 1]  # odd: not in step with rows of 512
