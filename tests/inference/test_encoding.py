"""Codes: of which patches, in which file, and what is refused."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from mean_model import AFFINE, head, save
from toy_samplers import MEANS, NOISE, save_toy

from medgen.cases import read_cases
from medgen.errors import CasesFailed, InputError, ModelError, StorageError, UsageError
from medgen.files import sha256
from medgen.inference.code_table import read_codes
from medgen.inference.encoding import encode
from medgen.inference.opened import open_model
from medgen.inference.placed_patches import Places, middle_of, patch_at
from medgen.preparation import Preparation, build_store
from medgen.preparation.building import prepare_case
from medgen.sampling.patches import PatchSource

WINDOW = {"t1": {"window": [0, 1000]}}
SIZE = (4, 6, 2)


def write_table(folder: Path, **columns: list[str]) -> Path:
    """Three heads of 500 around a core of 750, in air of 0; b is brighter, c is of split test."""
    save(head(), folder / "a.nii.gz")
    save(head(value=600.0), folder / "b.nii.gz")
    save(head(), folder / "c.nii.gz")
    rows = zip("abc", ["train", "train", "test"], ["a.nii.gz", "b.nii.gz", "c.nii.gz"], *columns.values(), strict=True)
    with (folder / "cases.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["case", "split", "t1", *columns], *rows])
    return folder / "cases.csv"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_table(tmp_path)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return save_toy(tmp_path / "run", MEANS, size=SIZE, intensity=WINDOW)


def codes(run: Path, table: Path, output: Path, **options) -> list[dict[str, str]]:
    """The rows of a CSV file of codes."""
    assert encode(run, table, output, device="cpu", allow_modules=[MEANS], **options) == output
    with output.open(newline="") as file:
        return list(csv.DictReader(file))


class TestCodes:
    def test_the_middle_of_each_body(self, run: Path, table: Path, tmp_path: Path) -> None:
        """The core of 750 becomes 0.5 of [-1, 1]; the code of the toy is the mean, and twice the mean."""
        rows = codes(run, table, tmp_path / "codes.csv")
        assert [(row["case"], row["patch"]) for row in rows] == [("a", "0"), ("b", "0"), ("c", "0")]
        assert list(rows[0]) == ["case", "patch", "x_mm", "y_mm", "z_mm", "code_0", "code_1"]
        for row in rows:
            assert (float(row["code_0"]), float(row["code_1"])) == (0.5, 1.0)

    def test_the_centre_is_that_of_the_patch_in_mm(self, run: Path, table: Path, tmp_path: Path) -> None:
        """The head of 19 x 23 x 17 voxels is symmetric: its middle is voxel (9, 11, 8).

        An even patch around a voxel reaches one further down than up, so its middle is half a prepared voxel lower.
        Prepared axes point right, anterior, superior; AFFINE runs to the left.
        """
        row = codes(run, table, tmp_path / "codes.csv")[0]
        found = [float(row[key]) for key in ("x_mm", "y_mm", "z_mm")]
        np.testing.assert_allclose(found, (AFFINE @ [9, 11, 8, 1])[:3] - [0.75, 1.0, 1.25], atol=1e-3)

    def test_drawn_as_in_training(self, run: Path, table: Path, tmp_path: Path) -> None:
        """Every patch is one that training would cut around a voxel of the mask, without augmentation."""
        model = open_model(run, "cpu", [MEANS])
        case = read_cases(table).cases[0]
        prepared = prepare_case(case, model.known.preparation)
        stored = build_store([case], model.known.preparation, tmp_path / "store").cases
        source = PatchSource(stored, model.patches, 3)
        _, centre = source.describe(5)
        np.testing.assert_array_equal(patch_at(prepared, centre, model.patches), source[5]["source"])
        places = Places(200, 3).of(prepared.body)
        assert all(prepared.body[place] for place in places)
        assert len(set(places)) > 150

    def test_patch_n_is_a_function_of_case_seed_and_n(self, run: Path, table: Path, tmp_path: Path) -> None:
        many = codes(run, table, tmp_path / "many.csv", patches=6, seed=4)
        few = codes(run, table, tmp_path / "few.csv", patches=2, seed=4, split="test")
        assert [row["patch"] for row in many] == list("012345") * 3
        assert few == [row for row in many if row["case"] == "c"][:2]
        other = codes(run, table, tmp_path / "other.csv", patches=6, seed=5)
        assert [row["x_mm"] for row in other] != [row["x_mm"] for row in many]

    def test_places_are_uniform_in_the_mask(self) -> None:
        mask = np.zeros((3, 3, 3), bool)
        mask[0, 0, 0] = mask[2, 2, 2] = mask[1, 0, 2] = True
        places = Places(3000, 0).of(mask)
        assert [places.count(each) / 3000 for each in [(0, 0, 0), (2, 2, 2), (1, 0, 2)]] == pytest.approx(
            [1 / 3] * 3, abs=0.03
        )

    def test_middle_of_a_mask(self) -> None:
        mask = np.zeros((9, 9, 9), bool)
        mask[2:5, 1:8, 6] = True
        assert middle_of(mask) == (3, 4, 6)

    def test_slices(self, table: Path, tmp_path: Path) -> None:
        run = save_toy(tmp_path / "flat", MEANS, size=(4, 5), plane="coronal", intensity=WINDOW)
        row = codes(run, table, tmp_path / "codes.csv")[0]
        assert float(row["code_0"]) == 0.5
        middle = AFFINE @ [9, 11, 8, 1]
        assert float(row["y_mm"]) == pytest.approx(middle[1], abs=1e-3)
        assert float(row["z_mm"]) == pytest.approx(middle[2], abs=1e-3)
        facts = json.loads((tmp_path / "codes.json").read_text())
        assert (facts["size"], facts["plane"]) == ([4, 5], "coronal")

    def test_beyond_the_border_stands_air(self, table: Path, tmp_path: Path) -> None:
        """As in training: a patch of twice the volume is mostly -1."""
        run = save_toy(tmp_path / "wide", MEANS, size=(38, 46, 34), intensity=WINDOW)
        model = open_model(run, "cpu", [MEANS])
        prepared = prepare_case(read_cases(table).cases[0], model.known.preparation)
        whole = float(prepared.image.mean())
        row = codes(run, table, tmp_path / "codes.csv")[0]
        assert float(row["code_0"]) == pytest.approx(whole / 8 - 7 / 8, abs=1e-5)

    def test_the_mask_role_decides_where_patches_are(self, tmp_path: Path) -> None:
        mask = np.zeros((19, 23, 17), np.uint8)
        mask[4, 5, 4] = 1
        save(mask, tmp_path / "m.nii.gz")
        table = write_table(tmp_path, mask=["m.nii.gz", "m.nii.gz", ""])
        run = save_toy(tmp_path / "run", MEANS, size=(1, 1, 1), mask="mask", intensity=WINDOW)
        rows = codes(run, table, tmp_path / "codes.csv", patches=2)
        assert [float(row["code_0"]) for row in rows[:4]] == pytest.approx([0.0, 0.0, 0.2, 0.2], abs=1e-6)
        np.testing.assert_allclose(
            [float(rows[0][key]) for key in ("x_mm", "y_mm", "z_mm")], (AFFINE @ [4, 5, 4, 1])[:3], atol=1e-3
        )
        assert rows[4]["case"] == "c"  # without a mask, the body

    def test_labels_and_targets_are_not_opened(self, tmp_path: Path) -> None:
        table = write_table(tmp_path, label=["gone.nii.gz"] * 3, ct=["gone.nii.gz"] * 3)
        run = save_toy(tmp_path / "run", MEANS, size=SIZE, intensity=WINDOW)
        path = run / "model" / "model.json"
        content = json.loads(path.read_text())
        content["preparation"]["roles"] |= {"labels": "label", "target": "ct"}
        path.write_text(json.dumps(content))
        assert len(codes(run, table, tmp_path / "codes.csv")) == 3


class TestFiles:
    def test_npz_keeps_the_shape(self, run: Path, table: Path, tmp_path: Path) -> None:
        encode(run, table, tmp_path / "codes.npz", patches=2, device="cpu", allow_modules=[MEANS])
        rows = codes(run, table, tmp_path / "same.csv", patches=2)
        with np.load(tmp_path / "codes.npz") as found:
            assert (found["code"].shape, found["code"].dtype) == ((6, 1, 2), np.float32)
            assert found["case"].tolist() == list("aabbcc")
            assert found["patch"].tolist() == [0, 1] * 3
            np.testing.assert_allclose(found["centre_mm"][:, 0], [float(row["x_mm"]) for row in rows], atol=1e-3)
            written = np.array([[row["code_0"], row["code_1"]] for row in rows], np.float32)
            np.testing.assert_array_equal(found["code"][:, 0], written)

    def test_what_stands_beside_the_codes(self, run: Path, table: Path, tmp_path: Path) -> None:
        codes(run, table, tmp_path / "codes.csv", patches=3, seed=2, split="train")
        text = (tmp_path / "codes.json").read_text()
        facts = json.loads(text)
        assert facts["research_use_only"] is True
        assert facts["codes_sha256"] == sha256(tmp_path / "codes.csv")
        assert facts["cases_sha256"] == sha256(table)
        assert facts["model"]["weights_sha256"] == sha256(run / "model" / "weights.safetensors")
        kept = {key: facts[key] for key in ("seed", "patches", "split", "cases", "failed", "code_shape", "plane")}
        assert kept == {
            "seed": 2,
            "patches": 3,
            "split": "train",
            "cases": 2,
            "failed": {},
            "code_shape": [1, 2],
            "plane": None,
        }
        assert str(tmp_path) not in text
        codes(run, table, tmp_path / "middle.csv")
        assert json.loads((tmp_path / "middle.json").read_text())["seed"] is None

    def test_a_long_code_does_not_go_into_csv(self, table: Path, tmp_path: Path) -> None:
        run = save_toy(tmp_path / "run", MEANS, size=SIZE, intensity=WINDOW, config={"length": 4097})
        with pytest.raises(UsageError, match=r"4097 numbers \(1 x 4097\), and a row of CSV holds 4096") as caught:
            codes(run, table, tmp_path / "codes.csv")
        assert caught.value.fix == "write -o codes.npz"
        assert not (tmp_path / "codes.csv").exists()
        encode(run, table, tmp_path / "codes.npz", device="cpu", allow_modules=[MEANS])
        assert (tmp_path / "codes.npz").exists()

    def test_what_is_there_is_replaced_only_if_asked(self, run: Path, table: Path, tmp_path: Path) -> None:
        first = codes(run, table, tmp_path / "codes.csv")
        with pytest.raises(UsageError, match="the output exists"):
            codes(run, table, tmp_path / "codes.csv")
        (tmp_path / "other.json").write_text("{}")
        with pytest.raises(UsageError, match="the output exists") as caught:
            codes(run, table, tmp_path / "other.csv")
        assert caught.value.where == tmp_path / "other.json"
        assert codes(run, table, tmp_path / "codes.csv", overwrite=True) == first

    def test_codes_of_both_formats_cannot_share_what_describes_them(
        self, run: Path, table: Path, tmp_path: Path
    ) -> None:
        codes(run, table, tmp_path / "codes.csv")
        with pytest.raises(UsageError, match=r"codes.csv is here, and codes.json would describe these"):
            encode(run, table, tmp_path / "codes.npz", device="cpu", allow_modules=[MEANS], overwrite=True)
        read_codes(tmp_path / "codes.csv")


class TestFailures:
    def test_a_case_that_fails_does_not_stop_the_others(self, run: Path, table: Path, tmp_path: Path) -> None:
        (tmp_path / "b.nii.gz").write_bytes(b"no image")
        with pytest.raises(CasesFailed, match="1 of 3 cases failed: b"):
            codes(run, table, tmp_path / "codes.csv")
        with (tmp_path / "codes.csv").open() as file:
            assert [row["case"] for row in csv.DictReader(file)] == ["a", "c"]
        text = (tmp_path / "codes.json").read_text()
        assert list(json.loads(text)["failed"]) == ["b"]
        assert str(tmp_path) not in text

    def test_no_case_can_be_encoded(self, run: Path, table: Path, tmp_path: Path) -> None:
        for name in "abc":
            (tmp_path / f"{name}.nii.gz").unlink()
        with pytest.raises(CasesFailed, match="3 of 3 cases failed"):
            codes(run, table, tmp_path / "codes.csv")
        assert not (tmp_path / "codes.csv").exists()
        assert not (tmp_path / "codes.json").exists()

    def test_a_full_disk_is_no_fault_of_a_case(
        self, run: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise StorageError("no space left")

        monkeypatch.setattr("medgen.inference.placed_patches.prepare_case", full)
        with pytest.raises(StorageError):
            codes(run, table, tmp_path / "codes.csv")

    def test_a_code_that_is_not_finite(self, table: Path, tmp_path: Path) -> None:
        run = save_toy(tmp_path / "run", MEANS, size=SIZE, intensity=WINDOW, config={"gain": 1e38, "length": 9})
        with pytest.raises(ModelError, match="the code of case 'a', patch 0, has NaN or infinite numbers"):
            codes(run, table, tmp_path / "codes.csv")
        assert not (tmp_path / "codes.csv").exists()

    def test_an_image_unlike_the_training_set_is_reported(
        self, run: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(Preparation, "unlike_training", lambda *_: ("are the channels swapped?",))
        codes(run, table, tmp_path / "codes.csv")
        assert "case a: are the channels swapped?" in caplog.text


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "options", "said"),
        [
            ("codes.txt", {}, "written as .csv or .npz"),
            ("codes.csv", {"patches": 0}, "--patches must be between 1 and 10000, got 0"),
            ("codes.csv", {"patches": 10_001}, "--patches must be between 1 and 10000, got 10001"),
            ("codes.csv", {"seed": -1}, "--seed must be between 0 and 2^64 - 1, got -1"),
            ("codes.csv", {"seed": 2**64}, "--seed must be between 0"),
        ],
    )
    def test_arguments_out_of_range(
        self, run: Path, table: Path, tmp_path: Path, name: str, options: dict, said: str
    ) -> None:
        with pytest.raises(UsageError, match=re.escape(said)) as caught:
            codes(run, table, tmp_path / name, **options)
        assert caught.value.fix

    def test_a_split_without_cases(self, run: Path, table: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no case has split 'val'"):
            codes(run, table, tmp_path / "codes.csv", split="val")

    def test_a_model_of_another_kind_says_what_it_can(self, table: Path, tmp_path: Path) -> None:
        run = save_toy(tmp_path / "run", NOISE, size=SIZE)
        with pytest.raises(UsageError, match=r"cannot encode images; its method .* can: sample") as caught:
            encode(run, table, tmp_path / "codes.csv", device="cpu", allow_modules=[NOISE])
        assert "medgen sample" in caught.value.fix


def test_progress_counts_cases(run: Path, table: Path, tmp_path: Path) -> None:
    seen = []
    codes(run, table, tmp_path / "codes.csv", progress=lambda *each: seen.append(each))
    assert seen == [(0, 3, "a"), (1, 3, "b"), (2, 3, "c"), (3, 3, "cases")]
