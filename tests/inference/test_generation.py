"""Samples of a model: a pure function of seed and number, in the unit of their role, in a folder that is whole."""

import json

import nibabel
import numpy as np
import pytest
from skimage.io import imread
from toy_samplers import MEANS, NOISE, save_toy

from medgen import sample
from medgen.cli import main
from medgen.errors import ModelError, UsageError
from medgen.inference.generation import seed_of


def drawn(run, folder, **options):
    return sample(run, folder, device="cpu", allow_modules=[NOISE, MEANS], **options)


def volumes(folder):
    return [nibabel.load(path) for path in sorted(folder.glob("*.nii.gz"))]


def test_volumes_are_written_in_the_unit_of_their_role(tmp_path):
    run = save_toy(
        tmp_path / "run", NOISE, inputs=("ct", "t1"), spacing=[2, 2, 3], intensity={"ct": {"window": [-1000, 1000]}}
    )
    folder = drawn(run, tmp_path / "out", count=3)
    names = {path.name for path in folder.iterdir()}
    assert {"contact_sheet.png", "samples.json", "sample_0000_ct.nii.gz", "sample_0002_t1.nii.gz"} <= names
    ct, t1 = (nibabel.load(folder / f"sample_0001_{role}.nii.gz") for role in ("ct", "t1"))
    assert ct.get_data_dtype() == np.int16
    assert t1.get_data_dtype() == np.float32
    assert np.asarray(ct.dataobj).mean() == pytest.approx(250, abs=20)  # 0.25 of a window of 1000 on each side
    assert np.asarray(t1.dataobj).mean() == pytest.approx(0.25, abs=0.02)
    assert nibabel.affines.voxel_sizes(ct.affine).tolist() == [2, 2, 3]
    middle = ct.affine @ [*[(edge - 1) / 2 for edge in ct.shape], 1]
    assert middle[:3] == pytest.approx([0, 0, 0])
    manifest = json.loads((folder / "samples.json").read_text())
    assert manifest["research_use_only"] is True
    assert (manifest["seed"], manifest["count"]) == (0, 3)
    units = {role: each["unit"] for role, each in manifest["roles"].items()}
    assert units == {"ct": "HU", "t1": "normalised: z-score of the body"}
    assert str(tmp_path) not in json.dumps(manifest)


def test_a_longer_list_begins_with_the_shorter_one(tmp_path):
    run = save_toy(tmp_path / "run", NOISE)
    few, more, other = (
        [image.get_fdata() for image in volumes(drawn(run, tmp_path / name, **options))]
        for name, options in (("few", {"count": 2}), ("more", {"count": 5}), ("other", {"count": 2, "seed": 1}))
    )
    assert all(np.array_equal(one, two) for one, two in zip(few, more[:2], strict=True))
    assert not np.array_equal(few[0], few[1])
    assert not np.array_equal(few[0], other[0])
    assert len({seed_of(seed, number) for seed in range(20) for number in range(100)}) == 2000


def test_temperature_is_the_spread_of_the_noise(tmp_path):
    run = save_toy(tmp_path / "run", NOISE)
    cold, warm = (
        volumes(drawn(run, tmp_path / str(each), count=1, temperature=each))[0].get_fdata() for each in (0.1, 2.0)
    )
    ramp = np.linspace(-0.4, 0.4, 8)[:, None, None] + 0.25
    assert (warm - ramp).std() == pytest.approx(20 * (cold - ramp).std(), rel=1e-3)


def test_slices_are_pictures_beside_their_values(tmp_path):
    run = save_toy(tmp_path / "run", NOISE, size=(8, 10), plane="coronal")
    folder = drawn(run, tmp_path / "out", count=2)
    with np.load(folder / "samples.npz") as values:
        raw = values["t1"]
    assert raw.shape == (2, 8, 10)
    picture = imread(folder / "sample_0001_t1.png")
    assert picture.shape == (10, 8)
    # In RAS+ the ramp along x rises to the patient's right, which a radiologist sees on the left.
    assert np.polyfit(np.arange(8), picture.mean(axis=0), 1)[0] < 0
    assert imread(folder / "contact_sheet.png").ndim == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "--count must be at least 1, got 0"),
        ({"seed": -1}, "--seed must be at least 0, got -1"),
        ({"temperature": 0.0}, "--temperature must be above 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        drawn(tmp_path / "run", tmp_path / "out", **options)


def test_a_model_that_draws_nothing_says_what_it_can(tmp_path):
    run = save_toy(tmp_path / "run", MEANS)
    with pytest.raises(UsageError, match=r"cannot draw samples; its method 'toy_samplers\.means' can: encode"):
        drawn(run, tmp_path / "out")


def test_nothing_is_left_of_a_draw_that_fails(tmp_path):
    run = save_toy(tmp_path / "run", NOISE, config={"fails_from": 0.0})
    with pytest.raises(ModelError, match=r"of the voxels of sample \d are NaN or infinite"):
        drawn(run, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_only_samples_are_replaced(tmp_path):
    run, out = save_toy(tmp_path / "run", NOISE), tmp_path / "out"
    drawn(run, out, count=3)
    with pytest.raises(UsageError, match="not empty"):
        drawn(run, out)
    drawn(run, out, count=1, overwrite=True)
    assert len(volumes(out)) == 1
    (out / "thesis.docx").write_text("years of work")
    with pytest.raises(UsageError, match=r"holds 'thesis\.docx', which 'medgen sample' did not write"):
        drawn(run, out, overwrite=True)


def test_from_the_command_line(tmp_path, capsys):
    run = save_toy(tmp_path / "run", NOISE)
    command = ["sample", str(run), "-o", str(tmp_path / "out"), "--count", "2", "--allow-module", NOISE]
    with pytest.raises(SystemExit, match="0"):
        main(command)
    assert capsys.readouterr().out.strip() == str(tmp_path / "out")
    with pytest.raises(SystemExit, match="2"):
        main(command)
