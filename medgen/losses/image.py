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


BINS = 16
"""Of :func:`mutual_information`."""
_FLAT = 1e-3
"""Standard deviation below which an image has no structure to compare."""


def gradient_correlation(image: Tensor, other: Tensor) -> Tensor:
    """One minus the correlation of the gradient magnitudes of two images: whether their edges lie at the same places.

    The mean over each image of the batch and each pair of channels. It does not change when an intensity is inverted
    or mapped linearly. After the gradient consistency of Hiasa et al. 2018 (arXiv 1803.06629), who correlate the signed
    gradient along each axis: that punishes a contrast that is inverted, as that of bone is between T1 and CT.

    Args:
        image: ``(B, C, *size)``, any unit.
        other: ``(B, K, *size)``, any unit.

    Returns:
        A scalar, 0 where all edges agree, about 1 where they are independent, at most 2; an image without an edge
        counts 1.

    Raises:
        ValueError: sizes that differ.
    """
    _check_places(image, other)
    one, two = (_centred(_gradient_magnitude(_precise(each)).flatten(2)) for each in (image, other))
    return 1 - torch.einsum("bcn,bkn->bck", one, two).mean()


def mutual_information(image: Tensor, other: Tensor, *, bins: int = BINS) -> Tensor:
    """One minus the normalised mutual information of two images: how little one grey level tells of the other.

    ``1 - 2 I(a, b) / (H(a) + H(b))``, the mean over each image of the batch and each pair of channels, from joint
    histograms. A voxel counts in its two nearest bins (linear Parzen window), between the extremes of the image, so
    that the gradient reaches it. Inverting an intensity changes nothing, nor does a linear map; another monotone map
    changes little, by what it moves across bins. Viola and Wells 1997; Studholme et al. 1999 for the normalisation.

    Args:
        image: ``(B, C, *size)``, any unit.
        other: ``(B, K, *size)``, any unit.
        bins: of each histogram.

    Returns:
        A scalar in [0, 1]: 1 for independent images, least for images that determine each other; that is above 0, since
        the window blurs the histogram. An image of one value counts 1.

    Raises:
        ValueError: sizes that differ.
    """
    _check_places(image, other)
    one, two = (_shares(_precise(each).flatten(2), bins) for each in (image, other))
    joint = torch.einsum("bcin,bkjn->bckij", one, two) / one.shape[-1]
    first, second = _entropy(joint.sum(dim=-1), 1), _entropy(joint.sum(dim=-2), 1)
    both = first + second
    shared = (2 * (both - _entropy(joint, 2)) / both.clamp_min(1e-6)).clamp(0, 1)
    return 1 - shared.mean()


def _check_places(image: Tensor, other: Tensor) -> None:
    if image.shape[2:] != other.shape[2:] or len(image) != len(other):
        raise ValueError(f"the images {tuple(image.shape)} and {tuple(other.shape)} differ in size")


def _gradient_magnitude(image: Tensor) -> Tensor:
    """``(B, C, *size)`` to the same, each side one less; forward differences."""
    total = torch.zeros(())
    for axis in range(2, image.ndim):
        steps = image.diff(dim=axis)
        for other in range(2, image.ndim):
            steps = steps if other == axis else steps.narrow(other, 0, image.shape[other] - 1)
        total = total.to(steps) + steps.square()
    return (total + 1e-8).sqrt()


def _centred(values: Tensor) -> Tensor:
    """``(B, C, N)`` with mean 0 and length 1; all but 0 where the values are all but one."""
    centred = values - values.mean(dim=-1, keepdim=True)
    smallest = _FLAT**2 * values.shape[-1]
    return centred / (centred.square().sum(dim=-1, keepdim=True) + smallest).sqrt()


def _shares(values: Tensor, bins: int) -> Tensor:
    """``(B, C, N)`` to ``(B, C, bins, N)``: how much of each voxel falls into each bin."""
    low, high = values.detach().amin(dim=-1, keepdim=True), values.detach().amax(dim=-1, keepdim=True)
    place = (values - low) / (high - low).clamp_min(_FLAT) * (bins - 1)
    centres = torch.arange(bins, device=values.device, dtype=values.dtype)[:, None]
    return (1 - (place.unsqueeze(-2) - centres).abs()).clamp_min(0)


def _entropy(shares: Tensor, axes: int) -> Tensor:
    """In nats, over the last ``axes`` axes."""
    return -(shares * shares.clamp_min(1e-12).log()).flatten(-axes).sum(dim=-1)
