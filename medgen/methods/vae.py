"""Variational autoencoder of slices or volumes (Kingma & Welling 2014, https://arxiv.org/abs/1312.6114).

An encoder q(z|x) gives mean and variance of a code, a decoder p(x|z) the distribution of the image. Both are trained on
the evidence lower bound ``E_q log p(x|z) - beta KL(q(z|x) || p(z))`` (eq. 3), of one draw of z. What can be chosen:

* ``likelihood``, p(x|z): normal, Laplace, or Bernoulli. Its ``scale`` is one number for all voxels: analytic, the one
  that maximises the bound of the batch, after training its running mean (Rybkin et al. 2021, arXiv 2006.13202); learnt;
  or fixed.
* ``posterior``, q(z|x): a normal distribution without correlations, moved by planar steps (Rezende & Mohamed 2015,
  arXiv 1505.05770) or inverse autoregressive ones (Kingma et al. 2016, arXiv 1606.04934).
* ``prior``, p(z): standard normal, or a flow that is trained along (Chen et al. 2017, arXiv 1611.02731). Codes that are
  drawn or read are standard normal in both cases: the flow belongs to ``encode`` and ``decode``.

Held-out images are judged by the same bound, or by the importance-weighted one of k draws (Burda et al. 2016).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn
from torch.optim import Adagrad, Adam, Adamax, Optimizer, RMSprop

from medgen.errors import UsageError
from medgen.losses import variational as terms
from medgen.methods._codes import (
    AutoencoderConfig,
    code_shape_of,
    completed,
    maps_and_mean,
    require_code_of,
    window_of,
)
from medgen.methods._images import as_grey, require_image
from medgen.methods.base import Encodes, HasDensity, HasFeatures, Method, Samples, Shape, Update, Window
from medgen.networks.autoencoder import Decoder, Encoder
from medgen.networks.monai_autoencoder import MonaiDecoder, MonaiEncoder
from medgen.networks.posteriors import Diagonal, Draw, InverseAutoregressive, Planar
from medgen.networks.vector_flow import VectorFlow
from medgen.sampling.batches import Images

FORGETTING = 0.05
"""Share of a step in the running variance."""
FASTER = 10
"""Factor on the rate of a learnt scale: one number, of a logarithm that has far to go."""
AT_ONCE = 64
"""Images decoded together where a bound needs many draws."""
OPTIMIZERS: dict[str, Any] = {
    "adam": (Adam, {}), "adamax": (Adamax, {}), "adagrad": (Adagrad, {}), "rmsprop": (RMSprop, {"momentum": 0.9}),
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    "vae2014": {
        "beta": 1.0, "latent": 20, "scale": "learnt", "optimizer": "adagrad", "learning_rate": 0.01,
    },
    "planar2015": {
        "beta": 1.0, "latent": 40, "scale": "learnt", "posterior": "planar", "flows": 10, "flow_width": 400,
        "warmup": 0.02, "optimizer": "rmsprop", "learning_rate": 1e-5,
    },
    "iaf2016": {
        "beta": 1.0, "code": "spatial", "latent": 32, "scale": "learnt", "posterior": "iaf", "flows": 1,
        "flow_width": 160, "free_bits": 0.25, "optimizer": "adamax", "learning_rate": 0.01,
    },
    "spatial": {"code": "spatial", "backbone": "monai", "latent": 4, "beta": 1.0},
}  # fmt: skip
"""What differs from the defaults."""
_BATCH = {"batch": 100}
SCHEDULES = {"vae2014": _BATCH, "planar2015": _BATCH, "iaf2016": {"batch": 128, "averaging": 0.999}}


class Config(AutoencoderConfig):
    """Settings of the variational autoencoder."""

    preset: Literal["tuned", "vae2014", "planar2015", "iaf2016", "spatial"] = "tuned"
    """``tuned``: what makes heads of phantom slices in two minutes. ``vae2014``, ``planar2015``, ``iaf2016``: the
    numbers of Kingma & Welling, Rezende & Mohamed (both from memory of the papers) and Kingma et al. (code for
    CIFAR-10, one level), but not their networks. ``spatial``: MONAI's networks and a map as a code,
    for sharp reconstructions. A key that is named wins."""
    backbone: Literal["own", "monai"] = "own"
    """``own``: plain convolutions. ``monai``: the residual encoder and decoder of its AutoencoderKL."""
    likelihood: Literal["gaussian", "laplace", "bernoulli"] = "gaussian"
    """Of a voxel. ``bernoulli`` needs images in [-1, 1], which it takes for [0, 1]: the recipe has to map the inputs by
    ``{window: [lo, hi]}`` or ``{percentiles: [lo, hi]}``. Of grey values it is no density."""
    scale: Literal["analytic", "learnt"] | PositiveFloat = "analytic"
    """Standard deviation of a voxel in normalised units, or where it comes from. Bernoulli has none."""
    posterior: Literal["diagonal", "planar", "iaf"] = "diagonal"
    """Shape of q(z|x)."""
    flows: PositiveInt = 4
    """Steps of a planar or inverse autoregressive posterior."""
    flow_width: PositiveInt = 64
    """Numbers, or channels, of their context and hidden layers."""
    prior: Literal["normal", "flow"] = "normal"
    """``flow``: a density of dense codes that is learnt along, by zuko (``pip install 'medgen[flows]'``)."""
    beta: NonNegativeFloat = 1.0
    """Weight of the KL term; 1 is the bound. Of few patients the codes then fill only parts of the prior, and samples
    are pieces of heads; 40 made whole and smooth ones of phantoms (``docs/how-to/train-a-vae.md``)."""
    warmup: float = Field(default=0.0, ge=0, le=1)
    """Share of the training in which beta rises from 0 in a line."""
    free_bits: NonNegativeFloat = 0.0
    """Nats that a dimension, or a channel of a spatial code, costs at least; 0.25 is published for IAF."""
    importance_samples: PositiveInt = 1
    """Draws of the density of an image (``log_prob``): 1 is the evidence lower bound, by which validation chooses the
    weights whatever is named here; more make it tighter."""
    optimizer: Literal["adam", "adamax", "adagrad", "rmsprop"] = "adam"
    """The published presets have the others."""
    learning_rate: PositiveFloat = 1e-3
    """Of the optimiser."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, values: Any) -> Any:
        """Fill in what goes with the preset."""
        return completed(values, PRESETS)

    @model_validator(mode="after")
    def _agree(self) -> Config:
        """Keys that contradict each other."""
        if self.likelihood == "bernoulli" and self.scale != "analytic":
            raise ValueError("the Bernoulli likelihood has no 'scale'")
        if self.prior == "flow" and self.code == "spatial":
            raise ValueError("'prior: flow' is of dense codes, and 'code' is spatial")
        if self.free_bits and (self.posterior == "planar" or self.prior == "flow"):
            raise ValueError("'free_bits' counts each dimension, and 'posterior: planar' or 'prior: flow' mixes them")
        return self

    def recipe(self) -> Mapping[str, Any]:
        """The batch and the moving average that go with a published preset."""
        return {"schedule": SCHEDULES[self.preset]} if self.preset in SCHEDULES else {}


class VAE(Method, Samples, Encodes, HasDensity, HasFeatures):
    """Encoder, posterior, decoder, and where the settings ask for them a prior and the variance of a voxel."""

    config_class = Config
    batch_class = Images
    learns = "vae/reconstruction"
    dimensions = (2, 3)
    bound = True
    config: Config
    log_variance: Tensor

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        dense, own = config.code == "dense", config.backbone == "own"
        network: dict[str, Any] = {"width": max(4, round(32 * config.width)), "levels": config.levels, "dense": dense}
        sides = shape.inputs, shape.size, config.latent
        self.encoder: Encoder | MonaiEncoder = (Encoder if own else MonaiEncoder)(*sides, **network)
        self.decoder: Decoder | MonaiDecoder = (Decoder if own else MonaiDecoder)(*sides, **network)
        self.posterior: nn.Module = Diagonal()
        if config.posterior != "diagonal":
            kind = Planar if config.posterior == "planar" else InverseAutoregressive
            self.posterior = kind(
                self.encoder.deepest, self.encoder.grid, config.latent,
                dense=dense, steps=config.flows, width=config.flow_width,
            )  # fmt: skip
        self.prior = VectorFlow(config.latent) if config.prior == "flow" else None
        if config.scale == "learnt":
            self.log_variance = nn.Parameter(torch.zeros(()))
        elif config.likelihood != "bernoulli":
            fixed = torch.tensor(1.0 if config.scale == "analytic" else config.scale)
            self.register_buffer("log_variance", 2 * fixed.log())

    @property
    def window(self) -> Window:
        """Sides divisible by all halvings; a dense code takes no other size than that of the patches."""
        return window_of(self.config)

    def optimizers(self) -> dict[str, Optimizer]:
        """One for everything."""
        (kind, options), rate = OPTIMIZERS[self.config.optimizer], self.config.learning_rate
        rest = [parameter for parameter in self.parameters() if parameter is not getattr(self, "log_variance", None)]
        groups: list[dict[str, Any]] = [{"params": rest}]
        if self.config.scale == "learnt":
            groups.append({"params": [self.log_variance], "lr": FASTER * rate})
        return {"vae": kind(groups, lr=rate, **options)}

    def updates(self, batch: Images, progress: float) -> Iterator[Update]:
        """One step up the bound, in nats a voxel."""
        config = self.config
        mean, log_variance, draw = self._draw(batch.image)
        made = self.decoder(draw.code)
        log_likelihood = self._log_likelihood(batch.image, made, self._variance(batch.image, made))
        divergence = terms.free_bits(self._divergence(mean, log_variance, draw), config.free_bits)
        weight = config.beta * (min(1.0, progress / config.warmup) if config.warmup else 1.0)
        voxels = batch.image[0].numel()
        yield Update("vae", {"reconstruction": -log_likelihood.mean() / voxels, "kl": weight * divergence / voxels})

    def score(self, batch: Images) -> dict[str, float]:
        """The negative lower bound (nats a voxel), the L1 error of the reconstruction, the KL term (nats an image)."""
        error = (self.decode(self.encode(batch.image)) - batch.image).abs().mean()
        divergence = self._divergence(*self._draw(batch.image, self._noise(batch.image, 1)))
        bound = self.log_prob(batch.image, draws=1).mean() / batch.image[0].numel()
        kl = terms.summed(divergence).mean()
        return {"negative_elbo": -bound.item(), "l1": error.item(), "kl": kl.item()}

    @property
    def code_shape(self) -> tuple[int, ...]:
        """A vector, or a grid of them."""
        return code_shape_of(self.config, self.shape.size)

    def encode(self, image: Tensor) -> Tensor:
        """The mean of a diagonal q(z|x), or where the steps of the posterior move it; standard normal for any prior."""
        require_image(image, self.shape, self.window)
        code: Tensor = self._draw(image, image.new_zeros(()))[2].code
        return code if self.prior is None else self.prior.normalised(code)

    def decode(self, code: Tensor) -> Tensor:
        """The mean of p(x|z), which of a Laplace distribution is the median too."""
        require_code_of(self.config, self.shape.size, code)
        made: Tensor = self.decoder(code if self.prior is None else self.prior.inverse(code))
        return 2 * made.sigmoid() - 1 if self.config.likelihood == "bernoulli" else made

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        """The maps of the encoder, the finest first, and the mean that it gives as the last."""
        return maps_and_mean(self.encoder, image)

    def log_prob(self, image: Tensor, draws: int | None = None) -> Tensor:
        """A lower bound in nats, estimated from the same noise for every image and call.

        Of one draw it is the evidence lower bound, with the exact KL term where there is one. Of more it is the
        importance-weighted bound, which rises to the likelihood with their number.

        Args:
            image: (B, C, *size).
            draws: k; None: ``importance_samples``.

        Raises:
            InputError: the image has another shape, or the Bernoulli likelihood another range.
            UsageError: fewer draws than one.
        """
        draws = self.config.importance_samples if draws is None else draws
        if draws != 1 or self.config.posterior != "diagonal" or self.prior is not None:
            return terms.importance_bound(self.log_weights(image, draws))
        require_image(image, self.shape, self.window)
        with torch.autocast(image.device.type, enabled=False):  # half precision would not do for a sum over all voxels
            mean, log_variance, draw = self._draw(image, self._noise(image, 1))
            likelihood = self._log_likelihood(image, self.decoder(draw.code))
            return likelihood - terms.gaussian_kl(mean, log_variance)

    def log_weights(self, image: Tensor, draws: int, seed: int = 0) -> Tensor:
        """``log p(x|z) + log p(z) - log q(z|x)`` of ``draws`` codes z of q(z|x): ``(draws, B)`` nats.

        Their mean is the evidence lower bound, :func:`~medgen.losses.variational.importance_bound` of them the
        importance-weighted one. Memory does not grow with their number.

        Args:
            image: (B, C, *size).
            draws: codes an image.
            seed: of the noise, which is the same for every image.

        Raises:
            InputError: as for :meth:`log_prob`.
            UsageError: as for :meth:`log_prob`.
        """
        if draws < 1:
            raise UsageError(f"a bound needs at least 1 draw, not {draws}", fix="give draws=1 or more")
        require_image(image, self.shape, self.window)
        rows = []
        with torch.autocast(image.device.type, enabled=False):
            for noise in self._noise(image, draws, seed).split(max(1, AT_ONCE // len(image))):  # type: ignore[no-untyped-call]
                images = image.repeat(len(noise), *[1] * (image.dim() - 1))
                _, _, draw = self._draw(images, noise.repeat_interleave(len(image), dim=0))
                prior = terms.standard_normal_log_prob if self.prior is None else self.prior.log_prob
                likelihood = self._log_likelihood(images, self.decoder(draw.code))
                rows.append(likelihood + prior(draw.code) - terms.summed(draw.log_density))
        return torch.cat(rows).reshape(draws, len(image))

    def _draw(self, image: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Draw]:
        """Mean and log-variance of the encoder, and the draw that ``noise`` makes; None: noise of the global state."""
        deepest = self.encoder.body(image)
        mean, log_variance = map(terms.widened, self.encoder.head(deepest).chunk(2, dim=1))
        noise = torch.randn_like(mean) if noise is None else noise.to(mean)
        return mean, log_variance, self.posterior(mean, log_variance, deepest, noise)

    def _noise(self, image: Tensor, draws: int, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(draws, *code_shape_of(self.config, image.shape[2:]), generator=generator).to(image)

    def _divergence(self, mean: Tensor, log_variance: Tensor, draw: Draw) -> Tensor:
        """``KL(q(z|x) || p(z))`` of each number of the code, or ``(B, 1)`` where they cannot be told apart."""
        if self.prior is not None:
            return (terms.summed(draw.log_density) - self.prior.log_prob(draw.code))[:, None]
        match self.config.posterior:
            case "diagonal":
                return terms.gaussian_kl_each(mean, log_variance)
            case "iaf":
                return draw.log_density - terms.standard_normal_log_prob_each(draw.code)
        return (terms.summed(draw.log_density) - terms.standard_normal_log_prob(draw.code))[:, None]

    def _variance(self, image: Tensor, made: Tensor) -> Tensor | None:
        """Log-variance of a voxel in this batch, where it is analytic, and it is remembered; else None."""
        if self.config.scale != "analytic" or self.config.likelihood == "bernoulli":
            return None
        best = terms.best_log_variance(self.config.likelihood, image, made)
        self.log_variance.lerp_(best.detach(), FORGETTING)
        return best

    def _log_likelihood(self, image: Tensor, made: Tensor, log_variance: Tensor | None = None) -> Tensor:
        """``log p(x|z)`` ``(B,)`` of what the decoder made; None: with the variance that is remembered."""
        if self.config.likelihood == "bernoulli":
            return terms.bernoulli_log_likelihood(as_grey(image), made)
        kind = terms.gaussian_log_likelihood if self.config.likelihood == "gaussian" else terms.laplace_log_likelihood
        return kind(image, made, self.log_variance if log_variance is None else log_variance)


METHOD = VAE
