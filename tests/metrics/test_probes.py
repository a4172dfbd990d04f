"""Linear probes: a planted factor is found, noise is at chance, and no patient is both learnt from and told."""

import numpy as np
import pytest

from medgen.metrics.probes import factor_direction, linear_probe

GENERATOR = np.random.default_rng(3)
CODES = GENERATOR.normal(size=(60, 8))
PATIENTS = np.array([f"patient {number}" for number in range(60)])
PLANTED = 2.0 + 3 * CODES[:, 1] - CODES[:, 5]


class TestPlanted:
    def test_a_number(self) -> None:
        score = linear_probe(CODES, PLANTED, PATIENTS)
        assert (score.name, score.value) == ("r2", pytest.approx(1.0, abs=1e-3))
        noisy = linear_probe(CODES, PLANTED + GENERATOR.normal(0, 3, 60), PATIENTS)
        assert 0.2 < noisy.value < 0.75
        assert noisy.interval[0] < noisy.value < noisy.interval[1]

    def test_a_class_whatever_it_is_called(self) -> None:
        for factor in (PLANTED > 2, np.where(PLANTED > 2, "new scanner", "a scanner")):
            score = linear_probe(CODES, factor, PATIENTS, draws=10)
            assert score.name == "auroc"
            assert score.value > 0.95
        other = linear_probe(CODES, np.where(PLANTED > 2, "a", "b"), PATIENTS, draws=10)
        assert other.value == pytest.approx(score.value), "which class is called the larger one does not matter"

    def test_the_scale_of_the_codes_does_not_matter(self) -> None:
        scaled = CODES * 10.0 ** np.arange(8) + 5
        found, plain = (linear_probe(each, PLANTED, PATIENTS, draws=10).value for each in (scaled, CODES))
        assert found == pytest.approx(plain)

    def test_more_pixels_than_patches_and_dead_ones(self) -> None:
        """As with ridge regression on all of them: a probe of 40 rows needs 40 axes of 500."""
        pixels = np.concatenate([CODES @ GENERATOR.normal(size=(8, 500)), np.ones((60, 3))], axis=1)
        assert linear_probe(pixels.reshape(60, 503, 1), PLANTED, PATIENTS).value > 0.99


class TestChance:
    def test_noise(self) -> None:
        values = {"r2": [], "auroc": []}
        for seed in range(3):
            generator = np.random.default_rng(seed)
            codes, number = generator.normal(size=(40, 6)), generator.normal(size=40)
            for factor in (number, number > 0):
                score = linear_probe(codes, factor, np.arange(40), seed, draws=1)
                values[score.name].append(score.value)
        assert -0.2 < np.mean(values["r2"]) < 0.05
        assert np.mean(values["auroc"]) == pytest.approx(0.5, abs=0.1)

    def test_a_patient_is_not_recognised(self) -> None:
        """12 patients of 8 patches whose codes are the patient's own; the factor is chance. Ungrouped, R² is near 1."""
        generator = np.random.default_rng(0)
        own = np.repeat(generator.normal(size=(12, 30)), 8, axis=0) + generator.normal(0, 0.01, (96, 30))
        factor = np.repeat(generator.normal(size=12), 8)
        assert linear_probe(own, factor, np.arange(96)).value > 0.9
        assert linear_probe(own, factor, np.repeat(np.arange(12), 8)).value < 0.3

    def test_pooled_scores_of_folds_do_not_push_auroc_below_chance(self) -> None:
        """A code that says nothing: each probe tells the share of its training rows, the opposite of the rest's."""
        codes, factor = np.zeros((30, 1)), np.arange(30) % 3 == 0
        assert linear_probe(codes, factor, np.arange(30)).value == 0.5


class TestInterval:
    def test_patients_and_not_patches_are_drawn(self) -> None:
        """Copies of each patch make it no narrower; patches of as many patients would by a factor of 3."""
        factor = PLANTED + np.random.default_rng(1).normal(0, 3, 60)
        one = linear_probe(CODES, factor, PATIENTS).interval
        many = linear_probe(CODES.repeat(9, axis=0), factor.repeat(9), PATIENTS.repeat(9)).interval
        assert many[1] - many[0] == pytest.approx(one[1] - one[0], rel=0.15)

    def test_few_patients_have_none(self) -> None:
        score = linear_probe(CODES[:5], PLANTED[:5], PATIENTS[:5])
        assert np.isnan(score.interval).all()

    def test_the_same_seed_gives_the_same(self) -> None:
        assert linear_probe(CODES, PLANTED > 1, PATIENTS, 7) == linear_probe(CODES, PLANTED > 1, PATIENTS, 7)


class TestDirection:
    def test_a_step_changes_what_the_probe_tells_by_one(self) -> None:
        found = factor_direction(CODES, PLANTED, PATIENTS)
        assert found.step @ found.weights == pytest.approx(1)
        np.testing.assert_allclose(found.offset + CODES @ found.weights, PLANTED, atol=0.02)
        assert found.sd == pytest.approx(PLANTED.std())

    def test_it_is_the_pattern_and_not_the_filter(self) -> None:
        """The factor moves number 0 alone; number 1 is noise that number 0 has too, so the probe subtracts it."""
        generator = np.random.default_rng(2)
        factor, noise = generator.normal(size=(2, 4000))
        found = factor_direction(np.stack([factor + noise, noise], axis=1), factor, np.arange(4000))
        np.testing.assert_allclose(found.weights, [1, -1], atol=0.01)
        np.testing.assert_allclose(found.step, [1, 0], atol=0.05)

    def test_codes_that_never_change(self) -> None:
        with pytest.raises(ValueError, match="say nothing"):
            factor_direction(np.ones((60, 2)), PLANTED, PATIENTS)


@pytest.mark.parametrize(
    ("codes", "factor", "groups", "said"),
    [
        (CODES, PLANTED[:59], PATIENTS, "do not match"),
        (CODES, np.full(60, 2.0), PATIENTS, "same throughout"),
        (CODES, np.array(["a", "b", "c"] * 20), PATIENTS, "3 classes, and a probe tells two apart"),
        (CODES, np.where(np.arange(60) == 4, np.nan, PLANTED), PATIENTS, "not finite"),
        (CODES, PLANTED, ["one"] * 60, "only 1 patient"),
        (CODES, np.arange(60) == 4, PATIENTS, "a class has only 1 patient"),
    ],
)
def test_refusals(codes, factor, groups, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        linear_probe(codes, factor, groups)
