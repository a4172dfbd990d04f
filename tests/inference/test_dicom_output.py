"""``medgen predict --dicom``: a study goes in, and what comes out belongs to it and lies where it lies."""

import json
import sys

import numpy as np
import pydicom
import pytest
import tiny
from dicom_files import NUMBER, PERSON, write_series
from tiny_domains import recipe as lesion_recipe
from tiny_domains import write_domains

from medgen.cases import Case
from medgen.errors import InputError, UsageError
from medgen.inference.cohort import predict
from medgen.inference.dicom_output import predict_files
from medgen.inference.limits import Limits
from medgen.inference.loading import load_model
from medgen.inference.options import PredictOptions
from medgen.run.experiment import train
from medgen.volume import read_volume

no_highdicom = pytest.mark.skipif(sys.version_info >= (3, 14), reason="highdicom cannot be installed")
SHAPE = (20, 20, 20)


@pytest.fixture(scope="module")
def synthesiser(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthesiser")
    recipe = {**tiny.recipe(schedule={"steps": 1}), "method": "supervised", "inference": {"flips": ["x"]}}
    recipe["config"] = {"generator": "unet", "width": 0.125, "context": "none"}
    return train(recipe, tiny.write_cases(folder, train=2, val=0), folder / "run", device="cpu")


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    folder = tmp_path_factory.mktemp("segmenter")
    return train(lesion_recipe(data={"domains": ["source"]}), write_domains(folder), folder / "run", device="cpu")


@pytest.fixture
def study(tmp_path):
    """A body of two tissues as a DICOM series."""
    far = np.linalg.norm(np.indices(SHAPE) - 9.5, axis=0)
    write_series(tmp_path / "T1", np.where(far < 8, np.where(far < 4, 200, 800), 0).astype(np.int16))
    return tmp_path / "T1"


def headers(folder):
    return [pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))]


def test_a_synthetic_ct_becomes_a_series_of_the_study(synthesiser, study, tmp_path):
    predict(synthesiser, study, tmp_path / "out/ct.nii.gz", device="cpu", dicom=True)
    ct = read_volume(tmp_path / "out/ct.nii.gz")
    back = read_volume(tmp_path / "out/ct_dicom")
    assert np.array_equal(back.data, ct.data)
    assert np.abs(back.affine - ct.affine).max() < 1e-3
    mine, theirs = headers(tmp_path / "out/ct_dicom")[0], headers(study)[0]
    assert (mine.StudyInstanceUID, mine.PatientID) == (theirs.StudyInstanceUID, NUMBER)
    assert mine.ManufacturerModelName == "supervised"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"ct.nii.gz", "ct.prediction.json", "ct_dicom"}


@no_highdicom
def test_maps_of_uncertainty_come_along_and_nothing_names_the_patient(synthesiser, study, tmp_path):
    options = {"device": "cpu", "uncertainty": True, "dicom": True, "anonymize": True}
    predict(synthesiser, study, tmp_path / "out/ct.nii.gz", **options)
    (sd,) = headers(tmp_path / "out/ct_dicom_maps")
    assert sd.SeriesDescription.startswith("Standard deviation of ct")
    (ct, *_) = headers(tmp_path / "out/ct_dicom")
    assert ct.StudyInstanceUID == sd.StudyInstanceUID
    for path in (tmp_path / "out").rglob("*.dcm"):
        assert not any(word.encode() in path.read_bytes() for word in (PERSON, NUMBER))


@no_highdicom
def test_a_cohort_gets_segmentations_and_probabilities(segmenter, tmp_path):
    roles = ("t1", "ge")
    for case in ("p1", "p2"):
        for number, role in enumerate(roles):
            data = np.random.default_rng(number).integers(1, 900, SHAPE).astype(np.int16)
            write_series(tmp_path / case / role, data)
    rows = [",".join((case, "test", "source", *(f"{case}/{role}" for role in roles))) for case in ("p1", "p2")]
    rows.append("p3,test,source,p1/t1,")
    table = tmp_path / "cases.csv"
    table.write_text("\n".join(["case,split,domain,t1,ge", *rows]) + "\n")
    options = {"device": "cpu", "probabilities": True, "dicom": True, "contours": True}
    with pytest.raises(Exception, match="1 of 3"):
        predict(segmenter, table, tmp_path / "out", **options)
    for case in ("p1", "p2"):
        names = {path.name for path in (tmp_path / "out" / case).iterdir() if path.is_dir()}
        assert names == {f"{case}_label_dicom", f"{case}_label_dicom_maps", f"{case}_label_dicom_contours"}
    report = json.loads((tmp_path / "out/prediction.json").read_text())
    assert [each["status"] for each in report["cases"]] == ["done", "done", "failed"]
    before = headers(tmp_path / "out/p1/p1_label_dicom")[0].SOPInstanceUID
    for path in (tmp_path / "out/p2/p2_label_dicom").iterdir():
        path.unlink()
    (tmp_path / "out/p2/p2_label_dicom").rmdir()
    with pytest.raises(Exception, match="1 of 3"):
        predict(segmenter, table, tmp_path / "out", **options, resume=True)
    assert headers(tmp_path / "out/p1/p1_label_dicom")[0].SOPInstanceUID == before  # kept
    assert headers(tmp_path / "out/p2/p2_label_dicom")


def test_a_new_prediction_leaves_no_dicom_of_the_one_before(synthesiser, study, tmp_path):
    out = tmp_path / "out/ct.nii.gz"
    predict(synthesiser, study, out, device="cpu", dicom=True)
    before = headers(tmp_path / "out/ct_dicom")[0].SOPInstanceUID
    with pytest.raises(Exception, match="memory"):  # what fails takes nothing away
        predict(synthesiser, study, out, device="cpu", dicom=True, overwrite=True, limits=Limits(memory=1e-6))
    assert headers(tmp_path / "out/ct_dicom")[0].SOPInstanceUID == before
    predict(synthesiser, study, out, device="cpu", dicom=True, overwrite=True)
    assert headers(tmp_path / "out/ct_dicom")[0].SOPInstanceUID != before
    predict(synthesiser, study, out, device="cpu", overwrite=True)
    assert not (tmp_path / "out/ct_dicom").exists()


def test_series_of_the_user_stay_whatever_they_are_called(synthesiser, study, tmp_path):
    """The source may lie where the result would: a folder is ours by what its files say, not by a name."""
    for number, path in enumerate(sorted(study.iterdir()), start=1):
        path.rename(path.with_name(f"CT_{number:04d}.dcm"))
    study.rename(tmp_path / "ct_dicom")
    before = {path.name: path.read_bytes() for path in (tmp_path / "ct_dicom").iterdir()}
    predict(synthesiser, tmp_path / "ct_dicom", tmp_path / "ct.nii.gz", device="cpu", overwrite=True)
    predict(synthesiser, tmp_path / "ct_dicom", tmp_path / "ct.nii.gz", device="cpu", overwrite=True)
    with pytest.raises(UsageError, match="output is an input"):
        predict(synthesiser, tmp_path / "ct_dicom", tmp_path / "ct.nii.gz", device="cpu", overwrite=True, dicom=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "ct_dicom").iterdir()} == before


def test_a_resumed_cohort_becomes_anonymous_and_cleans_up_after_a_kill(synthesiser, study, tmp_path):
    table = tmp_path / "cases.csv"
    table.write_text("case,split,t1\np1,test,T1\n")
    predict(synthesiser, table, tmp_path / "out", device="cpu", dicom=True)
    (tmp_path / "out/p1/.partial-abc").mkdir()
    predict(synthesiser, table, tmp_path / "out", device="cpu", dicom=True, anonymize=True, resume=True)
    assert headers(tmp_path / "out/p1/p1_ct_dicom")[0].PatientIdentityRemoved == "YES"
    assert {path.name for path in (tmp_path / "out/p1").iterdir()} == {"p1_ct.nii.gz", "p1_ct_dicom"}


@pytest.mark.parametrize("dicom", [True, False], ids=["new DICOM", "no new DICOM"])
def test_dicom_that_the_table_names_is_neither_replaced_nor_removed(synthesiser, study, tmp_path, dicom):
    """What medgen wrote before may be the input of another model, in whatever column."""
    table = tmp_path / "cases.csv"
    table.write_text("case,split,t1\np1,test,T1\n")
    predict(synthesiser, table, tmp_path / "out", device="cpu", dicom=True)
    folder = tmp_path / "out/p1/p1_ct_dicom"
    before = {path: path.read_bytes() for path in folder.iterdir()}
    (tmp_path / "out/p1/p1_ct.nii.gz").rename(tmp_path / "kept.nii.gz")
    for named in ("out/p1/p1_ct_dicom", f"out/p1/p1_ct_dicom/{min(before).name}"):
        table.write_text(f"case,split,t1,earlier\np1,test,T1,{named}\n")
        for how in ({"overwrite": True}, {"resume": True}):
            with pytest.raises(UsageError, match="an input of the command") as caught:
                predict(synthesiser, table, tmp_path / "out", device="cpu", dicom=dicom, **how)
            assert caught.value.where == folder
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    images = {"t1": study, "earlier": folder}
    with pytest.raises(UsageError, match="an input of the command"):
        predict_files(
            load_model(synthesiser, device="cpu"),
            Case("p1", "test", None, images),
            tmp_path / "out/p1/p1_ct.nii.gz",
            PredictOptions(dicom=True),
            overwrite=True,
        )
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_source_without_a_study_is_found_before_the_work(synthesiser, study, tmp_path):
    for path in study.iterdir():
        header = pydicom.dcmread(path)
        del header.StudyInstanceUID
        header.save_as(path)
    with pytest.raises(InputError, match="belongs to no study"):
        predict(synthesiser, study, tmp_path / "out/ct.nii.gz", device="cpu", dicom=True)
    assert not (tmp_path / "out").exists()


def test_what_cannot_join_a_study_is_refused_before_the_work(synthesiser, study, tmp_path):
    case = tmp_path / "case0_t1.nii.gz"
    tiny.write_cases(tmp_path, train=1, val=0, test=0)
    with pytest.raises(UsageError, match="the image for 't1' is none") as error:
        predict(synthesiser, case, tmp_path / "out/ct.nii.gz", device="cpu", dicom=True)
    assert "medgen dicom write" in error.value.fix
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="--anonymize is of DICOM"):
        predict(synthesiser, study, tmp_path / "out/ct.nii.gz", device="cpu", anonymize=True)
    with pytest.raises(UsageError, match="--contours is of DICOM"):
        predict(synthesiser, study, tmp_path / "out/ct.nii.gz", device="cpu", contours=True)
    with pytest.raises(UsageError, match="the model segments nothing"):
        predict(synthesiser, study, tmp_path / "out/ct.nii.gz", device="cpu", dicom=True, contours=True)


def test_without_highdicom_a_segmentation_is_refused_before_the_work(segmenter, study, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    inputs = {"t1": study, "ge|swi": study}
    with pytest.raises(UsageError, match="need highdicom"):
        predict(segmenter, inputs, tmp_path / "out/p.nii.gz", device="cpu", dicom=True)
    assert not (tmp_path / "out").exists()


def test_without_overwrite_nothing_is_removed_and_an_input_never(synthesiser, study, tmp_path):
    """Neither DICOM whose NIfTI file is gone, nor a series of ours that the prediction is made from."""
    out = tmp_path / "out/ct.nii.gz"
    predict(synthesiser, study, out, device="cpu", dicom=True)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out/ct_dicom").iterdir()}
    out.unlink()
    predict(synthesiser, study, out, device="cpu")
    predict(synthesiser, tmp_path / "out/ct_dicom", out, device="cpu", overwrite=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out/ct_dicom").iterdir()} == before
