"""Summaries and tests against values done by hand or by scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from medgen.metrics.statistics import compare, compare_runs, gap_share, holm, summarise, summarise_runs

NAN, INF = float("nan"), float("inf")


def test_summary_by_hand():
    summary = summarise([1, 2, 3, 6])
    assert summary["mean"] == 3
    assert summary["sd"] == pytest.approx(math.sqrt((4 + 1 + 0 + 9) / 3))
    assert (summary["n"], summary["n_failed"], summary["n_infinite"]) == (4, 0, 0)


def test_fewer_than_six_cases_have_no_interval_and_no_test():
    five, six = [1.0, 2, 3, 6, 9], [1.0, 2, 3, 6, 9, 4]
    assert all(math.isnan(edge) for edge in summarise(five)["ci95"])
    assert all(math.isnan(edge) for edge in summarise([*five, NAN])["ci95"])
    low, high = summarise(six)["ci95"]
    assert 1 <= low < 25 / 6 < high <= 9
    few, enough = compare(five, [0.0] * 5), compare(six, [0.0] * 6)
    assert np.isnan([few["p"], *few["ci95"]]).all()
    assert enough["p"] == pytest.approx(2 / 2**6)
    runs, more = compare_runs([five] * 3, [[0.0] * 5] * 3), compare_runs([six], [[0.0] * 6])
    assert runs["mean_difference"] == pytest.approx(4.2)
    assert np.isnan([runs["p"], *runs["ci95"]]).all()
    assert more["p"] == enough["p"]
    assert math.isnan(summarise_runs([five, five])["ci95"][0])
    scored = [[*five, NAN, NAN], [*five, NAN, NAN]]  # cases without a number are none of the six
    assert math.isnan(summarise_runs(scored)["ci95"][0])
    assert math.isnan(gap_share([[0.0] * 5], [five], [[10.0] * 5])["share"])


def test_the_interval_is_that_of_scipy_and_equal_values_have_one_point():
    values = np.random.default_rng(0).exponential(10, 30)
    low, high = summarise(values, seed=3, draws=5000)["ci95"]
    theirs = stats.bootstrap((values,), np.mean, n_resamples=5000, rng=np.random.default_rng(3)).confidence_interval
    assert (low, high) == (theirs.low, theirs.high)
    percentile = stats.bootstrap(
        (values,), np.mean, n_resamples=5000, method="percentile", rng=np.random.default_rng(3)
    )
    assert high > percentile.confidence_interval.high  # the skew of the values is in it
    assert summarise([2.5] * 8)["ci95"] == (2.5, 2.5)


def test_failures_and_infinities_are_counted():
    summary = summarise([30.0, INF, NAN, 32.0, NAN])
    assert (summary["mean"], summary["n"], summary["n_failed"], summary["n_infinite"]) == (31.0, 2, 2, 1)


def test_all_perfect_and_all_failed():
    assert summarise([INF, INF, NAN])["mean"] == INF
    assert math.isnan(summarise([INF, -INF])["mean"])
    nothing = summarise([NAN, NAN])
    assert math.isnan(nothing["mean"])
    assert nothing["n_failed"] == 2
    assert summarise([])["n"] == 0


def test_one_case_has_no_interval():
    summary = summarise([4.0])
    assert summary["mean"] == 4
    assert math.isnan(summary["sd"])
    assert all(math.isnan(edge) for edge in summary["ci95"])


def test_interval_is_that_of_the_mean():
    values = np.random.default_rng(0).normal(50, 10, 200)
    low, high = summarise(values)["ci95"]
    half = 1.96 * values.std(ddof=1) / math.sqrt(200)
    assert low == pytest.approx(values.mean() - half, abs=0.25)
    assert high == pytest.approx(values.mean() + half, abs=0.25)


def test_interval_repeats_with_its_seed():
    values = np.random.default_rng(0).normal(size=9)
    assert summarise(values, seed=1) == summarise(values, seed=1)
    assert summarise(values, seed=1)["ci95"] != summarise(values, seed=2)["ci95"]


def test_comparison_is_paired():
    generator = np.random.default_rng(1)
    second = generator.normal(80, 30, 12)
    first = second - 2 + generator.normal(0, 0.5, 12)
    result = compare(first, second)
    assert result["mean_difference"] == pytest.approx((first - second).mean())
    assert result["ci95"][1] < 0  # unpaired, a shift of 2 in a spread of 30 would be lost
    assert result["p"] == pytest.approx(stats.wilcoxon(first, second).pvalue)
    assert result["p"] == pytest.approx(2 / 2**12)  # all twelve signs agree


def test_comparison_counts_broken_pairs():
    result = compare([1, 2, NAN, 4, 5], [0, 0, 0, INF, 4])
    assert (result["n"], result["n_failed"]) == (3, 2)
    assert result["mean_difference"] == pytest.approx(4 / 3)


def test_comparison_of_equal_and_of_single_values():
    assert compare(range(6), range(6))["p"] == 1
    assert math.isnan(compare([1], [2])["p"])
    with pytest.raises(ValueError, match="paired"):
        compare([1, 2], [1])


def test_holm_by_hand():
    adjusted = holm({"a": 0.04, "b": 0.01, "c": 0.02, "d": 0.5, "e": NAN})
    # ranks: .01 x 4, .02 x 3, .04 x 2, .5 x 1; never below the one before
    assert adjusted["b"] == pytest.approx(0.04)
    assert adjusted["c"] == pytest.approx(0.06)
    assert adjusted["a"] == pytest.approx(0.08)
    assert adjusted["d"] == pytest.approx(0.5)
    assert math.isnan(adjusted["e"])
    assert holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}


def test_runs_by_hand():
    summary = summarise_runs([[1, 2, 3], [3, 4, 8]])
    assert summary["mean"] == pytest.approx((2 + 5) / 2)
    assert summary["sd_seeds"] == pytest.approx(math.sqrt(2 * 1.5**2))
    assert summary["sd_cases"] == pytest.approx(np.std([2, 3, 5.5], ddof=1))
    assert (summary["n_seeds"], summary["n_cases"], summary["n_failed"]) == (2, 3, 0)


def test_runs_leave_out_and_count_failures():
    summary = summarise_runs([[1, NAN, 1, 1, 1, 1], [3, 5, 3, 3, 3, 7]])
    assert summary["mean"] == pytest.approx((1 + 4) / 2)
    assert summary["n_failed"] == 1
    assert np.isfinite(summary["ci95"]).all()


def test_runs_interval_has_both_sources_of_variation():
    generator = np.random.default_rng(0)
    cases, seeds = generator.normal(0, 1, 40), np.array([-3.0, 0.0, 3.0])
    table = seeds[:, None] + cases[None]
    low, high = summarise_runs(table)["ci95"]
    only_cases = summarise(table.mean(axis=0))["ci95"]
    assert high - low > 3 * (only_cases[1] - only_cases[0])
    # three seeds drawn with replacement: the variance of their mean is 6 / 3, plus that of the cases
    expected = math.sqrt(2 + cases.var() / 40)
    assert (high - low) / (2 * 1.96) == pytest.approx(expected, rel=0.15)


def test_runs_with_one_seed_are_the_summary_over_cases():
    values = np.random.default_rng(4).normal(60, 8, 30)
    runs, cases = summarise_runs([values]), summarise(values)
    assert runs["mean"] == pytest.approx(cases["mean"])
    assert runs["ci95"] == pytest.approx(cases["ci95"], abs=0.6)
    assert math.isnan(runs["sd_seeds"])
    with pytest.raises(ValueError, match="seeds by cases"):
        summarise_runs([1.0, 2.0])


def test_comparison_of_runs_by_hand():
    first = [[4, 6, 4, 6, 4, 6, NAN], [6, 8, 6, 8, 6, 8, 5]]
    second = [[1, 2, 1, 2, 1, 2, NAN], [1, 2, 1, 2, 1, 2, NAN], [4, 5, 4, 5, 4, 5, NAN]]
    result = compare_runs(first, second)
    # the last case has nothing to be paired with: means of 5 and 7, and of 1.5, 1.5 and 4.5
    assert result["mean_difference"] == pytest.approx(6 - 2.5)
    assert (result["n_cases"], result["n_seeds"], result["n_failed"]) == (6, (2, 3), 1)
    # cases are 5 and 7 in one, 2 and 3 in the other: all differences have one sign
    assert result["p"] == pytest.approx(stats.wilcoxon([3, 4] * 3).pvalue)


def test_comparison_of_runs_pairs_cases_and_not_seeds():
    generator = np.random.default_rng(3)
    cases = generator.normal(0, 5, 30)
    steady = compare_runs([cases + 1, cases + 1], [cases, cases])
    assert steady["mean_difference"] == pytest.approx(1)
    assert steady["ci95"] == pytest.approx((1, 1))  # drawn unpaired, cases alone would make it 3.5 wide
    seeds = np.array([[-1.0], [1.0]])
    shaken = compare_runs(cases + 1 + seeds, cases + seeds)
    assert shaken["ci95"] == pytest.approx((-1, 3))  # the extremes: all seeds low in one, high in the other
    better = cases + generator.normal(1, 2, 30)
    once, often = compare_runs([better], [cases]), compare_runs([better] * 9, [cases] * 9)
    assert often["p"] == pytest.approx(once["p"])  # more seeds are no more patients
    assert once["p"] == pytest.approx(stats.wilcoxon(better - cases).pvalue)


def test_comparison_of_runs_refuses_other_cases():
    with pytest.raises(ValueError, match="3 and 2 cases"):
        compare_runs([[1, 2, 3]], [[1, 2]])
    with pytest.raises(ValueError, match="seeds by cases"):
        compare_runs([1, 2, 3], [[1, 2, 3]])
    nothing = compare_runs([[NAN, 1.0]], [[1.0, NAN]])
    assert (nothing["n_cases"], nothing["n_failed"]) == (0, 2)
    assert math.isnan(nothing["mean_difference"])
    assert math.isnan(nothing["ci95"][0])


def test_share_of_a_gap_by_hand():
    low, high = [[0.1, 0.2] * 3] * 2, [[0.5, 0.6] * 3]
    result = gap_share(low, [[0.4, 0.5] * 3] * 3, high)
    assert result["gap"] == pytest.approx(0.4)
    assert result["share"] == pytest.approx(0.75)
    # every case has the same gap and the same share of it, whichever are drawn
    assert result["gap_ci95"] == pytest.approx((0.4, 0.4))
    assert result["ci95"] == pytest.approx((0.75, 0.75))
    assert gap_share(low, [[0.0, 0.1] * 3], high)["share"] == pytest.approx(-0.25)
    assert gap_share(low, [[0.6, 0.7] * 3], high)["share"] == pytest.approx(1.25)


def test_share_of_a_gap_knows_its_uncertainty():
    generator = np.random.default_rng(0)
    cases = generator.uniform(0.1, 0.3, 24)
    result = gap_share([cases], [cases + generator.normal(0.4, 0.1, 24)], [cases + 0.5])
    low, high = result["ci95"]
    assert low < result["share"] < high
    assert high - low == pytest.approx(2 * 1.96 * 0.1 / math.sqrt(24) / 0.5, rel=0.35)


def test_there_is_no_share_of_a_gap_that_may_be_none():
    result = gap_share([[0.1, 0.9, 0.5] * 2], [[0.3] * 6], [[0.9, 0.2, 0.6] * 2])
    assert result["gap"] == pytest.approx(0.2 / 3)
    assert result["gap_ci95"][0] < 0
    assert math.isnan(result["share"])
    assert math.isnan(result["ci95"][1])
