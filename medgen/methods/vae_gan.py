"""VAE/GAN (Larsen et al. 2016, https://arxiv.org/abs/1512.09300): an autoencoder beyond a similarity of pixels.

The decoder of a variational autoencoder is the generator of a GAN, and images are compared in the maps ``Dis_l`` of the
l-th layer of its discriminator. With z drawn from q(z|x), ``x~ = Dec(z)``, ``x_p = Dec(z_p)``, z_p of the prior N(0, 1)
(eqs. 5 to 9):

* ``L_prior = KL(q(z|x) || N(0, 1))``;
* ``L_llike = -log N(Dis_l(x); Dis_l(x~), s^2)``, s = 1 in the publication;
* ``L_GAN = log Dis(x) + log(1 - Dis(x~)) + log(1 - Dis(x_p))``.

The gradients are those of algorithm 1: the encoder minimises ``L_prior + L_llike``, the decoder ``gamma L_llike -
L_GAN``, the discriminator ``-L_GAN``. So no part of L_GAN reaches the encoder, and the discriminator cannot shrink its
maps to please L_llike. All three are differentiated on one graph before any of them steps.

Where s is not 1, s^2 is the mean squared error of the maps of a batch, which maximises the likelihood: then the
balance of encoder and prior does not depend on how large the discriminator makes its maps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor
from torch.nn.functional import l1_loss
from torch.optim import Adam, Optimizer, RMSprop

from medgen.errors import UsageError
from medgen.losses.adversarial import MINIMAX, NON_SATURATING
from medgen.losses.energy import energy_distance
from medgen.losses.variational import best_log_variance, gaussian_kl, gaussian_log_likelihood
from medgen.methods._codes import (
    AutoencoderConfig,
    Autoencodes,
    completed,
    encoder_and_decoder,
    last_weights,
    window_of,
)
from medgen.methods.base import HasFeatures, Method, Shape, Step, Update, Window
from medgen.networks.autoencoder import reparametrised
from medgen.networks.dcgan import SMALLEST, DCDiscriminator
from medgen.networks.ranks import Norm
from medgen.sampling.batches import Images

PUBLISHED: dict[str, Any] = {
    "latent": 128, "layer": 3, "variance": "one", "gamma": 1e-5, "beta": 1.0, "objective": "minimax",
    "real_share": 0.66, "margin": 0.35, "discriminator_width": 128, "norm": "batch", "spectral_norm": False,
    "optimizer": "rmsprop", "learning_rate": 3e-4, "discriminator_learning_rate": None,
}  # fmt: skip
"""Those of the authors' code for faces of 64 x 64 (``celeba_aegan.py``)."""
_OBJECTIVES = {"minimax": MINIMAX, "non_saturating": NON_SATURATING}


class Config(AutoencoderConfig):
    """Settings of VAE/GAN."""

    preset: Literal["tuned", "published"] = "tuned"
    """``tuned``: what works on phantom slices in minutes. ``published``: the numbers of the authors' code. A key that
    is named wins."""
    layer: PositiveInt = 1
    """l, of the discriminator; its first halves the grid once. Deeper ones left a grid in images of phantoms."""
    variance: Literal["one", "optimal"] = "optimal"
    """s^2 of the likelihood of the maps; one is published."""
    gamma: NonNegativeFloat = 0.01
    """Weight of ``L_llike``, which is a sum over all numbers of the maps, beside ``-L_GAN`` in the decoder."""
    beta: NonNegativeFloat = 1.0
    """Weight of ``L_prior``; 1 is published."""
    objective: Literal["minimax", "non_saturating"] = "non_saturating"
    """What the decoder makes of L_GAN: published are its terms with the other sign."""
    real_share: float = Field(default=0.5, gt=0, lt=1)
    """Share of real images in the loss of the discriminator, twice; reconstructions and samples have half of the rest
    each. 0.66 is published."""
    equilibrium: PositiveFloat = 0.68
    """Loss of the discriminator, of real and of made images, around which both networks are trained."""
    margin: PositiveFloat | None = None
    """Where a loss is lower than the equilibrium by more, the discriminator makes no step; where one is higher by more,
    the decoder makes none; if that leaves none, both do. Null: both always. 0.35 is published."""
    discriminator_width: PositiveInt = 16
    """Channels of the finest maps of the discriminator; they double with each halving, up to 8 times as many."""
    norm: Norm = "none"
    """Normalisation of the discriminator, but for its first layer; batch is published."""
    spectral_norm: bool = True
    """Divide the weights of the discriminator by their largest singular values."""
    optimizer: Literal["adam", "rmsprop"] = "adam"
    """Adam with moments 0.5 and 0.99, or RMSprop; of all networks."""
    learning_rate: PositiveFloat = 1e-3
    """Of encoder and decoder."""
    discriminator_learning_rate: PositiveFloat | None = 2.5e-4
    """Null is that of the others. With a slow discriminator the maps, in which images are compared, change slowly; with
    that of the others and ``gamma`` 0.02 the discriminator won."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, values: Any) -> Any:
        return completed(values, {"published": PUBLISHED})

    def recipe(self) -> Mapping[str, Any]:
        """The last weights are kept; in ``tuned`` they are averaged."""
        return last_weights(averaged=self.preset == "tuned")


class VAEGAN(Method, Autoencodes, HasFeatures):
    """Encoder, decoder and discriminator."""

    config_class = Config
    batch_class = Images
    learns = "discriminator/real"  # L_llike may rise, since the discriminator changes its maps
    dimensions = (2, 3)
    opponents: ClassVar = {"discriminator": 2 * math.log(2)}
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
        if config.layer > (layers := len(self.discriminator.levels)):
            raise UsageError(
                f"the discriminator of patches of {' x '.join(map(str, shape.size))} voxels has {layers} layers, "
                f"'layer' is {config.layer}",
                fix=f"set config.layer to at most {layers}, or take larger patches",
            )

    @property
    def window(self) -> Window:
        """Sides that encoder and discriminator can halve; a dense code takes the size of the patches alone."""
        return window_of(self.config, 2 * SMALLEST)

    def exported(self) -> tuple[str, ...]:
        """Encoder and decoder."""
        return "encoder", "decoder"

    def optimizers(self) -> dict[str, Optimizer]:
        """One for each network."""
        rate = self.config.learning_rate
        rates = {"encoder": rate, "decoder": rate, "discriminator": self.config.discriminator_learning_rate or rate}
        networks = {name: self.get_submodule(name).parameters() for name in rates}
        if self.config.optimizer == "rmsprop":
            return {name: RMSprop(networks[name], rates[name]) for name in rates}
        return {name: Adam(networks[name], rates[name], (0.5, 0.99)) for name in rates}

    def updates(self, batch: Images, progress: float) -> Iterator[Step]:
        """Algorithm 1; the equilibrium rule may leave the decoder or the discriminator out."""
        config, image = self.config, batch.image
        mean, log_variance = self.encoder(image)
        code = reparametrised(mean, log_variance)
        judged = self.discriminator
        maps = [judged.features(each) for each in (image, self.decoder(code), self.decoder(torch.randn_like(code)))]
        real, reconstructed, sampled = (judged.judged(each) for each in maps)
        llike = self._similarity(maps[0][config.layer - 1], maps[1][config.layer - 1])
        objective, voxels, fake_share = _OBJECTIVES[config.objective], image[0].numel(), 1 - config.real_share
        of_real, of_reconstruction, of_sample = (
            objective.real(real), objective.fake(reconstructed), objective.fake(sampled),
        )  # fmt: skip
        trains_decoder, trains_discriminator = in_equilibrium(
            of_real.item(), 0.5 * (of_reconstruction + of_sample).item(), config.equilibrium, config.margin
        )
        divergence = config.beta * gaussian_kl(mean, log_variance).mean()
        steps = [Update("encoder", {"reconstruction": llike / voxels, "kl": divergence / voxels})]
        if trains_decoder:
            losses = {
                "reconstruction": config.gamma * llike,
                "adversarial_reconstruction": objective.generator(reconstructed),
                "adversarial_sample": objective.generator(sampled),
            }
            steps.append(Update("decoder", losses))
        if trains_discriminator:
            losses = {
                "real": 2 * config.real_share * of_real,
                "reconstruction": fake_share * of_reconstruction,
                "sample": fake_share * of_sample,
            }
            steps.append(Update("discriminator", losses))
        yield tuple(steps)

    def _similarity(self, real: Tensor, reconstructed: Tensor) -> Tensor:
        """L_llike, the mean over images, without its constant."""
        numbers = real[0].numel()
        log_variance: Tensor | float = 0.0
        if self.config.variance == "optimal":
            log_variance = best_log_variance("gaussian", real, reconstructed)
        likelihood = gaussian_log_likelihood(real, reconstructed, log_variance).mean()
        return -likelihood - 0.5 * numbers * math.log(2 * math.pi)

    def score(self, batch: Images) -> dict[str, float]:
        """Mean absolute error of reconstructions, their likeness in the discriminator, energy distance of samples."""
        image, seed = batch.image, torch.Generator(batch.image.device).manual_seed(0)
        reconstruction, layer = self.decode(self.encode(image)), self.config.layer - 1
        real, made = (self.discriminator.features(each)[layer].float() for each in (image, reconstruction))
        samples = self.sample(len(image), seed)
        return {
            "l1": l1_loss(reconstruction, image).item(),
            "maps_mse": (real - made).square().mean().item(),
            "energy_distance": energy_distance(image, samples).item(),
        }

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        """The maps of the discriminator, one a halving: the similarity that it has learnt."""
        return self.discriminator.features(image)


def in_equilibrium(real: float, fake: float, equilibrium: float, margin: float | None) -> tuple[bool, bool]:
    """Whether to train the decoder, and the discriminator, by the losses of the latter (the rule of the authors' code).

    Args:
        real: mean of ``-log Dis(x)``.
        fake: mean of ``-log(1 - Dis)`` of reconstructions and samples.
        equilibrium: where both are as good as each other.
        margin: how far a loss may be from it; None: any distance.

    >>> in_equilibrium(0.7, 0.2, 0.68, 0.35), in_equilibrium(0.7, 1.1, 0.68, 0.35), in_equilibrium(0.2, 1.1, 0.68, 0.35)
    ((True, False), (False, True), (True, True))
    """
    if margin is None:
        return True, True
    decoder, discriminator = max(real, fake) <= equilibrium + margin, min(real, fake) >= equilibrium - margin
    return (decoder, discriminator) if decoder or discriminator else (True, True)


METHOD = VAEGAN
