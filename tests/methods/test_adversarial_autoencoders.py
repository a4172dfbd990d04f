"""VAE/GAN, adversarial autoencoder, alpha-GAN: who learns from what, formulas by hand, the equilibrium, presets."""

import math

import pytest
import torch
from test_methods import batch_for, run
from torch import nn
from torch.nn.functional import logsigmoid

from medgen.config import build
from medgen.errors import UsageError
from medgen.methods.base import Shape
from medgen.methods.catalogue import create
from medgen.methods.vae_gan import Config, in_equilibrium
from medgen.recipe.check import check_recipe
from medgen.recipe.settings import Schedule, load_recipe
from medgen.sampling.batches import Images
from medgen.training.engine import Engine
from medgen.training.loop import train
from medgen.training.model_folder import exported_state

NAMES = ["vae_gan", "adversarial_autoencoder", "alpha_gan"]
SHAPES = [Shape(1, 1, (16, 16)), Shape(2, 2, (8, 8, 8))]
TINY = {"width": 0.125, "latent": 3, "discriminator_width": 4}
PARTS = {
    "vae_gan": {"encoder": ["encoder"], "decoder": ["decoder"], "discriminator": ["discriminator"]},
    "adversarial_autoencoder": {"autoencoder": ["encoder", "decoder"], "discriminator": ["discriminator"]},
    "alpha_gan": {
        "autoencoder": ["encoder", "decoder"],
        "discriminator": ["discriminator"],
        "code_discriminator": ["code_discriminator"],
    },
}
LOSSES = {
    "vae_gan": {
        "encoder/reconstruction", "encoder/kl",
        "decoder/reconstruction", "decoder/adversarial_reconstruction", "decoder/adversarial_sample",
        "discriminator/real", "discriminator/reconstruction", "discriminator/sample",
    },
    "adversarial_autoencoder": {
        "autoencoder/reconstruction", "autoencoder/adversarial", "discriminator/prior", "discriminator/code",
    },
    "alpha_gan": {
        "autoencoder/reconstruction", "autoencoder/adversarial_reconstruction", "autoencoder/adversarial_sample",
        "autoencoder/adversarial_code", "discriminator/real", "discriminator/reconstruction", "discriminator/sample",
        "code_discriminator/prior", "code_discriminator/code",
    },
}  # fmt: skip


def tiny(name, shape=SHAPES[0], **settings):
    torch.manual_seed(0)
    known = {**TINY, "levels": 2, **({"layer": 1} if name == "vae_gan" else {}), **settings}
    return create(name, known, shape)


def joint(method, batch, seed=1):
    """The updates of a step by their optimiser; the same chance for every method."""
    torch.manual_seed(seed)
    (step,) = method.updates(batch, 0.0)
    return {update.optimizer: update.losses for update in step}


def gradients(loss, network):
    found = torch.autograd.grad(loss, list(network.parameters()), retain_graph=True, allow_unused=True)
    return [each if each is not None else torch.zeros(()) for each in found]


def same(one, two):
    return all(torch.allclose(a, b, rtol=1e-4, atol=1e-7) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("shape", SHAPES, ids=["2d", "3d"])
@pytest.mark.parametrize("name", NAMES)
def test_names_of_losses_and_what_is_exported(name, shape):
    method = tiny(name, shape)
    (record,) = run(method, Schedule(steps=1, batch=2))
    assert set(record.losses) == LOSSES[name]
    assert not record.skipped
    assert {key.partition(".")[0] for key in exported_state(method)} == {"encoder", "decoder"}
    assert next(iter(method.score(batch_for(method)))) == "l1"
    assert method.memory() == {}


@pytest.mark.parametrize("name", NAMES)
def test_an_update_reaches_its_own_networks_alone(name):
    """Through the loop: an optimiser that steps alone moves its networks and leaves all the others."""
    for optimizer, parts in PARTS[name].items():
        method = tiny(name)
        before = {key: value.detach().clone() for key, value in method.named_parameters()}
        optimizers = method.optimizers()
        for other in set(optimizers) - {optimizer}:
            for group in optimizers[other].param_groups:
                group["lr"] = 0.0
        list(train(method, optimizers, [batch_for(method)], Schedule(steps=1, batch=2), Engine("cpu")))
        moved = {key.partition(".")[0] for key, value in method.named_parameters() if not value.equal(before[key])}
        assert moved == set(parts)
        for other in set(optimizers) - {optimizer}:  # gradients of other updates are of their own networks
            owned = {id(each) for group in optimizers[other].param_groups for each in group["params"]}
            for part in parts:
                assert not owned & {id(each) for each in method.get_submodule(part).parameters()}


def test_vae_gan_routes_gradients_as_algorithm_1():
    """The encoder learns from L_prior + L_llike alone, and from L_llike through maps that nothing makes small."""
    method = tiny("vae_gan", gamma=0.5, variance="one", spectral_norm=False)
    batch = batch_for(method)
    losses = joint(method, batch)
    torch.manual_seed(1)
    mean, log_variance = method.encoder(batch.image)
    code = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
    decoded = method.decoder(code)
    maps = [method.discriminator.features(each)[0] for each in (batch.image, decoded)]
    llike = 0.5 * (maps[0] - maps[1]).square().sum() / 2  # two images
    prior = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum() / 2
    voxels = batch.image[0].numel()
    total = sum(losses["encoder"].values())
    assert total.item() == pytest.approx((llike + prior).item() / voxels, rel=1e-4)
    assert same(gradients(total, method.encoder), gradients((llike + prior) / voxels, method.encoder))
    sample = method.decoder(torch.randn_like(code))
    adversarial = sum(-logsigmoid(method.discriminator(each)).mean() for each in (decoded, sample))
    expected = gradients(0.5 * llike + adversarial, method.decoder)
    assert same(gradients(sum(losses["decoder"].values()), method.decoder), expected)
    real = -logsigmoid(method.discriminator(batch.image)).mean()
    fake = sum(-logsigmoid(-method.discriminator(each)).mean() for each in (decoded, sample))
    expected = gradients(real + 0.5 * fake, method.discriminator)
    assert same(gradients(sum(losses["discriminator"].values()), method.discriminator), expected)


def test_vae_gan_minimax_is_the_other_sign_of_l_gan():
    method = tiny("vae_gan", objective="minimax", gamma=0, real_share=0.66)
    losses = joint(method, batch_for(method))
    of_decoder, of_discriminator = losses["decoder"], losses["discriminator"]
    for name in ("reconstruction", "sample"):
        term = of_discriminator[name] / 0.34
        assert of_decoder[f"adversarial_{name}"].item() == pytest.approx(-term.item(), rel=1e-5)
    assert of_decoder["reconstruction"].item() == 0


def test_optimal_variance_makes_the_balance_independent_of_the_size_of_the_maps():
    """With maps ten times as large the reconstruction term has the same gradient, and with s = 1 a hundredfold one."""
    real, made = torch.randn(2, 1, 4, 4), torch.randn(2, 1, 4, 4, requires_grad=True)

    def slope(variance, factor):
        loss = tiny("vae_gan", variance=variance)._similarity(factor * real, factor * made)
        return torch.autograd.grad(loss, made)[0]

    torch.testing.assert_close(slope("optimal", 10.0), slope("optimal", 1.0))
    torch.testing.assert_close(slope("one", 10.0), 100 * slope("one", 1.0))
    by_hand = 16 * (made - real) / (2 * (made - real).square().mean()) / 16
    torch.testing.assert_close(slope("optimal", 1.0), by_hand.detach())


def test_equilibrium_rule():
    assert in_equilibrium(9.0, 0.0, 0.68, None) == (True, True)
    assert in_equilibrium(0.6, 0.7, 0.68, 0.35) == (True, True)
    assert in_equilibrium(0.32, 0.7, 0.68, 0.35) == (True, False), "the discriminator is ahead"
    assert in_equilibrium(0.6, 1.04, 0.68, 0.35) == (False, True), "the decoder is ahead"
    assert in_equilibrium(0.32, 1.04, 0.68, 0.35) == (True, True), "one of them must step"


@pytest.mark.parametrize(("logit", "left_out"), [(0.0, None), (4.0, "decoder")])
def test_who_is_ahead_waits(logit, left_out):
    """A discriminator that takes all for real has a loss of 4 of made images, so the decoder waits for it."""
    method = tiny("vae_gan", margin=0.35, spectral_norm=False)
    nn.init.zeros_(method.discriminator.head.weight)
    nn.init.constant_(method.discriminator.head.bias, logit)
    steps = joint(method, batch_for(method))
    # of real images its loss is then 0.02: both would wait, and so both step
    assert set(steps) == {"encoder", "decoder", "discriminator"}
    method.config = method.config.model_copy(update={"equilibrium": 0.3, "margin": 0.3})
    assert set(joint(method, batch_for(method))) == {"encoder", "decoder", "discriminator"} - {
        "decoder" if logit == 0 else left_out
    }


@pytest.mark.parametrize("posterior", ["deterministic", "gaussian"])
def test_adversarial_autoencoder_by_hand(posterior):
    method = tiny("adversarial_autoencoder", posterior=posterior, adversarial_weight=0.3)
    batch = batch_for(method)
    losses = joint(method, batch)
    torch.manual_seed(1)
    mean, log_variance = method.encoder(batch.image)
    code = mean
    if posterior == "gaussian":
        code = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
    prior, error = torch.randn_like(code), (method.decoder(code) - batch.image).square().mean()
    total = error - 0.3 * logsigmoid(method.discriminator(code)).mean()
    assert sum(losses["autoencoder"].values()).item() == pytest.approx(total.item(), rel=1e-5)
    assert same(gradients(sum(losses["autoencoder"].values()), method.encoder), gradients(total, method.encoder))
    of_codes = -logsigmoid(method.discriminator(prior)).mean() - logsigmoid(-method.discriminator(code)).mean()
    assert sum(losses["discriminator"].values()).item() == pytest.approx(of_codes.item(), rel=1e-5)
    other = tiny("adversarial_autoencoder", posterior=posterior, adversarial_weight=0)
    without = sum(joint(other, batch)["autoencoder"].values())
    assert same(gradients(without, other.encoder), gradients(error, method.encoder))
    assert not any(each.any() for each in gradients(losses["autoencoder"]["adversarial"], method.decoder))


def test_alpha_gan_by_hand():
    settings = {"posterior": "deterministic", "reconstruction_weight": 7, "spectral_norm": False}
    method = tiny("alpha_gan", **settings)
    batch = batch_for(method)
    losses = joint(method, batch)
    torch.manual_seed(1)
    code = method.encoder(batch.image)[0]
    prior = torch.randn_like(code)
    decoded, sample = method.decoder(code), method.decoder(prior)
    d, c = method.discriminator, method.code_discriminator
    error = 7 * (decoded - batch.image).abs().mean()
    total = error - logsigmoid(d(decoded)).mean() - logsigmoid(d(sample)).mean() - logsigmoid(c(code)).mean()
    mine = sum(losses["autoencoder"].values())
    assert mine.item() == pytest.approx(total.item(), rel=1e-5)
    assert same(gradients(mine, method.encoder), gradients(total, method.encoder))
    of_images = -logsigmoid(d(batch.image)).mean() - logsigmoid(-torch.cat([d(decoded), d(sample)])).mean()
    assert sum(losses["discriminator"].values()).item() == pytest.approx(of_images.item(), rel=1e-5)
    of_codes = -logsigmoid(c(prior)).mean() - logsigmoid(-c(code)).mean()
    assert sum(losses["code_discriminator"].values()).item() == pytest.approx(of_codes.item(), rel=1e-5)
    assert not any(each.any() for each in gradients(losses["autoencoder"]["adversarial_sample"], method.encoder))
    other = tiny("alpha_gan", **settings, adversarial_weight=0, code_weight=0)
    alone = gradients(sum(joint(other, batch)["autoencoder"].values()), other.encoder)
    assert same(alone, gradients(error, method.encoder))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES, ids=["2d", "3d"])
def test_a_spatial_code(name, shape):
    method = tiny(name, shape, code="spatial")
    assert method.code_shape == (3, *[side // 4 for side in shape.size])
    assert not method.window.exact
    run(method, Schedule(steps=1, batch=2))
    image = batch_for(method).image
    with torch.no_grad():
        assert method.encode(image).shape == (len(image), *method.code_shape)
        assert method.sample(1, torch.Generator().manual_seed(0)).shape == (1, shape.inputs, *shape.size)


@pytest.mark.parametrize("name", NAMES)
def test_a_short_training_reconstructs(name):
    method = tiny(name, learning_rate=3e-3)
    batch = batch_for(method)
    before = method.score(batch)["l1"]
    run(method, Schedule(steps=60, batch=2), batch)
    assert method.eval().score(batch)["l1"] < 0.8 * before


def test_published_numbers():
    larsen = Config(preset="published")
    assert (larsen.gamma, larsen.real_share, larsen.latent, larsen.norm) == (1e-5, 0.66, 128, "batch")
    assert (larsen.objective, larsen.variance, larsen.margin, larsen.equilibrium) == ("minimax", "one", 0.35, 0.68)
    assert build(Config, larsen.model_dump(mode="json")) == larsen
    method = create("vae_gan", {"preset": "published", "width": 0.125, "discriminator_width": 4}, Shape(1, 1, (64, 64)))
    assert {type(each) for each in method.optimizers().values()} == {torch.optim.RMSprop}
    rosca = create("alpha_gan", {"preset": "published", "discriminator_width": 4, "width": 0.125}, SHAPES[0])
    groups = [each.param_groups[0] for each in rosca.optimizers().values()]
    assert {(group["lr"], group["betas"]) for group in groups} == {(2e-4, (0.5, 0.9))}
    makhzani = create("adversarial_autoencoder", {"preset": "published", "latent": 5, "width": 0.125}, SHAPES[0])
    assert (makhzani.config.posterior, makhzani.config.latent) == ("deterministic", 5)


@pytest.mark.parametrize("name", NAMES)
def test_the_last_weights_are_kept(name):
    data = {"method": name, "data": {"inputs": ["t1"]}, "patches": {"size": [64, 64]}}
    schedule = check_recipe(load_recipe(data))[0].schedule
    assert (schedule.keep, schedule.averaging) == ("last", 0.99)
    assert check_recipe(load_recipe({**data, "config": {"preset": "published"}}))[0].schedule.averaging is None


def test_a_layer_that_the_discriminator_lacks_is_refused():
    with pytest.raises(UsageError, match="has 2 layers, 'layer' is 3"):
        tiny("vae_gan", layer=3)


def test_chance_of_the_discriminators():
    """At logits of 0 the losses of a discriminator are what its method says, whatever the share of real images."""
    for name, settings in (("vae_gan", {"real_share": 0.66}), ("adversarial_autoencoder", {}), ("alpha_gan", {})):
        method = tiny(name, spectral_norm=False, **settings) if name != NAMES[1] else tiny(name)
        for part in method.opponents:
            network = method.get_submodule(part)
            head = network.head if hasattr(network, "head") else network.body[-1]
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        losses = joint(method, Images(*[torch.randn(2, 1, 16, 16)] * 2))
        for part, chance in method.opponents.items():
            assert sum(losses[part].values()).item() == pytest.approx(chance)
            assert chance == pytest.approx(2 * math.log(2))
