"""How close a synthetic CT is to the true one: errors in HU, fidelity, tissue and sharpness.

Every function takes a prediction and the truth, ``(X, Y, Z)`` in HU on one grid, and a mask of that shape (None: every
voxel); only voxels of the mask count. MAE, PSNR and MS-SSIM are those of SynthRAD2025 (clip to [-1024, 3071], range
4095). An empty mask, an absent tissue and a prediction that is NaN inside the mask give NaN.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medgen.metrics import ssim as similarity
from medgen.metrics.ssim import Window
from medgen.metrics.tissue import AIR_BELOW, BODY_ABOVE, BONE_FROM, Tissue, tissue
from medgen.volume import AIR

Image = NDArray[np.floating]
Mask = NDArray[np.bool_]

LOWEST, HIGHEST = AIR, 3071.0
DATA_RANGE = HIGHEST - LOWEST

SETTINGS: dict[str, object] = {
    "unit": "HU",
    "clip": [LOWEST, HIGHEST],
    "data_range": DATA_RANGE,
    "air_below": AIR_BELOW,
    "bone_from": BONE_FROM,
    "body_above": BODY_ABOVE,
    "ssim_window": "uniform 7",
    "ms_ssim_weights": list(similarity.SCALE_WEIGHTS),
}
"""Ranges and thresholds that the numbers depend on; written beside every result."""

UNITS = {
    "mae": "HU",
    "me": "HU",
    "psnr": "dB",
    "ssim": "",
    "ms_ssim": "",
    "mae_air": "HU",
    "mae_soft": "HU",
    "mae_bone": "HU",
    "dice_bone": "",
    "psnr_nie": "dB",
    "edge_error_bone": "HU",
    "gradient_ratio": "",
    "false_tissue": "ml",
}
"""The metrics of :func:`image_scores` in their order, with their units."""


def mae(prediction: Image, truth: Image, mask: Mask | None = None) -> float:
    """Mean absolute error in HU, not clipped."""
    predicted, true = _inside(prediction, truth, mask)
    return float(np.abs(predicted - true).mean()) if len(true) else math.nan


def me(prediction: Image, truth: Image, mask: Mask | None = None) -> float:
    """Mean error, prediction minus truth, in HU: the bias."""
    predicted, true = _inside(prediction, truth, mask)
    return float((predicted - true).mean()) if len(true) else math.nan


def psnr(prediction: Image, truth: Image, mask: Mask | None = None) -> float:
    """Peak signal-to-noise ratio in dB with the fixed range of 4095 HU, after clipping; infinite for equal images."""
    predicted, true = _inside(prediction, truth, mask)
    return _decibel(DATA_RANGE, np.clip(predicted, LOWEST, HIGHEST), np.clip(true, LOWEST, HIGHEST))


def psnr_nie(prediction: Image, truth: Image, mask: Mask | None = None) -> float:
    """PSNR in dB of Nie et al. 2017: the peak is the largest HU of the two images.

    Not comparable with :func:`psnr`: the peak changes with the patient and the prediction.
    """
    predicted, true = _inside(prediction, truth, mask)
    return _decibel(max(predicted.max(), true.max()) if len(true) else math.nan, predicted, true)


def ssim(prediction: Image, truth: Image, mask: Mask | None = None, *, window: Window = "uniform") -> float:
    """Structural similarity, averaged inside the mask, after clipping and with both images at -1024 HU outside it.

    The window is scikit-image's uniform 7^3 with sample covariance (as SynthRAD2023), or the Gaussian of Wang et al.
    2004. Values are counted from -1024 HU; windows that leave the volume do not count.
    """
    return similarity.mean_ssim(*_shifted(prediction, truth, mask), data_range=DATA_RANGE, window=window)


def ms_ssim(prediction: Image, truth: Image, mask: Mask | None = None) -> float:
    """Five-scale structural similarity of SynthRAD2025: see :func:`medgen.metrics.ssim.multiscale_ssim`."""
    return similarity.multiscale_ssim(*_shifted(prediction, truth, mask), data_range=DATA_RANGE)


def mae_tissue(prediction: Image, truth: Image, mask: Mask | None = None, *, kind: Tissue) -> float:
    """Mean absolute error in HU over the voxels of the mask that are air, soft tissue or bone in the true CT."""
    _check(prediction, truth, mask)
    where = tissue(truth, kind)
    return mae(prediction, truth, where if mask is None else where & _binary(mask))


def dice_bone(prediction: Image, truth: Image, mask: Mask | None = None) -> float:
    """Dice of the voxels at 200 HU and above; 0 if one image has none, NaN if neither has."""
    predicted, true = _inside(prediction, truth, mask)
    if np.isnan(predicted).any():
        return math.nan
    found, real = tissue(predicted, "bone"), tissue(true, "bone")
    total = np.count_nonzero(found) + np.count_nonzero(real)
    return float(2 * np.count_nonzero(found & real) / total) if total else math.nan


def edge_error_bone(prediction: Image, truth: Image, mask: Mask | None = None) -> float:
    """Mean absolute error in HU within one voxel of the surface of the true bone, on either side of it."""
    _check(prediction, truth, mask)
    where = np.ones(truth.shape, dtype=bool) if mask is None else _binary(mask)
    bone = tissue(truth, "bone") & where
    shell = ndimage.binary_dilation(bone) & ~ndimage.binary_erosion(bone, border_value=1)
    return mae(prediction, truth, shell & where)


def gradient_ratio(
    prediction: Image,
    truth: Image,
    mask: Mask | None = None,
    *,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> float:
    """Mean gradient magnitude of the prediction over that of the truth: below 1 is blurred, above 1 noisy or too sharp.

    Central differences per mm. The mask is eroded by one voxel, so that no difference reaches across its border, where
    a prediction may be filled with a constant. NaN if the truth has no gradient.
    """
    _check(prediction, truth, mask)
    where = np.ones(truth.shape, dtype=bool) if mask is None else _binary(mask)
    inner = ndimage.binary_erosion(where, border_value=1)
    box = _box(inner)
    if box is None or min(truth.shape) < 2:
        return math.nan
    predicted, true = (_gradient(image[box], spacing)[inner[box]].mean() for image in (prediction, truth))
    return float(predicted / true) if true > 0 else math.nan


def false_tissue(
    prediction: Image,
    truth: Image,
    mask: Mask | None = None,
    *,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> float:
    """Volume in ml outside the mask where the prediction is above -300 HU and the truth is not.

    No other metric sees what lies outside the mask, such as a rim of tissue around the head. 0 without a mask, NaN
    for an empty one.
    """
    _check(prediction, truth, mask)
    if mask is None or not mask.any():
        return 0.0 if mask is None else math.nan
    false = (prediction > BODY_ABOVE) & (truth <= BODY_ABOVE) & ~mask
    return float(np.count_nonzero(false) * np.prod(spacing) / 1000)


def image_scores(
    prediction: Image,
    truth: Image,
    mask: Mask | None = None,
    *,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> dict[str, float]:
    """All metrics of this module for one case, by name.

    Args:
        prediction: ``(X, Y, Z)``, HU.
        truth: as the prediction.
        mask: ``(X, Y, Z)``; None takes every voxel.
        spacing: voxel size in mm.

    Returns:
        Metric to value. A prediction that is not finite everywhere in the mask has failed: all values are NaN.
    """
    predicted, _ = _inside(prediction, truth, mask)
    pair = (prediction, truth, mask)
    scores = {
        "mae": mae(*pair),
        "me": me(*pair),
        "psnr": psnr(*pair),
        "ssim": ssim(*pair),
        "ms_ssim": ms_ssim(*pair),
        "mae_air": mae_tissue(*pair, kind="air"),
        "mae_soft": mae_tissue(*pair, kind="soft"),
        "mae_bone": mae_tissue(*pair, kind="bone"),
        "dice_bone": dice_bone(*pair),
        "psnr_nie": psnr_nie(*pair),
        "edge_error_bone": edge_error_bone(*pair),
        "gradient_ratio": gradient_ratio(*pair, spacing=spacing),
        "false_tissue": false_tissue(*pair, spacing=spacing),
    }
    return scores if np.isfinite(predicted).all() else dict.fromkeys(scores, math.nan)


def _check(prediction: Image, truth: Image, mask: Mask | None) -> None:
    shapes = {prediction.shape, truth.shape, truth.shape if mask is None else mask.shape}
    if len(shapes) > 1 or truth.ndim != 3:
        raise ValueError(f"prediction, truth and mask must be (X, Y, Z) of one shape, not {sorted(shapes)}")


def _binary(mask: Mask) -> Mask:
    return mask if mask.dtype == bool else np.asarray(mask > 0)


def _inside(prediction: Image, truth: Image, mask: Mask | None) -> tuple[Image, Image]:
    _check(prediction, truth, mask)
    if mask is None:
        return prediction.ravel().astype(np.float64), truth.ravel().astype(np.float64)
    where = _binary(mask)
    return prediction[where].astype(np.float64), truth[where].astype(np.float64)


def _shifted(prediction: Image, truth: Image, mask: Mask | None) -> tuple[Image, Image, Mask]:
    """Both images in [0, 4095], 0 outside the mask."""
    _check(prediction, truth, mask)
    where = np.ones(truth.shape, dtype=bool) if mask is None else _binary(mask)
    predicted, true = (np.where(where, np.clip(image, LOWEST, HIGHEST) - LOWEST, 0) for image in (prediction, truth))
    return predicted, true, where


def _decibel(peak: float, predicted: Image, true: Image) -> float:
    error = float(np.square(predicted - true).mean()) if len(true) else math.nan
    if error == 0:
        return math.inf
    return 10 * math.log10(peak**2 / error) if peak > 0 else math.nan


def _box(mask: Mask) -> tuple[slice, ...] | None:
    """The bounding box of the mask with one voxel around it, inside the image."""
    found = ndimage.find_objects(mask.astype(np.uint8))
    if not found:
        return None
    return tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in found[0])


def _gradient(image: Image, spacing: tuple[float, float, float]) -> Image:
    total = np.zeros(image.shape)
    for step in np.gradient(image.astype(np.float64), *spacing):
        total += np.square(step)
    return np.sqrt(total)
