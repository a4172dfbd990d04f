"""Lesions found, missed and invented, counted by hand."""

import math

import numpy as np
import pytest

from medgen.metrics.lesions import count_lesions


def masks(*rows):
    """Prediction and truth from two rows of text, one voxel a letter."""
    return tuple(np.array([[[letter == "x" for letter in row]]]) for row in rows)


def test_hits_misses_and_false_alarms():
    counts = count_lesions(*masks("xx...x..x.", "x..x....xx"))
    assert counts == (3, 2, 3, 2)
    assert (counts.recall, counts.precision) == pytest.approx((2 / 3, 2 / 3))
    assert counts.f1 == pytest.approx(2 / 3)
    uneven = count_lesions(*masks("x.x.x.x...", "x........x"))
    assert (uneven.recall, uneven.precision, uneven.f1) == pytest.approx((1 / 2, 1 / 4, 1 / 3))


def test_one_prediction_over_two_lesions_finds_both_and_two_pieces_on_one_are_no_false_alarm():
    assert count_lesions(*masks("xxxxx", "xx.xx")) == (2, 2, 1, 1)
    split = count_lesions(*masks("xx.xx", "xxxxx"))
    assert split == (1, 1, 2, 2)
    assert split.f1 == 1


def test_corners_connect():
    mask = np.zeros((4, 4, 4), dtype=bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert count_lesions(mask, mask) == (1, 1, 1, 1)
    mask[3, 3, 3] = True
    assert count_lesions(mask, mask) == (2, 2, 2, 2)


def test_the_share_that_makes_a_hit():
    pair = masks("xx......xxxx", "xxxx......xx")  # half of the first true lesion, all of the second; right: all, half
    assert count_lesions(*pair) == (2, 2, 2, 2)
    assert count_lesions(*pair, share=0.5) == (2, 2, 2, 2)
    assert count_lesions(*pair, share=0.6) == (2, 1, 2, 1)
    thirds = masks("x..", "xxx")
    assert count_lesions(*thirds, share=1 / 3).found == 1
    assert count_lesions(*thirds, share=0.34).found == 0


def test_small_lesions_are_not_counted_but_no_false_alarm_either():
    pair = masks("x..xxx.x", "x..xxx..")
    spacing = (2.0, 2.0, 2.0)
    assert count_lesions(*pair, spacing) == (2, 2, 3, 2)
    assert count_lesions(*pair, spacing, minimum_ml=0.024) == (1, 1, 1, 1)  # three voxels of 8 mm3
    assert count_lesions(*pair, spacing, minimum_ml=0.025) == (0, 0, 0, 0)
    # A large prediction on a small true lesion is right, although the lesion is not counted.
    assert count_lesions(*masks("xxx", "x.."), spacing, minimum_ml=0.024) == (0, 0, 1, 1)


def test_without_lesions():
    nothing, some = masks("....", "x..x")
    missed, invented, neither = (
        count_lesions(*pair) for pair in ((nothing, some), (some, nothing), (nothing, nothing))
    )
    assert (missed.recall, missed.precision, missed.f1) == (0, 0, 0)
    assert math.isnan(invented.recall)
    assert (invented.precision, invented.f1) == (0, 0)
    assert all(math.isnan(value) for value in (neither.recall, neither.precision, neither.f1))
    assert neither == (0, 0, 0, 0)


def test_a_share_above_one_is_refused():
    with pytest.raises(ValueError, match="share"):
        count_lesions(*masks("x", "x"), share=1.5)
