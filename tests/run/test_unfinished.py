"""A run that was stopped predicts from its checkpoint, and says so."""

import json
import os
import signal

import numpy as np
import pytest
import tiny
import torch

from medgen.errors import ModelError, Preempted, UsageError
from medgen.inference.cohort import predict
from medgen.inference.loading import load_model
from medgen.run.experiment import train
from medgen.training.checkpoint import load_checkpoint
from medgen.training.model_folder import load_stages


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return tiny.write_cases(tmp_path_factory.mktemp("cases"))


def stopped(cases, run, part, after, **changes):
    def progress(done, total, what):
        if part in what and done == after:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Preempted):
        train(tiny.recipe(**changes), cases, run, device="cpu", progress=progress)
    return run


@pytest.fixture(scope="module")
def run(cases, tmp_path_factory):
    """Stopped at step 9 of 20; validated after 3, 6 and 9."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    return stopped(cases, folder, "stage0", 9, schedule={"validate_every": 3}, config={"context": "none"})


def test_the_last_checkpoint_has_the_averaged_weights_of_its_step(run):
    state = load_checkpoint(run / "checkpoints" / "stage0")
    (stage,), description = load_stages(run, checkpoint="last")
    averaged = state["average"]
    assert all(torch.equal(value, averaged[f"module.{name}"]) for name, value in stage.state_dict().items())
    assert any(not torch.equal(value, state["method"][name]) for name, value in stage.state_dict().items())
    assert description["unfinished"] == {"checkpoint": "last", "networks": {"stage0": 9}, "stages": 1, "steps": 20}


def test_the_best_checkpoint_has_those_of_the_best_validation(run):
    best = load_checkpoint(run / "checkpoints" / "stage0")["keep"]
    (stage,), description = load_stages(run, checkpoint="best")
    assert all(torch.equal(value, best["weights"][name]) for name, value in stage.state_dict().items())
    assert description["unfinished"]["networks"] == {"stage0": best["step"]}
    assert description["weights_sha256"] != load_stages(run, checkpoint="last")[1]["weights_sha256"]


def test_predictions_say_what_they_are_made_with(run, cases, tmp_path):
    predict(run, cases, tmp_path / "out", device="cpu", split="test", checkpoint="last")
    report = json.loads((tmp_path / "out" / "prediction.json").read_text())
    assert report["model"]["unfinished"]["networks"] == {"stage0": 9}
    assert report["cases"][0]["notes"][0] == "made by an unfinished training, last checkpoint: stage0 at step 9 of 20"


def test_a_cascade_has_the_stages_that_it_has_so_far(cases, tmp_path):
    """The first network is done, with the context of its trees; the second is not."""
    changes = {
        "config": {"stages": 2, "context_folds": 2, "context": "voxelwise"},
        "schedule": {"steps": 4, "save_every": 2},
    }
    run = stopped(cases, tmp_path / "run", "stage0-fold0", 2, **changes)
    model = load_model(run, device="cpu", checkpoint="last")
    assert len(model.stages) == 1
    made = model.predict({"t1": cases.parent / "case4_t1.nii.gz"})
    assert made.notes[0].endswith("stage0 at step 4 of 4; 1 of 2 networks of the cascade")
    assert np.isfinite(made.data).all()
    train(tiny.recipe(**changes), cases, run, device="cpu", resume=True)
    with pytest.raises(UsageError, match="this run has ended"):
        load_model(run, device="cpu", checkpoint="last")
    assert len(load_model(run, device="cpu").stages) == 2


def test_without_the_option_or_a_checkpoint_it_is_refused(run, cases, tmp_path):
    with pytest.raises(ModelError, match="there is no model here") as error:
        load_model(run, device="cpu")
    assert "--checkpoint last" in error.value.fix
    with pytest.raises(ModelError, match="no checkpoint of an unfinished training"):
        load_model(tmp_path, device="cpu", checkpoint="last")
    early = stopped(cases, tmp_path / "run", "stage0", 2, config={"context": "none"})
    with pytest.raises(ModelError, match="no validation has chosen weights yet"):
        load_model(early, device="cpu", checkpoint="best")
