"""Precision, recall, density, coverage and the distance of feature layers: by hand, by theory, by other programs."""

import numpy as np
import pytest
from test_distribution import MADE, REAL

from medgen.errors import InputError, UsageError
from medgen.metrics.distribution import feature_distance, fidelity


class TestFidelity:
    def test_on_a_line(self):
        """Balls of one neighbour: real 0 +- 1, 1 +- 1, 3 +- 2, 10 +- 7; made 2 +- 0.5, 2.5 +- 0.5, 20 +- 17.5.

        2 lies in the balls of 1 (on its border) and 3, 2.5 in that of 3, 20 in none. 3 lies in the balls of 2.5 (on its
        border) and 20, 10 in that of 20.
        """
        found = fidelity([[0], [1], [3], [10]], [[2], [2.5], [20]], neighbours=1)
        assert found.precision == pytest.approx(2 / 3)
        assert found.recall == pytest.approx(2 / 4)
        assert found.density == pytest.approx((2 + 1 + 0) / 3)
        assert found.coverage == pytest.approx(2 / 4)

    def test_torch_fidelity_and_prdc(self):
        """torch-fidelity 0.4.0 (prc_features_to_metric) and prdc 0.2 (compute_prdc), two neighbours."""
        found = fidelity(REAL, MADE, neighbours=2)
        assert found == pytest.approx((1.0, 0.366666666666667, 1.13, 0.7), rel=1e-12)

    def test_what_equal_distributions_have(self):
        """Density 1 and coverage 1 - (19 18 17) / (39 38 37) (Naeem et al. 2020), in one dimension as in thirty."""
        generator = np.random.default_rng(0)
        for features in (1, 30):
            found = [fidelity(*generator.normal(size=(2, 20, features)), neighbours=3) for _ in range(300)]
            for name, expected in (("density", 1.0), ("coverage", 1 - 19 * 18 * 17 / (39 * 38 * 37))):
                values = np.array([getattr(each, name) for each in found])
                assert abs(values.mean() - expected) < 4 * values.std() / np.sqrt(300)

    def test_not_real_and_not_varied_are_told_apart(self):
        generator = np.random.default_rng(1)
        real = generator.normal(size=(200, 4))
        far, narrow = fidelity(real, real + 50), fidelity(real, 0.1 * generator.normal(size=(200, 4)))
        assert (far.precision, far.recall, far.density, far.coverage) == (0, 0, 0, 0)
        assert narrow.precision == 1
        assert narrow.density > 1
        assert narrow.recall < 0.1
        assert narrow.coverage < 0.5

    def test_copies_of_one_image(self):
        """A collapsed generator: each copy is real, in the balls of one image and of those it is a neighbour of."""
        found = fidelity(REAL, np.repeat(REAL[:1], 20, axis=0), neighbours=3)
        assert found.precision == 1
        assert found.recall == 1 / 60

    def test_large_sets_go_by_blocks(self, monkeypatch):
        whole = fidelity(REAL, MADE, neighbours=2)
        monkeypatch.setattr("medgen.metrics.feature_sets._BLOCK", 130)
        assert fidelity(REAL, MADE, neighbours=2) == whole

    def test_too_few_images(self):
        fidelity(REAL[:6], MADE[:6], neighbours=5)
        with pytest.raises(InputError, match="5 neighbours needs more than 5 images of each kind, got 5"):
            fidelity(REAL, MADE[:5], neighbours=5)

    def test_no_neighbours(self):
        with pytest.raises(UsageError, match="at least 1, got 0"):
            fidelity(REAL, MADE, neighbours=0)

    def test_constant_real_images(self):
        with pytest.raises(InputError, match="all 60 real images are equal"):
            fidelity(np.zeros_like(REAL), MADE)


class TestFeatureDistance:
    def test_by_hand(self):
        """Layer one: means 1 and 3, variances 2 and 8. Layer two: equal. Maps count by their spatial mean."""
        one = np.array([[0.0], [2.0]]), np.array([[1.0], [5.0]])
        maps = np.array([[[[1.0, 3.0]]], [[[4.0, 4.0]]]])
        assert maps.shape == (2, 1, 1, 2)
        found = feature_distance([one[0], maps], [one[1], np.array([[4.0], [2.0]])])
        assert found.layers == pytest.approx(((4 + (np.sqrt(8) - np.sqrt(2)) ** 2) / 2, 0))
        assert found.value == pytest.approx(found.layers[0] / 2)

    def test_the_scale_of_a_layer_does_not_matter(self):
        assert feature_distance([REAL, REAL], [MADE, MADE]).value == pytest.approx(
            feature_distance([1000 * REAL, 0.01 * REAL], [1000 * MADE, 0.01 * MADE]).value
        )

    def test_what_equal_gaussians_have(self):
        """About 3 / n: 2 / n from the means and 1 / n from the standard deviations."""
        generator = np.random.default_rng(0)
        drawn = [[[each] for each in generator.normal(size=(2, 50, 40))] for _ in range(50)]
        assert np.mean([feature_distance(*pair).value for pair in drawn]) == pytest.approx(3 / 50, rel=0.05)

    def test_a_dead_channel_that_wakes_up_counts(self):
        dead = np.c_[REAL, np.zeros(60)]
        assert feature_distance([dead], [dead]).value == 0
        assert feature_distance([dead], [np.c_[REAL, np.ones(60)]]).value > 0

    @pytest.mark.parametrize(
        ("real", "generated", "words"),
        [
            ([REAL], [MADE, MADE], "1 layers of real and of 2 layers"),
            ([], [], "0 layers of real"),
            ([REAL, np.ones((60, 2))], [MADE, MADE[:, :2]], "real images in layer 2 are equal"),
            ([REAL], [MADE[:, :2]], "6 features and generated images have 2"),
            ([np.full((4, 2, 3), np.nan)], [np.zeros((4, 2, 3))], "NaN"),
        ],
    )
    def test_bad_input(self, real, generated, words):
        with pytest.raises(InputError, match=words):
            feature_distance(real, generated)
