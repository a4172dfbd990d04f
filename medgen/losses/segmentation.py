"""Losses of label maps on raw logits."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional


def cross_entropy(logits: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean over voxels of the negative log-probability of the true class, in nats.

    Args:
        logits: (B, K, X, Y, Z), no softmax has been applied.
        label: (B, 1, X, Y, Z) integers in [0, K).
        weight: (B, 1, X, Y, Z), at least 0, of each voxel in the mean; None is equal weights, all 0 gives 0.

    Returns:
        A scalar, at least 0; log K for equal logits.

    >>> round(cross_entropy(torch.zeros(1, 2, 1, 1, 1), torch.zeros(1, 1, 1, 1, 1)).item(), 4)
    0.6931
    """
    if weight is None:
        return functional.cross_entropy(logits.float(), label[:, 0].long())
    return _mean(functional.cross_entropy(logits.float(), label[:, 0].long(), reduction="none"), weight)


def focal(logits: Tensor, label: Tensor, weight: Tensor | None = None, *, gamma: float = 2.0) -> Tensor:
    """Cross-entropy in which a voxel counts by how wrong it is: the mean of ``-(1 - p)^gamma log p`` of the true class.

    Lin et al. 2017, arXiv 1708.02002, eq. 4, without weights of the classes.

    Args:
        logits: (B, K, X, Y, Z), no softmax has been applied.
        label: (B, 1, X, Y, Z) integers in [0, K).
        weight: as for :func:`cross_entropy`.
        gamma: at least 0; 0 is the cross-entropy.

    Returns:
        A scalar, at least 0.
    """
    each = functional.cross_entropy(logits.float(), label[:, 0].long(), reduction="none")
    # Above 0, where the slope of a power below 1 has no end: a voxel that is right to the last digit gives 0 * inf.
    each = (-torch.expm1(-each)).clamp(min=1e-6).pow(gamma) * each
    return each.mean() if weight is None else _mean(each, weight)


def _mean(each: Tensor, weight: Tensor) -> Tensor:
    """Of (B, X, Y, Z), weighted by (B, 1, X, Y, Z); 0 where nothing counts."""
    return (each * weight[:, 0]).sum() / weight.sum().clamp(min=1e-6)


def soft_dice(logits: Tensor, label: Tensor, weight: Tensor | None = None, *, smooth: float = 1e-5) -> Tensor:
    """One minus the soft Dice of each foreground class over the whole batch, averaged over the classes.

    ``1 - (2 sum p g + s) / (sum p^2 + sum g + s)`` (Milletari et al. 2016, arXiv 1606.04797, eq. 3). Over the batch
    and not over each patch: most patches have no lesion, and the Dice of nothing is no lesson.

    Args:
        logits: (B, K, X, Y, Z), no softmax has been applied.
        label: (B, 1, X, Y, Z) integers in [0, K).
        weight: (B, 1, X, Y, Z), at least 0, of each voxel in the sums; None is 1.
        smooth: s, in voxels.

    Returns:
        A scalar in [0, 1].
    """
    probability = logits.float().softmax(dim=1)[:, 1:]
    truth = one_hot(label, logits.shape[1])[:, 1:]
    over, each = (0, 2, 3, 4), 1 if weight is None else weight
    both = (probability * truth * each).sum(over)
    total = ((probability.square() + truth) * each).sum(over)
    return 1 - ((2 * both + smooth) / (total + smooth)).mean()


def entropy(logits: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over voxels of the entropy of the predicted classes, in nats.

    Args:
        logits: (B, K, X, Y, Z).
        mask: (B, 1, X, Y, Z) in {0, 1}; None takes every voxel. An empty mask gives 0.

    Returns:
        A scalar in [0, log K].
    """
    log_probability = logits.float().log_softmax(dim=1)
    each = -(log_probability.exp() * log_probability).sum(dim=1, keepdim=True)
    return each.mean() if mask is None else (each * mask).sum() / mask.sum().clamp(min=1)


def one_hot(label: Tensor, classes: int) -> Tensor:
    """(B, 1, X, Y, Z) integers in [0, K) to (B, K, X, Y, Z) float32: 1 for the class of the voxel, else 0."""
    return functional.one_hot(label[:, 0].long(), classes).movedim(-1, 1).float()


def scaled_one_hot(exact: Tensor, probability: Tensor, *, floor: float = 0.9) -> Tensor:
    """A drawn map as soft as a prediction: ``max(floor, p)`` for the true class, the others shrunk in proportion to p.

    Luc et al. 2016, arXiv 1611.08408, section 3.3: a discriminator must not tell maps apart by being 0 or 1.

    Args:
        exact: (B, K, X, Y, Z) in {0, 1}, one class a voxel.
        probability: of the classes, like ``exact``, sums to 1.
        floor: in (0, 1]; 1 gives ``exact`` back.

    Returns:
        Like ``exact``, sums to 1.
    """
    of_true = (exact * probability).sum(dim=1, keepdim=True)
    highest = of_true.clamp(min=floor)
    wrong = 1 - of_true
    # Where nothing is left for the other classes there is nothing to shrink.
    shrink = torch.where(wrong > 1e-6, (1 - highest) / wrong.clamp(min=1e-6), torch.zeros_like(wrong))
    highest = torch.where(wrong > 1e-6, highest, torch.ones_like(highest))
    return exact * highest + (1 - exact) * probability * shrink


def straight_through(probability: Tensor) -> Tensor:
    """The one-hot arg-max of (B, K, X, Y, Z), whose gradient is that of the probabilities (Bengio 2013, 1308.3432)."""
    hard = one_hot(probability.argmax(dim=1, keepdim=True), probability.shape[1])
    return hard + probability - probability.detach()


def weight_penalties(weights: Iterable[Tensor], *, l1: float, l2: float) -> dict[str, Tensor]:
    """``l1 * sum |w|`` and ``l2 * sum w^2``; a term of weight 0 is left out.

    Args:
        weights: of the convolutions, without biases and without those of the normalisation.
        l1: weight of the first sum; DeepMedic has 1e-6.
        l2: weight of the second; DeepMedic has 1e-4.
    """
    tensors = list(weights)
    losses: dict[str, Tensor] = {}
    if l1:
        losses["l1"] = l1 * torch.stack([tensor.abs().sum() for tensor in tensors]).sum()
    if l2:
        losses["l2"] = l2 * torch.stack([tensor.square().sum() for tensor in tensors]).sum()
    return losses
