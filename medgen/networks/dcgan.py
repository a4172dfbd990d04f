"""DCGAN (Radford et al. 2016, https://arxiv.org/abs/1511.06434) in two and three dimensions, and BEGAN's discriminator.

Weights as published: convolutions from N(0, 0.02), scales of batch normalisation from N(1, 0.02). That presumes a
normalisation, so networks without one start as torch starts them.

Not as published: the generator ends linearly and not with tanh. Published images are 8-bit grey values in [-1, 1];
prepared images are z-scored, so that fat and vessels lie beyond 3, and tanh could not reach them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from medgen.errors import UsageError
from medgen.networks.ranks import Norm, convolution, normalisation, transposed
from medgen.networks.spectral import normalise_spectrally

SMALLEST = 4
"""Least voxels along an axis of the coarsest grid."""
MOST = 8
"""Channels of the coarsest grid at most, as a multiple of those of the finest."""
_SLOPE = 0.2
_DEVIATION = 0.02


def halvings(size: Sequence[int]) -> int:
    """How often an image is halved: as long as all sides are even and at least 4 voxels are left.

    Raises:
        UsageError: the shortest side of what is left is not 4 to 7 voxels, as dense layers need it.

    >>> halvings((64, 80)), halvings((32, 32, 32)), halvings((24, 24))
    (4, 3, 2)
    """
    levels = 0
    while all(side % 2 ** (levels + 1) == 0 and side >= SMALLEST * 2 ** (levels + 1) for side in size):
        levels += 1
    if not levels or min(size) >= 2 * SMALLEST * 2**levels:
        told = " x ".join(map(str, size))
        raise UsageError(
            f"images of {told} voxels cannot be halved down to 4 to 7 voxels",
            fix="in patches.size, let the shortest edge be 4 to 7 times a power of two that divides all, e.g. 64, 80",
        )
    return levels


def coarsest(size: Sequence[int]) -> tuple[int, ...]:
    """The grid after all halvings."""
    return tuple(side // 2 ** halvings(size) for side in size)


def _widths(width: int, size: Sequence[int]) -> list[int]:
    return [width * min(MOST, 2**level) for level in range(halvings(size))]


class DCGenerator(nn.Module):
    """A dense layer to the coarsest grid, then transposed 4-wide convolutions that double it; ReLU between.

    Args:
        outputs: channels of the image.
        size: of the image; see :func:`halvings`.
        latent: numbers of a code.
        width: channels of the finest hidden grid; they double with each halving, up to 8 times as many.
        norm: of all layers but the last; batch is published.

    Shape:
        ``(B, latent)`` to ``(B, outputs, *size)``, linear.
    """

    def __init__(self, outputs: int, size: Sequence[int], latent: int, *, width: int, norm: Norm = "batch") -> None:
        super().__init__()
        dimensions, channels = len(size), _widths(width, size)[::-1]
        self.grid = (channels[0], *coarsest(size))
        self.stem = nn.Linear(latent, math.prod(self.grid), bias=norm == "none")
        layers: list[nn.Module] = [normalisation(norm, dimensions, channels[0]), nn.ReLU()]
        for wide, narrow in pairwise(channels):
            layers += [transposed(dimensions, wide, narrow, bias=norm == "none")]
            layers += [normalisation(norm, dimensions, narrow), nn.ReLU()]
        self.body = nn.Sequential(*layers, transposed(dimensions, channels[-1], outputs))
        _initialise(self, norm)

    def forward(self, code: Tensor) -> Tensor:
        """The image of a code."""
        image: Tensor = self.body(self.stem(code).reshape(len(code), *self.grid))
        return image


class DCDiscriminator(nn.Module):
    """4-wide convolutions that halve the grid, LeakyReLU of 0.2 between, then a dense layer to one raw logit.

    Args:
        inputs: channels of the image.
        size: of the image; see :func:`halvings`.
        width: channels of the first level; they double with each, up to 8 times as many.
        norm: of all levels but the first; batch is published. A gradient penalty wants none.
        spectral: divide each weight by its largest singular value (Miyato et al. 2018, arXiv 1802.05957).

    Shape:
        ``(B, inputs, *size)`` to ``(B, 1)``, raw logits.
    """

    def __init__(
        self, inputs: int, size: Sequence[int], *, width: int, norm: Norm = "batch", spectral: bool = False
    ) -> None:
        super().__init__()
        dimensions, channels, levels = len(size), _widths(width, size), list[nn.Module]()
        for level, (narrow, wide) in enumerate(pairwise([inputs, *channels])):
            own: Norm = norm if level else "none"
            layer = convolution(dimensions, narrow, wide, 4, stride=2, padding=1, bias=own == "none")
            levels += [nn.Sequential(layer, normalisation(own, dimensions, wide), nn.LeakyReLU(_SLOPE))]
        self.levels = nn.ModuleList(levels)
        self.head = nn.Linear(channels[-1] * math.prod(coarsest(size)), 1)
        _initialise(self, norm)
        if spectral:
            normalise_spectrally(self)

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        """The map of each level."""
        return _maps(self.levels, image)

    def judged(self, maps: tuple[Tensor, ...]) -> Tensor:
        """Logit of "real" of images whose maps are known."""
        logit: Tensor = self.head(maps[-1].flatten(1))
        return logit

    def forward(self, image: Tensor) -> Tensor:
        """Logit of "real" for each image."""
        return self.judged(self.features(image))


class AutoencodingDiscriminator(nn.Module):
    """BEGAN's discriminator (Berthelot et al. 2017, arXiv 1703.10717, figure 1): an autoencoder with ELU, without norm.

    Halvings and doublings are 4-wide convolutions as in the other networks here (and in ``compare_gan``); the
    publication has two more convolutions at each grid, and repeats voxels to double it.

    Args:
        inputs: channels of the image.
        size: of the image; see :func:`halvings`.
        hidden: numbers of its code.
        width: channels of the first level.
        spectral: as for :class:`DCDiscriminator`.

    Shape:
        ``(B, inputs, *size)`` to the same, the reconstruction.
    """

    def __init__(self, inputs: int, size: Sequence[int], hidden: int, *, width: int, spectral: bool = False) -> None:
        super().__init__()
        dimensions, channels, levels = len(size), _widths(width, size), list[nn.Module]()
        for narrow, wide in pairwise([inputs, *channels]):
            levels += [nn.Sequential(convolution(dimensions, narrow, wide, 4, stride=2, padding=1), nn.ELU())]
        self.levels = nn.ModuleList(levels)
        self.grid = (channels[-1], *coarsest(size))
        self.code = nn.Linear(math.prod(self.grid), hidden)
        self.stem = nn.Linear(hidden, math.prod(self.grid))
        layers = list[nn.Module]()
        for wide, narrow in pairwise(channels[::-1]):
            layers += [transposed(dimensions, wide, narrow), nn.ELU()]
        self.body = nn.Sequential(*layers, transposed(dimensions, channels[0], inputs))
        if spectral:
            normalise_spectrally(self)

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        """The map of each level of the encoder."""
        return _maps(self.levels, image)

    def forward(self, image: Tensor) -> Tensor:
        """The reconstruction."""
        code = self.code(self.features(image)[-1].flatten(1))
        result: Tensor = self.body(self.stem(code).reshape(len(image), *self.grid))
        return result


def _initialise(network: nn.Module, norm: Norm) -> None:
    if norm != "batch":
        return
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d | nn.Linear):
            nn.init.normal_(module.weight, std=_DEVIATION)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.normal_(module.weight, 1.0, _DEVIATION)


def _maps(levels: nn.ModuleList, image: Tensor) -> tuple[Tensor, ...]:
    """What each level makes of the one before."""
    maps = list[Tensor]()
    for level in levels:
        image = level(image)
        maps.append(image)
    return tuple(maps)
