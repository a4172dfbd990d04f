"""MONAI's residual U-Net with MONAI's names of tensors, without the seconds that an import of MONAI takes.

MONAI 1.6.1 imports all of its packages for any one of its networks: two to three seconds of each prediction.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Triple = tuple[int, int, int]

_ONES: Triple = (1, 1, 1)
_CUBE: Triple = (3, 3, 3)


class ResidualUNet(nn.Module):
    """``monai.networks.nets.UNet`` in 3D with two convolutions a unit; raw outputs, same size.

    With the same seed it has the same weights, and it reads weights that MONAI's network has saved.

    Args:
        inputs: channels of the image.
        outputs: channels of the result.
        channels: of each level, the finest first.
        strides: from each level but the last to the next.
        kernels: of each level; 3 x 3 x 3 by default.
        norm: ``instance`` or ``batch``.
        affine: whether instance normalisation has a learnt scale and shift; batch normalisation does.
        dropout: rate after each normalisation.

    Attributes:
        model: blocks within blocks: each is a way down, a :class:`Skip` around the next block, and a way up.

    Shape:
        ``(B, inputs, X, Y, Z)`` to ``(B, outputs, X, Y, Z)``; sides divisible by the product of the strides.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        channels: Sequence[int],
        strides: Sequence[Triple],
        *,
        kernels: Sequence[Triple] | None = None,
        norm: Literal["instance", "batch"] = "instance",
        affine: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        kernels = kernels or [_CUBE] * len(channels)
        layers = _Layers(norm, affine, dropout)
        block: nn.Module = layers.unit(channels[-2], channels[-1], _ONES, kernels[-1])
        below, last = channels[-1], len(strides) - 1
        for level in range(last, -1, -1):  # from the inside, as MONAI does: the seed then gives the same weights
            width, stride, kernel = channels[level], strides[level], kernels[level]
            enters, leaves = (channels[level - 1], channels[level - 1]) if level else (inputs, outputs)
            down = layers.unit(enters, width, stride, kernel)
            up = nn.Sequential(
                layers.convolution(width + below, leaves, stride, kernel, transposed=True),
                layers.unit(leaves, leaves, _ONES, kernel, convolutions=1, bare=level == 0),
            )
            block, below = nn.Sequential(down, Skip(block), up), leaves
        self.model = block

    def forward(self, x: Tensor) -> Tensor:
        """The result for ``x``."""
        result: Tensor = self.model(x)
        return result


class Skip(nn.Module):
    """Its input, joined with what a module makes of it."""

    def __init__(self, submodule: nn.Module) -> None:
        super().__init__()
        self.submodule = submodule

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) to (B, C + what the module adds, ...)."""
        return torch.cat([x, self.submodule(x)], 1)


class ResidualUnit(nn.Module):
    """Convolutions, and a path around them.

    Args:
        conv: the convolutions.
        residual: brings the input to the size of their result.
    """

    def __init__(self, conv: nn.Module, residual: nn.Module) -> None:
        super().__init__()
        self.conv, self.residual = conv, residual

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both."""
        around = self.residual(x)  # first, as in MONAI: gradients are summed in the order of the calls
        result: Tensor = self.conv(x) + around
        return result


@dataclass(frozen=True)
class _Layers:
    """What all parts of one network have in common."""

    norm: Literal["instance", "batch"]
    affine: bool
    dropout: float

    def unit(
        self, inputs: int, outputs: int, stride: Triple, kernel: Triple, *, convolutions: int = 2, bare: bool = False
    ) -> ResidualUnit:
        """Convolutions of which the first strides; of a bare unit the last has no normalisation."""
        units: OrderedDict[str, nn.Module] = OrderedDict()
        for index in range(convolutions):
            first, plain = index == 0, bare and index == convolutions - 1
            units[f"unit{index}"] = self.convolution(
                inputs if first else outputs, outputs, stride if first else _ONES, kernel, plain=plain
            )
        around: nn.Module = nn.Identity()
        if stride != _ONES:
            around = nn.Conv3d(inputs, outputs, kernel, stride, _same(kernel))
        elif inputs != outputs:
            around = nn.Conv3d(inputs, outputs, 1)
        return ResidualUnit(nn.Sequential(units), around)

    def convolution(
        self,
        inputs: int,
        outputs: int,
        stride: Triple,
        kernel: Triple,
        *,
        transposed: bool = False,
        plain: bool = False,
    ) -> nn.Sequential:
        """A convolution, and unless it is plain its normalisation, dropout and rectifier."""
        padding = _same(kernel)
        conv: nn.Module
        if transposed:
            missing = (stride[0] - 1, stride[1] - 1, stride[2] - 1)
            conv = nn.ConvTranspose3d(inputs, outputs, kernel, stride, padding, output_padding=missing)
        else:
            conv = nn.Conv3d(inputs, outputs, kernel, stride, padding)
        if plain:
            return nn.Sequential(OrderedDict(conv=conv))
        norm = nn.BatchNorm3d(outputs) if self.norm == "batch" else nn.InstanceNorm3d(outputs, affine=self.affine)
        after = nn.Sequential(OrderedDict(N=norm, D=nn.Dropout(self.dropout), A=nn.PReLU()))
        return nn.Sequential(OrderedDict(conv=conv, adn=after))


def _same(kernel: Triple) -> Triple:
    """Padding with which a convolution keeps the size."""
    return kernel[0] // 2, kernel[1] // 2, kernel[2] // 2
