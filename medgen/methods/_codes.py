"""What autoencoders share: settings of encoder and decoder, and their abilities; how they are trained is their own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn.functional import l1_loss

from medgen.config import Config as Settings
from medgen.losses.energy import energy_distance
from medgen.methods._images import require_code, require_image
from medgen.methods.base import Encodes, Samples, Shape, Window
from medgen.networks.autoencoder import Decoder, Encoder, coarsest
from medgen.networks.monai_autoencoder import MonaiEncoder


class AutoencoderConfig(Settings):
    """Settings of encoder and decoder."""

    code: Literal["dense", "spatial"] = "dense"
    """``dense``: one vector an image. ``spatial``: a map of the coarsest grid, for sharper images and worse samples."""
    latent: PositiveInt = 64
    """Numbers of a dense code, or channels of a spatial one."""
    width: PositiveFloat = 1.0
    """Factor on the channels: 32 at full resolution, doubled with each level up to 256."""
    levels: int = Field(default=3, ge=1, le=6)
    """Halvings of the grid."""


def encoder_and_decoder(config: AutoencoderConfig, shape: Shape) -> tuple[Encoder, Decoder]:
    """New networks of patches of a shape."""
    dense, width = config.code == "dense", max(4, round(32 * config.width))
    return (
        Encoder(shape.inputs, shape.size, config.latent, dense=dense, width=width, levels=config.levels),
        Decoder(shape.inputs, shape.size, config.latent, dense=dense, width=width, levels=config.levels),
    )


def window_of(config: AutoencoderConfig, minimum: int = 1) -> Window:
    """Sides divisible by all halvings and at least ``minimum``; a dense code takes the size of the patches alone."""
    side = 2**config.levels
    return Window(multiple=side, minimum=max(side, minimum), exact=config.code == "dense")


def code_shape_of(config: AutoencoderConfig, size: Sequence[int]) -> tuple[int, ...]:
    """A vector, or a grid of them, of an image of ``size`` voxels."""
    grid = () if config.code == "dense" else coarsest(size, config.levels)
    return config.latent, *grid


def require_code_of(config: AutoencoderConfig, size: Sequence[int], code: Tensor) -> None:
    """As :func:`~medgen.methods._images.require_code`; a spatial code may have any grid of as many axes.

    Args:
        config: says which codes.
        size: voxels of a training patch.
        code: (B, ...).
    """
    require_code(code, code_shape_of(config, size), exact=config.code == "dense")


def maps_and_mean(encoder: Encoder | MonaiEncoder, image: Tensor) -> tuple[Tensor, ...]:
    """The maps of the encoder, the finest first, and the code without chance as the last."""
    maps = encoder.maps(image)
    mean: Tensor = encoder.head(maps[-1]).chunk(2, dim=1)[0]
    return (*maps, mean)


class Autoencodes(Samples, Encodes):
    """Codes and images of an encoder, whose first output is the code without chance, and a decoder; no training."""

    config: AutoencoderConfig
    shape: Shape
    encoder: Encoder
    decoder: Decoder

    @property
    @abstractmethod
    def window(self) -> Window:
        """What the networks ask of the size of an image."""

    @property
    def code_shape(self) -> tuple[int, ...]:
        """A vector, or a grid of them."""
        return code_shape_of(self.config, self.shape.size)

    def encode(self, image: Tensor) -> Tensor:
        """The code, or the mean of q(z|x)."""
        require_image(image, self.shape, self.window)
        code: Tensor = self.encoder(image)[0]
        return code

    def decode(self, code: Tensor) -> Tensor:
        """The image of a code."""
        require_code_of(self.config, self.shape.size, code)
        image: Tensor = self.decoder(code)
        return image


def autoencoder_score(method: Autoencodes, image: Tensor) -> dict[str, float]:
    """Mean absolute error of reconstructions; energy distance of samples, and of codes to the prior.

    Args:
        method: that is scored.
        image: (B, C, *size), held-out patches.
    """
    code, seed = method.encode(image), torch.Generator(image.device).manual_seed(0)
    prior = torch.randn(code.shape, generator=seed, device=seed.device)
    return {
        "l1": l1_loss(method.decode(code), image).item(),
        "energy_distance": energy_distance(image, method.decode(prior)).item(),
        "code_energy_distance": energy_distance(code, prior).item(),
    }


def completed(values: Any, presets: Mapping[str, Mapping[str, Any]]) -> Any:
    """Settings of a user with what the preset that they name adds, by its name in ``presets``."""
    return {**presets.get(str(values.get("preset")), {}), **values} if isinstance(values, dict) else values


def last_weights(*, averaged: bool) -> dict[str, Any]:
    """A schedule that keeps the last weights, since no loss of a game says which are best; averaged on demand."""
    return {"schedule": {"keep": "last", **({"averaging": 0.99} if averaged else {})}}
