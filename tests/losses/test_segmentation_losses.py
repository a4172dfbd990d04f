import math

import pytest
import torch

from medgen.losses.domain import domain_cross_entropy
from medgen.losses.segmentation import (
    cross_entropy,
    entropy,
    focal,
    one_hot,
    scaled_one_hot,
    soft_dice,
    straight_through,
    weight_penalties,
)


def logits_of(*probabilities: float) -> torch.Tensor:
    """(1, 2, n, 1, 1) logits whose softmax gives class 1 these probabilities."""
    p = torch.tensor(probabilities).reshape(1, 1, -1, 1, 1)
    return torch.cat([torch.zeros_like(p), torch.log(p / (1 - p))], 1)


def label_of(*values: int) -> torch.Tensor:
    return torch.tensor(values).reshape(1, 1, -1, 1, 1)


def test_cross_entropy_is_the_mean_of_the_negative_log_probability():
    loss = cross_entropy(logits_of(0.8, 0.1), label_of(1, 0))
    assert loss.item() == pytest.approx(-(math.log(0.8) + math.log(0.9)) / 2, rel=1e-5)


def test_soft_dice_by_hand():
    # both = 0.8, squares 0.64 + 0.04, truth 1
    loss = soft_dice(logits_of(0.8, 0.2), label_of(1, 0), smooth=0.0)
    assert loss.item() == pytest.approx(1 - 1.6 / 1.68, rel=1e-5)


def test_soft_dice_looks_at_the_whole_batch():
    """A patch without a lesion adds to the squares alone; by itself its Dice would be 0 or undefined."""
    logits = torch.cat([logits_of(0.8), logits_of(0.1)])
    label = torch.cat([label_of(1), label_of(0)])
    assert soft_dice(logits, label, smooth=0.0).item() == pytest.approx(1 - 1.6 / (0.64 + 0.01 + 1), rel=1e-5)


def test_soft_dice_averages_the_classes_without_the_background():
    logits = torch.full((1, 3, 2, 1, 1), -20.0)
    logits[0, 1, 0], logits[0, 2, 1] = 20.0, 20.0  # certain of class 1, then of class 2
    assert soft_dice(logits, label_of(1, 1)).item() == pytest.approx((1 - 2 / 3 + 1) / 2, rel=1e-3)


def test_entropy_is_counted_inside_the_mask():
    logits = logits_of(0.5, 0.999999)
    assert entropy(logits, label_of(1, 0).float()).item() == pytest.approx(math.log(2), rel=1e-5)
    assert entropy(logits).item() == pytest.approx(math.log(2) / 2, rel=1e-3)
    assert entropy(logits, label_of(0, 0).float()).item() == 0


def test_penalties_are_plain_sums_and_zero_leaves_a_term_out():
    weights = [torch.tensor([1.0, -2.0]), torch.tensor([3.0])]
    found = weight_penalties(weights, l1=0.1, l2=0.01)
    assert found["l1"].item() == pytest.approx(0.6)
    assert found["l2"].item() == pytest.approx(0.14)
    assert weight_penalties(weights, l1=0, l2=0) == {}


def test_domain_cross_entropy_weighs_both_domains_alike():
    """Source is class 1; three source maps and one target map count half each."""
    logits = torch.cat([logits_of(0.8).expand(3, -1, -1, -1, -1), logits_of(0.4)])
    found = domain_cross_entropy(logits, 3)
    assert found["domain_source"].item() == pytest.approx(-0.5 * math.log(0.8), rel=1e-5)
    assert found["domain_target"].item() == pytest.approx(-0.5 * math.log(0.6), rel=1e-5)


def test_focal_by_hand():
    loss = focal(logits_of(0.8, 0.1), label_of(1, 0), gamma=2.0)
    assert loss.item() == pytest.approx(-(0.2**2 * math.log(0.8) + 0.1**2 * math.log(0.9)) / 2, rel=1e-5)
    torch.testing.assert_close(
        focal(logits_of(0.8, 0.1), label_of(1, 0), gamma=0.0), cross_entropy(logits_of(0.8, 0.1), label_of(1, 0))
    )


def test_a_scaled_one_hot_by_hand():
    probability = torch.tensor([0.2, 0.6, 0.2]).reshape(1, 3, 1, 1, 1)
    scaled = scaled_one_hot(one_hot(label_of(0), 3), probability, floor=0.9)
    # the others had 0.6 and 0.2 of 0.8 and share what 0.9 leaves
    torch.testing.assert_close(scaled.flatten(), torch.tensor([0.9, 0.075, 0.025]))
    sure = torch.tensor([0.96, 0.03, 0.01]).reshape(1, 3, 1, 1, 1)
    torch.testing.assert_close(scaled_one_hot(one_hot(label_of(0), 3), sure, floor=0.9), sure)
    certain = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1, 1)
    torch.testing.assert_close(scaled_one_hot(one_hot(label_of(0), 3), certain, floor=0.9), certain)


def test_straight_through_is_hard_and_has_the_gradient_of_the_probabilities():
    logits = torch.tensor([0.3, 1.0, -0.5]).reshape(1, 3, 1, 1, 1).requires_grad_()
    weights = torch.tensor([2.0, -1.0, 0.5]).reshape(1, 3, 1, 1, 1)
    hard = straight_through(logits.softmax(1))
    torch.testing.assert_close(hard.flatten(), torch.tensor([0.0, 1.0, 0.0]))
    (mine,) = torch.autograd.grad((hard * weights).sum(), logits)
    (soft,) = torch.autograd.grad((logits.softmax(1) * weights).sum(), logits)
    torch.testing.assert_close(mine, soft)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_has_a_gradient_where_a_voxel_is_right_to_the_last_digit(gamma):
    logits = torch.tensor([0.0, 200.0]).reshape(1, 2, 1, 1, 1).repeat(1, 1, 2, 1, 1).requires_grad_()
    loss = focal(logits, label_of(1, 0), gamma=gamma)
    loss.backward()
    assert loss.item() == pytest.approx(100)  # the wrong voxel: 200 nats with weight 1; the right one: 0
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[0, :, 0].abs().max() == 0


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_by_hand_for_every_gamma(gamma):
    expected = [-((1 - p) ** gamma) * math.log(p) for p in (0.999, 0.7, 0.01)]
    loss = focal(logits_of(0.999, 0.7, 0.01), label_of(1, 1, 1), gamma=gamma)
    assert loss.item() == pytest.approx(sum(expected) / 3, rel=1e-4)


def test_focal_counts_voxels_by_their_weight():
    weight = torch.tensor([3.0, 1.0, 0.0]).reshape(1, 1, 3, 1, 1)
    loss = focal(logits_of(0.8, 0.1, 0.5), label_of(1, 0, 1), weight)
    assert loss.item() == pytest.approx(-(3 * 0.2**2 * math.log(0.8) + 0.1**2 * math.log(0.9)) / 4, rel=1e-5)
