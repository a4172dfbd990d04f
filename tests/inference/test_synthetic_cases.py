"""Samples as a case table: labels are whole numbers on the grid of the image, and the ordinary training takes them."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from toy_samplers import NOISE, save_toy

from medgen.cases import read_cases
from medgen.checks import check_cases
from medgen.errors import InputError, UsageError
from medgen.inference.generation import sample
from medgen.inference.sample_folder import MANIFEST
from medgen.inference.synthetic_cases import cases_from_samples
from medgen.run.experiment import train
from medgen.volume import Volume, read_volume, write_volume


def folder_of(path: Path, *labels: np.ndarray, **roles: dict) -> Path:
    """A folder as ``medgen sample`` leaves it, of one T1 and one label channel a sample, 2 x 3 x 4 mm."""
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    files = [{"t1": f"sample_{n:04d}_t1.nii.gz", "tumour": f"sample_{n:04d}_tumour.nii.gz"} for n in range(len(labels))]
    for names, label in zip(files, labels, strict=True):
        write_volume(Volume(np.ones_like(label)[None], affine), path / names["t1"], kind="scalar")
        write_volume(Volume(label[None], affine), path / names["tumour"], kind="scalar")
    manifest = {
        "count": len(labels),
        "files": files,
        "notes": [],
        "roles": {"t1": {"role": "t1", "unit": "normalised"}, "tumour": {"role": "tumour", "window": [0.0, 2.0]}},
    }
    manifest["roles"] |= roles
    (path / MANIFEST).write_text(json.dumps(manifest))
    return path


def values(*rows: float) -> np.ndarray:
    return np.array(rows, np.float32).reshape(2, 2, 2)


MIXED = values(-0.7, 0.4, 0.6, 1.0, 1.4, 1.6, 2.2, 9.0)


def drawn(folder: Path, count: int = 6, **options) -> Path:
    """Samples of a model of T1 and mask; the mask is noise around 0.6."""
    options = {"inputs": ("t1", "mass"), "spacing": [2, 3, 4], "intensity": {"mass": {"window": [0, 1]}}} | options
    run = save_toy(folder / "run", NOISE, **options)
    return sample(run, folder / "samples", count=count, device="cpu", allow_modules=[NOISE])


class TestVolumes:
    def test_the_nearest_label_inside_the_window(self, tmp_path: Path) -> None:
        samples = folder_of(tmp_path / "samples", MIXED)
        found = cases_from_samples(samples, tmp_path / "made" / "cases.csv", labels=["tumour"], validation=0)
        (case,) = read_cases(found.table).cases
        label = nibabel.load(case.images["tumour"])
        assert label.get_data_dtype() == np.uint8
        assert np.asarray(label.dataobj).ravel().tolist() == [0, 0, 1, 1, 1, 2, 2, 2]
        assert label.header.get_zooms() == (2, 3, 4)
        assert case.images["t1"] == samples / "sample_0000_t1.nii.gz"
        assert case.images["tumour"].parent == tmp_path / "made" / "cases"

    def test_no_sample_is_a_test_case(self, tmp_path: Path) -> None:
        found = cases_from_samples(drawn(tmp_path), tmp_path / "cases.csv", labels=["mass"], validation=0.5)
        splits = [case.split for case in read_cases(found.table).cases]
        assert (splits.count("train"), splits.count("val"), len(splits)) == (3, 3, 6)

    def test_images_that_will_be_normalised_again_are_named(self, tmp_path: Path) -> None:
        samples = folder_of(tmp_path / "samples", MIXED)
        (note,) = cases_from_samples(samples, tmp_path / "cases.csv", labels=["tumour"]).notes
        assert note.startswith("'t1' is in normalised units and will be normalised again")
        samples = folder_of(tmp_path / "others", MIXED, t1={"role": "t1", "unit": "a.u.", "window": [0.0, 220.0]})
        assert cases_from_samples(samples, tmp_path / "windowed.csv", labels=["tumour"]).notes == ()

    def test_empty_label_maps_are_counted(self, tmp_path: Path) -> None:
        samples = folder_of(tmp_path / "samples", MIXED, 0 * MIXED, 0.2 * values(*range(8)) / 8)
        assert cases_from_samples(samples, tmp_path / "cases.csv", labels=["tumour"]).empty == {"tumour": 2}

    @pytest.mark.parametrize(("size", "slices"), [((16, 16, 16), "thin"), ((16, 16), "apart")])
    def test_the_ordinary_training_takes_them(self, tmp_path: Path, size, slices) -> None:
        table = cases_from_samples(drawn(tmp_path, size=size), tmp_path / "cases.csv", labels=["mass"]).table
        faults = check_cases(read_cases(table), inputs=["t1"], labels="mass", classes=[1])
        assert {(fault.what, fault.severity) for fault in faults} == (
            {("the image is one slice ((16, 16, 1))", "warning")} if slices == "apart" else set()
        )
        recipe = {
            "method": "segmentation",
            "config": {"width": 0.125, "slices": slices},
            "data": {"inputs": ["t1"], "labels": "mass"},
            "preparation": {"spacing": [2, 3, 4]},
            "patches": {"size": (*size, 1)[:3]},
            "schedule": {"steps": 1, "batch": 1, "precision": "32"},
        }
        run = train(recipe, table, tmp_path / "segmenter", device="cpu")
        assert (run / "model" / "weights.safetensors").is_file()


class TestSlices:
    @pytest.mark.parametrize(
        ("plane", "shape", "zooms"),
        [("axial", (6, 8, 1), (2, 3, 4)), ("coronal", (6, 1, 8), (2, 3, 4)), ("sagittal", (1, 6, 8), (2, 3, 4))],
    )
    def test_a_slice_is_a_volume_as_thick_as_the_training_slices(self, tmp_path: Path, plane, shape, zooms) -> None:
        samples = drawn(tmp_path, count=2, size=(6, 8), plane=plane)
        table = cases_from_samples(samples, tmp_path / "cases.csv", labels=["mass"], validation=0).table
        with np.load(samples / "samples.npz") as raw:
            stacks = {name: raw[name] for name in raw}
        for number, case in enumerate(read_cases(table).cases):
            image, label = (read_volume(case.images[role]) for role in ("t1", "mass"))
            assert image.shape == label.shape == shape
            assert image.spacing == label.spacing == zooms
            np.testing.assert_array_equal(image.data.squeeze(), stacks["t1"][number])
            np.testing.assert_array_equal(label.data.squeeze(), stacks["mass"][number] > 0.5)

    def test_ct_keeps_its_unit(self, tmp_path: Path) -> None:
        intensity = {"ct": {"window": [-1024, 2000]}, "mass": {"window": [0, 1]}}
        samples = drawn(tmp_path, count=2, size=(6, 8), inputs=("ct", "mass"), intensity=intensity)
        table = cases_from_samples(samples, tmp_path / "cases.csv", labels=["mass"]).table
        assert nibabel.load(read_cases(table).cases[0].images["ct"]).get_data_dtype() == np.int16

    def test_slices_of_an_earlier_version(self, tmp_path: Path) -> None:
        samples = drawn(tmp_path, count=2, size=(6, 8))
        manifest = json.loads((samples / MANIFEST).read_text())
        del manifest["thickness_mm"]
        (samples / MANIFEST).write_text(json.dumps(manifest))
        with pytest.raises(InputError, match="do not say how thick they are"):
            cases_from_samples(samples, tmp_path / "cases.csv", labels=["mass"])


class TestBadInput:
    @pytest.mark.parametrize(
        ("labels", "roles", "words"),
        [
            (["lesion"], {}, "have no 'lesion', they have: t1, tumour"),
            (["t1"], {}, "'t1' has no intensity window of whole numbers"),
            (["tumour"], {"tumour": {"role": "tumour", "window": [0, 1.5]}}, "no intensity window of whole numbers"),
            (["tumour"], {"tumour": {"role": "tumour", "window": [-1, 1]}}, "from 0 on"),
        ],
    )
    def test_a_role_that_is_no_label_map(self, tmp_path: Path, labels, roles, words) -> None:
        samples = folder_of(tmp_path / "samples", MIXED, **roles)
        with pytest.raises(InputError, match=words):
            cases_from_samples(samples, tmp_path / "cases.csv", labels=labels)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["samples"]

    def test_no_label_anywhere(self, tmp_path: Path) -> None:
        samples = folder_of(tmp_path / "samples", 0 * MIXED, 0.1 * values(*range(8)) / 8)
        with pytest.raises(InputError, match="no sample has a voxel of 'tumour'"):
            cases_from_samples(samples, tmp_path / "cases.csv", labels=["tumour"])
        assert sorted(path.name for path in tmp_path.iterdir()) == ["samples"]

    def test_no_label_named(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no label map is named"):
            cases_from_samples(folder_of(tmp_path / "samples", MIXED), tmp_path / "cases.csv", labels=[])

    @pytest.mark.parametrize("content", [None, "{", "[]", '{"count": 1}'])
    def test_a_folder_without_samples(self, tmp_path: Path, content) -> None:
        if content:
            (tmp_path / MANIFEST).write_text(content)
        with pytest.raises(InputError, match=r"no samples\.json of samples"):
            cases_from_samples(tmp_path, tmp_path / "cases.csv", labels=["tumour"])

    @pytest.mark.parametrize(
        "change", [{"roles": ["t1"]}, {"roles": {"t1": {}}}, {"count": 7}, {"files": [{"t1": "../x.nii.gz"}] * 6}]
    )
    def test_a_damaged_list(self, tmp_path: Path, change) -> None:
        folder = drawn(tmp_path)
        content = json.loads((folder / "samples.json").read_text()) | change
        (folder / "samples.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match="list of samples is damaged"):
            cases_from_samples(folder, tmp_path / "table.csv", labels=["t1"])

    def test_a_sample_that_is_gone(self, tmp_path: Path) -> None:
        samples = folder_of(tmp_path / "samples", MIXED, MIXED)
        (samples / "sample_0001_tumour.nii.gz").unlink()
        with pytest.raises(InputError, match="tumour"):
            cases_from_samples(samples, tmp_path / "cases.csv", labels=["tumour"])
        assert not (tmp_path / "cases.csv").exists()

    def test_what_is_there_is_not_replaced(self, tmp_path: Path) -> None:
        samples = folder_of(tmp_path / "samples", MIXED)
        (tmp_path / "cases").mkdir()
        (tmp_path / "cases" / "mine.txt").touch()
        with pytest.raises(UsageError, match="must be empty"):
            cases_from_samples(samples, tmp_path / "cases.csv", labels=["tumour"])
        with pytest.raises(UsageError, match=r"must end in \.csv"):
            cases_from_samples(samples, tmp_path / "cases", labels=["tumour"])
        (tmp_path / "away.csv").symlink_to("/away/cases.csv")
        with pytest.raises(UsageError, match="a link to a missing file"):
            cases_from_samples(samples, tmp_path / "away.csv", labels=["tumour"])
        assert not (tmp_path / "away").exists()
