"""Any volume, series or folder is described, and no patient is named."""

import dicom_files
import nibabel
import numpy as np
import pytest
from pydicom.uid import CTImageStorage, generate_uid

from medgen.checks import describe
from medgen.errors import InputError


def save(path, data, affine=None):
    image = nibabel.Nifti1Image(data, np.diag([2.0, 3.0, 4.0, 1.0]) if affine is None else affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path


def ct_values(shape=(12, 14, 10)):
    values = np.full(shape, -1000, np.int16)
    values[2:10, 2:12, 2:8] = 40
    values[5:7, 5:7, 4:6] = 900
    return values


@pytest.mark.parametrize(
    ("data", "unit", "looks"),
    [
        (ct_values(), "HU", "CT in Hounsfield units"),
        (np.random.default_rng(0).gamma(2, 100, (12, 14, 10)).astype(np.float32), "arbitrary", "MR"),
        (np.random.default_rng(0).random((12, 14, 10)).astype(np.float32), "0 to 1", "probability map"),
        ((ct_values() > 0).astype(np.uint8), "class", "mask"),
        ((np.arange(1680) % 4).astype(np.uint8).reshape(12, 14, 10), "class", "label map of 3 classes"),
    ],
)
def test_a_volume_is_told_by_its_values(tmp_path, data, unit, looks):
    (found,) = describe(save(tmp_path / "volume.nii.gz", data))
    assert (found.name, found.format, found.faults) == ("volume.nii.gz", "NIfTI", ())
    assert (found.shape, found.spacing, found.orientation) == ((12, 14, 10), (2.0, 3.0, 4.0), "RAS")
    assert (found.low, found.high) == (float(data.min()), float(data.max()))
    assert found.unit == unit
    assert looks in found.looks


def test_a_dicom_tree_is_described_by_series_and_names_nobody(tmp_path):
    """A series of MR, two in one folder, one with a gap, and a CT whose intercept is missing."""
    dicom_files.write_series(tmp_path / "a" / "mr")
    dicom_files.write_series(tmp_path / "two")
    names = [f"second{index}.dcm" for index in range(7)]
    dicom_files.write_series(tmp_path / "two", names=names, series=generate_uid())
    dicom_files.write_series(tmp_path / "gap", heights=[0, 1, 2, 4, 5, 6, 7])
    dicom_files.write_series(tmp_path / "raw", kind=CTImageStorage)
    found = {each.name: each for each in describe(tmp_path)}
    assert sorted(found) == ["a/mr", "gap", "raw", "two/second0.dcm", "two/slice00.dcm"]
    assert found["a/mr"].format == "DICOM MR, 7 files"
    assert (found["a/mr"].shape, found["a/mr"].orientation) == (dicom_files.SHAPE, "LPS")
    assert [name for name, each in found.items() if each.faults] == ["gap", "raw"]
    assert "1 of 8 slices are missing" in found["gap"].faults[0]
    assert "not HU" in found["raw"].faults[0]
    text = repr(found)
    assert not any(word in text for word in (dicom_files.PERSON, dicom_files.NUMBER, "18151210", "LOVELACE"))


def test_what_cannot_be_read_is_a_fault_and_the_rest_is_described(tmp_path):
    (tmp_path / "empty.nii").touch()
    (tmp_path / "notes.txt").write_text("no volume")
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "cut.dcm").write_bytes(b"no DICOM")
    holed = np.random.default_rng(0).gamma(2, 100, (12, 14, 10)).astype(np.float32)
    holed[0, 0, 0] = np.nan
    save(tmp_path / "holed.nii", holed)
    save(tmp_path / "flat.nii", np.ones((4, 4, 4), np.float32))
    save(tmp_path / "metres.nii", holed + 1, np.diag([0.002, 0.002, 0.002, 1]))
    found = {each.name: each for each in describe(tmp_path)}
    assert "0 bytes" in found["empty.nii"].faults[0]
    assert found["holed.nii"].faults == ("1 voxels (0.06%) are NaN or infinite",)
    assert found["holed.nii"].high == np.nanmax(holed)
    assert found["flat.nii"].faults == ("one value throughout (1)",)
    assert "cannot be the millimetre" in found["metres.nii"].faults[0]
    assert "the mark DICM is missing" in found["series"].faults[0]
    assert len(found) == 5


def test_nothing_to_describe(tmp_path):
    with pytest.raises(InputError, match="no volume in this folder"):
        describe(tmp_path)
    with pytest.raises(InputError, match="no such file or folder"):
        describe(tmp_path / "gone")
