"""A plan in words, as a table for `medgen train --plan` and as lines before a training."""

from dataclasses import replace

import pytest

from medgen.cli import main
from medgen.cli.plan import plan_lines, plan_rows
from medgen.run import start
from medgen.run.plan import CaseCount, Plan, PlannedNetwork

PLAN = Plan(
    method="context_aware_gan",
    device="cpu",
    precision="32",
    processes=2,
    cases=(CaseCount("train", "source", 5, 4, 5_250_000), CaseCount("val", None, 1, 1, 950)),
    patch=(32, 32, 16),
    batch=4,
    steps=100,
    validations=2,
    networks=(PlannedNetwork("stage0", 2_161_000), PlannedNetwork("stage0-fold0", 2_161_000)),
    context="voxelwise",
    store_bytes=52_500_000,
    checkpoint_bytes=2_500_000_000,
    weight_bytes=43_000_000,
)
MEASURED = replace(PLAN, seconds_a_step=0.5, memory_bytes=1_234_000_000)


def test_every_row_is_told():
    assert dict(plan_rows(MEASURED)) == {
        "method": "context_aware_gan, 32 bit, 2 processes on cpu",
        "train cases, source": "5 of 4 subjects, 5.25 million voxels when prepared",
        "val cases": "1, 950 voxels when prepared",
        "patches": "4 a step of 32 x 32 x 16 voxels, 800 in all",
        "context": "boosted trees (voxelwise), fitted first",
        "network 1 of 2": "stage0, 2.16 million parameters, 100 steps",
        "network 2 of 2": "stage0-fold0, 2.16 million parameters, 100 steps",
        "validations": "2 of each network but those of inner folds",
        "memory": "1.23 GB at the peak of a few steps on cpu, 43 MB for weights, gradients and optimiser",
        "disk": "52 MB of prepared images, 2.5 GB of checkpoints",
        "time": "0.5 s a step, measured: about 1 min 40 s for 200 steps, preparation and validations besides",
    }


def test_what_was_not_measured_is_not_told():
    rows = dict(plan_rows(replace(PLAN, context="", validations=0)))
    assert rows["memory"] == "43 MB for weights, gradients and optimiser"
    assert rows["validations"] == "none"
    assert not {"time", "context"} & rows.keys()
    assert plan_lines(PLAN)[0] == "plan: method: context_aware_gan, 32 bit, 2 processes on cpu"


def test_the_command_shows_the_table_and_ends(capsys, monkeypatch, tmp_path):
    asked = {}
    monkeypatch.setattr(start, "plan", lambda *given, **options: (asked.update(options, out=given[2]), MEASURED)[1])
    words = ["train", "r.yaml", "--cases", "c.csv", "--out", str(tmp_path / "run"), "--plan", "--set", "seed=1"]
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "what\tplanned"
    assert out[-1].startswith("time\t0.5 s a step")
    assert (asked["overrides"], asked["out"]) == (("seed=1",), tmp_path / "run")
    assert not (tmp_path / "run").exists()
