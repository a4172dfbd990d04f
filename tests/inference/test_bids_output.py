"""``medgen predict --bids``: names and sidecars of derivatives, which BIDS' own validator takes."""

import json
import shutil
import subprocess
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from known_classes import make_segmenter, save_patient
from mean_model import head, make_model, save

from medgen.cases import Case, from_bids, write_cases
from medgen.errors import CasesFailed, UsageError
from medgen.inference import bids_output, cohort
from medgen.inference.bids_output import require_names
from medgen.inference.cohort import predict
from medgen.inference.options import PredictOptions

VALIDATOR = shutil.which("bids-validator-deno")


def errors(folder):
    """What the validator calls an error."""
    words = [VALIDATOR, "--format", "json", str(folder)]
    told = json.loads(subprocess.run(words, capture_output=True, text=True, timeout=120, check=False).stdout)
    return [each for each in told["issues"]["issues"] if each["severity"] == "error"]


@pytest.fixture
def segmented(tmp_path, monkeypatch):
    """Two sessions of one subject and a patient of another name, with one case that fails."""
    monkeypatch.setattr(cohort, "load_model", lambda *_, **__: make_segmenter())
    images = save_patient(tmp_path)
    cases = [Case(name, "test", None, images) for name in ("sub-01_ses-1", "sub-01_ses-2", "patient-7")]
    cases.append(Case("broken", "test", None, {role: tmp_path / "away.nii.gz" for role in images}))
    table = write_cases(cases, tmp_path / "cases.csv")
    with pytest.raises(CasesFailed):
        predict("run", table, tmp_path / "out", probabilities=True, bids=tmp_path / "bids")
    return table


def test_a_segmentation_has_the_names_of_derivatives(segmented, tmp_path):
    names = {path.relative_to(tmp_path / "bids").as_posix() for path in (tmp_path / "bids").rglob("*.nii.gz")}
    endings = ("desc-medgen_dseg", "label-core_desc-medgen_probseg", "label-swollenrim_desc-medgen_probseg")
    stems = {"sub-01/ses-1/anat/sub-01_ses-1", "sub-01/ses-2/anat/sub-01_ses-2", "sub-patient7/anat/sub-patient7"}
    assert names == {f"{stem}_{ending}.nii.gz" for stem in stems for ending in endings}
    for name in names:
        sidecar = json.loads((tmp_path / "bids" / name.replace(".nii.gz", ".json")).read_text())
        assert "NOT FOR CLINICAL USE" in sidecar["Description"]
    written = nibabel.load(tmp_path / "bids/sub-01/ses-2/anat/sub-01_ses-2_desc-medgen_dseg.nii.gz")
    ours = nibabel.load(tmp_path / "out/sub-01_ses-2/sub-01_ses-2_label.nii.gz")
    assert np.array_equal(written.get_fdata(), ours.get_fdata())
    assert (tmp_path / "bids/desc-medgen_dseg.tsv").read_text().splitlines()[-1] == "2\tswollen rim"
    described = json.loads((tmp_path / "bids/dataset_description.json").read_text())
    assert (described["DatasetType"], described["GeneratedBy"][0]["Name"]) == ("derivative", "medgen")


@pytest.mark.skipif(not VALIDATOR, reason="bids-validator-deno is not installed")
def test_the_validator_finds_no_error(segmented, tmp_path, monkeypatch):
    assert errors(tmp_path / "bids") == []
    (tmp_path / "bids/sub-patient7/anat/sub-patient7_desc-medgen_thing.json").write_text("{}")
    assert errors(tmp_path / "bids") != []  # it can tell


def test_an_image_has_its_unit_and_is_left_out_by_the_validator(tmp_path, monkeypatch):
    """BIDS has no name for a synthetic CT."""
    monkeypatch.setattr(cohort, "load_model", lambda *_, **__: make_model())
    table = write_cases(
        [Case("p1", "test", None, {"t1": save(head(), tmp_path / "t1.nii.gz")})], tmp_path / "cases.csv"
    )
    predict("run", table, tmp_path / "out", bids=tmp_path / "bids")
    stem = tmp_path / "bids/sub-p1/anat/sub-p1_desc-synthetic_ct"
    assert json.loads(stem.with_suffix(".json").read_text())["Units"] == "HU"
    assert stem.with_suffix(".nii.gz").is_file()
    if VALIDATOR:
        assert errors(tmp_path / "bids") == []
    (case,) = from_bids(tmp_path / "bids", validation=0, test=0)
    assert (case.name, list(case.images)) == ("sub-p1", ["ct"])


def test_predictions_in_a_dataset_are_no_labels_of_its_cases(segmented, tmp_path):
    (tmp_path / "dataset/sub-01/ses-1/anat").mkdir(parents=True)
    shutil.copy(tmp_path / "t2.nii.gz", tmp_path / "dataset/sub-01/ses-1/anat/sub-01_ses-1_T2w.nii.gz")
    shutil.copytree(tmp_path / "bids", tmp_path / "dataset/derivatives/medgen")
    (case,) = from_bids(tmp_path / "dataset", validation=0, test=0)
    assert list(case.images) == ["t2"]


def test_what_is_there_is_kept_or_replaced_on_request(segmented, tmp_path):
    options = {"probabilities": True, "bids": tmp_path / "bids"}
    with pytest.raises(UsageError, match="holds derivatives already"):
        predict("run", segmented, tmp_path / "other", **options)
    assert not (tmp_path / "other").exists()
    (tmp_path / "t2.nii.gz").unlink()
    with pytest.raises(CasesFailed):
        predict("run", segmented, tmp_path / "out", **options, overwrite=True)
    assert list((tmp_path / "bids").rglob("*.nii.gz")) == []  # all cases fail now: nothing stale passes for a result
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/dataset_description.json").write_text('{"Name": "mine"}')
    with pytest.raises(UsageError, match="medgen did not write"):
        predict("run", segmented, tmp_path / "out", bids=tmp_path / "mine", overwrite=True)


@pytest.mark.parametrize("at", range(6))
@pytest.mark.parametrize("again", ["resume", "overwrite"])
def test_what_was_interrupted_can_be_finished(tmp_path, monkeypatch, at, again):
    """Whichever file of the folder was the last one."""
    monkeypatch.setattr(cohort, "load_model", lambda *_, **__: make_segmenter())
    images, written = save_patient(tmp_path), []
    table = write_cases([Case(name, "test", None, images) for name in "ab"], tmp_path / "cases.csv")
    real = bids_output.atomic_path

    def interrupted(path):
        written.append(path)
        if len(written) > at:
            (tmp_path / "bids/.partial-killed.json").write_text("{")  # a kill removes nothing
            raise KeyboardInterrupt
        return real(path)

    def write_json(path, content):
        with interrupted(path) as temporary:
            temporary.write_text(json.dumps(content))

    with monkeypatch.context() as patched:
        patched.setattr(bids_output, "atomic_path", interrupted)
        patched.setattr(bids_output, "write_json", write_json)
        with pytest.raises(KeyboardInterrupt):
            predict("run", table, tmp_path / "out", bids=tmp_path / "bids")
    predict("run", table, tmp_path / "out", bids=tmp_path / "bids", **{again: True})
    names = sorted(path.name for path in (tmp_path / "bids").rglob("*") if path.is_file())
    stems = [f"sub-{case}_desc-medgen_dseg.{ending}" for case in "ab" for ending in ("json", "nii.gz")]
    assert names == sorted([".bidsignore", "README", "dataset_description.json", "desc-medgen_dseg.tsv", *stems])


def test_a_row_that_failed_removes_no_result_of_another_case(tmp_path, monkeypatch):
    """Both names have the same letters."""
    monkeypatch.setattr(cohort, "load_model", lambda *_, **__: make_segmenter())
    table = write_cases([Case("p-1", "test", None, save_patient(tmp_path))], tmp_path / "cases.csv")
    table.write_text(table.read_text() + table.read_text().splitlines()[-1].replace("p-1,test", "p.1,tset") + "\n")
    with pytest.raises(CasesFailed):
        predict("run", table, tmp_path / "out", bids=tmp_path / "bids")
    assert (tmp_path / "bids/sub-p1/anat/sub-p1_desc-medgen_dseg.nii.gz").is_file()


@pytest.mark.parametrize("classes", [("GM-1", "GM1"), ("GM 1", "gm1"), ("\u6c34", "\u706b")])
def test_classes_that_bids_cannot_tell_apart_are_refused_before_the_work(tmp_path, monkeypatch, classes):
    monkeypatch.setattr(cohort, "load_model", lambda *_, **__: make_segmenter(classes=classes))
    table = write_cases([Case("p1", "test", None, save_patient(tmp_path))], tmp_path / "cases.csv")
    with pytest.raises(UsageError, match="would have one name in BIDS") as caught:
        predict("run", table, tmp_path / "out", probabilities=True, bids=tmp_path / "bids")
    assert all(f"'{each}'" in str(caught.value) for each in classes)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "bids").exists()
    predict("run", table, tmp_path / "out", bids=tmp_path / "bids")  # one label map has both


def test_roles_that_bids_cannot_tell_apart_are_refused(tmp_path, monkeypatch):
    model = make_model()
    files = model.files(tmp_path / "p1_t1.nii.gz", PredictOptions())
    two = replace(files, results={"t1": tmp_path / "p1_t1.nii.gz", "T1w": tmp_path / "p1_T1w.nii.gz"})
    monkeypatch.setattr(type(model), "files", lambda *_: two)
    with pytest.raises(UsageError, match="'t1' and 'T1w' of the model would have one name in BIDS, desc-synthetic_T1w"):
        require_names(model, PredictOptions())


def test_what_bids_cannot_tell_apart_is_refused_before_the_work(segmented, tmp_path):
    images = {"flair": tmp_path / "flair.nii.gz", "t2": tmp_path / "t2.nii.gz"}
    table = write_cases([Case(name, "test", None, images) for name in ("p-1", "p.1")], tmp_path / "two.csv")
    with pytest.raises(UsageError, match="two cases would have the name sub-p1"):
        predict("run", table, tmp_path / "new", bids=tmp_path / "new_bids")
    assert not (tmp_path / "new").exists()
    with pytest.raises(UsageError, match="--bids is for a case table"):
        predict("run", images, tmp_path / "p.nii.gz", bids=tmp_path / "new_bids")
