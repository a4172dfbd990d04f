"""Invertible layers for slices and volumes: affine couplings, squeezing, and a multi-scale stack of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from medgen.networks.ranks import convolution

BOUND = 2.0
"""Largest absolute log-scale of a coupling: beyond it float32 loses the log-determinant (it grows with the weights)."""

Mask = Literal["checkerboard", "channels"]


class Coupling(nn.Module):
    """``z = m x + (1 - m) (x exp(s(m x)) + t(m x))`` (Dinh et al. 2017, eq. 9).

    Args:
        dimensions: 2 or 3.
        channels: of the image.
        mask: ``checkerboard`` keeps every other voxel, ``channels`` one half of the channels.
        flipped: keep the others instead.
        width: channels of the network that makes s and t.

    Shape:
        ``(B, channels, *size)`` to the same.
    """

    def __init__(self, dimensions: int, channels: int, mask: Mask, *, flipped: bool, width: int) -> None:
        super().__init__()
        self.mask, self.flipped = mask, flipped
        last = convolution(dimensions, width, 2 * channels)
        nn.init.normal_(last.weight, std=1e-3)  # type: ignore[arg-type]
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.network = nn.Sequential(
            convolution(dimensions, channels, width),
            nn.ReLU(),
            convolution(dimensions, width, width, 1),
            nn.ReLU(),
            last,
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The image of ``x``, and the log-determinant ``(B,)``."""
        kept = self._kept(x)
        scale, shift = self._affine(x, kept)
        return x * scale.exp() + shift, scale.flatten(1).sum(dim=1)

    def inverse(self, z: Tensor) -> Tensor:
        """The ``x`` that :meth:`forward` maps to ``z``."""
        kept = self._kept(z)
        scale, shift = self._affine(z, kept)
        return (z - shift) * (-scale).exp()

    def _affine(self, x: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Log-scale and shift, 0 where ``x`` is kept."""
        raw, shift = self.network(x * kept).chunk(2, dim=1)
        moved = 1 - kept
        return BOUND * torch.tanh(raw / BOUND) * moved, shift * moved

    def _kept(self, x: Tensor) -> Tensor:
        """1 where ``x`` is kept, broadcasting to its shape."""
        if self.mask == "channels":
            number = torch.arange(x.shape[1], device=x.device)
            parity = (number >= x.shape[1] // 2).reshape(1, -1, *[1] * (x.dim() - 2))
        else:
            places = torch.meshgrid(*[torch.arange(side, device=x.device) for side in x.shape[2:]], indexing="ij")
            parity = (torch.stack(places).sum(dim=0) % 2).bool()[None, None]
        return (parity == self.flipped).to(x.dtype)


class MultiScaleFlow(nn.Module):
    """Checkerboard couplings, squeeze, channel couplings, half of the channels out; again on the rest (Fig. 4b).

    Args:
        channels: of the image.
        size: of the image in voxels; each side divisible by ``2 ** (levels - 1)``.
        levels: scales; 1 has no squeeze.
        couplings: of each kind at each scale.
        width: channels of the networks of the couplings.

    Shape:
        ``(B, channels, *size)`` to a code ``(B, channels * voxels)`` and log-determinants ``(B,)``.
    """

    def __init__(self, channels: int, size: Sequence[int], *, levels: int, couplings: int, width: int) -> None:
        super().__init__()
        dimensions, self.size, self.channels = len(size), tuple(size), channels
        self.scales = nn.ModuleList()
        for level in range(levels):
            last = level + 1 == levels

            def stack(channels: int, mask: Mask, count: int) -> nn.ModuleList:
                options = [bool(number % 2) for number in range(count)]
                return nn.ModuleList(
                    Coupling(dimensions, channels, mask, flipped=flipped, width=width) for flipped in options
                )

            if last:  # one more, so that every voxel has been moved by the voxels around it
                self.scales.append(stack(channels, "checkerboard", couplings + 1))
                break
            fine, coarse = stack(channels, "checkerboard", couplings), channels * 2**dimensions
            self.scales.append(nn.ModuleList([*fine, *stack(coarse, "channels", couplings)]))
            channels = coarse // 2
        self.couplings = couplings

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Code and log-determinant."""
        rest, total, codes = image, image.new_zeros(len(image)), []
        for level, scale in enumerate(self.scales):
            for number, coupling in enumerate(self._of(scale)):
                if self._squeezes(level, number):
                    rest = squeezed(rest)
                rest, change = coupling(rest)
                total = total + change
            if level + 1 < len(self.scales):
                out, rest = rest.chunk(2, dim=1)
                codes.append(out.flatten(1))
        return torch.cat([*codes, rest.flatten(1)], dim=1), total

    def inverse(self, code: Tensor) -> Tensor:
        """The image of a code."""
        parts = self._parts(code)
        rest = parts.pop()
        for level in reversed(range(len(self.scales))):
            if level + 1 < len(self.scales):
                rest = torch.cat([parts.pop(), rest], dim=1)
            couplings = self._of(self.scales[level])
            for number in reversed(range(len(couplings))):
                rest = couplings[number].inverse(rest)
                if self._squeezes(level, number):
                    rest = unsqueezed(rest)
        return rest

    def _squeezes(self, level: int, number: int) -> bool:
        return level + 1 < len(self.scales) and number == self.couplings

    def _parts(self, code: Tensor) -> list[Tensor]:
        """The code cut into what leaves each scale."""
        shapes, channels, size = [], self.channels, self.size
        for _ in range(len(self.scales) - 1):
            channels, size = channels * 2 ** len(size) // 2, tuple(side // 2 for side in size)
            shapes.append((channels, *size))
        shapes.append((channels, *size))
        chunks = torch.split(code, [math.prod(shape) for shape in shapes], dim=1)
        return [chunk.reshape(len(code), *shape) for chunk, shape in zip(chunks, shapes, strict=True)]

    @staticmethod
    def _of(scale: nn.Module) -> list[Coupling]:
        return [coupling for coupling in scale.children() if isinstance(coupling, Coupling)]


def squeezed(x: Tensor) -> Tensor:
    """``(B, C, 2a, 2b[, 2c])`` to ``(B, 2 ** d C, a, b[, c])``: space to depth."""
    batch, channels, *size = x.shape
    d = len(size)
    split = x.reshape(batch, channels, *(edge for side in size for edge in (side // 2, 2)))
    order = [0, 1, *range(3, 3 + 2 * d, 2), *range(2, 2 + 2 * d, 2)]
    return split.permute(order).reshape(batch, channels * 2**d, *(side // 2 for side in size))


def unsqueezed(x: Tensor) -> Tensor:
    """The inverse of :func:`squeezed`."""
    batch, channels, *size = x.shape
    d = len(size)
    split = x.reshape(batch, channels // 2**d, *[2] * d, *size)
    order = [0, 1, *(axis for pair in zip(range(2 + d, 2 + 2 * d), range(2, 2 + d), strict=True) for axis in pair)]
    return split.permute(order).reshape(batch, channels // 2**d, *(2 * side for side in size))
