"""The search finds what it should: a scanner that finds nothing proves nothing."""

import gzip

import nibabel
import numpy as np
import pydicom
import pytest
from dicom_files import write_series

from faults.identities import DICOM, HEADERS, NIFTI_FIELDS, PERSON, contents, plant_in_dicom, plant_in_nifti, traces


@pytest.mark.parametrize("write", ["plain", "packed", "zipped", "utf-16", "lower", "named"])
def test_a_trace_is_found(tmp_path, write):
    if write == "zipped":
        np.savez(tmp_path / "a.npz", name=np.array([PERSON.encode()]))
        np.savez_compressed(tmp_path / "b.npz", name=np.array([PERSON.encode()]))
        assert {name for name, _ in traces(contents(tmp_path), [PERSON])} == {
            "a.npz",
            "a.npz/name.npy",
            "b.npz/name.npy",
        }
        return
    name = f"{PERSON}.txt" if write == "named" else "a.txt"
    data = {"utf-16": f"x{PERSON}".encode("utf-16"), "lower": PERSON.lower().encode(), "named": b""}
    content = data.get(write, f"by {PERSON} ".encode())
    (tmp_path / name).write_bytes(gzip.compress(content) if write == "packed" else content)
    assert traces(contents(tmp_path), [PERSON, "nobody"]) == [(name, PERSON)]


def test_the_person_is_planted_in_every_place(tmp_path):
    (path,) = write_series(tmp_path / "series", np.zeros((4, 4, 1), np.int16), change=lambda _, h: plant_in_dicom(h))
    header = pydicom.dcmread(path)
    assert all(str(header[keyword].value) == value for keyword, value in DICOM.items())
    assert {secret for _, secret in traces(contents(tmp_path))} == set(HEADERS)
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4)), tmp_path / "a.nii")
    assert traces({"a.nii": (tmp_path / "a.nii").read_bytes()}) == []
    plant_in_nifti(tmp_path / "a.nii")
    assert (tmp_path / "a.nii").read_bytes().count(PERSON.encode()) == len(NIFTI_FIELDS) + 1
