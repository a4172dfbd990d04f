"""A translator runs both ways, each on the grid of what it reads; other models name what they can do."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from dicom_files import write_series
from mean_model import AFFINE, head, make_model, save
from pydicom.uid import CTImageStorage
from toy_methods import Doubling, Sampler, make_toy

from medgen.cases import Case, write_cases
from medgen.cli import main
from medgen.errors import UsageError
from medgen.inference import cohort
from medgen.inference.cohort import predict, predict_cohort
from medgen.inference.model import LoadedModel
from medgen.inference.options import PredictOptions

BACKWARD = PredictOptions(direction="backward")


def exit_code(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(words)
    return int(caught.value.code or 0)


def ct() -> np.ndarray:
    """Air around water of -268 HU (0.5 below the middle of the window), with a core of 1244 HU."""
    image = np.full((19, 23, 17), -1024, np.float32)
    image[3:-3, 3:-3, 3:-3] = -268
    image[6:-6, 6:-6, 6:-6] = 1244
    return image


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return save(ct(), tmp_path / "in" / "ct.nii.gz")


class TestValues:
    def test_forward_is_the_default(self, tmp_path: Path) -> None:
        """625 is 0.25 of [-1, 1], twice that is 0.5: 1244 HU."""
        model, path = make_toy(Doubling), save(head(value=625.0), tmp_path / "t1.nii.gz")
        for direction in (None, "forward"):
            result = model.predict(path, direction=direction)
            assert result.data[0, 4, 11, 8] == pytest.approx(1244, abs=0.01)
            assert result.data[0, 0, 0, 0] == -1024

    def test_backward_goes_through_the_window_of_the_input(self, target: Path) -> None:
        """-268 HU is -0.5, half of it -0.25: 375 of 0..1000; 1244 HU is 0.5, half of it 0.25: 625."""
        model = make_toy(Doubling)
        result = model.predict(target, direction="backward")
        np.testing.assert_array_equal(result.affine, AFFINE)
        assert result.data.shape == (1, 19, 23, 17)
        assert result.data[0, 4, 11, 8] == pytest.approx(375, abs=0.01)
        assert result.data[0, 9, 11, 8] == pytest.approx(625, abs=0.01)
        assert result.data[0, 0, 0, 0] == 0  # the low end of the window
        assert not any("normalised" in note for note in result.notes)
        np.testing.assert_array_equal(model.predict({"ct": target}, direction="backward").data, result.data)
        with pytest.raises(UsageError, match="the model reads: ct"):
            model.predict({"t1": target}, direction="backward")

    @pytest.mark.parametrize(
        ("rule", "outside"), [("zscore", "smallest"), ({"percentiles": [0, 100]}, -1.0)], ids=["zscore", "percentiles"]
    )
    def test_an_input_without_a_unit_stays_normalised(self, target: Path, rule: object, outside: object) -> None:
        model = make_toy(Doubling, intensity={"t1": rule})
        result = model.predict(target, direction="backward")
        assert result.data[0, 4, 11, 8] == pytest.approx(-0.25, abs=1e-5)
        assert "t1 is in units of the normalised training images" in result.notes
        smallest = result.data[0, 2:-2, 2:-2, 2:-2].min()
        assert result.data[0, 0, 0, 0] == pytest.approx(smallest if outside == "smallest" else outside)
        assert result.data.min() >= -1

    def test_what_lies_beyond_the_window_is_clipped_and_counted(self, target: Path) -> None:
        model = make_toy(Doubling)
        model.stages[0].predict = lambda image, direction, generator: 4 * image  # type: ignore[method-assign]
        result = model.predict(target, direction="backward")
        assert (result.data.min(), result.data.max()) == (0, 1000)
        assert any(note.startswith("t1: ") and "clipped" in note for note in result.notes)

    def test_an_input_in_hounsfield_units_is_written_as_such(self, target: Path, tmp_path: Path) -> None:
        model = make_toy(Doubling, "cbct", intensity={"cbct": {"window": [-1000, 1000]}})
        model.predict_file(target, tmp_path / "cbct.nii.gz", BACKWARD)
        written = nibabel.load(tmp_path / "cbct.nii.gz")
        assert written.get_data_dtype() == np.int16
        assert np.asarray(written.dataobj)[4, 11, 8] == -250
        assert np.asarray(written.dataobj)[0, 0, 0] == -1024

    def test_the_residual_of_an_input_has_no_unit(self, target: Path) -> None:
        model = make_toy(Doubling, "t1", "t2", residual={"t2": ["t1"]})
        result = model.predict(target, direction="backward")
        assert result.data[:, 4, 11, 8].tolist() == pytest.approx([375, -0.25], abs=0.01)
        assert [note for note in result.notes if "normalised" in note] == [
            "t2 is in units of the normalised training images"
        ]
        assert model.kind_of("t2") == "scalar"

    def test_ensemble(self, target: Path) -> None:
        models = make_toy(Doubling), make_toy(Doubling, weights="1")
        result = models[0].joined([models[1]]).predict(target, direction="backward")
        assert result.data[0, 4, 11, 8] == pytest.approx(375, abs=0.01)


class TestFiles:
    def two(self) -> LoadedModel:
        return make_toy(Doubling, "t1", "ge|swi")

    def test_one_file_for_each_input_of_a_case(self, target: Path, tmp_path: Path) -> None:
        model, cases, out = self.two(), [Case("p1", "test", None, {"ct": target})], tmp_path / "out"
        result = predict_cohort(model, cases, out, BACKWARD)
        assert not result.failed
        files = [out / "p1" / f"p1_{role}.nii.gz" for role in ("t1", "ge-swi")]
        assert sorted(out.rglob("*.nii.gz")) == sorted(files)
        for file in files:
            assert nibabel.load(file).get_fdata()[4, 11, 8] == pytest.approx(375, abs=0.01)
        report = json.loads((out / "prediction.json").read_text())
        assert report["direction"] == "backward"
        files[1].unlink()
        assert predict_cohort(model, cases, out, BACKWARD, resume=True).cases[0].status == "done"
        assert predict_cohort(model, cases, out, BACKWARD, resume=True).cases[0].status == "kept"

    @pytest.mark.skipif(sys.version_info >= (3, 14), reason="highdicom cannot be installed")
    def test_each_image_becomes_dicom_in_its_own_unit(self, tmp_path: Path) -> None:
        """One image in HU is a CT series, the other is a map; each has a number, and its spread its unit."""
        write_series(tmp_path / "CT", ct().astype(np.int16), kind=CTImageStorage)
        models = [
            make_toy(Doubling, "cbct", "t1", intensity={"cbct": {"window": [-1000, 1000]}}, weights=w) for w in "01"
        ]
        options = replace(BACKWARD, dicom=True, uncertainty=True)
        cases = [Case("p1", "test", None, {"ct": tmp_path / "CT"})]
        result = predict_cohort(models[0].joined(models[1:]), cases, tmp_path / "out", options)
        assert not result.failed
        found = {path.parent.name: pydicom.dcmread(path) for path in (tmp_path / "out").rglob("*_0001.dcm")}
        assert {name: header.Modality for name, header in found.items()} == {
            "p1_cbct_dicom": "CT",
            "p1_t1_dicom": "OT",
            "p1_cbct_dicom_maps": "OT",
        }
        maps = [pydicom.dcmread(path) for path in sorted((tmp_path / "out/p1/p1_cbct_dicom_maps").iterdir())]
        groups = [each.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0] for each in maps]
        units = [each.MeasurementUnitsCodeSequence[0].CodeValue for each in groups]
        assert units == ["[hnsf'U]", "1"]
        every = [*found.values(), *maps[1:]]
        assert len({header.SeriesNumber for header in every}) == len({h.SeriesInstanceUID for h in every}) == 4

    def test_of_one_patient_one_input_alone(
        self, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cohort, "load_model", lambda *_, **__: self.two())
        with pytest.raises(UsageError, match=r"makes 2 images of a patient \(t1, ge\|swi\)") as caught:
            predict("run", target, tmp_path / "t1.nii.gz", direction="backward")
        assert "case table" in caught.value.fix
        table = write_cases([Case("p1", "test", None, {"ct": target})], tmp_path / "cases.csv")
        predict("run", table, tmp_path / "out", direction="backward")
        assert (tmp_path / "out" / "p1" / "p1_t1.nii.gz").is_file()

    def test_command(self, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cohort, "load_model", lambda *_, **__: make_toy(Doubling))
        words = ["predict", "run", "-i", str(target), "-o", str(tmp_path / "t1.nii.gz"), "--direction", "backward"]
        assert exit_code(*words, "--seed", "3") == 2, "a model without chance has nothing to seed"
        assert exit_code(*words) == 0
        report = json.loads((tmp_path / "t1.prediction.json").read_text())
        assert (report["direction"], report["seed"]) == ("backward", None)


class TestRefused:
    def test_an_unknown_direction(self, target: Path) -> None:
        with pytest.raises(UsageError) as caught:
            make_toy(Doubling, "t1", "t2").predict(target, direction="sideways")  # type: ignore[arg-type]
        assert caught.value.what.startswith("there is no direction 'sideways'; this model can translate: ")
        assert caught.value.what.endswith("forward (t1, t2 to ct), backward (ct to t1, t2)")

    def test_a_direction_for_a_model_that_predicts(self, target: Path, tmp_path: Path) -> None:
        model = make_model()
        for direction in ("forward", "backward"):
            with pytest.raises(UsageError, match=rf"no direction '{direction}'; it can: predict") as caught:
                model.predict(target, direction=direction)
            assert caught.value.fix == "leave out --direction"
        with pytest.raises(UsageError, match="no direction"):
            predict_cohort(model, [Case("p", "test", None, {"t1": target})], tmp_path / "out", BACKWARD)
        assert not (tmp_path / "out").exists()

    def test_a_cascade_translates_forward_alone(self, target: Path) -> None:
        one = make_toy(Doubling)
        model = LoadedModel([*one.stages, *one.stages], one.description, one.device)
        with pytest.raises(UsageError, match="a cascade of 2 networks"):
            model.predict(target, direction="backward")

    @pytest.mark.parametrize("table", [False, True])
    def test_a_model_that_only_samples(
        self,
        target: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        table: bool,
    ) -> None:
        monkeypatch.setattr(cohort, "load_model", lambda *_, **__: make_toy(Sampler))
        inputs, output = target, tmp_path / "out.nii.gz"
        if table:
            inputs = write_cases([Case("p", "test", None, {"t1": target})], tmp_path / "cases.csv")
            output = tmp_path / "out"
        assert exit_code("predict", "run", "-i", str(inputs), "-o", str(output)) == 2
        assert "this model makes no prediction; it can: sample, encode" in capsys.readouterr().err
        assert not output.exists()
