"""Image metrics on phantoms small enough to do by hand."""

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from medgen.metrics import image


def line(values):
    return np.array(values, dtype=np.float32).reshape(-1, 1, 1)


@pytest.fixture(scope="module")
def head():
    """A ball of soft tissue in air with a shell of bone, and a noisy prediction of it."""
    generator = np.random.default_rng(0)
    radius = np.sqrt(((np.indices((40, 40, 40)) - 19.5) ** 2).sum(0))
    truth = np.select([radius < 12, radius < 15, radius < 18], [40.0, 900.0, 0.0], -1000.0).astype(np.float32)
    truth += generator.normal(0, 5, truth.shape).astype(np.float32)
    return truth + generator.normal(0, 30, truth.shape).astype(np.float32), truth, radius < 18


def test_errors_by_hand():
    truth, prediction, mask = line([0, 100, -500, 7]), line([10, 70, -500, 999]), line([1, 1, 1, 0]) > 0
    assert image.mae(prediction, truth, mask) == pytest.approx(40 / 3)
    assert image.me(prediction, truth, mask) == pytest.approx(-20 / 3)
    assert image.mae(prediction, truth) == pytest.approx((40 + 992) / 4)


def test_mae_is_not_clipped():
    assert image.mae(line([5000]), line([3071])) == 1929


def test_psnr_clips_and_uses_the_fixed_range():
    truth, prediction = line([3071, 0]), line([9000, 4095 / 10])
    # the first voxel is equal after clipping; the second is off by a tenth of the range
    assert image.psnr(prediction, truth) == pytest.approx(20 + 10 * math.log10(2), abs=1e-5)


def test_psnr_equals_scikit_image(head):
    prediction, truth, mask = head
    expected = peak_signal_noise_ratio(
        truth[mask].astype(np.float64), prediction[mask].astype(np.float64), data_range=4095
    )
    assert image.psnr(*head) == pytest.approx(expected, abs=1e-6)


def test_psnr_nie_takes_the_larger_maximum():
    assert image.psnr_nie(line([0, 990]), line([0, 1000])) == pytest.approx(10 * math.log10(1000**2 / 50))
    assert image.psnr_nie(line([0, 1010]), line([0, 1000])) == pytest.approx(10 * math.log10(1010**2 / 50))


def test_ssim_equals_scikit_image_inside_the_mask(head):
    prediction, truth, mask = head
    one, two = (np.where(mask, np.clip(x, -1024, 3071) + 1024, 0).astype(np.float64) for x in (prediction, truth))
    _, full = structural_similarity(one, two, data_range=4095, full=True)
    assert image.ssim(*head) == pytest.approx(full[3:-3, 3:-3, 3:-3][mask[3:-3, 3:-3, 3:-3]].mean(), abs=1e-6)


def test_what_is_outside_the_mask_does_not_count(head):
    prediction, truth, mask = head
    other = np.where(mask, prediction, np.nan)
    assert image.image_scores(other, truth, mask) == image.image_scores(prediction, truth, mask)


def test_identical_volumes(head):
    _, truth, mask = head
    scores = image.image_scores(truth, truth, mask)
    perfect = {
        "mae": 0,
        "me": 0,
        "psnr": math.inf,
        "ssim": 1,
        "ms_ssim": 1,
        "mae_soft": 0,
        "mae_bone": 0,
        "dice_bone": 1,
    }
    for name, value in perfect.items():
        assert scores[name] == pytest.approx(value), name
    assert scores["gradient_ratio"] == 1
    assert math.isnan(scores["mae_air"])  # the ball holds no air


def test_tissue_is_that_of_the_truth():
    truth, prediction = line([-1000, -250, 199, 200, 1000]), line([0, -240, 219, 100, 900])
    assert image.mae_tissue(prediction, truth, kind="air") == 1000
    assert image.mae_tissue(prediction, truth, kind="soft") == 15
    assert image.mae_tissue(prediction, truth, kind="bone") == 100
    mask = line([1, 1, 0, 0, 1]) > 0
    assert image.mae_tissue(prediction, truth, mask, kind="soft") == 10


def test_dice_bone_by_hand():
    truth, prediction = line([200, 300, 0, 900]), line([200, 199, 500, 800])
    assert image.dice_bone(prediction, truth) == pytest.approx(2 * 2 / (3 + 3))
    assert image.dice_bone(prediction, truth, line([1, 1, 0, 0]) > 0) == pytest.approx(2 / 3)


def test_dice_of_missed_and_invented_and_absent_bone():
    bone, none = line([500, 0]), line([0, 0])
    assert image.dice_bone(none, bone) == 0
    assert image.dice_bone(bone, none) == 0
    assert math.isnan(image.dice_bone(none, none))


def test_empty_mask_is_nan_everywhere(head):
    prediction, truth, _ = head
    scores = image.image_scores(prediction, truth, np.zeros(truth.shape, dtype=bool))
    assert all(math.isnan(value) for value in scores.values())


def test_one_nan_voxel_fails_the_case(head):
    prediction, truth, mask = head
    broken = prediction.copy()
    broken[20, 20, 20] = np.nan
    assert all(math.isnan(value) for value in image.image_scores(broken, truth, mask).values())
    for metric in (image.mae, image.psnr, image.ssim, image.ms_ssim, image.dice_bone):
        assert math.isnan(metric(broken, truth, mask)), metric.__name__


def test_edge_error_looks_one_voxel_to_each_side():
    truth = np.zeros((9, 5, 5), dtype=np.float32)
    truth[3:6] = 1000
    prediction = truth.copy()
    prediction[4] += 50  # the middle of the bone: not at its surface
    prediction[0] += 50  # far away
    assert image.edge_error_bone(prediction, truth) == 0
    prediction[2] += 40  # beside the bone: one of the four planes 2, 3, 5, 6
    assert image.edge_error_bone(prediction, truth) == pytest.approx(10)
    assert math.isnan(image.edge_error_bone(prediction, np.zeros_like(truth)))


def test_gradient_ratio():
    ramp = np.broadcast_to(np.arange(8.0).reshape(-1, 1, 1), (8, 4, 4))
    assert image.gradient_ratio(3 * ramp + 7, ramp) == pytest.approx(3)
    assert math.isnan(image.gradient_ratio(ramp, np.zeros_like(ramp)))
    # a fill outside the mask makes an edge that is not the prediction's
    mask = np.ones(ramp.shape, dtype=bool)
    mask[6:] = False
    assert image.gradient_ratio(np.where(mask, ramp, -1024), ramp, mask) == pytest.approx(1)


def test_gradient_ratio_is_per_millimetre():
    along, across = np.indices((8, 8, 8))[:2].astype(float)
    value = image.gradient_ratio(across, along, spacing=(1.0, 4.0, 1.0))
    assert value == pytest.approx(0.25)


def test_blurring_lowers_sharpness_and_raises_the_edge_error(head):
    from scipy.ndimage import gaussian_filter

    _, truth, mask = head
    weak, strong = (gaussian_filter(truth, sigma) for sigma in (0.7, 1.5))
    assert 1 > image.gradient_ratio(weak, truth, mask) > image.gradient_ratio(strong, truth, mask)
    assert 0 < image.edge_error_bone(weak, truth, mask) < image.edge_error_bone(strong, truth, mask)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="one shape"):
        image.mae(np.zeros((1, 4, 4, 4)), np.zeros((1, 4, 4, 4)))
    with pytest.raises(ValueError, match="one shape"):
        image.mae(np.zeros((4, 4, 4)), np.zeros((4, 4, 1)))
    with pytest.raises(ValueError, match="one shape"):
        image.mae(np.zeros((4, 4, 4)), np.zeros((4, 4, 4)), np.ones((4, 4, 1), dtype=bool))


def test_integer_images_do_not_wrap_around():
    low, high = np.full((2, 1, 1), -30000, np.int16), np.full((2, 1, 1), 30000, np.int16)
    assert image.mae(high, low) == 60000


def test_tissue_outside_the_mask_is_counted_in_ml():
    truth = np.full((10, 10, 10), -1000.0)
    mask = np.zeros(truth.shape, dtype=bool)
    mask[:5] = True
    truth[:5], truth[9] = 40.0, 300.0  # a couch is no false tissue
    prediction = truth.copy()
    prediction[6, :, :2] = 0.0
    assert image.false_tissue(prediction, truth, mask, spacing=(2.0, 2.0, 2.0)) == pytest.approx(20 * 8 / 1000)
    assert image.false_tissue(prediction, truth) == 0
    prediction[7] = np.nan  # outside the mask nothing must be finite
    assert image.false_tissue(prediction, truth, mask, spacing=(2.0, 2.0, 2.0)) == pytest.approx(0.16)
