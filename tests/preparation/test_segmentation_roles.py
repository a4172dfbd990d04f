"""Roles of a segmentation: classes made of label values, and inputs that a patient may lack."""

from pathlib import Path

import numpy as np
import pytest

from medgen.cases import Case
from medgen.config import build
from medgen.errors import InputError, UsageError
from medgen.preparation import Preparation, PreparationConfig, Roles, build_store
from medgen.volume import Volume, write_volume

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
SETTINGS = PreparationConfig(spacing=None, body_margin=0)


def image(seed: int = 0) -> Volume:
    data = np.zeros((12, 12, 12), np.float32)
    data[2:-2, 2:-2, 2:-2] = 500 + np.random.default_rng(seed).normal(0, 50, (8, 8, 8))
    return Volume(data[None], AFFINE)


def labels() -> Volume:
    data = np.zeros((12, 12, 12), np.uint8)
    data[4, 4, 4:9] = [1, 2, 3, 4, 9]
    return Volume(data[None], AFFINE)


def test_values_become_the_numbers_of_their_classes():
    roles = Roles(inputs=("t1",), labels="label", classes={"core": (1, 3), "oedema": (2,)})
    prepared = Preparation(roles, SETTINGS).prepare({"t1": image(), "label": labels()})
    assert prepared.labels[4, 4, 4:9].tolist() == [1, 2, 1, 0, 0]


def test_without_classes_the_values_stay():
    prepared = Preparation(Roles(inputs=("t1",), labels="label"), SETTINGS).prepare({"t1": image(), "label": labels()})
    assert prepared.labels[4, 4, 4:9].tolist() == [1, 2, 3, 4, 9]


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"inputs": ["t1"], "labels": "label", "classes": {"a": [1], "b": [1]}}, "two classes"),
        ({"inputs": ["t1"], "classes": {"a": [1]}}, "no labels"),
        ({"inputs": ["t1"], "labels": "label", "classes": {"a": [0]}}, "greater than 0"),
        ({"inputs": ["t1?", "t2"], "labels": "label"}, "cannot be optional"),
    ],
)
def test_roles_that_make_no_sense_are_refused(values, what):
    with pytest.raises(UsageError, match=what):
        build(Roles, values)


def test_an_optional_input_that_is_absent_is_the_mean_of_a_normalised_channel():
    preparation = Preparation(Roles(inputs=("t1", "ge?", "swi?")), SETTINGS)
    prepared = preparation.prepare({"t1": image(), "swi?": image(1)})
    assert prepared.image.shape[0] == 3
    assert not prepared.image[1].any()
    assert prepared.image[2].any()
    with pytest.raises(InputError, match="no image for the input t1"):
        preparation.prepare({"swi?": image(1)})


def test_the_store_takes_cases_that_lack_an_optional_input(tmp_path: Path):
    cases = []
    for name, role in (("a", "ge"), ("b", "swi")):
        images = {}
        for each in ("t1", role):
            images[each] = write_volume(image(len(name)), tmp_path / f"{name}_{each}.nii.gz", kind="scalar")
        cases.append(Case(name, "train", None, images))
    preparation = Preparation(Roles(inputs=("t1", "ge?", "swi?")), SETTINGS)
    stored = build_store(cases, preparation, tmp_path / "store").cases
    assert [[bool(channel.any()) for channel in case.image] for case in stored] == [
        [True, True, False],
        [True, False, True],
    ]
