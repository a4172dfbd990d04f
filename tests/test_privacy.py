"""Nothing of a patient and no folder of this machine leaves with what is written; the network is never touched."""

import gzip

import nibabel
import numpy as np
import pytest
import tiny
from dicom_files import write_series
from faults.identities import FOLDER, HEADERS, PERSON, contents, plant_in_dicom, plant_in_nifti, traces

from medgen.cli import main
from medgen.errors import CasesFailed
from medgen.evaluation import evaluate
from medgen.inference.cohort import predict
from medgen.report import write_report
from medgen.run.experiment import prepare, train


def as_series(table, case):
    """Put a DICOM series full of names in the place of a case's T1, on the same grid."""
    image = nibabel.load(table.parent / f"{case}_t1.nii.gz")

    def change(index, header):
        header.PixelSpacing, header.ImagePositionPatient = [2, 2], [0, 0, 2 * index]
        plant_in_dicom(header)

    data = np.asarray(image.dataobj).round().astype(np.int16)
    write_series(table.parent / f"{case}_t1", data, turn=np.diag([-1.0, -1.0, 1.0]), change=change)
    table.write_text(table.read_text().replace(f"{case}_t1.nii.gz", f"{case}_t1"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Patients whose headers and folder carry a name; the last one's MR is cut off."""
    folder = tmp_path_factory.mktemp("clinic") / FOLDER
    folder.mkdir()
    table = tiny.write_cases(folder, test=2)
    for path in folder.glob("*.nii.gz"):
        plant_in_nifti(path)
        assert PERSON.encode() in gzip.decompress(path.read_bytes())
    broken = folder / "case5_t1.nii.gz"
    broken.write_bytes(broken.read_bytes()[:-200])
    as_series(table, "case0")
    as_series(table, "case4")
    return table


@pytest.fixture(scope="module")
def study_folder(data, tmp_path_factory):
    """A study of these patients."""
    out = tmp_path_factory.mktemp("study")
    recipe = tiny.recipe(config={"stages": 2, "context_folds": 2}, schedule={"steps": 1, "validate_every": 1})
    whole = "\n".join(data.read_text().splitlines()[:-1])
    (data.parent / "whole.csv").write_text(whole)
    prepare(recipe, data.parent / "whole.csv", out / "store")
    train(recipe, data, out / "run", device="cpu")
    with pytest.raises(CasesFailed):
        predict(out / "run", data, out / "predictions", device="cpu", split="test")
    predict(out / "run", data.parent / "case4_t1", out / "one/ct.nii.gz", device="cpu")
    scores = evaluate("synthesis", out / "predictions", data)
    scores.write(out / "scores.json")
    assert [failed["case"] for failed in scores.failed] == ["case5"]
    write_report(out, cases=data)
    return out


@pytest.fixture(scope="module")
def study(study_folder):
    """Everything that medgen writes about these patients."""
    return contents(study_folder)


def test_everything_was_written(study):
    names = set(study)
    expected = {"scores.json", "report.html", "run/run.json", "run/metrics.jsonl", "run/recipe.yaml"}
    expected |= {"run/model/model.json", "run/model/weights.safetensors", "figures/case_case4.png"}
    expected |= {f"predictions/{name}" for name in ("case4/case4_ct.nii.gz", "failed.csv", "prediction.json")}
    expected |= {"one/ct.nii.gz", "one/ct.prediction.json"}
    assert expected <= names
    assert any(name.startswith("store/") and name.endswith("image.npy") for name in names)
    assert any(name.startswith("run/checkpoints/") for name in names)


def test_no_output_names_a_patient(study):
    assert traces(study, (*HEADERS, FOLDER)) == []


def test_no_message_names_a_patient(data, study_folder, capsys, caplog):
    """Of commands that succeed and that fail; the folder that was typed may be named, but not by a traceback."""
    series, out = data.parent / "case4_t1", study_folder / "said"
    commands = {
        ("check", data): 3,
        ("fix", series, "-o", out / "fixed.nii.gz"): 0,
        ("predict", study_folder / "run", "-i", data, "--split", "test", "-o", out / "again", "--device", "cpu"): 4,
        ("predict", study_folder / "run", "-i", series, "-o", out / "ct.nii.gz", "--frame", "7", "--debug"): 3,
        ("evaluate", "synthesis", out / "again", data, "-o", out / "scores.json"): 4,
    }
    for words, expected in commands.items():
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        said = capsys.readouterr()
        assert ended.value.code == expected, said.err
        assert traces({"out": said.out, "err": said.err, "log": caplog.text}) == []
        if "--debug" in words:
            assert "Traceback" in said.err
            assert FOLDER not in said.err.partition("\nerror: ")[0]
    assert traces(contents(out), (*HEADERS, FOLDER)) == []


def test_the_header_of_a_result_says_what_it_must(study):
    for name in ("one/ct.nii.gz", "predictions/case4/case4_ct.nii.gz"):
        header = nibabel.Nifti1Image.from_bytes(study[name]).header
        assert bytes(header["descrip"]).rstrip(b"\0") == b"medgen, research use only"
        assert not header.extensions
        assert [bytes(header[field]).strip(b"\0") for field in ("aux_file", "db_name", "intent_name")] == [b""] * 3


def test_no_output_names_a_folder_of_this_machine(study, data):
    root = str(data.parents[2]).encode()  # the folder of all temporary folders of this session
    assert [name for name, content in study.items() if root in content] == []
