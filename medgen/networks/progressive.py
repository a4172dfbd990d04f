"""Growing networks in two and three dimensions (Karras et al. 2018, https://arxiv.org/abs/1710.10196).

Level 0 is the coarsest grid, 4 to 7 voxels an axis; each further level doubles it, up to the size of the patches. While
a level fades in, its image is mixed with that of the level below by ``alpha``, from 0 to 1.

Unlike in the paper a code is not projected onto the sphere: the norm of each voxel after the first layer takes its
length away. So truncated codes (a temperature below 1) make nearly the same images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from medgen.networks.dcgan import coarsest, halvings

SLOPE = 0.2
"""Of LeakyReLU."""
GROUP = 4
"""Images over which the minibatch standard deviation is taken, at most."""
_TINY = 1e-8
_PARTS = 1_000_000


class Growth(NamedTuple):
    """How far networks have grown: the finest level in use, and in [0, 1] how much of it is mixed in."""

    level: int
    alpha: float


def growth_at(progress: float, levels: int, grown: float) -> Growth:
    """The growth of a training: level 0 alone, then every level fades in and is trained alone as long again.

    Args:
        progress: share of the training that is done, in [0, 1].
        levels: doublings of the grid.
        grown: share of the training after which the last level is fully there, in (0, 1].

    >>> growth_at(0.0, 3, 0.7), growth_at(0.175, 3, 0.7), growth_at(0.7, 3, 0.7)
    (Growth(level=0, alpha=1.0), Growth(level=1, alpha=0.5), Growth(level=3, alpha=1.0))
    """
    phase = progress / grown * 2 * levels
    number = int(phase + 1e-9)
    if number >= 2 * levels:
        return Growth(levels, 1.0)
    level, fading = (number + 1) // 2, number % 2
    return Growth(level, min(1.0, max(0.0, phase - number))) if fading else Growth(level, 1.0)


def channels_of(size: Sequence[int], finest: int, most: int) -> list[int]:
    """Channels by level, the coarsest first: ``finest`` at full size, doubled with each halving, at most ``most``.

    >>> channels_of((32, 32, 32), 16, 64)
    [64, 64, 32, 16]
    """
    levels = halvings(size)
    return [min(most, finest * 2 ** (levels - level)) for level in range(levels + 1)]


class Equalised(nn.Module):
    """A convolution or dense layer with an equalised learning rate (section 4.1).

    Its weights start from N(0, 1) and are multiplied by He's constant whenever they are used, so that one step of Adam
    changes those of all layers by the same share. The weight is scaled and not the map, which is larger.

    Args:
        inputs: channels.
        outputs: channels.
        kernel: voxels along each axis; empty for a dense layer.
        gain: root of two before a LeakyReLU, 1 before nothing.
    """

    def __init__(self, inputs: int, outputs: int, kernel: Sequence[int] = (), *, gain: float = math.sqrt(2)) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, *kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = gain / math.sqrt(inputs * math.prod(kernel))

    def forward(self, image: Tensor) -> Tensor:
        """A map of the same grid, or a vector."""
        weight, rank = self.weight * self.scale, self.weight.dim() - 2
        if not rank:
            return functional.linear(image, weight, self.bias)
        padding = [side // 2 for side in weight.shape[2:]]
        if rank == 2:
            return functional.conv2d(image, weight, self.bias, padding=padding)
        return functional.conv3d(image, weight, self.bias, padding=padding)


class PixelNorm(nn.Module):
    """Divides the channels of each voxel by their root mean square (section 4.2)."""

    def forward(self, image: Tensor) -> Tensor:
        """The same shape."""
        square = image.float().square().mean(1, keepdim=True)
        return image * (square + _TINY).rsqrt().to(image.dtype)


def with_deviation(image: Tensor) -> Tensor:
    """A channel more: the standard deviation over groups of images, averaged over channels and voxels (section 3).

    Args:
        image: ``(B, C, ...)``; a group has 4 images, or fewer where 4 do not divide the batch.
    """
    size = next(number for number in range(min(GROUP, len(image)), 0, -1) if not len(image) % number)
    groups = image.float().reshape(
        size, -1, *image.shape[1:]
    )  # images of one group are spread over the batch, as published
    deviation = (groups.var(0, correction=0) + _TINY).sqrt().flatten(1).mean(1)
    shape = (len(image), 1, *image.shape[2:])
    told = deviation.repeat(size).reshape(-1, *[1] * (image.dim() - 1)).expand(shape)
    return torch.cat([image, told.to(image.dtype)], 1)


def _block(inputs: int, outputs: int, dimensions: int, *, norm: bool) -> nn.Sequential:
    """A 3-wide convolution, LeakyReLU and, in a generator, the norm of each voxel."""
    layers = [Equalised(inputs, outputs, (3,) * dimensions), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers, PixelNorm()) if norm else nn.Sequential(*layers)


def doubled(image: Tensor) -> Tensor:
    """Each voxel repeated along each axis."""
    return functional.interpolate(image, scale_factor=2, mode="nearest")


def halved(image: Tensor) -> Tensor:
    """Means of two voxels along each axis."""
    return functional.avg_pool2d(image, 2) if image.dim() == 4 else functional.avg_pool3d(image, 2)


class ProgressiveGenerator(nn.Module):
    """A code to an image of the level that is in use.

    Args:
        outputs: channels of the image.
        size: of the image when fully grown; see :func:`~medgen.networks.dcgan.halvings`.
        latent: numbers of a code.
        channels: of each level, see :func:`channels_of`.

    Shape:
        ``(B, latent)`` to ``(B, outputs, *grid)`` of the level, linear.
    """

    growth: Tensor

    def __init__(self, outputs: int, size: Sequence[int], latent: int, channels: Sequence[int]) -> None:
        super().__init__()
        rank = len(size)
        self.grid = (channels[0], *coarsest(size))
        self.stem = Equalised(latent, math.prod(self.grid))
        self.first = nn.Sequential(nn.LeakyReLU(SLOPE), PixelNorm(), _block(channels[0], channels[0], rank, norm=True))
        self.blocks = nn.ModuleList(
            nn.Sequential(_block(wide, narrow, rank, norm=True), _block(narrow, narrow, rank, norm=True))
            for wide, narrow in pairwise(channels)
        )
        self.to_image = nn.ModuleList(Equalised(each, outputs, (1,) * rank, gain=1.0) for each in channels)
        # Whole millionths of a level: the moving average copies integers, and a model knows what was trained.
        self.register_buffer("growth", torch.zeros((), dtype=torch.int64))

    @property
    def grown(self) -> Growth:
        """The growth that was trained last."""
        level, rest = divmod(int(self.growth), _PARTS)
        return Growth(level + 1, rest / _PARTS) if rest else Growth(level, 1.0)

    @grown.setter
    def grown(self, growth: Growth) -> None:
        self.growth.fill_(round((growth.level - 1 + growth.alpha) * _PARTS))

    def forward(self, code: Tensor, growth: Growth) -> Tensor:
        """The image; while a level fades in, mixed with the doubled image of the level below."""
        level, alpha = growth
        maps = self.first(self.stem(code).reshape(len(code), *self.grid))
        image: Tensor | None = None
        for number, block in enumerate(self.blocks[:level], start=1):
            if number == level and alpha < 1:
                image = doubled(self.to_image[level - 1](maps))
            maps = block(doubled(maps))
        fine: Tensor = self.to_image[level](maps)
        return fine if image is None else torch.lerp(image.to(fine.dtype), fine, alpha)


class ProgressiveCritic(nn.Module):
    """The mirror image of the generator: an image of the level that is in use to one raw value.

    Args:
        inputs: channels of the image.
        size: of the image when fully grown.
        channels: of each level.

    Shape:
        ``(B, inputs, *grid)`` of the level to ``(B, 1)``.
    """

    def __init__(self, inputs: int, size: Sequence[int], channels: Sequence[int]) -> None:
        super().__init__()
        rank, first = len(size), channels[0]
        leaky = nn.LeakyReLU(SLOPE)
        self.from_image = nn.ModuleList(nn.Sequential(Equalised(inputs, each, (1,) * rank), leaky) for each in channels)
        self.blocks = nn.ModuleList(
            nn.Sequential(_block(narrow, narrow, rank, norm=False), _block(narrow, wide, rank, norm=False))
            for wide, narrow in pairwise(channels)
        )
        self.last = _block(first + 1, first, rank, norm=False)
        dense = math.prod(coarsest(size)) * first
        self.head = nn.Sequential(Equalised(dense, first), leaky, Equalised(first, 1, gain=1.0))

    def features(self, image: Tensor, growth: Growth) -> tuple[Tensor, ...]:
        """The map of the image, and of each level in use from the finest on, already halved."""
        level, alpha = growth
        below = self.from_image[level - 1](halved(image)) if level and alpha < 1 else None
        current = self.from_image[level](image)
        maps = [current]
        for number in range(level, 0, -1):
            current = halved(self.blocks[number - 1](current))
            if number == level and below is not None:
                current = torch.lerp(below.to(current.dtype), current, alpha)
            maps.append(current)
        return tuple(maps)

    def forward(self, image: Tensor, growth: Growth) -> Tensor:
        """The value of each image; the other images of its batch matter."""
        maps = self.last(with_deviation(self.features(image, growth)[-1]))
        value: Tensor = self.head(maps.flatten(1))
        return value
