"""The inception score: its bounds, another program, and what is no classifier of these images."""

import numpy as np
import pytest
from test_distribution import REAL

from medgen.errors import InputError, UsageError
from medgen.metrics.distribution import inception_score


def test_sure_and_varied_is_the_number_of_classes():
    assert inception_score(np.eye(4)[np.arange(400) % 4], splits=10) == pytest.approx((4, 0))


@pytest.mark.parametrize("row", [[1, 0, 0], [0.2, 0.3, 0.5]])
def test_one_opinion_on_all_images_is_1(row):
    assert inception_score(np.tile(row, (60, 1)), splits=2) == pytest.approx((1, 0))


def test_by_hand():
    """exp of the mean of 0.9 log(0.9 / 0.5) + 0.1 log(0.1 / 0.5), in each split."""
    rows = np.array([[0.9, 0.1], [0.1, 0.9]] * 2)
    expected = np.exp(0.9 * np.log(1.8) + 0.1 * np.log(0.2))
    assert inception_score(rows, splits=2) == pytest.approx((expected, 0))


def test_no_image_is_left_out():
    """Of 9 images in 2 splits, the last one alone is of the second class."""
    assert inception_score(np.eye(2)[[0] * 8 + [1]], splits=2).mean > 1.2


def test_torch_fidelity():
    """torch-fidelity 0.4.0: isc_features_to_metric(logits, splits=5, shuffle=False)."""
    logits = REAL[:, :4]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = (1.7648726808424, 0.1140585454491)
    assert inception_score(probabilities, splits=5) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        (np.ones((50, 1)), {}, "knows 1 class, and at least 2 are needed"),
        (np.full((50, 2), 2.5), {}, "no class probabilities"),
        (np.tile([1.5, -0.5], (50, 1)), {}, "no class probabilities"),
        (np.full((19, 2), 0.5), {"splits": 10}, "2 classes in 10 splits needs at least 20 images, got 19"),
        (np.full((20, 2), np.nan), {}, "20 of 20 generated images have values that are NaN"),
        (np.zeros((0, 2)), {}, "at least 1 generated images, got 0"),
    ],
)
def test_bad_input(rows, options, words):
    with pytest.raises(InputError, match=words):
        inception_score(rows, **options)


def test_no_splits():
    with pytest.raises(UsageError, match="at least 1, got 0"):
        inception_score(np.full((20, 2), 0.5), splits=0)
