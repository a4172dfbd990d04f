"""A DICOM header may ask for no more than its file can hold."""

import zlib

import numpy as np
import pydicom
import pytest
from dicom_files import voxels, write_frames, write_series
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless

from medgen.errors import InputError
from medgen.volume import read_header, read_volume, slices


def rewritten(path, **values):
    header = pydicom.dcmread(path)
    for name, value in values.items():
        setattr(header, name, value)
    header.save_as(path)
    return path


def deflated(path):
    header = pydicom.dcmread(path)
    header.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    header.save_as(path)
    return path


@pytest.mark.parametrize(
    ("values", "promised"),
    [
        ({"NumberOfFrames": 2**31 - 1}, (2**31 - 1) * 60),
        ({"Rows": 60000, "Columns": 50000}, 7 * 60000 * 50000 * 2),
        ({"NumberOfFrames": 70}, 70 * 60),
    ],
)
def test_more_pixels_than_the_file_has_bytes(tmp_path, values, promised):
    path = rewritten(write_frames(tmp_path / "a.dcm"), **values)
    for read in (read_volume, read_header):
        with pytest.raises(InputError, match=rf"promises {promised} bytes \(\d+ frames of \d+ x \d+\), the file has"):
            read(path)


@pytest.mark.parametrize("values", [{"NumberOfFrames": 2**31 - 1, "Rows": 1, "Columns": 1}, {"Rows": 0}])
def test_frames_that_cannot_be(tmp_path, values):
    path = rewritten(write_frames(tmp_path / "a.dcm"), **values)
    header = pydicom.dcmread(path)
    header.file_meta.TransferSyntaxUID = JPEG2000Lossless
    header.PixelData = pydicom.encaps.encapsulate([b"\0" * 40])
    header["PixelData"].is_undefined_length = True
    header.save_as(path)
    with pytest.raises(InputError, match="cut off"):
        read_header(path)


def test_a_file_that_is_packed_as_a_whole(tmp_path, monkeypatch):
    paths = write_series(tmp_path / "series", np.tile(voxels(), (20, 20, 1)))
    expected = read_volume(tmp_path / "series").data
    for path in paths:
        deflated(path)
    assert np.array_equal(read_volume(tmp_path / "series").data, expected)
    monkeypatch.setattr(slices, "_MOST_DEFLATED", 20000)  # each unpacks to 24000 bytes and a header
    with pytest.raises(InputError, match="unpacks to more than 0 MiB, the limit"):
        read_header(tmp_path / "series")
    monkeypatch.setattr(slices, "_MOST_DEFLATED", 30000)
    assert read_header(tmp_path / "series").shape[2] == 7
    paths[3].write_bytes(paths[3].read_bytes()[:-200])
    with pytest.raises(InputError, match="damaged") as error:
        read_header(tmp_path / "series")
    assert error.value.where == paths[3]


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    path = deflated(write_frames(tmp_path / "a.dcm"))
    content = path.read_bytes()
    begin = slices._META_BEGIN + int(pydicom.filereader.read_file_meta_info(path).FileMetaInformationGroupLength)
    data = zlib.decompress(content[begin:], -zlib.MAX_WBITS)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    path.write_bytes(content[:begin] + packer.compress(data + bytes(100 << 20)) + packer.flush())
    monkeypatch.setattr(slices, "_MOST_DEFLATED", 10 << 20)
    monkeypatch.setattr(pydicom, "dcmread", None)
    with pytest.raises(InputError, match="unpacks to more than 10 MiB"):
        read_volume(path)
