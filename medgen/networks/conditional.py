"""A U-Net whose result also depends on a code, with the two networks that know the code: prior and recognition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from medgen.networks.half_resolution import CHANNELS, FACTOR, HalfResolutionUNet, Pyramid
from medgen.networks.ranks import convolution

CELLS = tuple(FACTOR * 2**level for level in range(len(CHANNELS)))
"""Voxels along each axis to one place of a grid of codes: that of the maps of one level of the U-Net."""

FIRST_LOG_FACTOR = -4.0
"""Of the variance of q(z|x,y) to that of the prior, at the start of training."""


class Gaussian(NamedTuple):
    """Independent normal distributions: means and log-variances, each ``(B, latent, *grid)``."""

    mean: Tensor
    log_variance: Tensor

    def at(self, noise: Tensor) -> Tensor:
        """The code that standard normal ``noise`` stands for; 0 is the mean."""
        return self.mean + noise * torch.exp(0.5 * self.log_variance)

    def moved(self, shift: Tensor, log_factor: Tensor) -> Gaussian:
        """Another mean, by ``shift`` in standard deviations of this one, and ``exp(log_factor)`` times its variance."""
        return Gaussian(self.at(shift), self.log_variance + log_factor)


class ConditionalUNet(nn.Module):
    """Prior p(z|x), recognition q(z|x,y) and generation p(y|x,z) of Sohn et al. 2015 around one half-resolution U-Net.

    The code is a map on the grid of one level of the U-Net, of which each place depends on the image around it alone;
    or, ``shared``, one vector for the whole image. It is added to the maps of every level: by the deepest alone,
    training ends with codes that nothing reads. The prior of a map is read off the maps of that
    level. That of a shared vector is standard normal: a dependence on the image would differ from tile to tile
    of a volume, and the generation network, which sees the image, can make up for it (Sohn et al., section 4.1).

    The recognition network states its mean and variance relative to the prior (Vahdat & Kautz 2020, arXiv 2007.03898,
    section 3.2).

    Args:
        inputs: channels of x.
        outputs: channels of the result, raw.
        observed: channels of y as the recognition network sees it.
        latent: channels of the code.
        cell: voxels along each axis to one place of a map of codes; one of :data:`CELLS`.
        shared: whether one vector is the code of the whole image.
        width: factor on the channels of every network.
        dimensions: 2 or 3.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        observed: int,
        *,
        latent: int,
        cell: int = 4,
        shared: bool = False,
        width: float = 1.0,
        dimensions: int = 3,
    ) -> None:
        super().__init__()
        self.latent, self.shared, self.level = latent, shared, CELLS.index(cell)
        self.generation = HalfResolutionUNet(inputs, outputs, width=width, dimensions=dimensions)
        channels = self.generation.widths[self.level]
        self.recognition = Recognition(inputs + observed, latent, self.level, width=width, dimensions=dimensions)
        self.prior_head = None if shared else convolution(dimensions, channels, 2 * latent, 1)
        self.injections = nn.ModuleList(convolution(dimensions, latent, count, 1) for count in self.generation.widths)

    def prior(self, image: Tensor) -> tuple[Pyramid, Gaussian]:
        """The maps of the U-Net for an image ``(B, inputs, *size)``, and p(z|x)."""
        maps = self.generation.encoded(image)
        if self.prior_head is None:
            zero = image.new_zeros(len(image), self.latent, *[1] * (image.dim() - 2))
            return maps, Gaussian(zero, zero)
        return maps, Gaussian(*self.prior_head(maps[self.level]).float().chunk(2, dim=1))

    def posterior(self, image: Tensor, observed: Tensor, prior: Gaussian) -> Gaussian:
        """q(z|x,y) of images and what was observed, ``(B, observed, *size)``."""
        shift, log_factor = self.recognition(torch.cat([image, observed], dim=1))
        if self.shared:
            axes = tuple(range(2, image.dim()))
            shift, log_factor = (each.mean(axes, keepdim=True) for each in (shift, log_factor))
        return prior.moved(shift, log_factor)

    def generated(self, maps: Pyramid, code: Tensor, image: Tensor) -> Tensor:
        """The raw result ``(B, outputs, *size)`` of a code; ``maps`` are those of :meth:`prior`."""
        told = []
        for layer, each in zip(self.injections, maps, strict=True):
            message = layer(code)
            told.append(each + (message if self.shared else _resized(message, each.shape[2:])))
        result: Tensor = self.generation.decoded(told, image)
        return result


class Recognition(nn.Module):
    """Image and observation, folded and halved, to shift and log-factor ``(B, latent, *grid)`` of the prior."""

    def __init__(self, inputs: int, latent: int, level: int, *, width: float, dimensions: int) -> None:
        super().__init__()
        first, second, third = (max(4, round(count * width / 2)) for count in CHANNELS)
        last = convolution(dimensions, third, 2 * latent, 1)
        layers = [
            convolution(dimensions, inputs * FACTOR**dimensions, first),
            convolution(dimensions, first, second, stride=2 if level > 0 else 1),
            convolution(dimensions, second, third, stride=2 if level > 1 else 1),
            convolution(dimensions, third, third),
        ]
        # With torch's small weights, and the variance of the prior, no code is heard through its noise, and the
        # generation network learns to do without before the first one has anything to say.
        for weight, bias in ((layer.weight, layer.bias) for layer in (*layers, last)):
            nn.init.kaiming_normal_(weight, nonlinearity="relu")  # type: ignore[arg-type]
            nn.init.zeros_(bias)  # type: ignore[arg-type]
        nn.init.constant_(last.bias[latent:], FIRST_LOG_FACTOR)  # type: ignore[index]
        self.body = nn.Sequential(*(each for layer in layers for each in (layer, nn.SiLU())), last)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        shift, log_factor = self.body(HalfResolutionUNet.folded(image)).float().chunk(2, dim=1)
        return shift, log_factor


def grid_of(size: Sequence[int], cell: int) -> tuple[int, ...]:
    """The grid of the codes of an image of ``size`` voxels, which the U-Net pads.

    >>> grid_of((32, 36), 4)
    (8, 10)
    """
    multiple = HalfResolutionUNet.multiple
    return tuple(math.ceil(side / multiple) * multiple // cell for side in size)


def _resized(message: Tensor, grid: Sequence[int]) -> Tensor:
    """Linear between the places of a finer grid, means on a coarser one."""
    factor = message.shape[2] // grid[0]
    if factor > 1:
        return (functional.avg_pool3d if message.dim() == 5 else functional.avg_pool2d)(message, factor)
    if message.shape[2:] == grid:
        return message
    kind = "trilinear" if message.dim() == 5 else "bilinear"
    return functional.interpolate(message, size=tuple(grid), mode=kind)
