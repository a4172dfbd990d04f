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


def test_patients_are_drawn_whole():
    """Eight patients, each usual and odd. Drawn whole, an odd one always beats the usual one of the same patient, so
    no draw is below 1/2; drawn apart, some are."""
    values = [*range(8), *(each + 0.5 for each in range(8))]
    odd, patients = [False] * 8 + [True] * 8, [*"abcdefgh"] * 2
    whole, apart = separation(values, odd, patients=patients), separation(values, odd)
    assert whole["auroc"] == apart["auroc"] == pytest.approx(36 / 64)
    low, high = whole["ci95"]
    assert 0.5 < low < high < 1
    assert high - low < apart["ci95"][1] - apart["ci95"][0]  # pairs of one patient move together
