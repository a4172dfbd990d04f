"""A DICOM header may ask for no more than its file can hold."""

import io
import zlib

import numpy as np
import PIL.Image
import pydicom
import pytest
from dicom_files import voxels, write_frames, write_series
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless

from medgen.errors import InputError
from medgen.volume import read_header, read_volume, slices
from medgen.volume.codestreams import coded_size


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
    path.write_bytes(content[:begin] + packer.compress(data + bytes(30 << 20)) + packer.flush())
    monkeypatch.setattr(slices, "_MOST_DEFLATED", 10 << 20)
    monkeypatch.setattr(pydicom, "dcmread", None)
    with pytest.raises(InputError, match="unpacks to more than 10 MiB"):
        read_volume(path)


def packed(path, change=None):
    """The slice as JPEG 2000, its header changed afterwards."""
    header = pydicom.dcmread(path)
    frame = io.BytesIO()
    image = PIL.Image.fromarray(np.ascontiguousarray(header.pixel_array.astype(np.uint16)))
    image.save(frame, format="JPEG2000", irreversible=False, no_jp2=True)
    header.file_meta.TransferSyntaxUID = JPEG2000Lossless
    header.PixelData = pydicom.encaps.encapsulate([frame.getvalue()])
    header["PixelData"].is_undefined_length = True
    header.PixelRepresentation = 0
    if change:
        change(header)
    header.save_as(path)


def exchanged(header):
    header.Rows, header.Columns = header.Columns, header.Rows


def enlarged(header):
    size = b"\xff\x4f\xff\x51\x00\x29\x00\x00\x00"  # and the rest of the number of columns
    header.PixelData = header.PixelData.replace(size + b"\x00", size + b"\x0f")
    header["PixelData"].is_undefined_length = True


@pytest.mark.parametrize(
    ("change", "message"), [(exchanged, "has 48 x 40 voxels"), (enlarged, "has 983088 x 40 voxels")]
)
def test_a_packed_frame_of_another_size_is_not_unpacked(tmp_path, change, message):
    """With rows and columns exchanged the bytes are as many, and pydicom makes another image of them."""
    data = np.tile(voxels(), (8, 8, 1))
    for path in write_series(tmp_path / "series", data):
        packed(path)
    assert np.array_equal(read_volume(tmp_path / "series").data[0], data)
    for path in write_series(tmp_path / "other", data):
        packed(path, change)
    with pytest.raises(InputError, match=message + ", the header promises"):
        read_volume(tmp_path / "other")


@pytest.mark.parametrize(
    ("stream", "size"),
    [
        (b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc3\x00\x0b\x10\x00\x28\x00\x30\x01", (48, 40)),  # JPEG Lossless behind APP0
        (b"\xff\xd8\xff\xff\xf7\x00\x0b\x10\x01\x00\x02\x00\x01", (512, 256)),  # JPEG-LS behind a fill byte
        (
            b"box" + b"\xff\x4f\xff\x51\x00\x29\x00\x00" + bytes([0, 0, 0, 9, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 2]),
            (8, 6),
        ),
        (b"\xff\xd8\xff\xe0\x00\x04ab", None),
        (b"\xff\xd8\xff", None),
        (b"\xff\xd8\xff\xc3\x00\x0b\x10\x00\x00\x00\x30\x01", None),
        (bytes(64), None),
    ],
)
def test_sizes_of_codestreams_by_hand(stream, size):
    assert coded_size(stream) == size


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (b"\x10\x00\x10\x00PN", b"\x10\x00\x10\x00PX"),  # the patient's name, of a type that is none
        (b"\x28\x00\x10\x00US\x02\x00\x05\x00", b"\x28\x00\x10\x00US\x01\x00\x05\x00"),  # rows in one byte
    ],
)
def test_an_element_that_cannot_be_decoded_is_damage(tmp_path, good, bad):
    path = write_series(tmp_path / "series")[3]
    content = path.read_bytes()
    assert content.count(good) == 1
    path.write_bytes(content.replace(good, bad))
    with pytest.raises(InputError, match="damaged") as error:
        read_volume(tmp_path / "series")
    assert error.value.where == path
