"""Generative adversarial networks of slices and volumes: one method, eight objectives, the networks of DCGAN.

A generator G maps a normal code to an image, a discriminator D tells real from generated images; D steps
``critic_steps`` times on fresh batches, then G once. ``objective`` says what they minimise
(:mod:`medgen.losses.adversarial`, :mod:`medgen.losses.penalties`), ``preset`` which numbers go with it:

| objective      | paper                              | beside the loss                                       |
|----------------|------------------------------------|-------------------------------------------------------|
| minimax        | Goodfellow 2014, arXiv 1406.2661   |                                                       |
| non_saturating | the same; with DCGAN, 1511.06434   |                                                       |
| least_squares  | Mao 2017, arXiv 1611.04076         |                                                       |
| wgan           | Arjovsky 2017, arXiv 1701.07875    | weights of D are clipped                              |
| wgan_gp        | Gulrajani 2017, arXiv 1704.00028   | slope 1 between real and generated images             |
| dragan         | Kodali 2017, arXiv 1705.07215      | slope 1 of ``sigmoid(D)`` near real images            |
| began          | Berthelot 2017, arXiv 1703.10717   | D is an autoencoder; k balances its errors            |
| hinge          | Lim & Ye 2017, arXiv 1705.02894    | published with spectral normalisation                 |

The averaged generator is that of ``schedule.averaging``, as for every method. Codes are standard normal (in
``compare_gan`` and DCGAN uniform in (-1, 1)); the generator ends linearly (:mod:`medgen.networks.dcgan`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from medgen.config import Config as Settings
from medgen.losses import adversarial, penalties
from medgen.losses.energy import energy_distance
from medgen.methods._images import require_code
from medgen.methods.base import HasFeatures, Memory, Method, Samples, Shape, Update, Window
from medgen.networks.dcgan import SMALLEST, AutoencodingDiscriminator, DCDiscriminator, DCGenerator
from medgen.networks.ranks import Norm
from medgen.sampling.batches import Images
from medgen.sampling.parts import split

ObjectiveName = Literal["minimax", "non_saturating", "least_squares", "wgan", "wgan_gp", "dragan", "began", "hinge"]
_LOSSES = {
    "minimax": adversarial.MINIMAX,
    "non_saturating": adversarial.NON_SATURATING,
    "least_squares": adversarial.LEAST_SQUARES,
    "wgan": adversarial.WASSERSTEIN,
    "wgan_gp": adversarial.WASSERSTEIN,
    "dragan": adversarial.NON_SATURATING,
    "hinge": adversarial.HINGE,
}
_PLAIN: dict[str, Any] = {"discriminator_learning_rate": None, "spectral_norm": False, "r1_weight": 0.0}
_LUCIC: dict[str, Any] = {**_PLAIN, "latent": 64, "beta1": 0.5, "beta2": 0.999, "norm": "batch", "critic_steps": 1}
PUBLISHED: dict[str, dict[str, Any]] = {
    "minimax": {**_LUCIC, "learning_rate": 5e-5, "beta1": 0.0},
    "non_saturating": {**_LUCIC, "learning_rate": 5e-5, "beta1": 0.0},
    "least_squares": {**_LUCIC, "learning_rate": 2e-4},
    "wgan": {**_LUCIC, "learning_rate": 5e-5, "critic_steps": 5},
    "wgan_gp": {**_LUCIC, "learning_rate": 1e-4, "critic_steps": 5, "norm": "none"},
    "dragan": {**_LUCIC, "learning_rate": 1e-4},
    "began": {**_LUCIC, "learning_rate": 1e-4, "critic_steps": 5, "norm": "none"},
    "hinge": {
        **_LUCIC, "learning_rate": 1e-4, "discriminator_learning_rate": 4e-4, "beta1": 0.0, "beta2": 0.9,
        "norm": "none", "spectral_norm": True, "latent": 128,
    },
}  # fmt: skip
"""By objective: the defaults of ``compare_gan`` (Lucic et al. 2018, arXiv 1711.10337), and for hinge those of
self-attention GANs (Zhang et al. 2019, arXiv 1805.08318)."""
DCGAN: dict[str, Any] = {**_LUCIC, "learning_rate": 2e-4, "latent": 100}
"""Radford et al. 2016, for any objective."""
TUNED: dict[str, dict[str, Any]] = {
    "non_saturating": {"learning_rate": 1e-3},
    "wgan": {"norm": "batch", "spectral_norm": False, "learning_rate": 1e-3},
    "wgan_gp": {"spectral_norm": False, "learning_rate": 1e-3},
    "dragan": {"spectral_norm": False, "penalty_weight": 1.0, "learning_rate": 1e-3},
    "began": {"spectral_norm": False, "balance_rate": 0.05},
    "hinge": {"learning_rate": 1e-3},
}
"""By objective: where the tuned settings differ from the defaults (docs/results/generation/objectives.md)."""


class Config(Settings):
    """Settings of the adversarial networks."""

    preset: Literal["tuned", "published", "dcgan"] = "tuned"
    """``tuned``: what makes heads of phantom slices in two minutes. ``published``: the numbers of each objective in the
    code of Lucic et al. 2018. ``dcgan``: those of Radford et al. 2016. A key that is named wins."""
    objective: ObjectiveName = "hinge"
    """What the networks minimise."""
    latent: PositiveInt = 64
    """Numbers of a code."""
    width: PositiveFloat = 0.25
    """Factor on the channels of both networks, 128 at the finest hidden grid; 1 is published."""
    norm: Norm = "none"
    """Normalisation of the discriminator, but for its first layer. ``batch`` is published, but for gradient penalties.
    The generator has batch normalisation. BEGAN's discriminator has none."""
    spectral_norm: bool = True
    """Divide the weights of the discriminator by their largest singular values."""
    critic_steps: int = Field(default=1, ge=1, le=100)
    """Steps of the discriminator, each on a fresh batch, before one of the generator."""
    r1_weight: NonNegativeFloat = 0.0
    """gamma of R1: half of it times the squared slope at real images; 10 is published. It goes with any objective."""
    penalty_weight: NonNegativeFloat = 10.0
    """lambda of WGAN-GP and DRAGAN; published."""
    clip: PositiveFloat = 0.01
    """c of WGAN: weights of the discriminator stay in [-c, c]; published."""
    diversity: float = Field(default=0.75, gt=0, le=1)
    """gamma of BEGAN: generated over real error; 0.75 in ``compare_gan``, 0.3 to 0.7 in the paper."""
    balance_rate: PositiveFloat = 1e-3
    """lambda_k of BEGAN; 0.001 is published, with which k needs tens of thousands of steps."""
    learning_rate: PositiveFloat = 5e-4
    """Adam, of the generator."""
    discriminator_learning_rate: PositiveFloat | None = None
    """Of the discriminator's Adam; null is that of the generator."""
    beta1: float = Field(default=0.0, ge=0, lt=1)
    """First moment of both Adams."""
    beta2: float = Field(default=0.99, ge=0, lt=1)
    """Second moment."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, values: Any) -> Any:
        """Fill in what goes with the preset and the objective."""
        if not isinstance(values, dict):
            return values
        preset, objective = str(values.get("preset", "tuned")), str(values.get("objective", "hinge"))
        known = {"tuned": TUNED, "published": PUBLISHED, "dcgan": {objective: DCGAN}}.get(preset, {})
        return {**known.get(objective, {}), **values}

    def recipe(self) -> Mapping[str, Any]:
        """The last weights are kept, since no loss of a game says which are best; in ``tuned`` they are averaged."""
        return {"schedule": {"keep": "last", **({"averaging": 0.99} if self.preset == "tuned" else {})}}


class Balance:
    """BEGAN's k: memory, and no weight."""

    def __init__(self) -> None:
        self.value = 0.0

    def state_dict(self) -> Mapping[str, Any]:
        """Its value."""
        return {"value": self.value}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Go back to a saved value."""
        self.value = float(state["value"])


class GAN(Method, Samples, HasFeatures):
    """A generator against a discriminator."""

    config_class = Config
    batch_class = Images
    learns = "discriminator/real"
    dimensions = (2, 3)
    config: Config

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        channels, size, width = shape.inputs, shape.size, max(4, round(128 * config.width))
        self.generator = DCGenerator(channels, size, config.latent, width=width)
        self.discriminator: nn.Module = (
            AutoencodingDiscriminator(channels, size, config.latent, width=width, spectral=config.spectral_norm)
            if config.objective == "began"
            else DCDiscriminator(channels, size, width=width, norm=config.norm, spectral=config.spectral_norm)
        )
        self.balance = Balance()

    @property
    def opponents(self) -> Mapping[str, float]:  # type: ignore[override]
        """The discriminator, where its loss has a value that means chance."""
        losses = _LOSSES.get(self.config.objective)
        return {} if losses is None or losses.chance is None else {"discriminator": losses.chance}

    @property
    def scaleless(self) -> tuple[str, ...]:  # type: ignore[override]
        """Whose loss is the mean of the logits, which a discriminator may scale and shift as it likes."""
        both = {"wgan": ("discriminator", "generator"), "wgan_gp": ("discriminator", "generator")}
        return both.get(self.config.objective, ("generator",) if self.config.objective == "hinge" else ())

    @property
    def draws(self) -> int:
        """One fresh batch for each step of the discriminator."""
        return self.config.critic_steps

    @property
    def window(self) -> Window:
        """The size of the patches: the generator makes no other."""
        return Window(multiple=2, minimum=2 * SMALLEST, exact=True)

    def memory(self) -> dict[str, Memory]:
        """BEGAN's k."""
        return {"balance": self.balance} if self.config.objective == "began" else {}

    def exported(self) -> tuple[str, ...]:
        """The generator."""
        return ("generator",)

    def optimizers(self) -> dict[str, Optimizer]:
        """Adam for each network."""
        config, betas = self.config, (self.config.beta1, self.config.beta2)
        rate = config.discriminator_learning_rate or config.learning_rate
        return {
            "discriminator": Adam(self.discriminator.parameters(), rate, betas),
            "generator": Adam(self.generator.parameters(), config.learning_rate, betas),
        }

    def updates(self, batch: Images, progress: float) -> Iterator[Update]:
        """Steps of the discriminator on fresh batches, then one of the generator against the new discriminator."""
        began = self.config.objective == "began"
        for part in split(batch, self.draws):
            with torch.no_grad():
                fake = self.decode(self._codes(part.image))
            terms = self._began_terms(part.image, fake) if began else self._terms(part.image, fake)
            if self.config.r1_weight:
                terms["r1"] = self.config.r1_weight * penalties.r1_penalty(self._judge, part.image)
            yield Update("discriminator", terms)
            if self.config.objective == "wgan":
                self._clip()
        judged = self._judge(self.decode(self._codes(part.image)))
        loss = judged.float().mean() if began else _LOSSES[self.config.objective].generator(judged)
        yield Update("generator", {"adversarial": loss})

    def _terms(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """The two terms of the discriminator, and the penalty of the objective."""
        config, losses = self.config, _LOSSES[self.config.objective]
        terms = {"real": losses.real(self._judge(real)), "fake": losses.fake(self._judge(fake))}
        if config.objective == "wgan_gp":
            terms["penalty"] = config.penalty_weight * penalties.gradient_penalty(self._judge, real, fake)
        if config.objective == "dragan":
            penalty = penalties.dragan_penalty(lambda image: self._judge(image).sigmoid(), real)
            terms["penalty"] = config.penalty_weight * penalty
        return terms

    def _began_terms(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """The two errors, weighed by k, which then moves."""
        errors = self._judge(real).float(), self._judge(fake).float()
        terms = adversarial.began_discriminator(*errors, self.balance.value)
        means = (each.mean().item() for each in errors)
        self.balance.value = adversarial.began_balance(
            self.balance.value, *means, diversity=self.config.diversity, rate=self.config.balance_rate
        )
        return terms

    def _judge(self, image: Tensor) -> Tensor:
        """Logits ``(B, 1)``; of BEGAN the mean absolute error of the reconstruction, ``(B, 1)``."""
        judged: Tensor = self.discriminator(image)
        return (judged - image).abs().flatten(1).mean(1, keepdim=True) if self.config.objective == "began" else judged

    @torch.no_grad()
    def _clip(self) -> None:
        for parameter in self.discriminator.parameters():
            parameter.clamp_(-self.config.clip, self.config.clip)

    def _codes(self, like: Tensor) -> Tensor:
        return torch.randn(len(like), *self.code_shape, device=like.device)

    def score(self, batch: Images) -> dict[str, float]:
        """Energy distance of samples and held-out patches, and what the discriminator says of both.

        The samples are always of the same codes. ``real`` far above the loss ``discriminator/real`` of training: the
        discriminator knows its patients by heart.
        """
        count = len(batch.image)
        fake = self.sample(count, torch.Generator(batch.image.device).manual_seed(0))
        scores = {"energy_distance": energy_distance(batch.image, fake).item()}
        judged = self._judge(batch.image).float(), self._judge(fake).float()
        if self.config.objective == "began":
            real, made = (each.mean().item() for each in judged)
            convergence = adversarial.began_convergence(real, made, diversity=self.config.diversity)
            return {**scores, "convergence": convergence, "real": real, "fake": made}
        losses = _LOSSES[self.config.objective]
        return {**scores, "real": losses.real(judged[0]).item(), "fake": losses.fake(judged[1]).item()}

    @property
    def code_shape(self) -> tuple[int, ...]:
        """A vector."""
        return (self.config.latent,)

    def decode(self, code: Tensor) -> Tensor:
        """The image of a code."""
        require_code(code, self.code_shape)
        image: Tensor = self.generator(code)
        return image

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        """The maps of the discriminator, one a halving."""
        maps: tuple[Tensor, ...] = self.discriminator.features(image)  # type: ignore[operator]
        return maps


METHOD = GAN
