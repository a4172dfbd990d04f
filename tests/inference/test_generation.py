"""Samples: which numbers they are, what is written, and what is refused before and after the work."""

import json
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from toy_samplers import MEANS, NOISE, save_toy

import medgen
from medgen.errors import ModelError, UsageError
from medgen.inference.contact_sheet import View, grey, side_by_side, write_contact_sheet
from medgen.inference.generation import sample, seed_of
from medgen.inference.opened import open_model
from medgen.inference.sample_writing import channels_of, oriented

CT = {"ct": {"window": [-1024, 2000]}}


def draw(run: Path, out: Path, **options) -> dict:
    """Draw samples on the CPU; the content of samples.json."""
    assert sample(run, out, device="cpu", allow_modules=[NOISE], **{"count": 2, **options}) == out
    return json.loads((out / "samples.json").read_text())


def volume(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return save_toy(tmp_path / "run", NOISE)


class TestSeeds:
    def test_sample_n_is_a_function_of_model_seed_and_n(self, run: Path, tmp_path: Path) -> None:
        draw(run, tmp_path / "few", count=2, seed=5)
        draw(run, tmp_path / "many", count=4, seed=5)
        for name in ("sample_0000_t1.nii.gz", "sample_0001_t1.nii.gz"):
            assert (tmp_path / "few" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()
        images = [volume(tmp_path / "many" / f"sample_{n:04d}_t1.nii.gz") for n in range(4)]
        assert all(not np.array_equal(a, b) for i, a in enumerate(images) for b in images[:i])

    def test_another_seed_gives_other_samples(self, run: Path, tmp_path: Path) -> None:
        for seed in (0, 1):
            draw(run, tmp_path / str(seed), count=1, seed=seed)
        first, second = (volume(tmp_path / name / "sample_0000_t1.nii.gz") for name in "01")
        assert not np.array_equal(first, second)

    def test_by_hand(self, run: Path, tmp_path: Path) -> None:
        """0.25, plus a ramp from -0.4 to 0.4, plus noise of 0.1 times the temperature, from the documented seed."""
        draw(run, tmp_path / "out", seed=3, temperature=0.5)
        noise = torch.randn(1, 1, 8, 10, 6, generator=torch.Generator().manual_seed(seed_of(3, 1)))
        expected = 0.25 + np.linspace(-0.4, 0.4, 8)[:, None, None] + 0.05 * noise[0, 0].numpy()
        np.testing.assert_allclose(volume(tmp_path / "out" / "sample_0001_t1.nii.gz"), expected, atol=1e-6)

    def test_the_global_random_state_is_left_alone(self, run: Path, tmp_path: Path) -> None:
        torch.manual_seed(11)
        expected = torch.randn(3)
        torch.manual_seed(11)
        draw(run, tmp_path / "out")
        assert torch.equal(torch.randn(3), expected)

    def test_no_two_samples_share_the_bits_that_the_generator_of_the_cpu_keeps(self) -> None:
        """torch seeds its Mersenne twister with 32 bits: seeds that differ above them give the same numbers."""
        low, high = (torch.randn(3, generator=torch.Generator().manual_seed(5 + more)) for more in (0, 2**32))
        assert torch.equal(low, high), "torch keeps more bits now: seed_of need not care any longer"
        kept = {seed_of(seed, n) % 2**32 for seed in range(20) for n in range(2000)}
        assert len(kept) == 20 * 2000
        assert seed_of(2**32, 0) % 2**32 != seed_of(0, 0) % 2**32
        assert all(0 <= seed_of(seed, n) < 2**63 for seed in (0, 10**30) for n in (0, 2**40))


class TestVolumes:
    def test_hounsfield_units_come_back(self, tmp_path: Path) -> None:
        """0.25 of [-1, 1] is 488 + 0.25 x 1512 = 866 HU; the ramp adds 605 HU either way."""
        run = save_toy(tmp_path / "run", NOISE, inputs=("t1", "ct"), spacing=[2, 1, 3], intensity=CT)
        content = draw(run, tmp_path / "out", temperature=1e-6)
        ct = nibabel.load(tmp_path / "out" / "sample_0000_ct.nii.gz")
        assert ct.get_data_dtype() == np.int16
        np.testing.assert_array_equal(np.asarray(ct.dataobj)[[0, -1], 0, 0], [261, 1471])
        assert nibabel.load(tmp_path / "out" / "sample_0000_t1.nii.gz").get_data_dtype() == np.float32
        assert content["roles"]["ct"]["unit"] == "HU"
        assert content["roles"]["ct"]["window"] == [-1024, 2000]
        assert content["roles"]["t1"]["unit"].startswith("normalised")

    def test_the_grid_is_that_of_the_preparation_centred_on_0(self, tmp_path: Path) -> None:
        content = draw(save_toy(tmp_path / "run", NOISE, spacing=[2, 1, 3]), tmp_path / "out")
        image = nibabel.load(tmp_path / "out" / "sample_0000_t1.nii.gz")
        np.testing.assert_allclose(image.affine, [[2, 0, 0, -7], [0, 1, 0, -4.5], [0, 0, 3, -7.5], [0, 0, 0, 1]])
        np.testing.assert_allclose(image.affine @ [3.5, 4.5, 2.5, 1], [0, 0, 0, 1], atol=1e-6)
        assert (content["spacing_mm"], content["notes"]) == ([2, 1, 3], [])

    def test_without_a_spacing_1_mm_and_a_note(self, run: Path, tmp_path: Path) -> None:
        content = draw(run, tmp_path / "out")
        assert nibabel.load(tmp_path / "out" / "sample_0000_t1.nii.gz").header.get_zooms() == (1, 1, 1)
        assert "1 mm" in content["notes"][0]

    def test_values_beyond_the_window_are_kept_and_counted(self, tmp_path: Path) -> None:
        """The ramp is 0.95 - 0.4 to 0.95 + 0.4 in 8 steps of 0.114: four of them are above 1."""
        run = save_toy(tmp_path / "run", NOISE, inputs=("ct",), intensity=CT, config={"level": 0.95})
        content = draw(run, tmp_path / "out", temperature=1e-6)
        assert content["roles"]["ct"]["share_outside_window"] == pytest.approx(0.5)
        assert volume(tmp_path / "out" / "sample_0000_ct.nii.gz").max() == round(488 + 1.35 * 1512)

    @pytest.mark.parametrize(
        ("preparation", "unit"),
        [
            ({"intensity": {"t2": {"percentiles": [1, 99]}}}, "normalised: percentiles 1 and 99 of the body"),
            ({"intensity": {"t2": {"window": [0, 500]}}}, "that of the training images"),
            ({"intensity": {"t2": {"window": [0, 500]}}, "residual": {"t2": ["t1"]}}, "normalised: what t1 do not"),
        ],
    )
    def test_units(self, tmp_path: Path, preparation: dict, unit: str) -> None:
        run = save_toy(tmp_path / "run", NOISE, inputs=("t1", "t2"), **preparation)
        _, channel = channels_of(open_model(run, "cpu", [NOISE]))
        assert channel.unit.startswith(unit)
        assert (channel.window is None) == unit.startswith("normalised")

    def test_either_role_and_an_optional_one_name_files(self, tmp_path: Path) -> None:
        run = save_toy(tmp_path / "run", NOISE, inputs=("ge|swi", "t2?"))
        assert draw(run, tmp_path / "out", count=1)["files"] == [
            {"ge-swi": "sample_0000_ge-swi.nii.gz", "t2": "sample_0000_t2.nii.gz"}
        ]


class TestSlices:
    def test_pictures_and_raw_values(self, tmp_path: Path) -> None:
        """x is the first axis of an axial slice: 0.25 - 0.4 at the patient's left, which is on the right, is dark."""
        run = save_toy(tmp_path / "run", NOISE, size=(16, 12), spacing=[1, 2, 3])
        content = draw(run, tmp_path / "out", count=3, temperature=0.01)
        raw = np.load(tmp_path / "out" / content["raw_values"])["t1"]
        assert (raw.shape, raw.dtype) == ((3, 16, 12), np.float32)
        low, high = content["roles"]["t1"]["display_window"]
        np.testing.assert_allclose((low, high), np.percentile(raw, [1, 99]), rtol=1e-6)
        for number, names in enumerate(content["files"]):
            picture = Image.open(tmp_path / "out" / names["t1"])
            assert (picture.mode, picture.size) == ("L", (16, 12))
            grey_levels = np.asarray(picture)
            expected = np.clip((raw[number, ::-1, ::-1].T - low) / (high - low), 0, 1) * 255
            assert np.abs(grey_levels - expected).max() <= 0.5 + 1e-3
            assert grey_levels[:, 0].min() > 200
            assert grey_levels[:, -1].max() < 50
        assert content["spacing_mm"] == [1, 2]
        assert "right on the left" in content["pictures"]

    @pytest.mark.parametrize(("plane", "spacing"), [("coronal", [1, 3]), ("sagittal", [2, 3])])
    def test_other_planes(self, tmp_path: Path, plane: str, spacing: list) -> None:
        run = save_toy(tmp_path / "run", NOISE, size=(6, 8), plane=plane, spacing=[1, 2, 3])
        content = draw(run, tmp_path / "out", count=1)
        assert (content["plane"], content["spacing_mm"]) == (plane, spacing)
        assert "superior at the top" in content["pictures"]

    def test_raw_values_are_in_the_unit_and_begin_alike(self, tmp_path: Path) -> None:
        run = save_toy(tmp_path / "run", NOISE, inputs=("ct",), size=(8, 8), intensity=CT)
        for name, count in (("few", 2), ("many", 5)):
            draw(run, tmp_path / name, count=count)
        few, many = (np.load(tmp_path / name / "samples.npz")["ct"] for name in ("few", "many"))
        np.testing.assert_array_equal(few, many[:2])
        assert few.mean() == pytest.approx(866, abs=30)

    def test_one_value_throughout_has_a_picture(self, tmp_path: Path) -> None:
        run = save_toy(tmp_path / "run", NOISE, size=(1, 8), config={"spread": 0.0})
        assert draw(run, tmp_path / "out", count=1)["roles"]["t1"]["display_window"][0] == pytest.approx(-0.15)

    def test_a_slice_as_a_radiologist_looks_at_it(self) -> None:
        """Patient's right is +x and comes to the left; the second axis points up."""
        image = np.array([["left bottom", "left top"], ["right bottom", "right top"]])
        assert oriented(image).tolist() == [["right top", "left top"], ["right bottom", "left bottom"]]


class TestManifestAndSheet:
    def test_manifest(self, run: Path, tmp_path: Path) -> None:
        content = draw(run, tmp_path / "out", count=3, seed=8, temperature=0.5)
        assert {key: content[key] for key in ("seed", "count", "temperature", "size", "research_use_only")} == {
            "seed": 8,
            "count": 3,
            "temperature": 0.5,
            "size": [8, 10, 6],
            "research_use_only": True,
        }
        model = json.loads((run / "model" / "model.json").read_text())
        assert content["model"] == {"method": NOISE, "weights_sha256": model["weights_sha256"]}
        assert content["medgen"] == medgen.__version__
        written = {
            "samples.json",
            content["contact_sheet"],
            *(name for each in content["files"] for name in each.values()),
        }
        assert {path.name for path in (tmp_path / "out").iterdir()} == written
        assert str(tmp_path) not in (tmp_path / "out" / "samples.json").read_text()

    def test_the_sheet_is_dark_and_names_no_path(self, run: Path, tmp_path: Path) -> None:
        draw(run, tmp_path / "out", count=5)
        file = tmp_path / "out" / "contact_sheet.png"
        pixels = np.asarray(Image.open(file).convert("L"))
        assert np.median(pixels[:, :8]) < 30
        assert str(tmp_path).encode() not in file.read_bytes()
        assert Image.open(file).info.keys() <= {"dpi"}

    def test_the_sheet_says_what_it_shows(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        seen = []
        monkeypatch.setattr(
            "medgen.inference.sample_writing.write_contact_sheet",
            lambda path, main, below, **texts: seen.append((main, below, texts)),
        )
        run = save_toy(tmp_path / "run", NOISE, size=(4, 6, 2), spacing=[1, 2, 3])
        draw(run / "model", tmp_path / "few", count=3, seed=9)
        draw(run, tmp_path / "many", count=70)
        (main, (below,), texts), (many, none, others) = seen
        assert (main.pictures[0].shape, below.pictures[0].shape) == ((6, 4), (2, 4))
        assert (main.height, below.height) == (3.0, 1.5)
        assert texts["title"] == "run: 3 samples, seed 9"
        assert "esearch use only" in texts["footer"]
        assert (len(many.pictures), none) == (64, [])
        assert others["title"] == "run: the first 64 of 70 samples, seed 0"

    @pytest.mark.parametrize("count", [1, 2, 7, 64])
    def test_any_number_of_pictures(self, tmp_path: Path, count: int) -> None:
        view = View("axial", [np.full((3, 5), 0.5)] * count, aspect=2.0)
        write_contact_sheet(tmp_path / "a.png", view, [view], title="$a_b$", subtitle="s", footer="f")
        width, height = Image.open(tmp_path / "a.png").size
        assert max(width, height) < 3000

    def test_roles_stand_side_by_side(self) -> None:
        joined = side_by_side([np.zeros((2, 3)), np.ones((2, 3))])
        assert joined.shape == (2, 7)
        assert np.isnan(joined[:, 3]).all()
        np.testing.assert_array_equal(grey(np.array([-5.0, 0.0, 1.0, 9.0]), (0.0, 2.0)), [0, 0, 0.5, 1])


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"count": 0}, "--count must be at least 1, got 0"),
            ({"seed": -1}, "--seed must be at least 0, got -1"),
            ({"temperature": 0.0}, "--temperature must be above 0 and finite, got 0"),
            ({"temperature": float("nan")}, "got nan"),
            ({"temperature": float("inf")}, "got inf"),
        ],
    )
    def test_arguments_out_of_range(self, run: Path, tmp_path: Path, options: dict, said: str) -> None:
        with pytest.raises(UsageError, match=re.escape(said)) as caught:
            draw(run, tmp_path / "out", **options)
        assert caught.value.fix
        assert not (tmp_path / "out").exists()

    def test_a_model_of_another_kind_says_what_it_can(self, tmp_path: Path) -> None:
        run = save_toy(tmp_path / "run", MEANS)
        with pytest.raises(
            UsageError, match=r"cannot draw samples; its method 'toy_samplers\.means' can: encode"
        ) as caught:
            sample(run, tmp_path / "out", device="cpu", allow_modules=[MEANS])
        assert "medgen latent encode" in caught.value.fix
        assert caught.value.where == str(run)
        assert [path.name for path in tmp_path.iterdir()] == ["run"]

    def test_a_module_that_is_not_allowed(self, run: Path, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="was not allowed"):
            sample(run, tmp_path / "out", device="cpu")

    def test_a_sample_that_is_not_finite_leaves_nothing(self, tmp_path: Path) -> None:
        run = save_toy(tmp_path / "run", NOISE, config={"fails_from": 0.0})
        with pytest.raises(ModelError, match=r"480 of 480 voxels of sample \d+ are NaN"):
            draw(run, tmp_path / "deep" / "out", count=20)
        assert list((tmp_path / "deep").iterdir()) == []

    def test_a_sample_of_another_shape(self, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("toy_samplers.noise.Noise.decode", lambda *_: torch.zeros(1, 2, 8, 10, 6))
        with pytest.raises(ModelError, match=r"shape \(1, 2, 8, 10, 6\), expected \(1, 1, 8, 10, 6\)"):
            draw(run, tmp_path / "out")


class TestFolder:
    def test_a_folder_with_samples_is_replaced_only_if_asked(self, run: Path, tmp_path: Path) -> None:
        draw(run, tmp_path / "out", count=3)
        with pytest.raises(UsageError, match="not empty"):
            draw(run, tmp_path / "out", count=1)
        assert draw(run, tmp_path / "out", count=1, overwrite=True)["count"] == 1
        assert not (tmp_path / "out" / "sample_0001_t1.nii.gz").exists()
        assert {path.name for path in tmp_path.iterdir()} == {"run", "out"}

    def test_an_empty_folder_is_used(self, run: Path, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        assert draw(run, tmp_path / "out")["count"] == 2

    @pytest.mark.parametrize("name", ["notes.txt", "sample_notes.png", ".hidden"])
    def test_what_medgen_did_not_write_is_never_deleted(self, run: Path, tmp_path: Path, name: str) -> None:
        draw(run, tmp_path / "out")
        (tmp_path / "out" / name).write_text("mine")
        with pytest.raises(UsageError, match=f"holds '{name}'"):
            draw(run, tmp_path / "out", overwrite=True)
        assert (tmp_path / "out" / name).read_text() == "mine"

    def test_another_folder_is_never_replaced(self, run: Path, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "sample_0000_t1.nii.gz").write_text("mine")
        with pytest.raises(UsageError, match=r"without samples\.json"):
            draw(run, tmp_path / "out", overwrite=True)

    def test_the_current_folder_is_refused_before_the_model_is_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        with pytest.raises(UsageError, match="this is the current folder"):
            draw(tmp_path / "no_run", Path())

    def test_a_file_is_no_folder(self, run: Path, tmp_path: Path) -> None:
        (tmp_path / "out").write_text("mine")
        with pytest.raises(UsageError, match="this is a file"):
            draw(run, tmp_path / "out", overwrite=True)

    def test_a_failure_keeps_the_samples_that_were_there(self, run: Path, tmp_path: Path) -> None:
        draw(run, tmp_path / "out", count=1)
        before = (tmp_path / "out" / "samples.json").read_bytes()
        bad = save_toy(tmp_path / "bad", NOISE, config={"fails_from": -100.0})
        with pytest.raises(ModelError, match="are NaN or infinite"):
            draw(bad, tmp_path / "out", overwrite=True)
        assert (tmp_path / "out" / "samples.json").read_bytes() == before
        assert {path.name for path in tmp_path.iterdir()} == {"run", "bad", "out"}

    def test_the_folder_follows_the_umask(self, run: Path, tmp_path: Path) -> None:
        draw(run, tmp_path / "out")
        (tmp_path / "like").mkdir()
        assert (tmp_path / "out").stat().st_mode == (tmp_path / "like").stat().st_mode


def test_progress_counts_samples(run: Path, tmp_path: Path) -> None:
    seen = []
    draw(run, tmp_path / "out", count=3, progress=lambda *each: seen.append(each))
    assert seen == [(done, 3, "samples") for done in range(4)]
