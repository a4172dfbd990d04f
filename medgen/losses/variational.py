"""Terms of the evidence lower bound; each sums over all but the batch axis and is in nats: ``(B,)``."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """``KL(N(mean, exp(log_variance)) || N(0, 1))`` (Kingma & Welling 2014, appendix B).

    >>> import torch
    >>> gaussian_kl(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2)).item()
    0.5

    Args:
        mean: (B, ...).
        log_variance: of the same shape.
    """
    mean, log_variance = mean.float(), log_variance.float()
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).flatten(1).sum(dim=1)


def gaussian_log_likelihood(image: Tensor, mean: Tensor, log_variance: Tensor | float = 0.0) -> Tensor:
    """``log N(image; mean, exp(log_variance))``.

    Args:
        image: (B, ...).
        mean: of the same shape.
        log_variance: a number, or a tensor that broadcasts to that shape.
    """
    squares = (image.float() - mean.float()).square()
    spread = log_variance.float() if isinstance(log_variance, Tensor) else squares.new_tensor(log_variance)
    each = -0.5 * (squares * (-spread).exp() + spread + math.log(2 * math.pi))
    return each.flatten(1).sum(dim=1)


def standard_normal_log_prob(code: Tensor) -> Tensor:
    """``log N(code; 0, 1)`` of ``(B, ...)``."""
    return -0.5 * (code.square() + math.log(2 * math.pi)).flatten(1).sum(dim=1)


def gaussian_kl_between(mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor) -> Tensor:
    """``KL(N(mean, exp(log_variance)) || N(other_mean, exp(other_log_variance)))``, as for :func:`gaussian_kl`.

    >>> import torch
    >>> zero = torch.zeros(1, 1)
    >>> gaussian_kl_between(zero, zero, zero + 2, zero).item()
    2.0
    """
    apart = (mean.float() - other_mean.float()).square() * torch.exp(-other_log_variance.float())
    wider = log_variance.float() - other_log_variance.float()
    return 0.5 * (apart + wider.exp() - 1 - wider).flatten(1).sum(dim=1)


def log_density_each(kind: Literal["gaussian", "laplace"], image: Tensor, made: Tensor, log_scale: Tensor) -> Tensor:
    """The log-density of each voxel, of the shape of ``image``.

    Args:
        kind: ``gaussian`` with mean ``made`` and standard deviation ``exp(log_scale)``; ``laplace`` with median
            ``made`` and scale ``b = exp(log_scale)``, whose standard deviation is ``sqrt(2) b``.
        image: (B, ...).
        made: of the same shape.
        log_scale: of the same shape.
    """
    scaled = (image.float() - made.float()).abs() * torch.exp(-log_scale.float())
    if kind == "laplace":
        return -scaled - log_scale.float() - math.log(2)
    return -0.5 * (scaled.square() + math.log(2 * math.pi)) - log_scale.float()
