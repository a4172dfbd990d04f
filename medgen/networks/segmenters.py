"""Segmentation networks by name, all with named feature maps on one grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from medgen.errors import UsageError
from medgen.networks.blocks import NormName
from medgen.networks.deepmedic import DeepMedic, Padding, PresetName
from medgen.networks.residual_unet import ResidualUNet

SegmenterName = Literal["deepmedic", "unet"]
Slices = Literal["thin", "thick", "thicker", "apart"]

UNET_CHANNELS = (16, 32, 64, 128)
MAP_STRIDE = 4
"""Voxels of the U-Net's logits to one of its maps. A discriminator on the full grid would take ten times as long as
the network, and most maps are coarser anyhow."""
SLICE_STRIDES: dict[Slices, tuple[int, int, int]] = {
    "thin": (2, 2, 2), "thick": (1, 2, 2), "thicker": (1, 1, 2), "apart": (1, 1, 1),
}  # fmt: skip
"""Through the slices, of the three levels; within a slice every level halves the grid."""


class SegmentationUNet(nn.Module):
    """MONAI's residual U-Net, opened so that its maps can be read; raw logits, same size.

    Args:
        inputs: channels of the image.
        outputs: classes, with the background.
        width: factor on the channels; at 1 they are 16, 32, 64, 128, with ``stride_first`` False and one level more
            8, 16, 32, 64, 128.
        norm: ``instance`` or ``batch``.
        dropout: rate in every block.
        stride_first: the first convolution halves the grid, and only the last transposed one brings it back, which
            takes a fraction of the time. False adds a level at full resolution.
        slices: ``thin`` where voxels are about as high as wide. ``thick`` (two to four times as high, e.g.
            1 x 1 x 3 mm) has a first level of 3 x 3 x 1 kernels that stride within the slice only, which brings
            voxels nearer to cubes; ``thicker`` (more, e.g. 0.5 x 0.5 x 3 mm) has two such levels. ``apart`` has no
            others: a 2D network for the slices of a volume, one by one.

    Attributes:
        margin: 0.
        multiple: 8; 1 where slices are not thin, since then the network pads an input itself and cuts it back.
        minimum: 8; 16 where slices are not thin.
        align: 1.
        layers: ``"down1"`` ... ``"bottom"`` ... ``"up2"``, in the order in which they are computed.
        widths: channels of each.

    Shape:
        ``(B, inputs, X, Y, Z)`` to ``(B, outputs, X, Y, Z)``. Thin slices: sides divisible by 8 and of 16 voxels at
        least; else any, with repeated border voxels up to what is divisible by 8 x 8 x 4
        (``thick``), 8 x 8 x 2 (``thicker``) or 8 x 8 x 1.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        width: float = 1.0,
        norm: NormName = "instance",
        dropout: float = 0.0,
        stride_first: bool = True,
        slices: Slices = "thin",
    ) -> None:
        super().__init__()
        if norm == "none":
            raise UsageError("the U-Net has no form without normalisation", fix="choose norm instance or batch")
        counts = UNET_CHANNELS if stride_first else (UNET_CHANNELS[0] // 2, *UNET_CHANNELS)
        channels = [max(4, round(count * width)) for count in counts]
        strides = [(2, 2, height) for height in SLICE_STRIDES[slices]]
        if not stride_first:
            strides = [(1, 1, 1), *strides]
        self.slices, self.stride = slices, tuple(math.prod(axis) for axis in zip(*strides, strict=True))
        # Where the slices are apart so far, kernels do not look across them.
        flat = [slices == "apart" or stride == (2, 2, 1) for stride in [*strides, None]]
        kernels = [(3, 3, 1) if each else (3, 3, 3) for each in flat]
        network = ResidualUNet(inputs, outputs, channels, strides, kernels=kernels, norm=norm, dropout=dropout)
        block: Any = network.model
        downs: list[nn.Module] = []
        ups: list[nn.Module] = []
        for _ in strides:
            down, skip, up = block
            downs, ups, block = [*downs, down], [up, *ups], skip.submodule
        self.downs, self.bottom, self.ups = nn.ModuleList(downs), block, nn.ModuleList(ups)
        self.margin, self.multiple, self.align = 0, 8 if slices == "thin" else 1, 1
        self.minimum = 8 if slices == "thin" else 2 * self.stride[0]
        levels = range(1, len(strides) + 1)
        # The last "up" makes the logits.
        self.layers = (*(f"down{level}" for level in levels), "bottom", *(f"up{level}" for level in levels[:0:-1]))
        self.widths = dict(zip(self.layers, [*channels, *channels[-3::-1]], strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of ``x``."""
        return self.features(x, ())[0]

    def features(self, x: Tensor, layers: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits, and the named maps, averaged or repeated to a grid :data:`MAP_STRIDE` times coarser.

        Args:
            x: (B, inputs, X, Y, Z).
            layers: any of :attr:`layers`.

        Raises:
            UsageError: an unknown layer, or sides that are not divisible by 8.
        """
        self._check(x, layers)
        if self.slices == "apart" and x.shape[4] > 1:  # else the normalisation would look across slices
            logits, named = self.features(_stacked(x), layers)
            return _unstacked(logits, len(x)), {name: _unstacked(values, len(x)) for name, values in named.items()}
        size, maps = x.shape[2:], []
        x = self._padded(x)
        grid = self._map_grid(x)
        for down in self.downs:
            x = down(x)
            maps.append(x)
        x = self.bottom(x)
        skips = maps[::-1]
        maps.append(x)
        for up, skip in zip(self.ups, skips, strict=True):
            x = up(torch.cat([skip, x], 1))
            maps.append(x)
        named = dict(zip(self.layers, maps, strict=False))
        return _cut(x, size), {name: _resized(named[name], grid) for name in layers}

    def _padded(self, x: Tensor) -> Tensor:
        """With repeated border voxels where a side is not divisible by what the levels stride in all."""
        missing = [-side % stride for side, stride in zip(x.shape[2:], self.stride, strict=True)]
        if not any(missing):
            return x
        return functional.pad(x, [part for side in missing[::-1] for part in (0, side)], mode="replicate")

    def _map_grid(self, x: Tensor) -> list[int]:
        heights = SLICE_STRIDES[self.slices][:2]  # two levels make MAP_STRIDE within a slice
        strides = (MAP_STRIDE, MAP_STRIDE, math.prod(heights))
        return [side // stride for side, stride in zip(x.shape[2:], strides, strict=True)]

    def _check(self, x: Tensor, layers: Sequence[str]) -> None:
        for name in layers:
            if name not in self.layers:
                raise UsageError(f"the U-Net has no feature map '{name}'", fix=f"choose from {', '.join(self.layers)}")
        if min(x.shape[2:4]) < self.minimum:
            raise UsageError(
                f"the U-Net cannot take slices of {x.shape[2]} x {x.shape[3]} voxels",
                fix=f"choose at least {self.minimum} x {self.minimum}",
            )
        if any(side % self.multiple for side in x.shape[2:]):
            raise UsageError(
                f"the U-Net cannot take an input of {tuple(x.shape[2:])} voxels",
                fix=f"choose sides divisible by {self.multiple}",
            )


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """Means where the map is finer, the same value several times where it is coarser."""
    if x.shape[2] > size[0]:
        return functional.avg_pool3d(x, [mine // side for mine, side in zip(x.shape[2:], size, strict=True)])
    return functional.interpolate(x, size=list(size), mode="nearest")


def _stacked(x: Tensor) -> Tensor:
    """(B, C, X, Y, Z) to (B Z, C, X, Y, 1)."""
    return x.movedim(4, 1).flatten(0, 1).unsqueeze(4)


def _unstacked(x: Tensor, batch: int) -> Tensor:
    return x.reshape(batch, -1, *x.shape[1:4]).movedim(1, 4)


def _cut(x: Tensor, size: Sequence[int]) -> Tensor:
    for axis, side in enumerate(size, start=2):
        x = x.narrow(axis, 0, side)
    return x


def build_segmenter(
    name: SegmenterName,
    inputs: int,
    outputs: int,
    *,
    preset: PresetName = "res2016",
    width: float = 1.0,
    norm: NormName = "batch",
    dropout: float | None = None,
    momentum: float = 0.02,
    fc_padding: Padding = "valid",
    aligned: bool = True,
    stride_first: bool = True,
    slices: Slices = "thin",
) -> DeepMedic | SegmentationUNet:
    """A segmentation network; both tell methods their margins, divisors and feature maps by the same attributes.

    Args:
        name: ``deepmedic`` or ``unet``.
        inputs: channels of the image.
        outputs: classes, with the background.
        preset: published form of DeepMedic.
        width: factor on the channels.
        norm: ``batch``, ``instance`` or (DeepMedic) ``none``.
        dropout: rate; None is 0.5 in the last two layers of DeepMedic, as published, and none in the U-Net.
        momentum: of DeepMedic's running statistics.
        fc_padding: of DeepMedic.
        aligned: of DeepMedic.
        stride_first: of the U-Net.
        slices: of the U-Net; DeepMedic takes thin ones.

    Raises:
        UsageError: DeepMedic with other slices.
    """
    if name == "deepmedic":
        if slices != "thin":
            raise UsageError(f"DeepMedic has no form for slices that are {slices}", fix="choose network: unet")
        rate = 0.5 if dropout is None else dropout
        return DeepMedic(
            inputs,
            outputs,
            preset=preset,
            width=width,
            norm=norm,
            momentum=momentum,
            dropout=rate,
            fc_padding=fc_padding,
            aligned=aligned,
        )
    rate = 0.0 if dropout is None else dropout
    return SegmentationUNet(
        inputs, outputs, width=width, norm=norm, dropout=rate, stride_first=stride_first, slices=slices
    )
