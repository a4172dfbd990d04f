"""Penalties on the slope of a discriminator: on the segment between images (WGAN-GP), near them (DRAGAN), at them (R1).

All are differentiated once with respect to the image and stay differentiable, so that ``backward`` reaches the weights
of the critic. A critic with batch normalisation mixes the images of a batch: its slopes are then not of one image.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Critic = Callable[[Tensor], Tensor]
"""Maps images ``(B, C, ...)`` to raw logits, whose sum over an image is differentiated."""

_TINY = 1e-12
"""Added under the root, whose derivative at 0 is infinite."""


def squared_slopes(critic: Critic, points: Tensor) -> Tensor:
    """Squared norm of the gradient of the critic at each point.

    Args:
        critic: the discriminator.
        points: images ``(B, C, ...)``; no gradient flows back to what made them.

    Returns:
        ``(B,)``, in 32 bits or more.
    """
    points = points.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    gradient = gradient.to(torch.promote_types(gradient.dtype, torch.float32))
    return gradient.flatten(1).square().sum(1)


def slope_penalty(critic: Critic, points: Tensor, *, target: float = 1.0) -> Tensor:
    """Mean of ``(||grad D|| - target)^2`` at the points, a scalar; its weight, published as 10, is not in it."""
    return ((squared_slopes(critic, points) + _TINY).sqrt() - target).square().mean()


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor, *, target: float = 1.0) -> Tensor:
    """WGAN-GP (Gulrajani et al. 2017, arXiv 1704.00028, eq. 3): at a random point between each pair of images.

    Args:
        critic: the discriminator.
        real: ``(B, C, ...)``.
        fake: the same shape.
        target: norm that is aimed at.

    Returns:
        A scalar, without the weight (published: 10). ``compare_gan`` adds 1e-4 under the root.
    """
    share = torch.rand(len(real), *[1] * (real.dim() - 1), device=real.device, dtype=real.dtype)
    return slope_penalty(critic, torch.lerp(real, fake.to(real.dtype), share), target=target)


def dragan_penalty(critic: Critic, real: Tensor, *, spread: float = 0.5, target: float = 1.0) -> Tensor:
    """DRAGAN (Kodali et al. 2017, arXiv 1705.07215, section 2.3): near real images, ``x + spread std(x) U(0, 1)``.

    Published implementations differentiate the probability, ``sigmoid(logit)``; give them as the critic
    ``lambda x: discriminator(x).sigmoid()``. Its slope is at most a quarter of that of the logit.

    Args:
        critic: the discriminator, or its sigmoid.
        real: ``(B, C, ...)``.
        spread: of the noise, in standard deviations over all values of the batch.
        target: norm that is aimed at.

    Returns:
        A scalar, without the weight (published: 10).
    """
    noise = spread * real.std(correction=0) * torch.rand_like(real)
    return slope_penalty(critic, real + noise, target=target)


def r1_penalty(critic: Critic, real: Tensor) -> Tensor:
    """R1 (Mescheder et al. 2018, arXiv 1801.04406, eq. 9): half the mean squared slope at real images, a scalar."""
    return 0.5 * squared_slopes(critic, real).mean()
