"""What adversarial autoencoders share: settings of encoder and decoder, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from medgen.config import Config as Settings
from medgen.methods.base import Shape, Window
from medgen.networks.autoencoder import Decoder, Encoder, coarsest


class AutoencoderConfig(Settings):
    """Settings of encoder and decoder; they are the networks of ``vae``."""

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


def code_shape_of(config: AutoencoderConfig, shape: Shape) -> tuple[int, ...]:
    """A vector, or a grid of them."""
    grid = () if config.code == "dense" else coarsest(shape.size, config.levels)
    return config.latent, *grid


def maps_and_mean(encoder: Encoder, image: Tensor) -> tuple[Tensor, ...]:
    """The maps of the encoder, the finest first, and the code without chance as the last."""
    maps = encoder.maps(image)
    mean: Tensor = encoder.head(maps[-1]).chunk(2, dim=1)[0]
    return (*maps, mean)


def completed(values: Any, published: Mapping[str, Any]) -> Any:
    """Settings of a user with what the preset ``published`` adds, where that is named."""
    chosen = isinstance(values, dict) and values.get("preset") == "published"
    return {**published, **values} if chosen else values


def last_weights(*, averaged: bool) -> dict[str, Any]:
    """A schedule that keeps the last weights, since no loss of a game says which are best; averaged on demand."""
    return {"schedule": {"keep": "last", **({"averaging": 0.99} if averaged else {})}}
