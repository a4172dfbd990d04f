"""No prediction replaces a file that it reads or that the case table names, nor one that no prediction has written."""

import json
from pathlib import Path

import pytest
from known_classes import make_segmenter, save_patient
from mean_model import Mean, describe, head, make_model, save

from medgen.cases import Case, write_cases
from medgen.errors import UsageError
from medgen.inference import one_case
from medgen.inference.cohort import predict, predict_cohort
from medgen.inference.options import PredictOptions
from medgen.methods.base import Shape
from medgen.training.model_folder import save_model

MAPS = PredictOptions(probabilities=True)
HOW = [{}, {"overwrite": True}, {"resume": True}]


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr("medgen.methods.catalogue.resolve", lambda name, **_: Mean)
    save_model(tmp_path / "run" / "model", [Mean(Mean.config_class(), Shape(1, 1))], describe(["t1"]))
    return tmp_path / "run"


@pytest.fixture
def study(tmp_path):
    """The folder of a data set: each case has its images in a folder of its own, named as those of a prediction."""
    for name in ("a", "b"):
        for role, value in (("t1", 500.0), ("ct", 40.0), ("ct_sd", 1.0)):
            save(head(value=value), tmp_path / "study" / name / f"{name}_{role}.nii.gz")
    return tmp_path / "study"


def cases_of(study, *roles, split="test"):
    return [
        Case(name, split, None, {role: study / name / f"{name}_{role}.nii.gz" for role in roles}) for name in ("a", "b")
    ]


def content(folder):
    """Every file but the lock, which is empty."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.mark.parametrize("how", HOW, ids=str)
@pytest.mark.parametrize("roles", [("t1", "ct"), ("t1", "ct_sd")])
def test_a_cohort_replaces_no_image_of_its_table(study, how, roles):
    """What the model does not read is kept too, and a file that would only be removed, as a stale deviation is."""
    before = content(study)
    with pytest.raises(UsageError, match="the output is an input of the command") as caught:
        predict_cohort(make_model(), cases_of(study, *roles), study, **how)
    assert caught.value.where == study / "a" / f"a_{roles[1]}.nii.gz"
    assert content(study) == before


@pytest.mark.parametrize("how", HOW, ids=str)
def test_a_table_is_kept_with_the_images_of_its_other_cases(run, study, tmp_path, how):
    """The image of a case of another split, in a column of any name, stands where a result would go."""
    mine, other = cases_of(study, "t1")
    other = Case("c", "train", None, {"t1": other.images["t1"], "second_reader": study / "a" / "a_ct.nii.gz"})
    table = write_cases([mine, other], tmp_path / "cases.csv")
    before = content(study)
    with pytest.raises(UsageError, match="the output is an input of the command"):
        predict(run, table, study, split="test", device="cpu", **how)
    assert content(study) == before
    (study / "failed.csv").write_text(table.read_text().replace("study/", ""))
    with pytest.raises(UsageError, match="the output is an input of the command") as caught:
        predict(run, study / "failed.csv", study, split="train", device="cpu", **how)
    assert caught.value.where == study / "failed.csv"
    table = write_cases([mine], tmp_path / "derived.csv")
    with pytest.raises(UsageError, match="the output holds an input of the command"):
        predict(run, table, tmp_path / "out", bids=study, device="cpu", **how)


@pytest.mark.parametrize("link", ["hardlink_to", "symlink_to"])
def test_an_image_is_known_by_whatever_path(study, tmp_path, link):
    place = tmp_path / "out" / "a" / "a_ct.nii.gz"
    place.parent.mkdir(parents=True)
    getattr(place, link)(study / "a" / "a_ct.nii.gz")
    with pytest.raises(UsageError, match="the output is an input of the command"):
        predict_cohort(make_model(), cases_of(study, "t1", "ct"), tmp_path / "out", overwrite=True)
    (tmp_path / "alias").symlink_to(study)
    with pytest.raises(UsageError, match="the output is an input of the command"):
        predict_cohort(make_model(), cases_of(study, "t1", "ct"), tmp_path / "alias", overwrite=True)


def test_maps_beside_the_result_replace_no_image(tmp_path):
    """An earlier probability map may be an input of the next model."""
    images = save_patient(tmp_path / "data")
    prior = save(head(), tmp_path / "out" / "p" / "p_probability_core.nii.gz")
    case = Case("p", "test", None, {**images, "prior": prior})
    before = content(tmp_path)
    with pytest.raises(UsageError, match="the output is an input of the command"):
        predict_cohort(make_segmenter(), [case], tmp_path / "out", MAPS, overwrite=True)
    assert content(tmp_path) == before
    predict_cohort(make_segmenter(), [case], tmp_path / "out", overwrite=True)
    assert prior.read_bytes() == before[prior]


@pytest.mark.parametrize("inputs", ["x.nii.gz", {"t1": "x.nii.gz"}, {"t1": "x_sd.nii.gz"}])
def test_one_volume_is_not_written_over_itself(run, tmp_path, monkeypatch, inputs):
    monkeypatch.chdir(tmp_path)
    for name in ("x.nii.gz", "x_sd.nii.gz"):
        save(head(), tmp_path / name)
    before = content(tmp_path)
    with pytest.raises(UsageError, match="the output is an input of the command"):
        predict(run, inputs, "x.nii.gz", device="cpu", overwrite=True)
    with pytest.raises(UsageError, match="the output is an input of the command"):
        make_model().predict_file(inputs, "x.nii.gz", overwrite=True)
    assert content(tmp_path) == before


class TestResume:
    def test_a_file_without_a_record_is_somebody_elses(self, study, tmp_path):
        """The table names the MR alone, and the true CT lie where results go."""
        before = content(study)
        with pytest.raises(UsageError, match=r"4 outputs exist.*a/a_ct\.nii\.gz, of which .* has no record"):
            predict_cohort(make_model(), cases_of(study, "t1"), study, resume=True)
        assert content(study) == before
        cases = cases_of(study, "t1")
        predict_cohort(make_model(), cases[:1], tmp_path / "out")
        mine = save(head(), tmp_path / "out" / "b" / "b_ct.nii.gz").read_bytes()
        with pytest.raises(UsageError, match=r"the output b/b_ct\.nii\.gz exists, of which"):
            predict_cohort(make_model(), cases, tmp_path / "out", resume=True)
        assert (tmp_path / "out" / "b" / "b_ct.nii.gz").read_bytes() == mine
        predict_cohort(make_model(), cases, tmp_path / "out", overwrite=True)
        assert (tmp_path / "out" / "b" / "b_ct.nii.gz").read_bytes() != mine

    @pytest.mark.parametrize("how", HOW, ids=str)
    def test_what_a_killed_run_left_is_its_own(self, study, tmp_path, monkeypatch, how):
        """Killed between the result and the report; with another run before, whose later results are still there."""
        cases, out = cases_of(study, "t1"), tmp_path / "out"
        if how:
            predict_cohort(make_model(), cases, out)
            save(head(value=600.0), study / "a" / "a_t1.nii.gz")
        real = one_case.predict_files

        def killed(*arguments, **options):
            real(*arguments, **options)
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(one_case, "predict_files", killed)
            with pytest.raises(KeyboardInterrupt):
                predict_cohort(make_model(), cases, out, **how)
        assert json.loads((out / "prediction.json").read_text())["writing"]
        result = predict_cohort(make_model(), cases, out, resume=True)
        kept = "kept" if how == {"resume": True} else "done"
        assert [case.status for case in result.cases] == ["done", kept]
        assert "writing" not in json.loads((out / "prediction.json").read_text())

    def test_a_case_that_failed_beside_an_earlier_result_is_taken_up(self, study, tmp_path):
        cases, out = cases_of(study, "t1"), tmp_path / "out"
        predict_cohort(make_model(), cases, out)
        whole = cases[0].images["t1"].read_bytes()
        cases[0].images["t1"].write_bytes(whole[:100])
        result = predict_cohort(make_model(), cases, out, overwrite=True)
        assert [case.status for case in result.cases] == ["failed", "done"]
        cases[0].images["t1"].write_bytes(whole)
        result = predict_cohort(make_model(), cases, out, resume=True)
        assert [case.status for case in result.cases] == ["done", "kept"]


def test_reports_of_others_are_kept(run, study, tmp_path):
    cases, out = cases_of(study, "t1"), tmp_path / "out"
    out.mkdir()
    for name, text in (("failed.csv", "patient,why\n"), ("prediction.json", '{"mine": 1}')):
        (out / name).write_text(text)
        with pytest.raises(UsageError, match="no earlier result"):
            predict_cohort(make_model(), cases, out)
        assert (out / name).read_text() == text
        (out / name).unlink()
    (tmp_path / "ct.prediction.json").write_text('{"mine": 1}')
    with pytest.raises(UsageError, match="no earlier result"):
        predict(run, cases[0].images["t1"], tmp_path / "ct.nii.gz", device="cpu")
    assert not (tmp_path / "ct.nii.gz").exists()


def test_a_folder_that_holds_an_input_is_no_output(tmp_path):
    """Nor is it where the input is the folder; one beside it is."""
    from medgen.files import require_apart

    series = tmp_path / "out" / "p_ct_dicom"
    series.mkdir(parents=True)
    (series / "CT_0001.dcm").write_bytes(b"one slice")
    for used in (series, series / "CT_0001.dcm"):
        with pytest.raises(UsageError, match="input of the command"):
            require_apart([tmp_path / "out" / "p_ct.nii.gz", series], [used])
    require_apart([series], [Path("p_ct.nii.gz"), tmp_path / "other"])
