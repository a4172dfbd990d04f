"""Discriminators of real patches (Nie 2017), of domains (Kamnitsas 2017) and of label maps (Kohl 2017); raw logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from medgen.errors import UsageError
from medgen.networks.blocks import Dropout, NormName, PReLU, build_norm, initialise_fan_in
from medgen.networks.spectral import normalise_spectrally

FLAT = (3, 3, 1)


class ContextAwareDiscriminator(nn.Module):
    """The discriminator of Nie et al. 2017: is this CT patch real?

    Three times (5^3 convolution, batch normalisation, ReLU, max-pooling), a fourth convolution, three dense layers.
    The result is a raw logit. (The authors' 3D code has a ReLU before its sigmoid, so its logit is never negative;
    that is not copied.) Normalisation always uses the statistics of the batch. The network is never used outside
    training, so it needs no running statistics, and a step of the generator cannot change its state.

    Args:
        inputs: channels of the patch.
        width: factor on the number of filters and dense units.

    Shape:
        ``(B, inputs, X, Y, Z)`` to ``(B, 1)``, sides of at least 16 voxels. A 16^3 patch reaches the dense layers
        as 2^3 x 256 values, as in the paper; a larger one is averaged down to 2^3.
    """

    def __init__(self, inputs: int = 1, *, width: float = 1.0) -> None:
        super().__init__()
        filters = [max(1, round(count * width)) for count in (32, 64, 128, 256)]
        units = [max(1, round(count * width)) for count in (512, 128)]
        blocks: list[nn.Module] = []
        for index, count in enumerate(filters):
            blocks += [nn.Conv3d(inputs, count, 5, padding=2, bias=False)]
            blocks += [nn.BatchNorm3d(count, track_running_stats=False), nn.ReLU(inplace=True)]
            blocks += [nn.MaxPool3d(2)] if index < 3 else [nn.AdaptiveAvgPool3d(2)]
            inputs = count
        self.features = nn.Sequential(*blocks, nn.Flatten())
        self.head = nn.Sequential(
            nn.Linear(filters[-1] * 8, units[0]), nn.ReLU(inplace=True),
            nn.Linear(units[0], units[1]), nn.ReLU(inplace=True),
            nn.Linear(units[1], 1),
        )  # fmt: skip
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)

    def forward(self, patch: Tensor) -> Tensor:
        """Logit of "real" for each patch."""
        logit: Tensor = self.head(self.features(patch))
        return logit


class DomainDiscriminator(nn.Module):
    """The domain discriminator of Kamnitsas et al. 2017: from which scanner are these feature maps?

    Four times (convolution, normalisation, PReLU), then a 1^3 classifier of two domains; raw logits at every voxel.
    The input is the concatenated feature maps of a segmenter, for example layers 4, 6, 8 and 10 of DeepMedic. Widths
    and depth follow the paper (section 2.3) as far as it states them, and else its only public re-implementation,
    which has dropout of 0.5 before the last layer and also normalises the input.

    Args:
        channels: channels of the concatenated maps.
        width: channels of each hidden layer.
        depth: number of hidden layers.
        kernel: side of their kernels, odd.
        padding: ``valid`` loses (kernel - 1) / 2 voxels on each side in each layer; ``same`` pads with zeros, which
            allows maps of any size.
        norm: ``batch``, ``instance`` or ``none`` (a learnt bias).
        spectral: divide the weights by their largest singular value (Miyato et al. 2018), which bounds the slope.
        classes: of voxels that have two logits of their own each; 1 is published.
        input_norm: normalise the concatenated maps first, because their scales differ from layer to layer.
        dropout: rate before the classifier.

    Attributes:
        margin: voxels lost on each side.

    Shape:
        ``(B, channels, X, Y, Z)`` to ``(B, 2 classes, X - 2 margin, Y - 2 margin, Z - 2 margin)``.
    """

    def __init__(
        self,
        channels: int,
        *,
        width: int = 100,
        depth: int = 4,
        kernel: int = 3,
        padding: Literal["valid", "same"] = "valid",
        norm: NormName = "batch",
        spectral: bool = False,
        classes: int = 1,
        input_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise UsageError(f"a kernel side must be odd, got {kernel}", fix="choose an odd kernel, for example 3")
        self.margin = depth * (kernel // 2) if padding == "valid" else 0
        blocks: list[nn.Module] = [build_norm(norm, channels)] if input_norm else []
        for _ in range(depth):
            blocks += [nn.Conv3d(channels, width, kernel, padding=padding, bias=False)]
            blocks += [build_norm(norm, width), PReLU(width)]
            channels = width
        self.body = nn.Sequential(*blocks, Dropout(dropout), nn.Conv3d(channels, 2 * classes, 1))
        initialise_fan_in(self)
        if spectral:
            normalise_spectrally(self)

    def forward(self, maps: Tensor, seen: Tensor | None = None) -> Tensor:
        """Logits of the two domains at every voxel inside the margin.

        Args:
            maps: (B, channels, X, Y, Z).
            seen: (B, 1, X, Y, Z), True at the voxels that are judged; by default all. Values at the others then reach
                no logit of these: they are 0 before each convolution, as in submanifold sparse convolutions (Graham et
                al. 2018, arXiv 1711.10275), and statistics of a batch do not count them. Their own logits say nothing.

        Raises:
            UsageError: a side of the maps is not larger than twice the margin.
        """
        if min(maps.shape[2:]) <= 2 * self.margin:
            raise UsageError(
                f"feature maps of {tuple(maps.shape[2:])} voxels are too small for the domain discriminator",
                fix=f"train on patches whose output is larger than {2 * self.margin} voxels, or choose padding 'same'",
            )
        if seen is None:
            logits: Tensor = self.body(maps)
            return logits
        for layer in self.body:
            if isinstance(layer, nn.Conv3d):
                maps = layer(maps.masked_fill(~seen, 0.0))
                seen = _middle(seen, maps)
            else:
                maps = _of_seen(layer, maps, seen) if isinstance(layer, nn.BatchNorm3d) else layer(maps)
        return maps


def _middle(seen: Tensor, maps: Tensor) -> Tensor:
    """The part of ``seen`` that a convolution of an odd kernel left."""
    edge = (seen.shape[2] - maps.shape[2]) // 2
    x, y, z = (slice(edge, side - edge) for side in seen.shape[2:])
    return seen[:, :, x, y, z]


def _of_seen(norm: nn.BatchNorm3d, maps: Tensor, seen: Tensor) -> Tensor:
    """Maps (B, C, X, Y, Z) normalised by the statistics of the voxels ``seen`` (B, 1, X, Y, Z); others stay."""
    settings = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    last = maps.movedim(1, -1)
    rows = last[seen[:, 0]]
    if not norm.training or len(rows) < 2:  # one voxel has no variance
        return functional.batch_norm(maps, *settings, eps=norm.eps)
    # As rows: with these as a strided volume, torch 2.13 on a processor computes a wrong gradient.
    found = functional.batch_norm(rows, *settings, training=True, momentum=norm.momentum or 0.0, eps=norm.eps)
    return last.masked_scatter(seen.movedim(1, -1), found.to(maps.dtype)).movedim(-1, 1)


class LabelDiscriminator(nn.Module):
    """The discriminator of a segmentation: did an expert draw this label map of the image?

    Strided convolutions with LeakyReLU over the image and the label map, and one logit for each neighbourhood.
    Kohl et al. 2017 (arXiv 1702.08014) call theirs a CNN; its layers are not known to us. Here every level halves the
    grid and doubles the filters. (With thick slices the first level halves it within the slice only; with slices
    apart all levels do.) One logit for each neighbourhood teaches more than one for the patch. Nothing is normalised:
    instance normalisation hides how much of a patch is labelled, and when the adversary was the only loss, the zones
    were worse with it.

    Args:
        images: channels of the image.
        classes: channels of the label map, with the background.
        width: filters of the first level.
        strides: stride of each level along X, Y and Z.

    Shape:
        ``(B, images, X, Y, Z)`` and ``(B, classes, X, Y, Z)`` to ``(B, 1, x, y, z)``; raw logits of "drawn".
    """

    def __init__(self, images: int, classes: int, *, width: int, strides: Sequence[tuple[int, int, int]]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = images + classes
        for level, stride in enumerate(strides):
            outputs = width * 2**level
            layers += [_convolution(inputs, outputs, stride), nn.LeakyReLU(0.2, inplace=True)]
            inputs = outputs
        self.layers = nn.Sequential(*layers, nn.Conv3d(inputs, 1, 1))

    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        """Logits of "drawn by an expert"."""
        logits: Tensor = self.layers(torch.cat([image, label.to(image.dtype)], 1))
        return logits


def _convolution(inputs: int, outputs: int, stride: tuple[int, int, int]) -> nn.Conv3d:
    flat = stride[2] == 1
    return nn.Conv3d(inputs, outputs, FLAT if flat else 3, stride, padding=(1, 1, 0) if flat else 1)
