"""Telling domains apart: features whose separability is known, intervals over patients, ranking."""

import math

import numpy as np
import pytest

from medgen.metrics.domain import (
    LEAST_CORRELATION,
    clustered_accuracy,
    domain_accuracy,
    regret,
    spearman,
    wilson,
)


def cohort(seed, *, shift, patient, cases=4, segments=12, channels=20):
    """Segments of patients of two domains: each patient has a mean of its own, the second domain a shift."""
    generator = np.random.default_rng(seed)
    direction = np.zeros(channels)
    direction[0] = shift
    rows, domains, names = [], [], []
    for domain in range(2):
        for number in range(cases):
            mean = generator.normal(0, patient, channels) + domain * direction
            rows.append(mean + generator.normal(size=(segments, channels)))
            domains += [domain] * segments
            names += [10 * domain + number] * segments
    return np.concatenate(rows), domains, names


def test_a_large_shift_is_seen_for_sure():
    found = domain_accuracy(*cohort(0, shift=12.0, patient=0.3))
    assert found.value == 1.0
    assert found.low > 0.8
    assert found.high == pytest.approx(1.0)


def test_patients_are_not_taken_for_domains():
    """Folds over segments would recognise the patient and say 1; folds over patients say chance."""
    found = [domain_accuracy(*cohort(seed, shift=0.0, patient=5.0)) for seed in range(20)]
    assert np.mean([each.value for each in found]) == pytest.approx(0.5, abs=0.1)
    assert np.mean([each.low <= 0.5 <= each.high for each in found]) >= 0.85
    assert not any(each.low > 0.8 for each in found)


def test_a_probe_needs_two_patients_of_each_domain():
    assert math.isnan(domain_accuracy(*cohort(0, shift=9.0, patient=0.0, cases=1)).value)


def test_constant_features_are_chance():
    features, domains, names = cohort(0, shift=9.0, patient=0.0)
    assert domain_accuracy(np.ones_like(features), domains, names).value == 0.5
    with_constant = np.concatenate([features, np.full((len(features), 1), 7.0)], axis=1)
    assert domain_accuracy(with_constant, domains, names) == domain_accuracy(features, domains, names)


def test_what_cannot_be_asked_is_refused():
    features, domains, names = cohort(0, shift=1.0, patient=0.0)
    with pytest.raises(ValueError, match="do not fit together"):
        domain_accuracy(features, domains[:-1], names)
    with pytest.raises(ValueError, match="two domains"):
        domain_accuracy(features, [0] * len(domains), names)
    with pytest.raises(ValueError, match="not a finite"):
        domain_accuracy(np.where(features > 0, np.nan, features), domains, names)


def test_wilson_by_hand():
    low, high = wilson(0.5, 100)  # (0.5 + 1.9207 / 100 -+ 1.96 sqrt(0.25 / 100 + 3.8415 / 40000)) / 1.038415
    assert low == pytest.approx(0.40383, abs=1e-5)
    assert high == pytest.approx(0.59617, abs=1e-5)
    assert all(math.isnan(end) for end in (*wilson(0.5, 0), *wilson(math.nan, 10)))


def test_the_domains_weigh_the_same():
    """9 of 10 right in one domain and 1 of 2 in the other: (0.9 + 0.5) / 2."""
    found = clustered_accuracy([1] * 9 + [0, 1, 0], ["a"] * 10 + ["b"] * 2, [1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 4])
    assert found.value == pytest.approx(0.7)


def test_answers_of_one_patient_do_not_count_as_many():
    """Each patient all right or all wrong: 40 answers of 8 patients are worth 8, and fewer as 8 are few."""
    domains, names = np.repeat([0, 1], 20), np.repeat(np.arange(8), 5)
    whole = clustered_accuracy(names % 2, domains, names)
    assert whole.value == 0.5
    assert whole.effective == pytest.approx(8 * (1.959964 / 2.446912) ** 2, rel=1e-5)  # t with 6 degrees of freedom
    mixed = clustered_accuracy(np.tile([0, 1, 0, 1, 1], 8), domains, names)
    assert mixed.effective == pytest.approx(40 / (1 + 4 * LEAST_CORRELATION) * (1.959964 / 2.446912) ** 2, rel=1e-5)
    assert whole.high - whole.low > mixed.high - mixed.low


def test_rank_correlation_leaves_out_what_is_missing():
    assert spearman([1, 2, math.nan, 3, 4], [1, 2, -9, 4, 3]) == 0.8
    assert math.isnan(spearman([1, 1, 1], [1, 2, 3]))
    assert math.isnan(spearman([1, 2], [1, 2]))


def test_regret():
    assert regret([3, 2, 1], [0.5, 0.7, 0.6]) == pytest.approx(0.2)
    assert regret([math.nan, 2, 1], [0.5, 0.7, 0.6]) == 0
    assert regret([2, 2, 1], [0.5, 0.4, 0.6]) == pytest.approx(0.2)  # of equals the last
    assert math.isnan(regret([math.nan], [0.5]))
