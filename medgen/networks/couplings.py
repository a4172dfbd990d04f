"""Coupling layers: half of an image moves, by an amount that a network reads off the other half."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from medgen.networks.invertible import Invertible
from medgen.networks.ranks import convolution

BOUND = 2.0
"""Largest absolute log-scale of a coupling: beyond it float32 loses the log-determinant (it grows with the weights)."""

Mask = Literal["checkerboard", "channels"]


class Coupling(Invertible):
    """``z_moved = x_moved exp(s(x_kept)) + t(x_kept)`` (Dinh et al. 2017, eq. 7); additive: s = 0 (Dinh et al. 2014).

    Args:
        dimensions: 2 or 3.
        channels: of the image; for ``channels`` at least 2.
        mask: ``checkerboard`` keeps every other voxel, ``channels`` one half of the channels.
        flipped: keep the others instead.
        width: channels of the network that makes s and t.
        blocks: its residual blocks; 0 is three plain convolutions.
        additive: without a scale.

    Shape:
        ``(B, channels, *size)`` to the same.
    """

    def __init__(
        self,
        dimensions: int,
        channels: int,
        mask: Mask,
        *,
        flipped: bool,
        width: int,
        blocks: int = 0,
        additive: bool = False,
    ) -> None:
        super().__init__()
        self.mask, self.flipped, self.additive = mask, flipped, additive
        first, rest = channels // 2, channels - channels // 2
        kept, moved = (channels, channels) if mask == "checkerboard" else (rest, first) if flipped else (first, rest)
        self.network = conditioner(dimensions, kept, moved * (1 if additive else 2), width=width, blocks=blocks)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The image of ``x``, and the log-determinants ``(B,)``."""
        kept, moved = self._split(x)
        scale, shift = self._affine(kept)
        return self._merged(kept, moved * scale.exp() + shift), scale.flatten(1).sum(dim=1)

    def inverse(self, z: Tensor) -> Tensor:
        """The ``x`` that :meth:`forward` maps to ``z``."""
        kept, moved = self._split(z)
        scale, shift = self._affine(kept)
        return self._merged(kept, (moved - shift) * (-scale).exp())

    def _affine(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Log-scale and shift, 0 where a checkerboard keeps."""
        made = self.network(kept)
        raw, shift = (torch.zeros_like(made), made) if self.additive else made.chunk(2, dim=1)
        scale = BOUND * torch.tanh(raw / BOUND)
        if self.mask == "channels":
            return scale, shift
        free = 1 - self._board(kept)
        return scale * free, shift * free

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What is kept, and what is moved; with a checkerboard both have the shape of ``x``, and zeros elsewhere."""
        if self.mask == "channels":
            first, rest = x[:, : x.shape[1] // 2], x[:, x.shape[1] // 2 :]
            return (rest, first) if self.flipped else (first, rest)
        board = self._board(x)
        return x * board, x * (1 - board)

    def _merged(self, kept: Tensor, moved: Tensor) -> Tensor:
        if self.mask == "channels":
            return torch.cat([moved, kept] if self.flipped else [kept, moved], dim=1)
        return kept + moved

    def _board(self, x: Tensor) -> Tensor:
        """1 where a checkerboard keeps, broadcasting to ``x``."""
        places = torch.meshgrid(*[torch.arange(side, device=x.device) for side in x.shape[2:]], indexing="ij")
        parity = (torch.stack(places).sum(dim=0) % 2).bool()[None, None]
        return (parity == self.flipped).to(x.dtype)


class VectorCoupling(Invertible):
    """An additive coupling of vectors by a dense network (Dinh et al. 2014, section 3.2).

    Args:
        numbers: of a vector; every other one is kept.
        flipped: keep the others instead.
        width: units of a hidden layer.
        hidden: hidden layers.

    Shape:
        ``(B, numbers)`` to the same.
    """

    def __init__(self, numbers: int, *, flipped: bool, width: int, hidden: int) -> None:
        super().__init__()
        self.flipped = flipped
        sizes = [numbers // 2 if flipped else numbers - numbers // 2, *[width] * hidden]
        layers: list[nn.Module] = []
        for entering, leaving in pairwise(sizes):
            layers += [nn.Linear(entering, leaving), nn.ReLU()]
        last = nn.Linear(width, numbers - sizes[0])
        _nearly_zero(last)
        self.network = nn.Sequential(*layers, last)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The moved vectors, and zeros ``(B,)``: volumes do not change."""
        return self._moved(x, 1), x.new_zeros(len(x))

    def inverse(self, z: Tensor) -> Tensor:
        """The ``x`` that :meth:`forward` maps to ``z``."""
        return self._moved(z, -1)

    def _moved(self, x: Tensor, sign: int) -> Tensor:
        even, odd = x[:, ::2], x[:, 1::2]
        if self.flipped:
            even = even + sign * self.network(odd)
        else:
            odd = odd + sign * self.network(even)
        result = torch.empty_like(x)
        result[:, ::2], result[:, 1::2] = even, odd
        return result


class _Residual(nn.Module):
    """A 3-wide and a 1-wide convolution beside the identity, with normalised weights."""

    def __init__(self, dimensions: int, width: int) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.ReLU(),
            weight_norm(convolution(dimensions, width, width)),
            nn.ReLU(),
            weight_norm(convolution(dimensions, width, width, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = x + self.network(x)
        return total


def conditioner(dimensions: int, inputs: int, outputs: int, *, width: int, blocks: int) -> nn.Module:
    """The network of a coupling; its last layer starts near 0, so that the coupling starts near the identity."""
    last = convolution(dimensions, width, outputs)
    _nearly_zero(last)
    first = convolution(dimensions, inputs, width)
    if blocks:
        return nn.Sequential(first, *[_Residual(dimensions, width) for _ in range(blocks)], nn.ReLU(), last)
    return nn.Sequential(first, nn.ReLU(), convolution(dimensions, width, width, 1), nn.ReLU(), last)


def _nearly_zero(layer: nn.Module) -> None:
    nn.init.normal_(layer.weight, std=1e-3)  # type: ignore[arg-type]
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
