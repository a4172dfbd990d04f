"""Volumes: reading damaged and contradictory files, writing, turning and comparing grids."""

import gzip
import struct
import tracemalloc
from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import medgen.volume
from medgen.errors import InputError, MedgenError, UsageError
from medgen.volume import (
    Grid,
    Volume,
    corner_distance,
    overlap,
    ras_grid,
    read_header,
    read_label,
    read_volume,
    reorient_like,
    require_same_grid,
    to_ras,
    write_volume,
)


def turned(angle: float, axis=(1.0, 2.0, 3.0)) -> np.ndarray:
    """Rotation by ``angle`` degrees about ``axis``, by Rodrigues' formula."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    radians = np.radians(angle)
    return np.eye(3) + np.sin(radians) * cross + (1 - np.cos(radians)) * cross @ cross


def affine_of(axes=(0, 1, 2), signs=(1, 1, 1), angle=0.0, spacing=(0.7, 1.3, 2.5), origin=(-90.3, 20.1, 5.5)):
    matrix = np.zeros((3, 3))
    for column, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        matrix[axis, column] = sign * spacing[column]
    affine = np.eye(4)
    affine[:3, :3] = turned(angle) @ matrix
    affine[:3, 3] = origin
    return affine.astype(np.float32).astype(float)


def save(path, data, affine=None, *, qform=None, codes=(1, 1), kind=nibabel.Nifti1Image, unit="mm", slope=None):
    """A NIfTI file made by nibabel alone."""
    affine = np.eye(4) if affine is None else affine
    image = kind(data, affine)
    image.header.set_xyzt_units(unit)
    image.set_sform(affine, codes[1])
    image.set_qform(affine if qform is None else qform, codes[0])
    if slope:
        image.header.set_slope_inter(*slope)
    nibabel.save(image, path)
    return path


def noise(shape=(5, 6, 7), seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# ---------------------------------------------------------------- damage


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
    packed.write_bytes(gzip.compress(path.read_bytes()[:16000]))
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
    packed = bytearray(gzip.compress(plain, compresslevel=0))
    packed[packed.index(plain[280:296]) + 3] ^= 0x01  # srow_x[0]: 1 becomes 4
    path = tmp_path / "b.nii.gz"
    path.write_bytes(packed)
    with pytest.raises(InputError, match="checksum"):
        read_volume(path)


def test_one_frame_of_a_damaged_file_is_refused_too(tmp_path):
    path = save(tmp_path / "a.nii.gz", noise((6, 6, 6, 3)))
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
        ("a.nii", gzip.compress(b"x" * 400), "packed but not named .gz"),
        ("a.nii", b"x" * 400, "no NIfTI"),
        ("a.nii.gz", gzip.compress(b"x" * 400), "no NIfTI"),
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


def test_nifti_is_never_read_by_simpleitk():
    """It returns a truncated file half full of zeros."""
    for path in Path(medgen.volume.__file__).parent.glob("*.py"):
        assert "SimpleITK" not in path.read_text()


# ---------------------------------------------------------------- geometry


def test_disagreeing_forms_need_a_choice(tmp_path):
    sform, qform = affine_of(spacing=(1, 1, 1)), affine_of(spacing=(2, 2, 2), origin=(0, 0, 0))
    path = save(tmp_path / "a.nii.gz", noise(), sform, qform=qform, codes=(1, 2))
    with pytest.raises(InputError, match=r"1 x 1 x 1 and 2 x 2 x 2 mm") as error:
        read_volume(path)
    assert "--geometry sform or --geometry qform" in error.value.fix
    assert read_volume(path, geometry="sform").spacing == (1, 1, 1)
    chosen = read_volume(path, geometry="qform")
    assert np.array_equal(chosen.affine, qform)
    assert (chosen.qform_code, chosen.sform_code) == (1, 2)
    assert any("qform chosen" in note for note in chosen.notes)
    assert np.array_equal(read_header(path, geometry="qform").affine, qform)


def test_forms_that_differ_by_rounding_agree(tmp_path):
    sform = affine_of(spacing=(1, 1, 1))
    qform = sform.copy()
    qform[0, 3] += 0.09
    path = save(tmp_path / "a.nii.gz", noise(), sform, qform=qform)
    assert np.array_equal(read_volume(path).affine, sform)
    qform[0, 3] += 0.02
    save(path, noise(), sform, qform=qform)
    with pytest.raises(InputError, match=r"disagree by 0\.11 mm"):
        read_volume(path)


def test_one_form_is_enough(tmp_path):
    affine = affine_of(angle=20)
    path = save(tmp_path / "a.nii.gz", noise(), affine, codes=(0, 2))
    assert np.array_equal(read_volume(path, geometry="qform").affine, affine)
    save(path, noise(), affine, codes=(3, 0))
    volume = read_volume(path)
    assert np.allclose(volume.affine, affine, atol=1e-5)
    assert (volume.qform_code, volume.sform_code) == (3, 0)


def test_no_world_position_is_said_and_allowed_alone_only(tmp_path):
    path = save(tmp_path / "a.nii.gz", noise(), np.diag([2.0, 2, 3, 1]), codes=(0, 0))
    volume = read_volume(path)
    assert not volume.has_world_position
    assert any("no world position" in note for note in volume.notes)
    assert volume.spacing == (2, 2, 3)
    with pytest.raises(InputError, match="no world position"):
        require_same_grid(volume, volume)
    again = read_volume(write_volume(volume, tmp_path / "b.nii.gz", kind="scalar"))
    assert np.array_equal(again.affine, volume.affine)
    assert not again.has_world_position
    with pytest.raises(InputError, match="axis order of its file"):
        write_volume(to_ras(volume), tmp_path / "c.nii.gz", kind="scalar")


def test_shear_is_refused_with_its_angle(tmp_path):
    sheared = np.eye(4)
    sheared[0, 1] = 0.3  # the angle between x and y is 90 - atan(0.3) = 73.3 degrees
    path = save(tmp_path / "a.nii.gz", noise(), sheared, codes=(0, 1))
    with pytest.raises(InputError, match=r"sheared: two axes are 16\.70 degrees"):
        read_volume(path)
    with pytest.raises(InputError, match="sheared"):
        write_volume(Volume(noise()[None], sheared), tmp_path / "b.nii", kind="scalar")


def test_rounded_cosines_are_made_orthonormal(tmp_path):
    slightly = np.eye(4)
    slightly[0, 1] = 1e-4  # 32 voxels: the corner moves by 16 * 0.5e-4 * sqrt(2) = 0.0011 voxels
    path = save(tmp_path / "a.nii.gz", noise((32, 32, 32)), slightly, codes=(0, 1))
    matrix = read_volume(path).affine[:3, :3]
    assert np.abs(matrix.T @ matrix - np.eye(3)).max() < 1e-6
    assert np.abs(matrix - slightly[:3, :3]).max() < 6e-5
    slightly[0, 1] = 2e-3  # 0.023 voxels
    save(path, noise((32, 32, 32)), slightly, codes=(0, 1))
    with pytest.raises(InputError, match=r"sheared: two axes are 0\.11 degrees"):
        read_volume(path)


def test_degenerate_grids_are_refused(tmp_path):
    for wrong in (0.0, np.nan, np.inf):
        affine = np.eye(4)
        affine[2, 2] = wrong
        image = nibabel.Nifti1Image(noise(), np.eye(4))
        image.header["sform_code"], image.header["qform_code"] = 1, 0
        image.header["srow_z"] = affine[2]
        path = tmp_path / "a.nii"
        path.write_bytes(image.to_bytes())
        raw = bytearray(path.read_bytes())
        raw[252:256] = struct.pack("<hh", 0, 1)
        raw[280:328] = affine[:3].astype("<f4").tobytes()
        path.write_bytes(raw)
        with pytest.raises(InputError, match="degenerate"):
            read_volume(path)


@pytest.mark.parametrize("angle", [0.0, 20.0])
def test_every_orientation_keeps_its_grid_and_a_marker_its_place(tmp_path, angle):
    index = (1, 4, 2)
    for axes, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        affine = affine_of(axes, signs, angle)
        data = np.zeros((5, 6, 7), np.float32)
        data[index] = 1
        volume = read_volume(save(tmp_path / "a.nii", data, affine))
        assert np.array_equal(volume.affine, affine)
        place = affine[:3, :3] @ index + affine[:3, 3]

        ras = to_ras(volume)
        assert ras.axis_codes == ("R", "A", "S")
        found = np.argwhere(ras.data[0] == 1)
        assert np.allclose(ras.affine[:3, :3] @ found[0] + ras.affine[:3, 3], place, atol=1e-4)
        back = reorient_like(ras, volume)
        assert np.array_equal(back.data, volume.data)

        written = read_volume(write_volume(back, tmp_path / "b.nii", kind="scalar", overwrite=True))
        assert np.array_equal(written.affine, affine)
        assert np.array_equal(written.data, volume.data)
        header = nibabel.load(tmp_path / "b.nii").header
        assert np.abs(header.get_qform() - affine).max() < 1e-5
        assert ras_grid(volume).shape == ras.shape
        assert np.allclose(ras_grid(volume).affine, ras.affine)


@pytest.mark.parametrize("miss", [0.1, 0.2, 0.5])
def test_qform_near_half_a_turn_is_written_to_1e_5(tmp_path, miss):
    """a = sqrt(1 - b^2 - c^2 - d^2) loses its digits there: rounding alone misses by more than 1e-5."""
    worst, plain = 0.0, 0.0
    for seed in range(20):
        affine = np.eye(4)
        affine[:3, :3] = turned(180 - miss, np.random.default_rng(seed).normal(size=3))
        volume = Volume(np.zeros((1, 2, 2, 2), np.float32), affine)
        header = nibabel.load(write_volume(volume, tmp_path / "a.nii", kind="scalar", overwrite=True)).header
        worst = max(worst, np.abs(header.get_qform() - header.get_sform()).max())
        header.set_qform(affine, 1)
        plain = max(plain, np.abs(header.get_qform() - header.get_sform()).max())
    assert worst < 2e-6
    assert plain > 1e-5


def test_a_rotation_that_readers_take_for_half_a_turn_is_no_disagreement(tmp_path):
    affine = np.eye(4)
    affine[:3, :3] = turned(179.95, (0, 0, 1))
    volume = Volume(np.zeros((1, 512, 512, 2), np.uint8), affine)
    path = write_volume(volume, tmp_path / "a.nii.gz", kind="label")
    header = nibabel.load(path).header
    assert np.abs(header.get_qform()[:3, :3] @ [256, 256, 0] - affine[:3, :3] @ [256, 256, 0]).max() > 0.1
    assert np.array_equal(read_volume(path).affine, affine.astype(np.float32))


def test_a_patient_grid_away_from_the_axes_is_not_turned_into_another(tmp_path):
    volume = Volume(noise()[None], affine_of(angle=20))
    other = Volume(noise()[None], affine_of(angle=25))
    with pytest.raises(InputError, match="does not lie on the grid"):
        reorient_like(to_ras(volume), other)


def test_units(tmp_path):
    assert read_volume(save(tmp_path / "a.nii", noise(), unit="mm")).notes == ()
    assert "no unit" in read_volume(save(tmp_path / "a.nii", noise(), unit="unknown")).notes[0]
    for unit in ("meter", "micron"):
        with pytest.raises(InputError, match=f"'{unit}', expected mm"):
            read_volume(save(tmp_path / "a.nii", noise(), unit=unit))


def test_grids_are_compared_in_millimetres_at_the_corners():
    a = Grid((10, 10, 10), np.eye(4), source="a.nii")
    scaled = np.diag([1.0, 1.0, 1.01, 1.0])  # corners at -0.5 and 9.5 in z: the far one moves by 0.095 mm
    b = Grid((10, 10, 10), scaled, source="b.nii")
    assert corner_distance(a, b) == pytest.approx(0.095)
    require_same_grid(a, b)
    with pytest.raises(InputError, match=r"0\.10 mm apart \(0\.10 voxels, allowed 0\.09\)") as error:
        require_same_grid(a, b, tolerance=0.09)
    assert "a.nii" in str(error.value.where)
    assert "b.nii" in str(error.value.where)
    with pytest.raises(InputError, match="10 x 10 x 10 and 10 x 10 x 9"):
        corner_distance(a, Grid((10, 10, 9), np.eye(4)))


def test_overlap_of_fields_of_view():
    a = Grid((16, 16, 16), np.eye(4))
    shifted = np.eye(4)
    shifted[0, 3] = 12
    assert overlap(a, a) == 1
    assert overlap(a, Grid((16, 16, 16), shifted)) == pytest.approx(4 / 16)
    shifted[0, 3] = 30
    assert overlap(a, Grid((16, 16, 16), shifted)) == 0
    assert overlap(Grid((8, 8, 8), np.diag([2.0, 2, 2, 1])), a) == pytest.approx((15 / 16) ** 3, abs=0.2)


# ---------------------------------------------------------------- values


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


# ---------------------------------------------------------------- labels


def test_label_values(tmp_path):
    data = np.zeros((3, 3, 3), np.float32)
    data[0, 0] = 1.00003
    data[1, 1] = 2
    path = tmp_path / "label.nii.gz"
    label = read_label(save(path, data), [1, 2])
    assert label.data.dtype == np.uint8
    assert np.unique(label.data).tolist() == [0, 1, 2]
    assert "rounded" in label.notes[-1]
    with pytest.raises(InputError, match=r"2 \(3 voxels\); expected 0, 1"):
        read_label(path, [1])
    data[1, 1] = 1.3
    with pytest.raises(InputError, match=r"no integers: 1\.3 \(3 voxels\)"):
        read_label(save(path, data))
    data[1, 1] = np.nan
    with pytest.raises(InputError, match="no integers"):
        read_label(save(path, data))
    with pytest.raises(InputError, match=r"-1 \(1 voxels\); expected integers >= 0"):
        read_label(save(path, np.pad(np.full((1, 1, 1), -1, np.int16), 1)))
    with pytest.raises(InputError, match=r"255 \(1 voxels\); expected 0, 1"):
        read_label(save(path, np.pad(np.full((1, 1, 1), 255, np.uint8), 1)), [1])
    large = nibabel.Nifti1Image(np.full((2, 2, 2), 3, np.int64), np.eye(4), dtype=np.int64)
    nibabel.save(large, path)
    assert read_label(path).data.dtype == np.uint8
    assert not read_label(save(path, np.zeros((2, 2, 2), np.uint8)), [1]).data.any()


# ---------------------------------------------------------------- writing


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


# ---------------------------------------------------------------- real files


@pytest.mark.real_data
def test_real_orientations_show_one_brain(real_data):
    files = sorted((real_data / "nifti" / "orientations").glob("*.nii.gz"))
    assert len(files) == 10
    reference = to_ras(read_volume(real_data / "nifti" / "orientations" / "RAS.nii.gz"))
    for path in files:
        volume = read_volume(path)
        assert "".join(volume.axis_codes) == path.name.split(".")[0]
        turned_volume = to_ras(volume)
        require_same_grid(turned_volume, reference, tolerance=0.001)
        assert np.abs(turned_volume.data - reference.data).max() < 1e-4


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shear.nii.gz", r"sform and qform disagree by 35\.75 mm"),
        ("ct_perfusion.nii.gz", "colour"),
        ("example4d.nii.gz", "4D with 2 frames"),
        ("example_nifti2.nii.gz", "4D with 2 frames"),
        ("nifti1.hdr", r"nifti1\.img is missing"),
    ],
)
def test_real_files_that_need_a_decision(real_data, name, message):
    with pytest.raises(InputError, match=message) as error:
        read_volume(real_data / "nifti" / name)
    assert str(error.value).count("\n") == 2


@pytest.mark.real_data
def test_real_files_that_can_be_read(real_data):
    folder = real_data / "nifti"
    tilted = read_volume(folder / "shear.nii.gz", geometry="qform")
    assert (tilted.data.min(), tilted.data.max()) == (-1024, pytest.approx(789))
    with pytest.raises(InputError, match=r"sheared: two axes are 18\.50 degrees"):
        read_volume(folder / "shear.nii.gz", geometry="sform")
    left = read_volume(folder / "avg152T1_RL_nifti.nii.gz")
    assert left.shape == (91, 109, 91)
    assert left.affine[:3, 3].tolist() == [-90, -126, -72]
    bare = read_volume(folder / "minimal.nii.gz")
    assert not bare.has_world_position
    assert bare.spacing == (3, 3, 3)
    second = read_volume(folder / "example_nifti2.nii.gz", frame=1)
    assert second.shape == (32, 20, 12)
    assert read_volume(folder / "low_res.nii.gz").shape == (7, 5, 3)
