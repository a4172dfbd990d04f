"""Labels of the target domain never touch training: whatever stands in their files, the weights are the same."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from medgen.errors import InputError
from medgen.methods.catalogue import method_names, resolve
from medgen.run.experiment import train
from medgen.volume import Volume, read_volume, write_volume
from tests.tiny_domains import recipe, write_domains

SMALL = {
    "network": "unet",
    "width": 0.25,
    "norm": "batch",
    "optimizer": "adam",
    "learning_rate": 3e-3,
    "discriminator_width": 4,
    "discriminator_depth": 1,
    "begin": 0.0,
    "full": 0.5,
    "consistency_full": 0.25,
    "teach": 0.5,
}
"""Settings with which every method looks at the target within its first steps, where it knows them."""
ADAPTING = [name for name in method_names() if resolve(name).adapts()]


def weights(name: str, cases: Path, run: Path, schedule=None, **data) -> dict[str, torch.Tensor]:
    """What training on a folder of cases makes; all methods share the prepared volumes of the folder."""
    known = resolve(name).config_class.model_fields
    settings = {key: value for key, value in SMALL.items() if key in known}
    if name == "co_training":  # it refuses batch normalisation
        settings["norm"] = "instance"
    schedule = {"steps": 4, "validate_every": 4, "health": None, **(schedule or {})}
    blocks = {**recipe(method=name, schedule=schedule, data=data), "config": settings}
    train(blocks, cases / "cases.csv", run, device="cpu", store=cases / "store")
    return load_file(run / "model" / "weights.safetensors")


def spoilt(folder: Path, spoil: Callable[[Path], None], pattern: str = "target*_label.nii.gz") -> Path:
    """A folder of cases where something was done to some files."""
    write_domains(folder, val=1)
    found = sorted(folder.glob(pattern))
    assert len(found) == 3  # two to train on, one to validate on
    for path in found:
        spoil(path)
    return folder


def shuffle(path: Path) -> None:
    volume = read_volume(path)
    noise = np.random.default_rng(1).integers(0, 2, volume.data.shape).astype(np.float32)
    write_volume(Volume(noise, volume.affine), path, kind="label", overwrite=True)


def damage(path: Path) -> None:
    path.write_bytes(b"not an image")


def remove(path: Path) -> None:
    path.unlink()


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """The weights of each method with the true labels in place."""
    folder = tmp_path_factory.mktemp("clean")
    write_domains(folder / "cases", val=1)
    of_method = cache(lambda name: weights(name, folder / "cases", folder / name))
    of_method.folder = folder / "cases"
    return of_method


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    return spoilt(tmp_path_factory.mktemp("damaged"), damage)


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("name", ADAPTING)
def test_labels_of_the_target_are_not_even_opened(name, clean, damaged, tmp_path):
    assert same(weights(name, damaged, tmp_path / "run"), clean(name))


@pytest.mark.parametrize("spoil", [shuffle, remove])
def test_random_and_missing_labels_of_the_target_change_nothing(spoil, clean, tmp_path):
    cases = spoilt(tmp_path / "cases", spoil)
    assert same(weights("domain_adversarial", cases, tmp_path / "run"), clean("domain_adversarial"))


def test_matched_patches_open_no_label_of_the_target_and_change_the_weights(clean, damaged, tmp_path, monkeypatch):
    monkeypatch.setitem(SMALL, "matched", True)
    matched = weights("domain_adversarial", damaged, tmp_path / "run")
    assert same(matched, weights("domain_adversarial", clean.folder, tmp_path / "clean"))
    assert not same(matched, clean("domain_adversarial"))


def test_weights_that_are_chosen_by_health_need_no_label_of_the_target_either(damaged, clean, tmp_path):
    choose = {"validate_every": 2, "keep": "health", "health": {"cases": 1, "disturbed": 1, "segments": 4}}
    chosen = weights("domain_adversarial", damaged, tmp_path / "run", schedule=choose)
    assert same(chosen, weights("domain_adversarial", clean.folder, tmp_path / "clean", schedule=choose))


@pytest.fixture(scope="module")
def other_images(tmp_path_factory):
    return spoilt(tmp_path_factory.mktemp("images"), shuffle, "target*_swi.nii.gz")


@pytest.mark.parametrize("name", ADAPTING)
def test_images_of_the_target_do_change_the_weights(name, other_images, clean, tmp_path):
    """The comparison can fail, for each method."""
    assert not same(weights(name, other_images, tmp_path / "run"), clean(name))


def test_labels_of_the_source_do_change_the_weights(clean, tmp_path):
    cases = spoilt(tmp_path / "cases", shuffle, "source*_label.nii.gz")
    assert not same(weights("domain_adversarial", cases, tmp_path / "run"), clean("domain_adversarial"))


def test_a_supervised_run_does_open_the_labels_of_the_target(damaged, tmp_path):
    with pytest.raises(InputError):
        weights("segmentation", damaged, tmp_path / "run", domains=["source", "target"])
