"""Intervals of shares and Fleiss' kappa against published examples."""

import math

import numpy as np
import pytest

from medgen.metrics.agreement import fleiss_kappa, proportion


@pytest.mark.parametrize(
    ("hits", "n", "interval"),
    [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0, 0.1611)), (1, 29, (0.0061, 0.1718))],
)
def test_wilson_as_in_table_1_of_newcombe_1998(hits, n, interval):
    assert proportion(hits, n)["ci95"] == pytest.approx(interval, abs=5e-5)


def test_binomial_test_by_hand():
    """Of 4 cases all right: 2 of 16 outcomes are as extreme."""
    assert proportion(4, 4)["p"] == pytest.approx(2 / 16)
    assert proportion(2, 4) == {"share": 0.5, "ci95": pytest.approx((0.15, 0.85), abs=1e-3), "p": 1.0, "n": 4}


def test_no_case_is_no_share():
    nothing = proportion(0, 0)
    assert nothing["n"] == 0
    assert all(math.isnan(value) for value in (nothing["share"], *nothing["ci95"], nothing["p"]))


PSYCHIATRISTS = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]
"""The worked example of 14 raters, 10 subjects and 5 categories that textbooks give for Fleiss' kappa: 0.210."""


def test_the_worked_example_of_fleiss_kappa():
    assert fleiss_kappa(PSYCHIATRISTS) == pytest.approx(0.210, abs=5e-4)


def test_kappa_of_two_readers_by_hand():
    """Observed 3/4; both categories have 3 + 2 and 1 + 2 of 8 calls: expected (25 + 9) / 64."""
    expected = (25 + 9) / 64
    assert fleiss_kappa([[2, 0], [2, 0], [1, 1], [0, 2]]) == pytest.approx((0.75 - expected) / (1 - expected))


def test_perfect_and_absent_agreement():
    assert fleiss_kappa([[3, 0], [0, 3]]) == 1.0
    assert fleiss_kappa([[1, 1], [1, 1]]) == -1.0
    assert math.isnan(fleiss_kappa([[2, 0], [2, 0]]))
    random = np.random.default_rng(0).binomial(10, 0.5, 4000)
    assert abs(fleiss_kappa(np.stack([random, 10 - random], 1))) < 0.02


@pytest.mark.parametrize("counts", [[[1, 0]], [[2, 0], [2, 1]], np.zeros((0, 2))])
def test_a_table_that_kappa_is_not_defined_for(counts):
    with pytest.raises(ValueError, match="the same number of readers"):
        fleiss_kappa(counts)
