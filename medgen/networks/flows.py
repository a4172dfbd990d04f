"""Flows of slices and volumes: a multi-scale stack of couplings, and a stack on the flattened image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from medgen.networks.couplings import Coupling, Mask, VectorCoupling
from medgen.networks.invertible import ActNorm, BatchNorm, Chain, Diagonal, Invertible, Squeeze

FlowNorm = Literal["act", "batch", "none"]

COARSEST = 4
"""Voxels along the shortest side of the last scale, where no number of scales is named."""


@dataclass(frozen=True)
class Couplings:
    """What the couplings of a flow are like.

    Attributes:
        count: of each kind (checkerboard, channels) at each scale.
        width: channels of their networks at the finest scale.
        widest: channels of their networks at most; they double with each scale.
        blocks: residual blocks of their networks; 0 is three plain convolutions.
        norm: normalisation before each coupling.
        additive: without a scale, so that volumes change by normalisation alone.
    """

    count: int
    width: int
    widest: int
    blocks: int = 0
    norm: FlowNorm = "none"
    additive: bool = False

    def layers(self, dimensions: int, channels: int, mask: Mask, count: int, level: int) -> list[Invertible]:
        """``count`` couplings that keep the one half and the other in turn."""
        found: list[Invertible] = []
        width = min(self.width * 2**level, self.widest)
        for number in range(count):
            if self.norm == "act":
                found.append(ActNorm(dimensions, channels))
            elif self.norm == "batch":
                found.append(BatchNorm(dimensions, channels))
            options = {"width": width, "blocks": self.blocks}
            flipped = bool(number % 2)
            found.append(Coupling(dimensions, channels, mask, flipped=flipped, additive=self.additive, **options))
        return found


class MultiScaleFlow(Invertible):
    """Checkerboard couplings, squeeze, channel couplings, half of the channels out; again on the rest (Fig. 4b).

    A scale and a shift of each number of the code come last: they tell the middle of the image from its border.

    Args:
        channels: of the image.
        size: of the image in voxels; each side divisible by ``2 ** (levels - 1)``.
        levels: scales; 1 has no squeeze.
        couplings: what they are like.

    Shape:
        ``(B, channels, *size)`` to a code ``(B, channels * voxels)`` and log-determinants ``(B,)``.
    """

    def __init__(self, channels: int, size: Sequence[int], *, levels: int, couplings: Couplings) -> None:
        super().__init__()
        d, self.channels, self.size = len(size), channels, tuple(size)
        scales: list[Chain] = []
        for level in range(levels - 1):
            fine = couplings.layers(d, channels, "checkerboard", couplings.count, level)
            channels *= 2**d
            scales.append(Chain([*fine, Squeeze(), *couplings.layers(d, channels, "channels", couplings.count, level)]))
            channels //= 2
        # One more, so that every voxel has been moved by the voxels around it.
        scales.append(Chain(couplings.layers(d, channels, "checkerboard", couplings.count + 1, levels - 1)))
        self.scales, self.numbers = nn.ModuleList(scales), self.channels * math.prod(size)
        self.diagonal = Diagonal(self.numbers)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Code and log-determinants."""
        rest, total, codes = x, x.new_zeros(len(x)), []
        for level, scale in enumerate(self.scales):
            rest, change = scale(rest)
            total = total + change
            if level + 1 < len(self.scales):
                out, rest = rest.chunk(2, dim=1)
                codes.append(out.flatten(1))
        code, change = self.diagonal(torch.cat([*codes, rest.flatten(1)], dim=1))
        return code, total + change

    def inverse(self, z: Tensor) -> Tensor:
        """The image of a code."""
        parts = self._parts(self.diagonal.inverse(z))
        rest = parts.pop()
        for level in reversed(range(len(self.scales))):
            if level + 1 < len(self.scales):
                rest = torch.cat([parts.pop(), rest], dim=1)
            rest = self.scales[level].inverse(rest)  # type: ignore[operator]
        return rest

    def _parts(self, code: Tensor) -> list[Tensor]:
        """The code cut into what leaves each scale."""
        shapes, channels, size = [], self.channels, self.size
        for _ in range(len(self.scales) - 1):
            channels, size = channels * 2 ** len(size) // 2, tuple(side // 2 for side in size)
            shapes.append((channels, *size))
        shapes.append((channels, *size))
        chunks = torch.split(code, [math.prod(shape) for shape in shapes], dim=1)
        return [chunk.reshape(len(code), *shape) for chunk, shape in zip(chunks, shapes, strict=True)]


class DenseFlow(Invertible):
    """Additive couplings of the flattened image, then a diagonal scale: the network of NICE (section 5.1).

    Args:
        channels: of the image.
        size: of the image in voxels.
        couplings: three or more are needed for every voxel to depend on every other.
        width: units of a hidden layer.
        hidden: hidden layers of a coupling.

    Shape:
        ``(B, channels, *size)`` to a code ``(B, channels * voxels)`` and log-determinants ``(B,)``.
    """

    def __init__(self, channels: int, size: Sequence[int], *, couplings: int, width: int, hidden: int) -> None:
        super().__init__()
        self.shape, self.numbers = (channels, *size), channels * math.prod(size)
        layers = [
            VectorCoupling(self.numbers, flipped=bool(n % 2), width=width, hidden=hidden) for n in range(couplings)
        ]
        self.chain = Chain([*layers, Diagonal(self.numbers)])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Code and log-determinants."""
        result: tuple[Tensor, Tensor] = self.chain(x.flatten(1))
        return result

    def inverse(self, z: Tensor) -> Tensor:
        """The image of a code."""
        return self.chain.inverse(z).reshape(len(z), *self.shape)


def scales_of(size: Sequence[int]) -> int:
    """Scales until a side would be odd, or the shortest shorter than :data:`COARSEST` voxels.

    >>> scales_of((64, 64)), scales_of((24, 24, 24)), scales_of((15, 64))
    (5, 3, 1)
    """
    count = 1
    while all(not side % 2 and side // 2 >= COARSEST for side in size):
        size, count = [side // 2 for side in size], count + 1
    return count
