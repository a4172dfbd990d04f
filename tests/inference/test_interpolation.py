"""The way between two samples: its ends are these samples, and what is written."""

import itertools
import json
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from toy_samplers import JUDGE, NOISE, save_toy

from medgen.errors import UsageError
from medgen.inference.generation import sample

CT = {"ct": {"window": [-1024, 2000]}}


def draw(run: Path, out: Path, **options) -> dict:
    sample(run, out, device="cpu", allow_modules=[NOISE, JUDGE], **{"count": 4, "interpolate": (1, 3), **options})
    return json.loads((out / "samples.json").read_text())


@pytest.mark.parametrize("method", [NOISE, JUDGE])
def test_frames_of_slices_begin_and_end_with_the_samples(tmp_path: Path, method: str) -> None:
    run = save_toy(tmp_path / "run", method, size=(16, 12), spacing=[1, 2, 3])
    content = draw(run, tmp_path / "out", frames=5, temperature=0.5, truncation=1.0)
    told = content["interpolation"]
    assert (told["samples"], told["frames"], content["truncation"]) == ([1, 3], 5, 1.0)
    samples, frames = (np.load(tmp_path / "out" / name)["t1"] for name in (content["raw_values"], told["raw_values"]))
    assert frames.shape == (5, 16, 12)
    np.testing.assert_array_equal(frames[[0, -1]], samples[[1, 3]])
    assert all(not np.array_equal(a, b) for a, b in itertools.pairwise(frames))


def test_frames_of_volumes_are_in_their_unit_and_on_the_grid_of_the_samples(tmp_path: Path) -> None:
    run = save_toy(tmp_path / "run", NOISE, inputs=("ct",), spacing=[2, 1, 3], intensity=CT)
    told = draw(run, tmp_path / "out", frames=3)["interpolation"]
    first, last, end = (
        nibabel.load(tmp_path / "out" / name)
        for name in (told["files"][0]["ct"], told["files"][2]["ct"], "sample_0003_ct.nii.gz")
    )
    assert first.get_data_dtype() == np.int16
    np.testing.assert_array_equal(np.asarray(last.dataobj), np.asarray(end.dataobj))
    np.testing.assert_array_equal(last.affine, end.affine)
    assert not np.array_equal(np.asarray(first.dataobj), np.asarray(last.dataobj))


def test_the_film_runs_there_and_back(tmp_path: Path) -> None:
    """Square pixels of 2 mm high voxels: 16 x 12 voxels are 16 x 24, times 16 for 256 pixels."""
    run = save_toy(tmp_path / "run", NOISE, size=(16, 12), spacing=[1, 2, 3])
    told = draw(run, tmp_path / "out", frames=5)["interpolation"]
    with Image.open(tmp_path / "out" / told["film"]) as film:
        stills = []
        for number in range(film.n_frames):
            film.seek(number)
            stills.append(np.asarray(film.convert("L")))
        assert film.info["loop"] == 0
    assert len(stills) == 8
    assert (stills[0].shape[0], stills[0].shape[1]) == (24 * 16, 16 * 16)
    np.testing.assert_array_equal(stills[1], stills[-1])
    assert not np.array_equal(stills[0], stills[4])


def test_the_strip_has_both_ends_and_at_most_8_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(
        "medgen.inference.interpolation.write_contact_sheet",
        lambda path, main, below, **rest: seen.append((main, below)),
    )
    run = save_toy(tmp_path / "run", NOISE)
    for frames in (2, 24):
        draw(run, tmp_path / str(frames), frames=frames)
    (few, below), (many, _) = seen
    assert (few.labels, [view.name for view in below]) == (["sample 1", "sample 3"], ["coronal", "sagittal"])
    assert (len(many.pictures), many.labels[0], many.labels[-1]) == (8, "sample 1", "sample 3")


def test_numbers_may_be_beyond_the_count_and_samples_stay_the_same(tmp_path: Path) -> None:
    run = save_toy(tmp_path / "run", NOISE, size=(8, 8))
    draw(run, tmp_path / "way", count=2, interpolate=(0, 7), frames=2)
    sample(run, tmp_path / "plain", count=8, device="cpu", allow_modules=[NOISE])
    way, plain = (tmp_path / name for name in ("way", "plain"))
    np.testing.assert_array_equal(np.load(way / "samples.npz")["t1"], np.load(plain / "samples.npz")["t1"][:2])
    np.testing.assert_array_equal(np.load(way / "interpolation.npz")["t1"][1], np.load(plain / "samples.npz")["t1"][7])


def test_a_folder_with_a_way_is_replaced_whole(tmp_path: Path) -> None:
    run = save_toy(tmp_path / "run", NOISE)
    draw(run, tmp_path / "out", frames=3)
    sample(run, tmp_path / "out", count=1, device="cpu", allow_modules=[NOISE], overwrite=True)
    assert not list((tmp_path / "out").glob("interpolation*"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"interpolate": (-1, 3)}, "at least 0, got -1 and 3"),
        ({"interpolate": (3, 3)}, "numbers of two samples"),
        ({"frames": 1}, "--frames must be 2, the two samples, to 1000, got 1"),
        ({"frames": 100_000_000}, "--frames must be 2, the two samples, to 1000, got 100000000"),
        ({"truncation": 0.01}, "--truncation must be at least 0.02 and finite, got 0.01"),
        ({"truncation": -1.0}, "got -1"),
        ({"truncation": float("nan")}, "got nan"),
        ({"features": "run"}, "--neighbours is not given"),
    ],
)
def test_refusals(tmp_path: Path, options: dict, said: str) -> None:
    run = save_toy(tmp_path / "run", NOISE)
    with pytest.raises(UsageError, match=re.escape(said)) as caught:
        draw(run, tmp_path / "out", **options)
    assert caught.value.fix
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_the_global_random_state_is_left_alone(tmp_path: Path) -> None:
    run = save_toy(tmp_path / "run", NOISE)
    before = torch.get_rng_state()
    draw(run, tmp_path / "out", frames=2, truncation=0.5)
    assert torch.equal(torch.get_rng_state(), before)
