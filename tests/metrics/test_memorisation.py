"""Copies of training images: found where they are, and not seen where there are none."""

import numpy as np
import pytest
from scipy.stats import kstest, mannwhitneyu

from medgen.errors import InputError
from medgen.metrics.distribution import memorisation


def gaussians(*counts: int, seed: int = 0, features: int = 8) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.normal(size=(count, features)) for count in counts]


class TestMemorisation:
    def test_by_hand(self):
        """Distances of samples 1, 1, 2, 3, 4, 5 and of held-out images 6 to 11: U = 0, so z = -18 / (39)^(1/2)."""
        training = np.array([[0.0], [100.0]])
        samples, held_out = np.array([[1], [-1], [2], [3], [104], [5]]), np.arange(6, 12)[:, None]
        found = memorisation(training, samples, held_out)
        assert found.statistic == pytest.approx(-18 / np.sqrt(39 * (1 - 6 / (12 * 143))))
        assert found.suspicious == (0, 1, 2, 3, 4, 5)
        assert found.training == (0, 0, 0, 0, 1, 0)
        assert found.expected == pytest.approx(2 * 6 / 7)

    def test_as_near_as_a_held_out_image_is_no_suspicion(self):
        training, held_out = np.array([[0.0], [100.0]]), np.arange(6, 12)[:, None]
        assert memorisation(training, np.array([[6.0], [6], [7], [8], [9], [5.9]]), held_out).suspicious == (5,)

    def test_scipy_has_the_same_p_value(self):
        training, samples, held_out = gaussians(50, 20, 15)
        usual, distances = (
            np.linalg.norm(each[:, None] - training, axis=2).min(axis=1) for each in (held_out, samples)
        )
        expected = mannwhitneyu(distances, usual, alternative="less", use_continuity=False, method="asymptotic")
        assert memorisation(training, samples, held_out).p == pytest.approx(expected.pvalue, rel=1e-9)

    def test_a_generator_as_good_as_the_truth_passes(self):
        """Of 300 of them p is uniform, the statistic standard normal, and chance finds what it should."""
        found = [memorisation(*gaussians(40, 25, 20, seed=seed)) for seed in range(300)]
        assert kstest([each.p for each in found], "uniform").pvalue > 0.01
        assert np.std([each.statistic for each in found]) == pytest.approx(1, abs=0.15)
        assert 0.5 < np.mean([len(each.suspicious) for each in found]) / found[0].expected < 1.1

    def test_copies_with_a_little_noise(self):
        training, noise, held_out = gaussians(100, 30, 40)
        found = memorisation(training, training[:30] + 0.1 * noise, held_out)
        assert found.statistic < -5
        assert found.p < 1e-6
        assert sorted(found.suspicious) == list(range(30))
        assert list(found.training) == list(found.suspicious)

    def test_three_copies_among_samples_that_are_bad(self):
        """The rank test does not see them, the list does, exact copies first."""
        training, samples, held_out = gaussians(100, 30, 40)
        samples *= 3
        samples[7], samples[9] = training[4], training[61] + 0.01
        found = memorisation(training, samples, held_out)
        assert found.p > 0.99
        assert found.suspicious == (7, 9)
        assert found.training == (4, 61)

    def test_a_copy_that_is_mirrored_or_near_only_relatively(self):
        """Nearly empty images are 0.01 from each other; the copy is 0.1 from its own, which is 9 from the others."""
        noise = np.random.default_rng(4).normal(size=(100, 40))
        training = np.concatenate([0.001 * noise[:40], noise[40:80]])
        samples, held_out = 0.001 * noise[80:90], 0.001 * noise[90:]
        samples[3] = training[70, ::-1] + 0.02
        assert 3 not in memorisation(training, samples, held_out).suspicious
        found = memorisation(training, samples, held_out, mirrored=[training[:, ::-1]])
        assert dict(zip(found.suspicious, found.training, strict=True))[3] == 70

    @pytest.mark.parametrize(
        ("counts", "words"),
        [
            ((1, 10, 10), "at least 2 training images, got 1"),
            ((10, 5, 10), "at least 6 generated images, got 5"),
            ((10, 10, 5), "at least 6 held-out images, got 5"),
        ],
    )
    def test_too_few_images(self, counts, words):
        with pytest.raises(InputError, match=words):
            memorisation(*gaussians(*counts))

    def test_a_held_out_image_of_the_training_set(self):
        training, samples, held_out = gaussians(20, 10, 10)
        held_out[3] = training[7]
        with pytest.raises(InputError, match="held-out image 3 equals training image 7"):
            memorisation(training, samples, held_out)

    def test_features_of_another_network(self):
        training, samples, held_out = gaussians(20, 10, 10)
        with pytest.raises(InputError, match="generated images have 8 features and held-out images have 7"):
            memorisation(training, samples, held_out[:, 1:])

    def test_values_that_are_not_finite(self):
        training, samples, held_out = gaussians(20, 10, 10)
        held_out[0] = np.nan
        with pytest.raises(InputError, match="1 of 10 held-out images have values that are NaN"):
            memorisation(training, samples, held_out)
