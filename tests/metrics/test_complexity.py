"""Length of the compressed image, of images whose entropy is known."""

import numpy as np
import pytest

from medgen.metrics.complexity import BIN, compressed_bits


def noise(*shape: int) -> np.ndarray:
    """Every one of 256 grey levels is as likely: 8 bits a voxel."""
    return np.random.default_rng(0).uniform(-4, 4, shape)


def test_a_constant_image_needs_next_to_nothing():
    assert compressed_bits(np.full((1, 64, 64), 0.7)) < 0.1
    assert compressed_bits(np.full((1, 64, 64), 0.7)) == compressed_bits(np.full((1, 64, 64), 0.7))


@pytest.mark.parametrize("shape", [(1, 64, 64), (2, 16, 16, 16)])
def test_noise_needs_its_entropy(shape):
    assert compressed_bits(noise(*shape)) == pytest.approx(8.0, abs=0.2)


def test_few_levels_need_few_bits():
    """Of 4 levels, 2 bits; LZMA needs a third more."""
    levels = np.random.default_rng(1).integers(0, 4, (1, 64, 64)) * BIN
    assert 2.0 < compressed_bits(levels) < 2.7


@pytest.mark.parametrize("axis", [1, 2])
def test_a_ramp_along_any_axis_is_simple(axis):
    ramp = np.moveaxis(np.broadcast_to(np.arange(64) * BIN, (1, 64, 64)), 2, axis)
    assert compressed_bits(ramp) < 0.2


def test_a_plane_is_simple_by_its_neighbours():
    """Slopes along both axes: differences along one alone differ by row; the predictor of a plane leaves nothing."""
    x, y = np.meshgrid(np.arange(64), np.arange(64), indexing="ij")
    assert compressed_bits(((x + 2 * y) * BIN - 3)[None]) < 0.3


def test_smoother_is_simpler():
    image = np.random.default_rng(2).normal(size=(1, 64, 64))
    smooth = (image + np.roll(image, 1, 1) + np.roll(image, 1, 2) + np.roll(image, (1, 1), (1, 2))) / 4
    assert compressed_bits(smooth) < compressed_bits(image) - 0.5


def test_values_beyond_the_range_count_as_its_ends():
    assert compressed_bits(np.full((1, 8, 8), 9.0)) == compressed_bits(np.full((1, 8, 8), 5.0))


@pytest.mark.parametrize("image", [np.zeros((1, 0, 3)), np.array([[np.nan]]), np.array([[np.inf]])])
def test_no_complexity_of_nothing(image):
    with pytest.raises(ValueError, match="no complexity"):
        compressed_bits(image)
