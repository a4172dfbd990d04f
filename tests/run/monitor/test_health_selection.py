"""Choosing the model by what needs no label of the target: the rule, a run, its resumption, and what is refused."""

import json
import math
import os
import signal

import pytest
import torch

from medgen.benchmark.regimes import REGIMES, derive_recipe
from medgen.errors import InputError, Preempted, UsageError
from medgen.recipe.settings import load_recipe
from medgen.run.experiment import train
from medgen.run.monitor import SELECTION, MonitorRecord, adaptation_manifest, choose_record, kept_records
from medgen.run.monitor.snapshots import list_snapshots
from medgen.training.checkpoint import load_weights
from tests.tiny_domains import recipe, write_domains

GOOD = {
    "source_dice": 0.6,
    "entropy_source": 0.05,
    "entropy_target": 0.06,
    "volume_source": 10.0,
    "volume_target": 11.0,
    "agreement_target": 0.9,
    **{f"domain_accuracy{end}/8": 0.6 for end in ("", "_low", "_high")},
}
BEFORE = {**GOOD, "entropy_target": 0.2, "volume_target": 45.0, "agreement_target": 0.7}
WORSE = {**GOOD, "entropy_target": 0.1, "volume_target": 20.0, "agreement_target": 0.8}
DROWNED = {**GOOD, "volume_target": 900.0}
FORGOTTEN = {**GOOD, "source_dice": 0.3}


def looks(*signals):
    """The first one from before the target had a say."""
    return [MonitorRecord(100 * number + 99, each, warming_up=number == 0) for number, each in enumerate(signals)]


# The rule.


def test_the_best_mean_rank_is_chosen():
    step, reason = choose_record(looks(BEFORE, WORSE, GOOD, WORSE))
    assert step == 299
    # Source Dice and probes are equal (2 each); entropy, volume and agreement rank it 3 of 3: (2 + 3 + 3 + 3 + 2) / 5.
    assert reason == "mean rank 2.6 of 3 validations that could be chosen"


def test_one_signal_does_not_outvote_the_others():
    sure = {**WORSE, "agreement_target": 1.0}
    assert choose_record(looks(BEFORE, GOOD, sure)).step == 199


def test_of_equals_the_last_is_chosen():
    assert choose_record(looks(BEFORE, GOOD, WORSE, GOOD)).step == 399


def test_neither_a_collapsed_validation_nor_one_from_before_is_chosen():
    assert choose_record(looks({**GOOD, "agreement_target": 1.0}, WORSE, FORGOTTEN)).step == 199
    assert choose_record(looks(BEFORE, DROWNED, WORSE)).step == 299


def test_a_signal_that_was_not_always_measured_has_no_say():
    unmeasured = {**GOOD, "agreement_target": math.nan}
    worse_but_agreeing = {**WORSE, "agreement_target": 1.0}
    assert choose_record(looks(BEFORE, unmeasured, worse_but_agreeing)).step == 199


@pytest.mark.parametrize(
    ("signals", "reason"),
    [
        ((BEFORE, FORGOTTEN, DROWNED), "since adaptation began, all 2 that there were are collapsed"),
        ((BEFORE,), "no validation can be chosen: since adaptation began, there was none"),
        ((BEFORE, {}), "no signal was measured at all of them"),
    ],
)
def test_where_no_validation_can_be_chosen_it_says_why(signals, reason):
    found = choose_record(looks(*signals))
    assert found.step is None
    assert reason in found.reason
    assert kept_records(looks(*signals), "health") == looks(*signals)


def test_the_verdict_is_that_of_the_kept_weights():
    seen = looks(BEFORE, GOOD, FORGOTTEN)
    assert kept_records(seen, "health") == seen[:2]
    assert kept_records(seen, "last") == kept_records(seen, "best") == seen


# A run.

CHANGES = {
    "method": "entropy_minimisation",
    "config": {"entropy_begin": 0.25, "entropy_full": 0.5},
    "schedule": {"steps": 8, "validate_every": 2, "keep": "health"},
}


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return write_domains(tmp_path_factory.mktemp("domains"), train=1, val=1)


def adapt(cases, run, monkeypatch, signals, **options):
    """A run whose looks see what is given, one after the other."""
    given = iter(signals)
    monkeypatch.setattr("medgen.run.monitor.monitor.measure", lambda *_, **__: next(given))
    return train(recipe(**CHANGES), cases, run, device="cpu", store=cases.parent / "store", **options)


def model(run):
    return {
        name.removeprefix("stage0."): each for name, each in load_weights(run / "model/weights.safetensors").items()
    }


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def facts(run):
    return json.loads((run / "run.json").read_text())["adaptation"]


@pytest.fixture
def chosen(cases, tmp_path, monkeypatch):
    """Looks after 2, 4, 6 and 8 steps; the third is the best."""
    return adapt(cases, tmp_path / "chosen", monkeypatch, (BEFORE, WORSE, GOOD, WORSE))


def test_the_weights_of_the_chosen_validation_become_the_model(chosen):
    snapshots = list_snapshots(chosen)
    assert list(snapshots) == [1, 3, 5, 7]
    assert same(model(chosen), load_weights(snapshots[5]))
    assert not same(model(chosen), load_weights(snapshots[7]))
    assert json.loads((chosen / "checkpoints/stage0/done.json").read_text())["healthy_step"] == 6


def test_the_facts_are_about_the_kept_weights(chosen):
    said = facts(chosen)
    assert said["kept"] == {
        "by": "health",
        "step": 5,
        "reason": "mean rank 2.6 of 3 validations that could be chosen",
        "rule": SELECTION,
    }
    assert said["step"] == 5
    assert said["signals"]["volume_target"] == 11.0
    assert said["verdict"] == "healthy"
    assert "kept" not in adaptation_manifest(chosen, keep="last")
    assert adaptation_manifest(chosen, keep="last")["step"] == 7


def test_a_resumed_run_chooses_the_same(cases, chosen, tmp_path, monkeypatch):
    def progress(done, _, what):
        if "stage" in what and done == 7:  # after the look that is to be chosen
            os.kill(os.getpid(), signal.SIGTERM)

    run = tmp_path / "resumed"
    with pytest.raises(Preempted):
        adapt(cases, run, monkeypatch, (BEFORE, WORSE, GOOD), progress=progress)
    adapt(cases, run, monkeypatch, (WORSE,), resume=True)
    assert same(model(run), model(chosen))
    assert facts(run) == facts(chosen)


def test_without_a_validation_to_choose_the_last_weights_are_kept_and_it_is_said(cases, tmp_path, monkeypatch, caplog):
    run = adapt(cases, tmp_path / "run", monkeypatch, (BEFORE, FORGOTTEN, DROWNED, FORGOTTEN))
    why = "no validation can be chosen: since adaptation began, all 3 that there were are collapsed"
    assert f"stage0: the weights of the last step are kept: {why}" in caplog.text
    assert same(model(run), load_weights(list_snapshots(run)[7]))
    said = facts(run)
    assert said["verdict"] == "collapsed"
    assert said["reason"].endswith(f"{why}, so the weights of the last step were kept")
    assert (said["kept"]["step"], said["kept"]["reason"]) == (7, why)


def test_in_a_benchmark_rows_without_adaptation_keep_the_best():
    base = load_recipe(recipe(**CHANGES))
    kept = {
        name: derive_recipe(base, REGIMES[name], shifted=None, seed=0).schedule.keep
        for name in ("source_only", "adapted")
    }
    assert kept == {"source_only": "best", "adapted": "health"}


# What is refused, before anything is prepared.


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"method": "segmentation", "config": {}, "data": {"domains": ["source"]}}, "does not adapt"),
        ({"schedule": {**CHANGES["schedule"], "health": None}}, "schedule.health is null"),
    ],
)
def test_what_leaves_nothing_to_choose_by_is_refused(cases, tmp_path, changes, what):
    with pytest.raises(UsageError, match=what) as refusal:
        train(recipe(**{**CHANGES, **changes}), cases, tmp_path / "run", device="cpu")
    assert "set schedule.keep to" in refusal.value.fix
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("missing", ["source", "target"])
def test_held_out_cases_of_both_domains_are_asked_for(cases, tmp_path, missing):
    rows = [line for line in cases.read_text().splitlines() if f"val,{missing}" not in line]
    table = cases.with_name(f"without_{missing}.csv")
    table.write_text("\n".join(rows) + "\n")
    with pytest.raises(InputError, match=f"no case of domain '{missing}' has split 'val'"):
        train(recipe(**CHANGES), table, tmp_path / "run", device="cpu")
