"""Scores of reconstructions, by hand and against scikit-image."""

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from medgen.metrics.reconstruction import UNITS, reconstruction_scores

GENERATOR = np.random.default_rng(0)


@pytest.mark.parametrize("size", [(20, 24), (10, 12, 9)])
def test_against_scikit_image(size: tuple[int, ...]) -> None:
    image, other = GENERATOR.uniform(-1, 1, (2, *size))
    found = reconstruction_scores(other[None], image[None])
    assert list(found) == list(UNITS)
    assert found["psnr"] == pytest.approx(peak_signal_noise_ratio(image, other, data_range=2))
    _, similarity = structural_similarity(image, other, data_range=2, full=True)
    assert found["ssim"] == pytest.approx(similarity[(slice(3, -3),) * len(size)].mean())
    assert found["mae"] == pytest.approx(np.abs(image - other).mean())


def test_sharpness() -> None:
    """A step of 2 that is halved has a quarter of the energy; blur has less, noise more; the mean does not matter."""
    image = np.where(np.arange(16) < 8, -1.0, 1.0) * np.ones((16, 1))
    ratio = {
        name: reconstruction_scores(each[None], image[None])["gradient_energy_ratio"]
        for name, each in {
            "same": image + 3,
            "half": image / 2,
            "blurred": gaussian_filter(image, 1),
            "noisy": image + GENERATOR.normal(0, 0.2, image.shape),
        }.items()
    }
    assert (ratio["same"], ratio["half"]) == (1.0, 0.25)
    assert ratio["blurred"] < 0.5
    assert ratio["noisy"] > 1.5


def test_channels_weigh_the_same() -> None:
    image = GENERATOR.uniform(-1, 1, (2, 9, 9))
    other = image + np.array([0.1, 0.3])[:, None, None]
    found = reconstruction_scores(other, image)
    assert found["mae"] == pytest.approx(0.2)
    assert found["psnr"] == pytest.approx((10 * math.log10(4 / 0.01) + 10 * math.log10(4 / 0.09)) / 2)


def test_limits() -> None:
    image = np.ones((1, 9, 9))
    found = reconstruction_scores(image, image)
    assert (found["mae"], found["psnr"], found["ssim"]) == (0, math.inf, 1)
    assert math.isnan(found["gradient_energy_ratio"])
    assert math.isnan(reconstruction_scores(np.ones((1, 5, 5)), np.ones((1, 5, 5)))["ssim"])
    with pytest.raises(ValueError, match="of one shape"):
        reconstruction_scores(image, image[:, :8])
