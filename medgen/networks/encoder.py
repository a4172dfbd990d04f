"""A convolutional encoder of slices and volumes that gives the feature maps of all its levels."""

from __future__ import annotations

from torch import Tensor, nn

from medgen.networks.autoencoder import widths
from medgen.networks.ranks import convolution, normalisation


class FeatureEncoder(nn.Module):
    """At each level a strided convolution that halves the grid, then one that keeps it.

    Normalised over the batch: within an image the normalisation would hide how bright it is, and how much it varies.

    Args:
        dimensions: 2 or 3.
        inputs: channels of the image.
        width: channels of the first level; they double with each.
        levels: halvings.

    Attributes:
        channels: of the map of each level.

    Shape:
        ``(B, inputs, *size)`` to one ``(B, channels, *size / 2 ** level)`` for each level, sizes rounded up.
    """

    def __init__(self, dimensions: int, inputs: int, *, width: int = 32, levels: int = 4) -> None:
        super().__init__()
        self.channels = widths(width, levels)
        blocks = [
            nn.Sequential(
                convolution(dimensions, before, after, stride=2, bias=False),
                normalisation("batch", dimensions, after),
                nn.SiLU(),
                convolution(dimensions, after, after, bias=False),
                normalisation("batch", dimensions, after),
                nn.SiLU(),
            )
            for before, after in zip([inputs, *self.channels[:-1]], self.channels, strict=True)
        ]
        self.levels = nn.ModuleList(blocks)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """The map of each level, the finest first."""
        maps = [image]
        for level in self.levels:
            maps.append(level(maps[-1]))
        return tuple(maps[1:])


def pooled(maps: Tensor) -> Tensor:
    """The mean over space of maps ``(B, C, ...)``: ``(B, C)``, in 32 bits."""
    return maps.float().flatten(2).mean(dim=2)
