"""Encoder and decoder of MONAI's ``AutoencoderKL`` (Pinaya et al. 2022, arXiv 2209.07162) for codes of our own.

Only the two networks are taken: the whole draws noise in ``forward`` in evaluation mode too, and neither its KL term
nor its posterior can be chosen. There is no attention: memory grows with the size of the image alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from medgen.networks.autoencoder import MOST, coarsest, code_head
from medgen.networks.ranks import convolution

BLOCKS = 1
"""Residual blocks of two convolutions a level."""


class MonaiEncoder(nn.Module):
    """MONAI's residual encoder; arguments, shapes and members as :class:`~medgen.networks.autoencoder.Encoder`."""

    def __init__(
        self, inputs: int, size: Sequence[int], code: int, *, dense: bool, width: int = 32, levels: int = 3
    ) -> None:
        super().__init__()
        from monai.networks.nets.autoencoderkl import Encoder  # 3.4 s, and only this backbone needs it

        channels = _channels(width, levels)
        self.body: nn.Module = Encoder(
            len(size),
            inputs,
            channels,
            channels[-1],
            [BLOCKS] * len(channels),
            norm_num_groups=_groups(width),
            norm_eps=1e-6,
            attention_levels=[False] * len(channels),
            with_nonlocal_attn=False,
        )
        self.deepest, self.grid = channels[-1], coarsest(size, levels)
        self.head = code_head(self.deepest, self.grid, 2 * code, dense=dense)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the code."""
        mean, log_variance = self.head(self.body(image)).chunk(2, dim=1)
        return mean, log_variance

    def maps(self, image: Tensor) -> tuple[Tensor, ...]:
        """The maps ``(B, channels, ...)`` before each halving, and the deepest, which the head reads."""
        found: list[Tensor] = []
        for block in self.body.blocks:  # type: ignore[union-attr]
            made = block(image)
            if made.shape[2:] != image.shape[2:]:
                found.append(image)
            image = made
        return (*found, image)


class MonaiDecoder(nn.Module):
    """MONAI's residual decoder; as :class:`~medgen.networks.autoencoder.Decoder`."""

    def __init__(
        self, outputs: int, size: Sequence[int], code: int, *, dense: bool, width: int = 32, levels: int = 3
    ) -> None:
        super().__init__()
        from monai.networks.nets.autoencoderkl import Decoder

        channels = _channels(width, levels)
        self.grid = (channels[-1], *coarsest(size, levels)) if dense else None
        self.stem: nn.Module = (
            nn.Linear(code, math.prod(self.grid)) if self.grid else convolution(len(size), code, channels[-1], 1)
        )
        self.body: nn.Module = Decoder(
            len(size),
            channels,
            channels[-1],
            outputs,
            [BLOCKS] * len(channels),
            norm_num_groups=_groups(width),
            norm_eps=1e-6,
            attention_levels=[False] * len(channels),
            with_nonlocal_attn=False,
        )

    def forward(self, code: Tensor) -> Tensor:
        """The image of a code, linear."""
        first: Tensor = self.stem(code)
        image: Tensor = self.body(first.reshape(len(code), *self.grid) if self.grid else first)
        return image


def _channels(width: int, levels: int) -> list[int]:
    """Channels at full resolution and after each halving; all are multiples of those of :func:`_groups`."""
    return [min(max(MOST, width), width * 2**level) for level in range(levels + 1)]


def _groups(width: int) -> int:
    return math.gcd(8, width)
