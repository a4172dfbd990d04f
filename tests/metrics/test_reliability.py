"""Reliability and the expected calibration error: by hand, against MONAI, and where MONAI stops counting."""

import math

import numpy as np
import pytest
import torch
from monai.metrics import CalibrationErrorMetric, calibration_binning

from medgen.metrics.reliability import BINS, calibration_error, reliability, reliability_rows

SHAPE = (6, 20, 30)


def test_by_hand():
    """Of four voxels at 0.8 one has the class, of six at 0.25 three: |0.8 - 0.25| * 0.4 + |0.25 - 0.5| * 0.6."""
    probability = np.array([0.8] * 4 + [0.25] * 6).reshape(2, 1, 5)
    truth = np.array([1, 0, 0, 0, 1, 1, 1, 0, 0, 0], bool).reshape(2, 1, 5)
    table = reliability(probability, truth)
    assert calibration_error(table) == pytest.approx(0.55 * 0.4 + 0.25 * 0.6)
    rows = reliability_rows(table)
    assert (rows["probability"][8], rows["frequency"][8], rows["share"][8]) == pytest.approx((0.8, 0.25, 0.4))
    assert math.isnan(rows["frequency"][5])
    assert sum(rows["share"]) == pytest.approx(1)


def test_a_calibrated_and_a_sure_map():
    generator = np.random.default_rng(0)
    probability = generator.random((40, 50, 50), np.float32)
    truth = generator.random(probability.shape) < probability
    assert calibration_error(reliability(probability, truth)) < 0.01
    assert calibration_error(reliability((probability > 0.5).astype(np.float32), truth)) == pytest.approx(
        0.25, abs=0.01
    )


def test_the_mask_and_the_ends():
    probability, truth = np.array([[[0.0, 1.0, 0.5]]]), np.array([[[False, True, False]]])
    assert calibration_error(reliability(probability, truth)) == pytest.approx(0.5 / 3)
    assert calibration_error(reliability(probability, truth, np.array([[[True, True, False]]]))) == 0
    assert math.isnan(calibration_error(reliability(probability, truth, np.zeros((1, 1, 3), bool))))


def test_monai():
    generator = np.random.default_rng(1)
    probability, truth = generator.random(SHAPE, np.float32) ** 2, generator.random(SHAPE) < 0.3
    metric = CalibrationErrorMetric(num_bins=BINS)
    metric(torch.as_tensor(probability)[None, None], torch.as_tensor(truth)[None, None])
    assert calibration_error(reliability(probability, truth)) == pytest.approx(metric.aggregate().item(), rel=1e-5)


def test_every_voxel_of_a_large_image_counts():
    """Of 2^24 + 2^16 voxels of background MONAI counts 2^24."""
    shape = (257, 256, 256)
    nothing, truth = np.broadcast_to(np.float32(0.05), shape), np.broadcast_to(np.bool_(False), shape)
    table = reliability(nothing, truth)
    assert table[0, 0] == 1
    assert table[1, 0] == pytest.approx(0.05, rel=1e-6)
    counts = calibration_binning(*(torch.as_tensor(each.copy())[None, None] for each in (nothing, truth)), BINS)[2]
    assert counts.sum() == 2**24 < truth.size, "MONAI counts right: use it"
