"""Layers by the number of dimensions: 2 for slices, 3 for volumes."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

Norm = Literal["batch", "instance", "group", "voxel", "none"]

_CONVOLUTIONS: dict[int, type[nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
_BATCH: dict[int, type[nn.Module]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_INSTANCE: dict[int, type[nn.Module]] = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
_GROUPS = 8


def convolution(dimensions: int, inputs: int, outputs: int, kernel: int = 3, **options: Any) -> nn.Module:
    """A convolution that keeps the size, unless a ``stride`` or a ``padding`` says otherwise."""
    return _CONVOLUTIONS[dimensions](inputs, outputs, kernel, **{"padding": kernel // 2, **options})


def normalisation(name: Norm, dimensions: int, channels: int) -> nn.Module:
    """A normalisation with learnt scale and shift.

    ``group`` has eight groups, or fewer where they do not divide; ``voxel`` is :class:`VoxelNorm`.
    """
    match name:
        case "batch":
            return _BATCH[dimensions](channels)
        case "instance":
            return _INSTANCE[dimensions](channels, affine=True)
        case "group":
            return nn.GroupNorm(next(n for n in range(min(_GROUPS, channels), 0, -1) if not channels % n), channels)
        case "voxel":
            return VoxelNorm(dimensions, channels)
    return nn.Identity()


class VoxelNorm(nn.Module):
    """Layer normalisation over the channels of each voxel (Ba et al. 2016, arXiv 1607.06450).

    What it makes of a voxel does not depend on any other, so that a tile comes out as the whole volume does.

    Args:
        dimensions: 2 or 3.
        channels: of the image.
    """

    def __init__(self, dimensions: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, *[1] * dimensions))
        self.bias = nn.Parameter(torch.zeros(channels, *[1] * dimensions))

    def forward(self, image: Tensor) -> Tensor:
        """Mean 0 and variance 1 over the channels, then scale and shift; ``(B, C, *size)``."""
        precise = image.float()
        variance, mean = torch.var_mean(precise, dim=1, correction=0, keepdim=True)
        normal = (precise - mean) * (variance + 1e-5).rsqrt()
        return (normal * self.weight + self.bias).to(image.dtype)
