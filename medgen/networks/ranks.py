"""Layers by the number of dimensions: 2 for slices, 3 for volumes."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

Norm = Literal["batch", "instance", "group", "none"]

_CONVOLUTIONS: dict[int, type[nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: dict[int, type[nn.Module]] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_BATCH: dict[int, type[nn.Module]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_INSTANCE: dict[int, type[nn.Module]] = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
_GROUPS = 8


def convolution(dimensions: int, inputs: int, outputs: int, kernel: int = 3, **options: Any) -> nn.Module:
    """A convolution that keeps the size, unless a ``stride`` or a ``padding`` says otherwise."""
    return _CONVOLUTIONS[dimensions](inputs, outputs, kernel, **{"padding": kernel // 2, **options})


def transposed(dimensions: int, inputs: int, outputs: int, *, bias: bool = True) -> nn.Module:
    """A transposed convolution of width 4 that doubles the grid."""
    return _TRANSPOSED[dimensions](inputs, outputs, 4, stride=2, padding=1, bias=bias)


def normalisation(name: Norm, dimensions: int, channels: int) -> nn.Module:
    """A normalisation with learnt scale and shift; ``group`` has eight groups, or fewer where they do not divide."""
    match name:
        case "batch":
            return _BATCH[dimensions](channels)
        case "instance":
            return _INSTANCE[dimensions](channels, affine=True)
        case "group":
            return nn.GroupNorm(next(n for n in range(min(_GROUPS, channels), 0, -1) if not channels % n), channels)
    return nn.Identity()
