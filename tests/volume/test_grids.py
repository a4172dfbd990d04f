"""Grids: contradictory headers, shear, every orientation, comparison in millimetres."""

import struct
from itertools import permutations, product

import nibabel
import numpy as np
import pytest
from nifti_files import affine_of, noise, save, turned

from medgen.errors import InputError
from medgen.volume import (
    Grid,
    Volume,
    corner_distance,
    overlap,
    ras_grid,
    read_header,
    read_volume,
    reorient_like,
    require_same_grid,
    to_ras,
    write_volume,
)


def test_disagreeing_forms_need_a_choice(tmp_path):
    sform, qform = affine_of(spacing=(1, 1, 1)), affine_of(spacing=(2, 2, 2), origin=(0, 0, 0))
    path = save(tmp_path / "a.nii.gz", noise(), sform, qform=qform, codes=(1, 2))
    with pytest.raises(InputError, match=r"1 x 1 x 1 and 2 x 2 x 2 mm") as error:
        read_volume(path)
    assert "preparation.geometry to sform in the recipe (medgen fix and predict: --geometry sform)" in error.value.fix
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
