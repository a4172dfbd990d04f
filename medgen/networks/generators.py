"""Image-to-image generators by name: the published FCN, a half-resolution U-Net, and MONAI's residual U-Net."""

from __future__ import annotations

from typing import Literal

from torch import nn

from medgen.networks.fcn import ContextAwareFCN, Preset
from medgen.networks.half_resolution import HalfResolutionUNet
from medgen.networks.residual_unet import ResidualUNet

Generator = Literal["half_resolution", "fcn", "unet"]
Norm = Literal["instance", "batch"]

UNET_CHANNELS = (32, 64, 128, 256)


def build_generator(
    name: Generator,
    inputs: int,
    outputs: int,
    *,
    preset: Preset = "code",
    width: float = 1.0,
    norm: Norm = "batch",
    dropout: float = 0.0,
) -> tuple[nn.Module, int, int]:
    """A generator with its margin and the number that the sides of its input must be divisible by.

    Args:
        name: ``"fcn"`` (Nie et al. 2017; output 16 voxels smaller), ``"half_resolution"`` (same size, fast) or
            ``"unet"`` (residual, same size).
        inputs: channels of the image.
        outputs: channels of the result.
        preset: published form of the FCN.
        width: factor on the filters; the U-Net has 32, 64, 128, 256 at 1.
        norm: of MONAI's U-Net. Instance normalisation forgets the absolute intensity of a patch, batch normalisation
            keeps it; the FCN has batch normalisation, as published.
        dropout: rate; the FCN has none.

    Returns:
        The network, voxels lost on each side, and the divisor.
    """
    if name == "fcn":
        fcn = ContextAwareFCN(inputs, outputs, preset=preset, width=width)
        return fcn, fcn.margin, 1
    if name == "half_resolution":
        fast = HalfResolutionUNet(inputs, outputs, width=width, dropout=dropout)
        return fast, 0, fast.multiple
    channels = [max(4, round(count * width)) for count in UNET_CHANNELS]
    strides = [(2, 2, 2)] * (len(channels) - 1)
    unet = ResidualUNet(inputs, outputs, channels, strides, norm=norm, affine=False, dropout=dropout)
    return unet, 0, 2 ** (len(channels) - 1)
