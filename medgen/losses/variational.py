"""Terms of the evidence lower bound in nats; unless it says otherwise each sums over all but the batch axis: ``(B,)``.

They are computed in 32 bits at least, whatever the precision of what they get.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

ScaledLikelihood = Literal["gaussian", "laplace"]
"""Those with a variance."""
LOG_2PI = math.log(2 * math.pi)
LEAST_VARIANCE = 1e-6
"""Of a voxel, in squared normalised units: what is made without error has no likelihood else."""


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """``KL(N(mean, exp(log_variance)) || N(0, 1))`` (Kingma & Welling 2014, appendix B).

    >>> gaussian_kl(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2)).item()
    0.5

    Args:
        mean: (B, ...).
        log_variance: of the same shape.
    """
    return summed(gaussian_kl_each(mean, log_variance))


def gaussian_kl_each(mean: Tensor, log_variance: Tensor) -> Tensor:
    """As :func:`gaussian_kl`, of each number of the code; of the shape of ``mean``."""
    mean, log_variance = widened(mean), widened(log_variance)
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def gaussian_kl_between(mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor) -> Tensor:
    """``KL(N(mean, exp(log_variance)) || N(other_mean, exp(other_log_variance)))``, as for :func:`gaussian_kl`.

    >>> import torch
    >>> zero = torch.zeros(1, 1)
    >>> gaussian_kl_between(zero, zero, zero + 2, zero).item()
    2.0
    """
    apart = (widened(mean) - widened(other_mean)) * torch.exp(-0.5 * widened(other_log_variance))
    return gaussian_kl(apart, widened(log_variance) - widened(other_log_variance))


def free_bits(divergence: Tensor, least: float = 0.0) -> Tensor:
    """The KL divergence, in which no dimension costs less than ``least`` (Kingma et al. 2016, eq. 15); a scalar.

    ``sum over c of max(least, mean over the batch of the sum over the grid)``, as in the code of that paper.

    >>> free_bits(torch.tensor([[0.1, 2.0], [0.3, 2.0]]), 0.25).item()
    2.25

    Args:
        divergence: (B, C, ...), of each number of the code; of several voxels of a channel their sum counts.
        least: nats a dimension; 0 is the divergence itself.
    """
    each = divergence.flatten(2).sum(dim=2) if divergence.dim() > 2 else divergence
    return each.mean(dim=0).clamp(min=least).sum() if least else each.sum(dim=1).mean()


def log_density_each(kind: ScaledLikelihood, image: Tensor, made: Tensor, log_scale: Tensor) -> Tensor:
    """The log-density of each voxel, of the shape of ``image``.

    Args:
        kind: ``gaussian`` with mean ``made`` and standard deviation ``exp(log_scale)``; ``laplace`` with median
            ``made`` and scale ``b = exp(log_scale)``, whose standard deviation is ``sqrt(2) b``.
        image: (B, ...).
        made: of the same shape.
        log_scale: of the same shape, or one that broadcasts to it.
    """
    apart, log_scale = widened(image) - widened(made), widened(log_scale)
    scaled = apart * torch.exp(-log_scale)
    if kind == "laplace":
        return -scaled.abs() - log_scale - math.log(2)
    return -0.5 * (scaled.square() + LOG_2PI) - log_scale


def gaussian_log_likelihood(image: Tensor, mean: Tensor, log_variance: Tensor | float = 0.0) -> Tensor:
    """``log N(image; mean, exp(log_variance))``.

    Args:
        image: (B, ...).
        mean: of the same shape.
        log_variance: a number, or a tensor that broadcasts to that shape.
    """
    return summed(log_density_each("gaussian", image, mean, 0.5 * _wide(log_variance, image)))


def laplace_log_likelihood(image: Tensor, median: Tensor, log_variance: Tensor | float = 0.0) -> Tensor:
    """``log Laplace(image; median, b)`` with the scale ``b = sqrt(exp(log_variance) / 2)``.

    Args:
        image: (B, ...).
        median: of the same shape.
        log_variance: a number, or a tensor that broadcasts to that shape.
    """
    return summed(log_density_each("laplace", image, median, 0.5 * (_wide(log_variance, image) - math.log(2))))


def best_log_variance(kind: ScaledLikelihood, image: Tensor, made: Tensor, least: float = LEAST_VARIANCE) -> Tensor:
    """The log-variance, one for all voxels, that maximises the likelihood of a batch (Rybkin et al. 2021, eq. 6).

    Of a normal distribution it is that of the mean squared error; the best ``b`` of a Laplace distribution is the mean
    absolute error, and its variance is ``2 b^2``.

    Args:
        kind: of likelihood.
        image: (B, ...).
        made: mean or median, of the same shape.
        least: variance, below which it does not fall.
    """
    errors = widened(image) - widened(made)
    best = errors.square().mean() if kind == "gaussian" else 2 * errors.abs().mean().square()
    return best.clamp(min=least).log()


def bernoulli_log_likelihood(image: Tensor, logits: Tensor) -> Tensor:
    """``x log p + (1 - x) log(1 - p)`` with ``p = sigmoid(logits)`` (Kingma & Welling 2014, appendix C.1).

    A probability where ``image`` is 0 or 1. Of grey values between it is no density, so that it compares models of the
    same images and likelihood alone.

    Args:
        image: (B, ...) in [0, 1].
        logits: of the same shape.
    """
    return summed(-functional.binary_cross_entropy_with_logits(widened(logits), widened(image), reduction="none"))


def standard_normal_log_prob(code: Tensor) -> Tensor:
    """``log N(code; 0, 1)`` of ``(B, ...)``."""
    return summed(standard_normal_log_prob_each(code))


def standard_normal_log_prob_each(code: Tensor) -> Tensor:
    """``log N(code; 0, 1)`` of each number, of the shape of ``code``."""
    return -0.5 * (widened(code).square() + LOG_2PI)


def importance_bound(log_weights: Tensor) -> Tensor:
    """``log(1/k sum exp(log_weights))``, a bound that rises with k (Burda et al. 2016, arXiv 1509.00519, eq. 8).

    >>> round(importance_bound(torch.tensor([[0.0], [2.0]])).item(), 4)  # the mean of the logarithms is 1
    1.4338

    Args:
        log_weights: (k, B), ``log p(x|z) + log p(z) - log q(z|x)`` of k draws of z.
    """
    return log_weights.logsumexp(dim=0) - math.log(len(log_weights))


def summed(each: Tensor) -> Tensor:
    """``(B, ...)`` to ``(B,)``."""
    return each.flatten(1).sum(dim=1)


def widened(tensor: Tensor) -> Tensor:
    """In 32 bits at least."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _wide(number: Tensor | float, like: Tensor) -> Tensor:
    return widened(number) if isinstance(number, Tensor) else widened(like).new_tensor(number)
