"""A convolutional encoder and decoder for slices and volumes, with a dense or a spatial code."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medgen.networks.ranks import convolution, normalisation

MOST = 256
"""Channels of the deepest level at most."""


class Encoder(nn.Module):
    """Strided convolutions, each halving the grid, then mean and log-variance of the code.

    Args:
        inputs: channels of the image.
        size: of the image in voxels; each side divisible by ``2 ** levels``.
        code: numbers of a dense code, or channels of a spatial one.
        dense: whether the code is one vector, or a map of the coarsest grid.
        width: channels of the first level; they double with each.
        levels: halvings.

    Attributes:
        deepest: channels of the deepest maps.
        grid: of the deepest maps.

    Shape:
        ``(B, inputs, *size)`` to two of ``(B, code)``, or of ``(B, code, *size / 2 ** levels)``.
    """

    def __init__(
        self, inputs: int, size: Sequence[int], code: int, *, dense: bool, width: int = 32, levels: int = 3
    ) -> None:
        super().__init__()
        dimensions, channels = len(size), widths(width, levels)
        blocks: list[nn.Module] = [convolution(dimensions, inputs, channels[0])]
        for narrow, wide in zip(channels, [*channels[1:], channels[-1]], strict=True):
            blocks += [nn.SiLU(), convolution(dimensions, narrow, wide, stride=2)]
            blocks += [normalisation("group", dimensions, wide), nn.SiLU(), convolution(dimensions, wide, wide)]
        self.body = nn.Sequential(*blocks, nn.SiLU())
        self.deepest, self.grid = channels[-1], coarsest(size, levels)
        self.head = code_head(self.deepest, self.grid, 2 * code, dense=dense)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the code."""
        mean, log_variance = self.head(self.body(image)).chunk(2, dim=1)
        return mean, log_variance

    def maps(self, image: Tensor) -> tuple[Tensor, ...]:
        """The maps ``(B, channels, ...)`` at full resolution and of each level; the head reads the last."""
        found: list[Tensor] = []
        for layer in self.body:
            image = layer(image)
            if isinstance(layer, nn.SiLU):
                found.append(image)
        return tuple(found[::2])  # within a level stands another one


class Decoder(nn.Module):
    """The mirror of :class:`Encoder`; grids are doubled by repeating voxels, which leaves no checkerboard.

    Shape:
        ``(B, code)`` or ``(B, code, *size / 2 ** levels)`` to ``(B, outputs, *size)``, linear.
    """

    def __init__(
        self, outputs: int, size: Sequence[int], code: int, *, dense: bool, width: int = 32, levels: int = 3
    ) -> None:
        super().__init__()
        dimensions, channels = len(size), widths(width, levels)[::-1]
        self.grid = (channels[0], *coarsest(size, levels)) if dense else None
        self.stem: nn.Module = (
            nn.Linear(code, math.prod(self.grid)) if self.grid else convolution(dimensions, code, channels[0], 1)
        )
        blocks: list[nn.Module] = []
        for wide, narrow in zip(channels, [*channels[1:], channels[-1]], strict=True):
            blocks += [nn.SiLU(), nn.Upsample(scale_factor=2), convolution(dimensions, wide, narrow)]
            blocks += [normalisation("group", dimensions, narrow), nn.SiLU(), convolution(dimensions, narrow, narrow)]
        self.body = nn.Sequential(*blocks, nn.SiLU(), convolution(dimensions, channels[-1], outputs))

    def forward(self, code: Tensor) -> Tensor:
        """The image of a code."""
        first: Tensor = self.stem(code)
        image: Tensor = self.body(first.reshape(len(code), *self.grid) if self.grid else first)
        return image


def code_head(channels: int, grid: Sequence[int], numbers: int, *, dense: bool) -> nn.Module:
    """The last layer of an encoder: ``(B, channels, *grid)`` to ``(B, numbers)``, or to ``(B, numbers, *grid)``."""
    if dense:
        return nn.Sequential(nn.Flatten(), nn.Linear(channels * math.prod(grid), numbers))
    return convolution(len(grid), channels, numbers, 1)


def widths(first: int, levels: int) -> list[int]:
    """Channels of each level, the finest first.

    >>> widths(32, 5)
    [32, 64, 128, 256, 256]
    """
    return [min(MOST, first * 2**level) for level in range(levels)]


def coarsest(size: Sequence[int], levels: int) -> tuple[int, ...]:
    """The grid after all halvings."""
    return tuple(side // 2**levels for side in size)


def reparametrised(mean: Tensor, log_variance: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """A draw of the normal distribution that a gradient can pass (Kingma & Welling 2014, section 2.4)."""
    noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
    return mean + noise * torch.exp(0.5 * log_variance)
