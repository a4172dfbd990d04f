"""Masks of the brain and the head from the tissues that a model finds."""

import json
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from known_classes import KnownConfig, describe_classes
from mean_model import AFFINE, save

import medgen
from medgen.cli import main
from medgen.errors import InputError, UsageError
from medgen.inference import masks
from medgen.inference.model import LoadedModel
from medgen.methods.base import Method, Predicts, Shape, Update
from medgen.sampling.batches import Labelled
from medgen.volume import Volume, read_label, read_volume

CLASSES = ("grey", "white", "csf", "bone")


class ByBrightness(Method, Predicts):
    """Background below a tenth of the window, then a class for each fifth of it."""

    config_class = KnownConfig
    batch_class = Labelled

    def optimizers(self) -> dict[str, Any]:
        return {}

    def updates(self, batch: Any, progress: float) -> Iterator[Update]:
        yield from ()

    def predict(self, image: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        number = torch.where(image[:, 0] < -0.8, 0, 1 + ((image[:, 0] + 1) / 2 // 0.25).clip(0, 3)).long()
        return torch.nn.functional.one_hot(number, 5).movedim(-1, 1).float()


def finder(classes=CLASSES, inputs=("image",)):
    description = describe_classes(classes=classes)
    description["preparation"]["roles"]["inputs"] = list(inputs)
    description["preparation"]["config"]["intensity"] = {role: {"window": [0, 1000]} for role in inputs}
    stage = ByBrightness(KnownConfig(), Shape(1, 1 + len(classes))).eval()
    return LoadedModel([stage], description, torch.device("cpu"))


def scan():
    """Fluid around white matter with a hole in it, in bone; and a speck of white matter outside."""
    image = np.zeros((20, 22, 18), np.float32)
    image[2:16, 2:18, 2:16] = 900  # bone
    image[4:14, 4:16, 4:14] = 600  # fluid
    image[6:12, 6:14, 6:12] = 300  # white matter
    image[8, 9, 8] = 0
    image[18, 20, 16] = 300
    return image


@pytest.fixture(autouse=True)
def model(monkeypatch):
    found = finder()
    monkeypatch.setattr(masks, "load_model", lambda *words, **options: found)
    return found


@pytest.fixture
def table(tmp_path):
    """Two cases with a T1, a FLAIR on a coarser grid, a CT and a label."""
    rows = ["case,split,t1,flair,ct,label"]
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        save(scan(), folder / "t1.nii.gz", AFFINE)
        save(scan()[::2, ::2, ::2] + 5, folder / "flair.nii.gz", AFFINE @ np.diag([2, 2, 2, 1]))
        for other in ("ct", "label"):
            save(np.ones((20, 22, 18), np.float32), folder / f"{other}.nii.gz", AFFINE)
        rows.append(f"{name},test," + ",".join(f"{name}/{role}.nii.gz" for role in ("t1", "flair", "ct", "label")))
    path = tmp_path / "cases.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_a_mask_is_the_largest_piece_without_its_hole(tmp_path):
    save(scan(), tmp_path / "t1.nii.gz", AFFINE)
    brain = read_label(medgen.make_mask(tmp_path / "t1.nii.gz", tmp_path / "brain.nii.gz")).data[0]
    np.testing.assert_array_equal(brain > 0, np.pad(np.ones((10, 12, 10), bool), ((4, 6), (4, 6), (4, 4))))
    head = read_label(medgen.make_mask(tmp_path / "t1.nii.gz", tmp_path / "head.nii.gz", part="head")).data[0]
    whole = np.pad(np.ones((14, 16, 14), bool), ((2, 4), (2, 4), (2, 2)))
    assert not head[~whole].any()
    assert head[whole].mean() > 0.98  # the edges of a cuboid are rounded with the body
    cut = read_volume(medgen.make_mask(tmp_path / "t1.nii.gz", tmp_path / "cut.nii.gz", strip=True)).data[0]
    np.testing.assert_array_equal(cut, np.where(brain, scan(), 0))


def test_a_scan_without_a_brain_is_refused(tmp_path):
    with pytest.raises(InputError, match="no brain was found"):
        masks.mask_of(Volume(np.full((1, 5, 5, 5), 4), AFFINE), CLASSES, "brain")
    with pytest.raises(InputError, match="no head was found"):
        masks.mask_of(Volume(np.zeros((1, 5, 5, 5)), AFFINE), CLASSES, "head")
    bone = np.full((9, 9, 9), 900.0)
    bone[0] = 0
    save(bone, tmp_path / "bone.nii.gz", AFFINE)
    with pytest.raises(InputError, match="no brain was found") as caught:
        medgen.make_mask(tmp_path / "bone.nii.gz", tmp_path / "mask.nii.gz")
    assert caught.value.where == str(tmp_path / "bone.nii.gz")
    assert not (tmp_path / "mask.nii.gz").exists()


def test_a_cohort_gets_a_table_with_masks_and_stripped_images(table, tmp_path):
    made = medgen.mask_cases(table, tmp_path / "out", role="t1", strip=True)
    cases = {case.name: case for case in medgen.read_cases(made).cases}
    assert set(cases) == {"a", "b"}
    images = cases["a"].images
    mask = read_label(images["mask"]).data[0] > 0
    assert mask.sum() == 10 * 12 * 10
    np.testing.assert_array_equal(read_volume(images["t1"]).data[0], np.where(mask, scan(), 0))
    flair = read_volume(images["flair"])
    assert flair.shape == (10, 11, 9)
    assert flair.data[0, 0, 0, 0] == 0  # 5 in the scan
    assert flair.data[0, 3, 3, 3] == scan()[6, 6, 6] + 5
    assert {images[role].resolve() for role in ("ct", "label")} == {
        tmp_path / "a" / f"{name}.nii.gz" for name in ("ct", "label")
    }
    plain = medgen.read_cases(medgen.mask_cases(table, tmp_path / "plain", role="flair")).cases[0]
    assert plain.images["t1"].resolve() == tmp_path / "a" / "t1.nii.gz"
    assert read_label(plain.images["mask"]).shape == (10, 11, 9)


def test_nothing_of_the_user_is_replaced(table, tmp_path):
    theirs = tmp_path / "a" / "a_mask.nii.gz"
    save(np.zeros((20, 22, 18)), theirs, AFFINE)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    for how in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(UsageError, match="input of the command"):
            medgen.mask_cases(table, tmp_path, role="t1", **how)
    named = shutil.copytree(tmp_path / "a", tmp_path / "out" / "a")
    for how in ({}, {"resume": True}):
        with pytest.raises(UsageError, match="exists"):
            medgen.mask_cases(table, tmp_path / "out", role="t1", **how)
    with pytest.raises(UsageError, match="input of the command"):
        medgen.make_mask(tmp_path / "a/t1.nii.gz", tmp_path / "a/t1.nii.gz", strip=True, overwrite=True)
    with pytest.raises(UsageError, match="no image 'pd'"):
        medgen.mask_cases(table, tmp_path / "new", role="pd")
    assert {path: path.read_bytes() for path in before} == before
    assert (named / "a_mask.nii.gz").read_bytes() == before[theirs]
    assert not (tmp_path / "new").exists()


def test_a_cohort_is_resumed(table, tmp_path, model, monkeypatch):
    medgen.mask_cases(table, tmp_path / "out", role="t1")
    (tmp_path / "out/b/b_mask.nii.gz").unlink()
    monkeypatch.setattr(model, "predict_file", None)  # nothing is predicted again
    with pytest.raises(UsageError, match="exists"):
        medgen.mask_cases(table, tmp_path / "out", role="t1")
    medgen.mask_cases(table, tmp_path / "out", role="t1", resume=True)
    assert (tmp_path / "out/b/b_mask.nii.gz").exists()


@pytest.mark.parametrize(("classes", "inputs"), [(("core", "rim", "x", "y"), ("image",)), (CLASSES, ("t1",))])
def test_a_model_of_something_else_is_refused(tmp_path, monkeypatch, classes, inputs):
    other = finder(classes, inputs)
    monkeypatch.setattr(masks, "load_model", lambda *words, **options: other)
    save(scan(), tmp_path / "t1.nii.gz", AFFINE)
    with pytest.raises(UsageError, match="give a model that reads 'image'"):
        medgen.make_mask(tmp_path / "t1.nii.gz", tmp_path / "mask.nii.gz", run="other")


def test_the_command(table, tmp_path, capsys):
    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main(["mask", *map(str, words)])
        return ended.value.code

    assert not run(tmp_path / "a/t1.nii.gz", "-o", tmp_path / "mask.nii.gz", "--of", "head")
    assert read_label(tmp_path / "mask.nii.gz").data.sum() > 0.98 * 14 * 16 * 14
    assert run(tmp_path / "a/t1.nii.gz", "-o", tmp_path / "other.nii.gz", "--resume") == 2
    capsys.readouterr()
    assert not run(table, "-o", tmp_path / "out", "--strip", "--json")
    assert json.loads(capsys.readouterr().out)["lines"] == [str(tmp_path / "out/cases.csv")]
    assert (tmp_path / "out/cases.csv").is_file()
