"""Separable SSIM against scikit-image, MONAI and the definition."""

import math

import numpy as np
import pytest
import torch
from monai.metrics import SSIMMetric
from skimage.metrics import structural_similarity

from medgen.metrics import ssim

WHOLE = 4095.0


@pytest.fixture(scope="module")
def pair():
    generator = np.random.default_rng(3)
    truth = generator.uniform(0, WHOLE, (20, 23, 17))
    return truth + generator.normal(0, 300, truth.shape), truth


@pytest.mark.parametrize(
    ("window", "options"),
    [
        ("uniform", {}),
        ("gaussian", {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}),
    ],
)
def test_equals_scikit_image(pair, window, options):
    expected, full = structural_similarity(*pair, data_range=WHOLE, full=True, **options)
    edge = ssim.radius(window)
    crop = (slice(edge, -edge),) * 3
    values = ssim.ssim_map(*pair, data_range=WHOLE, window=window)
    np.testing.assert_allclose(values, full[crop], atol=1e-9)
    everywhere = np.ones(pair[0].shape, dtype=bool)
    assert ssim.mean_ssim(*pair, everywhere, data_range=WHOLE, window=window) == pytest.approx(expected, abs=1e-9)


def test_equals_monai(pair):
    one, two = (torch.from_numpy(image)[None, None].float() for image in pair)
    expected = SSIMMetric(spatial_dims=3, data_range=WHOLE)(one, two).item()
    everywhere = np.ones(pair[0].shape, dtype=bool)
    assert ssim.mean_ssim(*pair, everywhere, data_range=WHOLE, window="gaussian") == pytest.approx(expected, abs=1e-5)


def test_mask_and_slabs_do_not_change_a_value(pair, monkeypatch):
    mask = np.zeros(pair[0].shape, dtype=bool)
    mask[2:15, 5:20, 1:9] = np.random.default_rng(0).random((13, 15, 8)) > 0.5
    _, full = structural_similarity(*pair, data_range=WHOLE, full=True)
    inner = np.zeros_like(mask)
    inner[3:-3, 3:-3, 3:-3] = mask[3:-3, 3:-3, 3:-3]
    monkeypatch.setattr(ssim, "_SLAB_VOXELS", 500)
    assert ssim.mean_ssim(*pair, mask, data_range=WHOLE) == pytest.approx(full[inner].mean(), abs=1e-9)


def test_volume_smaller_than_the_window_is_nan():
    small = np.zeros((6, 9, 9))
    assert math.isnan(ssim.mean_ssim(small, small, small == 0, data_range=WHOLE))


def scale_by_its_terms(one, two, mask, weight):
    """One scale from luminance, contrast and structure, each clipped, as the challenge describes it."""
    options = {"data_range": WHOLE, "full": True}
    _, similarity = structural_similarity(one, two, **options)
    c1, c2 = (0.01 * WHOLE) ** 2, (0.03 * WHOLE) ** 2
    # scikit-image gives the product only; the luminance comes from 7^3 means
    windows = np.lib.stride_tricks.sliding_window_view
    mean_one, mean_two = (windows(image, (7, 7, 7)).mean(axis=(3, 4, 5)) for image in (one, two))
    luminance = (2 * mean_one * mean_two + c1) / (mean_one**2 + mean_two**2 + c1)
    sd_one, sd_two = (windows(image, (7, 7, 7)).std(axis=(3, 4, 5), ddof=1) for image in (one, two))
    contrast = (2 * sd_one * sd_two + c2) / (sd_one**2 + sd_two**2 + c2)
    structure = similarity[3:-3, 3:-3, 3:-3] / (luminance * contrast)
    values = luminance**weight * contrast**weight * np.clip(structure, 0, None) ** weight
    return values[mask[3:-3, 3:-3, 3:-3]].mean()


def test_multiscale_by_its_definition(monkeypatch):
    monkeypatch.setattr(ssim, "SMALLEST_SIDE", 20)
    monkeypatch.setattr(ssim, "SCALE_WEIGHTS", (0.3, 0.7))
    generator = np.random.default_rng(5)
    one = generator.uniform(0, WHOLE, (20, 21, 17))
    two = WHOLE - one  # structure is negative in most windows: the clipping matters
    two[10:] = one[10:] + generator.normal(0, 400, two[10:].shape)
    mask = generator.random(one.shape) > 0.3
    result = ssim.multiscale_ssim(one, two, mask, data_range=WHOLE)

    wide = [(0, 0), (0, 0), (1, 2)]
    one, two, mask = (np.pad(array, wide, mode="edge") for array in (one, two, mask))
    expected = scale_by_its_terms(one, two, mask, 0.3)
    halved = []
    for image in (one, two):
        padded = np.pad(image, [(1, 0)] * 3)
        steps = [
            padded[i:, j:, k:][: image.shape[0], : image.shape[1], : image.shape[2]] for i, j, k in np.ndindex(2, 2, 2)
        ]
        halved.append(np.mean(steps, axis=0)[::2, ::2, ::2])
    expected *= scale_by_its_terms(*halved, mask[::2, ::2, ::2], 0.7)
    assert result == pytest.approx(expected, abs=1e-9)


def test_multiscale_of_equal_images_is_one():
    image = np.random.default_rng(0).uniform(0, WHOLE, (40, 30, 20))
    assert ssim.multiscale_ssim(image, image, np.ones(image.shape, dtype=bool), data_range=WHOLE) == pytest.approx(1.0)
