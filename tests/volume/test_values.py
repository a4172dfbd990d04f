"""Values, types and frames as the file means them."""

import gzip
import struct
import tracemalloc

import nibabel
import numpy as np
import pytest
from nifti_files import affine_of, noise, save

from medgen.errors import InputError
from medgen.volume import (
    read_volume,
)


def test_slope_and_intercept_are_applied(tmp_path):
    stored = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    path = save(tmp_path / "a.nii.gz", stored, slope=(1, -1024))
    raw = bytearray(gzip.decompress(path.read_bytes()))
    for slope, intercept, expected in (
        (1.0, -1024.0, stored - 1024.0),
        (0.5, 3.0, stored * 0.5 + 3),
        (0.0, 7.0, stored),  # NIfTI-1: slope 0 means that there is no scaling
        (np.nan, np.nan, stored),
    ):
        raw[112:120] = struct.pack("<ff", slope, intercept)
        raw[352:] = stored.tobytes(order="F")
        path.write_bytes(gzip.compress(bytes(raw)))
        data = read_volume(path).data
        assert data.dtype == np.float32
        assert np.array_equal(data[0], expected.astype(np.float32))


def test_byte_order_and_nifti2(tmp_path):
    data = noise()
    big = nibabel.Nifti1Image(data, affine_of(), nibabel.Nifti1Header(endianness=">"))
    big.header.set_xyzt_units("mm")
    nibabel.save(big, tmp_path / "big.nii.gz")
    assert np.array_equal(read_volume(tmp_path / "big.nii.gz").data[0], data)
    save(tmp_path / "two.nii.gz", data, affine_of(), kind=nibabel.Nifti2Image)
    two = read_volume(tmp_path / "two.nii.gz")
    assert np.array_equal(two.data[0], data)
    assert np.array_equal(two.affine, affine_of())


def test_nan_is_not_hidden(tmp_path):
    data = noise()
    data[1, 2, 3], data[0, 0, 0] = np.nan, np.inf
    read = read_volume(save(tmp_path / "a.nii.gz", data)).data[0]
    assert np.isnan(read[1, 2, 3])
    assert np.isinf(read[0, 0, 0])


def test_the_stored_type_can_be_kept(tmp_path):
    path = save(tmp_path / "a.nii.gz", np.ones((3, 3, 3), np.uint8))
    assert read_volume(path, dtype=None).data.dtype == np.uint8
    path = save(tmp_path / "a.nii.gz", np.full((3, 3, 3), 2**31 - 1, np.int32))
    assert int(read_volume(path, dtype=None).data.max()) == 2**31 - 1


def test_frames(tmp_path):
    one = save(tmp_path / "one.nii.gz", noise((4, 5, 6, 1)))
    assert read_volume(one).shape == (4, 5, 6)
    assert "last axis of 1 dropped" in read_volume(one).notes[0]
    data = noise((4, 5, 6, 5))
    for name in ("five.nii.gz", "five.nii"):
        five = save(tmp_path / name, data)
        with pytest.raises(InputError, match="4D with 5 frames") as error:
            read_volume(five)
        assert "--frame 0 to 4" in error.value.fix
        assert np.array_equal(read_volume(five, frame=3).data[0], data[..., 3])
        with pytest.raises(InputError, match="no frame 5"):
            read_volume(five, frame=5)
    with pytest.raises(InputError, match="several values a voxel"):
        read_volume(save(tmp_path / "vector.nii", noise((4, 5, 6, 1, 3))))
    flat = read_volume(save(tmp_path / "flat.nii", noise((4, 5))))
    assert flat.shape == (4, 5, 1)


def test_colour_and_complex_are_refused(tmp_path):
    colour = np.zeros((3, 3, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(colour, np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(InputError, match="colour"):
        read_volume(tmp_path / "a.nii")
    with pytest.raises(InputError, match="complex64"):
        read_volume(save(tmp_path / "b.nii", noise().astype(np.complex64)))


def test_reading_takes_one_copy(tmp_path):
    size = (64, 64, 64)
    path = save(tmp_path / "a.nii.gz", noise(size))
    read_volume(path)
    tracemalloc.start()
    try:
        read_volume(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 64**3 + 4_000_000  # one megabyte and blocks of unpacked bytes besides
