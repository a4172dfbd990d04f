"""Coverage and rank correlation of a standard deviation, against values counted by hand."""

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from medgen.metrics.uncertainty import UNITS, coverage, sd_error_correlation, uncertainty_scores

# Ten voxels: two of air, five soft, three of bone.
TRUTH = np.array([-1000, -300, -100, 0, 40, 40, 100, 300, 500, 900], float).reshape(1, 2, 5)
ERROR = np.array([10, -30, 20, 0, 5, -5, 8, 100, -41, 40], float).reshape(1, 2, 5)
SD = np.array([5, 14, 30, 0, 2, 3, 4, 60, 20, 20], float).reshape(1, 2, 5)
# |error| <= 2 sd:  1   0   1  1  0  1  1    1   0   1


def test_coverage_by_hand():
    pair = (SD, TRUTH + ERROR, TRUTH)
    assert coverage(*pair) == 0.7
    shares = [uncertainty_scores(*pair)[f"coverage{kind}"] for kind in ("", "_air", "_soft", "_bone")]
    assert shares == pytest.approx([0.7, 0.5, 0.8, 2 / 3])


def test_the_mask_decides_and_outside_may_be_anything():
    mask = np.zeros(TRUTH.shape, bool)
    mask[0, 0, :3] = True
    sd, prediction = SD.copy(), TRUTH + ERROR
    sd[~mask] = prediction[~mask] = np.nan
    assert coverage(sd, prediction, TRUTH, mask) == pytest.approx(2 / 3)
    scores = uncertainty_scores(sd, prediction, TRUTH, mask.astype(np.uint8))
    assert scores["coverage_soft"] == 1
    assert math.isnan(scores["coverage_bone"])
    assert sd_error_correlation(sd, prediction, TRUTH, mask) == pytest.approx(0.5)  # ranks 1 2 3 and 1 3 2


def test_the_tissue_is_that_of_the_truth():
    """One voxel of bone that is predicted as soft tissue."""
    truth, prediction = np.full((1, 1, 2), 300.0), np.array([[[300.0, 0.0]]])
    scores = uncertainty_scores(np.zeros((1, 1, 2)), prediction, truth)
    assert scores["coverage_bone"] == 0.5
    assert math.isnan(scores["coverage_soft"])


def test_correlation_ranks_with_ties():
    expected = spearmanr(SD.ravel(), np.abs(ERROR).ravel()).statistic
    assert sd_error_correlation(SD, TRUTH + ERROR, TRUTH) == pytest.approx(expected, abs=1e-12)
    assert sd_error_correlation(np.square(ERROR), TRUTH + ERROR, TRUTH) == pytest.approx(1)
    assert sd_error_correlation(100 - np.abs(ERROR), TRUTH + ERROR, TRUTH) == pytest.approx(-1)


@pytest.mark.filterwarnings("error")
def test_what_does_not_exist_is_nan():
    prediction = TRUTH + ERROR
    constant = np.full(TRUTH.shape, 3.0)
    assert math.isnan(sd_error_correlation(constant, prediction, TRUTH))
    assert math.isnan(sd_error_correlation(SD, TRUTH + 7, TRUTH))  # a constant error
    assert coverage(constant, prediction, TRUTH) == 0.3  # errors of 0, 5 and 5 HU
    nothing = np.zeros(TRUTH.shape, bool)
    assert all(math.isnan(value) for value in uncertainty_scores(SD, prediction, TRUTH, nothing).values())
    holed = SD.copy()
    holed[0, 0, 0] = np.nan
    scores = uncertainty_scores(holed, prediction, TRUTH)
    assert [name for name, value in scores.items() if math.isnan(value)] == [
        "sd_error_correlation",
        "coverage",
        "coverage_air",
        "ause",
        "ause_air",
    ]


def test_names_and_shapes():
    assert list(uncertainty_scores(SD, TRUTH + ERROR, TRUTH)) == list(UNITS)
    with pytest.raises(ValueError, match="of one shape"):
        coverage(SD[:, :1], TRUTH, TRUTH)


def test_errors_drawn_with_the_standard_deviation_are_covered_as_the_normal_distribution_says():
    generator = np.random.default_rng(0)
    sd = generator.uniform(5, 50, (40, 40, 40))
    prediction = generator.normal(0, sd)
    assert coverage(sd, prediction, np.zeros_like(sd)) == pytest.approx(0.9545, abs=0.005)
    assert 0.3 < sd_error_correlation(sd, prediction, np.zeros_like(sd)) < 0.6
