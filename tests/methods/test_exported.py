"""A model holds only the weights that its prediction needs, and predicts with them as the trained method does."""

import pytest
import torch

from medgen.methods.base import Method, Shape
from medgen.methods.catalogue import create, method_names, resolve
from medgen.training.model_folder import exported_state, load_stages, save_model

SMALL = {"network": "unet", "generator": "unet", "width": 0.25, "discriminator_width": 4, "discriminator_depth": 1}
WITH_TEACHER = ("mean_teacher", "self_training", "adversarial_mean_teacher")
IMAGE = torch.randn(1, 2, 16, 16, 16, generator=torch.Generator().manual_seed(1))


def method(name: str, **settings) -> Method:
    """One whose parts all differ, as after a training."""
    known = resolve(name).config_class.model_fields
    torch.manual_seed(0)
    made = create(name, {key: value for key, value in {**SMALL, **settings}.items() if key in known}, Shape(2, 2))
    for number, tensor in enumerate(made.buffers()):
        if tensor.is_floating_point():
            tensor += 0.01 + 0.001 * number
    return made.eval()


def parts(made: Method) -> set[str]:
    return {name.partition(".")[0] for name in exported_state(made)}


@pytest.mark.parametrize("name", method_names())
def test_no_discriminator_is_kept(name):
    assert not [part for part in parts(method(name)) if "discriminator" in part or "adversary" in part]


@pytest.mark.parametrize(
    ("statistics", "predict_with", "expected"),
    [
        ("shared", "teacher", {"teacher"}),
        ("target", "teacher", {"teacher"}),
        ("shared", "student", {"network"}),
        ("source", "student", {"network"}),
        ("target", "student", {"network", "statistics"}),
    ],
)
@pytest.mark.parametrize("name", WITH_TEACHER)
def test_a_teacher_needs_no_student_and_a_student_no_teacher(name, statistics, predict_with, expected):
    assert parts(method(name, norm="batch", statistics=statistics, predict_with=predict_with)) == expected


@pytest.mark.parametrize(
    ("statistics", "expected"),
    [("source", {"network"}), ("target", {"network", "statistics"}), ("shared", {"network"})],
)
@pytest.mark.parametrize("name", ["domain_adversarial", "entropy_minimisation"])
def test_statistics_are_kept_where_prediction_uses_them(name, statistics, expected):
    assert parts(method(name, norm="batch", statistics=statistics)) == expected


@pytest.mark.parametrize("predict_with", ["teacher", "student"])
@pytest.mark.parametrize("statistics", ["shared", "source", "target"])
@pytest.mark.parametrize("name", ["domain_adversarial", "entropy_minimisation", *WITH_TEACHER])
def test_the_loaded_model_predicts_as_the_trained_one(name, statistics, predict_with, tmp_path):
    trained = method(name, norm="batch", statistics=statistics, predict_with=predict_with)
    save_model(tmp_path, [trained], {"method": name})
    (loaded,), _ = load_stages(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded.predict(IMAGE), trained.predict(IMAGE))
