"""Whatever touch of the disk fails: the file that was there is there, or the new one; nothing between, nothing left."""

import errno
import shutil

import numpy as np
import pytest
import torch

from faults.disk import damaged, failing, finished, left_over, touches
from medgen.cases import Case, write_cases
from medgen.config import build
from medgen.errors import StorageError
from medgen.files import write_json
from medgen.methods.base import Shape
from medgen.methods.catalogue import create
from medgen.preparation import Preparation, PreparationConfig, Roles, build_store
from medgen.training.checkpoint import load_checkpoint, save_checkpoint, save_weights
from medgen.training.model_folder import save_model
from medgen.volume import Volume, write_volume
from medgen.volume.repair import Repaired


def json_file(folder, value):
    write_json(folder / "a.json", {"value": value})


def volume(folder, value):
    image = Volume(np.full((1, 8, 8, 8), value, np.float32), np.eye(4))
    write_volume(image, folder / "a.nii.gz", kind="hu", overwrite=True)


def weights(folder, value):
    save_weights(folder / "a.safetensors", {"a": torch.full((100,), float(value))})


def model(folder, value):
    torch.manual_seed(value)
    save_model(folder, [create("supervised", {"width": 0.1}, Shape(1, 1))], {"method": "supervised", "value": value})


def table(folder, value):
    write_cases([Case(f"p{value}", "test", None, {"t1": folder / "t1.nii.gz"})], folder / "cases.csv")


def store(folder, value):
    image = folder.with_name(f"patient{value}.nii.gz")
    if not image.exists():
        data = np.random.default_rng(value).normal(500, 50, (1, 8, 8, 8)).astype(np.float32)
        write_volume(Volume(data, np.eye(4)), image, kind="scalar")
    preparation = Preparation(Roles(inputs=("t1",)), build(PreparationConfig, {"spacing": None}))
    build_store([Case("p", "train", None, {"t1": image})], preparation, folder)


def repaired(folder, value):
    folder.mkdir(exist_ok=True)
    image = Volume(np.full((1, 8, 8, 8), value, np.float32), np.eye(4), notes=(f"note {value}",))
    Repaired(image, (), 0.0, image.shape, image.spacing).write(folder / "a.nii.gz", overwrite=True)


ERRORS = (errno.ENOSPC, errno.EACCES, errno.EDQUOT, errno.EROFS)
WRITERS = (json_file, volume, weights, model, table, store, repaired)


def contents(folder):
    return {name: path.read_bytes() for name, path in finished(folder).items() if not name.endswith(".lock")}


def unsynced(kinds):
    """Renames before which something was written that was not synced."""
    parts = " ".join(kinds).split("rename")
    return sum("write" in part.rpartition("sync")[2] for part in parts[:-1])


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_any_touch_of_the_disk_may_fail(tmp_path, write):
    before, after = tmp_path / "before", tmp_path / "after"
    write(before, 1)
    write(tmp_path / "inputs", 2)  # some make their input at the first call
    shutil.copytree(before, after)
    with touches() as kinds:
        write(after, 2)
    assert "rename" in kinds
    assert unsynced(kinds) == 0, kinds
    whole = contents(before), contents(after)
    for at in range(len(kinds)):
        folder = tmp_path / f"at{at}"
        shutil.copytree(before, folder)
        with failing(at, ERRORS[at % len(ERRORS)]), pytest.raises(StorageError) as error:
            write(folder, 2)
        assert error.value.exit_code == 7
        found = contents(folder)
        assert all(data in (each.get(name) for each in whole) for name, data in found.items()), kinds[: at + 1]
        assert set(found) >= set(whole[0]) & set(whole[1])
        assert not left_over(folder)
        write(folder, 2)  # with the fault gone, the same call does all
        assert contents(folder) == whole[1]


def test_a_checkpoint_is_never_lost(tmp_path):
    """Not with the others: torch writes the (temporary) name of the file into it, so equal states differ in bytes."""
    save_checkpoint(tmp_path, 1, {"step": 1})
    with touches() as kinds:
        save_checkpoint(tmp_path, 2, {"step": 2})
    for at in range(len(kinds)):
        with failing(at), pytest.raises(StorageError):
            save_checkpoint(tmp_path, 3, {"step": 3})
        assert load_checkpoint(tmp_path)["step"] in (2, 3)
        assert not left_over(tmp_path)


def test_an_error_of_another_kind_is_not_called_a_full_disk(tmp_path):
    with failing(0, errno.EIO), pytest.raises(OSError, match="Input/output") as error:
        json_file(tmp_path, 1)
    assert not isinstance(error.value, StorageError)
    assert not left_over(tmp_path)


def test_the_tool_finds_a_file_that_is_written_in_place(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"value": 1}')
    with failing(0), pytest.raises(OSError, match="No space"):
        path.write_text('{"value": 2}')
    assert damaged(tmp_path) == ["a.json"]
    assert path.read_text() == '{"valu'


@pytest.mark.parametrize("kind", ["write", "sync", "rename"])
def test_each_kind_of_touch_is_seen(tmp_path, kind):
    with touches() as kinds:
        json_file(tmp_path, 1)
    assert kind in kinds
