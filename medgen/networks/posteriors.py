"""Posteriors q(z|x) of a variational autoencoder that go beyond a diagonal normal distribution, by flows.

Each begins with ``z_0 = mean + std * noise`` of the encoder and moves it by K invertible steps that depend on the
image: ``log q(z_K|x) = log N(z_0; mean, std^2) - sum over k of log |det dz_k/dz_(k-1)|`` (Rezende & Mohamed 2015,
eq. 13). The steps read a *context*, which is made of the deepest maps of the encoder: no image is fitted on its own.
Codes are vectors ``(B, C)`` or grids ``(B, C, *grid)``; the same lines serve both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from medgen.networks.autoencoder import code_head
from medgen.networks.ranks import convolution

GATE = 1.5
"""Bias of the gates of a new inverse autoregressive step: the step begins near the identity."""
SHORTEST = 1e-3
"""Length of the w of a planar step by which u may be divided."""


class Draw(NamedTuple):
    """A code that was drawn, and how likely that was.

    Attributes:
        code: (B, C, ...).
        log_density: of the same shape, ``log q`` of each number given those before it; or ``(B, 1, ...)`` where the
            steps mix the channels of a voxel. Its sum is ``log q(code|x)``.
    """

    code: Tensor
    log_density: Tensor


class Diagonal(nn.Module):
    """``N(mean, std^2)`` without correlations (Kingma & Welling 2014, eq. 9)."""

    def forward(self, mean: Tensor, log_variance: Tensor, deepest: Tensor, noise: Tensor) -> Draw:
        """The draw that ``noise`` makes.

        Args:
            mean: (B, C, ...), in 32 bits at least, as what is made of it.
            log_variance: of the same shape.
            deepest: maps of the encoder, of which the steps make their context.
            noise: standard normal, of the shape of ``mean``, or one that broadcasts to it.
        """
        noise = noise.expand_as(mean)
        density = -0.5 * (noise.square() + log_variance + math.log(2 * math.pi))
        return Draw(mean + noise * torch.exp(0.5 * log_variance), density)


class Planar(nn.Module):
    """``z' = z + u tanh(w z + b)`` K times (Rezende & Mohamed 2015, eq. 10), with u, w and b of the image.

    Of a grid of codes each voxel has steps of its own, over its channels. The constraint of the paper's appendix A.1
    makes each step invertible.

    Args:
        channels: of the deepest maps.
        grid: of the deepest maps.
        code: numbers of a dense code, or channels of a spatial one.
        dense: whether the code is a vector.
        steps: K.
        width: numbers of the context.
    """

    def __init__(self, channels: int, grid: Sequence[int], code: int, *, dense: bool, steps: int, width: int) -> None:
        super().__init__()
        self.steps, self.code = steps, code
        self.context = code_head(channels, grid, width, dense=dense)
        numbers = steps * (2 * code + 1)
        self.last: nn.Module = nn.Linear(width, numbers) if dense else convolution(len(grid), width, numbers, 1)
        with torch.no_grad():  # w of length 1, and not near 0, by which u is divided
            bias = self.last.bias.view(steps, 2 * code + 1)  # type: ignore[operator]
            bias.zero_()
            bias[:, code : 2 * code] = functional.normalize(torch.randn(steps, code), dim=1)
            self.last.weight.mul_(0.1)  # type: ignore[operator]

    def forward(self, mean: Tensor, log_variance: Tensor, deepest: Tensor, noise: Tensor) -> Draw:
        """As :meth:`Diagonal.forward`; ``log_density`` is ``(B, 1, ...)``."""
        code, density = Diagonal()(mean, log_variance, deepest, noise)
        density = density.sum(dim=1, keepdim=True)
        numbers = self.last(functional.elu(self.context(deepest))).to(code.dtype)
        for each in numbers.chunk(self.steps, dim=1):
            u, w, b = each.split([self.code, self.code, 1], dim=1)
            code, determinant = planar_step(code, u, w, b)
            density = density - determinant
        return Draw(code, density)


def planar_step(z: Tensor, u: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """One planar step, and ``log |det|`` of it, ``(B, 1, ...)``.

    ``u`` is replaced by ``u + (m(w u) - w u) w / |w|^2`` with ``m(a) = -1 + log(1 + exp(a))``, so that ``w u > -1``,
    by more than 32 bits round away. Of a w shorter than :data:`SHORTEST` u changes by less, so that it stays finite.

    Args:
        z: (B, C, ...).
        u: of the same shape.
        w: of the same shape.
        b: (B, 1, ...).
    """
    product = (w * u).sum(dim=1, keepdim=True)
    squared = w.square().sum(dim=1, keepdim=True)
    allowed = product + (functional.softplus(product) - 1 - product) * (squared / SHORTEST**2).clamp(max=1)
    allowed = allowed.clamp(min=-1 + 1e-6)
    u = u + (allowed - product) * w / squared.clamp(min=1e-30)
    bent = torch.tanh((w * z).sum(dim=1, keepdim=True) + b)
    return z + u * bent, torch.log1p((1 - bent.square()) * allowed)


class InverseAutoregressive(nn.Module):
    """``z' = s z + (1 - s) m`` K times, with ``s = sigmoid(.)`` and m of the numbers before (Kingma 2016, alg. 1).

    This is the paper's numerically stable form with gates (eq. 13, 14), not ``(z - 0.1 m) / exp(0.1 s)`` of its code.
    The order of the numbers is reversed in every other step. A spatial code is ordered voxel by voxel, and by channels
    within a voxel.

    Args:
        channels: of the deepest maps.
        grid: of the deepest maps.
        code: numbers of a dense code, or channels of a spatial one.
        dense: whether the code is a vector.
        steps: K.
        width: numbers of the context, and of the hidden layers.
    """

    def __init__(self, channels: int, grid: Sequence[int], code: int, *, dense: bool, steps: int, width: int) -> None:
        super().__init__()
        self.context = code_head(channels, grid, width, dense=dense)
        rank = 0 if dense else len(grid)
        self.steps = nn.ModuleList(Autoregressive(code, width, rank) for _ in range(steps))

    def forward(self, mean: Tensor, log_variance: Tensor, deepest: Tensor, noise: Tensor) -> Draw:
        """As :meth:`Diagonal.forward`; ``log_density`` is of each number."""
        code, density = Diagonal()(mean, log_variance, deepest, noise)
        context = self.context(deepest)
        for number, step in enumerate(self.steps):
            code, log_slope = gated_step(step, code, context, reverse=bool(number % 2))
            density = density - log_slope
        return Draw(code, density)


def gated_step(network: nn.Module, z: Tensor, context: Tensor, *, reverse: bool) -> tuple[Tensor, Tensor]:
    """One inverse autoregressive step, and the logarithm of the diagonal of its Jacobian, of the shape of ``z``."""
    axes, spatial = list(range(1, z.dim())), list(range(2, z.dim()))
    made = network(z.flip(axes), context.flip(spatial)) if reverse else network(z, context)
    shift, gate = (each.flip(axes) if reverse else each for each in made.to(z.dtype).chunk(2, dim=1))
    return torch.sigmoid(gate) * z + torch.sigmoid(-gate) * shift, functional.logsigmoid(gate)


class Autoregressive(nn.Module):
    """Two numbers for each number of z, which depend on the context and on the numbers of z before it alone.

    MADE (Germain et al. 2015, arXiv 1502.03509) for vectors; for grids masked convolutions, whose channels are ordered
    in the same way within a voxel.

    Args:
        code: channels of z.
        width: channels of the context and of two hidden layers.
        rank: axes of the grid: 0 for vectors, 2 or 3.

    Shape:
        ``(B, code, *grid)`` and ``(B, width, *grid)`` to ``(B, 2 * code, *grid)``: shifts, then gates.
    """

    def __init__(self, code: int, width: int, rank: int) -> None:
        super().__init__()
        visible = torch.arange(1, code + 1)
        hidden = torch.arange(width) % code  # a hidden number sees those up to its degree; 0 sees the context alone
        self.first = Masked(visible, hidden, rank, strict=False)
        self.second = Masked(hidden, hidden, rank, strict=False)
        self.last = Masked(hidden, visible.repeat(2), rank, strict=True)
        with torch.no_grad():
            self.last.weight.mul_(0.1)
            self.last.bias[code:] = GATE

    def forward(self, z: Tensor, context: Tensor) -> Tensor:
        """Shifts and gates."""
        hidden = functional.elu(self.first(z) + context)
        made: Tensor = self.last(functional.elu(self.second(hidden)))
        return made


class Masked(nn.Module):
    """A linear layer or 3-wide convolution whose outputs see inputs of lower degree, and earlier voxels, alone.

    Args:
        inputs: (I,) degrees of the input channels.
        outputs: (O,) degrees of the output channels.
        rank: axes of the grid: 0, 2 or 3.
        strict: whether an output does not see inputs of its own degree.
    """

    mask: Tensor

    def __init__(self, inputs: Tensor, outputs: Tensor, rank: int, *, strict: bool) -> None:
        super().__init__()
        self.rank = rank
        like = nn.Linear(len(inputs), len(outputs)) if not rank else convolution(rank, len(inputs), len(outputs))
        self.weight, self.bias = (dict(like.named_parameters())[name] for name in ("weight", "bias"))
        seen = inputs[None] < outputs[:, None] if strict else inputs[None] <= outputs[:, None]
        places = seen.float()[..., None].repeat(1, 1, 3**rank)  # in the order in which the voxels of a grid follow
        centre = 3**rank // 2
        places[..., :centre], places[..., centre + 1 :] = 1, 0
        self.register_buffer("mask", places.reshape(self.weight.shape), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """The layer with its mask."""
        weight = self.weight * self.mask
        match self.rank:
            case 0:
                return functional.linear(x, weight, self.bias)
            case 2:
                return functional.conv2d(x, weight, self.bias, padding=1)
        return functional.conv3d(x, weight, self.bias, padding=1)
