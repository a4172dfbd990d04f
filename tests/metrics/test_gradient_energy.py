"""Gradient energy of images by hand: what a ratio of 1 means, and that blur lowers it."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from medgen.metrics.sample_images import gradient_energy


def test_by_hand():
    ramp = np.arange(4.0).reshape(1, 1, 4, 1).repeat(3, axis=3)  # differences of 1 along x, of 0 along y
    assert gradient_energy(ramp).tolist() == [1.0]
    assert gradient_energy(3 * ramp).tolist() == [9.0]
    assert gradient_energy(ramp + 2 * np.arange(3.0)).tolist() == [5.0]
    assert gradient_energy(np.stack([ramp[0], 0 * ramp[0]])).tolist() == [1.0, 0.0]
    assert gradient_energy(ramp[..., None].repeat(2, axis=4)).tolist() == [1.0]


def test_blur_lowers_it():
    image = np.random.default_rng(0).normal(size=(1, 1, 32, 32))
    blurred = gaussian_filter(image, (0, 0, 1, 1))
    assert gradient_energy(blurred)[0] < 0.2 * gradient_energy(image)[0]
    assert gradient_energy(image)[0] == pytest.approx(4, rel=0.15)  # two axes, variance 2 of a difference
