"""The voxel-wise estimate as the first context: which estimates training subjects get, and that prediction uses it."""

import logging

import numpy as np
import pytest
import tiny

from medgen.inference.model import load_model
from medgen.inference.stages import predict_prepared
from medgen.inference.voxelwise import VoxelwiseEstimator
from medgen.run import voxelwise
from medgen.run.experiment import prepare, train
from medgen.training.checkpoint import load_stages


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return tiny.write_cases(tmp_path_factory.mktemp("data"), train=3, val=1, test=1)


def recipe(**config):
    return {**tiny.recipe(config=config, schedule={"steps": 3, "averaging": None}), "inference": {"flips": []}}


def test_contexts_of_all_subjects_a_model_that_carries_the_trees_and_a_prediction_that_uses_them(cases, tmp_path):
    run = train(recipe(stages=2, context_folds=2), cases, tmp_path / "run", device="cpu")
    names = {path.stem for path in (run / "contexts" / "voxelwise").glob("*.npy")}
    assert names == {"case0", "case1", "case2", "case3"}
    stages, description = load_stages(run)
    assert [stage.shape.inputs for stage in stages] == [2, 2]
    assert description["context"]["kind"] == "voxelwise"
    stored = next(c for c in prepare(recipe(), cases, run / "store").cases if c.name == "case3")
    trees = VoxelwiseEstimator.load(run / "model")
    context = trees.predict(stored.image, stored.body)
    np.testing.assert_array_equal(context, np.load(run / "contexts" / "voxelwise" / "case3.npy"))
    model = load_model(run, device="cpu")
    options = {"settings": model.cascade.settings, "patch": (16, 16, 16)}
    by_hand = predict_prepared(stages, stored.image, stored.body, context=context, **options)
    whole = model.predict(cases.parent / "case3_t1.nii.gz").data
    inside = stored.body > 0
    assert np.abs(whole[0][inside] - (by_hand[0][inside] + 1) / 2 * 3024 + 1024).max() < 0.1


def test_a_resumed_run_does_not_grow_the_trees_again(cases, tmp_path, monkeypatch):
    run = train(recipe(), cases, tmp_path / "run", device="cpu")
    monkeypatch.setattr(voxelwise, "fit_voxelwise", None)
    train(recipe(), cases, run, resume=True, device="cpu")


def test_one_training_subject_is_enough_for_one_network(tmp_path, caplog):
    (tmp_path / "data").mkdir()
    single = tiny.write_cases(tmp_path / "data", train=1, val=0, test=1)
    with caplog.at_level(logging.INFO):
        train(recipe(), single, tmp_path / "run", device="cpu")
    assert "in-sample, since one training subject" in caplog.text


class Memory:
    """An estimator that knows its training subjects by heart and makes a mistake of ``miss`` on others."""

    def __init__(self, cases, miss):
        self.cases, self.miss = cases, miss

    def predict(self, image, mask):
        for case in self.cases:
            if np.array_equal(case.image, image):
                return np.asarray(case.target) + 0.1
        return np.zeros((1, *mask.shape), np.float32) + self.miss


class Plain:
    progress = None


@pytest.mark.parametrize(("miss", "kept"), [(0.9, "out-of-fold"), (None, "in-sample")])
def test_training_subjects_get_the_estimates_that_new_ones_will_get(cases, tmp_path, monkeypatch, caplog, miss, kept):
    stored = prepare(recipe(), cases, tmp_path / "store").select(split="train")

    def fit(session, chosen):
        return Memory(chosen if miss is not None else stored, miss)

    monkeypatch.setattr(voxelwise, "_fit", fit)
    with caplog.at_level(logging.INFO):
        found = voxelwise._training_estimates(Plain(), Memory(stored, miss), stored)
    assert f"training subjects get {kept} estimates" in caplog.text
    exact = np.allclose(found[0], np.asarray(stored[0].target) + 0.1)
    assert exact == (kept == "in-sample")
