"""Adversarial autoencoder (Makhzani et al. 2016, https://arxiv.org/abs/1511.05644), of slices or volumes.

An autoencoder whose codes are matched to a prior p(z) = N(0, 1) by a discriminator C of codes in place of a divergence.
With the code z of an image x, drawn from or given by the encoder q(z|x), and its reconstruction G(z):

* reconstruction phase: encoder and decoder minimise ``|x - G(z)|^2``;
* regularisation phase: C minimises ``-log C(z') - log(1 - C(z))`` with z' from the prior, the encoder
  ``-log C(z)``, so that the codes of all images together, q(z), look like the prior.

The two phases of a batch are differentiated on one graph here, and one optimiser makes the step of the encoder for
both, so that ``adversarial_weight`` says how much each counts. (Published are steps one after the other, with rates in
the place of the weight.) The reconstruction error is the mean over voxels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor
from torch.nn.functional import mse_loss
from torch.optim import Adam, Optimizer

from medgen.losses.adversarial import NON_SATURATING
from medgen.methods._codes import (
    AutoencoderConfig,
    Autoencodes,
    autoencoder_score,
    completed,
    encoder_and_decoder,
    last_weights,
    maps_and_mean,
    window_of,
)
from medgen.methods.base import HasFeatures, Method, Shape, Step, Update, Window
from medgen.networks.autoencoder import reparametrised
from medgen.networks.latent_discriminator import LatentDiscriminator
from medgen.sampling.batches import Images

PUBLISHED: dict[str, Any] = {
    "latent": 8, "posterior": "deterministic", "adversarial_weight": 1.0, "discriminator_width": 1000,
    "learning_rate": 2e-4,
}  # fmt: skip
"""Makhzani et al. 2016 for digits, with the rate that is usual for Adam; the weight is that of equal steps."""


class Config(AutoencoderConfig):
    """Settings of the adversarial autoencoder."""

    preset: Literal["tuned", "published"] = "tuned"
    """``tuned``: a first guess for phantom slices in minutes, not tuned. ``published``:
    the numbers of the publication. A key that is named wins."""
    posterior: Literal["deterministic", "gaussian"] = "gaussian"
    """``deterministic``: a code is what the encoder says. ``gaussian``: it is drawn from a normal distribution of which
    the encoder says mean and variance. (Section 2.1 of the publication; its experiments have the first.)"""
    adversarial_weight: NonNegativeFloat = 0.01
    """Of the encoder's ``-log C(z)`` beside the mean squared error."""
    discriminator_width: PositiveInt = 256
    """Units of the hidden layers of C; 1000 are published."""
    learning_rate: PositiveFloat = 1e-3
    """Adam, of encoder and decoder."""
    discriminator_learning_rate: PositiveFloat | None = None
    """Of C's Adam; null is that of the autoencoder."""
    beta1: float = Field(default=0.5, ge=0, lt=1)
    """First moment of both Adams."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, values: Any) -> Any:
        return completed(values, {"published": PUBLISHED})

    def recipe(self) -> Mapping[str, Any]:
        """The last weights are kept, averaged: the one with the best reconstruction need not have the right codes."""
        return last_weights(averaged=self.preset == "tuned")


class AdversarialAutoencoder(Method, Autoencodes, HasFeatures):
    """Encoder and decoder against a discriminator of codes."""

    config_class = Config
    batch_class = Images
    learns = "autoencoder/reconstruction"
    dimensions = (2, 3)
    opponents: ClassVar = {"discriminator": 2 * math.log(2)}
    config: Config

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        self.encoder, self.decoder = encoder_and_decoder(config, shape)
        self.discriminator = LatentDiscriminator(
            config.latent,
            dimensions=0 if config.code == "dense" else shape.dimensions,
            units=config.discriminator_width,
        )

    @property
    def window(self) -> Window:
        """Sides divisible by all halvings; a dense code takes no other size than that of the patches."""
        return window_of(self.config)

    def exported(self) -> tuple[str, ...]:
        """The autoencoder."""
        return "encoder", "decoder"

    def optimizers(self) -> dict[str, Optimizer]:
        """Adam for the autoencoder, and for the discriminator of codes."""
        rate, betas = self.config.learning_rate, (self.config.beta1, 0.999)
        return {
            "autoencoder": Adam([*self.encoder.parameters(), *self.decoder.parameters()], rate, betas),
            "discriminator": Adam(
                self.discriminator.parameters(), self.config.discriminator_learning_rate or rate, betas
            ),
        }

    def updates(self, batch: Images, progress: float) -> Iterator[Step]:
        """Both phases of a batch on one graph."""
        mean, log_variance = self.encoder(batch.image)
        code = mean if self.config.posterior == "deterministic" else reparametrised(mean, log_variance)
        judged = self.discriminator(code)
        yield (
            Update(
                "autoencoder",
                {
                    "reconstruction": mse_loss(self.decoder(code).float(), batch.image.float()),
                    "adversarial": self.config.adversarial_weight * NON_SATURATING.generator(judged),
                },
            ),
            Update(
                "discriminator",
                {
                    "prior": NON_SATURATING.real(self.discriminator(torch.randn_like(code))),
                    "code": NON_SATURATING.fake(judged),
                },
            ),
        )

    def score(self, batch: Images) -> dict[str, float]:
        """Mean absolute error of reconstructions; energy distance of samples, and of codes to the prior."""
        return autoencoder_score(self, batch.image)

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        """The maps of the encoder, the finest first, and the code as the last."""
        return maps_and_mean(self.encoder, image)


METHOD = AdversarialAutoencoder
