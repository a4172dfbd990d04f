"""Losses on embeddings (N, D) of two views of the same images."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import mse_loss, relu

EPSILON = 1e-4
"""Added to a variance before its root is taken, whose gradient at 0 has no bound."""


def invariance(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared difference of the embeddings of both views (eq. 5 of VICReg, divided by D)."""
    return mse_loss(first, second)


def variance(embedding: Tensor) -> Tensor:
    """Mean over the numbers of ``max(0, 1 - sd)`` over the batch (eq. 1 of VICReg); N is at least 2.

    >>> import torch
    >>> round(variance(torch.tensor([[0.0, -9.0], [0.5, 9.0]])).item(), 4)  # (1 - 0.3537) / 2
    0.3232
    """
    return relu(1 - (embedding.var(dim=0) + EPSILON).sqrt()).mean()


def covariance(embedding: Tensor) -> Tensor:
    """Sum of the squared covariances of different numbers over the batch, divided by D (eq. 3 and 4 of VICReg)."""
    count, numbers = embedding.shape
    centred = embedding - embedding.mean(dim=0)
    matrix = centred.T @ centred / (count - 1)
    return (matrix.square().sum() - matrix.diagonal().square().sum()) / numbers
