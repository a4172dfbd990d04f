"""The body, the coil profile and the maps of intensities."""

import numpy as np
import pytest

from medgen.preparation.fingerprint import Fingerprint, summarise
from medgen.preparation.intensity import (
    LIMIT,
    body_mask,
    correct_bias,
    fitted_grid,
    unit_to_window,
    window_to_unit,
    zscore,
)
from medgen.preparation.likeness import unlike_training


def ball(size=36, radius=14.0):
    """A ball of soft tissue with a dark ventricle, in Rician air."""
    x, y, z = np.indices((size,) * 3) - size / 2
    r = np.sqrt(x**2 + y**2 + z**2)
    noise = np.random.default_rng(0).normal(size=(2, size, size, size)) * 20
    clean = np.where(r < 4, 60.0, np.where(r < radius, 600 + 100 * np.sign(x), 0.0))
    return np.hypot(clean + noise[0], noise[1]).astype(np.float32), r < radius, r < 4


def overlap(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("spacing", [2.0, 4.0])
def test_the_body_is_found_with_its_dark_cavity(spacing):
    image, truth, ventricle = ball()
    body = body_mask(image, np.diag([spacing] * 3 + [1.0]))
    assert overlap(body, truth) > 0.95
    assert body[ventricle].all()


def test_a_scan_without_air_is_body_throughout():
    image = np.random.default_rng(0).normal(500, 100, (20, 20, 20)).astype(np.float32)
    image[:, :10] *= 0.5
    assert body_mask(image, np.diag([2.0, 2, 2, 1])).all()


def test_the_background_of_a_standardised_brain_is_zero():
    image, truth, _ = ball()
    standardised = np.where(truth, (image - image[truth].mean()) / image[truth].std(), 0).astype(np.float32)
    assert overlap(body_mask(standardised, np.eye(4)), truth) > 0.99


def test_air_of_a_quiet_scan_is_no_body():
    """Whole numbers, in air 0, 1 and 2 and mostly 1: the commonest value lies between others and is air."""
    image, truth, _ = ball()
    image = np.where(truth, image, np.random.default_rng(1).choice([0, 1, 2], image.shape, p=[0.2, 0.5, 0.3]))
    body = body_mask(np.rint(image).astype(np.float32), np.diag([4.0, 4, 4, 1]))
    assert overlap(body, truth) > 0.95
    earlier = body_mask(np.rint(image).astype(np.float32), np.diag([4.0, 4, 4, 1]), quiet_air=False)
    assert earlier.sum() > 1.2 * truth.sum()  # what models of earlier versions were trained with


def test_two_legs_are_one_body_but_a_speck_is_not():
    image = np.zeros((40, 20, 20), np.float32)
    image[3:15, 4:16] = image[24:37, 4:16] = 500
    image[18:20, 9:11, 9:11] = 500
    body = body_mask(image, np.diag([2.0, 2, 2, 1]))
    assert body[8, 10, 10]
    assert body[30, 10, 10]
    assert not body[19, 10, 10]


def test_a_constant_volume_has_no_body():
    assert not body_mask(np.full((9, 9, 9), 3.0, np.float32), np.eye(4)).any()


def test_zscore_ignores_air():
    image, truth, _ = ball()
    padded = np.pad(image, 12)
    small = zscore(image, truth)
    large = zscore(padded, np.pad(truth, 12))
    np.testing.assert_allclose(large[12:-12, 12:-12, 12:-12], small, atol=1e-4)
    assert abs(float(small[truth].mean())) < 0.1
    assert abs(float(small[truth].std()) - 1) < 0.1


def test_zscore_by_hand_and_its_limit():
    image = np.array([1.0, 2, 3, 4, 5, 1e9], np.float32).reshape(6, 1, 1)
    body = np.array([1, 1, 1, 1, 1, 0], bool).reshape(6, 1, 1)
    # The percentiles 0.5 and 99.5 leave 1 and 5 out: mean 3, standard deviation sqrt(2/3).
    expected = [-2.449, -1.225, 0, 1.225, 2.449, LIMIT]
    np.testing.assert_allclose(zscore(image, body).ravel(), expected, atol=1e-3)


def test_the_window_and_its_inverse():
    values = np.array([-3000, -1024, 488, 2000, 4000], np.float32)
    unit = window_to_unit(values, -1024, 2000)
    np.testing.assert_allclose(unit, [-1, -1, 0, 1, 1])
    np.testing.assert_array_equal(unit_to_window(unit, -1024, 2000), [-1024, -1024, 488, 2000, 2000])


def test_n4_takes_a_known_coil_profile_out():
    image, truth, _ = ball(28, 11)
    x, y, _ = np.meshgrid(*[np.linspace(-1, 1, 28)] * 3, indexing="ij", sparse=True)
    profile = 0.6 * x + 0.4 * y * np.ones((1, 1, 28))
    affine = np.diag([6.0, 6, 6, 1])
    lit = (image * np.exp(profile)).astype(np.float32)
    left = np.log(correct_bias(lit, truth, affine) / correct_bias(image, truth, affine))[truth]
    assert profile[truth].std() > 0.15
    assert left.std() < 0.2 * profile[truth].std()


def test_n4_does_not_depend_on_the_threads_of_the_process():
    import SimpleITK

    image, truth, _ = ball(20, 8)
    affine = np.diag([6.0, 6, 6, 1])
    before = SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()
    results = []
    try:
        for threads in (1, 3):
            SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
            results.append(correct_bias(image, truth, affine))
    finally:
        SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
    assert np.array_equal(*results)


def test_a_swapped_channel_is_named():
    subjects = [{"t1": [-1, 0, 0.5, -2.0], "ct": [-0.4, -0.35, -0.3, -1.0]} for _ in range(3)]
    training = summarise(subjects)
    assert training["t1"] == Fingerprint(mean=(-1, 0, 0.5, -2), spread=(0, 0, 0, 0))
    assert unlike_training(subjects[0], training) == ()
    (warning,) = unlike_training({"t1": subjects[0]["ct"]}, training)
    assert "looks like 'ct'" in warning
    (warning,) = unlike_training({"t1": [9, 9, 9, 9]}, training)
    assert "unlike any" in warning


def test_a_grid_of_the_fit_keeps_thin_stacks():
    affine = np.diag([0.5, 0.5, 5, 1])
    image = np.abs(np.random.default_rng(0).normal(300, 30, (64, 64, 3))).astype(np.float32)
    assert correct_bias(image, np.ones(image.shape, bool), affine).shape == image.shape
    assert fitted_grid(affine, image.shape, None)[1] == image.shape
