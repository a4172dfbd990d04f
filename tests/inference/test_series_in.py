"""A folder of slices takes the place of a volume everywhere: table, check, preparation, prediction, evaluation."""

import numpy as np
import pytest
from dicom_files import NUMBER, PERSON, write_series
from mean_model import make_model
from pydicom.uid import CTImageStorage

from medgen.cases import Case, CaseTable, read_cases, write_cases
from medgen.checks import check_cases
from medgen.config import build
from medgen.errors import InputError
from medgen.evaluation import evaluate
from medgen.files import image_digest
from medgen.inference.cohort import predict_cohort
from medgen.inference.sources import parse_inputs
from medgen.preparation import Preparation, PreparationConfig, Roles, build_store
from medgen.volume import read_header, read_volume, write_volume

SIDE = 24
FOLDER = "LOVELACE ADA"


def scan(seed):
    """A block in noise, stored numbers from 0 to about 700."""
    data = np.abs(np.random.default_rng(seed).normal(0, 10, (SIDE,) * 3))
    data[4:20, 4:20, 4:20] += 600
    return data.astype(np.int16)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Three patients: T1 and CT as series, in folders that carry a name; the last one lacks a slice of its T1."""
    folder = tmp_path_factory.mktemp("clinic")
    cases = []
    for number, split in enumerate(("train", "test", "test")):
        t1, ct = folder / f"{FOLDER} {number}", folder / f"ct{number}"
        paths = write_series(t1, scan(number))
        write_series(ct, scan(number) * 2, kind=CTImageStorage, rescale=lambda index: (1.0, -1000.0))
        cases.append(Case(f"p{number}", split, None, {"t1": t1, "ct": ct}))
    paths[9].unlink()
    return read_cases(write_cases(cases, folder / "cases.csv"))


def test_check(table):
    good = check_cases(CaseTable(table.path, table.cases[:2]))
    assert [fault for fault in good if fault.severity == "error"] == []
    faults = check_cases(table)
    assert [(fault.case, fault.role) for fault in faults if "1 of 24 slices are missing" in fault.what] == [
        ("p2", "t1")
    ]


def test_preparation_is_the_same_as_from_nifti(table, tmp_path):
    roles = Roles(inputs=("t1",), target="ct")
    preparation = Preparation(roles, build(PreparationConfig, {"spacing": None}))
    (stored,) = build_store(table.cases[:1], preparation, tmp_path / "store").cases
    images = {role: tmp_path / f"{role}.nii.gz" for role in ("t1", "ct")}
    for role, path in images.items():
        write_volume(read_volume(table.cases[0].images[role]), path, kind="scalar" if role == "t1" else "hu")
    (other,) = build_store([Case("p0", "train", None, images)], preparation, tmp_path / "other").cases
    np.testing.assert_array_equal(stored.image, other.image)
    np.testing.assert_array_equal(stored.target, other.target)


def test_prediction_and_its_scores(table, tmp_path):
    result = predict_cohort(make_model(), table.select(split="test"), tmp_path / "out")
    assert [case.status for case in result.cases] == ["done", "failed"]
    written, series = read_header(tmp_path / "out/p1/p1_ct.nii.gz"), read_header(table.cases[1].images["t1"])
    assert written.shape == series.shape
    np.testing.assert_array_equal(written.affine, series.affine)
    assert "1 of 24 slices are missing" in result.cases[1].reason
    assert "the series of t1" in result.cases[1].reason
    for file in (tmp_path / "out").rglob("*.*"):
        if file.is_file():
            content = file.read_bytes().decode("latin-1")
            assert not any(secret in content for secret in (PERSON, NUMBER, FOLDER))
    cases = write_cases(table.cases[1:2], tmp_path / "cases.csv")
    (scored,) = evaluate("synthesis", tmp_path / "out", cases).cases
    predicted, truth = (
        read_volume(path).data for path in (tmp_path / "out/p1/p1_ct.nii.gz", table.cases[1].images["ct"])
    )
    body = truth > -300
    assert scored["mae"] == pytest.approx(np.abs(predicted - truth)[body].mean(), rel=0.05)


def test_one_patient(table, tmp_path):
    folder = table.cases[0].images["t1"]
    assert parse_inputs([f"t1={folder}"]) == {"t1": folder}
    make_model().predict_file(parse_inputs([str(folder)]), tmp_path / "ct.nii.gz")
    np.testing.assert_array_equal(read_header(tmp_path / "ct.nii.gz").affine, read_header(folder).affine)
    with pytest.raises(InputError, match="no DICOM file"):
        make_model().predict_file(tmp_path, tmp_path / "other.nii.gz")


def test_digest_of_a_series(tmp_path):
    paths = write_series(tmp_path / "a")
    first = image_digest(tmp_path / "a")
    paths[0].rename(tmp_path / "a" / "renamed.dcm")
    assert image_digest(tmp_path / "a") == first
    paths[1].write_bytes(paths[1].read_bytes()[:-1] + b"\1")
    assert image_digest(tmp_path / "a") != first
