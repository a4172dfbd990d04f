"""Adversarial losses: values and gradients by hand, and why MONAI's are not used."""

import math

import pytest
import torch
from monai.losses import PatchAdversarialLoss

from medgen.losses import adversarial
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


REAL, FAKE = torch.tensor([[0.5], [-2.0]]), torch.tensor([[1.0], [-3.0]])


def log_sigmoid(x: float) -> float:
    return -math.log(1 + math.exp(-x))


BY_HAND = {
    "MINIMAX": (
        -(log_sigmoid(0.5) + log_sigmoid(-2)) / 2,
        -(log_sigmoid(-1) + log_sigmoid(3)) / 2,
        (log_sigmoid(-1) + log_sigmoid(3)) / 2,  # E log(1 - D(G))
    ),
    "NON_SATURATING": (
        -(log_sigmoid(0.5) + log_sigmoid(-2)) / 2,
        -(log_sigmoid(-1) + log_sigmoid(3)) / 2,
        -(log_sigmoid(1) + log_sigmoid(-3)) / 2,  # -E log D(G)
    ),
    "LEAST_SQUARES": ((0.25 + 9) / 4, (1 + 9) / 4, (0 + 16) / 4),
    "WASSERSTEIN": (0.75, -1.0, 1.0),
    "HINGE": ((0.5 + 3) / 2, (2 + 0) / 2, 1.0),
}
"""Terms of the discriminator of real and fake logits, and of the generator."""


@pytest.mark.parametrize("name", BY_HAND)
def test_objectives_by_hand(name):
    objective = getattr(adversarial, name)
    found = objective.real(REAL).item(), objective.fake(FAKE).item(), objective.generator(FAKE).item()
    assert found == pytest.approx(BY_HAND[name], rel=1e-5)


@pytest.mark.parametrize(("name", "undecided"), [("MINIMAX", 0.0), ("LEAST_SQUARES", 0.5), ("HINGE", 0.0)])
def test_the_loss_of_chance_is_that_of_an_undecided_discriminator(name, undecided):
    objective, logits = getattr(adversarial, name), torch.full((3, 1), undecided)
    assert (objective.real(logits) + objective.fake(logits)).item() == pytest.approx(objective.chance)


def test_a_sure_discriminator_teaches_a_saturating_generator_nothing():
    """The reason for the non-saturating form: at a logit of -8 its gradient is 3,000 times that of minimax."""
    saturating = gradient(adversarial.MINIMAX.generator, -8.0, count=1)
    other = gradient(adversarial.NON_SATURATING.generator, -8.0, count=1)
    assert saturating == pytest.approx(-1 / (1 + math.exp(8)), rel=1e-4)
    assert other == pytest.approx(-1 / (1 + math.exp(-8)), rel=1e-4)


def test_hinge_and_least_squares_push_as_defined_where_monai_does_not():
    """Through MONAI's activations a wrong logit of -3 pulls with 0.0033 and 0.005 in place of 0.33 and 2."""
    assert gradient(adversarial.HINGE.real, -3.0) == pytest.approx(-1 / 3)
    assert gradient(adversarial.HINGE.real, 1.5) == 0
    assert gradient(adversarial.LEAST_SQUARES.fake, -3.0) == pytest.approx(-1.0)


def test_began_by_hand():
    real, fake = torch.tensor([0.2, 0.4]), torch.tensor([0.5, 0.1])
    terms = adversarial.began_discriminator(real, fake, 0.5)
    assert {name: term.item() for name, term in terms.items()} == pytest.approx({"real": 0.3, "fake": -0.15})
    assert adversarial.began_balance(0.5, 0.3, 0.3, diversity=0.75, rate=0.01) == pytest.approx(0.49925)
    assert adversarial.began_balance(0.0, 0.3, 0.3, diversity=0.75, rate=0.01) == 0, "k stays in [0, 1]"
    assert adversarial.began_balance(1.0, 0.3, 0.1, diversity=0.75, rate=0.01) == 1
    assert adversarial.began_convergence(0.3, 0.3, diversity=0.75) == pytest.approx(0.375)
