"""Distances of two sets: Gaussians whose distance is known in closed form, other programs, and sets that cannot do."""

import numpy as np
import pytest
import torch
from monai.metrics.fid import FIDMetric
from scipy.linalg import sqrtm

from medgen.errors import InputError
from medgen.metrics.distribution import frechet_distance, frechet_distance_infinite, kernel_distance

FEATURES = 6


def table(count: int, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    """Waves of different lengths: the same on every machine."""
    waves = np.sin(np.outer(np.arange(1, count + 1), np.sqrt(np.arange(2, 2 + FEATURES))))
    return shift + scale * waves * np.arange(1, 1 + FEATURES)


REAL, MADE = table(60), table(50, shift=1.2, scale=0.7)


def exact(mean: np.ndarray, covariance: np.ndarray, count: int, seed: int) -> np.ndarray:
    """A sample whose mean and covariance (n - 1) are exactly these."""
    drawn = np.random.default_rng(seed).normal(size=(count, len(mean)))
    drawn -= drawn.mean(0)
    white = drawn @ np.linalg.inv(np.linalg.cholesky(np.cov(drawn, rowvar=False))).T
    return mean + white @ np.linalg.cholesky(covariance).T


def covariance(features: int, seed: int) -> np.ndarray:
    root = np.random.default_rng(seed).normal(size=(features, features))
    return root @ root.T + np.eye(features)


class TestFrechetDistance:
    def test_gaussians_of_independent_features(self):
        """By hand: squares of 3 - 0 and 4 - 0, and of 2 - 1 and 1 - 3."""
        real = exact(np.zeros(2), np.diag([1.0, 9.0]), 20, seed=0)
        made = exact(np.array([3.0, 4.0]), np.diag([4.0, 1.0]), 30, seed=1)
        assert frechet_distance(real, made) == pytest.approx(9 + 16 + 1 + 4, abs=1e-10)

    def test_gaussians_whose_covariances_do_not_commute(self):
        one, two = covariance(5, seed=0), covariance(5, seed=1)
        expected = np.trace(one + two - 2 * sqrtm(one @ two).real)
        real, made = exact(np.zeros(5), one, 40, seed=2), exact(np.zeros(5), two, 9, seed=3)
        assert frechet_distance(real, made) == pytest.approx(expected, rel=1e-9)

    def test_monai_and_torch_fidelity(self):
        """The number of torch-fidelity 0.4.0: fid_statistics_to_metric of fid_features_to_statistics of both tables."""
        value = frechet_distance(REAL, MADE)
        assert value == pytest.approx(12.394430019954, rel=1e-12)
        assert value == pytest.approx(float(FIDMetric()(torch.tensor(MADE), torch.tensor(REAL))), rel=1e-9)

    def test_a_set_has_no_distance_to_itself_in_another_order(self):
        assert frechet_distance(REAL, REAL[::-1]) == pytest.approx(0, abs=1e-10)

    def test_a_generator_that_makes_one_image(self):
        """What is left is the distance of the means and the variance of the real images."""
        value = frechet_distance(REAL, np.ones((10, FEATURES)))
        assert value == pytest.approx(((REAL.mean(0) - 1) ** 2).sum() + REAL.var(0, ddof=1).sum())

    def test_as_many_images_as_features_are_refused(self):
        frechet_distance(REAL[: FEATURES + 1], MADE)
        with pytest.raises(InputError, match="of 6 features needs at least 7 images of each kind, got 6") as error:
            frechet_distance(REAL[:FEATURES], MADE)
        assert "kernel distance" in error.value.fix


class TestFrechetDistanceInfinite:
    @pytest.fixture(scope="class")
    def found(self) -> list:
        """N(0, 1) and N(0.2, 1.5^2) in 16 dimensions, 64 images each, 40 times: the truth is 16 (0.04 + 0.25)."""
        results = []
        for seed in range(40):
            generator = np.random.default_rng(seed)
            real, made = generator.normal(size=(64, 16)), generator.normal(0.2, 1.5, size=(64, 16))
            results.append(frechet_distance_infinite(real, made))
        return results

    def test_the_bias_is_gone(self, found):
        """Within three standard errors of the truth, while the distance of the images as they are is 70 % too large."""
        values, truth = np.array([each.value for each in found]), 16 * 0.29
        assert abs(values.mean() - truth) < 3 * values.std() / np.sqrt(len(values))
        assert np.mean([each.finite for each in found]) > 1.5 * truth

    def test_the_sizes_have_full_rank(self, found):
        assert found[0].sizes == (64, 32, 21)

    def test_equal_distributions_scatter_around_zero(self):
        values = []
        for seed in range(40):
            generator = np.random.default_rng(seed)
            values.append(frechet_distance_infinite(*generator.normal(size=(2, 60, 8))).value)
        assert min(values) < 0 < max(values)
        assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(40)

    def test_the_same_seed_gives_the_same_number(self):
        assert frechet_distance_infinite(REAL, MADE, seed=3) == frechet_distance_infinite(REAL, MADE, seed=3)
        assert frechet_distance_infinite(REAL, MADE, seed=3) != frechet_distance_infinite(REAL, MADE, seed=4)

    def test_two_parts_need_full_rank(self):
        assert frechet_distance_infinite(REAL[:14], MADE).sizes == (14, 7)
        with pytest.raises(InputError, match=r"extrapolated .* of 6 features needs at least 14 images of each kind"):
            frechet_distance_infinite(REAL, MADE[:13])


class TestKernelDistance:
    def test_torch_fidelity(self):
        """torch-fidelity 0.4.0: kid_features_to_metric with one subset of all 50 images."""
        assert kernel_distance(REAL[:50], MADE).value == pytest.approx(29.333513162063, rel=1e-12)

    def test_gaussians_in_one_dimension(self):
        """The mean over 300 draws of 40 images is unbiased.

        The moments of (xy + 1)^3 = (xy)^3 + 3 (xy)^2 + 3 xy + 1 for x of N(0, 1) and y of N(0.5, 1), whose moments are
        0, 1, 0 and 0.5, 1.25, 1.625: 4 within x, 1.625^2 + 3 * 1.25^2 + 3 * 0.5^2 + 1 within y, 3 * 1.25 + 1 between.
        """
        truth, generator = 4 + 9.078125 - 2 * 4.75, np.random.default_rng(0)
        values = [
            kernel_distance(generator.normal(size=(40, 1)), generator.normal(0.5, 1, size=(40, 1))).value
            for _ in range(300)
        ]
        assert abs(np.mean(values) - truth) < 3 * np.std(values) / np.sqrt(len(values))

    def test_the_interval_holds_as_often_as_it_says(self):
        """N(0, 1) and N(0.3, 1.2^2) in 16 dimensions, 40 images each; the mean of 300 is the truth."""
        generator = np.random.default_rng(0)
        found = [
            kernel_distance(generator.normal(size=(40, 16)), generator.normal(0.3, 1.2, size=(40, 16)))
            for _ in range(300)
        ]
        truth = np.mean([each.value for each in found])
        assert 0.91 < np.mean([each.ci95[0] <= truth <= each.ci95[1] for each in found]) < 0.99

    def test_equal_distributions_are_rarely_told_apart(self):
        generator = np.random.default_rng(1)
        found = [kernel_distance(*generator.normal(size=(2, 25, 5))) for _ in range(200)]
        assert np.mean([each.ci95[0] <= 0 <= each.ci95[1] for each in found]) >= 0.95
        assert min(each.value for each in found) < 0

    def test_the_interval_is_that_of_leaving_one_out(self):
        real, made = REAL[:7], MADE[:9]
        found = kernel_distance(real, made)
        without = [
            [kernel_distance(np.delete(real, row, 0), made).value for row in range(7)],
            [kernel_distance(real, np.delete(made, row, 0)).value for row in range(9)],
        ]
        error = np.sqrt(6 * np.var(without[0]) + 8 * np.var(without[1]))
        assert found.ci95 == pytest.approx((found.value - 1.959964 * error, found.value + 1.959964 * error), rel=1e-6)

    def test_large_sets_go_by_blocks(self, monkeypatch):
        whole = kernel_distance(REAL, MADE)
        monkeypatch.setattr("medgen.metrics.distribution._BLOCK", 130)
        blocks = kernel_distance(REAL, MADE)
        assert (blocks.value, *blocks.ci95) == pytest.approx((whole.value, *whole.ci95), rel=1e-9)

    def test_few_images_have_a_number_and_no_interval(self):
        found = kernel_distance(REAL[:5], MADE)
        assert np.isfinite(found.value)
        assert np.isnan(found.ci95).all()


@pytest.mark.parametrize("metric", [frechet_distance, frechet_distance_infinite, kernel_distance])
class TestBadInput:
    def test_one_image(self, metric):
        with pytest.raises(InputError, match="needs at least 2 generated images, got 1"):
            metric(REAL, MADE[:1])

    def test_values_that_are_not_finite(self, metric):
        broken = REAL.copy()
        broken[[3, 5], 2] = np.nan, np.inf
        with pytest.raises(InputError, match="2 of 60 real images have values that are NaN or infinite"):
            metric(broken, MADE)

    def test_features_of_another_network(self, metric):
        with pytest.raises(InputError, match="real images have 6 features and generated images have 5 features"):
            metric(REAL, MADE[:, :5])

    def test_feature_maps(self, metric):
        with pytest.raises(InputError, match=r"not an array of shape \(5, 3, 2, 2\)"):
            metric(np.zeros((5, 3, 2, 2)), MADE)

    def test_constant_real_images(self, metric):
        with pytest.raises(InputError, match="all 60 real images are equal") as error:
            metric(np.ones_like(REAL), MADE)
        assert len(str(error.value).splitlines()) <= 3
