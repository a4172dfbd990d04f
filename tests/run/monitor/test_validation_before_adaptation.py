"""Whatever validate_every says, there is a look from before the target gets its say, and it changes nothing."""

import json
import os
import signal

import pytest
import torch

from medgen.errors import Preempted
from medgen.methods.base import Shape
from medgen.methods.catalogue import create
from medgen.recipe.settings import Schedule
from medgen.run.experiment import train
from medgen.run.monitor import read_records
from medgen.run.monitor.monitor import steps_before_adaptation
from medgen.training.checkpoint import load_weights
from tests.tiny_domains import recipe, write_domains

SCHEDULE = {"steps": 6, "validate_every": 100, "health": {"cases": 1, "disturbed": 1, "segments": 2}}


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return write_domains(tmp_path_factory.mktemp("domains"), train=1, val=1)


def adapt(cases, run, begin=0.5, health=True, **options):
    schedule = SCHEDULE if health else {**SCHEDULE, "health": None}
    config = {"entropy_begin": begin, "entropy_full": 1.0, "norm": "batch", "dropout": 0.3}
    blocks = recipe(method="entropy_minimisation", config=config, schedule=schedule)
    return train(blocks, cases, run, device="cpu", store=cases.parent / "store", **options)


@pytest.fixture(scope="module")
def run(cases, tmp_path_factory):
    return adapt(cases, tmp_path_factory.mktemp("watched") / "run")


def weights(run):
    return load_weights(run / "model" / "weights.safetensors")


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def validated(run):
    lines = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())
    return [line["step"] for line in lines if "validation" in line]


def test_there_is_a_validation_at_the_last_step_before_adaptation(run):
    looks = read_records(run / "metrics.jsonl")
    assert [(look.step, look.warming_up) for look in looks] == [(2, True), (5, False)]
    assert json.loads((run / "run.json").read_text())["adaptation"]["before"]["step"] == 2


def test_the_validation_changes_no_weight(cases, run, tmp_path):
    blind = adapt(cases, tmp_path / "run", health=False)
    assert validated(blind) == [5]
    assert same(weights(blind), weights(run))


@pytest.mark.parametrize("after", [2, 3, 4])
def test_stopped_around_the_validation_the_run_goes_on_to_the_same(cases, run, tmp_path, after):
    def progress(done, _, what):
        if "stage" in what and done == after:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Preempted):
        adapt(cases, tmp_path / "run", progress=progress)
    adapt(cases, tmp_path / "run", resume=True)
    assert same(weights(tmp_path / "run"), weights(run))
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == (run / "metrics.jsonl").read_text()


def test_where_the_target_has_a_say_from_the_first_step_there_is_none_before(cases, tmp_path):
    looks = read_records(adapt(cases, tmp_path / "run", begin=0.0) / "metrics.jsonl")
    assert [(look.step, look.warming_up) for look in looks] == [(5, False)]


@pytest.mark.parametrize(
    ("begin", "steps", "before"),
    [(0.5, 6, 3), (0.4, 6, 3), (0.4, 1000, 400), (10 / 35, 70000, 20000), (0.0, 10, 0), (1.0, 10, 10)],
)
def test_steps_before_adaptation_by_hand(begin, steps, before):
    config = {"network": "unet", "width": 0.25, "discriminator_width": 4, "begin": begin}
    method = create("domain_adversarial", config, Shape(1, 2))
    assert steps_before_adaptation(Schedule(steps=steps), method) == before
    # alpha is 0 in all of these steps: progress is step / steps
    assert not [step for step in range(before) if step / steps > begin]
