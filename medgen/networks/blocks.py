"""What several networks are built from: normalisation by name, a fast PReLU, and the initialisation for rectifiers."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

NormName = Literal["batch", "instance", "none"]

SLOPE = 0.01
"""Start of a PReLU's slope for negative values, as in DeepMedic (torch starts at 0.25)."""


class Bias(nn.Module):
    """A learnt constant for each channel, which stands where a normalisation would."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Add the constants to (B, C, X, Y, Z)."""
        return x + self.bias.to(x.dtype)[:, None, None, None]


def build_norm(name: NormName, channels: int, *, momentum: float = 0.1) -> nn.Module:
    """A normalisation layer with a learnt scale and shift, or a learnt shift alone for ``"none"``.

    Args:
        name: ``batch``, ``instance`` or ``none``.
        channels: of the map.
        momentum: of the running statistics of batch normalisation.
    """
    if name == "batch":
        return nn.BatchNorm3d(channels, momentum=momentum)
    if name == "instance":
        return nn.InstanceNorm3d(channels, affine=True)
    return Bias(channels)


class PReLU(nn.Module):
    """``max(x, 0) + slope * min(x, 0)`` with one learnt slope a channel; values and gradients as ``nn.PReLU``.

    torch's own kernel for the gradient takes as long on a processor as the convolution before it.

    Shape:
        ``(B, C, X, Y, Z)`` to the same.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.full((channels,), SLOPE))

    def forward(self, x: Tensor) -> Tensor:
        """Rectify."""
        result: Tensor = _Rectify.apply(x, self.slope)  # type: ignore[no-untyped-call]
        return result


class _Rectify(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        return torch.where(x > 0, x, x * slope.to(x.dtype)[:, None, None, None])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, slope = ctx.saved_tensors
        scale = slope.to(x.dtype)[:, None, None, None]
        of_slope = (gradient * x.clamp(max=0)).sum((0, 2, 3, 4), dtype=slope.dtype)
        return torch.where(x > 0, gradient, gradient * scale), of_slope


def initialise_fan_in(module: nn.Module) -> None:
    """Draw every convolution's weights from N(0, sqrt(2 / fan in)) (He et al. 2015); biases are 0.

    Args:
        module: its convolutions are changed in place.
    """
    for each in module.modules():
        if isinstance(each, nn.Conv3d):
            nn.init.normal_(each.weight, std=math.sqrt(2 / each.weight[0].numel()))
            if each.bias is not None:
                nn.init.zeros_(each.bias)
