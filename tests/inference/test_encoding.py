"""Codes of the cases of a table: one row a patch, which patch it was, and what is refused."""

import csv
import json

import numpy as np
import pytest
import tiny
from toy_samplers import MEANS, NOISE, save_toy

from medgen import encode, read_cases
from medgen.cli import main
from medgen.errors import CasesFailed, UsageError
from medgen.inference.opened import open_model
from medgen.preparation.building import prepare_case


@pytest.fixture
def cases(tmp_path):
    return tiny.write_cases(tmp_path / "cases")


def coded(run, cases, output, **options):
    return encode(run, cases, output, device="cpu", allow_modules=[MEANS, NOISE], **options)


def rows(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_one_patch_a_case_in_the_middle_of_its_mask(tmp_path, cases):
    run = save_toy(tmp_path / "run", MEANS, size=(8, 8, 8), mask="mask")
    found = rows(coded(run, cases, tmp_path / "codes.csv"))
    assert [row["case"] for row in found] == [f"case{n}" for n in range(5)]
    preparation = open_model(run, "cpu", [MEANS]).known.preparation
    prepared = prepare_case(read_cases(cases).cases[0], preparation)
    expected = prepared.image[0, 6:14, 6:14, 6:14].mean()  # a ball around the middle of 20 voxels
    assert float(found[0]["code_0"]) == pytest.approx(expected, rel=1e-4)
    assert float(found[0]["code_1"]) == pytest.approx(2 * expected, rel=1e-4)
    assert [float(found[0][f"{axis}_mm"]) for axis in "xyz"] == pytest.approx([19, 19, 19])
    manifest = json.loads((tmp_path / "codes.json").read_text())
    assert manifest["research_use_only"] is True
    assert manifest["code_shape"] == [1, 2]


def test_drawn_patches_depend_on_seed_and_number(tmp_path, cases):
    run = save_toy(tmp_path / "run", MEANS, size=(8, 8), plane="coronal")
    few = rows(coded(run, cases, tmp_path / "few.csv", patches=2, seed=3, split="train"))
    more = rows(coded(run, cases, tmp_path / "more.csv", patches=5, seed=3, split="train"))
    assert [row["patch"] for row in few] == ["0", "1"] * 3
    assert [row for row in more if int(row["patch"]) < 2] == few


def test_long_codes_go_into_an_archive(tmp_path, cases):
    run = save_toy(tmp_path / "run", MEANS, size=(8, 8, 8), config={"length": 5000})
    with pytest.raises(UsageError, match=r"a code of this model has 5000 numbers(.|\n)*codes\.npz"):
        coded(run, cases, tmp_path / "codes.csv")
    with np.load(coded(run, cases, tmp_path / "codes.npz", split="test")) as found:
        assert found["code"].shape == (1, 1, 5000)
        assert found["centre_mm"].shape == (1, 3)


def test_a_case_that_fails_is_named_and_the_others_are_written(tmp_path, cases):
    run = save_toy(tmp_path / "run", MEANS, size=(8, 8, 8))
    (cases.parent / "case1_t1.nii.gz").write_bytes(b"no image")
    with pytest.raises(CasesFailed, match="1 of 5 cases failed: case1"):
        coded(run, cases, tmp_path / "codes.csv")
    assert [row["case"] for row in rows(tmp_path / "codes.csv")] == ["case0", "case2", "case3", "case4"]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"patches": 0}, "--patches must be at least 1, got 0"), ({"seed": -1}, "--seed must be between 0 and 2")],
)
def test_what_cannot_be_encoded_is_refused(tmp_path, cases, options, message):
    with pytest.raises(UsageError, match=message):
        coded(tmp_path / "run", cases, tmp_path / "codes.csv", **options)


def test_a_model_without_codes_says_what_it_can(tmp_path, cases):
    run = save_toy(tmp_path / "run", NOISE, size=(8, 8, 8))
    with pytest.raises(UsageError, match=r"cannot encode images; its method 'toy_samplers\.noise' can: sample"):
        coded(run, cases, tmp_path / "codes.csv")


def test_from_the_command_line(tmp_path, cases, capsys):
    run = save_toy(tmp_path / "run", MEANS, size=(8, 8, 8))
    command = [
        "latent",
        "encode",
        str(run),
        "-i",
        str(cases),
        "-o",
        str(tmp_path / "codes.csv"),
        "--allow-module",
        MEANS,
    ]
    with pytest.raises(SystemExit, match="0"):
        main(command)
    assert capsys.readouterr().out.strip() == str(tmp_path / "codes.csv")
    with pytest.raises(SystemExit, match="2"):
        main(command)
