"""When a training ends before its last step, by what a probe of unseen patients says; and which weights stay."""

import json
import math
import os
import signal

import pytest
import torch

from medgen.benchmark.regimes import REGIMES, derive_recipe
from medgen.cases import Case
from medgen.errors import InputError, Preempted, UsageError
from medgen.methods.catalogue import resolve
from medgen.metrics.domain import wilson
from medgen.recipe.settings import Schedule, load_recipe
from medgen.report.health import health_panel
from medgen.run.experiment import train
from medgen.run.monitor import (
    LIMITS,
    SELECTION,
    STOPPING,
    MonitorRecord,
    adaptation_manifest,
    choose_weights,
    find_stop,
    judge,
    kept_records,
)
from medgen.run.monitor import read_records as records_of
from medgen.run.monitor.monitor import require_selection
from medgen.run.monitor.snapshots import list_snapshots
from medgen.run.monitor.verdict import interval_of
from medgen.training.checkpoint import load_weights
from tests.tiny_domains import recipe, write_domains

LAYERS = ("4", "6", "8", "10")


def probed(early=0.7, *late, answers=86, **signals):
    """The signals of a validation: accuracies of the early layers, and of the late ones, 8 and 10."""
    values = dict(zip(LAYERS, (early, early, *(late or (early, early))), strict=True))
    found = {"source_dice": 0.6, "entropy_source": 0.05, "entropy_target": 0.06, "agreement_target": 0.9}
    found |= {"volume_source": 10.0, "volume_target": 11.0, "discriminator_accuracy": 0.5}
    for layer, value in values.items():
        low, high = wilson(value, answers)
        ends = {"": value, "_low": low, "_high": high}
        found |= {f"domain_accuracy{end}/{layer}": each for end, each in ends.items()}
    return found | signals


BEFORE = probed(0.71)  # the pilot: 0.71 before, 0.91 after a strong adversary
SAME = probed(0.74)
APART = probed(0.71, 0.72, 0.91)
FAR = probed(0.97)  # what is to be adapted away
CHANCE = probed(0.97, 0.53, 0.48)
FORGOTTEN = probed(0.71, source_dice=0.3)


def looks(*signals, warm=1):
    return [MonitorRecord(100 * number + 99, each, number < warm) for number, each in enumerate(signals)]


# The rule.


@pytest.mark.parametrize(
    ("signals", "step", "cause", "reason"),
    [
        ((BEFORE, SAME, FORGOTTEN), 299, "collapsed", "the source Dice fell to 0.30 from 0.60 at step 99"),
        ((BEFORE, APART), 199, "pushed apart", "better than before adaptation (10: 0.91 [0.83, 0.95], before 0.71"),
        ((FAR, CHANCE, CHANCE), 299, "goal reached", "8: 0.53 [0.43, 0.63], before 0.97 [0.91, 0.99]; 10: 0.48"),
        ((FAR, CHANCE, probed(0.2)), 299, "goal reached", "twice in a row no late layer"),  # below chance
        ((BEFORE, FORGOTTEN, APART), 199, "collapsed", ""),  # the first one counts
    ],
)
def test_what_ends_a_training(signals, step, cause, reason):
    found = find_stop(looks(*signals))
    assert (found.step, found.cause) == (step, cause)
    assert reason in found.reason
    assert found.harmful == (cause != "goal reached")
    assert find_stop(looks(*signals), "never") is None


@pytest.mark.parametrize(
    "signals",
    [
        (BEFORE, SAME, SAME),
        (BEFORE, probed(0.71, 0.71, 0.85)),  # worse, but the intervals overlap
        # The pilot by the default of four patients and 32 segments.
        (probed(0.71, answers=24), probed(0.71, 0.9, 0.91, answers=24)),
        (BEFORE, probed(0.91, 0.71, 0.71)),  # early layers may see the scanner
        ({**BEFORE, "source_dice": 0.05}, APART),  # features of a network that had learnt nothing
        (BEFORE, {**APART, **{name: math.nan for name in APART if name.startswith("domain")}}),
        (FAR, CHANCE),  # once is not enough
        (FAR, CHANCE, probed(0.97, 0.53, 0.8), CHANCE),  # nor twice with another one between
        (FAR, probed(0.97, 0.5, 0.8), probed(0.97, 0.5, 0.8)),  # in every late layer
        (FAR, {**CHANCE, "volume_target": 49.0}, {**CHANCE, "domain_accuracy_low/10": math.nan}),
        (FAR, *[{**CHANCE, "source_dice": math.nan}] * 2),  # not known to be healthy
        # Four patients: 0.72 before and 0.65 after are not told from chance, nor from each other.
        (probed(0.72, answers=24), *[probed(0.65, answers=24)] * 2),
        (probed(0.5), *[probed(0.5)] * 2),  # nothing to reach
        (probed(0.5), probed(0.2)),  # the validation from before is none of the two
    ],
)
def test_what_does_not_end_it(signals):
    assert find_stop(looks(*signals)) is None


def test_nothing_ends_before_adaptation_begins():
    assert find_stop(looks(BEFORE, FORGOTTEN, APART, warm=3)) is None
    # The goal is not asked for twice over the beginning.
    assert find_stop(looks(FAR, FAR, CHANCE, warm=2)) is None
    # Compared is the last validation before, not the first.
    assert find_stop(looks(probed(0.5), APART, APART, warm=2)) is None


def test_without_a_validation_before_adaptation_only_a_collapse_is_found():
    assert find_stop(looks(BEFORE, APART, warm=0)) is None
    assert find_stop(looks(FAR, CHANCE, CHANCE, warm=0)) is None
    assert find_stop(looks(BEFORE, FORGOTTEN, warm=0)).cause == "collapsed"


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0, math.nan])
@pytest.mark.parametrize(
    "signals",
    [(BEFORE, SAME, SAME), (BEFORE, SAME, FORGOTTEN), (BEFORE, SAME, APART), (FAR, CHANCE, CHANCE), (FAR, FAR, FAR)],
)
def test_the_discriminators_own_accuracy_decides_nothing(signals, value):
    plain = looks(*signals)
    accuracy = {f"discriminator_accuracy{end}": value for end in ("", "_low", "_high")}
    for changed in ((0,), (1,), (2,), (0, 1, 2)):  # in one of the validations, or in all
        other = looks(*({**each, **accuracy} if number in changed else each for number, each in enumerate(signals)))
        assert [judge(other[: n + 1]) for n in range(len(other))] == [judge(plain[: n + 1]) for n in range(len(plain))]
        assert find_stop(other) == find_stop(plain)
        for keep in ("last", "health"):
            assert choose_weights(other, keep, "probe") == choose_weights(plain, keep, "probe")
    assert "discriminator decides nothing" in STOPPING


@pytest.mark.parametrize(
    ("signals", "last", "health"),
    [
        ((BEFORE, SAME, FORGOTTEN), 199, 199),
        ((BEFORE, SAME, SAME, APART), 299, 299),  # of equals the last
        ((BEFORE, {**SAME, "agreement_target": 0.95}, SAME, APART), 299, 199),
        ((BEFORE, SAME, {**APART, "agreement_target": 1.0, "source_dice": 0.9}), 199, 199),  # however well it ranks
        ((BEFORE, APART), 99, 99),  # from before adaptation, for want of another
        ((FAR, CHANCE, CHANCE), None, 299),
        ((BEFORE, SAME), None, 199),
    ],
)
def test_which_weights_stay(signals, last, health):
    records = looks(*signals)
    for keep, step in (("last", last), ("best", last), ("health", health)):
        assert choose_weights(records, keep, "probe").step == step
        kept = kept_records(records, keep, "probe")
        assert kept[-1].step == (records[-1].step if step is None else step)


def test_where_the_first_validation_of_all_is_collapsed_nothing_else_is_there_to_keep():
    assert choose_weights(looks({**BEFORE, "entropy_target": 0.9}, warm=0), "last", "probe").step is None


# What is said.


def test_the_panel_says_why_it_ended_and_what_a_verdict_cannot_know():
    panel = health_panel(looks(BEFORE, SAME, APART), "last", "probe")
    assert panel.stopped.startswith("The training ended at step 300: pushed apart: a fresh probe")
    assert (panel.step, panel.word, panel.good) == (200, "healthy", False)
    assert panel.stopping == STOPPING
    assert panel.limits == LIMITS
    assert health_panel(looks(FAR, CHANCE, CHANCE), "last", "probe").good
    assert health_panel(looks(BEFORE, SAME, APART)).stopped == ""


def test_the_limits_name_what_no_signal_without_labels_can_tell():
    for what in ("volumes, entropies and features", "without a label", "Dice on the target", "disease or prevalence"):
        assert what in LIMITS


# A run.

CHANGES = {
    "method": "entropy_minimisation",
    "config": {"entropy_begin": 0.25, "entropy_full": 0.5},
    "schedule": {"steps": 8, "validate_every": 2, "health": {"cases": 1, "stop": "probe"}},
}


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return write_domains(tmp_path_factory.mktemp("domains"), train=1, val=1)


def adapt(cases, run, monkeypatch, signals, schedule=(), **options):
    """A run whose validations see what is given, one after the other; the first is from before adaptation."""
    given = iter(signals)
    monkeypatch.setattr("medgen.run.monitor.monitor.measure", lambda *_, **__: next(given))
    blocks = recipe(**{**CHANGES, "schedule": {**CHANGES["schedule"], **dict(schedule)}})
    return train(blocks, cases, run, device="cpu", store=cases.parent / "store", **options)


def model(run):
    weights = load_weights(run / "model/weights.safetensors")
    return {name.removeprefix("stage0."): each for name, each in weights.items()}


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def facts(run):
    return json.loads((run / "run.json").read_text())["adaptation"]


def done(run):
    return json.loads((run / "checkpoints/stage0/done.json").read_text())


def kept(run):
    """What a run made: the model, the log and what the manifest says of the adaptation."""
    return {"log": (run / "metrics.jsonl").read_text(), "facts": facts(run), "steps": done(run)["steps"]}


@pytest.fixture(scope="module")
def harmed(cases, tmp_path_factory):
    """Validations after 2, 4 and 6 of 8 steps; the last one shows harm."""
    with pytest.MonkeyPatch.context() as patch:
        return adapt(cases, tmp_path_factory.mktemp("harmed") / "run", patch, (BEFORE, SAME, APART))


def test_a_harmed_training_ends_with_the_weights_of_the_validation_before(harmed):
    snapshots = list_snapshots(harmed)
    assert list(snapshots) == [1, 3, 5]
    assert same(model(harmed), load_weights(snapshots[3]))
    assert not same(model(harmed), load_weights(snapshots[5]))
    assert (done(harmed)["steps"], done(harmed)["healthy_step"]) == (6, 4)
    assert done(harmed)["stopped"]["cause"] == "pushed apart"
    assert not list((harmed / "checkpoints/stage0").glob("step-*.pt"))


def test_the_manifest_says_when_and_why(harmed):
    said = facts(harmed)
    stop = find_stop(records_of(harmed / "metrics.jsonl"))
    assert said["stopped"] == {**stop._asdict(), "rule": STOPPING}
    assert (stop.step, stop.cause) == (5, "pushed apart")
    assert said["step"] == said["kept"]["step"] == 3
    assert (said["kept"]["by"], said["kept"]["rule"]) == ("stop", STOPPING)
    assert said["verdict"] == "healthy"
    assert said["limits"] == LIMITS
    assert "stopped" not in adaptation_manifest(harmed)


def test_a_stopped_run_is_done(harmed, cases, monkeypatch):
    before, weights = kept(harmed), model(harmed)
    adapt(cases, harmed, monkeypatch, (), resume=True)  # a step more would end in a validation without signals
    assert kept(harmed) == before
    assert same(model(harmed), weights)


def test_a_run_that_was_killed_before_it_wrote_its_weights_ends_at_the_same_step(harmed, cases, tmp_path, monkeypatch):
    def killed(*_):
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("medgen.run.fitting._finish", killed)
        with pytest.raises(RuntimeError, match="killed"):
            adapt(cases, tmp_path / "run", patch, (BEFORE, SAME, APART))
    adapt(cases, tmp_path / "run", monkeypatch, (), resume=True)
    assert kept(tmp_path / "run") == kept(harmed)
    assert same(model(tmp_path / "run"), model(harmed))


@pytest.mark.parametrize(("after", "left"), [(3, (SAME, APART)), (5, (APART,)), (6, ())])
def test_a_resumed_run_ends_at_the_same_step(harmed, cases, tmp_path, monkeypatch, after, left):
    def progress(step, _, what):
        if "stage" in what and step == after:
            os.kill(os.getpid(), signal.SIGTERM)

    run, signals = tmp_path / "run", (BEFORE, SAME, APART)
    if left:
        with pytest.raises(Preempted):
            adapt(cases, run, monkeypatch, signals, progress=progress)
        adapt(cases, run, monkeypatch, left, resume=True)
    else:  # asked to stop in the step that was the last: it is done
        adapt(cases, run, monkeypatch, signals, progress=progress)
    assert kept(run) == kept(harmed)
    assert same(model(run), model(harmed))


def test_validations_of_a_session_that_was_killed_do_not_count_twice(cases, tmp_path, monkeypatch):
    """It had measured chance once after its last checkpoint; measured again, that is still the first time."""

    def killed(_, now, __):
        if now.step == 3:  # it is in the log
            raise RuntimeError("killed")

    run, often = tmp_path / "run", {"save_every": 3}
    with monkeypatch.context() as patch:
        patch.setattr("medgen.run.monitor.monitor.Monitor._tell", killed)
        with pytest.raises(RuntimeError, match="killed"):
            adapt(cases, run, patch, (FAR, CHANCE), schedule=often)
    adapt(cases, run, monkeypatch, (CHANCE, FAR, FAR), resume=True, schedule=often)
    assert [record.step for record in records_of(run / "metrics.jsonl")] == [1, 3, 5, 7]
    assert "stopped" not in facts(run)


def test_at_the_goal_the_current_weights_stay(cases, tmp_path, monkeypatch, caplog):
    run = adapt(cases, tmp_path / "run", monkeypatch, (FAR, CHANCE, CHANCE))
    assert same(model(run), load_weights(list_snapshots(run)[5]))
    assert facts(run)["stopped"]["cause"] == "goal reached"
    assert "kept" not in facts(run)
    assert not [record for record in caplog.records if record.levelname == "WARNING" and "ends" in record.message]


def test_after_a_collapse_keep_health_chooses_by_its_rule(cases, tmp_path, monkeypatch, caplog):
    best = {**SAME, "agreement_target": 0.95}
    run = adapt(cases, tmp_path / "run", monkeypatch, (BEFORE, best, SAME, FORGOTTEN), schedule={"keep": "health"})
    assert "stage0: the training ends at step 7: collapsed: the source Dice fell" in caplog.text
    assert same(model(run), load_weights(list_snapshots(run)[3]))
    assert (facts(run)["kept"]["step"], facts(run)["kept"]["rule"]) == (3, SELECTION)


def test_by_default_nothing_ends_a_training(cases, tmp_path, monkeypatch):
    schedule = {"health": {"cases": 1}}
    run = adapt(cases, tmp_path / "run", monkeypatch, (BEFORE, SAME, APART, FORGOTTEN), schedule=schedule)
    assert done(run)["steps"] == 8
    assert list_snapshots(run) == {}
    assert "stopped" not in facts(run)


def test_signals_that_were_really_measured_end_a_run(cases, tmp_path, monkeypatch):
    """With limits that nothing meets, the first validation after adaptation began is a collapse."""
    monkeypatch.setattr("medgen.run.monitor.verdict.LEAST_DICE", 0.0)
    monkeypatch.setattr("medgen.run.monitor.verdict.ENTROPY_HIGH", -1.0)
    run = train(recipe(**CHANGES), cases, tmp_path / "run", device="cpu", store=cases.parent / "store")
    assert facts(run)["stopped"]["cause"] == "collapsed"
    assert done(run)["steps"] == 4


def test_the_log_shows_the_discriminator_and_what_a_verdict_cannot_know(cases, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    ends = {"discriminator_accuracy_low": 0.25, "discriminator_accuracy_high": 0.75}
    adapt(cases, tmp_path / "run", monkeypatch, ({**BEFORE, **ends}, *[{**SAME, **ends}] * 3))
    assert caplog.text.count("the method's own discriminator, which decides nothing: 0.50 [0.25, 0.75]") == 4
    assert caplog.text.count(LIMITS) == 1


def test_without_a_baseline_it_is_said(cases, tmp_path, monkeypatch, caplog):
    blocks = recipe(**{**CHANGES, "config": {"entropy_begin": 0.0, "entropy_full": 0.5}})
    given = iter((FAR, CHANCE, CHANCE, CHANCE))
    monkeypatch.setattr("medgen.run.monitor.monitor.measure", lambda *_, **__: next(given))
    run = train(blocks, cases, tmp_path / "run", device="cpu", store=cases.parent / "store")
    assert "schedule.health.stop can only find a collapse" in caplog.text
    assert done(run)["steps"] == 8


def test_one_held_out_case_gives_no_interval(cases, caplog):
    held = [Case(f"{domain}{n}", "val", domain, {}) for domain in ("source", "target") for n in range(2)]
    method = resolve("entropy_minimisation")
    for schedule, said in (({"cases": 1, "stop": "probe"}, 1), ({"cases": 2, "stop": "probe"}, 1), ({"cases": 1}, 1)):
        require_selection(method, Schedule.model_validate({"health": schedule}), held, cases)
        assert caplog.text.count("a probe then has no interval") == said
    require_selection(method, Schedule.model_validate({"health": {"cases": 2, "stop": "probe"}}), held[1:], cases)
    assert caplog.text.count("a probe then has no interval") == 2
    nothing = {name: math.nan for name in ("domain_accuracy_low", "domain_accuracy_high")}
    record = MonitorRecord(1, {"domain_accuracy": 0.7, **nothing})
    assert interval_of(record) == "0.70 (too few patients for an interval)"


# What is refused, and what a benchmark makes of it.


def test_a_method_that_does_not_adapt_is_refused(cases, tmp_path):
    changes = {**CHANGES, "method": "segmentation", "config": {}, "data": {"domains": ["source"]}}
    with pytest.raises(UsageError, match=r"schedule.health.stop is 'probe', and this method does not adapt") as refusal:
        train(recipe(**changes), cases, tmp_path / "run", device="cpu")
    assert "set schedule.health.stop to never" in refusal.value.fix


def test_held_out_cases_of_both_domains_are_needed(cases, tmp_path):
    rows = [line for line in cases.read_text().splitlines() if "val,target" not in line]
    table = cases.with_name("without_target.csv")
    table.write_text("\n".join(rows) + "\n")
    with pytest.raises(InputError, match="no case of domain 'target' has split 'val'"):
        train(recipe(**CHANGES), table, tmp_path / "run", device="cpu")


def test_in_a_benchmark_rows_without_adaptation_are_never_stopped():
    base = load_recipe(recipe(**CHANGES))
    for name, stop in (("source_only", "never"), ("adapted", "probe")):
        assert derive_recipe(base, REGIMES[name], shifted=None, seed=0).schedule.health.stop == stop


def test_an_unknown_word_is_refused():
    with pytest.raises(UsageError, match=r"schedule\.health\.stop"):
        load_recipe(recipe(**CHANGES), ["schedule.health.stop=always"])
