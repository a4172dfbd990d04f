"""Consistency losses and class-balanced labels by hand."""

import math

import pytest
import torch

from medgen.losses.consistency import (
    balanced_labels,
    class_thresholds,
    confident,
    mean_squared,
    sharpened,
    soft_cross_entropy,
)
from medgen.losses.segmentation import cross_entropy, soft_dice


def voxels(*values):
    """Two class probabilities for a row of voxels, from the probability of class 1."""
    one = torch.tensor(values, dtype=torch.float32).view(1, 1, -1, 1, 1)
    return torch.cat([1 - one, one], dim=1)


def row(*values):
    return torch.tensor(values, dtype=torch.float32).view(1, 1, -1, 1, 1)


def test_mean_squared_difference_inside_the_mask():
    logits = voxels(0.5, 0.9).log()
    # voxel 1: both classes differ by 0.3; voxel 2 is outside
    assert mean_squared(logits, voxels(0.8, 0.1), row(1, 0)).item() == pytest.approx(0.09, rel=1e-5)
    # weights 1 and 3: (0.09 + 3 * 0.64) / 4
    assert mean_squared(logits, voxels(0.8, 0.1), row(1, 3)).item() == pytest.approx(0.5025, rel=1e-5)
    assert mean_squared(logits, voxels(0.8, 0.1), row(0, 0)).item() == 0


def test_soft_cross_entropy_by_hand():
    logits = voxels(0.25).log()
    expected = -(0.6 * math.log(0.25) + 0.4 * math.log(0.75))
    assert soft_cross_entropy(logits, voxels(0.6), row(1)).item() == pytest.approx(expected, rel=1e-5)


def test_sharpened_probabilities():
    # squares of 0.6 and 0.4: 0.36 and 0.16 of 0.52
    assert sharpened(voxels(0.6), 0.5)[0, 1].item() == pytest.approx(0.36 / 0.52, rel=1e-5)
    assert sharpened(voxels(0.6), 1.0)[0, 1].item() == pytest.approx(0.6)
    assert sharpened(voxels(0.99, 0.01), 0.01).sum(dim=1).flatten().tolist() == pytest.approx([1, 1])


def test_confident_voxels_of_the_mask():
    probability = voxels(0.95, 0.05, 0.6, 0.9)
    assert confident(probability, row(1, 1, 1, 0), 0.8).flatten().tolist() == [1, 1, 0, 0]


def test_thresholds_of_the_surest_portion_of_each_class():
    probability = voxels(0.9, 0.8, 0.7, 0.6, 0.1, 0.2, 0.99)
    inside = row(1, 1, 1, 1, 1, 1, 0)
    background, lesion = class_thresholds(probability, inside, 0.5).tolist()
    assert background == pytest.approx(0.9)  # one of 0.9 and 0.8
    assert lesion == pytest.approx(0.8)  # two of 0.9, 0.8, 0.7, 0.6; the last voxel is outside
    assert class_thresholds(probability, inside, 0.51)[1].item() == pytest.approx(0.7)  # rounded up to three
    assert class_thresholds(voxels(0.1, 0.2), row(1, 1), 0.5).isnan().tolist() == [False, True]


def test_a_rare_class_with_a_low_threshold_wins_over_the_most_probable_one():
    label, chosen = balanced_labels(voxels(0.45, 0.65, 0.02, 0.02), row(1, 1, 1, 0), torch.tensor([0.95, 0.4]))
    # 0.45 / 0.4 > 0.55 / 0.95: lesion, although background is more probable
    assert label.flatten().tolist() == [1, 1, 0, 0]
    assert chosen.flatten().tolist() == [1, 1, 1, 0]
    label, chosen = balanced_labels(voxels(0.3), row(1), torch.tensor([0.95, 0.4]))
    assert chosen.item() == 0  # 0.75 and 0.74 of the thresholds: no class is sure enough


def test_weighted_losses_of_labels():
    logits, label = voxels(0.8, 0.3).log(), torch.tensor([1, 1]).view(1, 1, 2, 1, 1)
    assert cross_entropy(logits, label, row(1, 0)).item() == pytest.approx(-math.log(0.8), rel=1e-5)
    assert cross_entropy(logits, label, row(1, 1)).item() == pytest.approx(cross_entropy(logits, label).item())
    assert cross_entropy(logits, label, row(0, 0)).item() == 0
    assert soft_dice(logits, label, row(1, 0)).item() == pytest.approx(1 - 1.6 / (0.64 + 1), rel=1e-4)
    assert soft_dice(logits, label, row(1, 1)).item() == pytest.approx(soft_dice(logits, label).item())
