"""MetaImage: positions in RAS+, and nothing is read from a file that is not whole."""

import gzip
import re
import zlib

import numpy as np
import pytest
import SimpleITK
from nifti_files import turned

from medgen.errors import InputError
from medgen.volume import read_header, read_label, read_volume, require_same_grid, write_volume

SHAPE = (5, 6, 7)


def image(shape=SHAPE, dtype=np.int16, *, direction=None, spacing=(0.5, 0.6, 3.0), origin=(10.0, -20.0, 30.5)):
    """Voxels (X, Y, Z) without a zero, and the same as SimpleITK has them."""
    voxels = np.random.default_rng(0).integers(1, 100, shape).astype(dtype)
    made = SimpleITK.GetImageFromArray(voxels.transpose(2, 1, 0))
    made.SetSpacing(spacing)
    made.SetOrigin(origin)
    made.SetDirection((turned(25) if direction is None else np.asarray(direction, float)).ravel())
    return voxels, made


def save(path, made, *, packed=False):
    SimpleITK.WriteImage(made, str(path), useCompression=packed)
    return path


def parts(path):
    """Header and data of a ``.mha``."""
    content = path.read_bytes()
    start = content.index(b"LOCAL\n") + 6
    return content[:start], content[start:]


@pytest.mark.parametrize("name", ["a.mha", "a.mhd", "A.MHA"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32, np.float64, np.uint32])
def test_values_and_position(tmp_path, name, packed, dtype):
    voxels, made = image(dtype=dtype)
    path = save(tmp_path / name.lower(), made, packed=packed).rename(tmp_path / name)
    volume = read_volume(path, dtype=None)
    np.testing.assert_array_equal(volume.data[0], voxels)
    assert volume.data.dtype == dtype
    assert read_volume(path).data.dtype == np.float32
    for index in ((0, 0, 0), (4, 0, 0), (0, 5, 0), (1, 2, 6)):
        x, y, z = made.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(volume.affine @ [*index, 1], [-x, -y, z, 1], atol=1e-5)
    assert volume.spacing == pytest.approx((0.5, 0.6, 3.0))
    assert volume.has_world_position
    header = read_header(path)
    np.testing.assert_array_equal(header.affine, volume.affine)
    assert (header.shape, header.notes) == (SHAPE, ())


def test_the_same_grid_as_the_nifti_of_the_same_image(tmp_path):
    """SimpleITK writes both; what it means by a position is what nibabel reads."""
    _, made = image()
    one, other = save(tmp_path / "a.mha", made), save(tmp_path / "a.nii.gz", made)
    require_same_grid(read_header(one), read_header(other), tolerance=1e-4)
    np.testing.assert_array_equal(read_volume(one).data, read_volume(other).data)
    written = write_volume(read_volume(one), tmp_path / "b.nii.gz", kind="scalar")
    np.testing.assert_array_equal(read_header(written).affine, read_header(one).affine)
    assert read_label(one).data.dtype == np.uint8


def test_slices_from_feet_to_head_in_lps_are_flipped_in_ras(tmp_path):
    _, made = image(direction=np.eye(3))
    volume = read_volume(save(tmp_path / "a.mha", made))
    assert volume.axis_codes == ("L", "P", "S")
    np.testing.assert_allclose(volume.affine[:3, 3], [-10, 20, 30.5])


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("missing", [1, 100])
def test_a_cut_file_is_incomplete(tmp_path, packed, missing):
    path = save(tmp_path / "a.mha", image()[1], packed=packed)
    path.write_bytes(path.read_bytes()[:-missing])
    for read in (read_volume, read_header):
        with pytest.raises(InputError, match="incomplete file: the header promises") as error:
            read(path)
        assert error.value.where == path


def test_data_beside_the_header_are_counted_and_must_be_there(tmp_path):
    path = save(tmp_path / "a.mhd", image()[1])
    raw = tmp_path / "a.raw"
    raw.write_bytes(raw.read_bytes()[:-3])
    with pytest.raises(InputError, match="promises 420 bytes, the file has 417"):
        read_volume(path)
    raw.unlink()
    with pytest.raises(InputError, match=r"a\.raw is missing"):
        read_header(path)


TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}  # fmt: skip


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", TYPES)
def test_every_type_and_byte_order_is_read_as_simpleitk_reads_it(tmp_path, kind, order):
    header, _ = parts(save(tmp_path / "a.mha", image()[1]))
    values = np.random.default_rng(1).integers(-100 if TYPES[kind][0] != "u" else 0, 100, SHAPE)
    raw = values.astype(order + TYPES[kind]).tobytes(order="F")
    text = header.replace(b"MET_SHORT", kind.encode()).replace(b"MSB = False", f"MSB = {order == '>'}".encode())
    packed = zlib.compress(raw)
    size = f"CompressedData = True\nCompressedDataSize = {len(packed)}".encode()
    for content in (text + raw, text.replace(b"CompressedData = False", size) + packed):
        (tmp_path / "b.mha").write_bytes(content)
        theirs = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "b.mha"))).transpose(2, 1, 0)
        ours = read_volume(tmp_path / "b.mha", dtype=None).data[0]
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(ours, values)


@pytest.mark.parametrize("seed", range(4))
def test_any_grid_is_read_as_simpleitk_reads_it(tmp_path, seed):
    random = np.random.default_rng(seed)
    axes = np.linalg.qr(random.normal(size=(3, 3)))[0]
    voxels, made = image(direction=axes, spacing=random.uniform(0.3, 5, 3), origin=random.uniform(-300, 300, 3))
    volume = read_volume(save(tmp_path / "a.mhd", made, packed=bool(seed % 2)))
    np.testing.assert_array_equal(volume.data[0], voxels)
    theirs = SimpleITK.ReadImage(str(tmp_path / "a.mhd"))
    for index in ((0, 0, 0), (4, 5, 6), (1, 4, 2)):
        x, y, z = theirs.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(volume.affine @ [*index, 1], [-x, -y, z, 1], atol=1e-4)


@pytest.mark.parametrize("pack", [zlib.compress, gzip.compress])
def test_packed_data_of_unknown_size(tmp_path, pack):
    """Legal, and SimpleITK makes zeros of it: one decoder must not vouch for what another reads."""
    voxels, made = image()
    header, data = parts(save(tmp_path / "a.mha", made))
    path = tmp_path / "b.mha"
    path.write_bytes(header.replace(b"CompressedData = False", b"CompressedData = True") + pack(data))
    np.testing.assert_array_equal(read_volume(path).data[0], voxels)


@pytest.mark.parametrize("skipped", ["16", "-1"])
def test_data_behind_a_foreign_header(tmp_path, skipped):
    voxels, made = image()
    path = save(tmp_path / "a.mhd", made)
    raw = tmp_path / "a.raw"
    raw.write_bytes(b"another's header" + raw.read_bytes())
    path.write_text(path.read_text().replace("ElementType", f"HeaderSize = {skipped}\nElementType"))
    np.testing.assert_array_equal(read_volume(path).data[0], voxels)
    theirs = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).transpose(2, 1, 0)
    np.testing.assert_array_equal(theirs, voxels)


def test_data_beyond_the_volume_are_refused(tmp_path):
    _, made = image()
    for name, packed, data in (("a.mha", False, "a.mha"), ("b.mha", True, "b.mha"), ("c.mhd", True, "c.zraw")):
        path = save(tmp_path / name, made, packed=packed)
        for more in (b"x", b"x" * 1000):
            (tmp_path / data).write_bytes((tmp_path / data).read_bytes() + more)
            for read in (read_volume, read_header):
                with pytest.raises(InputError, match=r"holds more than its header says: \d+ bytes are promised"):
                    read(path)
    header, data = parts(save(tmp_path / "d.mha", made))
    header = header.replace(b"CompressedData = False", b"CompressedData = True")
    for content in (zlib.compress(data + b"x"), zlib.compress(data) + b"x"):
        (tmp_path / "d.mha").write_bytes(header + content)
        with pytest.raises(InputError, match="holds more than its header says: 420 bytes are promised"):
            read_volume(tmp_path / "d.mha")


def test_no_memory_is_asked_for_what_packed_data_cannot_hold(tmp_path, monkeypatch):
    header, _ = parts(save(tmp_path / "a.mha", image()[1]))
    path = tmp_path / "a.mha"
    large = header.replace(b"CompressedData = False", b"CompressedData = True").replace(b"5 6 7", b"5000 6000 7000")
    path.write_bytes(large + zlib.compress(bytes(1000)))
    with pytest.raises(InputError, match="header promises 420000000000 bytes, the file has"):
        read_header(path)
    path.write_bytes(large.replace(b"5000 6000 7000", b"50 60 70") + zlib.compress(bytes(2 * 50 * 60 * 69)))
    monkeypatch.setattr(np, "empty", None)
    with pytest.raises(InputError, match="promises 420000 bytes, 414000 are there"):
        read_volume(path)


def test_damage_that_simpleitk_reads_without_a_word_is_refused(tmp_path):
    """Packed data that are cut, damaged or too few, in a header that agrees: SimpleITK fills the rest with anything."""
    voxels, made = image((20, 20, 20))
    path = save(tmp_path / "a.mha", made, packed=True)
    header, data = parts(path)
    agreeing = re.compile(rb"CompressedDataSize = \d+\n")
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 0x10
    early = zlib.compress(voxels.tobytes(order="F")[:8000])
    faults = {
        "damaged": header + flipped,
        "incomplete": agreeing.sub(b"", header) + data[:-500],
        "promises 16000 bytes, 8000 are there": agreeing.sub(b"", header) + early,
    }
    for message, content in faults.items():
        path.write_bytes(content)
        assert SimpleITK.ReadImage(str(path)).GetSize() == voxels.shape
        with pytest.raises(InputError, match=message):
            read_volume(path)


def changed(tmp_path, **lines):
    """A good file with other lines in its header; None removes one."""
    path = save(tmp_path / "a.mha", image(direction=np.eye(3))[1])
    header, data = parts(path)
    text = header.decode()
    for key, value in lines.items():
        text, count = re.subn(rf"{key} = .*\n", "" if value is None else f"{key} = {value}\n", text)
        assert count == 1
    path.write_bytes(text.encode() + data)
    return path


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ({"DimSize": "5 6 8"}, "promises 480 bytes, the file has 420"),
        ({"DimSize": "5 6 seven"}, "header is damaged: DimSize is '5 6 seven'"),
        ({"DimSize": "5 6 0"}, "expected one 3D volume"),
        ({"DimSize": "5 42"}, "expected one 3D volume"),
        ({"DimSize": None}, "its header has no DimSize"),
        ({"ElementType": "MET_STRING"}, "MET_STRING are not read"),
        ({"BinaryData": "False"}, "are not read"),
        ({"ElementDataFile": "../a.raw"}, "names its data '../a.raw'"),
        ({"ElementDataFile": "/etc/passwd"}, "names its data"),
        ({"ElementDataFile": "LIST"}, "names its data 'LIST'"),
        ({"ElementDataFile": "slice%03d.raw"}, "names its data"),
        ({"TransformMatrix": "1 0 0 0.3 0.953939 0 0 0 1"}, "sheared"),
        ({"TransformMatrix": "2 0 0 0 2 0 0 0 2"}, "axes of TransformMatrix are not of length 1"),
        ({"TransformMatrix": "1 0 0 0 1 0 0 0"}, "damaged: TransformMatrix is"),
        ({"Offset": "1 2 nan"}, "damaged: Offset is"),
        ({"Offset": "1 2 3\nOrigin = 3 2 1"}, "contradicts itself: Offset is '1 2 3', Origin is '3 2 1'"),
        ({"ElementSpacing": "1 -1 2"}, "is 1 x -1 x 2, expected mm above 0"),
        ({"ElementSpacing": "1 0 2"}, "is 1 x 0 x 2, expected mm above 0"),
        ({"ElementSpacing": "1 1"}, "damaged: ElementSpacing is '1 1'"),
        ({"ElementSpacing": "1 1 2\nDistanceUnits = cm"}, "gives lengths in 'cm', expected mm"),
        ({"ElementSpacing": "1 1 2\nElementToIntensityFunctionSlope = 2"}, "intensity function"),
        ({"BinaryDataByteOrderMSB": "False\nElementByteOrderMSB = True"}, "contradicts itself"),
        ({"ElementType": "MET_SHORT\nHeaderSize = 4"}, "does not say where the data begin"),
        ({"NDims": "4"}, "expected one 3D volume"),
    ],
)
def test_what_is_not_one_whole_volume_is_refused(tmp_path, lines, message):
    path = changed(tmp_path, **lines)
    for read in (read_volume, read_header):
        with pytest.raises(InputError, match=message):
            read(path)


def test_colours_are_refused(tmp_path):
    made = SimpleITK.GetImageFromArray(np.zeros((*SHAPE, 3), np.uint8), isVector=True)
    with pytest.raises(InputError, match="7 x 6 x 5 voxels of 3 values"):
        read_volume(save(tmp_path / "a.mha", made))
    with pytest.raises(InputError, match="expected one 3D volume"):
        read_volume(save(tmp_path / "b.mha", image()[1]), frame=1)


def test_a_header_without_position_has_none(tmp_path):
    volume = read_volume(changed(tmp_path, TransformMatrix=None))
    assert not volume.has_world_position
    assert any("no world position" in note for note in volume.notes)
    assert volume.spacing == pytest.approx((0.5, 0.6, 3.0))
    volume = read_volume(changed(tmp_path, ElementSpacing=None))
    assert volume.has_world_position
    assert volume.spacing == pytest.approx((1, 1, 1))
    assert volume.notes == ("no voxel size in the header, 1 mm taken",)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty"), (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"), (b"\0" * 300, "no MetaImage")],
)
def test_other_files_are_refused(tmp_path, content, message):
    """Also NIfTI under another name, which SimpleITK would read by its content."""
    SimpleITK.WriteImage(image()[1], str(tmp_path / "d.nii"))
    with pytest.raises(InputError, match="no MetaImage"):
        read_volume((tmp_path / "d.nii").rename(tmp_path / "d.mha"))
    path = tmp_path / "a.mha"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_volume(path)
    with pytest.raises(InputError, match="no such file"):
        read_volume(tmp_path / "b.mha")
    (tmp_path / "c.mha").mkdir()
    with pytest.raises(InputError, match="folder"):
        read_header(tmp_path / "c.mha")
