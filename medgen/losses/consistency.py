"""Losses that ask a segmenter for what another prediction says, on images that nobody has labelled."""

from __future__ import annotations

import math

from torch import Tensor


def mean_squared(logits: Tensor, probability: Tensor, weight: Tensor) -> Tensor:
    """Mean over voxels and classes of the squared difference of probabilities (Tarvainen & Valpola 2017, eq. 1).

    Args:
        logits: (B, K, X, Y, Z) of the student, raw.
        probability: (B, K, X, Y, Z) in [0, 1], what is expected of it.
        weight: (B, 1, X, Y, Z), at least 0, of each voxel. All 0 gives 0.

    Returns:
        A scalar in [0, 2 / K].
    """
    squared = (logits.float().softmax(dim=1) - probability).square().mean(dim=1, keepdim=True)
    return weighted_mean(squared, weight)


def soft_cross_entropy(logits: Tensor, probability: Tensor, weight: Tensor) -> Tensor:
    """Mean over voxels of the cross-entropy with expected probabilities, in nats.

    Args:
        logits: (B, K, X, Y, Z) of the student, raw.
        probability: (B, K, X, Y, Z) in [0, 1], what is expected of it.
        weight: (B, 1, X, Y, Z), at least 0, of each voxel. All 0 gives 0.

    Returns:
        A scalar, at least the mean entropy of ``probability``.
    """
    each = -(probability * logits.float().log_softmax(dim=1)).sum(dim=1, keepdim=True)
    return weighted_mean(each, weight)


def sharpened(probability: Tensor, temperature: float) -> Tensor:
    """``p^(1/T)``, normalised: a temperature below 1 moves probabilities ``(B, K, ...)`` towards 0 and 1.

    >>> import torch
    >>> sharpened(torch.tensor([[0.8, 0.2]]), 0.5).round(decimals=4)
    tensor([[0.9412, 0.0588]])
    """
    if temperature == 1:
        return probability
    # through the logarithm: 0.01^(1/0.01) is 0 in single precision, and so is the sum of such powers
    return (probability.clamp(min=1e-12).log() / temperature).softmax(dim=1)


def confident(probability: Tensor, mask: Tensor, threshold: float) -> Tensor:
    """The part ``(B, 1, ...)`` of the mask where the most probable class has at least ``threshold``."""
    return mask * (probability.amax(dim=1, keepdim=True) >= threshold)


def class_thresholds(probability: Tensor, mask: Tensor, portion: float) -> Tensor:
    """How sure each class must be for the surest ``portion`` of its voxels to pass (Zou et al. 2018, algorithm 2).

    Args:
        probability: (B, K, X, Y, Z) in [0, 1].
        mask: (B, 1, X, Y, Z) in {0, 1}; only voxels inside are looked at.
        portion: in (0, 1], of the voxels where the class is the most probable, rounded up.

    Returns:
        (K,) probabilities; NaN for a class that is nowhere the most probable.
    """
    highest, label = probability.max(dim=1, keepdim=True)
    thresholds = probability.new_full((probability.shape[1],), math.nan)
    for number in range(len(thresholds)):
        found = highest[(label == number) & (mask > 0)]
        if len(found):
            thresholds[number] = found.topk(math.ceil(portion * len(found))).values[-1]
    return thresholds


def balanced_labels(probability: Tensor, mask: Tensor, thresholds: Tensor) -> tuple[Tensor, Tensor]:
    """The class whose probability is the largest share of its threshold, where it passes it (Zou et al. 2018, eq. 6).

    Args:
        probability: (B, K, X, Y, Z) in [0, 1].
        mask: (B, 1, X, Y, Z) in {0, 1}.
        thresholds: (K,) above 0.

    Returns:
        Labels (B, 1, X, Y, Z), and the part of the mask where they count.
    """
    share, label = (probability / thresholds[:, None, None, None]).max(dim=1, keepdim=True)
    return label, mask * (share >= 1)


def weighted_mean(each: Tensor, weight: Tensor) -> Tensor:
    """``sum(w e) / sum(w)`` of two tensors of one shape; 0 where all weights are."""
    weight = weight.float()
    return (each * weight).sum() / weight.sum().clamp(min=1e-6)
