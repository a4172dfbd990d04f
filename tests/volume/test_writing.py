"""What is written: the grid, the type, nothing about the patient, whole or not at all."""

import gzip
import struct

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nifti_files import affine_of, noise, save

from medgen.errors import InputError, UsageError
from medgen.volume import (
    Volume,
    corner_distance,
    read_header,
    read_volume,
    reorient_like,
    require_same_grid,
    to_ras,
    write_volume,
)


def test_written_header_holds_the_grid_and_nothing_else(tmp_path):
    path = save(tmp_path / "a.nii.gz", noise(), affine_of(angle=20), codes=(1, 4))
    image = nibabel.load(path)
    image.header["descrip"], image.header["aux_file"] = b"CANARY^NAME", b"CANARY"
    image.header["intent_name"], image.header["db_name"] = b"CANARY", b"CANARY"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"CANARY"))
    nibabel.save(image, path)
    source = read_volume(path)
    out = write_volume(source, tmp_path / "out.nii.gz", kind="scalar")
    raw = gzip.decompress(out.read_bytes())
    assert b"CANARY" not in raw
    assert b"CANARY" not in out.read_bytes()
    assert str(tmp_path).encode() not in raw
    header = nibabel.load(out).header
    assert bytes(header["descrip"]).rstrip(b"\0") == b"medgen, research use only"
    assert not bytes(header["aux_file"]).strip(b"\0")
    assert len(header.extensions) == 0
    assert (int(header["qform_code"]), int(header["sform_code"])) == (1, 4)
    assert header.get_xyzt_units()[0] == "mm"
    assert struct.unpack("<ff", raw[112:120]) == (1.0, 0.0)
    assert struct.unpack("<f", raw[108:112]) == (352.0,)


def test_a_form_that_was_not_there_appears_only_where_the_grid_needs_it(tmp_path):
    for angle, codes, written in ((0, (1, 0), (1, 0)), (0, (0, 2), (0, 2))):
        source = read_volume(save(tmp_path / "a.nii", noise(), affine_of(angle=angle), codes=codes))
        header = nibabel.load(write_volume(source, tmp_path / "b.nii", kind="scalar", overwrite=True)).header
        assert (int(header["qform_code"]), int(header["sform_code"])) == written
    for seed in range(20):
        source = read_volume(save(tmp_path / "a.nii", noise(), affine_of(angle=seed * 17.3), codes=(2, 0)))
        again = read_volume(write_volume(source, tmp_path / "b.nii", kind="scalar", overwrite=True))
        assert np.array_equal(again.affine, source.affine)
        assert again.qform_code == 2


def test_hounsfield_are_rounded_and_clipped(tmp_path):
    values = np.array([-1024.4, 0.6, 40000.0, -40000.0, 3071.5, 1.5], np.float32).reshape(1, 6, 1, 1)
    path = write_volume(Volume(values, np.eye(4)), tmp_path / "a.nii.gz", kind="hu")
    image = nibabel.load(path)
    assert image.get_data_dtype() == np.int16
    assert image.get_fdata().ravel().tolist() == [-1024, 1, 32767, -32768, 3072, 2]
    for wrong in (np.nan, np.inf):
        values[0, 0] = wrong
        with pytest.raises(InputError, match="NaN or infinite"):
            write_volume(Volume(values, np.eye(4)), tmp_path / "b.nii.gz", kind="hu")
    assert not (tmp_path / "b.nii.gz").exists()


@pytest.mark.parametrize(("top", "kind"), [(3, np.uint8), (256, np.uint16), (70000, np.uint32)])
def test_labels_take_the_smallest_type(tmp_path, top, kind):
    for dtype in (np.float32, np.int64):
        data = np.array([0, 1, top], dtype).reshape(1, 3, 1, 1)
        image = nibabel.load(write_volume(Volume(data, np.eye(4)), tmp_path / "a.nii.gz", kind="label", overwrite=True))
        assert image.get_data_dtype() == kind
        assert np.unique(image.get_fdata()).tolist() == [0, 1, top]


def test_labels_that_are_none_are_refused(tmp_path):
    for values, message in (([0.5, 1], "not integers"), ([-1, 1], "from -1 to 1"), ([np.nan, 1], "NaN")):
        data = np.array(values, np.float32).reshape(1, 2, 1, 1)
        with pytest.raises(InputError, match=message):
            write_volume(Volume(data, np.eye(4)), tmp_path / "a.nii.gz", kind="label")
    data = np.ones((1, 2, 2, 2), bool)
    assert nibabel.load(write_volume(Volume(data, np.eye(4)), tmp_path / "b.nii", kind="label")).get_fdata().all()


def test_output_that_exists_is_kept_unless_told(tmp_path):
    volume = Volume(noise()[None], np.eye(4))
    path = write_volume(volume, tmp_path / "new" / "a.nii.gz", kind="scalar")
    before = path.read_bytes()
    with pytest.raises(UsageError, match="exists"):
        write_volume(volume.with_data(noise(seed=1)), path, kind="scalar")
    assert path.read_bytes() == before
    write_volume(volume.with_data(noise(seed=1)), path, kind="scalar", overwrite=True)
    assert path.read_bytes() != before
    with pytest.raises(UsageError, match="NIfTI"):
        write_volume(volume, tmp_path / "a.mha", kind="scalar")


def test_equal_volumes_make_equal_bytes(tmp_path):
    volume = Volume(noise()[None], affine_of(angle=20))
    one = write_volume(volume, tmp_path / "one.nii.gz", kind="scalar")
    two = write_volume(volume, tmp_path / "two.nii.gz", kind="scalar")
    assert one.read_bytes() == two.read_bytes()
    flags, *time = one.read_bytes()[3:8]  # RFC 1952: a name would set flag 8
    assert (flags, time) == (0, [0, 0, 0, 0])


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    volume = Volume(noise()[None], np.eye(4))
    kept = write_volume(volume, tmp_path / "kept.nii.gz", kind="scalar")
    before = kept.read_bytes()

    def interrupted(self, *_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(nibabel.Nifti1Header, "write_to", interrupted)
    for path in (kept, tmp_path / "new.nii.gz"):
        with pytest.raises(KeyboardInterrupt):
            write_volume(volume, path, kind="scalar", overwrite=True)
    assert kept.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["kept.nii.gz"]


def test_channels_become_frames(tmp_path):
    data = noise((3, 4, 5, 6))
    path = write_volume(Volume(data, affine_of()), tmp_path / "a.nii.gz", kind="scalar")
    for channel in range(3):
        read = read_volume(path, frame=channel)
        assert np.array_equal(read.data[0], data[channel])
        assert np.array_equal(read.affine, affine_of())


@settings(max_examples=40, deadline=None)
@given(
    dtype=st.sampled_from(["uint8", "int16", "int32", "uint16", "float32", "float64"]),
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    axes=st.permutations(range(3)),
    signs=st.tuples(*[st.sampled_from((1, -1))] * 3),
    angle=st.floats(-180, 180),
    spacing=st.tuples(*[st.floats(0.1, 8)] * 3),
    codes=st.tuples(st.integers(0, 4), st.integers(0, 4)).filter(any),
    suffix=st.sampled_from([".nii", ".nii.gz"]),
    seed=st.integers(0, 99),
)
def test_read_write_read(tmp_path_factory, dtype, shape, axes, signs, angle, spacing, codes, suffix, seed):
    folder = tmp_path_factory.mktemp("round")
    stored = (np.random.default_rng(seed).random(shape) * 100).astype(dtype)
    path = save(folder / f"a{suffix}", stored, affine_of(axes, signs, angle, spacing), codes=codes)
    first = read_volume(path)
    second = read_volume(write_volume(first, folder / f"b{suffix}", kind="scalar"))
    assert np.array_equal(first.data[0], stored.astype(np.float32))
    assert np.array_equal(first.data, second.data)
    assert np.array_equal(first.affine, second.affine)
    assert first.qform_code == second.qform_code
    require_same_grid(first, read_header(path))
    assert corner_distance(first, reorient_like(to_ras(first), first)) == 0


def test_volume_is_frozen_and_checks_shapes():
    volume = Volume(noise()[None], np.eye(4))
    assert volume.shape == (5, 6, 7)
    with pytest.raises(AttributeError):
        volume.data = None  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        volume.affine[0, 0] = 2
    with pytest.raises(ValueError, match="grid of"):
        volume.with_data(noise((4, 4, 4)))
    with pytest.raises(ValueError, match="C, X, Y, Z"):
        Volume(noise(), np.eye(4))
    assert volume.with_data(noise((2, 5, 6, 7))).data.shape == (2, 5, 6, 7)
