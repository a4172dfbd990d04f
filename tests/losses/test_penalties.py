"""Slopes of a critic: against critics whose slope is known, finite differences, and second derivatives in float64."""

import pytest
import torch
from torch import nn

from medgen.losses.penalties import dragan_penalty, gradient_penalty, r1_penalty, slope_penalty, squared_slopes

WEIGHT = torch.tensor([3.0, 0.0, -4.0], dtype=torch.float64)
"""Of a linear critic: its slope is 5 everywhere."""


def linear(image):
    return image.flatten(1) @ WEIGHT[:, None]


def images(seed=0, shape=(4, 3)):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 3, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(24, 1)).double()


def test_a_linear_critic_has_the_slope_of_its_weights():
    assert squared_slopes(linear, images()).tolist() == pytest.approx([25.0] * 4)
    assert slope_penalty(linear, images()).item() == pytest.approx(16.0)
    assert gradient_penalty(linear, images(1), images(2)).item() == pytest.approx(16.0)
    assert gradient_penalty(linear, images(1), images(2), target=5.0).item() == pytest.approx(0.0, abs=1e-9)
    assert dragan_penalty(linear, images()).item() == pytest.approx(16.0)
    assert r1_penalty(linear, images()).item() == pytest.approx(12.5)


def test_the_slope_is_taken_between_the_images():
    """D(x) = |x|^2 / 2 has the slope x: the points seen lie on the segments, one share an image."""
    seen = []

    def critic(image):
        seen.append(image.detach())
        return image.square().sum(1, keepdim=True) / 2

    real, fake = torch.zeros(64, 2, dtype=torch.float64), torch.tensor([3.0, 4.0], dtype=torch.float64).expand(64, 2)
    penalty = gradient_penalty(critic, real, fake)
    share = seen[0][:, 0] / 3
    assert torch.allclose(seen[0][:, 1] / 4, share)
    assert 0 <= share.min() < 0.2
    assert 0.8 < share.max() <= 1
    assert penalty.item() == pytest.approx(((5 * share - 1) ** 2).mean().item())


def test_dragan_looks_near_real_images():
    seen = []
    real = images(shape=(200, 3))
    dragan_penalty(lambda image: seen.append(image.detach()) or linear(image), real, spread=0.5)
    moved = (seen[0] - real) / real.std(correction=0)
    assert 0 <= moved.min() < 0.02
    assert 0.48 < moved.max() <= 0.5


def test_dragan_of_the_probability_is_that_of_the_published_code():
    """The slope of sigmoid(D) is p (1 - p) times that of D."""
    real = images()
    assert squared_slopes(lambda x: linear(x).sigmoid(), real).tolist() == pytest.approx(
        [25 * (p * (1 - p)) ** 2 for p in linear(real).sigmoid().flatten().tolist()]
    )


def test_slopes_equal_finite_differences():
    critic, image, step = network(), images(shape=(1, 1, 2, 2, 2)), 1e-6
    with torch.no_grad():
        numeric = [
            (critic(image + step * each.reshape(image.shape)) - critic(image - step * each.reshape(image.shape))).item()
            / (2 * step)
            for each in torch.eye(8, dtype=torch.float64)
        ]
    assert squared_slopes(critic, image).item() == pytest.approx(sum(each**2 for each in numeric), rel=1e-6)


@pytest.mark.parametrize("penalty", [lambda c, x: slope_penalty(c, x), r1_penalty])
def test_weights_get_the_gradient_of_the_penalty(penalty):
    """Double backward, against finite differences of the penalty with respect to a weight."""
    critic, image, step = network(), images(shape=(2, 1, 2, 2, 2)), 1e-6
    penalty(critic, image).backward()
    weight = critic[0].weight
    found = weight.grad[0, 0, 0, 1, 1].item()
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            weight[0, 0, 0, 1, 1] += sign * step
        values.append(penalty(critic, image).item())
        with torch.no_grad():
            weight[0, 0, 0, 1, 1] -= sign * step
    assert found == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)


def test_a_flat_critic_has_a_finite_gradient():
    """At a slope of 0 the derivative of the root is infinite."""
    layer = nn.Linear(3, 1).double()
    nn.init.zeros_(layer.weight)
    slope_penalty(layer, images()).backward()
    assert torch.isfinite(layer.weight.grad).all()


def test_the_generator_gets_no_gradient_and_no_gradient_mode_is_needed():
    fake = images(1).requires_grad_()
    with torch.no_grad():
        assert gradient_penalty(linear, images(), fake).item() == pytest.approx(16.0)
    penalty = gradient_penalty(nn.Linear(3, 1).double(), images(), fake)
    penalty.backward()
    assert fake.grad is None
