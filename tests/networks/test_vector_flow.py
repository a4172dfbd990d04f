import math
import sys

import pytest
import torch

from medgen.errors import UsageError
from medgen.networks.vector_flow import VectorFlow

KINDS = ["spline", "affine", "additive"]


def flow(kind, features=5):
    torch.manual_seed(1)
    made = VectorFlow(features, transforms=3, hidden=(8,), kind=kind).double()
    with torch.no_grad():
        made.log_scale.normal_(std=0.3)
        made.shift.normal_()
    return made


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("features", [1, 2, 5])
def test_inverse_and_log_determinant(kind, features):
    made, x = flow(kind, features), torch.randn(4, features, dtype=torch.float64)
    z = made.normalised(x)
    assert (made.inverse(z) - x).abs().max() < 1e-10
    jacobians = [torch.autograd.functional.jacobian(lambda each: made.normalised(each[None])[0], row) for row in x]
    expected = torch.stack([jacobian.slogdet().logabsdet for jacobian in jacobians])
    normal = torch.distributions.Normal(0, 1).log_prob(z).sum(dim=1)
    assert torch.allclose(made.log_prob(x), normal + expected, atol=1e-10)


def test_only_the_first_scale_of_an_additive_flow_changes_volumes():
    made, x = flow("additive"), torch.randn(3, 5, dtype=torch.float64)
    difference = made.log_prob(x) - torch.distributions.Normal(0, 1).log_prob(made.normalised(x)).sum(dim=1)
    assert torch.allclose(difference, made.log_scale.sum().expand(3), atol=1e-12)


def test_two_flows_split_the_features_alike():
    torch.manual_seed(0)
    first = VectorFlow(7)
    torch.manual_seed(5)
    second = VectorFlow(7)
    second.load_state_dict(first.state_dict())
    x = torch.randn(3, 7)
    assert torch.equal(first.log_prob(x), second.log_prob(x))


def test_a_density_far_from_the_unit_cube_is_learnt():
    """A ring of radius 1 about (30, 0), times ten: its spread is learnt by the scale, its shape by the splines."""
    torch.manual_seed(0)
    angle = 2 * math.pi * torch.rand(1024)
    data = torch.stack([30 + angle.cos(), angle.sin()], dim=1) * 10 + torch.randn(1024, 2)
    made = VectorFlow(2, transforms=4, hidden=(32,))
    with torch.no_grad():
        made.log_scale.copy_(-data.std(dim=0).log())
        made.shift.copy_(-data.mean(dim=0) / data.std(dim=0))
    optimizer = torch.optim.Adam(made.parameters(), 2e-2)
    for _ in range(60):
        optimizer.zero_grad()
        (-made.log_prob(data).mean()).backward()
        optimizer.step()
    gaussian = torch.distributions.MultivariateNormal(data.mean(dim=0), data.T.cov()).log_prob(data).mean()
    assert made.log_prob(data).mean() > gaussian + 0.5
    radii = (made.inverse(torch.randn(500, 2)) - data.mean(dim=0)).norm(dim=1)
    assert (radii - 10).abs().median() < 2


def test_zuko_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "zuko", None)
    with pytest.raises(UsageError, match=r"needs zuko.*not installed"):
        VectorFlow(2)
