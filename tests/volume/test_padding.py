"""What a DICOM header names as padding becomes air, and the user is told how many voxels that are."""

import numpy as np
import pydicom
import pytest
from dicom_files import SHAPE, add_pixels, voxels, write_frames, write_series
from pydicom.uid import CTImageStorage, ImplicitVRLittleEndian, MRImageStorage

from medgen.errors import InputError
from medgen.volume import read_volume, repair_volume

SIZE = np.prod(SHAPE)


def ct(tmp_path, stored, *, padding, vr=None, limit=None, signed=False, intercept=-1024, slope=1, kind=CTImageStorage):
    """A series of stored numbers whose header names padding, as US or SS."""
    vr = vr or ("SS" if signed else "US")

    def change(_, header):
        frames = stored[:, :, header.InstanceNumber - 1].T
        add_pixels(header, frames.astype(np.int16))
        header.PixelData = np.ascontiguousarray(frames, "<i2" if signed else "<u2").tobytes()
        header.PixelRepresentation = int(signed)
        header.add_new("PixelPaddingValue", vr, padding)
        if limit is not None:
            header.add_new("PixelPaddingRangeLimit", vr, limit)

    write_series(tmp_path / "ct", stored, kind=kind, rescale=lambda _: (slope, intercept), change=change)
    return tmp_path / "ct"


def padded(value, dtype=np.uint16):
    """Stored numbers 1 to 999 with ``value`` in the first two columns of X: a third of the voxels."""
    stored = voxels().astype(dtype)
    stored[:2] = value
    return stored


@pytest.mark.parametrize(
    ("value", "written", "signed", "vr"),
    [
        (65535, 65535, False, "US"),
        (63536, 63536, False, "US"),
        (-2000, -2000, True, "SS"),
        (-2000, 63536, True, "US"),  # GE: the sign is lost in the header alone
        (32767, 32767, True, "SS"),
        (0, 0, False, "US"),
    ],
)
def test_padding_becomes_air_and_is_counted(tmp_path, value, written, signed, vr):
    stored = padded(value, np.int32)
    volume = read_volume(ct(tmp_path, stored, padding=written, signed=signed, vr=vr))
    assert (volume.data[0, :2] == -1024).all()
    np.testing.assert_array_equal(volume.data[0, 2:], stored[2:] - 1024)
    named = f"hold what the header calls no measurement (PixelPaddingValue {value}), set to -1024 HU"
    # 0 is -1024 HU already: nothing is changed.
    assert volume.notes == ((f"padding: 70 of 210 voxels (33.33%) {named}",) if value else ())


def test_slope_and_intercept_count_in_hu(tmp_path):
    stored = padded(40000)
    volume = read_volume(ct(tmp_path, stored, padding=40000, slope=0.5, intercept=-1000))
    assert (volume.data[0, :2] == -1024).all()
    np.testing.assert_array_equal(volume.data[0, 2:], stored[2:] * 0.5 - 1000)
    assert read_volume(tmp_path / "ct", dtype=None).data.dtype == np.float64


@pytest.mark.parametrize(("value", "limit"), [(65530, 65535), (65535, 65530)])
def test_a_range_of_padding(tmp_path, value, limit):
    stored = padded(65531)
    stored[0] = 65535
    stored[3, 0, 0] = 65529
    data = read_volume(ct(tmp_path, stored, padding=value, limit=limit)).data[0]
    assert (data[:2] == -1024).all()
    assert data[3, 0, 0] == 65529 - 1024


def test_without_slope_the_stored_type_makes_room_for_air(tmp_path):
    volume = read_volume(ct(tmp_path, padded(65535), padding=65535, intercept=0), dtype=None)
    assert volume.data.dtype == np.int32
    assert (volume.data[0, :2] == -1024).all()
    with pytest.raises(TypeError, match="cannot hold"):
        read_volume(tmp_path / "ct", dtype=np.uint16)


def test_a_value_of_tissue_is_no_padding_whatever_the_header_says(tmp_path):
    stored = padded(0, np.int16)
    volume = read_volume(ct(tmp_path, stored, padding=0, signed=True, intercept=0))
    np.testing.assert_array_equal(volume.data[0], stored)
    (note,) = volume.notes
    assert note.startswith("padding: 70 of 210 voxels")
    assert "tissue has such values too, so they were left as they are" in note


@pytest.mark.parametrize(("value", "air", "named"), [(65535, 0, "set to 0"), (0, 0, "")])
def test_padding_of_an_mr_is_without_signal(tmp_path, value, air, named):
    stored = padded(value)
    volume = read_volume(ct(tmp_path, stored, padding=value, kind=MRImageStorage, intercept=0))
    assert (volume.data[0, :2] == air).all()
    np.testing.assert_array_equal(volume.data[0, 2:], stored[2:])
    assert [note.rpartition(", ")[2] for note in volume.notes] == ([named] if named else [])


def test_padding_of_a_phase_image_is_its_smallest_value(tmp_path):
    stored = padded(32767, np.int16)
    volume = read_volume(
        ct(tmp_path, stored, padding=32767, signed=True, kind=MRImageStorage, slope=2, intercept=-4096)
    )
    assert (volume.data[0, :2] == stored[2:].min() * 2.0 - 4096).all()


def test_frames_of_one_file_and_implicit_types(tmp_path):
    path = write_frames(tmp_path / "frames.dcm", padded(-7, np.int16), slopes=[0.5] * SHAPE[2])
    header = pydicom.dcmread(path)
    header.add_new("PixelPaddingValue", "SS", -7)
    header.save_as(path)
    assert (read_volume(path).data[0, :2] == 0).all()
    for each in ct(tmp_path, padded(-2000, np.int16), padding=-2000, signed=True).iterdir():
        header = pydicom.dcmread(each)
        header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian  # whose file does not say SS or US
        header.save_as(each, implicit_vr=True)
    assert (read_volume(tmp_path / "ct").data[0, :2] == -1024).all()


def test_repair_interpolates_between_air_not_padding(tmp_path):
    folder = ct(tmp_path, padded(65535), padding=65535)
    (folder / "slice03.dcm").unlink()
    volume = repair_volume(folder, fill_gaps=True).volume
    assert (volume.data[0, :2] == -1024).all()
    assert any(note.startswith("padding: 60 of 180 voxels") for note in volume.notes)


def test_more_frames_than_the_header_promises_are_refused(tmp_path):
    def twice(_, header):
        header.PixelData = header.PixelData * 2

    write_series(tmp_path / "series", change=twice)
    with pytest.raises(InputError, match="hold 2 frames, the header promises 1"):
        read_volume(tmp_path / "series")
