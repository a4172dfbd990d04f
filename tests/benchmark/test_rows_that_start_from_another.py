"""A row of a plan that begins with the weights of another row."""

import json
import sys

import pytest
import torch
from safetensors.torch import load_file
from two_domains import RECIPE, write_domains

from medgen.benchmark import Plan, run_benchmark
from medgen.benchmark.plan import choose_regimes
from medgen.benchmark.runs import plan_runs
from medgen.cases import read_cases
from medgen.errors import UsageError
from medgen.recipe.settings import load_recipe

STILL = {"config.learning_rate": 1e-12, "schedule.steps": 1, "schedule.validate_every": 1, "schedule.save_every": 1}
"""One step that changes nothing, so that the weights are those of the start."""


@pytest.fixture(scope="module")
def domains(tmp_path_factory):
    return write_domains(tmp_path_factory.mktemp("domains"))


def plan(**rows):
    first = {"source_only": {}, "more": {"like": "source_only", "start": "source_only", "set": STILL}}
    return Plan.model_validate({"regimes": first | rows, "references": ["source_only"]})


def planned(table, out, given=None, recipe=RECIPE, **options):
    rows = choose_regimes(plan=given or plan())
    return plan_runs(load_recipe(recipe), read_cases(table), rows, out, **{"seeds": 2} | options)


def test_each_seed_starts_from_the_same_seed_of_the_other_row(domains, tmp_path):
    runs = planned(domains, tmp_path)
    starts = {run.name: run.start.name for run in runs if run.start}
    assert starts == {f"more, seed {n}": f"source_only, seed {n}" for n in (0, 1)}
    assert [run.regime.name for run in runs] == ["source_only", "more"] * 2


def test_another_start_is_another_run(domains, tmp_path):
    usual = planned(domains, tmp_path)[1]
    recipe = load_recipe(RECIPE, ["schedule.steps=9"])
    moved = planned(domains, tmp_path, plan(more={"like": "source_only", "start": "source_only", "set": {
        **STILL, "schedule.steps": 1}}), recipe)[1]  # fmt: skip
    own = planned(domains, tmp_path, plan(more={"like": "source_only", "set": STILL}))[1]
    assert usual.recipe == moved.recipe == own.recipe
    assert len({run.hashes["settings"] for run in (usual, moved, own)}) == 3


@pytest.mark.parametrize("names", [["more"], ["more", "source_only"]])
def test_a_start_that_is_not_run_before_is_refused(names):
    with pytest.raises(UsageError, match="'more' starts from 'source_only', which is not run before it"):
        choose_regimes(names, plan())


def test_a_start_with_fewer_seeds_is_refused(domains, tmp_path):
    rows = plan(source_only={"seeds": 1}, more={"like": "source_only", "start": "source_only", "seeds": 2})
    with pytest.raises(UsageError, match="has a seed 1, and the row 'source_only', where it starts, has not"):
        planned(domains, tmp_path, rows)


@pytest.mark.parametrize("row", [{"set": {**STILL, "config.width": 0.25}}, {"like": "without_shifted", "set": STILL}])
def test_a_network_that_the_start_fills_only_partly_is_refused(domains, tmp_path, row):
    rows = plan(more={"like": "source_only", "start": "source_only"} | row)
    with pytest.raises(UsageError, match=r"'more' starts from 'source_only' and cannot take \d+ of \d+ tensors"):
        planned(domains, tmp_path, rows)


@pytest.mark.parametrize("method", ["confirmed_candidates", "mean_teacher"])
def test_networks_of_another_name_that_are_copies_are_filled_too(domains, tmp_path, method):
    rows = {"more": {"like": method, "start": "source_only", "set": STILL}}
    if method == "confirmed_candidates":  # the network of its teachers is not that of one network
        without = {**STILL, "config.begin": 0, "config.teach": 0}
        rows = {"teachers": {"like": method}, "taught": {"like": method, "start": "teachers", "set": without}}
    last = planned(domains, tmp_path, plan(**rows), seeds=1)[-1]
    assert last.start.regime.name == ("teachers" if method == "confirmed_candidates" else "source_only")


def test_its_weights_are_those_of_the_start_however_many_run_at_once(domains, tmp_path):
    out = tmp_path / "out"
    found = run_benchmark(RECIPE, domains, out, plan=plan(), seeds=1, workers=2, device="cpu")
    found.require_complete()
    first, second = (
        load_file(out / "runs" / name / "seed0" / "model" / "weights.safetensors") for name in ("source_only", "more")
    )
    assert all(
        torch.allclose(tensor, second[name], atol=1e-6) for name, tensor in first.items() if "running" not in name
    )
    facts = json.loads((out / "benchmark.json").read_text())
    assert facts["regimes"]["more"]["start"] == "source_only"
    assert "begins with the weights of source_only" in (out / "benchmark.md").read_text()
    assert all(run.done for run in planned(domains, out, seeds=1))


def test_a_start_that_fails_takes_its_followers_with_it(domains, tmp_path, monkeypatch):
    monkeypatch.setattr("medgen.benchmark.running.WORKER", (sys.executable, "-c", "raise SystemExit(1)"))
    found = run_benchmark(RECIPE, domains, tmp_path / "out", plan=plan(), seeds=1, device="cpu")
    reasons = {failure.run: failure.reason for failure in found.failed}
    assert reasons["source_only, seed 0"].startswith("the process ended with code 1")
    assert reasons["more, seed 0"] == "source_only, seed 0, from which it starts, failed"
