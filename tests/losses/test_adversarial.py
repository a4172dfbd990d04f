"""Adversarial losses: values and gradients by hand, and why MONAI's are not used."""

import math

import pytest
import torch
from monai.losses import PatchAdversarialLoss

from medgen.losses.adversarial import binary_cross_entropy, least_squares


def gradient(loss, logit, count=3):
    logits = torch.full((count,), logit, requires_grad=True)
    loss(logits).backward()
    return logits.grad[0].item()


@pytest.mark.parametrize(("real", "expected"), [(True, math.log(1 + math.exp(-2))), (False, math.log(1 + math.exp(2)))])
def test_cross_entropy_by_hand(real, expected):
    assert binary_cross_entropy(torch.tensor([[2.0]]), real=real).item() == pytest.approx(expected, rel=1e-6)


def test_cross_entropy_of_a_certain_logit_is_finite_and_keeps_its_gradient():
    # A sigmoid followed by a logarithm saturates here; the generator would get nothing.
    assert binary_cross_entropy(torch.tensor([-200.0]), real=True).item() == 200.0
    assert gradient(lambda x: binary_cross_entropy(x, real=True), -200.0) == pytest.approx(-1 / 3)


def test_least_squares_by_hand():
    logits = torch.tensor([0.0, 2.0, -1.0])
    assert least_squares(logits, real=True).item() == pytest.approx((1 + 1 + 4) / 3)
    assert least_squares(logits, real=False).item() == pytest.approx((0 + 4 + 1) / 3)


def test_half_precision_is_computed_in_single():
    # 300^2 overflows float16.
    for loss in (binary_cross_entropy, least_squares):
        value = loss(torch.tensor([300.0], dtype=torch.float16), real=False)
        assert value.dtype == torch.float32
        assert torch.isfinite(value)


def test_stays_in_single_precision_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = binary_cross_entropy(torch.linspace(-2, 2, 8, dtype=torch.bfloat16), real=True)
    assert value.dtype == torch.float32


def test_monai_least_squares_loses_the_gradient():
    monai = PatchAdversarialLoss(criterion="least_squares")
    theirs = gradient(lambda x: monai(x, target_is_real=False, for_discriminator=True), -3.0)
    ours = gradient(lambda x: least_squares(x, real=False), -3.0)
    assert ours == pytest.approx(-2.0)  # 2 * (-3 - 0) / 3
    assert theirs == pytest.approx(-0.005)  # a LeakyReLU of slope 0.05 acts twice


def test_monai_hinge_loses_the_gradient():
    monai = PatchAdversarialLoss(criterion="hinge")
    theirs = gradient(lambda x: monai(x, target_is_real=True, for_discriminator=True), -3.0)
    definition = gradient(lambda x: torch.relu(1 - x).mean(), -3.0)
    assert definition == pytest.approx(-1 / 3)
    assert theirs == pytest.approx(-(1 - math.tanh(3) ** 2) / 3, rel=1e-3)  # -0.0033
