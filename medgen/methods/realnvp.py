"""RealNVP (Dinh, Sohl-Dickstein & Bengio 2017, https://arxiv.org/abs/1605.08803), of slices or volumes.

Affine couplings map an image to a code of as many numbers, with an exact log-determinant, so the likelihood is exact:
``log p(x) = log N(f(x); 0, 1) + log |det df/dx|`` (eq. 3). A coupling leaves one half of the image as it is and scales
and shifts the other by what a network reads off the first, ``z2 = x2 exp(s(x1)) + t(x1)`` (eq. 7), so that
``log |det| = sum s`` (eq. 6). Half of the channels leave at each scale (section 3.6).

Published images are integers from 0 to 255: they get uniform noise and then a logit (section 4.1). Prepared images are
z-scores without bounds unless a window is named, so the logit is a setting, and the noise is of a width in normalised
units. Published networks also have batch normalisation inside; here the residual blocks have normalised weights alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor
from torch.optim import Adam, Optimizer

from medgen.config import Config as Settings
from medgen.errors import InputError
from medgen.losses.variational import standard_normal_log_prob
from medgen.methods._codes import completed
from medgen.methods._density import TUNED, bits_per_dimension, likelihood_step
from medgen.methods._images import require_code, require_image
from medgen.methods.base import Encodes, HasDensity, Method, Samples, Shape, Update, Window
from medgen.networks.flows import Couplings, FlowNorm, MultiScaleFlow, scales_of
from medgen.networks.invertible import Logit
from medgen.sampling.batches import Images

PUBLISHED: dict[str, Any] = {
    "couplings": 3,
    "width": 1.0,
    "widest": 512,
    "blocks": 8,
    "norm": "batch",
    "learning_rate": 1e-3,
}
"""Section 4.1, for images of 32 x 32 (4 blocks for 64 x 64); each side is halved until it is 4."""
LIMITS = -1.0, 1.0
"""Of a windowed image, normalised."""


class Config(Settings):
    """Settings of RealNVP."""

    preset: Literal["tuned", "published"] = "tuned"
    """``tuned``: what makes most of two minutes on phantom slices. ``published``: section 4.1. A key that is named
    wins."""
    levels: int | None = Field(default=None, ge=1, le=8)
    """Scales; each but the last halves the grid. null: as many as leave a side of 4 voxels, as published."""
    couplings: PositiveInt = 3
    """Of each kind (checkerboard, channels) at each scale; 3 is published."""
    width: PositiveFloat = 0.25
    """Factor on the channels of the networks of the couplings, 64 at the finest scale and doubled with each scale; 1 is
    published for images of 32 x 32, 0.5 for larger ones."""
    widest: PositiveInt = 512
    """Channels of these networks at most, before the factor."""
    blocks: int = Field(default=0, ge=0, le=32)
    """Residual blocks of these networks; 0 is three plain convolutions."""
    norm: FlowNorm = "act"
    """Before each coupling: ``act`` (Glow's, from the first batch), ``batch`` (published) or ``none``."""
    noise: NonNegativeFloat = 0.2
    """Width of the uniform noise on the training images, in normalised units; with less, more of what is learnt is the
    texture of the background, and samples have less of the shape of a head. Of images with N grey levels in a window
    2 / (N - 1) is one level."""
    logit: bool = False
    """Take the logit first; for images in [-1, 1] (``preparation.intensity: {t1: {window: [0, 255]}}``)."""
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """a of ``logit(a + (1 - 2 a) u)``; published."""
    learning_rate: PositiveFloat = 3e-3
    """Adam; 0.001 is published."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, values: Any) -> Any:
        """Fill in the published values where they are asked for."""
        return completed(values, {"published": PUBLISHED})

    def recipe(self) -> Mapping[str, Any]:
        """The training that goes with the tuned values."""
        return TUNED if self.preset == "tuned" else {}


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
        widest = max(4, round(config.widest * config.width))
        couplings = Couplings(config.couplings, max(4, round(64 * config.width)), widest, config.blocks, config.norm)
        self.flow = MultiScaleFlow(shape.inputs, shape.size, levels=self.levels, couplings=couplings)
        margin = config.noise / 2
        self.logit = Logit(LIMITS[0] - margin, LIMITS[1] + margin, config.alpha) if config.logit else None

    @property
    def levels(self) -> int:
        """Scales of the flow."""
        return self.config.levels or scales_of(self.shape.size)

    @property
    def window(self) -> Window:
        """The size of the patches: a code is cut into scales by it."""
        side = 2 ** (self.levels - 1)
        return Window(multiple=side, minimum=side, exact=True)

    def optimizers(self) -> dict[str, Optimizer]:
        """One for the flow."""
        return {"flow": Adam(self.parameters(), self.config.learning_rate)}

    def updates(self, batch: Images, progress: float) -> Iterator[Update]:
        """One step up the likelihood, in nats a voxel."""
        yield likelihood_step(batch.image, self.config.noise, self.log_prob)

    def score(self, batch: Images) -> dict[str, float]:
        """Bits a voxel with the noise of training; the density is in normalised units, so it may be negative."""
        return {"bits_per_dimension": bits_per_dimension(batch.image, self.config.noise, self.log_prob)}

    @property
    def code_shape(self) -> tuple[int, ...]:
        """One number a voxel and channel."""
        return (self.flow.numbers,)

    def encode(self, image: Tensor) -> Tensor:
        """The code, ``(B, C * voxels)``."""
        return self._forward(image)[0]

    def decode(self, code: Tensor) -> Tensor:
        """The image of a code; the inverse of :meth:`encode`."""
        require_code(code, self.code_shape)
        with torch.autocast(code.device.type, enabled=False):
            image = self.flow.inverse(code)
            return self.logit.inverse(image) if self.logit else image

    def log_prob(self, image: Tensor) -> Tensor:
        """Exact, in nats.

        Raises:
            InputError: the images have another shape, or a logit takes none of their range.
        """
        code, determinant = self._forward(image)
        return standard_normal_log_prob(code) + determinant

    def _forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Code, and log-determinant by image."""
        require_image(image, self.shape, self.window)
        with torch.autocast(image.device.type, enabled=False):  # half precision would not do for a sum over all voxels
            total = image.new_zeros(len(image))
            if self.logit:
                if not self.logit.inside(image):
                    raise InputError(
                        f"config.logit needs images in [-1, 1], not {image.min():.3g} to {image.max():.3g}",
                        fix="name a window for every input (preparation.intensity), or set 'logit: false'",
                    )
                image, total = self.logit(image)
            code, change = self.flow(image)
            return code, total + change


METHOD = RealNVP
