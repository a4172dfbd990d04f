"""Reconstruction losses between a predicted and a true image.

Means and sums. Every function has ``reduction="mean"`` (over voxels, axes of the gradient summed) and
``reduction="sum"``, the reductions of the authors' code of Nie et al. 2017, where B is the batch size::

    sum|d|^p / (2 B)        voxel-wise        (mean_squared: p = 2, mean_absolute: p = 1)
    sum|d|^alpha / B        gradient difference

The adversarial term is a mean in both, so its weight does not carry over from one to the other. With N voxels in
a patch, a sum is N / 2 times the mean (voxel-wise) or about N times (gradient difference). For the published 16^3
patch (N = 4096) the weights of the authors' code for sums, ``(adversarial, lp, gradient) = (0.05, 1, 1)``, are in
terms of means 2048 times

    2.4e-5 adversarial + 1 mean squared + 2 gradient difference

and the paper's 0.5 is 2.4e-4 beside the same two. Read as weights of means, 0.05 or 0.5 is an adversary 2048 times as
strong. Adam's step does not see the common factor of 2048, but clipping and weight decay do.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Reduction = Literal["mean", "sum"]


def mean_squared(
    prediction: Tensor, target: Tensor, mask: Tensor | None = None, *, reduction: Reduction = "mean"
) -> Tensor:
    """Squared difference, averaged over the voxels of the mask.

    Args:
        prediction: ``(B, C, X, Y, Z)``, any unit.
        target: as the prediction.
        mask: ``(B, 1, X, Y, Z)``: {0, 1}, or what each voxel counts; None takes every voxel. An empty mask gives 0.
        reduction: mean, or the authors' ``sum / (2 B)``.

    Returns:
        A scalar in the squared unit of the images.
    """
    return _voxelwise(_difference(prediction, target).square(), mask, reduction)


def mean_absolute(
    prediction: Tensor, target: Tensor, mask: Tensor | None = None, *, reduction: Reduction = "mean"
) -> Tensor:
    """Absolute difference, averaged over the voxels of the mask.

    Args:
        prediction: ``(B, C, X, Y, Z)``, any unit.
        target: as the prediction.
        mask: ``(B, 1, X, Y, Z)``: {0, 1}, or what each voxel counts; None takes every voxel. An empty mask gives 0.
        reduction: mean, or the authors' ``sum / (2 B)``.

    Returns:
        A scalar in the unit of the images.
    """
    return _voxelwise(_difference(prediction, target).abs(), mask, reduction)


def gradient_difference(
    prediction: Tensor,
    target: Tensor,
    *,
    mask: Tensor | None = None,
    alpha: float = 2.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Gradient difference loss: sum over axes of ``| |d target| - |d prediction| |^alpha``.

    The absolute finite difference of neighbours comes first and the difference of the two images second, so an
    edge of the right height in the opposite direction costs nothing (Nie et al. 2017, arXiv 1612.05362, after
    Mathieu et al. 2016, arXiv 1511.05440). Only pairs inside the image count; the authors' code also compares the
    last voxel of each axis with a padded zero.

    Args:
        prediction: ``(B, C, X, Y, Z)``, any unit.
        target: as the prediction.
        mask: ``(B, 1, X, Y, Z)`` in {0, 1}; a difference counts where both its
            voxels are inside. None takes all.
        alpha: power, at least 1; 2 is published.
        reduction: mean over differences, then summed over the three axes; or the authors' ``sum / B``.

    Returns:
        A scalar in the unit of the images to the power alpha.

    Raises:
        ValueError: alpha below 1 (its gradient is infinite where the images agree), or shapes that differ.
    """
    if alpha < 1:
        raise ValueError(f"alpha is {alpha}; it must be at least 1")
    _check_shapes(prediction, target)
    prediction, target = _precise(prediction), _precise(target)
    total = prediction.new_zeros(())
    for axis in range(2, prediction.ndim):
        steps = (target.diff(dim=axis).abs() - prediction.diff(dim=axis).abs()).abs().pow(alpha)
        inside = None if mask is None else _both_inside(mask, axis)
        total = total + (_total(steps, inside) / len(steps) if reduction == "sum" else _mean(steps, inside))
    return total


def _difference(prediction: Tensor, target: Tensor) -> Tensor:
    _check_shapes(prediction, target)
    return _precise(prediction) - _precise(target)


def _check_shapes(prediction: Tensor, target: Tensor) -> None:
    # Broadcasting (B, 1) against (B, 3) would give a number that looks right.
    if prediction.shape != target.shape:
        raise ValueError(f"prediction {tuple(prediction.shape)} and target {tuple(target.shape)} differ in shape")


def _precise(image: Tensor) -> Tensor:
    return image.to(torch.promote_types(image.dtype, torch.float32))


def _both_inside(mask: Tensor, axis: int) -> Tensor:
    length = mask.shape[axis] - 1
    return mask.narrow(axis, 0, length) * mask.narrow(axis, 1, length)


def _voxelwise(errors: Tensor, mask: Tensor | None, reduction: Reduction) -> Tensor:
    return _total(errors, mask) / (2 * len(errors)) if reduction == "sum" else _mean(errors, mask)


def _total(errors: Tensor, mask: Tensor | None) -> Tensor:
    return errors.sum() if mask is None else (errors * mask).sum()


def _mean(errors: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return errors.mean()
    count = mask.expand_as(errors).sum(dtype=torch.float32)
    return (errors * mask).sum() / count.clamp_min(1)
