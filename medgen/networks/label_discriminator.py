"""The discriminator of segmentation: was this label map drawn by an expert, given the image?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

FLAT = (3, 3, 1)


class LabelDiscriminator(nn.Module):
    """Strided convolutions with LeakyReLU over the image with a label map, and one logit for each place they see.

    Kohl et al. 2017 (arXiv 1702.08014) call theirs a CNN; its layers are not known to us. Here every level halves the
    grid (the first within the slice alone where slices are thick, all where they are apart) and doubles the filters,
    and the last convolution judges every remaining place: a verdict for each neighbourhood teaches more than one for
    the patch. Nothing is normalised: instance normalisation hides how much of a patch is labelled, and trained by the
    adversary alone the zones were worse with it.

    Args:
        images: channels of the image.
        classes: channels of the label map, with the background.
        width: filters of the first level.
        strides: of each level.

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
