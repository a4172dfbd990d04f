"""What nibabel mends in silence is refused or told: voxel sizes, codes, units; and nothing asks for memory in vain."""

import gzip
import struct

import nibabel
import numpy as np
import pytest
from nifti_files import affine_of, noise, save

from medgen.errors import InputError
from medgen.volume import read_header, read_volume, repair_volume
from medgen.volume.nifti_header import LARGEST_EXTENSION

READERS = (read_volume, read_header)


def change(path, **fields):
    """Numbers of a NIfTI-1 header as bytes, which nibabel would not write: ``pixdim1=(80, "<f", 0)``."""
    pack, unpack = (gzip.compress, gzip.decompress) if path.suffix == ".gz" else (bytes, bytes)
    raw = bytearray(unpack(path.read_bytes()))
    for offset, kind, value in fields.values():
        struct.pack_into(kind, raw, offset, value)
    path.write_bytes(pack(bytes(raw)))
    return path


def sizes(*values):
    return {f"pixdim{number}": (80 + 4 * number, "<f", value) for number, value in enumerate(values)}


@pytest.mark.parametrize("wrong", [0, -1.3, float("nan"), float("inf")])
@pytest.mark.parametrize("codes", [(1, 0), (1, 1), (0, 0)])
def test_a_voxel_size_that_makes_the_grid_must_be_above_0(tmp_path, wrong, codes):
    path = change(save(tmp_path / "a.nii.gz", noise(), affine_of(), codes=codes), **sizes(0.7, wrong, 2.5))
    for read in READERS:
        with pytest.raises(InputError, match=r"\(pixdim\) is 0\.7 x .* x 2\.5 mm, expected numbers above 0"):
            read(path)


def test_a_voxel_size_that_contradicts_the_sform_is_told(tmp_path):
    for wrong in (0, -1.3, float("nan"), 1.0):
        path = save(tmp_path / "a.nii", noise(), affine_of(), codes=(0, 1))
        change(path, **sizes(0.7, wrong, 2.5))
        for read in READERS:
            (note,) = read(path).notes
            assert note.endswith(f"is 0.7 x {wrong:.4g} x 2.5 mm, by the sform 0.7 x 1.3 x 2.5 mm: the sform is taken")
        assert np.array_equal(read_volume(path).affine, affine_of())
    assert read_volume(save(tmp_path / "b.nii", noise(), affine_of(angle=20), codes=(0, 1))).notes == ()


def test_the_sform_can_be_chosen_where_the_voxel_size_spoils_the_qform(tmp_path):
    path = change(save(tmp_path / "a.nii", noise(), affine_of()), **sizes(0.7, -1.3, 2.5))
    with pytest.raises(InputError, match="expected numbers above 0") as error:
        read_volume(path)
    assert "--geometry sform" in error.value.fix
    volume = read_volume(path, geometry="sform")
    assert np.array_equal(volume.affine, affine_of())
    assert "-1.3" in volume.notes[0]
    assert np.array_equal(repair_volume(path, geometry="sform").volume.affine, affine_of())


def test_a_sign_that_readers_read_differently(tmp_path):
    """niftilib takes every negative pixdim[0] for -1, nibabel all but -1 for 1: slices run up or down."""
    path = save(tmp_path / "a.nii", noise(), affine_of(), codes=(1, 0))
    expected = read_volume(path).affine
    assert np.array_equal(read_volume(change(path, qfac=(76, "<f", 0))).affine, expected)
    with pytest.raises(InputError, match=r"pixdim\[0\] is -2, expected 1 or -1"):
        read_volume(change(path, qfac=(76, "<f", -2)))


@pytest.mark.parametrize(("form", "offset"), [("qform", 252), ("sform", 254)])
def test_an_unknown_code_is_not_taken_for_none(tmp_path, form, offset):
    path = save(tmp_path / "a.nii", noise(), affine_of())
    for read in READERS:
        with pytest.raises(InputError, match=f"the {form}_code is 9, expected 0 to 5"):
            read(change(path, code=(offset, "<h", 9)))


def test_the_other_byte_order_and_nifti_2(tmp_path):
    image = nibabel.Nifti1Image(noise(), affine_of(), nibabel.Nifti1Header(endianness=">"))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.raises(InputError, match="'micron', expected mm"):
        read_volume(tmp_path / "a.nii")
    two = save(tmp_path / "b.nii", noise(), affine_of(), kind=nibabel.Nifti2Image, codes=(1, 0))
    assert read_volume(two).notes == ()
    raw = bytearray(two.read_bytes())
    struct.pack_into("<d", raw, 104 + 16, -1.0)
    two.write_bytes(raw)
    with pytest.raises(InputError, match=r"is 0\.7 x -1 x 2\.5 mm"):
        read_volume(two)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_data_beyond_the_volume_are_refused(tmp_path, name):
    path = save(tmp_path / name, noise())
    pack, unpack = (gzip.compress, gzip.decompress) if path.suffix == ".gz" else (bytes, bytes)
    path.write_bytes(pack(unpack(path.read_bytes()) + b"x"))
    with pytest.raises(InputError, match="holds more than its header says: 1192 bytes are promised"):
        read_volume(path)
    frames = save(tmp_path / f"4d_{name}", noise((4, 4, 4, 3)))
    assert read_volume(frames, frame=0).shape == (4, 4, 4)
    frames.write_bytes(pack(unpack(frames.read_bytes()) + b"x"))
    with pytest.raises(InputError, match="holds more than its header says"):
        read_volume(frames, frame=0)


def test_what_unpacks_to_far_more_than_the_header_says_is_not_unpacked(tmp_path):
    path = save(tmp_path / "a.nii.gz", noise())
    bomb = gzip.compress(gzip.decompress(path.read_bytes()) + bytes(50 << 20))
    path.write_bytes(bomb)
    read = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medgen.volume.nifti._PackedFile.read", counted(read))
        with pytest.raises(InputError, match="1192 bytes are promised"):
            read_volume(path)
    assert sum(read) < 3 << 20


def counted(sizes):
    from isal import igzip

    def read(self, size=-1):
        sizes.append(len(block := igzip.IGzipFile.read(self, size)))
        return block

    return read


def test_packed_zeros_are_counted_before_memory_is_asked_for(tmp_path, monkeypatch):
    path = save(tmp_path / "a.nii.gz", np.zeros((80, 80, 80), np.uint8))
    assert not read_volume(path).data.any()  # a map without a label is whole, however small its file
    whole = gzip.decompress(path.read_bytes())
    monkeypatch.setattr("medgen.volume.nifti.ArrayProxy", None)
    for content, message in ((whole[:-9], "promises 512352 bytes, 512343 are there"), (whole + b"x", "holds more")):
        path.write_bytes(gzip.compress(content))
        with pytest.raises(InputError, match=message):
            read_volume(path)
    change(path, dim=(42, "<h", 32767), more=(44, "<h", 32767), most=(46, "<h", 32767))
    with pytest.raises(InputError, match=r"promises 351811509\d+ bytes, the file has \d+, packed"):
        read_header(path)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_an_extension_is_not_read_without_bound(tmp_path, name):
    path = save(tmp_path / name, noise())
    change(path, begin=(108, "<f", LARGEST_EXTENSION + 4096), flag=(348, "<i", 1), size=(352, "<i", 1 << 30))
    for read in READERS:
        with pytest.raises(InputError, match="at most 67109408 are read"):
            read(path)
    image = nibabel.Nifti1Image(noise(), affine_of())
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"a remark " * 1000))
    nibabel.save(image, tmp_path / "b.nii.gz")
    assert np.array_equal(read_volume(tmp_path / "b.nii.gz").data[0], noise())


def test_another_packing_is_named(tmp_path):
    path = tmp_path / "a.nii.bz2"
    nibabel.save(nibabel.Nifti1Image(noise(), affine_of()), path)
    with pytest.raises(InputError, match=r"packed as \.bz2, expected \.gz"):
        read_volume(path)
