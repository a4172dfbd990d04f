"""RealNVP (Dinh, Sohl-Dickstein & Bengio 2017, https://arxiv.org/abs/1605.08803), of slices or volumes.

Affine couplings map an image to a code of as many numbers, with an exact log-determinant, so the likelihood is exact:
``log p(x) = log N(f(x); 0, 1) + log |det df/dx|`` (eq. 3). Half of the channels leave at each scale (section 3.6).

Published images are integers from 0 to 255 and get uniform noise before a logit. Prepared images are real numbers
without bounds, so there is no logit; the noise stays, because a value that many voxels share exactly (the background of
a brain without its skull) has an infinite density. There is no batch normalisation: the couplings are few; and each
has three convolutions of one width instead of residual blocks with weight normalisation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor
from torch.optim import Adam, Optimizer

from medgen.config import Config as Settings
from medgen.losses.variational import standard_normal_log_prob
from medgen.methods.base import Encodes, HasDensity, Method, Samples, Shape, Update, Window
from medgen.networks.flows import MultiScaleFlow
from medgen.sampling.batches import Images


class Config(Settings):
    """Settings of RealNVP."""

    levels: int = Field(default=3, ge=1, le=6)
    """Scales; each but the last halves the grid."""
    couplings: PositiveInt = 3
    """Of each kind (checkerboard, channels) at each scale; 3 is published."""
    width: PositiveFloat = 1.0
    """Factor on the channels of the networks of the couplings, 64."""
    noise: NonNegativeFloat = 0.05
    """Width of the uniform noise on the training images, in normalised units."""
    learning_rate: PositiveFloat = 1e-3
    """Adam; published."""


class RealNVP(Method, Samples, Encodes, HasDensity):
    """One flow, trained by maximum likelihood."""

    config_class = Config
    batch_class = Images
    learns = "flow/negative_log_likelihood"
    dimensions = (2, 3)
    bound = False
    config: Config

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        width = max(4, round(64 * config.width))
        self.flow = MultiScaleFlow(
            shape.inputs, shape.size, levels=config.levels, couplings=config.couplings, width=width
        )

    @property
    def window(self) -> Window:
        """The size of the patches: a code is cut into scales by it."""
        side = 2 ** (self.config.levels - 1)
        return Window(multiple=side, minimum=side, exact=True)

    def optimizers(self) -> dict[str, Optimizer]:
        """One for the flow."""
        return {"flow": Adam(self.parameters(), self.config.learning_rate)}

    def updates(self, batch: Images, progress: float) -> Iterator[Update]:
        """One step up the likelihood, in nats a voxel."""
        noisy = self._noisy(batch.image)
        yield Update("flow", {"negative_log_likelihood": -self.log_prob(noisy).mean() / noisy[0].numel()})

    def score(self, batch: Images) -> dict[str, float]:
        """Bits a voxel with the noise of training; the density is in normalised units, so it may be negative."""
        nats = -self.log_prob(self._noisy(batch.image)).mean().item() / batch.image[0].numel()
        return {"bits_per_dimension": nats / math.log(2)}

    @property
    def code_shape(self) -> tuple[int, ...]:
        """One number a voxel and channel."""
        return (self.shape.inputs * math.prod(self.shape.size),)

    def encode(self, image: Tensor) -> Tensor:
        """The code, ``(B, C * voxels)``."""
        code: Tensor = self.flow(image)[0]
        return code

    def decode(self, code: Tensor) -> Tensor:
        """The image of a code; the inverse of :meth:`encode`."""
        image: Tensor = self.flow.inverse(code)
        return image

    def log_prob(self, image: Tensor) -> Tensor:
        """Exact, in nats."""
        with torch.autocast(image.device.type, enabled=False):  # half precision would not do for a sum over all voxels
            code, determinant = self.flow(image)
            density: Tensor = standard_normal_log_prob(code) + determinant
        return density

    def _noisy(self, image: Tensor) -> Tensor:
        return image + self.config.noise * (torch.rand_like(image) - 0.5)


METHOD = RealNVP
