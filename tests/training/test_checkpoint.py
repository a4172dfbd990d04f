"""Checkpoints: atomic, hashed, never able to run code (RELIABILITY T1, T7, T9, S1, S2)."""

import errno
import json
import os
import pickle
from types import SimpleNamespace

import pytest
import torch

from medgen.errors import ModelError, StorageError
from medgen.methods.base import Shape
from medgen.methods.catalogue import create
from medgen.training.checkpoint import load_checkpoint, load_tensors, save_checkpoint
from medgen.training.model_folder import load_stages, save_model

STATE = {"step": 3, "weights": torch.arange(6.0), "best": {"value": 0.5, "step": 2}, "average": None}


def state(step):
    return {**STATE, "step": step}


def test_round_trip_and_only_two_are_kept(tmp_path):
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, state(step))
    assert load_checkpoint(tmp_path)["step"] == 3
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == ["step-00000002.pt", "step-00000003.pt"]


def test_none_where_there_is_none(tmp_path):
    assert load_checkpoint(tmp_path / "nothing") is None


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_newest_gives_the_one_before(tmp_path, damage, caplog):
    for step in (1, 2):
        save_checkpoint(tmp_path, step, state(step))
    path = tmp_path / "step-00000002.pt"
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "truncate":
        path.write_bytes(content[:-100])
    else:
        path.unlink()
    assert load_checkpoint(tmp_path)["step"] == 1
    assert "sha256" in caplog.text


def test_all_damaged_is_an_error_and_not_a_fresh_start(tmp_path):
    save_checkpoint(tmp_path, 1, state(1))
    (tmp_path / "step-00000001.pt").write_bytes(b"")
    with pytest.raises(ModelError, match="every checkpoint is damaged"):
        load_checkpoint(tmp_path)


def test_killed_between_file_and_index_leaves_the_older_one(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, 1, state(1))
    monkeypatch.setattr("medgen.training.checkpoint.write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, 2, state(2))
    monkeypatch.undo()
    assert load_checkpoint(tmp_path)["step"] == 1
    save_checkpoint(tmp_path, 2, state(2))
    assert load_checkpoint(tmp_path)["step"] == 2


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "no space"), RuntimeError("unexpected pos 704 vs 598")], ids=["errno", "torch"]
)
def test_a_full_disk_keeps_the_old_one_and_leaves_nothing_else(tmp_path, monkeypatch, error):
    save_checkpoint(tmp_path, 1, state(1))
    before = set(os.listdir(tmp_path))

    def full(content, path):
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(StorageError, match="no space"):
        save_checkpoint(tmp_path, 2, state(2))
    assert set(os.listdir(tmp_path)) == before
    assert load_checkpoint(tmp_path)["step"] == 1


def failing(error):
    def save(content, path):
        path.write_bytes(b"half")
        raise error

    return save


def free(monkeypatch, count):
    monkeypatch.setattr("medgen.training.checkpoint.shutil.disk_usage", lambda _: SimpleNamespace(free=count))


def test_both_numbers_are_said_where_the_space_does_not_suffice(tmp_path, monkeypatch):
    free(monkeypatch, 3_000_000)
    monkeypatch.setattr(torch, "save", failing(RuntimeError("PytorchStreamWriter failed writing file data/0")))
    with pytest.raises(StorageError, match=r"needs 4\.0 MB, 3\.0 MB free"):
        save_checkpoint(tmp_path, 1, {"weights": {"a": torch.zeros(1_000_000)}})


def test_an_error_of_torch_with_space_enough_is_not_called_a_full_disk(tmp_path, monkeypatch):
    free(monkeypatch, 5_000_000)
    monkeypatch.setattr(torch, "save", failing(RuntimeError("cannot write this kind of tensor")))
    with pytest.raises(RuntimeError, match="this kind of tensor"):
        save_checkpoint(tmp_path, 1, {"weights": {"a": torch.zeros(1_000_000)}})


@pytest.mark.parametrize("content", ["", "[{", "{}", '[{"file": "step-00000001.pt"}]', "[1]"])
def test_a_damaged_index_is_said_and_means_no_checkpoint(tmp_path, caplog, content):
    save_checkpoint(tmp_path, 1, state(1))
    (tmp_path / "index.json").write_text(content)
    assert load_checkpoint(tmp_path) is None
    assert "index.json" in caplog.text
    save_checkpoint(tmp_path, 2, state(2))
    assert load_checkpoint(tmp_path)["step"] == 2


class Payload:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


def test_a_payload_is_refused_and_there_is_no_second_try(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weights": Payload()}, "bad.pt")
    calls = []
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **k: (calls.append(k), load(*a, **k))[1])
    with pytest.raises(ModelError, match="not a file of weights that is safe"):
        load_tensors(tmp_path / "bad.pt")
    assert not os.path.exists("pwned")
    assert [call["weights_only"] for call in calls] == [True]
    with open("worse.pt", "wb") as file:
        pickle.dump(Payload(), file)
    with pytest.raises(ModelError):
        load_tensors(tmp_path / "worse.pt")
    assert not os.path.exists("pwned")


@pytest.fixture
def model(tmp_path):
    method = create("supervised", {"width": 0.1}, Shape(1, 1))
    save_model(tmp_path / "model", [method], {"method": "supervised", "stages": 1})
    return tmp_path


def test_a_run_folder_or_its_model_folder(model):
    assert len(load_stages(model)[0]) == len(load_stages(model / "model")[0]) == 1


def test_a_flipped_bit_in_the_weights_is_noticed(model):
    path = model / "model" / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="damaged"):
        load_stages(model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format 99"),
        ({"method": "os.path"}, "not allowed"),
        ({"shape": {"inputs": 3, "outputs": 1, "size": [16, 16, 16]}}, "do not fit"),
        ({"shape": {"inputs": 1}}, "lacks or garbles: shape.outputs"),
        ({"shape": None, "config": 3}, "lacks or garbles: config, shape"),
        ({"method": "of_tomorrow", "medgen": "9.1"}, "no method 'of_tomorrow'"),
        ({"config": {"of_tomorrow": 1}, "medgen": "9.1"}, "of_tomorrow"),
    ],
)
def test_a_model_that_cannot_be_used_says_why(model, change, message):
    path = model / "model" / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelError, match=message):
        load_stages(model)


@pytest.mark.parametrize("key", ["format", "method", "config", "shape", "weights_sha256"])
def test_a_model_file_that_lacks_a_key_is_refused(model, key):
    path = model / "model" / "model.json"
    content = json.loads(path.read_text())
    del content[key]
    path.write_text(json.dumps(content))
    with pytest.raises(ModelError) as error:
        load_stages(model)
    assert error.value.exit_code == 6


def test_a_model_of_another_medgen_names_the_one_to_use(model):
    path = model / "model" / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "method": "of_tomorrow", "medgen": "9.1"}))
    with pytest.raises(ModelError) as error:
        load_stages(model)
    assert "medgen 9.1" in error.value.fix


def test_no_model_here(tmp_path):
    with pytest.raises(ModelError, match="no model here"):
        load_stages(tmp_path)
