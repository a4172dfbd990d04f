"""NICE (Dinh, Krueger & Bengio 2014, https://arxiv.org/abs/1410.8516), of slices or volumes.

Additive couplings, ``z2 = x2 + m(x1)`` (section 3.2), change no volume, so that the log-determinant is that of the
diagonal scaling at the end alone: ``log p(x) = sum_i log p_H(s_i f_i(x)) + log |s_i|`` (eq. 4). The prior p_H is
logistic or normal (section 3.4).

``architecture: dense`` is the published one: the image is flattened, every other voxel is kept, and m is a dense
network (section 5.1). ``convolutional`` takes the multi-scale stack of RealNVP with additive couplings.

Codes that users see are standard normal whatever the prior: a logistic number h is mapped by ``Phi^-1(sigma(h))``. The
diagonal also has a shift. Published images get noise of one grey level, and zero-phase whitening for some data sets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor
from torch.nn.functional import softplus
from torch.optim import Adam, Optimizer

from medgen.config import Config as Settings
from medgen.losses.variational import standard_normal_log_prob
from medgen.methods._codes import completed
from medgen.methods._density import TUNED, bits_per_dimension, likelihood_step
from medgen.methods._images import require_code, require_image
from medgen.methods.base import Encodes, HasDensity, Method, Samples, Shape, Update, Window
from medgen.networks.flows import Couplings, DenseFlow, FlowNorm, MultiScaleFlow, scales_of
from medgen.sampling.batches import Images

PUBLISHED: dict[str, Any] = {
    "architecture": "dense",
    "prior": "logistic",
    "couplings": 4,
    "width": 1.0,
    "hidden": 5,
    "learning_rate": 1e-3,
    "beta2": 0.99,
    "epsilon": 1e-4,
}
"""Section 5.1, of MNIST. Its Adam is written with 1 - beta2 = 0.01: the second moment forgets after a hundred steps."""


class Config(Settings):
    """Settings of NICE."""

    architecture: Literal["dense", "convolutional"] = "convolutional"
    """``dense`` is published; ``convolutional`` has fewer weights, and the only one that volumes leave room for."""
    prior: Literal["logistic", "normal"] = "logistic"
    """Of the numbers of a code."""
    couplings: PositiveInt = 3
    """dense: all of them; 4 is published. convolutional: of each kind (checkerboard, channels) at each scale."""
    width: PositiveFloat = 0.25
    """Factor on the units of a hidden layer: 1000, or 64 channels at the finest scale."""
    noise: NonNegativeFloat = 0.2
    """Width of the uniform noise on the training images, in normalised units; with less, more of what is learnt is the
    texture of the background, and samples have less of the shape of a head."""
    learning_rate: PositiveFloat = 3e-3
    """Adam; 0.001 is published."""
    hidden: PositiveInt = 5
    """dense: hidden layers of a coupling; published."""
    preset: Literal["tuned", "published"] = "tuned"
    """``tuned``: what makes most of two minutes on phantom slices. ``published``: section 5.1. A key that is named
    wins."""
    widest: PositiveInt = 512
    """convolutional: channels at most, before the factor; they double with each scale."""
    blocks: int = Field(default=0, ge=0, le=32)
    """convolutional: residual blocks of the networks of the couplings; 0 is three plain convolutions."""
    norm: FlowNorm = "act"
    """convolutional: before each coupling ``act``, ``batch`` or ``none``; published without."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """First moment of Adam."""
    beta2: float = Field(default=0.999, ge=0, lt=1)
    """Second moment."""
    epsilon: PositiveFloat = 1e-8
    """Added to the square root of it; 0.0001 is published."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, values: Any) -> Any:
        """Fill in the published values where they are asked for."""
        return completed(values, {"published": PUBLISHED})

    def recipe(self) -> Mapping[str, Any]:
        """The training that goes with the tuned values."""
        return TUNED if self.preset == "tuned" else {}


class NICE(Method, Samples, Encodes, HasDensity):
    """One flow that changes volumes by a diagonal matrix alone, trained by maximum likelihood."""

    config_class = Config
    batch_class = Images
    learns = "flow/negative_log_likelihood"
    dimensions = (2, 3)
    bound = False
    config: Config

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        self.flow: DenseFlow | MultiScaleFlow
        if config.architecture == "dense":
            width = max(4, round(1000 * config.width))
            self.flow = DenseFlow(
                shape.inputs, shape.size, couplings=config.couplings, width=width, hidden=config.hidden
            )
            return
        width, widest = (max(4, round(channels * config.width)) for channels in (64, config.widest))
        couplings = Couplings(config.couplings, width, widest, config.blocks, config.norm, additive=True)
        self.flow = MultiScaleFlow(shape.inputs, shape.size, levels=scales_of(shape.size), couplings=couplings)

    @property
    def window(self) -> Window:
        """The size of the patches: the diagonal has a number for each voxel."""
        side = 2 ** (scales_of(self.shape.size) - 1) if self.config.architecture == "convolutional" else 1
        return Window(multiple=side, minimum=max(2, side), exact=True)

    def optimizers(self) -> dict[str, Optimizer]:
        """One for the flow."""
        config = self.config
        betas = config.beta1, config.beta2
        return {"flow": Adam(self.parameters(), config.learning_rate, betas, config.epsilon)}

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
        """The code ``(B, C * voxels)``, standard normal for images as likely as those of training."""
        code = self._forward(image)[0]
        return normal_of_logistic(code) if self.config.prior == "logistic" else code

    def decode(self, code: Tensor) -> Tensor:
        """The image of a code; the inverse of :meth:`encode`."""
        require_code(code, self.code_shape)
        with torch.autocast(code.device.type, enabled=False):
            prior = logistic_of_normal(code) if self.config.prior == "logistic" else code
            image: Tensor = self.flow.inverse(prior)
            return image

    def log_prob(self, image: Tensor) -> Tensor:
        """Exact, in nats.

        Raises:
            InputError: the images have another shape.
        """
        code, determinant = self._forward(image)
        logistic = self.config.prior == "logistic"
        prior = logistic_log_prob(code) if logistic else standard_normal_log_prob(code)
        return prior + determinant

    def _forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Code of the prior, and log-determinant by image."""
        require_image(image, self.shape, self.window)
        with torch.autocast(image.device.type, enabled=False):  # half precision would not do for a sum over all voxels
            result: tuple[Tensor, Tensor] = self.flow(image)
            return result


def logistic_log_prob(code: Tensor) -> Tensor:
    """``sum_i -log(1 + exp(h_i)) - log(1 + exp(-h_i))`` of ``(B, ...)`` (section 3.4)."""
    return -(softplus(code) + softplus(-code)).flatten(1).sum(dim=1)


def normal_of_logistic(code: Tensor) -> Tensor:
    """``Phi^-1(sigma(h))``, by the nearer tail; beyond 80 its inverse does not come back in 32 bits."""
    normal: Tensor = -code.sign() * torch.special.ndtri((-code.abs()).sigmoid())
    return normal


def logistic_of_normal(code: Tensor) -> Tensor:
    """``logit(Phi(z))``, the inverse of :func:`normal_of_logistic`."""
    logistic: Tensor = torch.special.log_ndtr(code) - torch.special.log_ndtr(-code)
    return logistic


METHOD = NICE
