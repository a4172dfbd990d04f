"""The discriminator of codes: was this code drawn from the prior, or is it that of an image? Raw logits."""

from __future__ import annotations

from torch import Tensor, nn

from medgen.networks.ranks import convolution

_SLOPE = 0.2


class LatentDiscriminator(nn.Module):
    """Two hidden layers with LeakyReLU of 0.2 and one logit: dense, or 3-wide convolutions for a map of codes.

    Nothing is normalised: what it has to see is how far the mean and the spread of codes are from those of the prior.
    Convolutions see the neighbours, too, since codes that are normal at each place but alike in neighbouring ones do
    not follow the prior.

    Args:
        channels: numbers of a dense code, or channels of a map.
        dimensions: of the map; 0 for a dense code.
        units: of each hidden layer.

    Shape:
        ``(B, channels)`` to ``(B, 1)``, or ``(B, channels, *grid)`` to ``(B, 1, *grid)``; raw logits of "prior".
    """

    def __init__(self, channels: int, *, dimensions: int = 0, units: int = 256) -> None:
        super().__init__()

        def layer(inputs: int, outputs: int) -> nn.Module:
            return convolution(dimensions, inputs, outputs) if dimensions else nn.Linear(inputs, outputs)

        self.body = nn.Sequential(
            layer(channels, units), nn.LeakyReLU(_SLOPE), layer(units, units), nn.LeakyReLU(_SLOPE), layer(units, 1)
        )

    def forward(self, code: Tensor) -> Tensor:
        """Logit of "drawn from the prior" for each code, or each place."""
        logits: Tensor = self.body(code)
        return logits
