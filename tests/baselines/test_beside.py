"""Baselines of a finished run beside the scores of predictions."""

import json
import shutil

import numpy as np
import pytest
import tiny
import tiny_domains

from medgen.baselines import keeping
from medgen.baselines.beside import evaluate_with_baselines
from medgen.baselines.classifiers import BoostedClasses, ConstantClass, _dice_by_threshold
from medgen.baselines.scoring import BASELINES, OF_CLASSES
from medgen.errors import ModelError, UsageError
from medgen.evaluation import evaluate
from medgen.inference.cohort import predict
from medgen.metrics.statistics import compare
from medgen.run.experiment import train

OPTIONS = {"config": {"context": "none"}, "schedule": {"steps": 2, "validate_every": 2}}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A case table, a finished run and its predictions of two test cases; not to be changed."""
    place = tmp_path_factory.mktemp("synthesis")
    table = tiny.write_cases(place, train=2, val=1, test=2, side=16)
    run = train(tiny.recipe(**OPTIONS), table, place / "run", device="cpu")
    predict(run, table, place / "predictions", device="cpu", split="test")
    evaluate_with_baselines("synthesis", place / "predictions", table, run)
    return place


@pytest.fixture
def own(made, tmp_path):
    shutil.copytree(made, tmp_path / "own")
    return tmp_path / "own"


def scores_of(place, task="synthesis", **options):
    return evaluate_with_baselines(task, place / "predictions", place / "cases.csv", place / "run", **options)


def test_the_file_is_that_of_evaluate_and_more(made):
    scores, plain = scores_of(made), evaluate("synthesis", made / "predictions", made / "cases.csv")
    assert repr((scores.cases, scores.summary)) == repr((plain.cases, plain.summary))  # NaN is not itself
    content = json.loads(scores.write(made / "scores.json").read_text())
    assert set(content["baselines"]) == set(BASELINES)
    for each in content["baselines"].values():
        assert [row["case"] for row in each["cases"]] == ["case3", "case4"]
        assert set(each["summary"]) == set(plain.summary)
        assert each["failed"] == []
    assert content["settings"]["baselines"]["training_cases"] == 2
    assert content["verdict"]["better"] in (True, False)


def test_differences_are_paired_by_case(made):
    scores = scores_of(made)
    baseline = scores.details["baselines"]["voxelwise"]
    ours, theirs = ([row["mae"] for row in each] for each in (scores.cases, baseline["cases"]))
    assert baseline["difference"]["mae"]["mean_difference"] == pytest.approx(np.subtract(ours, theirs).mean())
    assert np.isnan(compare(ours, theirs)["p"])  # of two cases there is no test
    assert np.isnan(baseline["difference"]["mae"]["p"])


def test_a_baseline_is_fitted_once(made, monkeypatch):
    before = scores_of(made)
    monkeypatch.setattr(keeping, "fit_baseline", lambda *_, **__: pytest.fail("fitted anew"))
    assert repr(scores_of(made).details) == repr(before.details)


@pytest.mark.parametrize("what", ["damaged", "of other cases"])
def test_a_baseline_of_something_else_is_fitted_anew(own, what, monkeypatch):
    before = scores_of(own)
    folder = own / "run/baselines/voxelwise"
    if what == "damaged":
        (folder / "context.safetensors").write_bytes(b"nothing")
    else:  # as if the run had learnt from one case alone
        record = json.loads((own / "run/cases.json").read_text())
        del record["case0"]
        (own / "run/cases.json").write_text(json.dumps(record))
    fitted = []
    real = keeping.fit_baseline
    monkeypatch.setattr(keeping, "fit_baseline", lambda name, *a, **k: fitted.append(name) or real(name, *a, **k))
    after = scores_of(own)
    assert fitted == (["voxelwise"] if what == "damaged" else list(BASELINES))
    assert (repr(after.details) == repr(before.details)) is (what == "damaged")


def test_only_training_cases_are_learnt_from(own):
    """The truth of the scored cases and the prepared validation case may be gone while the baselines are fitted."""
    shutil.rmtree(own / "run/baselines")
    record = json.loads((own / "run/cases.json").read_text())
    array = own / "run/store" / record["case2"][2] / "case2/target.npy"
    assert record["case2"][0] == "val"
    array.unlink()
    assert scores_of(own).details["baselines"]["constant"]["summary"]["mae"]["n"] == 2


def test_a_case_that_cannot_be_read_fails_alone(own):
    (own / "case3_t1.nii.gz").write_bytes(b"damaged")
    baseline = scores_of(own).details["baselines"]["voxelwise"]
    assert [row["case"] for row in baseline["failed"]] == ["case3"]
    assert "there is no prediction" not in baseline["failed"][0]["reason"]
    assert baseline["difference"]["mae"]["n"] == 1
    assert baseline["difference"]["mae"]["n_failed"] == 1


def test_scored_training_cases_and_other_weights_are_noted(own):
    path = own / "predictions/prediction.json"
    path.write_text(path.read_text().replace(json.loads(path.read_text())["model"]["weights_sha256"], "f" * 64))
    predict(own / "run", own / "cases.csv", own / "all", device="cpu")
    path.replace(own / "all/prediction.json")
    notes = evaluate_with_baselines("synthesis", own / "all", own / "cases.csv", own / "run", split="all").notes
    assert any(f"made by weights {'f' * 12}, and run/ holds" in note for note in notes)
    assert any(
        "training or validation cases of run/ are among the scored ones: case0, case1, case2" in note for note in notes
    )


def test_what_cannot_be_a_baseline_is_refused(own):
    with pytest.raises(UsageError, match=r"scored as segmentation: it makes an image"):
        scores_of(own, "segmentation")
    with pytest.raises(UsageError, match="case table alone"):
        evaluate_with_baselines("synthesis", own / "predictions", own / "predictions", own / "run")
    (own / "run/store").rename(own / "shared")
    with pytest.raises(UsageError, match="3 of 3 cases of the run are not here"):
        scores_of(own)
    assert scores_of(own, store=own / "shared").details["verdict"]
    (own / "run/cases.json").unlink()
    with pytest.raises(UsageError, match="no record of its training cases"):
        scores_of(own)
    shutil.rmtree(own / "run/model")
    with pytest.raises(ModelError, match="no model here"):
        scores_of(own)


@pytest.fixture(scope="module")
def segmented(tmp_path_factory):
    """A run with labels of the source alone, which also detects lesions, and its predictions of both domains."""
    place = tmp_path_factory.mktemp("segmentation")
    table = tiny_domains.write_domains(place, train=2, val=1, test=1)
    recipe = tiny_domains.recipe(
        data={"domains": ["source"]},
        schedule={"steps": 1, "validate_every": 1},
        inference={"detection": {"class": "lesion"}},
    )
    run = train(recipe, table, place / "run", device="cpu")
    predict(run, table, place / "predictions", device="cpu", split="test")
    return place


def test_label_maps_have_baselines_too(segmented):
    """The lesion is darker than all else, so a voxel alone tells it; everything as lesion is what the constant says."""
    scores = scores_of(segmented, "segmentation", classes={"lesion": [1]})
    found = scores.details["baselines"]
    assert set(found) == set(OF_CLASSES)
    assert found["voxelwise"]["summary"]["dice"]["mean"] > 0.9
    assert found["constant"]["summary"]["recall"]["mean"] > 0.99
    assert found["constant"]["summary"]["dice"]["mean"] < 0.3
    assert "of Dice" in scores.details["verdict"]["text"]


def test_the_threshold_of_a_model_is_not_that_of_its_baselines(segmented, tmp_path, monkeypatch):
    sure = BoostedClasses.predict
    monkeypatch.setattr(BoostedClasses, "predict", lambda *given: 0.4 + 0.2 * sure(*given))
    place = tmp_path / "copy"
    shutil.copytree(segmented, place)
    path = place / "run/model/model.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"inference": content["inference"] | {"threshold": 0.999}}))
    scores = scores_of(place, "segmentation", classes={"lesion": [1]})
    assert scores.details["baselines"]["voxelwise"]["summary"]["dice"]["mean"] > 0.9


def test_detected_lesions_have_baselines_too(segmented):
    scores = scores_of(segmented, "detection", role="label")
    found = scores.details["baselines"]["voxelwise"]
    assert found["summary"]["ap"]["mean"] == 1
    assert found["difference"]["ap"]["mean_difference"] == scores.summary["ap"]["mean"] - 1
    assert "average precision" in scores.details["verdict"]["text"]  # no case is free of lesions: there is no score


def test_a_constant_class_is_the_most_frequent_after_the_background():
    assert ConstantClass(2, 2).predict(np.zeros((1, 2, 3, 4)))[:, 0, 0, 0].tolist() == [0, 0, 1]


def test_dice_by_threshold_is_that_of_counting():
    generator = np.random.default_rng(0)
    probability, true = generator.random(500).astype(np.float32), generator.random(500) < 0.3
    found = _dice_by_threshold(probability, true)
    for number in (1, 57, 120, 199):
        predicted = probability >= number / 200
        expected = 2 * (predicted & true).sum() / (predicted.sum() + true.sum())
        assert found[number - 1] == pytest.approx(expected, abs=0.01)


def test_a_class_is_chosen_from_its_threshold_on():
    class Fixed:
        def predict(self, image, mask=None):
            return image * 2 - 1

    image = np.array([0.25, 0.35, 0.9], np.float32).reshape(1, 3, 1, 1)
    found = BoostedClasses((Fixed(), None), (0.3, 0.5)).predict(image)
    assert found.argmax(axis=0).ravel().tolist() == [0, 1, 1]
    assert np.allclose(found.sum(axis=0), 1)
    assert not found[2].any()
