"""Presets of the methods for registered pairs, the context that is corrected, and when the adversary begins."""

import pytest
import torch

from medgen.config import build
from medgen.methods import context_aware_gan, supervised
from medgen.methods.base import Shape
from medgen.methods.context_aware_gan import Config, ContextAwareGAN
from medgen.recipe.settings import complete, load_recipe
from medgen.sampling.batches import Paired

PATCH = (2, 1, 32, 32, 32)
RECIPE = {"method": "context_aware_gan", "data": {"inputs": ["t1"], "target": "ct"}}


@pytest.mark.parametrize(("preset", "weight", "reduction"), [("paper", 0.5, "mean"), ("code", 0.05, "sum")])
def test_published_presets_have_the_published_numbers(preset, weight, reduction):
    config = Config(preset=preset)
    assert (config.adversarial_weight, config.reduction) == (weight, reduction)
    assert (config.generator, config.context, config.residual) == ("fcn", "none", False)
    assert (config.l1_weight, config.mse_weight, config.gradient_difference_weight) == (0, 1, 1)
    assert (config.adversary_from, config.discriminator_width, config.discriminator_learning_rate) == (0, 1, None)
    assert (config.region, config.beta1) == ("patch", 0.5)


def test_a_named_key_wins_over_its_preset():
    config = Config(preset="code", generator="unet", adversarial_weight=0.25)
    assert (config.generator, config.adversarial_weight, config.mse_weight) == ("unet", 0.25, 1)


@pytest.mark.parametrize("preset", ["tuned", "paper", "code"])
@pytest.mark.parametrize("module", [context_aware_gan, supervised])
def test_a_saved_config_is_read_back_as_it_was(module, preset):
    config = module.Config(preset=preset, width=0.5)
    assert build(module.Config, config.model_dump(mode="json")) == config


def test_the_names_of_earlier_versions_are_read():
    l1 = Config(preset="code", distance="l1", distance_weight=3.0)
    assert (l1.l1_weight, l1.mse_weight) == (3, 0)
    mse = Config(preset="paper", distance="mse", adversarial_weight=None, reduction=None)
    assert (mse.l1_weight, mse.mse_weight, mse.adversarial_weight) == (0, 1, 0.5)


def test_the_recipe_of_the_user_wins_key_by_key():
    mine = load_recipe({**RECIPE, "schedule": {"steps": 7, "learning_rate": {"kind": "constant"}}})
    whole = complete(mine, Config().recipe())
    assert whole.schedule.batch == 2
    assert whole.schedule.steps == 7
    assert whole.schedule.learning_rate.kind == "constant"
    assert whole.schedule.learning_rate.warmup == 0.03
    assert whole.inference.flips == ("x",)
    assert complete(whole, Config().recipe()) == whole
    assert complete(load_recipe(mine), Config().recipe()) == whole  # a recipe that was built before names no more
    assert complete(mine, Config(preset="paper").recipe()) == mine


def test_a_network_with_a_context_begins_as_its_context():
    method = ContextAwareGAN(Config(width=0.25), Shape(1, 1).with_context())
    image = torch.randn(2, 2, 16, 16, 16)
    assert torch.equal(method.predict(image), image[:, 1:])


def losses(progress, **config):
    torch.manual_seed(0)
    method = ContextAwareGAN(Config(width=0.25, **config), Shape(1, 1))
    batch = Paired(torch.randn(PATCH), torch.rand(PATCH), torch.ones(PATCH))
    return [key for update in method.updates(batch, progress) for key in update.losses]


def test_the_adversary_begins_when_it_should():
    reconstruction = ["l1", "mse", "gradient_difference"]
    assert losses(0.49) == reconstruction
    assert losses(0.5) == ["real", "fake", "adversarial", *reconstruction]
    assert losses(0.9, adversarial_weight=0) == reconstruction
    assert losses(0.0, adversary_from=0)[:2] == ["real", "fake"]


def test_outside_the_mask_the_discriminator_sees_the_truth():
    method = ContextAwareGAN(Config(width=0.25), Shape(1, 1))
    mask = torch.zeros(PATCH)
    mask[..., :16] = 1
    batch = Paired(torch.randn(PATCH), torch.rand(PATCH), mask)
    real, judged = method._judged(torch.full(PATCH, -5.0), batch)
    assert real.shape == judged.shape == (2, 1, 16, 16, 16)
    assert torch.equal(judged[..., 8:], real[..., 8:])
    assert (judged[..., :8] == -5).all()
