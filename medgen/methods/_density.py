"""What flows share: the noise that makes a density of grey levels, a step of training, the score of held-out images."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from medgen.methods.base import Update

TUNED = {"schedule": {"learning_rate": {"kind": "cosine", "warmup": 0.05}, "clip": 1.0, "averaging": 0.99}}
"""Recipe of a flow: rates that rise and fall, clipped gradients, averaged weights."""


def dequantised(image: Tensor, width: float, generator: torch.Generator | None = None) -> Tensor:
    """The images with uniform noise of a width in normalised units (Uria et al. 2013, https://arxiv.org/abs/1306.0186).

    Without it a value that many voxels share exactly, e.g. the background of a windowed image, has a density without
    a limit. Of images with whole grey levels, noise as wide as a level gives a bound of their probability.
    """
    if not width:
        return image
    noise = torch.rand(image.shape, generator=generator, device=image.device, dtype=image.dtype)
    return image + width * (noise - 0.5)


def likelihood_step(image: Tensor, width: float, log_prob: Callable[[Tensor], Tensor]) -> Update:
    """One step up the likelihood, in nats a voxel; arguments as for :func:`bits_per_dimension`."""
    noisy = dequantised(image, width)
    return Update("flow", {"negative_log_likelihood": -log_prob(noisy).mean() / noisy[0].numel()})


def bits_per_dimension(image: Tensor, width: float, log_prob: Callable[[Tensor], Tensor]) -> float:
    """Mean of ``-log2 p`` by voxel, with noise that is the same at every call.

    It is a density in normalised units, so it may be negative; the bits to store a voxel to within the noise are it
    less ``log2(width)``.

    Args:
        image: (B, C, *size).
        width: of the noise.
        log_prob: images to log-densities ``(B,)`` in nats.
    """
    noise = torch.Generator(image.device).manual_seed(0)
    nats = -log_prob(dequantised(image, width, noise)).mean().item() / image[0].numel()
    return nats / math.log(2)
