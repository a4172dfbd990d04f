"""The plan of a run: what it counts, what it measures, and how much time is left over all networks."""

import json
import os

import pytest
import tiny
import tiny_domains
import torch

from medgen.run.experiment import train
from medgen.run.pace import Pace
from medgen.run.plan import CaseCount
from medgen.run.planning import network_names
from medgen.run.start import plan
from medgen.training.model_folder import load_stages

TWO_STAGES = {
    "config": {"stages": 2, "context_folds": 2, "context": "none"},
    "schedule": {"steps": 3, "validate_every": 2},
}


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return tiny.write_cases(tmp_path_factory.mktemp("cases"))


def test_a_plan_counts_and_measures_and_writes_nothing(cases, tmp_path):
    state = torch.random.get_rng_state()
    found = plan(tiny.recipe(preparation={"spacing": [4, 4, 4]}, **TWO_STAGES), cases, tmp_path / "run", device="cpu")
    assert list(tmp_path.iterdir()) == []
    assert torch.equal(torch.random.get_rng_state(), state)
    # 20^3 voxels of 2 mm are 10^3 of 4 mm
    assert found.cases == (CaseCount("train", None, 3, 3, 3000), CaseCount("val", None, 1, 1, 1000))
    assert [network.name for network in found.networks] == ["stage0", "stage0-fold0", "stage0-fold1", "stage1"]
    assert (found.all_steps, found.validations, found.batch, found.patch) == (12, 2, 2, (16, 16, 16))
    assert found.store_bytes == 4000 * (4 + 4 + 1 + 1)
    assert found.seconds_a_step > 0
    assert found.seconds == 12 * found.seconds_a_step
    assert found.memory_bytes > found.weight_bytes > 0


def test_the_plan_says_what_is_then_done(cases, tmp_path):
    seen, told = [], []
    run = train(
        tiny.recipe(**TWO_STAGES),
        cases,
        tmp_path / "run",
        device="cpu",
        on_plan=lambda planned: seen.append((planned, os.path.exists(tmp_path / "run" / "store"))),
        progress=lambda done, total, what: told.append(what),
    )
    (planned, prepared), *rest = seen
    assert (rest, prepared) == ([], False)
    assert {network.name for network in planned.networks} == {
        path.parent.name for path in run.glob("checkpoints/*/done.json")
    }
    stages, _ = load_stages(run)
    counts = [sum(each.numel() for each in stage.parameters()) for stage in stages]
    assert [planned.networks[0].parameters, planned.networks[-1].parameters] == counts
    kept = json.loads((run / "run.json").read_text())["plan"]
    assert kept["networks"][3]["name"] == "stage1"
    assert kept["seconds_a_step"] > 0
    assert any(what.startswith("network 4 of 4, stage1") for what in told)


def test_a_method_for_slices_and_one_that_adapts_can_be_planned(cases, tmp_path):
    slices = {
        **tiny.recipe(method="vae"),
        "config": {"latent": 4, "width": 4},
        "data": {"inputs": ["t1"], "mask": "mask"},
        "patches": {"size": [16, 16], "plane": "axial"},
    }
    found = plan(slices, cases, tmp_path / "run", device="cpu")
    assert (found.patch, len(found.networks)) == ((16, 16), 1)
    table = tiny_domains.write_domains(tmp_path)
    found = plan(tiny_domains.recipe(method="entropy_minimisation"), table, tmp_path / "run", device="cpu")
    assert [(each.split, each.domain, each.cases) for each in found.cases] == [
        ("train", "source", 2),
        ("train", "target", 2),
    ]


def test_names_of_networks():
    assert network_names(1, 2, 1) == ("stage0",)
    assert network_names(3, 5, 2) == (
        "stage0",
        "stage0-fold0",
        "stage0-fold1",
        "stage1",
        "stage1-fold0",
        "stage1-fold1",
        "stage2",
    )


def test_time_left_is_over_all_networks_and_told_once(caplog):
    """A first step of 100 s is left out; the others take 2 s."""
    caplog.set_level("INFO")
    times = iter([100, *range(102, 400, 2)])
    pace = Pace(("stage0", "stage0-fold0", "stage0-fold1", "stage1"), 20, clock=lambda: next(times))
    assert pace.step("stage0", 1) == "network 1 of 4, stage0"
    assert pace.step("stage0", 2) == "network 1 of 4, stage0, 2 s a step, 2 min 36 s left in all"  # 78 steps
    for done in range(3, 21):
        pace.step("stage0", done)
    assert pace.seconds_a_step == 2
    assert pace.step("stage0-fold1", 10) == "network 3 of 4, stage0-fold1, 2 s a step, 1 min 0 s left in all"
    assert caplog.text.count("2 s a step on the first steps: about 2 min 18 s for the rest") == 1  # after 11 of 80


def test_one_network_is_not_numbered():
    times = iter([0, 3])
    pace = Pace(("stage0",), 11, clock=lambda: next(times))
    pace.step("stage0", 5)
    assert pace.step("stage0", 6) == "stage0, 3 s a step, 15 s left"
