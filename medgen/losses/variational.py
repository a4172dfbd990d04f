"""Terms of the evidence lower bound; each sums over all but the batch axis and is in nats: ``(B,)``."""

from __future__ import annotations

import math

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
