"""A residual U-Net that works at half of the resolution: many steps in a small budget of time."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

FACTOR = 2
"""Voxels along each axis that space-to-depth folds into channels."""
CHANNELS = (32, 64, 128)
"""At a half, a quarter and an eighth of the resolution."""
SLOPE = 0.2
"""Of the rectifier in the tail for negative values: with 0 all its channels can die in the first steps."""
TAIL = 16
"""Channels at full resolution."""


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

    Attributes:
        multiple: what the sides of training patches should be divisible by; other sides are padded inside.

    Shape:
        ``(B, inputs, X, Y, Z)`` to ``(B, outputs, X, Y, Z)``, any size, linear.
    """

    multiple = FACTOR * 2 ** (len(CHANNELS) - 1)

    def __init__(self, inputs: int = 1, outputs: int = 1, *, width: float = 1.0) -> None:
        super().__init__()
        first, *deeper = channels = [max(4, round(count * width)) for count in CHANNELS]
        tail = max(4, round(TAIL * width))
        self.head = _convolution(inputs * FACTOR**3, first)
        self.encoder = nn.ModuleList(_Block(count) for count in channels)
        self.down = nn.ModuleList(_convolution(a, b, stride=2) for a, b in zip(channels, deeper, strict=False))
        self.up = nn.ModuleList(_convolution(b, a, kernel=1) for a, b in zip(channels, deeper, strict=False))
        self.decoder = nn.ModuleList(_Block(count) for count in channels[:-1])
        self.unfold = _convolution(first, tail * FACTOR**3, kernel=1)
        last = _convolution(tail, outputs)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.tail = nn.Sequential(_convolution(tail + inputs, tail), nn.LeakyReLU(SLOPE), last)

    def forward(self, image: Tensor) -> Tensor:
        """The estimate."""
        size = image.shape[2:]
        padded = _padded(image, self.multiple)
        maps = [self.encoder[0](self.head(space_to_depth(padded, FACTOR)))]
        for down, block in zip(self.down, list(self.encoder)[1:], strict=True):
            maps.append(block(down(maps[-1])))
        result = maps.pop()
        for up, block in zip(reversed(self.up), reversed(self.decoder), strict=True):
            result = block(functional.interpolate(up(result), scale_factor=2.0) + maps.pop())
        full = depth_to_space(self.unfold(result), FACTOR)
        estimate: Tensor = self.tail(torch.cat([full, padded.to(full.dtype)], dim=1))
        return estimate[:, :, : size[0], : size[1], : size[2]]


class _Block(nn.Module):
    """Adds two convolutions of its input to it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReLU(), _convolution(channels, channels), nn.ReLU(), _convolution(channels, channels)
        )

    def forward(self, image: Tensor) -> Tensor:
        """Input plus correction."""
        corrected: Tensor = image + self.body(image)
        return corrected


def space_to_depth(image: Tensor, factor: int) -> Tensor:
    """``(B, C, X, Y, Z)`` to ``(B, C factor^3, X / factor, Y / factor, Z / factor)``; no value is lost.

    >>> depth_to_space(space_to_depth(torch.arange(64.0).view(1, 1, 4, 4, 4), 2), 2).flatten()[:3].tolist()
    [0.0, 1.0, 2.0]
    """
    batch, channels, *sides = image.shape
    x, y, z = (side // factor for side in sides)
    cells = image.reshape(batch, channels, x, factor, y, factor, z, factor)
    return cells.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(batch, channels * factor**3, x, y, z)


def depth_to_space(image: Tensor, factor: int) -> Tensor:
    """The inverse of :func:`space_to_depth`."""
    batch, channels, x, y, z = image.shape
    count = channels // factor**3
    cells = image.reshape(batch, count, factor, factor, factor, x, y, z).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return cells.reshape(batch, count, x * factor, y * factor, z * factor)


def _padded(image: Tensor, multiple: int) -> Tensor:
    """Edge values repeated at the far sides, up to sides divisible by ``multiple``."""
    missing = [-side % multiple for side in reversed(image.shape[2:])]
    if not any(missing):
        return image
    return functional.pad(image, [number for each in missing for number in (0, each)], mode="replicate")


def _convolution(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Conv3d:
    return nn.Conv3d(inputs, outputs, kernel, stride, padding=kernel // 2)
