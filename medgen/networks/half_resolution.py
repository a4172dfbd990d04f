"""A residual U-Net that works at half of the resolution: many steps in a small budget of time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from medgen.networks.blocks import ChannelDropout
from medgen.networks.ranks import convolution

FACTOR = 2
"""Voxels along each axis that space-to-depth folds into channels."""
CHANNELS = (32, 64, 128)
"""At a half, a quarter and an eighth of the resolution."""
SLOPE = 0.2
"""Of the rectifier in the tail for negative values: with 0 all its channels can die in the first steps."""
TAIL = 16
"""Channels at full resolution."""
Pyramid: TypeAlias = Sequence[Tensor]
"""Maps at a half, a quarter and an eighth of the resolution."""


class HalfResolutionUNet(nn.Module):
    """Space to depth, two levels of a residual U-Net, depth to space, two convolutions at full resolution.

    Nothing is normalised: the absolute grey level tells tissues apart, and patches are few. The last layer starts at 0,
    so training starts from an estimate of 0 everywhere, as a network that corrects an earlier estimate should; torch's
    small initial weights matter, since with larger ones the network is lost in the first steps of Adam. The two last
    convolutions also see the image itself.

    Args:
        inputs: channels of the image.
        outputs: channels of the result.
        width: factor on the channels.
        dimensions: 2 or 3.
        dropout: rate at which each residual correction loses whole channels, so that what is dropped does not depend
            on the place in a tile.

    Attributes:
        multiple: what the sides of training patches should be divisible by; other sides are padded inside.
        widths: channels of each map.

    Shape:
        ``(B, inputs, *size)`` to ``(B, outputs, *size)``, any size, linear.
    """

    multiple = FACTOR * 2 ** (len(CHANNELS) - 1)

    def __init__(
        self, inputs: int = 1, outputs: int = 1, *, width: float = 1.0, dimensions: int = 3, dropout: float = 0.0
    ) -> None:
        super().__init__()
        layer, cells = partial(_convolution, dimensions), FACTOR**dimensions
        first, *deeper = channels = [max(4, round(count * width)) for count in CHANNELS]
        self.widths = tuple(channels)
        tail = max(4, round(TAIL * width))
        self.head = layer(inputs * cells, first)
        self.encoder = nn.ModuleList(_Block(layer, count, dropout) for count in channels)
        self.down = nn.ModuleList(layer(a, b, stride=2) for a, b in zip(channels, deeper, strict=False))
        self.up = nn.ModuleList(layer(b, a, kernel=1) for a, b in zip(channels, deeper, strict=False))
        self.decoder = nn.ModuleList(_Block(layer, count, dropout) for count in channels[:-1])
        self.unfold = layer(first, tail * cells, kernel=1)
        last = layer(tail, outputs)
        nn.init.zeros_(last.weight)  # type: ignore[arg-type]
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.tail = nn.Sequential(layer(tail + inputs, tail), nn.LeakyReLU(SLOPE), last)

    def forward(self, image: Tensor) -> Tensor:
        """The estimate."""
        return self.decoded(self.encoded(image), image)

    @classmethod
    def folded(cls, image: Tensor) -> Tensor:
        """What the first convolution sees: of any size, padded, ``(B, C FACTOR^n, *half of the size)``."""
        return space_to_depth(_padded(image, cls.multiple), FACTOR)

    def encoded(self, image: Tensor) -> Pyramid:
        """The maps of an image, which may be changed before they are decoded."""
        maps = [self.encoder[0](self.head(self.folded(image)))]
        for down, block in zip(self.down, list(self.encoder)[1:], strict=True):
            maps.append(block(down(maps[-1])))
        return maps

    def decoded(self, maps: Pyramid, image: Tensor) -> Tensor:
        """The estimate from the maps of :meth:`encoded` and the image itself."""
        *skips, result = maps
        for up, block, skip in zip(reversed(self.up), reversed(self.decoder), reversed(skips), strict=True):
            result = block(functional.interpolate(up(result), scale_factor=2.0) + skip)
        full = depth_to_space(self.unfold(result), FACTOR)
        padded = _padded(image, self.multiple)
        estimate: Tensor = self.tail(torch.cat([full, padded.to(full.dtype)], dim=1))
        for axis, side in enumerate(image.shape[2:], start=2):
            estimate = estimate.narrow(axis, 0, side)
        return estimate


class _Block(nn.Module):
    """Adds two convolutions of its input to it."""

    def __init__(self, layer: Callable[[int, int], nn.Module], channels: int, dropout: float) -> None:
        super().__init__()
        self.drop = ChannelDropout(dropout)
        self.body = nn.Sequential(nn.ReLU(), layer(channels, channels), nn.ReLU(), layer(channels, channels))

    def forward(self, image: Tensor) -> Tensor:
        """Input plus correction."""
        corrected: Tensor = image + self.drop(self.body(image))
        return corrected


def space_to_depth(image: Tensor, factor: int) -> Tensor:
    """``(B, C, X, Y, Z)`` to ``(B, C factor^3, X / factor, Y / factor, Z / factor)``, or the same of slices; no loss.

    >>> depth_to_space(space_to_depth(torch.arange(64.0).view(1, 1, 4, 4, 4), 2), 2).flatten()[:3].tolist()
    [0.0, 1.0, 2.0]
    """
    batch, channels, *sides = image.shape
    rank, coarse = len(sides), [side // factor for side in sides]
    cells = image.reshape(batch, channels, *(number for side in coarse for number in (side, factor)))
    order = [0, 1, *range(3, 3 + 2 * rank, 2), *range(2, 2 + 2 * rank, 2)]
    return cells.permute(order).reshape(batch, channels * factor**rank, *coarse)


def depth_to_space(image: Tensor, factor: int) -> Tensor:
    """The inverse of :func:`space_to_depth`."""
    batch, channels, *coarse = image.shape
    rank = len(coarse)
    count = channels // factor**rank
    cells = image.reshape(batch, count, *[factor] * rank, *coarse)
    order = [0, 1, *(place for axis in range(rank) for place in (2 + rank + axis, 2 + axis))]
    return cells.permute(order).reshape(batch, count, *(side * factor for side in coarse))


def _padded(image: Tensor, multiple: int) -> Tensor:
    """Edge values repeated at the far sides, up to sides divisible by ``multiple``."""
    missing = [-side % multiple for side in reversed(image.shape[2:])]
    if not any(missing):
        return image
    return functional.pad(image, [number for each in missing for number in (0, each)], mode="replicate")


def _convolution(dimensions: int, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Module:
    return convolution(dimensions, inputs, outputs, kernel, stride=stride)
