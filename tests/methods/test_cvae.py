"""Conditional variational autoencoders: objective by hand, draws, averages over the prior, and draws without seams."""

import math

import numpy as np
import pytest
import torch

from medgen.inference.tiles import predict_tiles
from medgen.losses.variational import gaussian_kl, gaussian_kl_between, log_density_each
from medgen.methods import cvae, cvae_segmentation
from medgen.methods._cvae import PERIOD, bound, drawn, fixed_codes, hybrid, kl_weight, repeated
from medgen.methods.base import Shape
from medgen.networks.conditional import ConditionalUNet, Gaussian
from medgen.sampling.batches import Labelled, Paired

SMALL = {"width": 0.125, "latent": 3}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def lively(method):
    """The last layer of the U-Net starts at 0, so that no code shows; and no prior is standard normal here."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.copy_(torch.randn_like(parameter) / max(2.0, parameter[0].numel() ** 0.5))
    return method.eval()


def pairs(size=(32, 32), count=2, **config):
    return lively(cvae.METHOD(cvae.Config(**SMALL, **config), Shape(1, 1, size))), torch.randn(
        count, 1, *size, generator=seeded()
    )


def labels(size=(32, 32), **config):
    return lively(
        cvae_segmentation.METHOD(cvae_segmentation.Config(**SMALL, **config), Shape(1, 3, size))
    ), torch.randn(2, 1, *size, generator=seeded())


def test_kl_of_two_gaussians():
    """Against Monte Carlo, torch's own, and the standard normal prior."""
    mean, log_variance, other, other_log_variance = torch.randn(4, 2, 5, generator=seeded())
    found = gaussian_kl_between(mean, log_variance, other, other_log_variance)
    q = torch.distributions.Normal(mean, torch.exp(0.5 * log_variance))
    p = torch.distributions.Normal(other, torch.exp(0.5 * other_log_variance))
    torch.testing.assert_close(found, torch.distributions.kl_divergence(q, p).sum(dim=1))
    torch.manual_seed(0)
    draws = q.sample((20_000,))
    assert torch.allclose(found, (q.log_prob(draws) - p.log_prob(draws)).sum(dim=2).mean(dim=0), rtol=0.04)
    zero = torch.zeros_like(mean)
    torch.testing.assert_close(gaussian_kl_between(mean, log_variance, zero, zero), gaussian_kl(mean, log_variance))


@pytest.mark.parametrize("kind", ["gaussian", "laplace"])
def test_density_of_a_voxel_is_that_of_torch(kind):
    image, made, log_scale = torch.randn(3, 2, 4, generator=seeded())
    scale = log_scale.exp()
    there = torch.distributions.Laplace(made, scale) if kind == "laplace" else torch.distributions.Normal(made, scale)
    torch.testing.assert_close(log_density_each(kind, image, made, log_scale), there.log_prob(image))


@pytest.mark.parametrize("kind", ["gaussian", "laplace"])
def test_noise_has_the_distribution_of_the_likelihood(kind):
    noise = cvae.standard_noise(kind, (200_000,), seeded()).double()
    assert noise.mean().abs() < 0.01
    there = torch.distributions.Laplace(0.0, 1.0) if kind == "laplace" else torch.distributions.Normal(0.0, 1.0)
    for share in (0.05, 0.25, 0.5, 0.95):
        edge = there.icdf(torch.tensor(share)).item()
        assert (noise < edge).double().mean().item() == pytest.approx(share, abs=0.005)


class Affine(torch.nn.Module):
    """A conditional network that can be computed by hand: p = N(1, 4), q = N(2, 1), output = code."""

    def prior(self, image):
        one = torch.ones(len(image), 1, 1, 1)
        return (), Gaussian(one, math.log(4) * one)

    def posterior(self, image, observed, prior):
        one = torch.ones(len(image), 1, 1, 1)
        return Gaussian(2 * one, 0 * one)

    def generated(self, maps, code, image):
        return code


def test_hybrid_objective_by_hand():
    """Its weights 0 and 1 leave a term out; between them both count by their shares."""
    image, voxels = torch.zeros(2, 1, 8, 8), torch.tensor(128.0)
    divergence = 2 * 0.5 * (1 / 4 + 1 / 4 - 1 + math.log(4)) / 128

    def terms(alpha):
        torch.manual_seed(0)
        found = hybrid(Affine(), image, image, lambda raw: raw.mean(), voxels, alpha=alpha)
        return {name: value.item() for name, value in found.items()}

    torch.manual_seed(0)
    first, second = torch.randn(2, 1, 1, 1).mean().item(), torch.randn(2, 1, 1, 1).mean().item()
    assert terms(1.0) == pytest.approx({"reconstruction": 2 + first, "kl": divergence})
    assert terms(0.0) == pytest.approx({"prior_sampled": 1 + 2 * first})
    expected = {"reconstruction": 2 + first, "kl": divergence, "prior_sampled": 3 * (1 + 2 * second)}
    assert terms(0.25) == pytest.approx({name: value / 4 for name, value in expected.items()})


@pytest.mark.parametrize("module", [cvae, cvae_segmentation])
def test_before_its_share_of_the_training_no_code_is_learnt(module):
    """What reads and makes codes gets no gradient, and stays as it was for when it begins."""
    torch.manual_seed(0)
    method = module.METHOD(module.Config(**SMALL, code="shared", codes_from=0.5), Shape(1, 2, (32, 32)))
    x = torch.randn(2, 1, 32, 32, generator=seeded())
    y = torch.randn(2, 2, 32, 32, generator=seeded(1))
    ones = torch.ones_like(x)
    batch = Paired(x, y, ones, ones) if module is cvae else Labelled(x, (x > 0).long(), ones)
    lively(method)
    (before,), (after,) = method.updates(batch, 0.49), method.updates(batch, 0.5)
    assert list(before.losses) == ["reconstruction"]
    assert list(after.losses) == ["reconstruction", "kl"]
    before.losses["reconstruction"].backward()
    network = method.network
    assert all(each.grad is None for each in network.recognition.parameters())
    assert all((layer.weight.grad == 0).all() for layer in network.injections)


def test_codes_are_heard_at_the_start():
    """The recognition network moves the mean of q by more than the noise around it, from the first step on."""
    torch.manual_seed(0)
    network = ConditionalUNet(1, 2, 1, latent=4, dimensions=2)
    image, other = torch.randn(2, 2, 1, 32, 32, generator=seeded())
    prior = network.prior(image)[1]
    found = network.posterior(image, other, prior)
    moved = (found.mean - prior.mean).std()
    assert moved > 1.5 * torch.exp(0.5 * found.log_variance).mean()


def test_the_weight_of_the_kl_term_rises_to_1():
    config = cvae.Config(warmup=0.5)
    assert [kl_weight(config, progress) for progress in (0, 0.25, 0.5, 0.9)] == [0, 0.5, 1, 1]
    assert kl_weight(cvae.Config(warmup=0), 0) == 1
    image = torch.zeros(2, 1, 8, 8)
    whole, half = (
        hybrid(Affine(), image, image, torch.mean, torch.tensor(128.0), alpha=1, kl_weight=weight)
        for weight in (1, 0.5)
    )
    assert half["kl"] == whole["kl"] / 2


@pytest.mark.parametrize("shared", [False, True])
def test_every_level_reads_the_code(shared):
    network = ConditionalUNet(1, 2, 1, latent=2, shared=shared, width=0.125, dimensions=2)
    lively(network)
    image = torch.randn(1, 1, 16, 16, generator=seeded())
    maps, prior = network.prior(image)
    before = network.generated(maps, prior.at(torch.ones_like(prior.mean)), image)
    for layer in network.injections:
        weight = layer.weight.detach().clone()
        with torch.no_grad():
            layer.weight.zero_()
            after = network.generated(maps, prior.at(torch.ones_like(prior.mean)), image)
            layer.weight.copy_(weight)
        assert not torch.allclose(before, after, atol=1e-4)


def test_bound_is_the_loss_of_a_code_and_the_divergence():
    found = bound(Affine(), torch.zeros(2, 1, 8, 8), None, lambda raw: raw.mean(), torch.tensor(128.0))
    noise = torch.randn(1, 1, 1, generator=seeded()).item()
    assert found["kl"] == pytest.approx((1 / 4 + 1 / 4 - 1 + math.log(4)) / 128)
    assert found["negative_elbo"] == pytest.approx(2 + noise + found["kl"])


@pytest.mark.parametrize(("shared", "cell"), [(False, 2), (False, 4), (False, 8), (True, 4)])
def test_recognition_is_relative_to_the_prior(shared, cell):
    """Where it adds nothing, q is p; and y reaches q, but not p."""
    network = ConditionalUNet(1, 2, 1, latent=2, cell=cell, shared=shared, width=0.125, dimensions=2)
    image, other = torch.randn(2, 2, 1, 16, 24, generator=seeded())
    maps, prior = network.prior(image)
    assert prior.mean.shape == (2, 2, *((1, 1) if shared else (16 // cell, 24 // cell)))
    one, two = network.posterior(image, image, prior), network.posterior(image, other, prior)
    assert not torch.equal(one.mean, two.mean)
    with torch.no_grad():
        network.recognition.body[-1].weight.zero_()
        network.recognition.body[-1].bias.zero_()
    same = network.posterior(image, other, prior)
    assert torch.equal(same.mean, prior.mean)
    assert gaussian_kl_between(*same, *prior).tolist() == [0, 0]
    assert network.generated(maps, prior.mean, image).shape == (2, 2, 16, 24)


@pytest.mark.parametrize("code", ["map", "shared"])
def test_a_seed_is_one_result(code):
    for method, image in (pairs(code=code), labels(code=code)):
        with torch.no_grad():
            one, two, three = (method.predict(image, seeded(seed)) for seed in (0, 0, 1))
            mean, again = method.predict(image), method.predict(image)
        assert method.stochastic
        assert torch.equal(one, two)
        assert not torch.allclose(one, three)
        assert torch.equal(mean, again)
        assert not torch.allclose(one, mean)


def test_draws_have_the_noise_of_the_voxels_only_where_asked():
    """The same seed has the same code, so that the difference is noise, by its scale at each voxel for that code."""
    noisy, image = pairs()
    plain, _ = pairs(observation_noise=False)
    found = []
    with torch.no_grad():
        maps, prior = noisy.network.prior(image)
        for seed in range(20):
            scale = noisy._observation(maps, drawn(noisy.config, prior, (32, 32), seeded(seed)), image).log_scale.exp()
            found.append((noisy.predict(image, seeded(seed)) - plain.predict(image, seeded(seed))) / scale)
    noise = torch.stack(found)
    assert noise.mean().abs() < 0.03
    assert noise.abs().mean() == pytest.approx(1, abs=0.03)  # of a Laplace distribution of scale 1
    torch.testing.assert_close(noise[:, 0], noise[:, 1], rtol=1e-3, atol=1e-3)


def test_many_draws_average_to_the_mean_prediction():
    for method, image in (
        pairs(prediction_samples=64, observation_noise=False),
        labels(prediction_samples=64),
    ):
        with torch.no_grad():
            draws = torch.stack([method.predict(image, seeded(seed)) for seed in range(200)])
            mean = method.predict(image)
        sd = draws.std(dim=0)
        assert ((draws.mean(dim=0) - mean).abs() / sd.clamp(min=1e-4)).mean() < 0.15
        assert sd.mean() > 1e-3


def test_codes_of_the_mean_prediction_lie_around_the_mean_of_the_prior():
    prior = Gaussian(torch.full((2, 3, 4, 4), 5.0), torch.zeros(2, 3, 4, 4))
    for count in (2, 8):
        codes = fixed_codes(cvae.Config(cell=8, prediction_samples=count), prior, (32, 32))
        assert len(codes) == count
        torch.testing.assert_close(torch.stack(codes).mean(dim=0), prior.mean)
        assert not torch.allclose(codes[0], codes[1])
    assert len(fixed_codes(cvae.Config(cell=8, prediction_samples=3), prior, (32, 32))) == 3
    assert fixed_codes(cvae.Config(), prior, (32, 32))[0] is prior.mean


@pytest.mark.parametrize("likelihood", ["laplace", "gaussian"])
def test_at_a_power_of_1_errors_count_alike_whatever_their_scale(likelihood):
    method, source = pairs(likelihood=likelihood, region="patch", scale_power=1)
    zero = torch.zeros_like(source)
    batch = Paired(source, torch.full_like(source, 2.0), zero, zero)

    def slope(log_scale):
        """Of the loss by the medians of voxels of that scale, beside as many of scale 1."""
        centre = torch.zeros_like(source, requires_grad=True)
        scales = torch.zeros_like(source)
        scales[..., :16] = log_scale
        method._observed = lambda raw, image: cvae.Observation(raw, scales)
        loss = method._loss(batch, 1.0)[0](centre)
        there = torch.autograd.grad(loss, centre)[0]
        return there[..., :16].mean() / there[..., 16:].mean()

    assert slope(0.0).item() == pytest.approx(1)
    assert slope(-2.0).item() == pytest.approx(1, rel=1e-5)


def test_noise_repeats_itself_along_each_axis():
    block = torch.arange(4.0).view(1, 1, 2, 2)
    assert repeated(block, (3, 5))[0, 0].tolist() == [[0, 1, 0, 1, 0], [2, 3, 2, 3, 2], [0, 1, 0, 1, 0]]


def test_scores_are_those_of_the_voxels_that_count():
    method, _ = pairs(region="mask")
    source, target = torch.randn(2, 2, 1, 32, 32, generator=seeded())
    mask = torch.zeros_like(source)
    mask[..., :8] = 1
    with torch.no_grad():
        scores = method.score(Paired(source, target, mask, mask))
        error = (method.predict(source) - target).abs()[..., :8].mean().item()
        elsewhere = method.score(Paired(source, target + (1 - mask), mask, mask))
    assert list(scores) == ["negative_elbo", "kl", "l1"]
    assert scores["l1"] == pytest.approx(error, rel=1e-5)
    assert elsewhere["l1"] == pytest.approx(error, rel=1e-5)


def test_scores_of_a_segmentation():
    method, source = labels()
    label = torch.randint(3, source.shape, generator=seeded())
    with torch.no_grad():
        scores = method.score(Labelled(source, label, torch.ones_like(source)))
        own = method.predict(source).argmax(dim=1, keepdim=True)
        assert method.score(Labelled(source, own, torch.ones_like(source)))["patch_dice"] == 1
    assert list(scores) == ["negative_elbo", "kl", "patch_dice"]
    assert 0 <= scores["patch_dice"] < 1


@pytest.mark.parametrize("code", ["map", "shared"])
def test_draws_of_a_volume_in_tiles_have_no_seams(code):
    """Tiles meet the noise of their place: they give the draw of the whole volume, and would not with noise of their
    own, as the same tiles one voxel of noise further show."""
    method, _ = pairs(size=(32, 32, 32), code=code)
    volume = np.random.default_rng(0).normal(size=(1, 160, 32, 32)).astype(np.float32)

    def predicted(edge, shift=0):
        def draw(tiles):
            return method.predict(tiles, seeded()).roll(shift, dims=2)

        return predict_tiles(draw, volume, size=(edge, 32, 32), window=method.window)

    whole, tiled, small, moved = predicted(160), predicted(128), predicted(64), predicted(128, shift=8)
    assert np.abs(tiled - whole).max() < 0.02 * whole.std()
    assert np.abs(small - whole).mean() < 0.01 * whole.std()  # of a halo of 16 voxels, the padding reaches farther
    assert np.abs(moved - whole).max() > whole.std()
    assert method.window.align == PERIOD


def test_a_draw_is_about_the_context():
    """With a context the networks correct it, so that an untrained one repeats it."""
    method = cvae.METHOD(cvae.Config(**SMALL), Shape(1, 1, (32, 32, 32)).with_context())
    image = torch.randn(1, 2, 32, 32, 32, generator=seeded())
    with torch.no_grad():
        assert torch.equal(method.predict(image), image[:, 1:])
        assert not torch.equal(method.predict(image, seeded()), image[:, 1:])
