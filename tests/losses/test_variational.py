"""Terms of the evidence lower bound, against torch's distributions, Monte Carlo and sums by hand."""

import math

import pytest
import torch
from torch.distributions import Bernoulli, Laplace, Normal, kl_divergence

from medgen.losses.variational import (
    bernoulli_log_likelihood,
    best_log_variance,
    free_bits,
    gaussian_kl,
    gaussian_kl_between,
    gaussian_kl_each,
    gaussian_log_likelihood,
    importance_bound,
    laplace_log_likelihood,
    log_density_each,
    standard_normal_log_prob,
    standard_normal_log_prob_each,
)


def seeded(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_kl_term_is_that_of_monte_carlo():
    mean, log_variance = seeded(1, 3), 0.5 * seeded(2, 3)[1:]
    posterior = Normal(mean, (0.5 * log_variance).exp())
    codes = mean + seeded(200_000, 3) * posterior.scale
    ratios = (posterior.log_prob(codes) - Normal(0, 1).log_prob(codes)).sum(dim=1)
    error = ratios.std() / math.sqrt(len(ratios))
    assert abs(ratios.mean() - gaussian_kl(mean, log_variance).item()) < 4 * error
    assert gaussian_kl_each(mean, log_variance).sum().item() == pytest.approx(gaussian_kl(mean, log_variance).item())


@pytest.mark.parametrize("variance", [0.04, 1.0, 9.0])
def test_likelihoods_are_those_of_torch(variance):
    image, made = seeded(2, 1, 3, 4), seeded(3, 1, 3, 4)[1:]
    log_variance = torch.tensor(math.log(variance))
    normal = Normal(made, math.sqrt(variance)).log_prob(image).flatten(1).sum(1)
    assert torch.allclose(gaussian_log_likelihood(image, made, log_variance), normal, rtol=1e-6)
    assert torch.allclose(gaussian_log_likelihood(image, made, math.log(variance)), normal, rtol=1e-6)
    laplace = Laplace(made, math.sqrt(variance / 2))
    assert laplace.variance[0, 0, 0, 0].item() == pytest.approx(variance)
    expected = laplace.log_prob(image).flatten(1).sum(1)
    assert torch.allclose(laplace_log_likelihood(image, made, log_variance), expected, rtol=1e-6)
    binary = (image > 0).double()
    expected = Bernoulli(logits=made).log_prob(binary).flatten(1).sum(1)
    assert torch.allclose(bernoulli_log_likelihood(binary, made), expected)


def test_double_precision_is_kept():
    """Against torch, to more digits than 32 bits have."""
    mean, log_variance, other, other_log_variance = seeded(4, 2, 3)
    exact = {"rtol": 1e-13, "atol": 1e-13}
    one, two = Normal(mean, (0.5 * log_variance).exp()), Normal(other, (0.5 * other_log_variance).exp())
    apart = kl_divergence(one, two).flatten(1).sum(1)
    assert torch.allclose(gaussian_kl_between(mean, log_variance, other, other_log_variance), apart, **exact)
    scale = (0.5 * log_variance).exp()
    for kind, law in (("gaussian", Normal(other, scale)), ("laplace", Laplace(other, scale))):
        assert torch.allclose(log_density_each(kind, mean, other, 0.5 * log_variance), law.log_prob(mean), **exact)
    assert torch.allclose(
        gaussian_log_likelihood(mean, other, 0.3),
        Normal(other, math.exp(0.15)).log_prob(mean).flatten(1).sum(1),
        **exact,
    )


def test_half_precision_is_summed_in_full():
    image, made = seeded(1, 1, 64, 64).bfloat16(), torch.zeros(1, 1, 64, 64, dtype=torch.bfloat16)
    for kind in (gaussian_log_likelihood, laplace_log_likelihood):
        assert torch.equal(kind(image, made), kind(image.float(), made.float()))
    for term in (standard_normal_log_prob, standard_normal_log_prob_each):
        assert torch.equal(term(image), term(image.float()))
    assert torch.equal(gaussian_kl_between(image, made, made, made), gaussian_kl(image.float(), made.float()))


@pytest.mark.parametrize(
    ("kind", "likelihood"), [("gaussian", gaussian_log_likelihood), ("laplace", laplace_log_likelihood)]
)
def test_the_analytic_variance_is_the_best(kind, likelihood):
    image, made = seeded(4, 1, 5, 5), torch.zeros(4, 1, 5, 5, dtype=torch.float64)
    best = best_log_variance(kind, image, made, 1e-6)
    highest = likelihood(image, made, best).sum()
    for step in (-0.05, 0.05):
        assert likelihood(image, made, best + step).sum() < highest
    assert best_log_variance(kind, image, image, 1e-6).item() == pytest.approx(math.log(1e-6))


def test_free_bits_by_hand():
    dense = torch.tensor([[0.0, 1.0, 0.2], [0.4, 3.0, 0.0]])  # means 0.2, 2.0, 0.1
    assert free_bits(dense, 0.25).item() == pytest.approx(0.25 + 2.0 + 0.25)
    assert free_bits(dense).item() == pytest.approx(2.3)
    grid = torch.full((2, 2, 2, 2), 0.05)
    grid[:, 1] = 0.1  # channels cost 0.2 and 0.4
    assert free_bits(grid, 0.25).item() == pytest.approx(0.25 + 0.4)
    assert free_bits(grid).item() == pytest.approx(0.6)


def test_a_dimension_below_its_free_bits_has_no_gradient():
    divergence = torch.tensor([[0.1, 1.0]], requires_grad=True)
    free_bits(divergence, 0.25).backward()
    assert divergence.grad.tolist() == [[0.0, 1.0]]


def test_the_importance_bound_of_one_draw_is_that_draw_and_more_are_a_mean_of_weights():
    weights = seeded(5, 3)
    assert torch.equal(importance_bound(weights[:1]), weights[0])
    assert torch.allclose(importance_bound(weights).exp(), weights.exp().mean(dim=0))
    assert torch.isfinite(importance_bound(weights - 1e6)).all()


def test_the_prior_is_that_of_torch():
    code = seeded(2, 3, 2)
    assert torch.allclose(standard_normal_log_prob(code), Normal(0, 1).log_prob(code).flatten(1).sum(1))
