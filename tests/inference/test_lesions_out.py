"""A model that detects lesions: its files and messages, for one patient, a cohort and an ensemble."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from known_classes import Known, KnownConfig, describe_classes, patient, save_patient
from mean_model import AFFINE
from torch import Tensor

from medgen.cases import Case
from medgen.cli import main
from medgen.errors import ModelError, StorageError, UsageError
from medgen.inference.cohort import predict, predict_cohort
from medgen.inference.lesions import Detected
from medgen.inference.model import LoadedModel
from medgen.inference.writing import files_of
from medgen.methods.base import Shape
from medgen.training.model_folder import save_model
from medgen.volume import read_volume

CORE = np.zeros((19, 23, 17), bool)
CORE[8:10, 10:14, 7:10] = True  # 0.8 core; beside it 0.16, which touches it and so is its rim
MEMBERS = ("label.nii.gz", "label_detection_map.nii.gz", "label_lesions.json")


def describe_detection(weights: str = "0", **detection: object) -> dict:
    inference = {"overlap": 0.0, "detection": {"class": "core", **detection}}
    return describe_classes() | {"inference": inference, "weights_sha256": weights * 64}


def detector(factor: float = 1.0, weights: str = "0", **detection: object) -> LoadedModel:
    stage = Known(KnownConfig(factor=factor), Shape(2, 3)).eval()
    return LoadedModel([stage], describe_detection(weights, **detection), torch.device("cpu"))


def two_lesions() -> dict[str, np.ndarray]:
    """As :func:`patient`, and at (4, 5, 5) a fainter core of 0.6 without a rim."""
    images = patient()
    images["flair"][4:6, 5:8, 5:7] = 800.0
    return images


class Shy(Known):
    """Gives nine tenths of what lesions had to the background."""

    def predict(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        core, rim = super().predict(image)[:, 1:].unbind(1)
        return torch.stack([1 - 0.1 * (core + rim), 0.1 * core, 0.1 * rim], dim=1)


class TestOnePatient:
    def test_hand_computed(self, tmp_path: Path) -> None:
        written = detector().predict_file(save_patient(tmp_path), tmp_path / "p1_label.nii.gz")
        image = nibabel.load(tmp_path / "p1_detection_map.nii.gz")
        assert image.get_data_dtype() == np.float32
        np.testing.assert_array_equal(image.affine, AFFINE)
        np.testing.assert_allclose(image.get_fdata(), np.where(CORE, 0.8, 0), atol=1e-5)
        content = json.loads((tmp_path / "p1_lesions.json").read_text())
        assert content["research_use_only"] is True
        assert "no diagnosis" in content["notice"]
        assert (content["case"], content["class"]) == ("p1", "core")
        assert content["detection_map"] == "p1_detection_map.nii.gz"
        (lesion,) = content["lesions"]
        assert content["patient_score"] == lesion["confidence"] == pytest.approx(0.8, abs=1e-5)
        assert lesion["confidence"] == float(image.get_fdata().max())
        assert {name: lesion[name] for name in ("number", "voxels", "volume_mm3", "slice", "slice_axis")} == {
            "number": 1, "voxels": 24, "volume_mm3": 180.0, "slice": 7, "slice_axis": 2,
        }  # fmt: skip
        assert lesion["centre_voxel"] == [8.5, 11.5, 8.0]
        assert lesion["centre_mm"] == [17.25, 3.0, 30.0]
        assert lesion["extent_mm"] == [3.0, 8.0, 7.5]
        assert lesion["region"] == "swollen rim"
        assert content["grid"]["shape"] == [19, 23, 17]
        assert content["settings"]["class"] == "core"
        assert content["model"]["weights_sha256"] == ["0" * 64]
        assert "core: patient score 0.800, lesions: 1" in written.sentences

    def test_nothing_found(self, tmp_path: Path) -> None:
        images = patient()
        images["t2"] = images["flair"] * 2  # clipped at 1000: no core anywhere
        detector().predict_file(save_patient(tmp_path, images), tmp_path / "label.nii.gz")
        content = json.loads((tmp_path / "label_lesions.json").read_text())
        assert (content["patient_score"], content["lesions"]) == (0.0, [])
        assert not nibabel.load(tmp_path / "label_detection_map.nii.gz").get_fdata().any()

    def test_from_python(self, tmp_path: Path) -> None:
        found: list[Detected] = []
        images = save_patient(tmp_path, two_lesions())
        detector().predict(images, on_detected=found.append)
        assert [lesion.confidence for lesion in found[0].lesions] == pytest.approx([0.8, 0.6], abs=1e-5)
        assert found[0].regions == ("swollen rim", "")
        with pytest.raises(UsageError, match="detects no lesions"):
            LoadedModel(detector().stages, describe_classes(), torch.device("cpu")).predict(
                images, on_detected=found.append
            )

    def test_near_the_organ(self, tmp_path: Path) -> None:
        images = save_patient(tmp_path, two_lesions())
        for near_mm, count in ((1.0, 1), (40.0, 2)):
            found: list[Detected] = []
            detector(near=["swollen rim"], near_mm=near_mm).predict(images, on_detected=found.append)
            assert len(found[0].lesions) == count

    def test_no_organ_is_noted(self, tmp_path: Path) -> None:
        images = two_lesions()
        images["t2"] = np.where(images["t2"] > 0, 500, 0).astype(np.float32)
        found: list[Detected] = []
        volume = detector(near=["swollen rim"]).predict(save_patient(tmp_path, images), on_detected=found.append)
        assert len(found[0].lesions) == 2
        assert volume.notes[-1] == found[0].notes[0] == (
            "no voxel of swollen rim was found: lesions were searched for everywhere"
        )  # fmt: skip

    def test_a_class_that_the_model_does_not_make(self) -> None:
        with pytest.raises(ModelError, match="'tumour'"):
            detector(**{"class": "tumour"})

    def test_printed_and_written_by_the_command(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("medgen.methods.catalogue.resolve", lambda name, **_: Known)
        save_model(
            tmp_path / "run" / "model", [Known(KnownConfig(), Shape(2, 3))], describe_detection(near=["swollen rim"])
        )
        inputs = [word for role, path in save_patient(tmp_path).items() for word in ("-i", f"{role}={path}")]
        with pytest.raises(SystemExit, match="0"):
            main(["predict", str(tmp_path / "run"), *inputs, "-o", str(tmp_path / "label.nii.gz")])
        header, row, output = capsys.readouterr().out.splitlines()
        assert header.split("\t")[:3] == ["core", "confidence", "mm^3"]
        assert row.split("\t") == ["1", "0.800", "180", "17.2 3.0 30.0", "7", "3.0 x 8.0 x 7.5", "swollen rim"]
        assert output.endswith("label.nii.gz")


class TestTogether:
    def cases(self, folder: Path, count: int = 3) -> list[Case]:
        return [Case(f"p{n}", "test", None, save_patient(folder / f"in{n}", two_lesions())) for n in range(count)]

    def test_cohort_report_and_resume(self, tmp_path: Path) -> None:
        cases, out = self.cases(tmp_path), tmp_path / "out"
        predict_cohort(detector(), cases, out)
        names = {"p1_label.nii.gz", "p1_detection_map.nii.gz", "p1_lesions.json"}
        assert {path.name for path in (out / "p1").iterdir()} == names
        before = json.loads((out / "prediction.json").read_text())["cases"]
        assert [(case["lesions"], case["patient_score"]) for case in before] == [(2, pytest.approx(0.8, abs=1e-5))] * 3
        with pytest.raises(UsageError, match="9 outputs exist"):
            predict_cohort(detector(), cases, out)
        (out / "p1" / "p1_lesions.json").unlink()
        kept = (out / "p0" / "p0_lesions.json").stat().st_mtime_ns
        result = predict_cohort(detector(), cases, out, resume=True)
        assert [case.status for case in result.cases] == ["kept", "done", "kept"]
        assert [case.lesions for case in result.cases] == [2, 2, 2]
        assert (out / "p0" / "p0_lesions.json").stat().st_mtime_ns == kept

    @pytest.mark.parametrize("last", ["medgen.inference.writing.write_lesions", "medgen.inference.model.write_volume"])
    def test_half_a_case_has_no_label_map(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str) -> None:
        """The new map must not stand beside the old label map, as if they were of one run."""
        images, output = save_patient(tmp_path), tmp_path / "label.nii.gz"
        detector().predict_file(images, output)

        def full(*arguments: object, **options: object) -> None:
            raise StorageError("no space left")

        monkeypatch.setattr(last, full)
        with pytest.raises(StorageError):
            detector(factor=0.5).predict_file(images, output, overwrite=True)
        assert not output.exists()
        assert read_volume(tmp_path / "label_detection_map.nii.gz").data.max() == pytest.approx(0.4, abs=1e-5)

    @pytest.mark.parametrize("there", MEMBERS)
    def test_each_file_is_protected(self, tmp_path: Path, there: str) -> None:
        (tmp_path / there).write_bytes(b"precious")
        with pytest.raises(UsageError, match="exists"):
            detector().predict_file({"flair": "absent.nii.gz", "t2": "absent.nii.gz"}, tmp_path / "label.nii.gz")
        assert (tmp_path / there).read_bytes() == b"precious"

    def test_names(self) -> None:
        files = files_of(Path("a/case_1_label.nii"), ["label"], probabilities=["core"], lesions=True)
        assert [file.as_posix() for file in files.all] == [
            "a/case_1_label.nii",
            "a/case_1_probability_core.nii",
            "a/case_1_detection_map.nii",
            "a/case_1_lesions.json",
        ]


class TestEnsemble:
    def test_mean_of_the_probabilities(self, tmp_path: Path) -> None:
        images, maps, found = save_patient(tmp_path), {}, []
        model = detector().joined([detector(0.5, "1"), detector(0.25, "2")])
        label = model.predict(images, on_probability=maps.__setitem__, on_detected=found.append)
        share = (1 + 0.5 + 0.25) / 3
        assert maps["core"].data[0, 8, 11, 8] == pytest.approx(0.8 * share, abs=1e-5)
        assert found[0].score == pytest.approx(0.8 * share, abs=1e-5)
        np.testing.assert_array_equal(label.data, detector().predict(images).data)  # all classes shrink alike

    def test_arg_max_of_the_mean(self, tmp_path: Path) -> None:
        """0.6 and 0.06 for the core are 0.33 together, though the first model alone calls it core."""
        images = patient()
        images["flair"][CORE] = 800.0
        paths = save_patient(tmp_path, images)
        second = LoadedModel([Shy(KnownConfig(), Shape(2, 3))], describe_detection("1"), torch.device("cpu"))
        assert (detector().predict(paths).data[0] == 1)[CORE].all()
        assert not (detector().joined([second]).predict(paths).data[0] == 1)[CORE].any()

    def test_models_that_do_not_fit(self) -> None:
        def other(**changes: object) -> LoadedModel:
            description = describe_detection("1") | changes
            return LoadedModel(detector().stages, description, torch.device("cpu"), source="fold1")

        plain = describe_classes()["preparation"]
        grid = {"preparation": {**plain, "config": {**plain["config"], "spacing": [2, 2, 2]}}}
        roles = {"preparation": {**plain, "roles": {**plain["roles"], "inputs": ["t2", "flair"]}}}
        names = {"classes": ["rim", "core"]}
        for changes, said in (
            (grid, r"model 2 of the ensemble has preparation.spacing 2.0, 2.0, 2.0, the first has None"),
            (roles, "inputs t2, flair, the first has flair, t2"),
            (names, "classes rim, core"),
        ):
            with pytest.raises(UsageError, match=said) as caught:
                detector().joined([other(**changes)])
            assert caught.value.where == "fold1"
        with pytest.raises(UsageError, match="twice"):
            detector().joined([detector()])

    def test_loaded_once_and_not_resumed_by_another(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        models = {"a": detector(weights="a"), "b": detector(0.5, "b"), "c": detector(0.5, "c")}
        loads: list[str] = []

        def load(run: str, **_: object) -> LoadedModel:
            loads.append(run)
            return models[run]

        monkeypatch.setattr("medgen.inference.cohort.load_model", load)
        table = tmp_path / "cases.csv"
        save_patient(tmp_path)
        table.write_text("case,split,flair,t2\np1,test,flair.nii.gz,t2.nii.gz\np2,test,flair.nii.gz,t2.nii.gz\n")
        predict("a", table, tmp_path / "out", ensemble=["b"])
        assert loads == ["a", "b"]
        report = json.loads((tmp_path / "out" / "prediction.json").read_text())
        assert report["model"]["ensemble_sha256"] == ["b" * 64]
        assert report["cases"][0]["patient_score"] == pytest.approx(0.6, abs=1e-5)
        lesions = json.loads((tmp_path / "out" / "p1" / "p1_lesions.json").read_text())
        assert lesions["model"]["weights_sha256"] == ["a" * 64, "b" * 64]
        predict("a", table, tmp_path / "out", ensemble=["b"], resume=True)
        for others in ([], ["c"]):
            with pytest.raises(UsageError, match="another model"):
                predict("a", table, tmp_path / "out", ensemble=others, resume=True)
