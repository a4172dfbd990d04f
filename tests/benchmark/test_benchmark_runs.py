import json
import os
import re
import sys

import pytest
from two_domains import RECIPE, write_domains

from medgen.benchmark import run_benchmark
from medgen.benchmark.plan import choose_regimes
from medgen.benchmark.running import environment, run_all
from medgen.benchmark.runs import plan_runs, read_facts
from medgen.benchmark.table import verdicts
from medgen.benchmark.worker import execute
from medgen.benchmark.worker import main as worker_main
from medgen.cases import read_cases
from medgen.cli import main
from medgen.errors import CasesFailed, Preempted, UsageError
from medgen.recipe.settings import load_recipe
from medgen.run.experiment import train
from medgen.training.stopping import StopRequest


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_domains(tmp_path_factory.mktemp("domains"))


def planned(table, out, *names, **options):
    return plan_runs(load_recipe(RECIPE), read_cases(table), choose_regimes(names), out, seeds=1, **options)


@pytest.fixture(scope="module")
def finished(table, tmp_path_factory):
    """One row, made in a process of its own."""
    out, told = tmp_path_factory.mktemp("benchmark") / "out", []
    options = {"regimes": ["source_only"], "seeds": 1, "workers": 2, "device": "cpu"}
    return run_benchmark(RECIPE, table, out, progress=lambda *each: told.append(each), **options), told


def test_one_process_makes_one_row(finished):
    result, told = finished
    result.require_complete()
    assert [(row.name, row.target.seeds) for row in result.rows] == [("source_only", (0,))]
    assert told[0] == (0, 1, "benchmark")
    assert told[-1] == (1, 1, "source_only, seed 0: done")
    # At most one line a second comes out of the process, the first at once: which one follows is a matter of its speed.
    assert any(re.fullmatch(r"source_only, seed 0: \d+/\d+ .+", what) for _, _, what in told)


SAYS_WHY = """
import json, sys
print("a library prints")
print(json.dumps({"done": 1, "total": 9, "what": "working"}))
print(json.dumps({"error": {"what": "it fell over", "where": "/home/ada/t1.nii.gz", "fix": "lift it up"}}))
sys.exit(3)
"""


def test_failed_runs_are_listed_with_their_reasons(table, tmp_path, monkeypatch):
    monkeypatch.setattr("medgen.benchmark.running.WORKER", (sys.executable, "-c", SAYS_WHY))
    told = []
    options = {"regimes": ["both", "target_only"], "seeds": 1, "progress": lambda *each: told.append(each)}
    result = run_benchmark(RECIPE, table, tmp_path / "out", **options)
    assert [failure.run for failure in result.failed] == ["both, seed 0", "target_only, seed 0"]
    assert result.failed[0].reason == "it fell over; in t1.nii.gz; lift it up"
    assert result.failed[0].folder == "runs/both/seed0"
    assert (0, 2, "both, seed 0: 1/9 working") in told
    with pytest.raises(CasesFailed, match="2 runs failed; both, seed 0: it fell over"):
        result.require_complete()
    assert json.loads((tmp_path / "out" / "benchmark.json").read_text())["failed"][1]["run"] == "target_only, seed 0"


def test_a_process_that_is_killed_is_a_failed_run(table, tmp_path, monkeypatch):
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    monkeypatch.setattr("medgen.benchmark.running.WORKER", (sys.executable, "-c", killed))
    result = run_benchmark(RECIPE, table, tmp_path / "out", regimes=["both"], seeds=1)
    assert "ended with code -9; see worker.log" in result.failed[0].reason


def test_no_process_outlives_the_benchmark(table, tmp_path, monkeypatch):
    place, whole = tmp_path / "pid", tmp_path / "whole"
    waits = f"""
import os, pathlib, time
pathlib.Path({str(place)!r} + ".part").write_text(str(os.getpid()))
os.replace({str(place)!r} + ".part", {str(place)!r})
time.sleep(60)
pathlib.Path({str(whole)!r}).touch()
"""

    class StartedAndStopped(StopRequest):
        reason = property(lambda self: "the test" if place.is_file() else "")

    monkeypatch.setattr("medgen.benchmark.running.WORKER", (sys.executable, "-c", waits))
    monkeypatch.setattr("medgen.benchmark.running.StopRequest", StartedAndStopped)
    result = run_benchmark(RECIPE, table, tmp_path / "out", regimes=["both"], seeds=1)
    assert (result.stopped, result.failed) == ("the test", ())
    assert not whole.exists()  # it did not just come to its end
    with pytest.raises(ProcessLookupError):
        os.kill(int(place.read_text()), 0)


def test_a_worker_says_what_was_wrong(table, tmp_path, capsys):
    nobody = load_recipe(RECIPE, ["patches.sampling=balanced", "data.classes={lesion: [7]}"])
    (run,) = plan_runs(nobody, read_cases(table), choose_regimes(["both"]), tmp_path, seeds=1)
    run.write()
    assert worker_main([str(run.folder), "--store", str(tmp_path / "store"), "--device", "cpu"]) == 3
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert said[-1]["error"]["what"] == "sampling is balanced, but no case has a labelled voxel"
    assert said[-1]["error"]["fix"] == "name data.labels, or sample uniformly"
    assert {"done", "total", "what"} <= said[0].keys()


def test_a_run_has_all_its_files(finished):
    folder = finished[0].output / "runs" / "source_only" / "seed0"
    facts = read_facts(folder)
    assert facts["finished"]
    assert set(facts["seconds"]) == {"training", "testing_target", "testing_source"}
    assert set(facts["splits"]) == {"train", "val", "test_target", "test_source"}
    assert all(len(value) == 64 for value in facts["splits"].values())
    scores = json.loads((folder / "scores.json").read_text())
    assert [row["case"] for row in scores["cases"]] == ["target3", "target4"]
    assert [row["case"] for row in json.loads((folder / "scores_source.json").read_text())["cases"]] == [
        "source3",
        "source4",
    ]
    assert (folder / "predictions" / "target" / "target3" / "target3_label.nii.gz").is_file()
    assert (folder / "model" / "model.json").is_file()
    assert {path.name for path in finished[0].output.glob("benchmark*")} == {
        "benchmark.csv",
        "benchmark.json",
        "benchmark.md",
        "benchmark.png",
        "benchmark.svg",
        "benchmark_cases.csv",
    }
    assert str(finished[0].output) not in (finished[0].output / "benchmark.json").read_text()


def test_what_is_done_is_not_done_again(finished, table, capsys):
    out = finished[0].output
    weights = out / "runs" / "source_only" / "seed0" / "model" / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    recipe = out / "recipe.yaml"
    recipe.write_text(json.dumps(RECIPE))  # JSON is YAML
    words = f"benchmark {recipe} --cases {table} --out {out} --regimes source_only --seeds 1 --set schedule.workers=1"
    with pytest.raises(SystemExit) as exit_:
        main(words.split())
    assert exit_.value.code is None or exit_.value.code == 0
    heading, row, last = capsys.readouterr().out.splitlines()
    assert heading.startswith("regime\tseeds\tDSC on T")
    assert row.startswith("train on S\t1\t")
    assert last == str(out)
    assert weights.stat().st_mtime_ns == before


def test_a_run_of_other_settings_is_refused(finished, table):
    with pytest.raises(UsageError, match="with another recipe or other cases"):
        run_benchmark(RECIPE, table, finished[0].output, regimes=["source_only"], overrides=["schedule.steps=5"])


def test_a_run_from_before_a_key_was_known_is_still_the_same(finished, table):
    (run,) = planned(table, finished[0].output, "source_only")
    path = run.folder / "benchmark_run.json"
    before = path.read_text()
    facts = json.loads(before)
    del facts["recipe"]["schedule"]["clip"]
    path.write_text(json.dumps(facts))
    assert run.done
    facts["recipe"]["schedule"]["clip"] = 1.0
    path.write_text(json.dumps(facts))
    assert not run.done
    facts["recipe"]["schedule"] = {"long_gone": 1}
    path.write_text(json.dumps(facts))
    with pytest.raises(UsageError, match="another recipe"):
        run.require_same()
    path.write_text(before)


def test_time_that_is_up_starts_nothing_and_can_go_on(table, tmp_path):
    result = run_benchmark(RECIPE, table, tmp_path / "out", regimes=["both"], seeds=1, max_minutes=0)
    assert (result.rows, result.stopped) == ((), "the limit in minutes")
    assert "No run has scores yet" in (tmp_path / "out" / "benchmark.md").read_text()
    with pytest.raises(Preempted, match="before all runs were finished"):
        result.require_complete()


def test_an_interrupted_run_goes_on_where_it_was(table, tmp_path):
    (run,) = planned(table, tmp_path, "adapted")
    run.write()
    with pytest.raises(Preempted):
        train(run.recipe, run.folder / "cases.csv", run.folder, device="cpu", store=tmp_path / "store", max_minutes=0)
    assert not run.done
    assert not (run.folder / "model").exists()
    execute(run.folder, store=tmp_path / "store", device="cpu")
    assert run.done
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "losses" in line] == [0, 3]  # the first before, the last after
    assert list(verdicts([run])) == [0]
    assert json.loads((run.folder / "scores.json").read_text())["task"] == "segmentation"


def test_separate_channels_predict_cases_of_both_domains(table, tmp_path):
    (run,) = planned(table, tmp_path, "both_separate")
    run.write()
    execute(run.folder, store=tmp_path / "store", device="cpu")
    for name in ("scores.json", "scores_source.json"):
        assert json.loads((run.folder / name).read_text())["failed"] == []


def test_what_there_is_is_shown_after_each_run_but_the_last(table, tmp_path, monkeypatch):
    scored = "import json, sys; p = sys.argv[-1] + '/benchmark_run.json'; facts = json.load(open(p)); facts['finished']"
    scored += " = True; json.dump(facts, open(p, 'w'))"
    monkeypatch.setattr("medgen.benchmark.running.WORKER", (sys.executable, "-c", scored))
    runs, shown = planned(table, tmp_path, "both", "target_only", "source_only"), []
    outcome = run_all(runs, tmp_path, after_each=lambda outcome: shown.append([run.done for run in runs]))
    assert shown == [[True, False, False], [True, True, False]]  # the caller shows the last one
    assert outcome.failed == []


def test_table_only_starts_nothing(table, tmp_path):
    result = run_benchmark(RECIPE, table, tmp_path / "out", regimes=["both"], table_only=True)
    assert result.rows == ()
    assert not (tmp_path / "out" / "runs").exists()
    facts = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    assert facts["references"] == ["source_only", "without_shifted"]


def test_the_references_of_a_plan_reach_the_table(table, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("medgen.benchmark.tabulate", lambda *_, references: asked.append(tuple(references)) or ())
    plan = tmp_path / "rows.yaml"
    plan.write_text("references: [both]\nregimes: {source_only: , both: }\n")
    run_benchmark(RECIPE, table, tmp_path / "out", plan=plan, table_only=True)
    assert asked == [("both",)]
    assert json.loads((tmp_path / "out" / "benchmark.json").read_text())["references"] == ["both"]


@pytest.mark.parametrize("wrong", [{"seeds": 0}, {"workers": 0}])
def test_numbers_are_positive(table, tmp_path, wrong):
    with pytest.raises(UsageError, match="must be at least 1, got 0"):
        run_benchmark(RECIPE, table, tmp_path / "out", **wrong)


def test_each_worker_gets_its_share_of_the_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert environment(3)["OMP_NUM_THREADS"] == "2"
    assert environment(20)["MKL_NUM_THREADS"] == "1"
