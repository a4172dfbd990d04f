"""Lesions lost, invented and kept, of images whose answer is known."""

import math

import numpy as np
import pytest

from medgen.metrics.hallucination import LesionFidelity, lesion_fidelity

SPACING = (2.0, 2.0, 2.0)
SHAPE = (40, 40, 40)


def ball(*centre: int, radius: float = 4.0) -> np.ndarray:
    axes = np.indices(SHAPE).astype(float)
    return sum((axis - middle) ** 2 for axis, middle in zip(axes, centre, strict=True)) <= radius**2


ONE, TWO, ELSEWHERE = ball(10, 10, 10), ball(28, 28, 28), ball(10, 28, 20)
LABEL, MASK = ONE | TWO, np.ones(SHAPE)


def image(*contrasts: tuple[np.ndarray, float]) -> np.ndarray:
    tissue = np.random.default_rng(0).normal(100, 1, SHAPE)
    for where, height in contrasts:
        tissue = tissue + height * where
    return tissue


TRUTH = image((ONE, 50), (TWO, 50))


def judged(prediction: np.ndarray, **options) -> LesionFidelity:
    return lesion_fidelity(prediction, TRUTH, LABEL, MASK, spacing=SPACING, **options)


def test_the_true_image_keeps_everything():
    found = judged(TRUTH)
    assert (found.lesions, found.lost, found.invented, found.unseen) == (2, 0, 0, 0)
    assert found.contrast_kept == pytest.approx(1)
    assert found.contrasts == pytest.approx((50, 50), abs=1)


def test_a_lesion_that_is_painted_over_is_lost_and_a_faint_one_is_kept_by_its_share():
    found = judged(image((TWO, 30)))
    assert found.kept == pytest.approx((0, 0.6), abs=0.03)
    assert (found.lost, found.invented) == (1, 0)


def test_an_inverted_contrast_is_lost():
    assert judged(image((ONE, 50), (TWO, -50))).lost == 1


def test_a_lesion_elsewhere_is_invented_and_has_its_volume():
    found = judged(TRUTH + 50 * ELSEWHERE)
    assert (found.lost, found.invented) == (0, 1)
    assert found.invented_ml[0] == pytest.approx(ELSEWHERE.sum() * 0.008, rel=0.25)  # averaging shaves its surface
    assert judged(TRUTH + 20 * ELSEWHERE).invented == 0  # less than half of a lesion
    assert judged(TRUTH - 50 * ELSEWHERE).invented == 0  # these lesions are bright
    assert judged(TRUTH + 50 * ELSEWHERE, smallest_ml=5).invented == 0


def test_what_stands_in_the_true_image_is_not_invented():
    truth = TRUTH + 50 * ELSEWHERE
    assert lesion_fidelity(truth, truth, LABEL, MASK, spacing=SPACING).invented == 0


def test_a_thin_edge_and_a_bright_whole_lesion_are_not_invented():
    sheet = np.zeros(SHAPE)
    sheet[20] = 60
    assert judged(TRUTH + sheet).invented == 0
    assert judged(image((ONE, 80), (TWO, 80))).invented == 0


def test_dark_lesions_are_judged_in_their_direction():
    truth = image((ONE, -50), (TWO, -50))
    wrong = truth - 50 * ELSEWHERE
    found = lesion_fidelity(wrong, truth, LABEL, MASK, spacing=SPACING)
    assert (found.lost, found.invented) == (0, 1)
    assert lesion_fidelity(truth + 50 * ELSEWHERE, truth, LABEL, MASK, spacing=SPACING).invented == 0


def test_a_patient_without_lesions_needs_a_contrast():
    healthy, none = image(), np.zeros(SHAPE)
    wrong = healthy + 50 * ELSEWHERE
    without = lesion_fidelity(wrong, healthy, none, MASK, spacing=SPACING)
    assert (without.invented, without.unknown) == (0, 1)
    assert (without + judged(TRUTH) + without).unknown == 2
    found = lesion_fidelity(wrong, healthy, none, MASK, spacing=SPACING, contrast=50)
    assert (found.lesions, found.invented, found.unknown) == (0, 1, 0)
    assert math.isnan(found.contrast_kept)


def test_a_lesion_that_the_true_image_does_not_show_is_not_judged():
    truth = image((TWO, 50))
    found = lesion_fidelity(image(), truth, LABEL, MASK, spacing=SPACING)
    assert (found.lesions, found.lost, found.unseen) == (1, 1, 1)


def test_a_lesion_outside_the_mask_is_not_judged_and_not_forgotten():
    mask = MASK * ~TWO
    mask[tuple(np.argwhere(TWO)[0])] = 1
    assert lesion_fidelity(TRUTH, TRUTH, LABEL, MASK * ~TWO, spacing=SPACING).unseen == 1
    assert lesion_fidelity(TRUTH, TRUTH, LABEL, mask, spacing=SPACING).unseen == 0  # a voxel of it is inside
    assert lesion_fidelity(TRUTH, TRUTH, LABEL, np.zeros(SHAPE), spacing=SPACING).unseen == 2


def test_patients_are_added():
    both = judged(TRUTH) + judged(image((TWO, 50)))
    assert (both.lesions, both.lost) == (4, 1)
    assert both + LesionFidelity() == both


def test_what_cannot_be_compared_is_an_error():
    with pytest.raises(ValueError, match="shapes differ"):
        judged(TRUTH[1:])
    broken = TRUTH.copy()
    broken[5, 5, 5] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        judged(broken)
