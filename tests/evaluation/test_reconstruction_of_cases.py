"""Reconstructions of the patches of cases: scores by hand, files, and cases that fail."""

import csv
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from toy_samplers import LINEAR, NOISE, save_toy

from medgen.errors import CasesFailed, InputError, UsageError
from medgen.evaluation.reconstruction import reconstruct, reconstruction_table

WINDOW = {"t1": {"window": [0, 1000]}}
HERE = {"device": "cpu", "allow_modules": [LINEAR, NOISE]}
EDGES = np.array([100.0, 400.0, 700.0, 900.0])
AFFINE = np.array([[-1.5, 0, 0, 20], [0, 2, 0, -30], [0, 0, 2.5, 5], [0, 0, 0, 1.0]])


def save(image: np.ndarray, path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(image, AFFINE), path)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Case a is what the toy makes (a quarter of the first axis of one value), b has stripes of 100 in it."""
    made = np.broadcast_to(np.repeat(EDGES, 4)[:, None, None], (16, 12, 5))
    stripes = made + np.where(np.arange(12) % 2, 100.0, -100.0)[None, :, None]
    save(made.astype(np.float32), tmp_path / "a.nii.gz")
    save(stripes.astype(np.float32), tmp_path / "b.nii.gz")
    rows = ["case,split,t1", "a,train,a.nii.gz", "b,test,b.nii.gz", "c,test,c.nii.gz"]
    (tmp_path / "cases.csv").write_text("\n".join(rows[:3]) + "\n")
    return tmp_path / "cases.csv"


def scored(folder: Path) -> dict[str, dict[str, float]]:
    return {row["case"]: row for row in json.loads((folder / "scores.json").read_text())["cases"]}


@pytest.mark.parametrize("size", [(16, 12), (16, 12, 4)])
def test_scores_by_hand(size, table: Path, tmp_path: Path) -> None:
    """Stripes of 0.2 normalised units are lost whole: MAE 0.2, PSNR 20 log10(2 / 0.2); of a nothing is lost."""
    run = save_toy(tmp_path / "run", LINEAR, size=size, intensity=WINDOW)
    scores = reconstruct(run, table, tmp_path / "out", **HERE)
    rows = scored(tmp_path / "out")
    assert rows["a"]["mae"] == pytest.approx(0, abs=1e-5)
    assert rows["a"]["gradient_energy_ratio"] == pytest.approx(1, abs=1e-4)
    assert rows["b"]["mae"] == pytest.approx(0.2, abs=1e-5)
    assert rows["b"]["psnr"] == pytest.approx(20, abs=1e-3)
    assert rows["b"]["gradient_energy_ratio"] < 0.5
    assert rows["b"]["ssim"] < rows["a"]["ssim"] if len(size) == 2 else rows["b"]["ssim"] is None
    heading, mae, *_ = reconstruction_table(scores)
    assert (heading[0], mae[0], mae[4]) == ("metric", "mae (normalised)", "2")
    told = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert told["settings"]["data_range"] == 2
    assert told["settings"]["grid"] == "of the preparation, patch by patch"
    assert str(tmp_path) not in (tmp_path / "out" / "scores.json").read_text()


def test_volumes_lie_where_the_patch_lies_in_the_patient(table: Path, tmp_path: Path) -> None:
    run = save_toy(tmp_path / "run", LINEAR, size=(16, 12, 4), intensity=WINDOW)
    reconstruct(run, table, tmp_path / "out", **HERE)
    original = nibabel.load(tmp_path / "out" / "b_original_0000_t1.nii.gz")
    source = nibabel.load(tmp_path / "b.nii.gz")
    place = np.linalg.inv(source.affine) @ original.affine @ [2, 3, 1, 1]
    voxel = tuple(np.rint(place[:3]).astype(int))
    np.testing.assert_allclose(place[:3], voxel, atol=1e-3)
    assert original.get_fdata()[2, 3, 1] == pytest.approx(source.get_fdata()[voxel], abs=1)
    assert nibabel.load(tmp_path / "out" / "b_reconstruction_0000_t1.nii.gz").shape == (16, 12, 4)
    assert not np.allclose(AFFINE, np.eye(4))


def test_slices_patches_and_the_sheet(table: Path, tmp_path: Path) -> None:
    run = save_toy(tmp_path / "run", LINEAR, size=(8, 8), intensity=WINDOW)
    reconstruct(run, table, tmp_path / "out", patches=3, split="test", **HERE)
    with (tmp_path / "out" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["patch"]) for row in rows] == [("b", "0"), ("b", "1"), ("b", "2")]
    case = scored(tmp_path / "out")["b"]
    assert case["mae"] == pytest.approx(np.mean([float(row["mae"]) for row in rows]), abs=1e-5)
    with np.load(tmp_path / "out" / "reconstruction.npz") as values:
        assert values["original_t1"].shape == values["reconstruction_t1"].shape == (3, 8, 8)
        error = np.abs(values["original_t1"] - values["reconstruction_t1"]).mean() / 500
    assert error == pytest.approx(case["mae"], abs=1e-4)
    assert Image.open(tmp_path / "out" / "reconstruction.png").size[0] > 500


def test_a_case_that_fails_does_not_stop_the_others(table: Path, tmp_path: Path) -> None:
    table.write_text(table.read_text() + "c,test,c.nii.gz\n")
    run = save_toy(tmp_path / "run", LINEAR, size=(8, 8), intensity=WINDOW)
    with pytest.raises(CasesFailed, match="1 of 3 cases failed: c"):
        reconstruct(run, table, tmp_path / "out", **HERE)
    told = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert [row["case"] for row in told["failed"]] == ["c"]
    assert [row["case"] for row in told["cases"]] == ["a", "b"]
    table.write_text("case,split,t1\nc,test,c.nii.gz\n")
    with pytest.raises(CasesFailed, match="1 of 1 cases failed"):
        reconstruct(run, table, tmp_path / "none", **HERE)
    assert not (tmp_path / "none").exists()


def test_refusals(table: Path, tmp_path: Path) -> None:
    run = save_toy(tmp_path / "run", LINEAR, size=(8, 8), intensity=WINDOW)
    sampler = save_toy(tmp_path / "sampler", NOISE, size=(8, 8))
    for model, options, error, said in (
        (run, {"split": "val"}, InputError, "no case has split 'val'"),
        (run, {"patches": 0}, UsageError, "--patches must be between 1 and 10000"),
        (sampler, {}, UsageError, "cannot encode images"),
    ):
        with pytest.raises(error, match=said) as caught:
            reconstruct(model, table, tmp_path / "out", **options, **HERE)
        assert caught.value.fix
        assert not (tmp_path / "out").exists()
