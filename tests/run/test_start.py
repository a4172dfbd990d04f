"""What can be known at the start is known at the start: preparation is never reached."""

import logging
import sys

import pytest
import tiny
import tiny_domains

from medgen.errors import InputError, StorageError, UsageError
from medgen.run import experiment
from medgen.run.experiment import prepare, train
from medgen.training import engine


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return tiny.write_cases(tmp_path_factory.mktemp("cases"))


@pytest.fixture(autouse=True)
def never_prepared(monkeypatch):
    def build_store(*_, **__):
        raise AssertionError("a case was prepared")

    monkeypatch.setattr(experiment, "build_store", build_store)


def start(recipe, cases, out, **options):
    return train(recipe, cases, out, device="cpu", **options)


def test_tensorboard_that_is_not_installed(cases, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match="TensorBoard is not installed"):
        start(tiny.recipe(schedule={"tensorboard": True}), cases, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schedule": {"batch": 3, "accumulate": 2}}, "cannot be cut into 2 micro-batches"),
        ({"schedule": {"keep": "health"}}, "does not adapt"),
        ({"inference": {"size": [32, 32]}}, "the tiles of this network must have 3 edges"),
        ({"patches": {"size": [16, 16]}}, "has 3 dimensions"),
        ({"data": {"inputs": ["t1"]}}, "learns from data.target"),
    ],
)
def test_recipe_against_method(cases, tmp_path, changes, said):
    with pytest.raises(UsageError, match=said):
        start({**tiny.recipe(), **changes}, cases, tmp_path / "run")


@pytest.mark.parametrize("option", ["devices", "nodes"])
def test_numbers_that_no_run_has(cases, tmp_path, option):
    with pytest.raises(UsageError, match=f"--{option} is 0, and must be at least 1"):
        start(tiny.RECIPE, cases, tmp_path / "run", **{option: 0})
    with pytest.raises(UsageError, match="--max-minutes is -1"):
        start(tiny.RECIPE, cases, tmp_path / "run", max_minutes=-1)


def test_a_cascade_of_one_subject(tmp_path):
    table = tiny.write_cases(tmp_path, train=1, val=0, test=0)
    with pytest.raises(UsageError, match="at least 2 training subjects"):
        start(tiny.recipe(config={"stages": 2}), table, tmp_path / "run")


def test_a_file_that_is_not_there(tmp_path):
    table = tiny.write_cases(tmp_path)
    (tmp_path / "case2_ct.nii.gz").unlink()
    for make in (start, prepare):
        with pytest.raises(InputError, match="case 'case2' names a file for 'ct' that is not there") as error:
            make(tiny.RECIPE, table, tmp_path / "run")
        assert error.value.where == tmp_path / "case2_ct.nii.gz"


def test_a_header_that_cannot_be_read(tmp_path):
    table = tiny.write_cases(tmp_path)
    (tmp_path / "case3_t1.nii.gz").write_bytes(b"no volume")
    with pytest.raises(InputError, match="case 'case3'"):
        start(tiny.RECIPE, table, tmp_path / "run")


def test_an_adaptation_without_a_second_domain(tmp_path):
    table = tiny_domains.write_domains(tmp_path)
    table.write_text(table.read_text().replace(",target,", ",source,"))
    with pytest.raises(InputError, match="training cases of domain 'target', and there is none"):
        start(tiny_domains.recipe(method="entropy_minimisation"), table, tmp_path / "run")


def test_a_domain_that_the_table_does_not_have(cases, tmp_path):
    with pytest.raises(InputError, match="no case has split 'train' and domain source"):
        start(tiny.recipe(data={"domains": ["source"]}), cases, tmp_path / "run")


@pytest.mark.parametrize("folder", ["run", "store"])
def test_folders_that_cannot_be_written(cases, tmp_path, folder):
    (tmp_path / "file").write_text("")
    places = {"run": tmp_path / "run", "store": tmp_path / "store", folder: tmp_path / "file" / "inside"}
    with pytest.raises(StorageError, match="a file, not a folder"):
        start(tiny.RECIPE, cases, places["run"], store=places["store"])


def test_a_disk_that_is_too_small(cases, tmp_path, monkeypatch):
    """20^3 voxels of four cases, of which image, target, body and mask take 10 bytes each."""
    free = {"bytes": 4 * 20**3 * 10 - 1}
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": free["bytes"]}))
    with pytest.raises(StorageError, match="not enough space on the disk"):
        start(tiny.RECIPE, cases, tmp_path / "run", store=tmp_path / "store")
    free["bytes"] = 10**9
    with pytest.raises(AssertionError, match="a case was prepared"):
        start(tiny.RECIPE, cases, tmp_path / "run", store=tmp_path / "store")


def test_a_precision_that_the_device_does_not_have(cases, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(engine, "available_devices", lambda: ["cpu", "mps"])
    with pytest.raises(UsageError, match="no precision bf16 on 'mps'"):
        train(tiny.RECIPE, cases, tmp_path / "run", device="mps", precision="bf16")
    monkeypatch.setattr(engine, "_has_bf16", lambda _: False)
    with pytest.raises(AssertionError, match="a case was prepared"):
        start(tiny.RECIPE, cases, tmp_path / "run", precision="bf16")
    assert "this cpu emulates bf16" in caplog.text


def test_splits_that_cannot_do_what_is_meant_are_warned_of(tmp_path, caplog):
    table = tiny.write_cases(tmp_path, train=1, val=0, test=0)
    with caplog.at_level(logging.WARNING), pytest.raises(AssertionError, match="a case was prepared"):
        start(tiny.RECIPE, table, tmp_path / "run")
    assert "no case has split 'val'" in caplog.text
    assert "one training subject" in caplog.text
