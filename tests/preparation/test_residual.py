"""What one channel says beyond the others."""

import numpy as np
import pytest

from medgen.errors import UsageError
from medgen.preparation import Preparation, PreparationConfig, Roles
from medgen.preparation.residual import residual
from medgen.volume import Volume


def channels(seed: int = 0):
    generator = np.random.default_rng(seed)
    first, second = generator.normal(0, 1, (2, 16, 16, 16)).astype(np.float32)
    noise = generator.normal(0, 0.1, first.shape).astype(np.float32)
    body = np.zeros(first.shape, bool)
    body[2:-2, 2:-2, 2:-2] = True
    return first, second, noise, body


def test_two_weightings_of_the_same_tissue_leave_the_same():
    """Another mixture of the other channels, another gain and offset: nothing of them is left."""
    first, second, noise, body = channels()
    a = residual(0.3 * first + 0.8 * second + noise, [first, second], body)
    b = residual(5 - 4 * (first - 0.2 * second**2 + 0.5 * first * second) - 4 * -noise, [first, second], body)
    assert np.allclose(a[body], b[body], atol=0.05)
    assert a[body].std() == pytest.approx(1.0, abs=0.1)
    assert not a[~body].any()


def test_a_lesion_stands_out_by_its_depth_and_does_not_pull_the_regression():
    first, second, noise, body = channels()
    image = first + noise
    lesion = np.zeros_like(body)
    lesion[4:7, 4:7, 4:7] = True
    image[lesion] -= 0.5
    left = residual(image, [first, second], body)
    assert left[lesion].mean() == pytest.approx(-5.0, abs=0.6)  # 0.5 of a noise of 0.1
    assert abs(left[body & ~lesion].mean()) < 0.05


def test_what_is_wholly_explained_is_zero():
    first, second, _, body = channels()
    assert np.abs(residual(2 * first - second, [first, second], body)).max() < 1e-2


def test_the_preparation_replaces_the_channel_and_keeps_the_others():
    first, second, noise, body = channels()
    inputs = {name: Volume(np.where(body, 500 + 50 * x, 0.0).astype(np.float32)[None], np.diag([2.0, 2, 2, 1]))
              for name, x in (("t2", first), ("flair", second), ("ge|swi", first + noise))}  # fmt: skip
    roles = Roles(inputs=("t2", "flair", "ge|swi"))
    plain, changed = (
        Preparation(roles, PreparationConfig(spacing=None, body_margin=0, residual=rule)).prepare(inputs)
        for rule in ({}, {"ge|swi": ("t2", "flair")})
    )
    assert np.array_equal(plain.image[:2], changed.image[:2])
    inside = changed.body
    correlation = np.corrcoef(changed.image[2][inside], changed.image[0][inside])[0, 1]
    assert abs(correlation) < 0.1 < np.corrcoef(plain.image[2][inside], plain.image[0][inside])[0, 1]


@pytest.mark.parametrize(
    ("rule", "what"),
    [
        ({"swi": ("t2",)}, "'swi', which is no input"),
        ({"ge|swi": ("t1",)}, "'t1', which is no input"),
        ({"ge|swi": ("ge|swi",)}, "taken from ge"),
        ({"ge|swi": ("t2",), "t2": ("flair",)}, "taken from t2"),
    ],
)
def test_residuals_that_make_no_sense_are_refused(rule, what):
    with pytest.raises(UsageError, match=what):
        Preparation(Roles(inputs=("t2", "flair", "ge|swi")), PreparationConfig(residual=rule))
