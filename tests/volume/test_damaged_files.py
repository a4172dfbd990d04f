"""What is damaged, incomplete or no NIfTI is refused by name."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nifti_files import affine_of, noise, save

import medgen.volume
from medgen.errors import InputError, MedgenError
from medgen.volume import (
    read_header,
    read_volume,
)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_cut_packed_file_is_incomplete(tmp_path, share):
    path = save(tmp_path / "a.nii.gz", noise((20, 20, 20)))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match="incomplete file") as error:
        read_volume(path)
    assert error.value.where == path
    assert "copy it again" in error.value.fix


def test_cut_plain_file_is_incomplete(tmp_path):
    path = save(tmp_path / "a.nii", noise((20, 20, 20)))
    path.write_bytes(path.read_bytes()[:16000])
    with pytest.raises(InputError, match="promises 32352 bytes, the file has 16000"):
        read_volume(path)
    with pytest.raises(InputError, match="incomplete"):
        read_header(path)


def test_packed_too_early_is_incomplete(tmp_path):
    """The packed stream is whole, what was packed was not."""
    path = save(tmp_path / "a.nii", noise((20, 20, 20)))
    packed = tmp_path / "b.nii.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()[:16000], mtime=0))
    with pytest.raises(InputError, match="Expected 32000 bytes, got 15648"):
        read_volume(packed)


def test_flipped_byte_breaks_the_checksum(tmp_path):
    path = save(tmp_path / "a.nii.gz", noise((12, 12, 12)))
    whole = path.read_bytes()
    positions = np.linspace(20, len(whole) - 5, 60).astype(int)
    for position in [*positions, len(whole) - 8, len(whole) - 1]:
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"checksum|incomplete"):
            read_volume(path)


def test_damaged_header_is_named_as_damage_before_its_content_is_judged(tmp_path):
    """Stored, not compressed, so that one byte of the sform can be changed under an unchanged checksum."""
    plain = save(tmp_path / "a.nii", noise()).read_bytes()
    packed = bytearray(gzip.compress(plain, compresslevel=0, mtime=0))
    packed[packed.index(plain[280:296]) + 3] ^= 0x01  # srow_x[0]: 1 becomes 4
    path = tmp_path / "b.nii.gz"
    path.write_bytes(packed)
    with pytest.raises(InputError, match="checksum"):
        read_volume(path)


def test_one_frame_of_a_damaged_file_is_refused_too(tmp_path):
    """Large enough that the frame is unpacked long before the end, where the checksum stands."""
    frames = np.random.default_rng(0).integers(0, 255, (64, 64, 64, 8), np.uint8)
    path = save(tmp_path / "a.nii.gz", frames)
    damaged = bytearray(path.read_bytes())
    damaged[-6] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(InputError, match="checksum"):
        read_volume(path, frame=0)


def test_no_byte_of_a_header_makes_anything_but_a_clear_error(tmp_path):
    path = save(tmp_path / "a.nii", noise((3, 3, 3)), affine_of())
    whole = path.read_bytes()
    for position in range(352):
        for value in (0x7F, 0xFF):
            damaged = bytearray(whole)
            damaged[position] = value
            path.write_bytes(damaged)
            try:
                volume = read_volume(path)
            except MedgenError as error:
                assert str(error).count("\n") == 2  # noqa: PT017
            else:
                assert min(volume.shape) > 0
                assert np.isfinite(volume.affine).all()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.nii.gz", b"", "empty"),
        ("a.nii.gz", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"),
        ("a.nii", b"\0" * 128 + b"DICM" + b"\0" * 300, "DICOM"),
        ("a.nii.gz", b"x" * 400, "named .gz but not packed"),
        ("a.nii", gzip.compress(b"x" * 400, mtime=0), "packed but not named .gz"),
        ("a.nii", b"x" * 400, "no NIfTI"),
        ("a.nii.gz", gzip.compress(b"x" * 400, mtime=0), "no NIfTI"),
        ("a.txt", b"hello", "no NIfTI"),
    ],
)
def test_what_is_no_nifti_is_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_volume(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_volume(tmp_path / "nothing.nii.gz")
    with pytest.raises(InputError, match="folder"):
        read_volume(tmp_path)


def test_pair_reads_and_header_alone_is_refused(tmp_path):
    data = noise()
    save(tmp_path / "a.img", data, affine_of(), kind=nibabel.Nifti1Pair)
    assert np.array_equal(read_volume(tmp_path / "a.hdr").data[0], data)
    (tmp_path / "a.img").unlink()
    with pytest.raises(InputError, match=r"a\.img is missing"):
        read_volume(tmp_path / "a.hdr")


def test_another_format_is_refused(tmp_path):
    nibabel.save(nibabel.MGHImage(noise(), np.eye(4)), tmp_path / "a.mgz")
    nibabel.save(nibabel.Spm99AnalyzeImage(noise(), np.eye(4)), tmp_path / "a.img")
    for name in ("a.mgz", "a.img"):
        with pytest.raises(InputError, match="not NIfTI"):
            read_volume(tmp_path / name)


def test_nothing_is_read_by_simpleitk():
    """It returns a truncated NIfTI half full of zeros, and a packed MetaImage that it cannot unpack as well."""
    for path in Path(medgen.volume.__file__).parent.glob("*.py"):
        assert "import SimpleITK" not in path.read_text()


@pytest.mark.parametrize(("name", "begin"), [("a.nii", 0), ("a.nii.gz", 0)])
def test_voxels_do_not_begin_inside_the_header(tmp_path, name, begin):
    path = save(tmp_path / name, noise((9, 8, 7)))
    pack, unpack = (gzip.compress, gzip.decompress) if name.endswith("gz") else (bytes, bytes)
    raw = bytearray(unpack(path.read_bytes()))
    raw[108:112] = np.float32(begin).tobytes()
    path.write_bytes(pack(bytes(raw)))
    for read in (read_volume, read_header):
        with pytest.raises(InputError, match=rf"begin at byte {begin} \(vox_offset\), inside the header of 348 bytes"):
            read(path)
