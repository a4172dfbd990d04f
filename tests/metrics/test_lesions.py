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


def test_a_prediction_of_everything_finds_nothing():
    truth = np.zeros((40, 40, 40), dtype=bool)
    truth[3:6, 3:6, 3:6] = truth[20:28, 20:28, 20:28] = True
    counts = count_lesions(np.ones_like(truth), truth)
    assert counts == (2, 0, 1, 0)
    assert (counts.recall, counts.precision, counts.f1) == (0, 0, 0)


def test_one_prediction_claims_one_lesion_and_one_lesion_one_prediction():
    merged = count_lesions(*masks("xxxxx", "xx.xx"))
    assert merged == (2, 1, 1, 1)
    assert merged.f1 == pytest.approx(2 / 3)
    assert count_lesions(*masks("xx.xx", "xxxxx")) == (1, 1, 2, 1)


def test_as_many_matches_as_can_be():
    # The first prediction overlaps the second lesion most, but only it can match the first one.
    assert count_lesions(*masks("..xxxxx.x", "xxx.xxxxx"), overlap=0.1) == (2, 2, 2, 2)


def test_corners_connect():
    mask = np.zeros((4, 4, 4), dtype=bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert count_lesions(mask, mask) == (1, 1, 1, 1)
    mask[3, 3, 3] = True
    assert count_lesions(mask, mask) == (2, 2, 2, 2)


def test_the_overlap_that_makes_a_match():
    pair = masks("xx......xxxx", "xxxx......xx")  # half of the first true lesion, twice the second
    assert count_lesions(*pair, overlap=0.5) == (2, 2, 2, 2)
    assert count_lesions(*pair, overlap=0.51) == (2, 0, 2, 0)
    tenth = masks("x.........", "xxxxxxxxxx")
    assert count_lesions(*tenth).found == 1
    assert count_lesions(*masks("x..........", "xxxxxxxxxxx")).found == 0


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


@pytest.mark.parametrize("overlap", [0, 1.5])
def test_an_overlap_that_means_nothing_is_refused(overlap):
    with pytest.raises(ValueError, match="overlap"):
        count_lesions(*masks("x", "x"), overlap=overlap)
