"""Overlap and volumes of masks small enough to count, and what empty ones are worth."""

import math

import numpy as np
import pytest

from medgen.metrics import overlap
from medgen.metrics.overlap import dice, joint_box, precision, recall, volume, volume_error

EMPTY = np.zeros((4, 4, 4), dtype=bool)


def block(*sides, shape=(4, 4, 4)):
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


def test_counted_by_hand():
    truth, prediction = block((0, 2), (0, 2), (0, 2)), block((1, 4), (0, 2), (0, 2))  # 8 and 12 voxels, 4 in common
    assert dice(prediction, truth) == pytest.approx(8 / 20)
    assert recall(prediction, truth) == 4 / 8
    assert precision(prediction, truth) == pytest.approx(4 / 12)
    assert volume(prediction, (0.5, 0.5, 3.0)) == pytest.approx(12 * 0.75 / 1000)
    assert volume_error(prediction, truth, (10, 10, 10)) == pytest.approx(4)
    assert volume_error(truth, prediction, (10, 10, 10)) == pytest.approx(-4)


def test_a_perfect_prediction():
    truth = block((1, 3), (1, 3), (1, 3))
    assert (dice(truth, truth), recall(truth, truth), precision(truth, truth)) == (1, 1, 1)


def test_a_missed_structure_scores_nothing_everywhere():
    truth = block((1, 3), (1, 3), (1, 3))
    assert (dice(EMPTY, truth), recall(EMPTY, truth), precision(EMPTY, truth)) == (0, 0, 0)


def test_an_invented_structure_scores_nothing_and_has_no_recall():
    invented = block((1, 3), (1, 3), (1, 3))
    assert (dice(invented, EMPTY), precision(invented, EMPTY)) == (0, 0)
    assert math.isnan(recall(invented, EMPTY))


def test_two_empty_masks_are_not_applicable():
    assert all(math.isnan(metric(EMPTY, EMPTY)) for metric in (dice, recall, precision))
    assert volume_error(EMPTY, EMPTY, (1, 1, 1)) == 0


@pytest.mark.parametrize("name", ["dice", "recall", "precision"])
def test_what_is_no_mask_is_refused(name):
    metric = getattr(overlap, name)
    with pytest.raises(ValueError, match="bool"):
        metric(np.full((4, 4, 4), 0.5), EMPTY)
    with pytest.raises(ValueError, match="one shape"):
        metric(EMPTY[:3], EMPTY)


def test_the_box_of_both():
    assert joint_box(block((1, 2), (0, 1), (3, 4)), block((3, 4), (1, 3), (3, 4))) == (
        slice(1, 4),
        slice(0, 3),
        slice(3, 4),
    )
    assert joint_box(EMPTY, EMPTY) is None
