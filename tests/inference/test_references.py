"""Real patches: as training cuts them, a function of seed and number, without labels unless asked."""

from pathlib import Path

import numpy as np
import pytest
from mean_model import AFFINE, save
from test_encoding import SIZE, WINDOW, write_table
from toy_samplers import MEANS, save_toy

from medgen.cases import read_cases
from medgen.errors import InputError, UsageError
from medgen.inference.opened import Opened, open_model
from medgen.inference.references import reference_patches
from medgen.preparation import build_store
from medgen.sampling.patches import PatchSource


@pytest.fixture
def model(tmp_path: Path) -> Opened:
    return open_model(save_toy(tmp_path / "run", MEANS, size=SIZE, intensity=WINDOW), "cpu", [MEANS])


def test_patches_are_those_of_training(model: Opened, tmp_path: Path) -> None:
    table = write_table(tmp_path)
    found = reference_patches(model, table, split="train", count=20, seed=3)
    stored = build_store(read_cases(table).select(split="train"), model.known.preparation, tmp_path / "store").cases
    source = PatchSource(stored, model.patches, 3)
    np.testing.assert_array_equal(found.images, np.stack([source[n]["source"] for n in range(20)]))
    assert found.cases == tuple(source.describe(n)[0] for n in range(20))
    assert set(found.cases) == {"a", "b"}
    assert (found.images.dtype, found.images.shape, len(found)) == (np.float32, (20, 1, *SIZE), 20)


def test_places_are_in_mm(model: Opened, tmp_path: Path) -> None:
    """An even patch around a voxel lies half a prepared voxel (1.5, 2 and 2.5 mm wide) lower than it."""
    found = reference_patches(model, write_table(tmp_path), split="test", count=5)
    stored = build_store(read_cases(tmp_path / "cases.csv").select(split="test"), model.known.preparation, tmp_path)
    source = PatchSource(stored.cases, model.patches, 0)
    affine = stored.cases[0].affine
    for number, place in enumerate(found.places):
        voxel = affine @ [*source.describe(number)[1], 1]
        np.testing.assert_allclose(place, voxel[:3] - [0.75, 1.0, 1.25], atol=1e-6)
    assert np.linalg.norm(AFFINE[:3, 0]) == 1.5


def test_a_longer_draw_begins_with_the_shorter(model: Opened, tmp_path: Path) -> None:
    table = write_table(tmp_path)
    many, few, other = (
        reference_patches(model, table, split=None, count=count, seed=seed) for count, seed in ((9, 1), (4, 1), (9, 2))
    )
    np.testing.assert_array_equal(many.images[:4], few.images)
    assert many.cases[:4] == few.cases
    assert (many.places != other.places).any()


def test_labels_are_opened_only_if_asked_for(tmp_path: Path, model: Opened) -> None:
    label = np.zeros((19, 23, 17), np.uint8)
    label[5:14, 6:17, 4:13] = 7
    save(label, tmp_path / "lesion.nii.gz")
    table = write_table(tmp_path, ct=["gone.nii.gz"] * 3, label=["lesion.nii.gz"] * 2 + ["gone.nii.gz"])
    assert reference_patches(model, table, split="test", count=2).present is None
    found = reference_patches(model, table, split="train", count=40, labels="label")
    assert found.present is not None
    assert 0 < found.present.sum() < 40
    inside = np.abs(found.places - (AFFINE @ [9, 11, 8, 1])[:3]) < [1.5 * 6.5, 2 * 8.5, 2.5 * 5.5]
    np.testing.assert_array_equal(inside.all(axis=1), found.present)


def test_prepared_cases_are_used_again(model: Opened, tmp_path: Path) -> None:
    table = write_table(tmp_path)
    first = reference_patches(model, table, split="test", count=3, store=tmp_path / "store")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*.npy")}
    again = reference_patches(model, table, split="test", count=3, store=tmp_path / "store")
    assert before
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*.npy")}
    np.testing.assert_array_equal(first.images, again.images)


def test_what_is_refused(model: Opened, tmp_path: Path) -> None:
    table = write_table(tmp_path)
    with pytest.raises(InputError, match="no case has split 'val'") as caught:
        reference_patches(model, table, split="val", count=1)
    assert "test, train" in caught.value.fix
    with pytest.raises(UsageError, match="at least 1 patch"):
        reference_patches(model, table, split=None, count=0)
    with pytest.raises(UsageError, match="--seed must be between 0"):
        reference_patches(model, table, split=None, count=1, seed=-1)
    (tmp_path / "c.nii.gz").write_bytes(b"no image")
    with pytest.raises(InputError, match="case 'c'"):
        reference_patches(model, table, split="test", count=1)


def test_no_place_is_there_twice(tmp_path: Path) -> None:
    """Of whole volumes every case has one patch; a copy would narrow every distance without a word."""
    table = write_table(tmp_path)
    run = save_toy(tmp_path / "whole", MEANS, size=(20, 24, 18), sampling="centred", intensity=WINDOW)
    found = reference_patches(open_model(run, "cpu", [MEANS]), table, split=None, count=30)
    assert sorted(found.cases) == ["a", "b", "c"]
