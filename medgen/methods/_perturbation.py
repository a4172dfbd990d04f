"""Random changes of the intensities of a batch, on its device, to which a segmenter should be invariant."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt
from torch import Tensor
from torch.nn import functional

from medgen.config import Config

Chance = Annotated[float, Field(ge=0, le=1)]
LOWEST, HIGHEST, PIECES = -4.0, 5.0, 6
"""A random curve has this many straight pieces between these normalised intensities (most of a brain lies within)."""


class PerturbationConfig(Config):
    """How strongly patches are changed; intensities in standard deviations, each channel of each patch by itself."""

    channels: tuple[NonNegativeInt, ...] | None = None
    """Which input channels are changed; by default all. The one whose meaning differs between the domains matters
    most."""
    probability: Chance = 0.5
    """Of each change, other than ``channel_dropout``, for each channel of each patch."""
    curve: NonNegativeFloat = 0.5
    """Spread of the logarithm of the slopes of a random rising curve of straight pieces; 0 leaves it out."""
    inversion: Chance = 0.0
    """Chance that a piece of the curve falls instead: contrasts that turn round, as between GE and SWI."""
    mixing: NonNegativeFloat = 0.0
    """Largest share of each other channel, of either sign, that a channel gains: a different weighting by T1 and T2."""
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Largest relative change of the distance from the mean."""
    shift: NonNegativeFloat = 0.3
    """Largest offset."""
    bias: NonNegativeFloat = 0.0
    """Largest relative change of the distance from the mean in a corner of the patch; it varies linearly between
    the corners."""
    blur: NonNegativeFloat = 0.0
    """Largest share of the difference from the mean of 3^3 voxels that is taken away, or added: blur and sharpening."""
    noise: NonNegativeFloat = 0.1
    """Largest standard deviation of Gaussian noise."""
    channel_dropout: Chance | dict[NonNegativeInt, Chance] = {}
    """Chance, by number of the channel, that the channel of a patch is set to its mean, 0. One number is for every
    channel by itself, where there are several."""

    def named_channels(self) -> dict[str, Collection[int]]:
        """What ``channels`` and ``channel_dropout`` name."""
        dropped = self.channel_dropout if isinstance(self.channel_dropout, dict) else ()
        return {"channels": self.channels or (), "channel_dropout": dropped}


def perturb(image: Tensor, mask: Tensor, config: PerturbationConfig) -> Tensor:
    """Change the intensities inside the mask; all chance is torch's generator of the device.

    Args:
        image: (B, C, X, Y, Z), normalised to zero mean and unit variance inside the patient.
        mask: (B, 1, X, Y, Z) in {0, 1}; outside nothing is changed.
        config: which changes, and how strong.

    Returns:
        A new tensor like ``image``.
    """
    changed = image.float()
    for change, largest in (
        (_curved, config.curve or config.inversion),
        (_mixed, config.mixing),
        (_biased, config.bias),
        (_scaled, config.scale),
        (_shifted, config.shift),
        (_blurred, config.blur),
        (_noisy, config.noise),
    ):
        if largest:
            chosen = _column(changed, torch.rand) < config.probability
            changed = torch.where(chosen, change(changed, config), changed)
    if config.channels is not None:
        listed = torch.tensor([each in config.channels for each in range(image.shape[1])], device=image.device)
        changed = torch.where(listed[:, None, None, None], changed, image)
    if any(chances := _dropout(config.channel_dropout, image.shape[1])):
        dropped = _column(changed, torch.rand) < torch.tensor(chances, device=image.device)[:, None, None, None]
        changed = changed.masked_fill(dropped, 0.0)
    return torch.where(mask > 0, changed, image).to(image.dtype)


def _dropout(chances: float | dict[int, float], channels: int) -> list[float]:
    """The chance of each channel; a single channel, which would leave an empty patch, is dropped by name only."""
    if isinstance(chances, dict):
        return [chances.get(each, 0.0) for each in range(channels)]
    return [chances if channels > 1 else 0.0] * channels


def _column(image: Tensor, draw: object) -> Tensor:
    """One random number for each channel of each patch, (B, C, 1, 1, 1)."""
    return draw(*image.shape[:2], 1, 1, 1, device=image.device)  # type: ignore[operator,no-any-return]


def _uniform(image: Tensor, largest: float) -> Tensor:
    return (2 * _column(image, torch.rand) - 1) * largest


def _curved(image: Tensor, config: PerturbationConfig) -> Tensor:
    """A continuous curve of straight pieces through the mean, straight on beyond both ends."""
    batch, channels = image.shape[:2]
    knots = (batch, channels, PIECES)
    slopes = torch.exp(config.curve * torch.randn(knots, device=image.device))
    slopes = slopes / slopes.mean(dim=2, keepdim=True)
    slopes = torch.where(torch.rand(knots, device=image.device) < config.inversion, -slopes, slopes)
    length = (HIGHEST - LOWEST) / PIECES
    heights = functional.pad(slopes.cumsum(2) * length, (1, 0))[..., :-1]  # at the left end of each piece

    def at(values: Tensor) -> Tensor:
        piece = ((values - LOWEST) / length).long().clamp(0, PIECES - 1)
        flat = piece.flatten(2)
        left, slope = heights.gather(2, flat).view_as(values), slopes.gather(2, flat).view_as(values)
        return left + slope * (values - LOWEST - piece * length)

    return at(image) - at(image.new_zeros(batch, channels, 1, 1, 1))


def _mixed(image: Tensor, config: PerturbationConfig) -> Tensor:
    batch, channels = image.shape[:2]
    shares = (2 * torch.rand(batch, channels, channels, device=image.device) - 1) * config.mixing
    shares = shares * (1 - torch.eye(channels, device=image.device))
    return image + torch.einsum("bij,bjxyz->bixyz", shares, image)


def _biased(image: Tensor, config: PerturbationConfig) -> Tensor:
    corners = 2 * torch.rand(*image.shape[:2], 2, 2, 2, device=image.device) - 1
    field = functional.interpolate(corners, size=image.shape[2:], mode="trilinear", align_corners=True)
    return image * (1 + config.bias * field)


def _scaled(image: Tensor, config: PerturbationConfig) -> Tensor:
    return image * (1 + _uniform(image, config.scale))


def _shifted(image: Tensor, config: PerturbationConfig) -> Tensor:
    return image + _uniform(image, config.shift)


def _blurred(image: Tensor, config: PerturbationConfig) -> Tensor:
    mean = functional.avg_pool3d(functional.pad(image, (1,) * 6, mode="replicate"), 3, stride=1)
    return image + _uniform(image, config.blur) * (mean - image)


def _noisy(image: Tensor, config: PerturbationConfig) -> Tensor:
    return image + _column(image, torch.rand) * config.noise * torch.randn_like(image)
