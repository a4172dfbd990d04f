"""The fingerprint of an image, how far from the training set it may be, and what is said when it is farther."""

import numpy as np
import pytest

from medgen.preparation.fingerprint import (
    GROUPS,
    NUMBERS,
    Fingerprint,
    fingerprint,
    scale_of,
    summarise,
)
from medgen.preparation.likeness import Calibration, calibrate, unlike_training
from medgen.preparation.plausible import implausible, measure, plausible_ranges

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])


def egg(seed: int, *, size: float = 1.0, gain: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalised image, body and raw image: an egg with its point up, bright below and behind."""
    random = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, 28)] * 3, indexing="ij")
    width = size * random.uniform(0.68, 0.72)
    body = (x / width) ** 2 + (y / width) ** 2 + (z / (width + 0.2) / (1.15 - 0.3 * (z > 0))) ** 2 < 1 - 0.3 * z
    raw = np.where(body, 500 - 200 * z - 100 * y, 0) + random.normal(0, 20, body.shape) * body
    raw = gain * raw
    inside = raw[body]
    return ((raw - inside.mean()) / inside.std()).astype(np.float32), body, raw.astype(np.float32)


def numbers(image, body, raw) -> tuple[float, ...]:
    return fingerprint(image, body, AFFINE, scale_of(raw))


@pytest.fixture(scope="module")
def training() -> list[dict[str, tuple[float, ...]]]:
    return [{"t1": numbers(*egg(seed))} for seed in range(12)]


def warnings_on(image, training) -> tuple[str, ...]:
    return unlike_training({"t1": numbers(*image)}, summarise(training), calibrate(training))


def test_the_numbers_of_a_box_by_hand():
    """10 x 10 x 10 voxels of 4 mm, 1 everywhere but 3 in its upper half, in air of -1."""
    image = np.full((20, 20, 20), -1, np.float32)
    body = np.zeros(image.shape, bool)
    body[5:15, 5:15, 5:15] = True
    image[body] = 1
    image[5:15, 5:15, 10:15] = 3
    found = np.split(np.array(fingerprint(image, body, AFFINE, (2.5, 0.0))), np.cumsum([10, 12, 3, 2, 4]))
    look, levels, steps, scale, size, shape = found
    assert look[:6].tolist() == [1, 1, 2, 3, 3, -1]
    assert levels[:4].tolist() == [2, 2, 2, 2]
    np.testing.assert_allclose(levels[8:], [1, 5 / 3, 3, 3])  # of 3, 3, 2 and 2 slices
    assert steps[0] == pytest.approx(np.log(1e-3))
    assert steps[2] == pytest.approx(np.log(2 / 9 + 1e-3))  # one of nine steps is 2, and the standard deviation is 1
    assert scale.tolist() == [2.5, 0]
    np.testing.assert_allclose(np.exp(size), [64, 40, 40, 40])
    assert shape.tolist() == [1] * 12
    assert sum(map(len, found)) == NUMBERS


def test_scale_and_sign_of_the_values():
    values = np.full((10, 10, 10), 100.0)
    assert scale_of(values) == (pytest.approx(2), 0)
    values[:2] = -100
    assert scale_of(values * 1000) == (pytest.approx(5), pytest.approx(0.2))


def test_images_of_the_same_kind_pass(training):
    assert not any(warnings_on(egg(seed), training) for seed in range(100, 120))


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (egg(50, gain=1000), "scale or sign"),
        (egg(50, size=0.5), "size of the body"),
        ((-egg(50)[0], *egg(50)[1:]), "grey levels"),
        ((egg(50)[0] + np.random.default_rng(0).normal(0, 1, (28, 28, 28)).astype(np.float32), *egg(50)[1:]), "noise"),
    ],
)
def test_an_image_of_another_kind_is_named_with_what_is_odd(training, image, said):
    (warning,) = warnings_on(image, training)
    assert "unlike any" in warning
    assert said in warning
    assert "'t1'" in warning


def test_an_image_upside_down_is_named(training):
    (warning,) = warnings_on([np.flip(each, 2) for each in egg(50)], training)
    assert "Z" in warning or "where bright and dark lie" in warning


def test_an_image_is_turned_only_if_that_brings_it_closer():
    """All groups within their limit, so that the direction alone can be odd."""
    training = [{"t1": numbers(*egg(seed))} for seed in range(12)]
    known, wide = summarise(training), calibrate(training).model_copy(update={"limit": 1e6})
    upright, turned = ({"t1": numbers(*[np.flip(each, axis) for each in egg(50)])} for axis in ((), 2))
    assert unlike_training(upright, known, wide) == ()
    assert "flipped along Z it is like" in unlike_training(turned, known, wide)[0]
    swapped = {"t1": numbers(*[np.swapaxes(each, 1, 2) for each in egg(50)])}
    assert "axes in the order XZY" in unlike_training(swapped, known, wide)[0]


def test_the_limit_holds_all_that_was_seen_and_says_what_it_guarantees(training):
    known = calibrate(training, [{"t1": numbers(*egg(60))}])
    assert (known.training_cases, known.held_out_cases) == (12, 1)
    assert known.limit >= 2.5
    assert "at most 1 in 14" in known.rule
    odd = {"t1": numbers(*egg(61, gain=100))}
    assert calibrate(training, [odd]).limit > known.limit
    assert unlike_training(odd, summarise(training), calibrate(training, [odd])) == ()


def test_the_limit_by_hand():
    """One number of a group of four differs; its deviation is that of the others, and Student's t at 0.99 has df 3."""
    base = np.zeros(NUMBERS)
    cases = [{"t1": base + np.eye(NUMBERS)[27] * step} for step in (0.0, 0.1, 0.2, 0.4)]
    scores = []
    for number, step in enumerate((0.0, 0.1, 0.2, 0.4)):
        others = [each for place, each in enumerate((0.0, 0.1, 0.2, 0.4)) if place != number]
        scores.append(abs(step - np.mean(others)) / max(np.std(others), 0.1) / 2)
    logs = np.log(scores)
    expected = np.exp(logs.mean() + 4.540703 * logs.std(ddof=1) * np.sqrt(1 + 1 / 4))
    assert GROUPS[4].smallest[0] == 0.1
    assert expected > max(2.5, *scores)
    assert calibrate(cases).limit == pytest.approx(expected, abs=1e-3)


def test_two_cases_are_too_few_for_a_limit(training):
    known = calibrate(training[:2])
    assert known.limit is None
    assert "3 are needed" in known.rule
    assert unlike_training({"t1": numbers(*egg(50, gain=1000))}, summarise(training[:2]), known) == ()


def test_cases_without_inputs_count_for_nothing(training):
    assert calibrate([*training, {}]) == calibrate(training)


def test_a_model_of_an_earlier_version_compares_its_ten_numbers(training):
    old = {"t1": Fingerprint(mean=training[0]["t1"][:10], spread=(0.0,) * 10)}
    assert unlike_training(training[1], old) == ()
    assert unlike_training({"t1": numbers(*egg(50, size=0.5))}, old) == ()
    (warning,) = unlike_training({"t1": numbers(-egg(50)[0], *egg(50)[1:])}, old)
    assert "unlike any" in warning


def test_a_calibration_is_saved_and_read(training):
    known = calibrate(training)
    assert Calibration.model_validate(known.model_dump(mode="json")) == known


class TestPlausible:
    def test_pieces_of_each_class(self):
        labels = np.zeros((6, 6, 6), np.uint8)
        labels[0, 0, :4] = labels[1, 1, 4] = 1  # touch at a corner
        labels[5, 5, 5] = labels[5, 0, 0] = 3
        found = measure(labels, (1.0, 2.0, 3.0))
        assert found == {1: (5, 1, 15.0), 3: (2, 2, 3.0)}

    def test_ranges_by_hand(self):
        cases = [{1: (20.0, 1, 40.0), 2: (1.0, 3, 10.0)}, {1: (60.0, 2, 50.0)}]
        found = plausible_ranges(cases, ["gland", "tumour", "never"])
        assert list(found) == ["gland", "tumour"]
        assert (found["gland"].ml, found["gland"].mm, found["gland"].pieces) == ((10.0, 120.0), 75.0, 14)
        assert (found["tumour"].ml, found["tumour"].mm, found["tumour"].pieces) == ((0.0, 2.0), 15.0, 16)

    def test_each_fault_is_named(self):
        known = plausible_ranges([{1: (20.0, 1, 40.0)}], ["gland"])["gland"]
        assert implausible("gland", 20.0, 1, 40.0, known) == ()
        for values, said in (
            ((411.0, 1, 40.0), "411 ml is implausible"),
            ((5.0, 1, 40.0), "5 ml is implausible"),
            ((20.0, 286, 40.0), "286 connected pieces"),
            ((20.0, 1, 123.0), "a piece of 123 mm"),
        ):
            (warning,) = implausible("gland", *values, known)
            assert said in warning
