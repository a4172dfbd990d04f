"""Warnings on odd images and implausible classes: in the log, in the sidecar, and with --strict as failed cases."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from known_classes import Known, KnownConfig, describe_classes, patient, save_patient
from mean_model import describe, head, make_model, save

from medgen.cases import Case
from medgen.errors import CasesFailed
from medgen.inference.cohort import predict, predict_cohort
from medgen.inference.loading import load_model
from medgen.inference.model import LoadedModel
from medgen.inference.options import PredictOptions, ReadOptions
from medgen.inference.reading import prepare_patient
from medgen.methods.base import Shape
from medgen.methods.catalogue import create
from medgen.preparation.fingerprint import NUMBERS
from medgen.preparation.plausible import plausible_ranges
from medgen.training.model_folder import save_model
from medgen.volume import Volume

STRICT = PredictOptions(strict=True)
NOTICE = {"trained_on": {"train": 4}, "phantoms": {"train": 4}}


def trained_on(path: Path, **description) -> LoadedModel:
    """A model whose training images all look like this one."""
    model = make_model()
    prepared, _ = prepare_patient({"t1": path}, ReadOptions(), model.preparation)
    content = model.description
    content["preparation"] |= {
        "training": {"t1": {"mean": list(prepared.fingerprint["t1"]), "spread": [0.0] * NUMBERS}},
        "calibration": {"training_cases": 9, "held_out_cases": 0, "limit": 2.5, "turned": 0.6, "rule": "by hand"},
    }
    return LoadedModel(model.stages, {**content, **description}, model.device)


@pytest.fixture
def usual(tmp_path: Path) -> Case:
    return Case("usual", "test", None, {"t1": save(head(), tmp_path / "usual.nii.gz")})


@pytest.fixture
def odd(tmp_path: Path) -> Case:
    return Case("odd", "test", None, {"t1": save(1000 * head(), tmp_path / "odd.nii.gz")})


@pytest.fixture
def model(usual: Case) -> LoadedModel:
    return trained_on(usual.images["t1"])


def odd_notes(volume: Volume) -> list[str]:
    return [note for note in volume.notes if "unlike" in note or "implausible" in note]


def report(folder: Path) -> dict:
    return json.loads((folder / "prediction.json").read_text())


def test_an_odd_image_is_a_warning_in_log_and_sidecar(model, usual, odd, tmp_path, caplog):
    predict_cohort(model, [usual, odd], tmp_path / "out")
    first, second = report(tmp_path / "out")["cases"]
    assert (first["status"], first["warnings"]) == ("done", [])
    assert second["status"] == "done"
    (warning,) = second["warnings"]
    assert "unlike any the model was trained on" in warning
    assert warning not in second["notes"]
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == [f"case odd: {warning}"]


def test_in_python_too(model, odd, caplog):
    volume = model.predict(odd)
    assert "unlike any" in volume.notes[0]
    assert volume.notes[0] in caplog.messages


def test_strict_fails_the_case_and_keeps_nothing_of_it(model, usual, odd, tmp_path):
    result = predict_cohort(model, [usual, odd], tmp_path / "out", STRICT)
    assert [case.status for case in result.cases] == ["done", "failed"]
    assert not list((tmp_path / "out").glob("odd/*.nii.gz"))
    assert (tmp_path / "out" / "usual" / "usual_ct.nii.gz").is_file()
    (row,) = csv.DictReader((tmp_path / "out" / "failed.csv").open())
    assert "refused by --strict" in row["reason"]
    with pytest.raises(CasesFailed) as caught:
        result.require_complete()
    assert caught.value.exit_code == 4


def test_strict_resumes_a_lenient_run(model, usual, odd, tmp_path):
    """What was kept with a warning is refused now, and its files stay: nobody asked to remove them."""
    predict_cohort(model, [usual, odd], tmp_path / "out")
    before = (tmp_path / "out" / "usual" / "usual_ct.nii.gz").stat().st_mtime_ns
    result = predict_cohort(model, [usual, odd], tmp_path / "out", STRICT, resume=True)
    assert [case.status for case in result.cases] == ["kept", "failed"]
    assert (tmp_path / "out" / "usual" / "usual_ct.nii.gz").stat().st_mtime_ns == before
    assert [path.name for path in (tmp_path / "out").glob("odd/*.nii.gz")] == ["odd_ct.nii.gz"]
    assert "its files were left as they are" in result.cases[1].reason


def test_a_resumed_run_keeps_the_warnings(model, odd, tmp_path):
    predict_cohort(model, [odd], tmp_path / "out")
    expected = report(tmp_path / "out")["cases"][0]["warnings"]
    predict_cohort(model, [odd], tmp_path / "out", resume=True)
    assert report(tmp_path / "out")["cases"][0]["warnings"] == expected != []


def test_strict_on_one_patient(model, odd, usual, tmp_path, monkeypatch):
    monkeypatch.setattr("medgen.inference.cohort.load_model", lambda *_, **__: model)
    with pytest.raises(CasesFailed, match="refused by --strict") as caught:
        predict("run", odd.images["t1"], tmp_path / "ct.nii.gz", strict=True)
    assert caught.value.exit_code == 4
    assert not list(tmp_path.glob("ct*"))
    predict("run", usual.images["t1"], tmp_path / "ct.nii.gz", strict=True)
    assert (tmp_path / "ct.nii.gz").is_file()


def test_a_member_of_an_ensemble_warns(model, usual, odd, tmp_path):
    lenient = make_model()
    lenient.description["weights_sha256"] = "1" * 64
    lenient = LoadedModel(lenient.stages, lenient.description, lenient.device)
    assert any("unlike any" in note for note in lenient.joined([model]).predict(odd).notes)
    assert not odd_notes(lenient.joined([model]).predict(usual))


def test_a_model_of_phantoms_says_so_everywhere(usual, tmp_path):
    model = trained_on(usual.images["t1"], **NOTICE)
    predict_cohort(model, [usual], tmp_path / "out", STRICT)  # it is no warning on a case
    assert "phantoms alone" in report(tmp_path / "out")["model"]["phantoms"]
    predict_cohort(trained_on(usual.images["t1"]), [usual], tmp_path / "plain")
    assert "phantoms" not in report(tmp_path / "plain")["model"]


class TestClasses:
    def model(self, ml: float, **inference) -> LoadedModel:
        ranges = plausible_ranges([{1: (ml, 1, 8.0), 2: (ml, 1, 8.0)}], ["core", "swollen rim"])
        content = describe_classes() | {"plausible": {name: each.model_dump() for name, each in ranges.items()}}
        content["inference"] = content["inference"] | inference
        return LoadedModel([Known(KnownConfig(), Shape(2, 3)).eval()], content, torch.device("cpu"))

    def test_a_plausible_volume_passes(self, tmp_path):
        assert odd_notes(self.model(0.18).predict(save_patient(tmp_path))) == []

    @pytest.mark.parametrize("ml", [0.01, 5.0])
    def test_too_much_and_too_little(self, tmp_path, ml):
        notes = odd_notes(self.model(ml).predict(save_patient(tmp_path)))
        assert [note.split(":")[0] for note in notes] == ["core", "swollen rim"]
        assert all("0.18 ml is implausible" in note for note in notes)

    def test_strict_removes_the_probabilities_as_well(self, tmp_path):
        options = PredictOptions(probabilities=True, strict=True)
        source = save_patient(tmp_path / "images")
        with pytest.raises(CasesFailed, match="implausible"):
            self.model(5.0).predict_file(source, tmp_path / "out" / "p_label.nii.gz", options)
        assert not list((tmp_path / "out").glob("*"))

    def test_a_long_lesion(self, tmp_path):
        images = patient()
        images["flair"][4:15, 12, 8] = 900.0  # 11 voxels of 1.5 mm
        images["t2"][4:15, 12, 8] = 900.0
        detection = {"class": "swollen rim", "threshold": 0.5, "minimum_mm3": 0}
        found = []
        notes = (
            self.model(0.18, detection=detection)
            .predict(save_patient(tmp_path, images), on_detected=found.append)
            .notes
        )
        assert max(found[0].lesions[0].extent_mm) == 16.5
        said = "swollen rim: a lesion of 16.5 mm (confidence 0.64) is implausible: at most 8 mm"
        assert said in " ".join(notes)

    @pytest.mark.parametrize(("longest", "warned"), [(4.0, True), (4.2, False)])
    def test_a_faint_lesion_may_be_longer(self, tmp_path, longest, warned):
        """700 is 0.4, so its probability is 0.16 or so; four times 4 mm are less than 16.5 mm."""
        images = patient()
        images["flair"][images["flair"] == 900.0] = 500.0
        images["t2"][images["t2"] == 900.0] = 500.0
        images["flair"][4:15, 12, 8] = images["t2"][4:15, 12, 8] = 700.0
        detection = {"class": "swollen rim", "threshold": 0.1, "minimum_mm3": 0}
        model = self.model(0.18, detection=detection)
        known = model.description["plausible"]["swollen rim"]
        content = model.description | {"plausible": {"swollen rim": known | {"trained_mm": longest, "ml": (0, 9)}}}
        model = LoadedModel(model.stages, content, model.device)
        volume = model.predict(save_patient(tmp_path, images), on_detected=lambda _: None)
        assert bool([note for note in volume.notes if "a lesion of 16.5 mm" in note]) == warned


def test_images_without_a_calibration_still_predict(usual, odd):
    """A model of an earlier version has the ten numbers alone, or none."""
    assert odd_notes(make_model().predict(odd)) == []
    model = trained_on(usual.images["t1"])
    content = model.description
    content["preparation"]["calibration"] = None
    known = content["preparation"]["training"]["t1"]
    content["preparation"]["training"]["t1"] = {key: values[:10] for key, values in known.items()}
    old = LoadedModel(model.stages, content, model.device)
    assert odd_notes(old.predict(usual)) == []
    assert np.isfinite(old.predict(odd).data).all()


def test_the_command_says_once_what_the_model_is(tmp_path, caplog):
    """Models that medgen 0.1.0 saved have no calibration; one of phantoms says so when it is loaded."""
    torch.manual_seed(0)
    network = create("supervised", {"generator": "fcn", "width": 0.05}, Shape(1, 1)).eval()
    description = describe(["t1"]) | NOTICE | {"method": "supervised", "patches": [32, 32, 32]}
    save_model(tmp_path / "run" / "model", [network], description)
    caplog.set_level("INFO", "medgen")
    load_model(tmp_path / "run", device="cpu")
    said = [message for message in caplog.messages if "the model" in message]
    assert len(said) == 2
    assert "phantoms alone" in said[0]
    assert "earlier version" in said[1]
