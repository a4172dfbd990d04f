"""Progressive GAN (Karras et al. 2018, https://arxiv.org/abs/1710.10196), of slices or volumes.

Generator and critic begin on a grid of 4 voxels an axis and grow to the size of the patches: each level fades in and is
then trained alone. How far they have grown follows from the progress of the training alone, so a run that is resumed
inside a fade goes on exactly. Real patches are averaged down to the level, and fade as the networks do. The critic
minimises WGAN-GP with a small drift term (appendix A.1); one step of each network on one batch.

The averaged generator is that of ``schedule.averaging``, 0.999 as published. Not as published: one batch size for all
levels, and Adam's moments are kept when a level comes in (those of its layers begin there).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional
from torch.optim import Adam, Optimizer

from medgen.config import Config as Settings
from medgen.losses.adversarial import WASSERSTEIN
from medgen.losses.penalties import gradient_penalty
from medgen.methods._images import require_code
from medgen.methods.base import HasFeatures, Method, Samples, Shape, Update, Window
from medgen.networks.dcgan import SMALLEST
from medgen.networks.progressive import (
    Growth,
    ProgressiveCritic,
    ProgressiveGenerator,
    channels_of,
    doubled,
    growth_at,
    halved,
)
from medgen.sampling.batches import Images


class Config(Settings):
    """Settings of the progressive GAN; the defaults are published."""

    latent: PositiveInt = 512
    """Numbers of a code."""
    width: PositiveFloat = 1.0
    """Factor on the channels: 16 at the size of the patches, doubled with each halving up to 512."""
    grown: float = Field(default=0.64, gt=0, le=1)
    """Share of the training after which the last level is fully there; 9.6 of 15 million images at 1024 x 1024."""
    penalty_weight: NonNegativeFloat = 10.0
    """lambda, of the gradient penalty."""
    penalty_target: PositiveFloat = 1.0
    """gamma, the slope that the penalty asks for; it is divided by its square."""
    drift: NonNegativeFloat = 1e-3
    """epsilon_drift, on the squared value of real images."""
    learning_rate: PositiveFloat = 1e-3
    """Adam, of both networks; equalised over layers."""
    beta1: float = Field(default=0.0, ge=0, lt=1)
    """First moment of both Adams."""
    beta2: float = Field(default=0.99, ge=0, lt=1)
    """Second moment."""

    def recipe(self) -> Mapping[str, Any]:
        """The averaged weights of the end are kept, since no loss of a game says which are best."""
        return {"schedule": {"keep": "last", "averaging": 0.999}}


class ProgressiveGAN(Method, Samples, HasFeatures):
    """A growing generator against a growing critic."""

    config_class = Config
    batch_class = Images
    learns = "critic/real"
    dimensions = (2, 3)
    scaleless = ("critic", "generator")
    config: Config

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        finest, most = (max(4, round(each * config.width)) for each in (16, 512))
        channels = channels_of(shape.size, finest, most)
        self.levels = len(channels) - 1
        self.generator = ProgressiveGenerator(shape.inputs, shape.size, config.latent, channels)
        self.critic = ProgressiveCritic(shape.inputs, shape.size, channels)

    @property
    def window(self) -> Window:
        """The size of the patches: the generator makes no other."""
        return Window(multiple=2, minimum=2 * SMALLEST, exact=True)

    def exported(self) -> tuple[str, ...]:
        """The generator, and with it how far it has grown."""
        return ("generator",)

    def optimizers(self) -> dict[str, Optimizer]:
        """Adam for each network."""
        rate, betas = self.config.learning_rate, (self.config.beta1, self.config.beta2)
        return {
            "critic": Adam(self.critic.parameters(), rate, betas, eps=1e-8),
            "generator": Adam(self.generator.parameters(), rate, betas, eps=1e-8),
        }

    def updates(self, batch: Images, progress: float) -> Iterator[Update]:
        """A step of the critic, then one of the generator against the new critic."""
        growth = growth_at(progress, self.levels, self.config.grown)
        self.generator.grown = growth
        real = self.seen(batch.image, growth)
        with torch.no_grad():
            fake = self.generator(self._codes(real), growth)
        yield Update("critic", self._critic_terms(real, fake, growth))
        judged = self.critic(self.generator(self._codes(real), growth), growth)
        yield Update("generator", {"adversarial": WASSERSTEIN.generator(judged)})

    def _critic_terms(self, real: Tensor, fake: Tensor, growth: Growth) -> dict[str, Tensor]:
        config, judged = self.config, self.critic(real, growth)
        slope = gradient_penalty(lambda image: self.critic(image, growth), real, fake, target=config.penalty_target)
        return {
            "real": WASSERSTEIN.real(judged),
            "fake": WASSERSTEIN.fake(self.critic(fake, growth)),
            "penalty": config.penalty_weight / config.penalty_target**2 * slope,
            "drift": config.drift * judged.float().square().mean(),
        }

    def _codes(self, like: Tensor) -> Tensor:
        return torch.randn(len(like), self.config.latent, device=like.device)

    def seen(self, image: Tensor, growth: Growth) -> Tensor:
        """What the critic sees of images ``(B, C, *size)``: averaged down to the level, and as blurred as its fade."""
        for _ in range(self.levels - growth.level):
            image = halved(image)
        return image if growth.alpha == 1 else torch.lerp(doubled(halved(image)), image, growth.alpha)

    @property
    def code_shape(self) -> tuple[int, ...]:
        """A vector."""
        return (self.config.latent,)

    def decode(self, code: Tensor) -> Tensor:
        """Images of the size of the patches; of networks that have not grown up, with voxels repeated."""
        require_code(code, self.code_shape)
        image = self.generator(code, self.generator.grown)
        return functional.interpolate(image, size=self.shape.size, mode="nearest")

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        """Maps of the critic by level, the finest first."""
        growth = self.generator.grown
        return self.critic.features(self.seen(image, growth), growth)


METHOD = ProgressiveGAN
