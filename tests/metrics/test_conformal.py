"""Conformal quantiles by hand, and over patients that are exchangeable."""

import math

import numpy as np
import pytest

from medgen.metrics.conformal import (
    conformal_quantile,
    fewest_patients,
    histogram,
    left_out_coverage,
    share_within,
)
from medgen.metrics.intervals import UNITS, interval_scores
from medgen.metrics.sparsification import REMOVED, accept_reject, ause, sparsification
from medgen.metrics.uncertainty import uncertainty_scores


def patients(*scores):
    return [histogram(np.array(each, float)) for each in scores]


class TestQuantile:
    def test_patients_count_alike(self):
        """1000 voxels of the one weigh as much as the single voxel of the other."""
        both = patients(np.linspace(0.001, 1, 1000), [5.0])
        assert conformal_quantile(both, 0.25) == pytest.approx(0.5, rel=3e-3)
        assert conformal_quantile(both, 0.75) == pytest.approx(5, rel=1e-3)

    def test_finite_samples_by_hand(self):
        """Nine patients with one voxel each: 0.9 (9 + 1) / 9 = 1, so the largest; 0.8 takes rank 8 of 10."""
        nine = patients(*[[rank] for rank in range(1, 10)])
        assert conformal_quantile(nine, 0.9, guaranteed=True) == pytest.approx(9, rel=1e-3)
        assert conformal_quantile(nine, 0.8, guaranteed=True) == pytest.approx(8, rel=1e-3)
        assert conformal_quantile(nine, 0.8) == pytest.approx(8, rel=1e-3)
        assert conformal_quantile(nine, 0.5) == pytest.approx(5, rel=1e-3)

    def test_too_few_patients_have_no_guarantee(self):
        assert [fewest_patients(each) for each in (0.5, 0.8, 0.9, 0.95)] == [1, 4, 9, 19]
        with pytest.raises(ValueError, match="8 patients are too few"):
            conformal_quantile(patients(*[[1.0]] * 8), 0.9, guaranteed=True)

    def test_the_quantile_is_an_upper_edge(self):
        scores = np.random.default_rng(0).exponential(size=5000)
        quantile = conformal_quantile(patients(scores), 0.9)
        exact = np.quantile(scores, 0.9, method="inverted_cdf")
        assert exact <= quantile <= exact * 1.0011
        assert share_within(histogram(scores), quantile) == pytest.approx(np.mean(scores <= quantile))

    def test_beyond_all_bins_it_is_infinite(self):
        assert math.isinf(conformal_quantile(patients([np.inf, 1.0]), 0.9))
        assert conformal_quantile(patients([0.0]), 0.9) == pytest.approx(1e-4)

    def test_left_out(self):
        assert left_out_coverage(patients([1.0, 2.0], [1.0, 3.0]), 0.9) == [1.0, 0.5]

    def test_exchangeable_patients_reach_the_coverage(self):
        """Patients with errors of their own size: mean coverage of 600 new ones near 0.9, guaranteed above it."""
        random = np.random.default_rng(7)

        def cohort(count):
            sizes = random.lognormal(sigma=0.3, size=count)
            return [histogram(size * np.abs(random.normal(size=400))) for size in sizes]

        plain, sure = [], []
        for _ in range(60):
            known, new = cohort(20), cohort(10)
            for found, guaranteed in ((plain, False), (sure, True)):
                quantile = conformal_quantile(known, 0.9, guaranteed=guaranteed)
                found += [share_within(each, quantile) for each in new]
        assert np.mean(plain) == pytest.approx(0.9, abs=0.015)
        assert 0.9 < np.mean(sure) < 0.98


class TestIntervals:
    def test_by_hand(self):
        truth = np.array([-1000.0, 0.0, 50.0, 300.0]).reshape(1, 2, 2)
        lower, upper = truth - 10, truth + np.array([10.0, 30.0, -5.0, 0.0]).reshape(1, 2, 2)
        scores = interval_scores(lower, upper, truth)
        assert list(scores) == list(UNITS)
        assert scores["interval_coverage"] == 0.75
        assert (scores["interval_coverage_soft"], scores["interval_width_soft"]) == (0.5, 22.5)
        assert (scores["interval_coverage_bone"], scores["interval_width_bone"]) == (1, 10)
        without = interval_scores(lower, upper, truth, truth > -900)
        assert math.isnan(without["interval_coverage_air"])
        assert without["interval_width"] == pytest.approx(55 / 3)
        with pytest.raises(ValueError, match="shapes"):
            interval_scores(lower[:, :1], upper, truth)


class TestSparsification:
    def test_by_hand(self):
        """Errors 1 to 4 of mean 2.5, ranked the wrong way: half of them removed, the mean is 3.5, of the oracle 1.5."""
        curve, oracle = sparsification(np.array([4.0, 3, 2, 1]), np.array([1.0, 2, 3, 4]))
        assert (curve[0], oracle[0]) == (1, 1)
        assert (curve[10], oracle[10]) == pytest.approx((1.4, 0.6))
        assert (curve[15], oracle[15]) == pytest.approx((1.6, 0.4))

    def test_area(self):
        error = np.array([1.0, 2, 3, 4])
        assert ause(error, error) == 0
        assert ause(np.ones(4), error) == pytest.approx(np.trapezoid(1 - sparsification(error, error)[1], REMOVED))
        assert ause(-error, error) > ause(np.ones(4), error) > 0

    def test_ties_do_not_depend_on_the_order(self):
        sd, error = np.array([1.0, 1, 2, 2]), np.array([1.0, 3, 5, 7])
        assert ause(sd, error) == ause(sd[::-1], error[::-1]) == ause(sd, error[[1, 0, 3, 2]])

    def test_nothing_there(self):
        assert math.isnan(ause(np.empty(0), np.empty(0)))
        assert math.isnan(ause(np.ones(2), np.zeros(2)))
        assert math.isnan(ause(np.ones(2), np.array([1.0, np.nan])))

    def test_by_tissue(self):
        truth = np.array([-1000.0, -1000, 0, 0]).reshape(1, 2, 2)
        sd, error = np.array([2.0, 1, 1, 2]).reshape(1, 2, 2), np.array([1.0, 2, 1, 2]).reshape(1, 2, 2)
        scores = uncertainty_scores(sd, truth + error, truth)
        assert scores["ause_soft"] == 0 < scores["ause_air"]
        assert math.isnan(scores["ause_bone"])

    def test_accept_reject_leaves_out_failed_cases(self):
        accepted, mae = accept_reject(np.array([2.0, np.nan, 1.0, 3.0]), np.array([60.0, 1.0, 30.0, 90.0]))
        assert accepted == pytest.approx([1 / 3, 2 / 3, 1])
        assert mae == [30, 45, 60]
