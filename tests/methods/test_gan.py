"""The GAN method: what each objective asks for, presets, fresh batches, clipping, BEGAN's balance, export, scores."""

from typing import get_args

import pytest
import torch
from test_methods import batch_for, run

from medgen.config import build
from medgen.errors import UsageError
from medgen.methods.base import Shape
from medgen.methods.catalogue import create
from medgen.methods.gan import Config, ObjectiveName
from medgen.recipe.check import check_recipe
from medgen.recipe.settings import Schedule, load_recipe
from medgen.sampling.batches import Images
from medgen.training.model_folder import exported_state

OBJECTIVES = get_args(ObjectiveName)
SHAPES = [Shape(1, 1, (16, 16)), Shape(2, 2, (8, 8, 8))]


def gan(objective, shape=SHAPES[0], **settings):
    torch.manual_seed(0)
    return create("gan", {"objective": objective, "width": 0.03125, "latent": 4, **settings}, shape)


@pytest.mark.parametrize("shape", SHAPES, ids=["2d", "3d"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_trains_both_networks(objective, shape):
    method = gan(objective, shape)
    before = {name: each.detach().clone() for name, each in method.named_parameters()}
    records = run(method, Schedule(steps=2, batch=2))
    assert not any(record.skipped for record in records)
    still = [name for name, each in method.named_parameters() if torch.equal(each, before[name])]
    assert all(name.endswith("bias") for name in still), still
    terms = {"discriminator/real", "discriminator/fake", "generator/adversarial"}
    terms |= {"discriminator/penalty"} if objective in ("wgan_gp", "dragan") else set()
    assert set(records[0].losses) == terms
    assert method.eval().features(batch_for(method).image)[0].shape[2:] == tuple(side // 2 for side in shape.size)
    assert {name.partition(".")[0] for name in exported_state(method)} == {"generator"}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_published_numbers(objective):
    """Defaults of compare_gan, of self-attention GANs for hinge; then DCGAN's."""
    expected = {
        "minimax": (5e-5, 0.0, 1, "batch"),
        "non_saturating": (5e-5, 0.0, 1, "batch"),
        "least_squares": (2e-4, 0.5, 1, "batch"),
        "wgan": (5e-5, 0.5, 5, "batch"),
        "wgan_gp": (1e-4, 0.5, 5, "none"),
        "dragan": (1e-4, 0.5, 1, "batch"),
        "began": (1e-4, 0.5, 5, "none"),
        "hinge": (1e-4, 0.0, 1, "none"),
    }
    config = Config(preset="published", objective=objective)
    assert (config.learning_rate, config.beta1, config.critic_steps, config.norm) == expected[objective]
    assert config.spectral_norm == (objective == "hinge")
    assert config.discriminator_learning_rate == (4e-4 if objective == "hinge" else None)
    assert (config.penalty_weight, config.clip, config.diversity, config.balance_rate) == (10, 0.01, 0.75, 1e-3)
    dcgan = Config(preset="dcgan", objective=objective)
    assert (dcgan.learning_rate, dcgan.beta1, dcgan.latent) == (2e-4, 0.5, 100)
    assert Config(preset="published", objective=objective, learning_rate=0.1).learning_rate == 0.1
    assert build(Config, config.model_dump(mode="json")) == config


def test_two_rates_reach_the_optimisers():
    optimizers = gan("hinge", preset="published").optimizers()
    rates = {name: optimizer.param_groups[0]["lr"] for name, optimizer in optimizers.items()}
    assert rates == {"discriminator": 4e-4, "generator": 1e-4}
    assert optimizers["generator"].param_groups[0]["betas"] == (0.0, 0.9)


def test_each_critic_step_sees_fresh_images():
    method, seen = gan("wgan_gp", critic_steps=3), []
    image = torch.arange(6.0).reshape(6, 1, 1, 1).expand(6, 1, 16, 16).contiguous()
    forward = method.discriminator.forward
    method.discriminator.forward = lambda x: seen.append(x.detach()[:, 0, 0, 0]) or forward(x)
    names = [update.optimizer for update in method.updates(Images(image, image), 0.0)]
    assert names == ["discriminator"] * 3 + ["generator"]
    real = [values.tolist() for values in seen[::3][:3]]  # real, fake, between: for each step of the critic
    assert real == [[0, 1], [2, 3], [4, 5]]


def test_wgan_clips_after_each_step():
    method = gan("wgan", clip=0.005)
    run(method, Schedule(steps=1, batch=2))
    assert max(each.abs().max().item() for each in method.discriminator.parameters()) <= 0.005
    assert max(each.abs().max().item() for each in method.generator.parameters()) > 0.005


def test_r1_is_the_weight_times_half_the_squared_slope():
    method = gan("non_saturating", r1_weight=10.0, spectral_norm=False)
    batch = batch_for(method)
    terms = next(iter(method.updates(batch, 0.0))).losses
    image = batch.image.clone().requires_grad_()
    (slope,) = torch.autograd.grad(method.discriminator(image).sum(), image)
    assert terms["r1"].item() == pytest.approx(5 * slope.square().flatten(1).sum(1).mean().item(), rel=1e-4)


def test_began_moves_its_balance_and_remembers_it():
    method = gan("began", balance_rate=0.1)
    batch = batch_for(method)
    first, *_ = method.updates(batch, 0.0)
    assert first.losses["fake"].item() == 0, "k begins at 0"
    method.balance.value = 0.5
    updates = method.updates(batch, 0.0)
    losses = {name: loss.item() for name, loss in next(updates).losses.items()}
    real, fake = losses["real"], losses["fake"] / -0.5
    assert method.balance.value == pytest.approx(min(1, max(0, 0.5 + 0.1 * (0.75 * real - fake))))
    other = gan("began")
    other.memory()["balance"].load_state_dict(method.memory()["balance"].state_dict())
    assert other.balance.value == method.balance.value
    assert not gan("hinge").memory()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_scores_tell_a_collapse(objective):
    """Samples that are all alike are farther from the held-out patches than samples that vary as they do."""
    method = gan(objective).eval()
    real = torch.randn(32, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    batch = Images(real, torch.ones_like(real))
    method.decode = lambda code: torch.randn(len(code), 1, 16, 16, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        varied = method.score(batch)
        method.decode = lambda code: real[:1].expand(len(code), 1, 16, 16)
        collapsed = method.score(batch)
    assert next(iter(varied)) == "energy_distance"
    assert 0 <= varied["energy_distance"] < 0.3 * collapsed["energy_distance"]
    assert set(varied) >= {"real", "fake"}
    if objective == "began":
        error = varied["real"] + abs(0.75 * varied["real"] - varied["fake"])
        assert varied["convergence"] == pytest.approx(error)


def completed(recipe) -> Schedule:
    return check_recipe(load_recipe(recipe))[0].schedule


def test_the_last_weights_are_kept_unless_named():
    """A game has no best validation, and the averaged generator is that of the schedule."""
    data = {"method": "gan", "data": {"inputs": ["t1"]}, "patches": {"size": [64, 64]}}
    schedule = completed(data)
    assert (schedule.keep, schedule.averaging) == ("last", 0.99)
    named = completed({**data, "schedule": {"keep": "best", "averaging": 0.5}})
    assert (named.keep, named.averaging) == ("best", 0.5)
    assert completed({**data, "config": {"preset": "dcgan"}}).averaging is None


def test_a_size_that_does_not_halve_is_refused():
    with pytest.raises(UsageError, match="cannot be halved down"):
        gan("hinge", Shape(1, 1, (18, 9)))


@pytest.mark.parametrize(
    ("objective", "scaleless"),
    [("wgan", ("discriminator", "generator")), ("wgan_gp", ("discriminator", "generator")), ("hinge", ("generator",))],
)
def test_a_mean_of_logits_is_not_watched_for_explosions(objective, scaleless):
    """WGAN-GP was stopped in its first ten steps, because a mean of logits that begins at 0 soon is 100 times that."""
    assert gan(objective).scaleless == scaleless
    assert gan("least_squares").scaleless == ()
