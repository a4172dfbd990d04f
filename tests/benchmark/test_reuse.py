"""A benchmark takes models from another one with the same training."""

import csv
import json
import shutil

import pytest
from two_domains import RECIPE, write_domains
from without_processes import runs_in_this_process

from medgen.benchmark import Plan, run_benchmark
from medgen.errors import InputError, UsageError

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


STILL = {"schedule.steps": 1, "schedule.validate_every": 1, "schedule.save_every": 1}
ROWS = {"source_only": {}, "more": {"like": "source_only", "start": "source_only", "set": STILL}}


def test_a_row_that_starts_from_another_is_taken_over_with_the_same_start_alone(first, tmp_path):
    """The target's test images differ; ``more`` begins with ``source_only``, which is taken over first."""
    _, table = first
    plan = Plan.model_validate({"regimes": ROWS, "references": ["source_only"]})
    options = {"plan": plan, "seeds": 1, "device": "cpu"}
    run_benchmark(RECIPE, table.parent.parent / "domains" / table.name, tmp_path / "one", **options).require_complete()
    run_benchmark(RECIPE, table, tmp_path / "two", reuse=[tmp_path / "one"], **options).require_complete()
    assert trained_at(tmp_path / "one", "more") == trained_at(tmp_path / "two", "more")
    shutil.copytree(tmp_path / "one", tmp_path / "changed")
    manifest = tmp_path / "changed" / "runs" / "more" / "seed0" / "run.json"
    facts = json.loads(manifest.read_text())
    facts["init_from"]["weights_sha256"] = "0" * 64
    manifest.write_text(json.dumps(facts))
    run_benchmark(RECIPE, table, tmp_path / "three", reuse=[tmp_path / "changed"], **options).require_complete()
    reused = [json.loads((tmp_path / name / "benchmark.json").read_text())["regimes"]["more"]["models_reused"]
              for name in ("two", "three")]  # fmt: skip
    assert reused == [1, 0]


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


def other_version(run):
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"medgen": "0.0.0"}))


def cut_off(name):
    def cut(run):
        (run / name).write_bytes((run / name).read_bytes()[:-40])

    return cut


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (other_version, None),
        (lambda run: shutil.rmtree(run / "model"), "cannot serve"),
        (cut_off("model/weights.safetensors"), "weights are damaged"),
        (cut_off("run.json"), "the record of the run is damaged"),
        (cut_off("benchmark_run.json"), "the record of the run is damaged"),
    ],
)
def test_what_cannot_serve_is_trained_here(first, tmp_path, caplog, damage, words):
    table, one = first[1], OPTIONS | {"regimes": ["source_only"]}
    shutil.copytree(first[0], tmp_path / "done")
    damage(tmp_path / "done/runs/source_only/seed0")
    run_benchmark(RECIPE, table, tmp_path / "out", reuse=[tmp_path / "done"], **one).require_complete()
    assert not (tmp_path / "out/runs/source_only/seed0/reused.json").exists()
    assert trained_at(first[0], "source_only")[0] == trained_at(tmp_path / "out", "source_only")[0]
    assert (words or "") in caplog.text


def test_a_damaged_record_is_named(first, tmp_path):
    shutil.copytree(first[0], tmp_path / "done")
    cut_off("benchmark_run.json")(tmp_path / "done/runs/source_only/seed0")
    with pytest.raises(InputError, match="the record of the run is damaged") as caught:
        run_benchmark(RECIPE, first[1], tmp_path / "done", **OPTIONS)
    assert "benchmark_run.json" in str(caught.value)
    assert "remove this folder" in caught.value.fix


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
