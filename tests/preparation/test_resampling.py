"""Grids and interpolation against hand-computed values and MONAI."""

import numpy as np
import pytest

from medgen.preparation.resampling import fitted_grid, resample


def test_fitted_grid_keeps_the_centre_and_leaves_no_voxel_out():
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    affine[:3, 3] = 10, 20, 30
    fitted, shape = fitted_grid(affine, (10, 11, 4), (4.0, 4.0, 4.0))
    assert shape == (3, 3, 3)
    old_centre = affine @ [4.5, 5, 1.5, 1]
    new_centre = fitted @ [1, 1, 1, 1]
    np.testing.assert_allclose(new_centre, old_centre)
    np.testing.assert_allclose(np.diag(fitted), [4, 4, 4, 1])


@pytest.mark.parametrize("spacing", [None, (1.0, 1.0, 3.0), (1.0004, 0.9996, 3.0)])
def test_an_equal_spacing_changes_nothing(spacing):
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    data = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)
    fitted, shape = fitted_grid(affine, data.shape, spacing)
    assert np.array_equal(fitted, affine)
    assert resample(data, affine, fitted, shape, fill=0) is data


def test_linear_interpolation_by_hand():
    line = np.array([0.0, 10.0, 20.0], np.float32).reshape(3, 1, 1)
    fine = np.diag([0.5, 1, 1, 1])
    fine[0, 3] = -0.25  # positions -0.25, 0.25, 0.75, ... of the old grid
    result = resample(line, np.eye(4), fine, (6, 1, 1), fill=-1)
    np.testing.assert_allclose(result.ravel(), [0, 2.5, 7.5, 12.5, 17.5, 20], atol=1e-5)


def test_beyond_the_field_of_view_stands_the_fill():
    line = np.full((3, 1, 1), 5.0, np.float32)
    shifted = np.eye(4)
    shifted[0, 3] = 2
    np.testing.assert_array_equal(resample(line, np.eye(4), shifted, (3, 1, 1), fill=-7).ravel(), [5, -7, -7])
    np.testing.assert_array_equal(
        resample(line.astype(np.uint8), np.eye(4), shifted, (3, 1, 1), fill=9, nearest=True).ravel(), [5, 9, 9]
    )


def test_a_coarser_grid_averages_what_it_cannot_hold():
    stripes = np.tile(np.array([0.0, 1.0], np.float32), 32).reshape(64, 1, 1)
    affine, shape = fitted_grid(np.eye(4), stripes.shape, (4.0, 1.0, 1.0))
    result = resample(stripes, np.eye(4), affine, shape, fill=0)
    np.testing.assert_allclose(result[1:-1], 0.5, atol=1e-6)  # plain interpolation would give 0 or 1 by chance


def test_nearest_keeps_labels_whole():
    labels = np.random.default_rng(0).integers(0, 5, (9, 8, 7)).astype(np.uint8)
    affine, shape = fitted_grid(np.eye(4), labels.shape, (0.7, 1.3, 2.1))
    result = resample(labels, np.eye(4), affine, shape, fill=0, nearest=True)
    assert result.dtype == np.uint8
    assert set(np.unique(result)) <= set(range(5))


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_same_numbers_as_monai(order):
    import torch
    from monai.transforms import SpatialResample

    data = np.asarray(np.random.default_rng(0).normal(size=(13, 11, 9)), np.float32, order=order)
    affine, shape = fitted_grid(np.eye(4), data.shape, (0.7, 0.6, 0.9))
    ours = resample(data, np.eye(4), affine, shape, fill=0)
    theirs = SpatialResample(mode="bilinear", padding_mode="border", align_corners=True, dtype=torch.float64)(
        torch.from_numpy(np.ascontiguousarray(data))[None], dst_affine=torch.from_numpy(affine), spatial_size=shape
    )
    np.testing.assert_allclose(ours, np.asarray(theirs)[0], atol=1e-5)


def test_an_oblique_grid_finds_the_same_place():
    data = np.zeros((21, 21, 21), np.float32)
    data[13, 10, 10] = 1000
    angle = np.radians(30)
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turned[:3, 3] = np.array([10, 10, 10]) - turned[:3, :3] @ [10, 10, 10]
    result = resample(data, np.eye(4), turned, data.shape, fill=0)
    brightest = turned @ [*np.unravel_index(result.argmax(), result.shape), 1]
    assert np.abs(brightest[:3] - [13, 10, 10]).max() < 0.8
    outside = resample(np.ones_like(data), np.eye(4), turned, data.shape, fill=-5)
    assert outside[0, 0, 10] == -5
    assert outside[10, 10, 10] == 1


@pytest.mark.parametrize("spacing", [0.3, 1.3, 1.7, 2.0, 3.9])
def test_nothing_is_shifted(spacing):
    ramp = np.arange(40, dtype=np.float32).reshape(40, 1, 1)
    affine, shape = fitted_grid(np.eye(4), ramp.shape, (spacing, 1.0, 1.0))
    positions = affine[0, 0] * np.arange(shape[0]) + affine[0, 3]
    inner = (positions > 5) & (positions < 34)
    result = resample(ramp, np.eye(4), affine, shape, fill=0).ravel()
    np.testing.assert_allclose(result[inner], positions[inner], atol=1e-4)
