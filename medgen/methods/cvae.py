"""Conditional variational autoencoder of registered pairs, e.g. MR to CT with many plausible CTs (Sohn et al. 2015).

Three networks (Sohn, Lee & Yan, "Learning structured output representation using deep conditional generative models",
NeurIPS 28): recognition q(z|x,y), conditional prior p(z|x) and generation p(y|x,z), trained on the conditional bound
``log p(y|x) >= E_q log p(y|x,z) - KL(q(z|x,y) || p(z|x))`` (eq. 4), and by its weight on the loss of the prior-sampled
network (GSNN, section 4.2): ``alpha L_CVAE + (1 - alpha) L_GSNN``. The prediction averages over codes of the prior, or
takes its mean.

p(y|x,z) has its own scale at each voxel, which the generation network estimates with the median (Kendall & Gal 2017,
arXiv 1703.04977, eq. 5): what a code does not explain, such as noise, is uncertain too. A draw has both, so that many
draws are draws of p(y|x).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.optim import Adam, Optimizer

from medgen.losses.variational import log_density_each
from medgen.methods._cvae import (
    PERIOD,
    ConditionalConfig,
    bound,
    drawn,
    fixed_codes,
    hybrid,
    kl_weight,
    new_conditional,
    repeated,
    without_code,
)
from medgen.methods._cvae import window as shared_window
from medgen.methods._paired import Region, covered
from medgen.methods.base import Method, Predicts, Shape, Update, Window
from medgen.networks.half_resolution import Pyramid
from medgen.sampling.batches import Paired

FIRST_LOG_SCALE = -2.0
"""Logarithm of the scale of p(y|x,z) that training begins with, in normalised units."""
LEAST_SCALE = 0.005
"""Added to every scale, in normalised units; 8 HU of the window [-1024, 2000]. An image without noise has no bound
else."""


class Config(ConditionalConfig):
    """Settings of the conditional variational autoencoder of pairs."""

    likelihood: Literal["laplace", "gaussian"] = "laplace"
    """p(y|x,z): with ``laplace`` the mean absolute error counts, with ``gaussian`` the mean squared error."""
    scale_power: float = Field(default=1.0, ge=0, le=1)
    """beta of Seitzer et al. 2022 (arXiv 2203.09168): each voxel counts by this power of what divides its error
    (``b`` of a Laplace distribution, the variance of a normal one), and on average 1. At 0 the objective is the bound,
    and voxels with large errors are given up for those that are certain; at 1 all errors count alike for the centre."""
    observation_noise: bool = True
    """Whether a draw has the noise of p(y|x,z). Without it draws are smooth and show the code alone, and their
    intervals are too narrow."""
    region: Region = "body"
    """Voxels that are learnt, as of ``supervised``."""
    context: Literal["neighbourhood", "voxelwise", "none"] = "neighbourhood"
    """Estimate of boosted trees that the networks see beside the image and correct, as of ``supervised``."""
    tissue_weights: tuple[NonNegativeFloat, PositiveFloat, NonNegativeFloat] = (0.75, 2.0, 1.0)
    """Factors on air, soft tissue and bone for those trees; the likelihood knows none."""

    def for_ct(self) -> tuple[str, ...]:
        """The air that ``body`` adds, and the tissues, are told by their HU."""
        weights = ("tissue_weights: [1, 1, 1]",) if len(set(self.tissue_weights)) > 1 else ()
        return (*weights, "region: mask") if self.region == "body" else weights

    def recipe(self) -> Mapping[str, Any]:
        """Schedule and patches of ``supervised``; flips would average over two draws."""
        return {
            "patches": {"augmentation": {"flip": ["x"]}, "overhang": False},
            "schedule": {
                "batch": 2,
                "precision": "auto",
                "learning_rate": {"kind": "cosine", "warmup": 0.03},
                "averaging": 0.99,
                "clip": 10.0,
            },
        }


class Observation(NamedTuple):
    """p(y|x,z) of each voxel, ``(B, K, *size)``: median or mean, and the logarithm of the scale."""

    centre: Tensor
    log_scale: Tensor


class CVAE(Method, Predicts):
    """Recognition, prior and generation for registered pairs."""

    config_class = Config
    batch_class = Paired
    learns = "cvae/reconstruction"
    dimensions = (2, 3)
    config: Config

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        outputs = shape.outputs
        self.network = new_conditional(config, shape.inputs, 2 * outputs, outputs, shape.dimensions)

    @property
    def window(self) -> Window:
        """Tiles that begin where the noise does."""
        return shared_window()

    @property
    def stochastic(self) -> bool:
        """A generator draws a code, and the noise of each voxel."""
        return True

    def optimizers(self) -> dict[str, Optimizer]:
        """One for everything."""
        return {"cvae": Adam(self.parameters(), self.config.learning_rate)}

    def updates(self, batch: Paired, progress: float) -> Iterator[Update]:
        """One step down the hybrid objective, in nats a voxel."""
        loss, voxels = self._loss(batch, self.config.scale_power)
        if progress < self.config.codes_from:
            yield Update("cvae", without_code(self.network, batch.source, loss))
            return
        x, y, weight = batch.source, batch.target, kl_weight(self.config, progress)
        yield Update("cvae", hybrid(self.network, x, y, loss, voxels, alpha=self.config.alpha, kl_weight=weight))

    def score(self, batch: Paired) -> dict[str, float]:
        """The negative bound and its KL term in nats a voxel, and the mean absolute error of the prediction."""
        loss, voxels = self._loss(batch, 0)
        counted = voxels / batch.target.numel()
        weight = self._weight(batch)
        error = ((self.predict(batch.source) - batch.target).abs() * weight).mean() / counted
        return {**bound(self.network, batch.source, batch.target, loss, voxels), "l1": error.item()}

    def predict(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A plausible result, or without a generator the mean over codes of the prior; in the range of the targets."""
        maps, prior = self.network.prior(image)
        size = image.shape[2:]
        if generator is None:
            codes = fixed_codes(self.config, prior, size)
            return torch.stack([self._observation(maps, code, image).centre for code in codes]).mean(dim=0)
        code = drawn(self.config, prior, size, generator)
        centre, log_scale = self._observation(maps, code, image)
        if not self.config.observation_noise:
            return centre
        block = (1, self.shape.outputs, *[PERIOD] * len(size))
        noise = repeated(standard_noise(self.config.likelihood, block, generator), size)
        return centre + noise * log_scale.exp()

    def _observation(self, maps: Pyramid, code: Tensor, image: Tensor) -> Observation:
        return self._observed(self.network.generated(maps, code, image), image)

    def _observed(self, raw: Tensor, image: Tensor) -> Observation:
        """The raw output as median and scale; in 32 bits, since half precision would round the context to 8 HU."""
        with torch.autocast(image.device.type, enabled=False):
            centre, log_scale = raw.float().chunk(2, dim=1)
            if self.shape.context:
                centre = centre + image[:, -self.shape.context :].float()
            least = log_scale.new_tensor(math.log(LEAST_SCALE))
            return Observation(centre, torch.logaddexp(log_scale + FIRST_LOG_SCALE, least))

    def _weight(self, batch: Paired) -> Tensor:
        """1 where voxels are learnt, else 0; of the shape of the target."""
        mask = covered(batch, batch.target, self.config)
        return torch.ones_like(batch.target) if mask is None else mask.expand_as(batch.target)

    def _loss(self, batch: Paired, power: float) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        """``-log p(y|x,z)`` in nats a voxel of a raw output, and the voxels that count."""
        weight = self._weight(batch)
        voxels = weight.sum().clamp(min=1)
        power *= 2 if self.config.likelihood == "gaussian" else 1  # of the variance there

        def loss(raw: Tensor) -> Tensor:
            centre, log_scale = self._observed(raw, batch.source)
            each = -log_density_each(self.config.likelihood, batch.target, centre, log_scale)
            importance = weight * torch.exp(power * log_scale.detach())
            return (each * importance).sum() / importance.sum().clamp(min=1e-6)

        return loss, voxels


def standard_noise(kind: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Noise of scale 1, by the inverse of the distribution function where it is no normal noise."""
    if kind == "gaussian":
        return torch.randn(shape, generator=generator, device=generator.device)
    uniform = torch.rand(shape, generator=generator, device=generator.device) - 0.5
    return -uniform.sign() * torch.log1p(-2 * uniform.abs().clamp(max=0.499999))


METHOD = CVAE
