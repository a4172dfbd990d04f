"""--init-from: what a run takes from another, what it says of it, and that a resumed one forgets nothing of it."""

import json
import shutil

import pytest
import tiny
import torch

from medgen.cases.phantoms import phantom_notice
from medgen.errors import ModelError, UsageError
from medgen.run import fitting
from medgen.run.experiment import train
from medgen.run.origin import origin_of
from medgen.run.start import plan
from medgen.training.checkpoint import load_weights
from medgen.training.model_folder import read_model

STEPS = {"schedule": {"steps": 2, "validate_every": 2, "save_every": 1}}
STAGES = {"config": {"stages": 2, "context_folds": 2, "context": "none"}, **STEPS}


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return tiny.write_cases(tmp_path_factory.mktemp("cases"))


@pytest.fixture(scope="module")
def origin(cases, tmp_path_factory):
    config = {"context": "none", "stages": 1}
    return train(tiny.recipe(config=config, **STEPS), cases, tmp_path_factory.mktemp("origin") / "first", device="cpu")


@pytest.fixture
def starts(monkeypatch):
    """By part, the weights that its training began with."""
    seen, original = {}, fitting._train

    def spy(session, part, state, folder):
        if state.step == 0:
            assert equal(state.average.module.state_dict(), state.method.state_dict())
            seen[part.name] = {name: each.clone() for name, each in state.method.state_dict().items()}
        original(session, part, state, folder)

    monkeypatch.setattr(fitting, "_train", spy)
    return seen


def final(run, part="stage0"):
    return load_weights(run / "checkpoints" / part / "final.safetensors")


def equal(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_a_run_begins_with_all_weights_of_another_and_its_discriminator(cases, origin, tmp_path, starts):
    planned = []
    recipe = tiny.recipe(config={"context": "none", "stages": 1}, **STEPS)
    run = train(recipe, cases, tmp_path / "run", device="cpu", init_from=origin, on_plan=planned.append)
    assert equal(starts["stage0"], final(origin))
    assert any(name.startswith("discriminator.") for name in starts["stage0"])
    record = read_model(run)["init_from"]
    count = len(final(origin))
    assert record == {
        "run": "first",
        "method": "context_aware_gan",
        "weights_sha256": read_model(origin)["weights_sha256"],
        "phantoms": False,
        "tensors": {"stage0": {"taken": count, "of": count}},
    }
    content = json.loads((run / "run.json").read_text())
    assert content["init_from"] == record
    assert content["plan"]["start"] == list(planned[0].start)
    assert planned[0].start[0] == f"stage0 takes {count} of {count} tensors from 'first' (context_aware_gan)"
    assert "init_from" not in read_model(origin)


def test_every_stage_of_a_cascade_begins_with_the_last_that_the_origin_has(cases, origin, tmp_path, starts):
    run = train(tiny.recipe(**STAGES), cases, tmp_path / "run", device="cpu", init_from=origin / "model")
    assert list(starts) == ["stage0", "stage0-fold0", "stage0-fold1", "stage1"]
    theirs = final(origin)
    assert equal(starts["stage0"], theirs)
    assert equal(starts["stage0-fold1"], theirs)
    other = {name for name, each in starts["stage1"].items() if each.shape != theirs[name].shape}
    assert other  # the first layers, which read the estimate of the stage before
    assert all(torch.equal(each, theirs[name]) for name, each in starts["stage1"].items() if name not in other)
    counts = read_model(run)["init_from"]["tensors"]
    assert counts["stage1"] == {"taken": len(theirs) - len(other), "of": len(theirs)}


def test_a_model_folder_alone_gives_what_is_exported(cases, origin, tmp_path):
    shutil.copytree(origin / "model", tmp_path / "alone")
    found = plan(
        tiny.recipe(**STEPS, config={"context": "none", "stages": 1}),
        cases,
        tmp_path / "run",
        device="cpu",
        init_from=tmp_path / "alone",
    )
    assert "from 'alone'" in found.start[0]
    assert any(line.startswith("stage0: discriminator: 0 of") for line in found.start)
    assert not (tmp_path / "run").exists()


def test_an_interrupted_run_goes_on_as_it_began_without_the_origin(cases, origin, tmp_path, starts):
    """Stage 1 begins after the break; and the origin is gone by then."""
    moved, reference = tmp_path / "moved", tmp_path / "reference"
    shutil.copytree(origin, moved)
    train(tiny.recipe(**STAGES), cases, reference, device="cpu", init_from=moved)

    class Killed(Exception):
        pass

    def progress(done, total, what):
        if "stage0-fold0" in what and done == 1:
            raise Killed

    with pytest.raises(Killed):
        train(tiny.recipe(**STAGES), cases, tmp_path / "run", device="cpu", init_from=moved, progress=progress)
    shutil.rmtree(moved)
    with pytest.raises(ModelError):
        train(tiny.recipe(**STAGES), cases, tmp_path / "run", device="cpu", init_from=moved, resume=True)
    train(tiny.recipe(**STAGES), cases, tmp_path / "run", device="cpu", resume=True)
    assert equal(final(reference, "stage1"), final(tmp_path / "run", "stage1"))
    names = ("run", "method", "weights_sha256", "phantoms", "tensors")
    one, two = (read_model(each)["init_from"] for each in (reference, tmp_path / "run"))
    assert [one[name] for name in names] == [two[name] for name in names]


def test_a_resumed_run_cannot_change_where_it_began(cases, origin, tmp_path):
    recipe = tiny.recipe(config={"context": "none", "stages": 1}, **STEPS)
    run = train(recipe, cases, tmp_path / "run", device="cpu", init_from=origin)
    train(recipe, cases, run, device="cpu", init_from=origin, resume=True)
    with pytest.raises(UsageError, match=r"names 'run', and this run started from other weights \(of 'first'\)"):
        train(recipe, cases, run, device="cpu", init_from=run, resume=True)
    with pytest.raises(UsageError, match="names 'run', and this run started from none"):
        train(recipe, cases, origin, device="cpu", init_from=run, resume=True)


def test_a_run_that_has_not_ended_is_an_origin_too(cases, origin, tmp_path, starts):
    unfinished = tmp_path / "unfinished"
    shutil.copytree(origin, unfinished)
    shutil.rmtree(unfinished / "model")
    run = train(
        tiny.recipe(config={"context": "none", "stages": 1}, **STEPS),
        cases,
        tmp_path / "run",
        device="cpu",
        init_from=unfinished,
    )
    assert equal(starts["stage0"], final(origin))
    assert read_model(run)["init_from"]["unfinished"]["networks"] == {"stage0": 2}


def test_nothing_that_matches_ends_before_a_case_is_prepared(cases, origin, tmp_path):
    recipe = tiny.recipe(method="vae", config={}, data={"target": None, "mask": None}, **STEPS)
    recipe["config"] = {}
    with pytest.raises(UsageError, match="no weight matches"):
        train(recipe, cases, tmp_path / "run", device="cpu", init_from=origin)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ModelError, match="no model here"):
        plan(tiny.RECIPE, cases, tmp_path / "run", device="cpu", init_from=tmp_path / "nowhere")


def test_damaged_weights_of_the_discriminator_are_refused(cases, origin, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(origin, damaged)
    path = damaged / "checkpoints" / "stage0" / "final.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError) as error:
        plan(tiny.RECIPE, cases, tmp_path / "run", device="cpu", init_from=damaged)
    assert "final.safetensors" in str(error.value.where)


def test_another_preparation_is_named(cases, origin, tmp_path, caplog):
    recipe = tiny.recipe(config={"context": "none", "stages": 1}, preparation={"spacing": [4, 4, 4]}, **STEPS)
    plan(recipe, cases, tmp_path / "run", device="cpu", init_from=origin)
    assert "'first' was prepared otherwise: spacing is None there and 4.0 x 4.0 x 4.0 here" in caplog.text


def test_a_phantom_is_not_forgotten(cases, origin, tmp_path):
    phantom = tmp_path / "phantom"
    shutil.copytree(origin, phantom)
    path = phantom / "model" / "model.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "phantoms": content["trained_on"]}))
    recipe = tiny.recipe(config={"context": "none", "stages": 1}, **STEPS)
    found = read_model(train(recipe, cases, tmp_path / "run", device="cpu", init_from=phantom))
    assert phantom_notice(found) == "the model began with weights that were learnt from phantoms (virtual patients)"
    assert phantom_notice(read_model(origin)) == ""
    following = tmp_path / "following"  # a run from that run
    shutil.copytree(origin / "model", following)
    path = following / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "init_from": found["init_from"]}))
    assert origin_of(tmp_path / "new", following, resume=False).record["phantoms"]
