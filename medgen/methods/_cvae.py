"""What the conditional variational autoencoders share: settings, the hybrid objective, and noise without seams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from medgen.config import Config
from medgen.losses.variational import gaussian_kl_between
from medgen.methods.base import WHOLE, Window
from medgen.networks.conditional import ConditionalUNet, Gaussian, grid_of
from medgen.networks.half_resolution import HalfResolutionUNet

PERIOD = 32
"""Voxels along each axis after which noise repeats itself. Tiles begin at multiples of it, so that a voxel of a volume
meets the same noise in whichever tile it lies, and draws have no seams."""


class ConditionalConfig(Config):
    """Settings of code, networks and training."""

    code: Literal["map", "shared"] = "map"
    """``map``: a vector for each ``cell``, drawn independently, with a learnt prior: what is ambiguous here says
    nothing about elsewhere. ``shared``: one vector for the whole image, with a standard normal prior: what is
    ambiguous is the same everywhere, such as the habit of a rater."""
    cell: Literal[2, 4, 8] = 4
    """Voxels along each axis that a vector of a map stands for; about as many as errors are alike over."""
    latent: PositiveInt = 4
    """Numbers of a vector."""
    width: PositiveFloat = 1.0
    """Factor on the channels of every network."""
    alpha: float = Field(default=1.0, ge=0, le=1)
    """Weight of the bound in the hybrid objective; the rest goes to the loss with codes of the prior (GSNN)."""
    warmup: float = Field(default=0.5, ge=0, le=1)
    """Share of the training over which the weight of the KL term rises from 0 to 1, so that codes are learnt before
    they cost; 0: the bound from the start."""
    codes_from: float = Field(default=0.0, ge=0, lt=1)
    """Share of the training from which codes are learnt. Before, the generation network learns alone, with the mean of
    the prior for the code, so that codes need not say what can be read off the image."""
    prediction_samples: NonNegativeInt = 0
    """Codes of the prior over which the prediction without chance is averaged, the same ones for every image; 0 takes
    the mean of the prior for the only code."""
    learning_rate: PositiveFloat = 5e-4
    """Of Adam."""


def new_conditional(
    config: ConditionalConfig, inputs: int, outputs: int, observed: int, dimensions: int
) -> ConditionalUNet:
    """The three networks that the settings describe."""
    return ConditionalUNet(
        inputs,
        outputs,
        observed,
        latent=config.latent,
        cell=config.cell,
        shared=config.code == "shared",
        width=config.width,
        dimensions=dimensions,
    )


def window() -> Window:
    """No margin; tiles begin where the noise does, and leave their border to the neighbouring tile."""
    return Window(multiple=HalfResolutionUNet.multiple, align=PERIOD, minimum=PERIOD, tile=WHOLE, halo=PERIOD)


def kl_weight(config: ConditionalConfig, progress: float) -> float:
    """The weight of the KL term after this share of the training, in [0, 1]."""
    return min(1.0, progress / config.warmup) if config.warmup else 1.0


def without_code(network: ConditionalUNet, image: Tensor, loss: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """The loss of the generation network alone, by the name that it has with codes."""
    maps, prior = network.prior(image)
    return {"reconstruction": loss(network.generated(maps, prior.mean.detach(), image))}


def hybrid(
    network: ConditionalUNet,
    image: Tensor,
    observed: Tensor,
    loss: Callable[[Tensor], Tensor],
    voxels: Tensor,
    *,
    alpha: float,
    kl_weight: float = 1.0,
) -> dict[str, Tensor]:
    """``alpha L_CVAE + (1 - alpha) L_GSNN`` (Sohn et al. 2015, section 4.2), to be minimised, by its terms.

    Args:
        network: prior, recognition and generation.
        image: x, (B, C, *size).
        observed: y as the recognition network sees it.
        loss: ``-log p(y|x,z)`` in nats a voxel, of the raw output for a code.
        voxels: that the loss is a mean over, in the whole batch.
        alpha: weight of the bound; a term of weight 0 is left out.
        kl_weight: factor on the KL term; 1 is the bound.
    """
    maps, prior = network.prior(image)
    losses: dict[str, Tensor] = {}
    if alpha > 0:
        posterior = network.posterior(image, observed, prior)
        code = posterior.at(torch.randn_like(posterior.mean))
        losses["reconstruction"] = alpha * loss(network.generated(maps, code, image))
        losses["kl"] = alpha * kl_weight * gaussian_kl_between(*posterior, *prior).sum() / voxels
    if alpha < 1:
        code = prior.at(torch.randn_like(prior.mean))
        losses["prior_sampled"] = (1 - alpha) * loss(network.generated(maps, code, image))
    return losses


def bound(
    network: ConditionalUNet, image: Tensor, observed: Tensor, loss: Callable[[Tensor], Tensor], voxels: Tensor
) -> dict[str, float]:
    """The negative bound and its KL term in nats a voxel, with one draw of noise: the same at every call."""
    maps, prior = network.prior(image)
    posterior = network.posterior(image, observed, prior)
    noise = torch.randn(posterior.mean.shape[1:], generator=torch.Generator().manual_seed(0)).to(posterior.mean)
    divergence = gaussian_kl_between(*posterior, *prior).sum() / voxels
    negative = loss(network.generated(maps, posterior.at(noise), image)) + divergence
    return {"negative_elbo": negative.item(), "kl": divergence.item()}


def drawn(config: ConditionalConfig, prior: Gaussian, size: Sequence[int], generator: torch.Generator) -> Tensor:
    """A code of the prior ``(B, latent, *grid)``, with the same noise for the whole batch.

    Args:
        config: says which grid.
        prior: of images of ``size`` voxels.
        size: of the image.
        generator: the only source of chance, on the device of the prior.
    """
    latent, rank, shared = prior.mean.shape[1], len(size), config.code == "shared"
    places = 1 if shared else PERIOD // config.cell
    noise = torch.randn(1, latent, *[places] * rank, generator=generator, device=generator.device)
    return prior.at(noise if shared else repeated(noise, grid_of(size, config.cell)))


def fixed_codes(config: ConditionalConfig, prior: Gaussian, size: Sequence[int]) -> list[Tensor]:
    """Codes of the prior that are the same at every call, in pairs on both sides of its mean; the mean for 0."""
    if not config.prediction_samples:
        return [prior.mean]
    generator = torch.Generator(prior.mean.device).manual_seed(0)
    codes = [drawn(config, prior, size, generator) for _ in range((config.prediction_samples + 1) // 2)]
    return [each for code in codes for each in (code, 2 * prior.mean - code)][: config.prediction_samples]


def repeated(noise: Tensor, size: Sequence[int]) -> Tensor:
    """A block of noise ``(1, C, *period)`` again and again, up to ``(1, C, *size)``."""
    for axis, side in enumerate(size, start=2):
        noise = noise.index_select(axis, torch.arange(side, device=noise.device) % noise.shape[axis])
    return noise
