"""Area under the ROC curve of odd against usual cases, by hand."""

import math

import numpy as np
import pytest

from medgen.metrics.separation import separation


def test_by_hand():
    """Odd 2, 4, 5 against usual 1, 3: (1 > , 2 <), (1, 3 <), (1, 3 <): 5 of 6 pairs."""
    found = separation([2.0, 4.0, 5.0, 1.0, 3.0], [True, True, True, False, False])
    assert found["auroc"] == pytest.approx(5 / 6)
    assert (found["n_odd"], found["n_usual"]) == (3, 2)
    assert math.isnan(found["ci95"][0])  # five patients give no interval


def test_a_tie_counts_half():
    assert separation([1.0, 1.0], [True, False])["auroc"] == 0.5


def test_less_is_below_half():
    assert separation([0.0, 1.0], [True, False])["auroc"] == 0.0


@pytest.mark.parametrize("kind", [True, False])
def test_one_kind_alone_has_no_area(kind):
    found = separation(np.arange(8.0), [kind] * 8)
    assert math.isnan(found["auroc"])
    assert all(map(math.isnan, found["ci95"]))


def test_interval_by_hand():
    """Three usual, three odd, all pairs won but (4, 3): without 3 or 4 the area is 1, without another patient 5/6."""
    values, odd = [1.0, 2.0, 4.0, 3.0, 5.0, 6.0], [False] * 3 + [True] * 3
    found = separation(values, odd)
    areas = np.array([5 / 6, 5 / 6, 1, 1, 5 / 6, 5 / 6])
    reach = 2.5705818 * math.sqrt(5 / 6 * ((areas - areas.mean()) ** 2).sum())
    assert found["auroc"] == pytest.approx(8 / 9)
    assert found["ci95"] == (pytest.approx(8 / 9 - reach), 1.0)


def test_patients_are_left_out_whole():
    """Eight patients, each usual and odd: without any of them, 28 of 49 pairs are won. A bootstrap would draw a
    patient with itself too often, and its interval lie above the area."""
    values = [*range(8), *(each + 0.5 for each in range(8))]
    odd, patients = [False] * 8 + [True] * 8, [*"abcdefgh"] * 2
    whole, apart = separation(values, odd, patients=patients), separation(values, odd)
    assert whole["auroc"] == apart["auroc"] == pytest.approx(36 / 64)
    assert whole["ci95"] == (pytest.approx(36 / 64), pytest.approx(36 / 64))
    assert apart["ci95"][0] < 0.5
    assert apart["ci95"][1] > 0.7
