"""The fully convolutional generator of Nie et al. 2017, 32^3 voxels in and 16^3 out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from torch import Tensor, nn

Preset = Literal["paper", "code"]


class Layer(NamedTuple):
    """One convolution: side of its kernel, filters, and whether it keeps the size by zero padding."""

    kernel: int
    filters: int
    same: bool


def _layers(kernels: Sequence[int], filters: Sequence[int], valid: Sequence[int]) -> tuple[Layer, ...]:
    return tuple(Layer(k, f, i not in valid) for i, (k, f) in enumerate(zip(kernels, filters, strict=True)))


# Two 9^3 convolutions without padding explain 32 -> 16 in both forms.
LAYERS: dict[Preset, tuple[Layer, ...]] = {
    # As printed in the paper (arXiv 1612.05362, recalled with medium confidence).
    "paper": _layers((9, 3, 3, 3, 9, 3, 3, 7, 3), (32, 32, 32, 64, 64, 64, 32, 32, 1), valid=(0, 4)),
    # As in the authors' released 3D code (file 3dganversion/g_model.py of their repository).
    "code": _layers((9, 3, 3, 3, 9, 3, 3, 3, 3), (32, 32, 32, 32, 64, 64, 64, 32, 1), valid=(0, 4)),
}


class ContextAwareFCN(nn.Module):
    """Nine convolutions without pooling; the sides shrink by twice :attr:`margin`, 16 voxels.

    Every layer but the last is convolution, batch normalisation and ReLU; the last is linear. As in the
    authors' code the normalisation has no learnt scale and shift. Because seven of the layers pad with
    zeros, a voxel near the border of a tile differs slightly from the same voxel in the middle of another:
    average overlapping tiles, as the authors do.

    Args:
        inputs: channels of the image; 2 with an auto-context estimate.
        outputs: channels of the result.
        preset: ``"paper"`` or ``"code"``, the two published forms.
        width: factor on the number of filters of the hidden layers (at least 1 filter each).

    Shape:
        ``(B, inputs, X, Y, Z)`` to ``(B, outputs, X - 16, Y - 16, Z - 16)``.
    """

    def __init__(self, inputs: int = 1, outputs: int = 1, *, preset: Preset = "code", width: float = 1.0) -> None:
        super().__init__()
        layers = LAYERS[preset]
        self.margin = sum(layer.kernel // 2 for layer in layers if not layer.same)
        blocks: list[nn.Module] = []
        for layer in layers[:-1]:
            filters = max(1, round(layer.filters * width))
            blocks += [_convolution(inputs, filters, layer, bias=False), nn.BatchNorm3d(filters, affine=False)]
            blocks += [nn.ReLU(inplace=True)]
            inputs = filters
        self.body = nn.Sequential(*blocks, _convolution(inputs, outputs, layers[-1], bias=True))

    def forward(self, image: Tensor) -> Tensor:
        """Estimate the centre of ``image``."""
        result: Tensor = self.body(image)
        return result


def _convolution(inputs: int, outputs: int, layer: Layer, *, bias: bool) -> nn.Conv3d:
    convolution = nn.Conv3d(inputs, outputs, layer.kernel, padding=layer.kernel // 2 if layer.same else 0, bias=bias)
    nn.init.xavier_uniform_(convolution.weight)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution
