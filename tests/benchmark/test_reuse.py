"""A benchmark takes models from another one with the same training."""

import csv
import json
import shutil

import pytest
from two_domains import RECIPE, write_domains
from without_processes import runs_in_this_process

from medgen import __version__
from medgen.benchmark import run_benchmark
from medgen.benchmark.reuse import _same_version
from medgen.errors import UsageError

OPTIONS = {"regimes": ["source_only", "target_only"], "seeds": 1, "device": "cpu"}


@pytest.fixture(scope="module", autouse=True)
def no_processes():
    with runs_in_this_process():
        yield


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A benchmark, and a second table whose target test images differ."""
    folder = tmp_path_factory.mktemp("reuse")
    table = write_domains(folder / "domains")
    run_benchmark(RECIPE, table, folder / "first", **OPTIONS).require_complete()
    other = folder / "other"
    shutil.copytree(table.parent, other)
    rows = list(csv.DictReader((other / table.name).open()))
    tests = [row for row in rows if row["split"] == "test" and row["domain"] == "target"]
    one, two = ({key: row[key] for key in row if key not in ("case", "split", "domain")} for row in tests[:2])
    tests[0].update(two)
    tests[1].update(one)
    with (other / table.name).open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder / "first", other / table.name


def trained_at(out, regime):
    folder = out / "runs" / regime / "seed0"
    return (folder / "model" / "weights.safetensors").read_bytes(), (folder / "run.json").read_bytes()


def test_what_was_trained_is_not_trained_again_but_tested(first, tmp_path):
    done, table = first
    run_benchmark(RECIPE, table, tmp_path / "second", reuse=[done], **OPTIONS).require_complete()
    for regime in OPTIONS["regimes"]:
        assert trained_at(done, regime) == trained_at(tmp_path / "second", regime)  # also when it was trained
        old, new = (out / "runs" / regime / "seed0" / "benchmark_run.json" for out in (done, tmp_path / "second"))
        assert json.loads(old.read_text())["splits"]["train"] == json.loads(new.read_text())["splits"]["train"]
        counts = [json.loads((out / "benchmark.json").read_text())["regimes"][regime]["models_reused"]
                  for out in (done, tmp_path / "second")]  # fmt: skip
        assert counts == [0, 1]


def test_a_model_of_another_version_is_not_taken(tmp_path):
    manifest = tmp_path / "run.json"
    assert not _same_version(manifest)
    for version, same in ((__version__, True), ("0.0.0", False)):
        manifest.write_text(json.dumps({"medgen": version}))
        assert _same_version(manifest) == same


@pytest.mark.parametrize("change", ["schedule.steps=3", "seed=7"])
def test_another_recipe_is_trained(first, tmp_path, change):
    done, table = first
    one = OPTIONS | {"regimes": ["source_only"]}
    run_benchmark(RECIPE, table, tmp_path / "out", reuse=[done], overrides=[change], **one).require_complete()
    assert trained_at(done, "source_only")[1] != trained_at(tmp_path / "out", "source_only")[1]
    assert trained_at(done, "source_only")[0] != trained_at(tmp_path / "out", "source_only")[0]


def test_a_folder_without_a_benchmark_is_refused(first, tmp_path):
    with pytest.raises(UsageError, match="there is no benchmark to reuse"):
        run_benchmark(RECIPE, first[1], tmp_path / "out", reuse=[tmp_path / "nothing"], **OPTIONS)
