"""alpha-GAN (Rosca et al. 2017, https://arxiv.org/abs/1706.04987): an autoencoder between two discriminators.

D tells images from what the decoder G makes, of codes of the prior and of codes of images alike; C tells codes of the
prior N(0, 1) from those of the encoder E. With ``x_rec = G(E(x))`` and ``x_prior = G(z)``, z of the prior:

* encoder and decoder minimise ``lambda |x - x_rec| - log D(x_rec) - log D(x_prior) - log C(E(x))``;
* D minimises ``-log D(x) - (log(1 - D(x_rec)) + log(1 - D(x_prior))) / 2``;
* C minimises ``-log C(z) - log(1 - C(E(x)))``.

All three are differentiated on one graph. The absolute error is the mean over voxels, as in public code.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor
from torch.nn.functional import l1_loss
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
from medgen.networks.dcgan import SMALLEST, DCDiscriminator
from medgen.networks.latent_discriminator import LatentDiscriminator
from medgen.networks.ranks import Norm
from medgen.sampling.batches import Images

PUBLISHED: dict[str, Any] = {
    "latent": 128, "posterior": "deterministic", "reconstruction_weight": 1.0, "adversarial_weight": 1.0,
    "code_weight": 1.0, "discriminator_width": 128, "norm": "batch", "spectral_norm": False, "learning_rate": 2e-4,
    "discriminator_learning_rate": None, "beta1": 0.5, "beta2": 0.9,
}  # fmt: skip
"""Those of the public code of V. Shepardson; lambda was tuned for each data set in the publication, 1 to 50."""


class Config(AutoencoderConfig):
    """Settings of alpha-GAN."""

    preset: Literal["tuned", "published"] = "tuned"
    """``tuned``: a first guess for phantom slices in minutes, not tuned. ``published``:
    the numbers of public code. A key that is named wins."""
    posterior: Literal["deterministic", "gaussian"] = "gaussian"
    """``deterministic``: a code is what the encoder says. ``gaussian``: it is drawn from a normal distribution of which
    the encoder says mean and variance."""
    reconstruction_weight: NonNegativeFloat = 50.0
    """lambda."""
    adversarial_weight: NonNegativeFloat = 1.0
    """Of ``-log D`` of both images; 1 is published."""
    code_weight: NonNegativeFloat = 1.0
    """Of ``-log C``; 1 is published."""
    discriminator_width: PositiveInt = 32
    """Channels of the finest maps of D; they double with each halving, up to 8 times as many."""
    code_discriminator_width: PositiveInt = 256
    """Units of the hidden layers of C."""
    norm: Norm = "none"
    """Normalisation of D, but for its first layer."""
    spectral_norm: bool = True
    """Divide the weights of D by their largest singular values."""
    learning_rate: PositiveFloat = 1e-3
    """Adam, of encoder and decoder."""
    discriminator_learning_rate: PositiveFloat | None = 2.5e-4
    """Of both discriminators; null is that of the autoencoder."""
    beta1: float = Field(default=0.5, ge=0, lt=1)
    """First moment of all Adams."""
    beta2: float = Field(default=0.99, ge=0, lt=1)
    """Second moment."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, values: Any) -> Any:
        return completed(values, {"published": PUBLISHED})

    def recipe(self) -> Mapping[str, Any]:
        """The last weights are kept; in ``tuned`` they are averaged."""
        return last_weights(averaged=self.preset == "tuned")


class AlphaGAN(Method, Autoencodes, HasFeatures):
    """Encoder and decoder, a discriminator of images and one of codes."""

    config_class = Config
    batch_class = Images
    learns = "autoencoder/reconstruction"
    dimensions = (2, 3)
    opponents: ClassVar = {"discriminator": 2 * math.log(2), "code_discriminator": 2 * math.log(2)}
    config: Config

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        self.encoder, self.decoder = encoder_and_decoder(config, shape)
        self.discriminator = DCDiscriminator(
            shape.inputs,
            shape.size,
            width=config.discriminator_width,
            norm=config.norm,
            spectral=config.spectral_norm,
        )
        self.code_discriminator = LatentDiscriminator(
            config.latent,
            dimensions=0 if config.code == "dense" else shape.dimensions,
            units=config.code_discriminator_width,
        )

    @property
    def window(self) -> Window:
        """Sides that encoder and discriminator can halve; a dense code takes the size of the patches alone."""
        return window_of(self.config, 2 * SMALLEST)

    def exported(self) -> tuple[str, ...]:
        """The autoencoder."""
        return "encoder", "decoder"

    def optimizers(self) -> dict[str, Optimizer]:
        """Adam for the autoencoder and for each discriminator."""
        config, betas = self.config, (self.config.beta1, self.config.beta2)
        rate = config.discriminator_learning_rate or config.learning_rate
        autoencoder = [*self.encoder.parameters(), *self.decoder.parameters()]
        return {
            "autoencoder": Adam(autoencoder, config.learning_rate, betas),
            "discriminator": Adam(self.discriminator.parameters(), rate, betas),
            "code_discriminator": Adam(self.code_discriminator.parameters(), rate, betas),
        }

    def updates(self, batch: Images, progress: float) -> Iterator[Step]:
        """All networks on one graph."""
        config, bce, image = self.config, NON_SATURATING, batch.image
        mean, log_variance = self.encoder(image)
        code = mean if config.posterior == "deterministic" else reparametrised(mean, log_variance)
        prior = torch.randn_like(code)
        reconstruction = self.decoder(code)
        judged, judged_sample = self.discriminator(reconstruction), self.discriminator(self.decoder(prior))
        judged_code = self.code_discriminator(code)
        autoencoder = {
            "reconstruction": config.reconstruction_weight * l1_loss(reconstruction.float(), image.float()),
            "adversarial_reconstruction": config.adversarial_weight * bce.generator(judged),
            "adversarial_sample": config.adversarial_weight * bce.generator(judged_sample),
            "adversarial_code": config.code_weight * bce.generator(judged_code),
        }
        discriminator = {
            "real": bce.real(self.discriminator(image)),
            "reconstruction": 0.5 * bce.fake(judged),
            "sample": 0.5 * bce.fake(judged_sample),
        }
        codes = {"prior": bce.real(self.code_discriminator(prior)), "code": bce.fake(judged_code)}
        yield (
            Update("autoencoder", autoencoder),
            Update("discriminator", discriminator),
            Update("code_discriminator", codes),
        )

    def score(self, batch: Images) -> dict[str, float]:
        """Mean absolute error of reconstructions; energy distance of samples, and of codes to the prior."""
        return autoencoder_score(self, batch.image)

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        """The maps of the encoder, the finest first, and the code as the last."""
        return maps_and_mean(self.encoder, image)


METHOD = AlphaGAN
