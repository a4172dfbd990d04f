"""Lesions and patients scored as PI-CAI does: areas by hand, and picai_eval itself where it is there."""

import math
import time

import numpy as np
import pytest
from random_lesions import random_maps

from medgen.metrics.detection import (
    FALSE_POSITIVES,
    CaseDetection,
    Detection,
    Finding,
    match_lesions,
    summarise,
)
from medgen.metrics.permutation import permutation_test


def case(*findings, confidence=None):
    """``(lesion, confidence)`` pairs as a case."""
    found = tuple(Finding(bool(lesion), sure, 0.5 if lesion and sure else 0.0) for lesion, sure in findings)
    return CaseDetection(found, max((sure for _, sure in findings), default=0.0) if confidence is None else confidence)


COHORT = {
    "a": case((1, 0.9), (0, 0.3)),
    "b": case((1, 0.6), (1, 0.0)),
    "c": case((0, 0.6)),
    "d": case(),
}


def test_areas_worked_out_by_hand():
    found = summarise(COHORT)
    # Pairs of a case with and one without: a beats c and d, b beats d and ties with c.
    assert found.auroc == pytest.approx(3.5 / 4)
    # Thresholds 0.9: 1 hit, precision 1. 0.6: 2 hits, 1 false, precision 2/3. 0.3: no step. 3 lesions.
    assert found.ap == pytest.approx((1 + 2 / 3) / 3)
    assert found.score == pytest.approx((3.5 / 4 + 5 / 9) / 2)
    assert not found.reasons
    assert found.froc.false_positives.tolist() == [0, 0, 0.25, 0.5]
    assert found.froc.sensitivity.tolist() == [0, 1 / 3, 2 / 3, 2 / 3]
    assert found.precision_recall.precision.tolist() == [1, 1, 2 / 3, 0.5]
    assert found.precision_recall.recall.tolist() == [0, 1 / 3, 2 / 3, 2 / 3]
    assert found.roc.false_positive_rate.tolist() == [0, 0, 0.5, 1]
    assert found.roc.sensitivity.tolist() == [0, 0.5, 1, 1]
    assert found.roc.threshold.tolist() == [np.inf, 0.9, 0.6, 0]
    assert [found.sensitivity_at(rate) for rate in (0, 0.1, 0.24, 0.25, 0.5, 2)] == pytest.approx(
        [1 / 3, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 2 / 3]
    )
    assert found.values["sensitivity_at_0.25"] == pytest.approx(2 / 3)


def test_the_least_sure_candidate_counts_where_every_lesion_is_found():
    """picai_eval replaces that last point of the curve, and would say 1/2 here."""
    found = summarise({"a": case((1, 0.9), (1, 0.2)), "b": case((0, 0.2))})
    assert found.sensitivity_at(0.5) == 1
    assert found.sensitivity_at(0.4) == 0.5


def test_one_class_has_no_area_but_a_reason():
    sick = summarise({"a": case((1, 0.9)), "b": case((1, 0.0))})
    assert math.isnan(sick.auroc)
    assert math.isnan(sick.score)
    assert sick.ap == 0.5
    assert sick.reasons == dict.fromkeys(("auroc", "score"), "all of the 2 cases have a lesion")
    healthy = summarise({"a": case((0, 0.9)), "b": case(), "c": case()})
    assert math.isnan(healthy.auroc)
    assert math.isnan(healthy.ap)
    assert set(healthy.reasons) == {"auroc", "ap", "score", *(f"sensitivity_at_{rate:g}" for rate in FALSE_POSITIVES)}
    assert healthy.reasons["ap"] == "none of the 3 cases has a lesion"
    for found in (healthy, sick):
        assert len(found.roc.sensitivity) == 0
        assert all(math.isnan(side) for side in found.intervals(draws=50)["auroc"])
    assert summarise({}).reasons["auroc"] == "there is no case"
    assert len(healthy.froc.sensitivity) == len(healthy.precision_recall.recall) == 0


def cohort(number, seed, *, skill=1.5):
    """Random cases, half of them with one or two lesions; confidences of two decimals, so that many tie."""
    generator = np.random.default_rng(seed)
    cases = {}
    for index in range(number):
        lesions = int(generator.integers(1, 3)) if index % 2 else 0
        found = [(1, round(1 / (1 + math.exp(-generator.normal(skill))), 2)) for _ in range(lesions)]
        missed = [(1, 0.0) for _, sure in found if sure < 0.5]
        found = [each for each in found if each[1] >= 0.5]
        false = [(0, round(1 / (1 + math.exp(-generator.normal(0))), 2)) for _ in range(generator.poisson(1))]
        cases[f"c{index:03d}"] = case(*found, *missed, *false)
    return cases


def plainly(detection: Detection, names):
    """AUROC and AP of a sample of cases by counting pairs and stepping through thresholds."""
    cases = [detection.cases[name] for name in names]
    sick = [each.confidence for each in cases if each.lesions_true]
    healthy = [each.confidence for each in cases if not each.lesions_true]
    pairs = [(one > other) + (one == other) / 2 for one in sick for other in healthy]
    findings = [finding for each in cases for finding in each.findings]
    lesions, area, before = sum(finding.lesion for finding in findings), 0.0, 0
    for threshold in sorted({finding.confidence for finding in findings} - {0.0}, reverse=True):
        kept = [finding.lesion for finding in findings if finding.confidence >= threshold]
        area += (sum(kept) - before) / lesions * sum(kept) / len(kept)
        before = sum(kept)
    return sum(pairs) / len(pairs), area


def test_a_bootstrap_sample_is_what_its_cases_give():
    found = summarise(cohort(30, seed=1))
    samples = found.resampled(seed=3, draws=20)
    counts = np.random.default_rng(3).multinomial(30, np.full(30, 1 / 30), 20)
    for draw in range(20):
        names = [name for name, times in zip(found.cases, counts[draw], strict=True) for _ in range(times)]
        auroc, ap = plainly(found, names)
        assert samples["auroc"][draw] == pytest.approx(auroc)
        assert samples["ap"][draw] == pytest.approx(ap)
        assert samples["score"][draw] == pytest.approx((auroc + ap) / 2)


def test_intervals_hold_the_number_and_shrink_with_the_cohort():
    small, large = (summarise(cohort(number, seed=2)).intervals(draws=400) for number in (40, 400))
    for name in ("auroc", "ap", "score", "sensitivity_at_1"):
        assert small[name][1] - small[name][0] > 2 * (large[name][1] - large[name][0])
    found = summarise(cohort(40, seed=2))
    assert small["auroc"][0] < found.auroc < small["auroc"][1]
    assert found.intervals(draws=400) == small
    assert found.intervals(draws=400, seed=1) != small


def test_studies_of_one_patient_are_drawn_together():
    once = cohort(20, seed=4)
    thrice = {f"{name}_{study}": each for name, each in once.items() for study in range(3)}
    patients = {name: name.split("_")[0] for name in thrice}
    alone, grouped, naive = summarise(once), summarise(thrice, patients=patients), summarise(thrice)
    assert grouped.auroc == pytest.approx(alone.auroc)
    assert grouped.resampled(draws=50)["auroc"] == pytest.approx(alone.resampled(draws=50)["auroc"])
    width = {key: np.ptp(each.intervals()["auroc"]) for key, each in (("grouped", grouped), ("naive", naive))}
    assert width["grouped"] > 1.3 * width["naive"]


def test_a_draw_of_a_challenge_costs_far_less_than_a_loop_over_its_cases():
    """Of 400 cases; some hundred times less on any machine, of which a tenth is asked."""
    found = summarise(cohort(400, seed=5))
    started = time.process_time()
    for draw in range(5):
        plainly(found, np.random.default_rng(draw).choice(list(found.cases), 400))
    loop = (time.process_time() - started) / 5
    started = time.process_time()
    found.intervals(draws=1000)
    assert (time.process_time() - started) / 1000 < loop / 10


def test_permutation_of_a_model_with_itself_and_with_a_better_one():
    poor, good = summarise(cohort(80, seed=6, skill=0.1)), summarise(cohort(80, seed=6, skill=4.0))
    same = permutation_test(poor, poor, draws=200)
    assert same["auroc"] == (0, (0, 0), 1)
    better = permutation_test(good, poor, draws=500)
    assert better["ap"].difference == pytest.approx(good.ap - poor.ap)
    assert better["ap"].p == pytest.approx(1 / 501)
    assert better["ap"].ci95[0] > 0
    worse = permutation_test(poor, good, draws=500)
    assert worse["ap"].difference == pytest.approx(-better["ap"].difference)
    assert worse["ap"].p == better["ap"].p


def test_p_is_the_share_of_all_exchanges():
    """Six patients have 64 exchanges; each p of the test must be near the share among these.

    What is exchanged are ranks: of the surest of three candidates 1, of the second 2/3, of the last 1/3.
    """
    silent = {"d": case((1, 0.0)), "e": case(), "f": case()}
    first = summarise({"a": case((1, 0.9)), "b": case((1, 0.7)), "c": case((0, 0.4))} | silent)
    second = summarise({"b": case((1, 0.0), (0, 0.8)), "c": case((0, 0.9)), "a": case((1, 0.95))} | silent)
    ranked = (
        {"a": case((1, 1)), "b": case((1, 2 / 3)), "c": case((0, 1 / 3))} | silent,
        {"a": case((1, 1)), "b": case((1, 0.0), (0, 1 / 3)), "c": case((0, 2 / 3))} | silent,
    )
    differences = []
    for bits in range(64):
        swap = {name: bits >> place & 1 for place, name in enumerate("abcdef")}
        one, two = (summarise({n: ranked[swap[n] == side][n] for n in "abcdef"}) for side in (1, 0))
        differences.append(one.score - two.score)
    exact = np.mean(np.abs(differences) >= abs(differences[0]) - 1e-12)
    assert 0 < exact < 1
    assert permutation_test(first, second, draws=4000)["score"].p == pytest.approx(exact, abs=0.03)


def test_the_p_of_equal_models_is_spread_evenly():
    small = [
        permutation_test(summarise(cohort(40, seed)), summarise(cohort_alike(40, seed)), draws=99)["score"].p
        for seed in range(60)
    ]
    assert 0.02 < np.mean(np.array(small) < 0.2) < 0.4


def cohort_alike(number, seed):
    """The same lesions, read anew by a model of the same skill."""
    truth, generator = cohort(number, seed), np.random.default_rng(seed + 1000)
    cases = {}
    for name, each in truth.items():
        sure = [round(1 / (1 + math.exp(-generator.normal(1.5))), 2) for _ in range(each.lesions_true)]
        false = [(0, round(1 / (1 + math.exp(-generator.normal(0))), 2)) for _ in range(generator.poisson(1))]
        cases[name] = case(*((1, value if value >= 0.5 else 0.0) for value in sure), *false)
    return cases


def test_models_on_other_cases_are_not_compared():
    one = summarise({"a": case((1, 0.9)), "b": case()})
    with pytest.raises(ValueError, match="1 cases are in one"):
        permutation_test(one, summarise({"a": case((1, 0.9))}))
    with pytest.raises(ValueError, match="the first is b"):
        permutation_test(one, summarise({"a": case((1, 0.9)), "b": case((1, 0.0))}))


@pytest.mark.parametrize("seed", range(5))
def test_areas_equal_picai_eval(seed):
    picai = pytest.importorskip("picai_eval.metrics", reason="pip install medgen[test]")
    cases = cohort(40, seed) | {name: match_lesions(*random_maps(name)) for name in range(seed, seed + 5)}
    cases = {str(name): each for name, each in cases.items()} | {"missed": case((1, 0.0))}
    found = summarise(cases)
    expected = picai.Metrics(
        {name: [tuple(finding) for finding in each.findings] for name, each in cases.items()},
        case_pred={name: each.confidence for name, each in cases.items()},
    )
    assert found.auroc == pytest.approx(expected.auroc, abs=1e-12)
    assert found.ap == pytest.approx(expected.AP, abs=1e-12)
    assert found.score == pytest.approx(expected.score, abs=1e-12)
    for rate in FALSE_POSITIVES:
        assert found.sensitivity_at(rate) == pytest.approx(expected.lesion_TPR_at_FPR(rate), abs=1e-6)
