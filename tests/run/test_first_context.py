"""Boosted trees as the first context: which estimates training subjects get, and that prediction uses it."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny

from medgen.baselines.regressors import NEIGHBOURHOOD_TREES
from medgen.config import build
from medgen.errors import ModelError, Preempted, UsageError
from medgen.inference import boosting
from medgen.inference.boosting import BoostedEstimator
from medgen.inference.ensemble import estimate_mean
from medgen.inference.loading import load_model
from medgen.inference.neighbourhood import NEIGHBOURHOOD, VOXELWISE
from medgen.inference.stages import Request, predict_prepared
from medgen.methods._paired import PairedConfig
from medgen.preparation.task import IMAGE
from medgen.run import first_context
from medgen.run.experiment import prepare, train
from medgen.run.first_context import Trees
from medgen.training.model_folder import load_stages


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return tiny.write_cases(tmp_path_factory.mktemp("data"), train=3, val=1, test=1)


def recipe(**config):
    return {**tiny.recipe(config=config, schedule={"steps": 3, "averaging": None}), "inference": {"flips": []}}


def test_contexts_of_all_subjects_a_model_that_carries_the_trees_and_a_prediction_that_uses_them(cases, tmp_path):
    run = train(recipe(stages=2, context_folds=2), cases, tmp_path / "run", device="cpu")
    names = {path.stem for path in (run / "contexts" / "neighbourhood").glob("*.npy")}
    assert names == {"case0", "case1", "case2", "case3"}
    stages, description = load_stages(run)
    assert [stage.shape.inputs for stage in stages] == [2, 2]
    assert description["context"]["kind"] == "boosting"
    stored = next(c for c in prepare(recipe(), cases, run / "store").cases if c.name == "case3")
    trees = BoostedEstimator.load(run / "model")
    context = trees.predict(stored.image, stored.body)
    np.testing.assert_array_equal(context, np.load(run / "contexts" / "neighbourhood" / "case3.npy"))
    model = load_model(run, device="cpu")
    options = {"settings": model.cascade.settings, "patch": (16, 16, 16)}
    by_hand = predict_prepared(stages, stored.image, stored.body, context=context, **options)
    whole = model.predict(cases.parent / "case3_t1.nii.gz").data
    inside = stored.body > 0
    assert np.abs(whole[0][inside] - (by_hand[0][inside] + 1) / 2 * 3024 + 1024).max() < 0.1


def test_a_resumed_run_does_not_grow_the_trees_again(cases, tmp_path, monkeypatch):
    run = train(recipe(), cases, tmp_path / "run", device="cpu")
    monkeypatch.setattr(first_context, "fit_boosting", None)
    train(recipe(), cases, run, resume=True, device="cpu")


@pytest.mark.parametrize(
    ("config", "features"),
    [
        ({}, NEIGHBOURHOOD),
        ({"context": "voxelwise", "tissue_weights": [1, 4, 2]}, VOXELWISE),
        ({"context": "none"}, None),
    ],
)
def test_the_trees_follow_from_the_config(config, features):
    built = build(PairedConfig, config)
    trees = Trees.of(built)
    if features is None:
        assert trees is None
        return
    assert trees.config.features == features
    assert trees.config.tissue_weights == built.tissue_weights
    assert trees.config.copies == (4 if features == NEIGHBOURHOOD else 1)


def test_a_context_of_another_kind_is_none_of_trees():
    assert Trees.of(SimpleNamespace(context="slices")) is None


def test_a_flipped_pass_sees_the_context_flipped_and_not_that_of_the_flipped_image(cases, tmp_path, monkeypatch):
    run = train(recipe(), cases, tmp_path / "run", device="cpu")
    stored = prepare(recipe(), cases, run / "store").select(split="val")[0]
    model = load_model(run, device="cpu")
    image, body = np.array(stored.image), np.array(stored.body)
    image *= np.linspace(0.5, 1.5, image.shape[1])[:, None, None]  # a coil on one side
    cascade, seen = model.cascade, []
    predict = type(cascade).predict

    def spied(self, image, body, request, *, context, progress):
        seen.append((np.array(image), np.array(context)))
        return predict(self, image, body, request, context=context, progress=progress)

    monkeypatch.setattr(type(cascade), "predict", spied)
    flipped = replace(cascade, settings=cascade.settings.model_copy(update={"flips": ("x",)}))
    estimate_mean([flipped], image, body, Request(IMAGE))
    for plain, turned in zip(*seen, strict=True):
        np.testing.assert_array_equal(turned, plain[:, ::-1])
    np.testing.assert_array_equal(seen[0][1], cascade.first.predict(image, body))


def test_one_training_subject_is_enough_for_one_network(tmp_path, caplog):
    (tmp_path / "data").mkdir()
    single = tiny.write_cases(tmp_path / "data", train=1, val=0, test=1)
    with caplog.at_level(logging.INFO):
        train(recipe(), single, tmp_path / "run", device="cpu")
    assert "in-sample, since one training subject" in caplog.text
    assert "config.context: voxelwise is the safer choice" in caplog.text


class Heart:
    """What a memorising ``fit_boosting`` returns: noise but for the subjects that it was fitted to."""

    def __init__(self, cases):
        self.known = {case.image.tobytes(): np.array(case.target) for case in cases}

    def predict(self, image, mask):
        noise = np.random.default_rng(0).uniform(-1, 1, (1, *mask.shape)).astype(np.float32)
        return self.known.get(image.tobytes(), noise)

    def save(self, folder):
        (folder / boosting.FILE).touch()


def written_contexts(cases, folder, monkeypatch, fit, *, apart=False, reason=None):
    """Contexts by case after the first context was fitted with ``fit``, and the subjects of each fit."""
    store, fitted = prepare(recipe(), cases, folder / "store"), []

    def fit_boosting(chosen, config, *, seed, where):
        assert config == NEIGHBOURHOOD_TREES
        fitted.append(sorted(case.name for case in chosen))
        return fit(chosen)

    monkeypatch.setattr(first_context, "fit_boosting", fit_boosting)
    monkeypatch.setattr(first_context.BoostedEstimator, "load", lambda *_: None)
    engine = SimpleNamespace(rank=0, barrier=lambda: None)
    stop, settings = SimpleNamespace(reason=reason), SimpleNamespace(seed=0, config={})
    session = SimpleNamespace(folder=folder, engine=engine, progress=None, recipe=settings, stop=stop)
    training, held_out = store.select(split="train"), store.select(split="val")
    trees = Trees("neighbourhood", NEIGHBOURHOOD_TREES, None)
    _, paths = first_context.fit_first_context(session, training, held_out, trees, apart=apart)
    return training, {name: np.load(path) for name, path in paths.items()}, fitted


def test_of_an_estimator_that_memorises_training_subjects_get_what_strangers_get(cases, tmp_path, monkeypatch):
    training, contexts, fitted = written_contexts(cases, tmp_path, monkeypatch, Heart)
    assert set(contexts) == {"case0", "case1", "case2", "case3"}
    # all, and each subject left out once
    pairs = [["case0", "case1"], ["case0", "case2"], ["case1", "case2"]]
    assert sorted(fitted) == sorted([["case0", "case1", "case2"], *pairs])
    for case in training:
        assert np.abs(contexts[case.name] - case.target).mean() > 0.3  # noise, and not what it has learnt by heart


class Level(Heart):
    """The mean target; nearly as good for a stranger."""

    def __init__(self, chosen):
        self.value = np.mean([case.target[:, case.mask > 0].mean() for case in chosen])

    def predict(self, image, mask):
        return np.full((1, *mask.shape), self.value, np.float32)


def test_of_an_estimator_that_does_not_training_subjects_get_that_of_all(cases, tmp_path, monkeypatch):
    training, contexts, fitted = written_contexts(cases, tmp_path, monkeypatch, Level)
    assert [len(names) for names in fitted] == [3, 2]  # one fold tells
    for context in contexts.values():
        assert np.allclose(context, Level(training).value)


def test_before_a_second_stage_no_training_subject_gets_what_its_own_trees_know(cases, tmp_path, monkeypatch):
    training, contexts, _ = written_contexts(cases, tmp_path, monkeypatch, Level, apart=True)
    for case in training:
        others = [each for each in training if each.name != case.name]
        assert np.allclose(contexts[case.name], Level(others).value)
    assert np.allclose(contexts["case3"], Level(training).value)
    assert not (tmp_path / "contexts" / "neighbourhood-out-of-fold").exists()


def test_a_stop_is_heard_before_the_next_subject(cases, tmp_path, monkeypatch):
    with pytest.raises(Preempted, match="stopped by SIGTERM before the boosted trees' estimate of case0"):
        written_contexts(cases, tmp_path, monkeypatch, Level, reason="SIGTERM")
    assert not (tmp_path / "checkpoints" / "neighbourhood").exists()


def test_one_training_subject_is_not_enough_for_two_networks(tmp_path):
    (tmp_path / "data").mkdir()
    single = tiny.write_cases(tmp_path / "data", train=1, val=0, test=0)
    with pytest.raises(UsageError, match="at least 2 training subjects"):
        train(recipe(stages=2), single, tmp_path / "run", device="cpu")


def test_a_run_without_a_mask_has_a_context_too(cases, tmp_path):
    plain = recipe()
    plain["data"] = {"inputs": ["t1"], "target": "ct"}
    run = train(plain, cases, tmp_path / "run", device="cpu")
    assert np.isfinite(load_model(run, device="cpu").predict(cases.parent / "case4_t1.nii.gz").data).all()


@pytest.fixture(scope="module")
def trained(cases, tmp_path_factory):
    return train(recipe(), cases, tmp_path_factory.mktemp("trained") / "run", device="cpu")


@pytest.fixture
def model(trained, tmp_path):
    return Path(shutil.copytree(trained / "model", tmp_path / "model"))


def describe(model, context):
    file = model / "model.json"
    description = json.loads(file.read_text())
    description.pop("context")
    file.write_text(json.dumps(description | ({"context": context} if context else {})))


def test_a_model_needs_its_trees_and_no_others(model, cases):
    digest = json.loads((model / "model.json").read_text())["context"]["sha256"]
    describe(model, {"kind": "diffusion", "sha256": digest})
    with pytest.raises(ModelError, match="not known here"):
        load_model(model, device="cpu")
    describe(model, {"kind": "voxelwise", "sha256": "0" * 64})
    with pytest.raises(ModelError, match=r"context\.safetensors"):
        load_model(model, device="cpu")
    describe(model, {"kind": "voxelwise", "sha256": digest})
    load_model(model, device="cpu")
    (model / boosting.FILE).unlink()
    with pytest.raises(ModelError, match=r"context\.safetensors"):
        load_model(model, device="cpu")


def test_a_network_that_lost_its_context_predicts_nothing(model, cases):
    describe(model, None)
    with pytest.raises(ModelError, match="reads 2 channels and was given 1"):
        load_model(model, device="cpu").predict(cases.parent / "case4_t1.nii.gz")


def test_the_prediction_is_a_correction_of_the_trees(trained, cases):
    """With all weights at 0 the model is its trees, so what it predicts otherwise comes on top of them."""
    model = load_model(trained, device="cpu")
    stage = model.stages[0]
    context = BoostedEstimator.load(trained / "model")
    stored = next(c for c in prepare(recipe(), cases, trained / "store").cases if c.name == "case3")
    before = {name: value.clone() for name, value in stage.generator.state_dict().items()}
    stage.generator.load_state_dict({name: value * 0 for name, value in before.items()})
    silent = model.predict(cases.parent / "case3_t1.nii.gz").data[0]
    stage.generator.load_state_dict(before)
    loud = model.predict(cases.parent / "case3_t1.nii.gz").data[0]
    inside = np.asarray(stored.body) > 0
    expected = (context.predict(stored.image, stored.body)[0] + 1) / 2 * 3024 - 1024
    assert np.abs(silent[inside] - expected[inside]).max() < 0.1
    assert np.abs(loud[inside] - expected[inside]).max() > 1


@pytest.mark.parametrize("lost", ["checkpoints", "checkpoints/stage0"])
def test_a_context_that_was_interrupted_is_finished(cases, trained, tmp_path, lost):
    """Some estimates are on the disk, and the trees are or are not: the same as without a break."""
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    shutil.rmtree(run / lost)
    shutil.rmtree(run / "model")
    for case in ("case1", "case3"):
        (run / "contexts" / "neighbourhood" / f"{case}.npy").unlink()
    train(recipe(), cases, run, resume=True, device="cpu")
    for part in ("contexts/neighbourhood/case1.npy", f"model/{boosting.FILE}", "model/weights.safetensors"):
        assert (run / part).read_bytes() == (trained / part).read_bytes()


@pytest.mark.parametrize(("region", "inside"), [("mask", True), ("body", False)])
def test_the_trees_look_where_the_losses_look(cases, tmp_path, monkeypatch, region, inside):
    seen = []
    fit = first_context.fit_boosting

    def fit_boosting(chosen, config, *, seed, where):
        seen.append(where)
        return fit(chosen, config, seed=seed, where=where)

    monkeypatch.setattr(first_context, "fit_boosting", fit_boosting)
    run = train(recipe(region=region), cases, tmp_path / "run", device="cpu")
    assert {where is None for where in seen} == {inside}
    case = prepare(recipe(), cases, run / "store").select(split="train")[0]
    covered = first_context._covered(case)
    mask, body = np.asarray(case.mask) > 0, np.asarray(case.body) > 0
    assert covered[mask].all()
    assert not covered[~body & ~mask].any()
    assert (np.asarray(case.target)[0][covered & ~mask] < -0.5).all()
