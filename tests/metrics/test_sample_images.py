"""Samples compared pixel by pixel: structural similarity of pairs, and norms."""

import itertools

import numpy as np
import pytest
import torch
from monai.metrics.regression import compute_ms_ssim

from medgen.errors import InputError, UsageError
from medgen.metrics.distribution import ms_ssim_diversity, pixel_norms
from medgen.metrics.sample_images import _random_pairs
from medgen.metrics.ssim import SCALE_WEIGHTS, most_scales, plain_multiscale_ssim


def images(count: int, *size: int, seed: int = 0) -> np.ndarray:
    """Smooth stripes with noise, in [0, 2]."""
    generator = np.random.default_rng(seed)
    waves = [np.sin(np.sum(np.indices(size) * generator.uniform(0.1, 0.4), axis=0)) for _ in range(count)]
    return (1 + np.stack(waves)[:, None] + 0.1 * generator.normal(size=(count, 1, *size))).astype(np.float32)


class TestMultiscaleSsim:
    @pytest.mark.parametrize("size", [(180, 177), (64, 71), (33, 30, 24)])
    def test_monai(self, size):
        """Which takes the weights as they are, and asks for sides of more than ten times (scales - 1)^2."""
        one, two = images(2, *size)[:, 0]
        scales = most_scales(size)
        weights = np.array(SCALE_WEIGHTS[:scales]) / sum(SCALE_WEIGHTS[:scales])
        mine = plain_multiscale_ssim(one, two, data_range=2.0, scales=scales)
        theirs = compute_ms_ssim(
            *(torch.tensor(each)[None, None] for each in (one, two)), len(size), 2.0, weights=weights.tolist()
        )
        assert mine == pytest.approx(float(theirs), rel=1e-4)

    def test_sizes_at_the_border(self):
        assert [most_scales((side, 300)) for side in (10, 11, 21, 22, 43, 44, 175, 176)] == [0, 1, 1, 2, 2, 3, 4, 5]
        one, two = images(2, 11, 22)[:, 0]
        assert 0 <= plain_multiscale_ssim(one, two, data_range=2.0, scales=1) <= 1


class TestDiversity:
    @pytest.mark.parametrize("size", [(24, 24), (12, 13, 14)])
    def test_a_set_of_equal_images(self, size):
        real = images(5, *size)
        found = ms_ssim_diversity(real, np.repeat(real[:1], 4, axis=0))
        assert found.generated.mean == pytest.approx(1)
        assert found.generated.ci95 == pytest.approx((1, 1))
        assert found.real.mean < 0.9

    def test_it_is_the_mean_over_all_pairs(self):
        real = images(5, 30, 24)
        found = ms_ssim_diversity(real, real[::-1], pairs=1000)
        expected = np.mean(
            [
                plain_multiscale_ssim(a[0], b[0], data_range=np.ptp(real), scales=2)
                for a, b in itertools.combinations(real, 2)
            ]
        )
        assert found.scales == 2
        assert found.real.mean == pytest.approx(expected)
        assert found.generated.mean == pytest.approx(expected)

    def test_pairs_are_different_and_drawn_once(self):
        drawn = _random_pairs(7, 21, np.random.default_rng(0))
        assert sorted(drawn) == [(i, j) for i in range(7) for j in range(i)]
        assert len(set(_random_pairs(2000, 300, np.random.default_rng(0)))) == 300

    def test_the_unit_does_not_matter(self):
        real, made = images(6, 24, 24), images(5, 24, 24, seed=1)
        plain, scaled = ms_ssim_diversity(real, made), ms_ssim_diversity(1000 * real, 1000 * made)
        assert scaled.generated.mean == pytest.approx(plain.generated.mean, rel=1e-4)

    @pytest.mark.parametrize(
        ("real", "generated", "words"),
        [
            (images(3, 10, 30), images(3, 10, 30), r"sides of at least 11 pixels, these images have \(10, 30\)"),
            (images(3, 24, 24), images(1, 24, 24), "at least 2 generated images"),
            (images(3, 24, 24), images(3, 24, 25), r"\(1, 24, 24\) and generated images \(1, 24, 25\)"),
            (images(3, 24, 24)[:, 0], images(3, 24, 24)[:, 0], "give each image a channel axis"),
            (np.ones((3, 1, 24, 24)), images(3, 24, 24), "all real images are constant"),
            (np.full((3, 1, 24, 24), np.nan), images(3, 24, 24), "3 of 3 real images have values that are NaN"),
        ],
    )
    def test_bad_input(self, real, generated, words):
        with pytest.raises(InputError, match=words):
            ms_ssim_diversity(real, generated)

    def test_no_pairs(self):
        with pytest.raises(UsageError, match="at least 1, got 0"):
            ms_ssim_diversity(images(3, 24, 24), images(3, 24, 24), pairs=0)


class TestPixelNorms:
    def test_by_hand(self):
        """Mean images (2, 4) and (2, 1), deviations (sqrt 2, 0) and (0, sqrt 8); norms 3, 4 and sqrt 3 or so."""
        found = pixel_norms([[1.0, 4.0], [3.0, 4.0]], [[2.0, -1.0], [2.0, 3.0]])
        assert (found.mean_l1, found.mean_l2) == pytest.approx((1.5, np.sqrt(4.5)))
        assert (found.sd_l1, found.sd_l2) == pytest.approx(((np.sqrt(2) + np.sqrt(8)) / 2, np.sqrt(5)))
        real, made = np.sqrt([8.5, 12.5]), np.sqrt([2.5, 6.5])
        assert found.real_norm == pytest.approx(real.mean())
        assert found.generated_norm == pytest.approx(made.mean())
        assert found.norm_distance == pytest.approx((real - made).mean())

    def test_what_equal_gaussians_have(self):
        generator = np.random.default_rng(0)
        found = pixel_norms(*generator.normal(0, 3, size=(2, 50, 1, 40, 40)))
        assert found.mean_l2 == pytest.approx(3 * np.sqrt(2 / 50), rel=0.05)

    def test_blurred_images_are_told_from_dark_ones(self):
        real = images(20, 24, 24)
        blurred = pixel_norms(real, np.repeat(real.mean(0, keepdims=True), 20, axis=0))
        dark = pixel_norms(real, 0.5 * real)
        assert blurred.mean_l1 == pytest.approx(0, abs=1e-6)
        assert blurred.sd_l1 == pytest.approx(real.std(0, ddof=1).mean(), rel=1e-5)
        assert dark.norm_distance == pytest.approx(dark.real_norm / 2, rel=1e-6)

    def test_bad_input(self):
        with pytest.raises(InputError, match=r"real images have shape \(24,\) and generated images \(25,\)"):
            pixel_norms(np.zeros((3, 24)), np.zeros((3, 25)))
        with pytest.raises(InputError, match="at least 2 real images"):
            pixel_norms(np.zeros((1, 24)), np.zeros((3, 24)))
