"""Variational autoencoder (Kingma & Welling 2014, https://arxiv.org/abs/1312.6114), of slices or volumes.

An encoder q(z|x) gives mean and variance of a code, a decoder p(x|z) the mean of the image. Both are trained on the
evidence lower bound ``E_q log p(x|z) - KL(q(z|x) || N(0, 1))`` (eq. 3). The variance of p(x|z) is one number for all
voxels: the mean squared error of the batch, which maximises the bound, so that the balance of the two terms is no
setting (Rybkin et al. 2021, https://arxiv.org/abs/2006.13202); after training its running mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor
from torch.optim import Adam, Optimizer

from medgen.config import Config as Settings
from medgen.losses.variational import gaussian_kl, gaussian_log_likelihood
from medgen.methods.base import Encodes, HasDensity, HasFeatures, Method, Samples, Shape, Update, Window
from medgen.networks.autoencoder import Decoder, Encoder, coarsest, reparametrised
from medgen.sampling.batches import Images

LEAST_VARIANCE = 1e-6
"""Of a voxel, in squared normalised units: an image without noise has no bound else."""
FORGETTING = 0.05
"""Share of a step in the running variance."""


class Config(Settings):
    """Settings of the variational autoencoder."""

    code: Literal["dense", "spatial"] = "dense"
    """``dense``: one vector an image. ``spatial``: a map of the coarsest grid, for sharper images and worse samples."""
    latent: PositiveInt = 64
    """Numbers of a dense code, or channels of a spatial one."""
    width: PositiveFloat = 1.0
    """Factor on the channels: 32 at full resolution, doubled with each level up to 256."""
    levels: int = Field(default=3, ge=1, le=6)
    """Halvings of the grid."""
    beta: NonNegativeFloat = 1.0
    """Weight of the KL term; 1 is the bound. Of few training images the codes then fill only parts of the prior, and
    samples look like nothing: on ten phantom heads 40 made heads (``pipelines/generation``)."""
    learning_rate: PositiveFloat = 1e-3
    """Adam."""


class VAE(Method, Samples, Encodes, HasDensity, HasFeatures):
    """Encoder, decoder, and the running variance of a voxel."""

    config_class = Config
    batch_class = Images
    learns = "vae/reconstruction"
    dimensions = (2, 3)
    bound = True
    config: Config
    log_variance: Tensor

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        dense, width = config.code == "dense", max(4, round(32 * config.width))
        self.encoder = Encoder(shape.inputs, shape.size, config.latent, dense=dense, width=width, levels=config.levels)
        self.decoder = Decoder(shape.inputs, shape.size, config.latent, dense=dense, width=width, levels=config.levels)
        self.register_buffer("log_variance", torch.zeros(()))

    @property
    def window(self) -> Window:
        """Sides divisible by all halvings; a dense code takes no other size than that of the patches."""
        side = 2**self.config.levels
        return Window(multiple=side, minimum=side, exact=self.config.code == "dense")

    def optimizers(self) -> dict[str, Optimizer]:
        """One for everything."""
        return {"vae": Adam(self.parameters(), self.config.learning_rate)}

    def updates(self, batch: Images, progress: float) -> Iterator[Update]:
        """One step up the bound, in nats a voxel."""
        mean, log_variance = self.encoder(batch.image)
        estimate = self.decoder(reparametrised(mean, log_variance))
        best = (batch.image - estimate).float().square().mean().clamp(min=LEAST_VARIANCE).log()
        self.log_variance.lerp_(best.detach(), FORGETTING)
        likelihood = gaussian_log_likelihood(batch.image, estimate, best)
        voxels, divergence = batch.image[0].numel(), self.config.beta * gaussian_kl(mean, log_variance)
        yield Update("vae", {"reconstruction": -likelihood.mean() / voxels, "kl": divergence.mean() / voxels})

    def score(self, batch: Images) -> dict[str, float]:
        """The negative bound in nats a voxel, and the mean absolute error of the reconstruction."""
        error = (self.decode(self.encode(batch.image)) - batch.image).abs().mean()
        return {"negative_elbo": -self.log_prob(batch.image).mean().item() / batch.image[0].numel(), "l1": error.item()}

    @property
    def code_shape(self) -> tuple[int, ...]:
        """A vector, or a grid of them."""
        grid = () if self.config.code == "dense" else coarsest(self.shape.size, self.config.levels)
        return self.config.latent, *grid

    def encode(self, image: Tensor) -> Tensor:
        """The mean of q(z|x)."""
        mean: Tensor = self.encoder(image)[0]
        return mean

    def decode(self, code: Tensor) -> Tensor:
        """The mean of p(x|z)."""
        image: Tensor = self.decoder(code)
        return image

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        """The maps of the encoder, the finest first, and the mean of q(z|x) as the last."""
        maps = self.encoder.maps(image)
        mean: Tensor = self.encoder.head(maps[-1]).chunk(2, dim=1)[0]
        return (*maps, mean)

    def log_prob(self, image: Tensor) -> Tensor:
        """The evidence lower bound in nats, estimated from one draw of noise: the same for every image and call."""
        with torch.autocast(image.device.type, enabled=False):  # half precision would not do for a sum over all voxels
            mean, log_variance = self.encoder(image)
            noise = torch.randn(mean.shape[1:], generator=torch.Generator().manual_seed(0)).to(mean)
            estimate = self.decoder(mean + noise * torch.exp(0.5 * log_variance))
            bound = gaussian_log_likelihood(image, estimate, self.log_variance) - gaussian_kl(mean, log_variance)
        return bound


METHOD = VAE
