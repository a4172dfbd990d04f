"""Killed, or out of disk, at any touch of it (T1, T7, I2, I11): all is whole, and going on ends in the same bytes."""

import json

import nibabel
import numpy as np
import pytest
import tiny
import yaml

from faults.disk import damaged, failing, finished, killed, left_over, touches
from medgen.cli import app
from medgen.cli.failures import exit_code_of
from medgen.files import atomic_path, remove_partial_files, sha256

STEPS = {"steps": 4, "save_every": 1, "validate_every": 2}


def medgen(*words):
    """One command, in this process."""
    app([str(word) for word in words], exit_on_error=False, print_error=False)


@pytest.fixture(scope="module", autouse=True)
def _one_process():
    """Cases are prepared where touches are counted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medgen.run.experiment._preparers", lambda: 1)
        yield


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    path.write_text(yaml.safe_dump(tiny.recipe(schedule=STEPS)))
    return path


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return tiny.write_cases(tmp_path_factory.mktemp("cases"), train=2, test=2, side=16)


@pytest.fixture(scope="module")
def run(cases, recipe, tmp_path_factory):
    """A run without a break, and how often it touched the disk."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with touches() as kinds:
        medgen("train", recipe, "--cases", cases, "--out", folder, "--device", "cpu")
    return folder, len(kinds)


def seeded(seed, count, moments):
    return sorted(np.random.default_rng(seed).choice(count, moments, replace=False).tolist())


def images(folder):
    return {name: path.read_bytes() for name, path in finished(folder).items() if name.endswith((".nii.gz", ".npy"))}


def full(run, at):
    """Whether ``run`` ended because the disk was full at that touch, with the exit code for it."""
    with failing(at):
        code = exit_code_of(run)
    assert code in (0, 7)
    return code == 7


@pytest.mark.parametrize("fault", [killed, full], ids=["killed", "full disk"])
def test_a_run_that_was_ended_goes_on_to_the_same_weights(cases, recipe, run, tmp_path, fault):
    whole, count = run
    folder, ends = tmp_path / "run", 0

    def go_on():
        resume = ["--resume"] if (folder / "recipe.yaml").is_file() else []
        medgen("train", recipe, "--cases", cases, "--out", folder, "--device", "cpu", *resume)

    for at in seeded(0, count, 3):
        ends += fault(go_on, at)
        assert damaged(folder) == []
    assert ends  # a resumed run has less to do, and may end before the later moments
    go_on()
    assert damaged(folder) == []
    assert left_over(folder) == []
    assert sha256(folder / "model/weights.safetensors") == sha256(whole / "model/weights.safetensors")
    assert log(folder) == log(whole)


def log(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_killed_preparation_goes_on_to_the_same_arrays(cases, recipe, tmp_path):
    command = ["prepare", recipe, "--cases", cases, "--store"]
    with touches() as kinds:
        medgen(*command, tmp_path / "whole")
    for at in seeded(2, len(kinds), 3):
        killed(lambda: medgen(*command, tmp_path / "store"), at)
        assert damaged(tmp_path / "store") == []
    medgen(*command, tmp_path / "store")
    assert images(tmp_path / "store") == images(tmp_path / "whole")
    assert left_over(tmp_path / "store") == []


def test_a_killed_prediction_goes_on_to_the_same_images(cases, run, tmp_path):
    command = ["predict", run[0], "-i", cases, "--split", "test", "--device", "cpu", "-o"]
    with touches() as kinds:
        medgen(*command, tmp_path / "whole")
    whole, out, deaths = images(tmp_path / "whole"), tmp_path / "out", 0
    assert len(whole) == 2
    for at in seeded(3, len(kinds), 3):
        deaths += killed(lambda: medgen(*command, out, "--resume"), at)
        assert damaged(out) == []
        kept = images(out)
        assert kept.items() <= whole.items()
    assert deaths
    before = {name: (out / name).stat().st_mtime_ns for name in kept}
    medgen(*command, out, "--resume")
    assert images(out) == whole
    assert {name: (out / name).stat().st_mtime_ns for name in kept} == before  # what was there was not written again
    assert left_over(out) == []
    assert nibabel.load(next(out.rglob("*.nii.gz"))).shape == (16, 16, 16)


@pytest.mark.parametrize("at", range(3))
def test_a_killed_write_leaves_what_was_there(tmp_path, at):
    path = tmp_path / "a.bin"
    path.write_bytes(b"before")

    def write():
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"after")

    with touches() as kinds, atomic_path(tmp_path / "other") as temporary:
        temporary.write_bytes(b"after")
    assert kinds[:3] == ["write", "sync", "rename"]
    assert killed(write, at)
    assert path.read_bytes() == b"before"
    assert len(left_over(tmp_path)) == 1
    remove_partial_files(tmp_path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.bin", "other"]


def test_a_process_that_fails_by_itself_is_not_called_killed(tmp_path, capfd):
    with pytest.raises(AssertionError, match="failed by itself"):
        killed(lambda: 1 / 0, 0)
    assert "ZeroDivisionError" in capfd.readouterr().err
    assert not killed(lambda: None, 0)
