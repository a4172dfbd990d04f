"""The variational autoencoder: bounds where the likelihood is known, likelihoods, posteriors, priors, errors."""

import math

import pytest
import torch
from torch import nn

from medgen.config import build
from medgen.errors import InputError, UsageError
from medgen.losses.variational import importance_bound
from medgen.methods.base import Shape
from medgen.methods.catalogue import create
from medgen.methods.vae import Config
from medgen.networks.autoencoder import Encoder
from medgen.networks.posteriors import Draw
from medgen.recipe.check import check_recipe
from medgen.recipe.settings import Schedule, load_recipe
from medgen.sampling.batches import Images
from medgen.training.engine import Engine
from medgen.training.loop import train

SMALL = {"width": 0.125, "levels": 2, "latent": 3, "flows": 2, "flow_width": 8}
SHAPE = Shape(1, 1, (8, 8))
VARIANTS = [
    {"likelihood": "laplace", "scale": "learnt"},
    {"likelihood": "bernoulli"},
    {"scale": 0.2, "free_bits": 0.25, "warmup": 0.5},
    {"posterior": "planar"},
    {"posterior": "iaf", "free_bits": 0.25},
    {"posterior": "iaf", "code": "spatial"},
    {"posterior": "planar", "code": "spatial", "likelihood": "laplace"},
    {"prior": "flow"},
    {"prior": "flow", "posterior": "iaf"},
    {"backbone": "monai"},
    {"backbone": "monai", "code": "spatial"},
    {"optimizer": "rmsprop", "scale": "learnt"},
]


def images(count: int = 4, sides: tuple[int, ...] = (8, 8)) -> torch.Tensor:
    return torch.randn(count, 1, *sides, generator=torch.Generator().manual_seed(1)).tanh()


def made(shape: Shape = SHAPE, **config):
    torch.manual_seed(0)
    return create("vae", {**SMALL, **config}, shape)


def fitted(method, steps: int):
    x = images(sides=method.shape.size)
    batches = [Images(x, torch.ones_like(x))] * steps
    return list(train(method, method.optimizers(), batches, Schedule(steps=steps, batch=4), Engine("cpu")))


class Fixed(nn.Module):
    """An encoder or a decoder that is a function."""

    def __init__(self, function) -> None:
        super().__init__()
        self.body = self.head = nn.Identity()
        self.function = function

    def forward(self, x):
        return self.function(x)


def linear_gaussian(*, exact: bool):
    """x = W z + noise of variance 0.25, with the exact posterior, or one whose mean is off; and log p(x)."""
    method = made(Shape(1, 1, (4, 4)), latent=2, scale=0.5, levels=1).double()
    weight = torch.randn(16, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    precision = torch.eye(2, dtype=torch.float64) + weight.T @ weight / 0.25
    scale = torch.linalg.cholesky(torch.linalg.inv(precision))

    def posterior(mean, log_variance, deepest, noise):  # correlated, as the exact one is
        centre = deepest.flatten(1) @ weight / 0.25 @ torch.linalg.inv(precision) + (0.0 if exact else 0.1)
        noise = noise.expand(len(centre), 2)
        density = -0.5 * (noise.square() + math.log(2 * math.pi)) - scale.diagonal().log()
        return Draw(centre + noise @ scale.T, density)

    method.encoder = Fixed(lambda x: x)
    method.encoder.head = Fixed(lambda x: torch.zeros(len(x), 4, dtype=torch.float64))
    method.decoder = Fixed(lambda z: (z @ weight.T).reshape(-1, 1, 4, 4))
    method.posterior = Fixed(None)
    method.posterior.forward = posterior
    covariance = weight @ weight.T + 0.25 * torch.eye(16, dtype=torch.float64)
    law = torch.distributions.MultivariateNormal(torch.zeros(16, dtype=torch.float64), covariance)
    x = images(3, (4, 4)).double().flatten(1)
    return method, x.reshape(3, 1, 4, 4), law.log_prob(x)


def test_with_the_exact_posterior_the_bound_is_the_likelihood():
    """Of a linear-Gaussian model, in closed form: every weight of every draw is log p(x)."""
    method, x, truth = linear_gaussian(exact=True)
    assert torch.allclose(method.log_weights(x, 5), truth.expand(5, 3), rtol=1e-6)
    assert torch.allclose(method.log_prob(x, draws=7), truth, rtol=1e-6)


def test_the_importance_weighted_bound_rises_to_the_likelihood():
    method, x, truth = linear_gaussian(exact=False)
    weights = method.log_weights(x, 4096)
    expected = [importance_bound(weights.reshape(k, -1, 3)).mean(dim=0) for k in (1, 4, 32)]
    for lower, higher in zip(expected, [*expected[1:], truth], strict=True):
        assert (lower < higher).all()
    assert torch.allclose(method.log_prob(x, draws=4096), truth, atol=0.05)
    # the gap of the lower bound is the divergence of the two normal distributions
    assert (truth - expected[0]).min() > 0.05


@pytest.mark.parametrize("config", [{}, {"posterior": "iaf"}, {"posterior": "planar"}, {"prior": "flow"}])
def test_one_draw_is_the_lower_bound_and_chunks_change_nothing(config, monkeypatch):
    method = made(**config).eval()
    with torch.no_grad():
        weights = method.log_weights(images(), 20)
        monkeypatch.setattr("medgen.methods.vae.AT_ONCE", 8)
        assert torch.allclose(method.log_weights(images(), 20), weights, rtol=1e-5)
        assert torch.allclose(method.log_prob(images(), 20), importance_bound(weights), rtol=1e-5)
        assert torch.equal(method.log_prob(images()), method.log_prob(images()))
        assert abs(method.log_prob(images()) - weights.mean(dim=0)).max() < 6 * weights.std(dim=0).max()
        more = create("vae", {**SMALL, **config, "importance_samples": 20}, SHAPE).eval()
        more.load_state_dict(method.state_dict())
        assert torch.equal(more.log_prob(images()), method.log_prob(images(), 20))


@pytest.mark.parametrize("config", VARIANTS, ids=str)
@pytest.mark.parametrize("sides", [(8, 8), (4, 8, 4)], ids=["2d", "3d"])
def test_every_variant_trains_and_can_be_used(config, sides):
    if config.get("optimizer") and len(sides) == 3:
        pytest.skip("of no rank")
    method = made(Shape(1, 1, sides), **config)
    owned = {id(p) for o in method.optimizers().values() for g in o.param_groups for p in g["params"]}
    assert owned == set(map(id, method.parameters()))
    before = {name: parameter.detach().clone() for name, parameter in method.named_parameters()}
    records = fitted(method, 2)
    still = [n for n, p in method.named_parameters() if torch.equal(before[n], p) and not n.endswith("bias")]
    assert not still
    assert all(math.isfinite(value) for value in records[-1].losses.values())
    method = method.eval()
    x = images(sides=sides)
    with torch.no_grad():
        code = method.encode(x)
        assert code.shape == (4, *method.code_shape)
        assert method.decode(code).shape == x.shape
        assert method.sample(2, torch.Generator().manual_seed(0)).shape == (2, 1, *sides)
        assert torch.allclose(method.log_prob(x)[1:], method.log_prob(x[1:]), rtol=1e-4)
        assert all(math.isfinite(value) for value in method.score(Images(x, x)).values())
        assert [len(each) for each in method.features(x)] == [4] * len(method.features(x))
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert torch.allclose(method.log_prob(x), method.log_prob(x).float())


@pytest.mark.parametrize("config", VARIANTS, ids=str)
def test_every_variant_passes_the_check_of_recipes(config):
    """Which builds the networks without memory for them."""
    content = {"method": "vae", "config": {**SMALL, **config}, "data": {"inputs": ["t1"], "mask": "mask"}}
    check_recipe(load_recipe({**content, "patches": {"size": [8, 8], "sampling": "centred"}}))


def losses(progress: float, **config) -> dict[str, float]:
    torch.manual_seed(0)
    method = made(**config)
    torch.manual_seed(1)
    (update,) = method.updates(Images(images(), images()), progress)
    return {name: value.item() for name, value in update.losses.items()}


def test_warm_up_by_hand():
    whole = losses(0.5, beta=2.0)["kl"]
    assert losses(0.0, beta=2.0, warmup=0.4)["kl"] == 0
    assert losses(0.1, beta=2.0, warmup=0.4)["kl"] == pytest.approx(whole / 4)
    assert losses(0.5, beta=2.0, warmup=0.4)["kl"] == pytest.approx(whole)
    assert losses(0.5)["kl"] == pytest.approx(whole / 2)


def test_free_bits_are_a_floor():
    """Three dimensions of 50 nats each cost 150 nats an image, or a 64th a voxel."""
    assert losses(0.5, free_bits=50)["kl"] == pytest.approx(3 * 50 / 64)
    assert losses(0.5, free_bits=1e-9)["kl"] == pytest.approx(losses(0.5)["kl"], rel=1e-5)


def test_scales():
    method = made(scale=0.2)
    assert method.log_variance.exp().sqrt().item() == pytest.approx(0.2)
    fitted(method, 2)
    assert method.log_variance.exp().sqrt().item() == pytest.approx(0.2)
    learnt = made(scale="learnt", learning_rate=1e-3)
    fitted(learnt, 3)
    assert learnt.log_variance.item() != 0
    assert [group["lr"] for group in learnt.optimizers()["vae"].param_groups] == pytest.approx([1e-3, 1e-2])
    assert not any(name == "log_variance" for name in made(likelihood="bernoulli").state_dict())


def test_bernoulli_needs_its_range_and_decodes_into_it():
    method = made(likelihood="bernoulli").eval()
    with torch.no_grad():
        assert method.decode(50 * torch.randn(4, 3)).abs().max() <= 1
    with pytest.raises(InputError, match=r"\[-1, 1\], and these reach from .* to 3"):
        method.log_prob(3 * torch.ones(1, 1, 8, 8))
    with pytest.raises(InputError, match="Bernoulli") as error:
        next(method.updates(Images(5 * images(), images()), 0.0))
    assert "percentiles" in str(error.value)


@pytest.mark.parametrize(
    ("wrong", "config"),
    [
        ((1, 1, 8, 12), {}),
        ((1, 2, 8, 8), {}),
        ((1, 1, 8, 8, 8), {}),
        ((1, 1, 8, 10), {"code": "spatial"}),
        ((1, 1, 8, 12), {"posterior": "planar"}),
    ],
)
def test_an_image_of_another_shape_is_refused(wrong, config):
    method = made(**config)
    for use in (method.log_prob, method.encode, lambda x: method.log_weights(x, 2)):
        with pytest.raises(InputError, match="the model was trained on 1 channel of 8 x 8 voxels") as error:
            use(torch.zeros(wrong))
        assert len(str(error.value).splitlines()) == 2
        assert f"{wrong[1]} channel" in str(error.value)
    if config.get("code") == "spatial":
        assert method.log_prob(torch.zeros(1, 1, 12, 16)).shape == (1,)


def test_a_spatial_code_may_have_another_grid():
    method = made(code="spatial").eval()
    with torch.no_grad():
        assert method.decode(torch.zeros(1, 3, 3, 4)).shape == (1, 1, 12, 16)
    for wrong in ((1, 4, 2, 2), (1, 3, 2), (1, 3)):
        with pytest.raises(InputError, match="those of this model have 3 x 2 x 2"):
            method.decode(torch.zeros(wrong))


@pytest.mark.parametrize("config", [{}, {"posterior": "iaf"}, {"posterior": "planar"}, {"prior": "flow"}])
def test_weights_are_chosen_by_the_lower_bound_whatever_the_draws_of_the_density(config):
    one, many = (made(**config, importance_samples=draws).eval() for draws in (1, 20))
    with torch.no_grad():
        scores = [method.score(Images(images(), images())) for method in (one, many)]
        assert scores[0] == scores[1]
        assert scores[0]["negative_elbo"] == pytest.approx(-one.log_prob(images(), draws=1).mean().item() / 64)


@pytest.mark.parametrize("config", [{}, {"prior": "flow"}])
def test_a_bound_of_no_draws_is_refused(config):
    method = made(**config)
    for use in (method.log_prob, method.log_weights):
        for draws in (0, -1):
            with pytest.raises(UsageError, match="at least 1 draw"):
                use(images(), draws)


def test_codes_of_a_learnt_prior_are_on_its_normal_side():
    """Encoding and decoding undo each other, whatever the prior has learnt."""
    method = made(prior="flow")
    fitted(method, 20)
    method = method.eval()
    with torch.no_grad():
        code = method.encode(images())
        mean = method.encoder(images())[0]
        assert not torch.allclose(code, mean, atol=1e-3)
        assert torch.allclose(method.decode(code), method.decoder(mean), atol=1e-4)


def test_a_learnt_prior_learns_where_the_codes_are():
    """Codes of 4 far from 0, on a circle: the prior gives them a higher density than the normal distribution does."""
    method = made(prior="flow", latent=2)
    codes = 4 * torch.nn.functional.normalize(torch.randn(256, 2, generator=torch.Generator().manual_seed(0)), dim=1)
    optimizer = torch.optim.Adam(method.prior.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        loss = -method.prior.log_prob(codes).mean()
        loss.backward()
        optimizer.step()
    assert loss.item() < math.log(2 * math.pi) + 8 - 4  # nats; the normal distribution needs log(2 pi) + 8


def test_the_backbone_of_monai_has_no_chance():
    """AutoencoderKL draws noise in its forward; its encoder and decoder do not."""
    method = made(backbone="monai").eval()
    with torch.no_grad():
        assert torch.equal(method.decode(method.encode(images())), method.decode(method.encode(images())))
    assert "nonlocal" not in str(method.encoder)
    assert not isinstance(method.encoder, Encoder)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"likelihood": "bernoulli", "scale": 0.1}, "has no 'scale'"),
        ({"prior": "flow", "code": "spatial"}, "dense codes"),
        ({"free_bits": 0.1, "posterior": "planar"}, "free_bits"),
        ({"free_bits": 0.1, "prior": "flow"}, "free_bits"),
        ({"warmup": 2}, "warmup"),
        ({"importance_samples": 0}, "importance_samples"),
        ({"scale": -1}, "scale"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(config, message):
    with pytest.raises(UsageError, match=message):
        build(Config, config)


def test_published_presets():
    vae, planar, iaf = (build(Config, {"preset": name}) for name in ("vae2014", "planar2015", "iaf2016"))
    assert (vae.posterior, vae.beta, vae.optimizer) == ("diagonal", 1, "adagrad")
    assert (planar.posterior, planar.latent, planar.warmup, planar.learning_rate) == ("planar", 40, 0.02, 1e-5)
    assert (iaf.posterior, iaf.code, iaf.free_bits, iaf.optimizer) == ("iaf", "spatial", 0.25, "adamax")
    assert (iaf.latent, iaf.flow_width, iaf.learning_rate) == (32, 160, 0.01)
    assert iaf.recipe()["schedule"] == {"batch": 128, "averaging": 0.999}
    assert build(Config, {"preset": "iaf2016", "latent": 4}).latent == 4
    for config in (vae, planar, iaf):
        assert build(Config, config.model_dump(mode="json")) == config
