"""The permutation test compares two models in ranks, so that a scale of confidences does not decide."""

import numpy as np
import pytest

from medgen.metrics.detection import CaseDetection, Finding, summarise
from medgen.metrics.permutation import permutation_test
from medgen.metrics.ranking import area_under_roc, average_precision, count_findings, sensitivity_at


def model(seed, *, found, scale=lambda sure: sure):
    """Sixty cases, thirty with a lesion that is found with a probability, and false positives in all; many tie."""
    generator = np.random.default_rng(seed)
    cases = {}
    for index in range(60):
        sure = float(np.round(generator.uniform(0.3, 1), 1)) if generator.random() < found else 0.0
        findings = [(True, sure)] if index % 2 else []
        findings += [(False, float(np.round(generator.uniform(0.1, 0.8), 1))) for _ in range(generator.poisson(0.7))]
        scaled = tuple(Finding(lesion, scale(each) if each else 0.0, 0.0) for lesion, each in findings)
        cases[f"c{index:02d}"] = CaseDetection(scaled, max((each.confidence for each in scaled), default=0.0))
    return summarise(cases)


@pytest.mark.parametrize("scale", [lambda sure: 0.05 * sure, lambda sure: sure**3, lambda sure: 0.9 + sure / 10])
def test_a_monotone_scale_of_one_model_changes_nothing(scale):
    good = model(1, found=0.9)
    plain = permutation_test(good, model(2, found=0.6), draws=300)
    scaled = permutation_test(good, model(2, found=0.6, scale=scale), draws=300)
    assert {name: each.p for name, each in scaled.items()} == {name: each.p for name, each in plain.items()}
    for name, each in scaled.items():
        assert (each.difference, *each.ci95) == pytest.approx((plain[name].difference, *plain[name].ci95))
    other_way = permutation_test(model(2, found=0.6, scale=scale), good, draws=300)
    assert other_way["score"].p == pytest.approx(plain["score"].p)


def test_a_smaller_scale_is_no_evidence():
    """Two readings of equal skill, one of them with a twentieth of the confidence."""
    small = [
        permutation_test(
            model(seed, found=0.7), model(seed + 100, found=0.7, scale=lambda sure: 0.05 * sure), draws=99
        )["score"].p
        for seed in range(60)
    ]
    assert 0.05 < np.mean(np.array(small) < 0.2) < 0.4


def test_ranks_keep_every_number():
    ranked = model(3, found=0.7).ranked
    ranks = ranked.in_ranks(200)
    assert ranks.confidence.max() <= 1
    assert ranks.case_confidence.min() > 0
    assert ((ranks.confidence > 0) == (ranked.confidence > 0)).all()
    weights = np.random.default_rng(0).integers(0, 3, (5, 60)).astype(float)
    assert area_under_roc(ranks, weights) == pytest.approx(area_under_roc(ranked, weights))
    before, after = (count_findings(each, weights) for each in (ranked, ranks))
    assert average_precision(after) == pytest.approx(average_precision(before))
    assert sensitivity_at(after, 0.25) == pytest.approx(sensitivity_at(before, 0.25))


def test_models_without_a_candidate_are_compared():
    missed, healthy = CaseDetection((Finding(True, 0.0, 0.0),), 0.0), CaseDetection((), 0.0)
    silent = summarise({f"{number}": missed if number % 2 else healthy for number in range(6)})
    assert permutation_test(silent, silent, draws=20)["score"] == (0, (0, 0), 1)
    few = summarise({name: silent.cases[name] for name in "01234"})
    difference, interval, p = permutation_test(few, few, draws=20)["score"]
    assert difference == 0
    assert np.isnan([*interval, p]).all()
