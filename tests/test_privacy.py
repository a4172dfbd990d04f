"""Nothing of a patient and no folder of this machine leaves with what is written; the network is never touched."""

import gzip
from pathlib import Path

import nibabel
import pytest
import tiny

from medgen.errors import CasesFailed
from medgen.evaluation import evaluate
from medgen.inference.cohort import predict
from medgen.report import write_report
from medgen.run.experiment import prepare, train

PERSON = "LOVELACE^ADA"
FOLDER = "Ada Lovelace 1815"


def plant(path: Path) -> None:
    """Write a name into every field of a NIfTI header that can hold one, and into an extension."""
    image = nibabel.load(path)
    header = image.header.copy()
    for field in ("descrip", "aux_file", "db_name", "intent_name"):
        header[field] = PERSON
    header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", PERSON.encode()))
    nibabel.save(nibabel.Nifti1Image(image.dataobj[...], None, header), path)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, packed ones unpacked."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            found[str(path.relative_to(folder))] = gzip.decompress(data) if path.suffix == ".gz" else data
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Patients whose headers and folder carry a name; the last one's MR is cut off."""
    folder = tmp_path_factory.mktemp("clinic") / FOLDER
    folder.mkdir()
    table = tiny.write_cases(folder, test=2)
    for path in folder.glob("*.nii.gz"):
        plant(path)
        assert PERSON.encode() in gzip.decompress(path.read_bytes())
    broken = folder / "case5_t1.nii.gz"
    broken.write_bytes(broken.read_bytes()[:-200])
    return table


@pytest.fixture(scope="module")
def study(data, tmp_path_factory):
    """Everything that medgen writes about these patients."""
    out = tmp_path_factory.mktemp("study")
    recipe = tiny.recipe(config={"stages": 2, "context_folds": 2}, schedule={"steps": 1, "validate_every": 1})
    whole = "\n".join(data.read_text().splitlines()[:-1])
    (data.parent / "whole.csv").write_text(whole)
    prepare(recipe, data.parent / "whole.csv", out / "store")
    train(recipe, data, out / "run", device="cpu")
    with pytest.raises(CasesFailed):
        predict(out / "run", data, out / "predictions", device="cpu", split="test")
    predict(out / "run", data.parent / "case4_t1.nii.gz", out / "one/ct.nii.gz", device="cpu")
    scores = evaluate("synthesis", out / "predictions", data)
    scores.write(out / "scores.json")
    assert [failed["case"] for failed in scores.failed] == ["case5"]
    write_report(out, cases=data)
    return contents(out)


def test_everything_was_written(study):
    names = set(study)
    expected = {"scores.json", "report.html", "run/run.json", "run/metrics.jsonl", "run/recipe.yaml"}
    expected |= {"run/model/model.json", "run/model/weights.safetensors", "figures/case_case4.png"}
    expected |= {f"predictions/{name}" for name in ("case4/case4_ct.nii.gz", "failed.csv", "prediction.json")}
    expected |= {"one/ct.nii.gz", "one/ct.prediction.json"}
    assert expected <= names
    assert any(name.startswith("store/") and name.endswith("image.npy") for name in names)
    assert any(name.startswith("run/checkpoints/") for name in names)


@pytest.mark.parametrize("said", [PERSON, "LOVELACE", FOLDER, "Lovelace"])
def test_no_output_names_a_patient(study, said):
    for form in (said.encode(), said.encode("utf-16-le")):
        assert [name for name, data in study.items() if form in data] == []


def test_the_header_of_a_result_says_what_it_must(study):
    for name in ("one/ct.nii.gz", "predictions/case4/case4_ct.nii.gz"):
        header = nibabel.Nifti1Image.from_bytes(study[name]).header
        assert bytes(header["descrip"]).rstrip(b"\0") == b"medgen, research use only"
        assert not header.extensions
        assert [bytes(header[field]).strip(b"\0") for field in ("aux_file", "db_name", "intent_name")] == [b""] * 3


def test_no_output_names_a_folder_of_this_machine(study, data):
    root = str(data.parents[2]).encode()  # the folder of all temporary folders of this session
    assert [name for name, content in study.items() if root in content] == []
