"""Missing slices, tilt, shear and several series are mended on demand, and what was done is written down."""

import json
from itertools import product

import nibabel
import numpy as np
import pytest
import SimpleITK
from dicom_files import NUMBER, ORIGIN, PERSON, SPACING, numbers, position, voxels, write_series
from nifti_files import affine_of, noise, save, turned
from pydicom.uid import CTImageStorage, generate_uid

from medgen.cli import main
from medgen.errors import InputError, StorageError, UsageError
from medgen.volume import read_volume, repair_volume, write_volume

WEIGHTS = np.array([7, 11, 13])  # of the index in a ramp: a linear function of the place in mm, on any affine
ANGLE = np.radians(14)
TILTED = (0, 3 * np.sin(ANGLE), 3 * np.cos(ANGLE))


def ramp(shape):
    return (np.indices(shape).T @ WEIGHTS).T.astype(np.int16)


def gapped(folder, missing, data=None, **options):
    """A series of ten slices, or those of ``data``, without some of them."""
    data = ramp((6, 5, 10)) if data is None else data
    paths = write_series(folder, data, **options)
    for index in missing:
        paths[index].unlink()
    return folder


def sheared(angle=0.0, signs=(1, 1, 1), first=0.0, second=0.0, third=0.0):
    """An affine whose second axis leans on the first, and whose third leans on the first and the second."""
    lean = np.eye(4)
    lean[0, 1], lean[0, 2], lean[1, 2] = first, second, third
    return (affine_of(signs=signs, angle=angle) @ lean).astype(np.float32).astype(float)


def require_ramp(volume, source, shape):
    """Inside the source the ramp at each place in mm; beyond it 0, the smallest value; no source voxel left out."""
    index = np.indices(volume.shape).reshape(3, -1)
    back = np.linalg.inv(source) @ volume.affine
    place = back[:3, :3] @ index + back[:3, 3:]
    last = np.array(shape)[:, None] - 1
    inside = np.all((place >= -1e-5) & (place <= last + 1e-5), axis=0)
    beyond = np.any((place < -0.51) | (place > last + 0.51), axis=0)
    assert inside.sum() > 0.8 * np.prod(np.array(shape) - 1)
    values = volume.data[0].reshape(-1)
    np.testing.assert_allclose(values[inside], WEIGHTS @ place[:, inside], atol=2e-3)
    assert beyond.any()
    assert not values[beyond].any()
    there = np.linalg.inv(volume.affine) @ source
    corners = np.array(list(product(*((0, size - 1) for size in shape)))).T
    corners = there[:3, :3] @ corners + there[:3, 3:]
    assert corners.min() > -0.01
    assert np.all(corners < np.array(volume.shape)[:, None] - 0.99)


def require_marker(volume, world):
    """The brightest voxel lies within half a voxel of a place in mm."""
    index = np.unravel_index(np.argmax(volume.data[0]), volume.shape)
    found = np.linalg.inv(volume.affine) @ [*world, 1]
    assert np.abs(found[:3] - index).max() <= 0.5 + 1e-4


class TestGaps:
    def test_two_gaps_of_a_ramp(self, tmp_path):
        repaired = repair_volume(gapped(tmp_path / "series", [4, 7]), fill_gaps=True)
        np.testing.assert_array_equal(repaired.volume.data[0], ramp((6, 5, 10)))
        # ORIGIN is 30 mm high and the slices 3 mm apart: 30 + 4 * 3 and 30 + 7 * 3.
        assert [tuple(each) for each in repaired.interpolated] == [(4, 42.0), (7, 51.0)]
        assert repaired.volume.notes == (
            "2 of 10 slices interpolated linearly between their neighbours (index along the third axis, from 0): "
            "4 (42.0 mm), 7 (51.0 mm)",
        )
        whole = read_volume(write_series(tmp_path / "whole", ramp((6, 5, 10)))[0].parent)
        np.testing.assert_array_equal(repaired.volume.affine, whole.affine)
        assert (repaired.source_shape, repaired.source_spacing) == ((6, 5, 8), pytest.approx(SPACING, abs=1e-6))

    def test_only_what_is_missing_is_new(self, tmp_path):
        data = voxels((6, 5, 10))
        repaired = repair_volume(gapped(tmp_path / "series", [4, 5], data), fill_gaps=True).volume.data[0]
        kept = [0, 1, 2, 3, 6, 7, 8, 9]
        np.testing.assert_array_equal(repaired[:, :, kept], data[:, :, kept])
        # Two in a row stand a third and two thirds of the way.
        np.testing.assert_allclose(repaired[:, :, 4], data[:, :, 3] * 2 / 3 + data[:, :, 6] / 3, rtol=1e-6)
        np.testing.assert_allclose(repaired[:, :, 5], data[:, :, 3] / 3 + data[:, :, 6] * 2 / 3, rtol=1e-6)

    def test_the_unit_is_interpolated_not_the_stored_number(self, tmp_path):
        stored = np.full((6, 5, 7), 10, np.int16)
        stored[:, :, 2], stored[:, :, 4] = 30, 10
        series = gapped(tmp_path / "series", [3], stored, rescale=lambda index: (index + 1, -100))
        # Slice 2: 30 * 3 - 100 = -10; slice 4: 10 * 5 - 100 = -50.
        assert set(repair_volume(series, fill_gaps=True).volume.data[0, :, :, 3].flat) == {-30.0}

    def test_nothing_beyond_the_ends(self, tmp_path):
        repaired = repair_volume(gapped(tmp_path / "series", [0, 9]), fill_gaps=True)
        np.testing.assert_array_equal(repaired.volume.data[0], ramp((6, 5, 10))[:, :, 1:9])
        assert repaired.interpolated == ()
        assert repaired.volume.notes == ("no gap to fill",)

    def test_more_missing_than_there(self, tmp_path):
        write_series(tmp_path / "series", voxels((6, 5, 3)), heights=[0, 1, 9])
        with pytest.raises(InputError, match="3 slices would become 10"):
            repair_volume(tmp_path / "series", fill_gaps=True)

    def test_uneven_slices_become_even(self, tmp_path):
        heights = np.array([0, 1, 2, 3, 4.4, 5.4, 6.4])
        data = np.tile(np.rint(50 * heights).astype(np.int16), (6, 5, 1))
        write_series(tmp_path / "series", data, heights=heights)
        repaired = repair_volume(tmp_path / "series", resample=True)
        # 6.4 times the smallest distance of 3 mm takes 7 steps of 6.4 * 3 / 7 mm from the first slice to the last.
        even = np.linspace(0, 6.4, 8)
        assert repaired.volume.spacing[2] == pytest.approx(6.4 * 3 / 7, abs=1e-5)
        assert repaired.source_spacing[2] == pytest.approx(3, abs=1e-5)
        np.testing.assert_allclose(repaired.volume.data[0, 2, 3], 50 * even, rtol=1e-6)
        assert [each.slice for each in repaired.interpolated] == [1, 2, 3, 4, 5, 6]
        with pytest.raises(InputError, match="unevenly"):
            repair_volume(tmp_path / "series", fill_gaps=True)

    def test_a_hole_among_uneven_slices_takes_both_options(self, tmp_path):
        heights = np.array([0, 1, 2, 3.13, 4, 5, 9, 10, 11, 12, 13])
        write_series(tmp_path / "series", np.tile(np.rint(50 * heights).astype(np.int16), (6, 5, 1)), heights=heights)
        with pytest.raises(InputError, match="12 mm lie without any") as caught:
            repair_volume(tmp_path / "series", resample=True)
        assert "--resample --fill-gaps" in caught.value.fix
        repaired = repair_volume(tmp_path / "series", resample=True, fill_gaps=True)
        assert "no gap to fill" not in repaired.volume.notes
        assert repaired.volume.data[0, 2, 3, -1] == 650

    def test_where_most_slices_are_missing_one_by_one_they_are_gaps(self, tmp_path):
        """The usual step is twice the smallest."""
        repaired = repair_volume(gapped(tmp_path / "series", [2, 4, 6, 8]), fill_gaps=True)
        assert [each.slice for each in repaired.interpolated] == [2, 4, 6, 8]
        assert "no gap to fill" not in repaired.volume.notes

    def test_steps_that_take_turns_are_uneven(self, tmp_path):
        """10 % of the smallest step is the limit, whatever their mean is."""
        heights = np.array([0, 1, 2.15, 3.15, 4.3, 5.3, 6.45])
        write_series(tmp_path / "series", voxels((6, 5, 7)), heights=heights)
        with pytest.raises(InputError, match="unevenly"):
            read_volume(tmp_path / "series")

    def test_rounded_positions_with_a_gap_are_even(self, tmp_path):
        """1.25 mm apart, rounded to 0.1 mm as scanners do: the smallest step is no unit for a gap of four."""
        heights = np.round(1.25 * np.array([0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14]), 1) / 3
        series = write_series(tmp_path / "series", voxels((6, 5, 11)), heights=heights)[0].parent
        with pytest.raises(InputError, match="4 of 15 slices are missing"):
            read_volume(series)
        made = repair_volume(series, fill_gaps=True).interpolated
        assert [each.slice for each in made] == [6, 7, 8, 9]

    def test_labels_come_from_the_nearest_slice(self, tmp_path):
        data = np.zeros((6, 5, 9), np.int16)
        data[:, :, :3], data[:, :, 6:] = 1, 4
        repaired = repair_volume(gapped(tmp_path / "series", [3, 4, 5], data), fill_gaps=True, label=True)
        assert repaired.volume.data.dtype == np.uint8
        assert repaired.volume.data[0, 0, 0].tolist() == [1, 1, 1, 1, 1, 4, 4, 4, 4]  # slice 4 is as near to both


class TestShear:
    @pytest.mark.parametrize("turn", [np.eye(3), turned(25)], ids=["axial", "oblique"])
    @pytest.mark.parametrize("missing", [(), (2, 4)], ids=["whole", "gaps"])
    def test_tilted_gantry(self, tmp_path, turn, missing):
        step = turn @ TILTED
        series = gapped(tmp_path / "series", missing, ramp((6, 5, 7)), turn=turn, step=step)
        repaired = repair_volume(series, resample=True, fill_gaps=bool(missing))
        source = np.eye(4)
        source[:3, :3] = np.stack([turn[:, 0] * SPACING[0], turn[:, 1] * SPACING[1], step], axis=1)
        source[:3, 3] = ORIGIN
        source = np.diag([-1, -1, 1, 1]) @ source
        require_ramp(repaired.volume, source, (6, 5, 7))
        np.testing.assert_allclose(repaired.volume.affine[:, :2], source[:, :2], atol=1e-6)
        assert repaired.volume.spacing == pytest.approx((0.5, 0.75, 3 * np.cos(ANGLE)), abs=1e-5)
        # Over six steps the slices drift by 6 * 3 mm * sin(14 degrees) = 4.35 mm: 5.8 rows, so 6 more cover them.
        assert repaired.volume.shape == (6, 11, 7)
        assert repaired.shear == pytest.approx(14, abs=1e-3)
        assert tuple(each.slice for each in repaired.interpolated) == missing

    @pytest.mark.parametrize("lean", [{"third": 0.9}, {"second": -0.7, "third": 0.4}, {"first": 0.3}], ids=str)
    @pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, 1)], ids=["right", "left"])
    def test_nifti(self, tmp_path, lean, signs):
        source = sheared(20, signs, **lean)
        path = save(tmp_path / "a.nii.gz", ramp((9, 8, 7)), source, codes=(0, 1))
        repaired = repair_volume(path, resample=True)
        require_ramp(repaired.volume, source, (9, 8, 7))
        straight = repaired.volume.affine[:3, :3]
        gram = straight.T @ straight
        np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-5)
        np.testing.assert_allclose(straight[:, 0], source[:3, 0], atol=1e-6)
        assert np.linalg.det(straight) == pytest.approx(np.linalg.det(source[:3, :3]), rel=1e-5)
        written, _ = repaired.write(tmp_path / "b.nii.gz")
        np.testing.assert_array_equal(read_volume(written).affine, repaired.volume.affine)

    def test_each_slice_is_moved_by_whole_voxels(self, tmp_path):
        """A lean of exactly one voxel a slice needs no interpolation, so the values are the same ones, bit for bit."""
        data = noise((3, 4, 3))
        path = save(tmp_path / "a.nii", data, np.array([[2, 0, 0, 5], [0, 3, 3, 6], [0, 0, 4, 7], [0, 0, 0, 1.0]]))
        volume = repair_volume(path, resample=True, geometry="sform").volume
        assert volume.shape == (3, 6, 3)
        for z in range(3):
            np.testing.assert_array_equal(volume.data[0, :, z : z + 4, z], data[:, :, z])
        assert (volume.data[0] == data.min()).sum() == 3 * 2 * 3 + 1
        assert volume.affine.tolist() == [[2, 0, 0, 5], [0, 3, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1]]

    def test_a_marker_keeps_its_place(self, tmp_path):
        data, source = np.zeros((9, 8, 7), np.int16), sheared(35, (1, -1, 1), second=0.37, third=-0.81)
        data[3, 5, 2] = 1000
        path = save(tmp_path / "a.nii.gz", data, source, codes=(0, 1))
        place = (source @ [3, 5, 2, 1])[:3]
        require_marker(repair_volume(path, resample=True).volume, place)
        require_marker(repair_volume(path, resample=True, label=True).volume, place)
        series = np.zeros((6, 5, 7), np.int16)
        series[4, 1, 5] = 1000
        write_series(tmp_path / "series", series, step=TILTED)
        left, back, up = position(5, TILTED) + np.array([4 * SPACING[0], 1 * SPACING[1], 0])
        require_marker(repair_volume(tmp_path / "series", resample=True).volume, (-left, -back, up))

    def test_labels_stay_labels(self, tmp_path):
        data = np.random.default_rng(3).choice([2, 5, 9], (9, 8, 7)).astype(np.int16)
        path = save(tmp_path / "a.nii.gz", data, sheared(third=0.9), codes=(0, 1))
        repaired = repair_volume(path, resample=True, label=True)
        assert repaired.volume.data.dtype == np.uint8
        assert set(np.unique(repaired.volume.data)) == {0, 2, 5, 9}
        written, _ = repaired.write(tmp_path / "b.nii.gz")
        assert nibabel.load(written).get_data_dtype() == np.uint8
        with pytest.raises(InputError, match="no integers"):
            repair_volume(save(tmp_path / "c.nii.gz", noise()), label=True)

    def test_metaimage(self, tmp_path):
        image = SimpleITK.GetImageFromArray(ramp((9, 8, 7)).transpose(2, 1, 0))
        image.SetSpacing((1, 2, 3))
        SimpleITK.WriteImage(image, str(path := tmp_path / "a.mha"))
        # The third axis leans by 0.6 * 3 mm on the second, in LPS+; a cosine of 0.8 stays along the third.
        path.write_bytes(path.read_bytes().replace(b"1 0 0 0 1 0 0 0 1", b"1 0 0 0 1 0 0 0.6 0.8"))
        source = np.diag([-1.0, -1, 1, 1]) @ [[1, 0, 0, 0], [0, 2, 1.8, 0], [0, 0, 2.4, 0], [0, 0, 0, 1]]
        require_ramp(repair_volume(path, resample=True).volume, source, (9, 8, 7))


class TestCopies:
    def test_exact_copies_are_left_out_on_demand(self, tmp_path):
        data = voxels()
        repeated = np.concatenate([data, data[..., 2:3], data[..., 2:3], data[..., 5:6]], axis=2)
        write_series(tmp_path / "series", repeated, heights=[*range(7), 2, 2, 5])
        with pytest.raises(InputError, match="3 of 10 slices lie where another one does") as refused:
            read_volume(tmp_path / "series")
        assert "--drop-copies" in refused.value.fix
        volume = repair_volume(tmp_path / "series", drop_copies=True).volume
        np.testing.assert_array_equal(volume.data[0], data)
        assert volume.notes == ("left out as exact copies of another slice: slice07.dcm, slice08.dcm, slice09.dcm",)

    def test_a_slice_that_differs_in_one_voxel_is_no_copy(self, tmp_path):
        data = voxels()
        other = data[..., 2:3].copy()
        other[3, 2] += 1
        write_series(
            tmp_path / "series", np.concatenate([data, data[..., 4:5], other], axis=2), heights=[*range(7), 4, 2]
        )
        with pytest.raises(InputError, match=r"slice02.dcm and slice08.dcm lie at one position and differ in 1 voxels"):
            repair_volume(tmp_path / "series", drop_copies=True)

    def test_a_slope_makes_equal_numbers_differ(self, tmp_path):
        data = voxels()
        repeated = np.concatenate([data, data[..., 2:3]], axis=2)
        write_series(
            tmp_path / "series",
            repeated,
            heights=[*range(7), 2],
            rescale=lambda index: (2, 0) if index == 7 else (1, 0),
        )
        with pytest.raises(InputError, match="lie at one position and differ in 30 voxels"):
            repair_volume(tmp_path / "series", drop_copies=True)

    def test_without_a_copy_it_says_so(self, tmp_path):
        write_series(tmp_path / "series")
        assert repair_volume(tmp_path / "series", drop_copies=True).volume.notes == ("no copy of a slice to leave out",)


class TestSeries:
    def both(self, folder, **second):
        write_series(folder)
        names = [f"other{index}.dcm" for index in range(7)]
        options = {"names": names, "series": generate_uid(), "kind": CTImageStorage, **second}
        write_series(folder, voxels(seed=1), **options)
        return folder

    def test_by_number(self, tmp_path):
        def renumber(index, header):
            header.SeriesNumber = 7

        folder = self.both(tmp_path / "both", change=renumber)
        for series, seed in ((4, 0), ("7", 1)):
            repaired = repair_volume(folder, series=series)
            np.testing.assert_array_equal(repaired.volume.data[0], voxels(seed=seed))
            assert repaired.volume.notes == (f"series {series} taken, 1 left out",)
        with pytest.raises(InputError, match="none of 2 series has this number: number 7, CT, 7 files from other0"):
            repair_volume(folder, series=5)
        assert repair_volume(write_series(tmp_path / "one")[0].parent, series=4).volume.notes == (
            "series 4 is the only one",
        )

    def test_where_two_have_one_number(self, tmp_path):
        folder, uid = tmp_path / "both", generate_uid()
        self.both(folder, series=uid)
        with pytest.raises(InputError, match="2 of 2 series have this number") as error:
            repair_volume(folder, series=4)
        assert "the name of one of the files" in error.value.fix
        for series in (str(uid), "other3.dcm"):
            np.testing.assert_array_equal(repair_volume(folder, series=series).volume.data[0], voxels(seed=1))

    def test_two_patients_stay_refused(self, tmp_path):
        folder = self.both(tmp_path / "both", person="PATIENT-1843")
        with pytest.raises(InputError, match="2 patients"):
            repair_volume(folder, series=4)

    def test_localizers_stay_left_out(self, tmp_path):
        def mark(index, header):
            header.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

        folder = self.both(tmp_path / "both")
        write_series(folder, voxels()[:, :, :2], names=["a.dcm", "b.dcm"], change=mark)
        assert repair_volume(folder, series="other0.dcm").volume.notes == (
            "2 localizers left out",
            "series 4 taken, 1 left out",
        )


class TestFlags:
    def test_without_them_the_refusal_names_them(self, tmp_path):
        TestSeries().both(tmp_path / "both")
        gapped(tmp_path / "gap", [4])
        write_series(tmp_path / "tilt", step=TILTED)
        write_series(tmp_path / "uneven", heights=[0, 1, 2, 3, 4.4, 5.4, 6.4])
        save(tmp_path / "shear.nii", noise(), sheared(third=0.3), codes=(0, 1))
        save(tmp_path / "forms.nii", noise(), affine_of(), qform=affine_of(angle=20))
        save(tmp_path / "frames.nii", noise((5, 6, 7, 3)))
        flags = {"both": "--series NUMBER", "gap": "--fill-gaps", "tilt": "--resample", "uneven": "--resample"}
        flags |= {"shear.nii": "--resample", "forms.nii": "--geometry sform", "frames.nii": "--frame 0 to 2"}
        for name, flag in flags.items():
            for read in (read_volume, repair_volume):
                with pytest.raises(InputError) as error:
                    read(tmp_path / name)
                assert flag in error.value.fix, name
                assert "medgen fix" in error.value.fix, name
                assert str(error.value).count("\n") == 2

    def test_of_a_series_with_two_faults_each_needs_its_own(self, tmp_path):
        series = gapped(tmp_path / "series", [3], ramp((6, 5, 7)), step=TILTED)
        with pytest.raises(InputError, match="missing"):
            repair_volume(series, resample=True)
        with pytest.raises(InputError, match="tilted gantry"):
            repair_volume(series, fill_gaps=True)

    def test_with_nothing_to_do_they_say_so(self, tmp_path):
        every = {"fill_gaps": True, "resample": True, "geometry": "qform", "frame": 0, "series": 4}
        idle = ("no gap to fill", "even and straight: nothing to resample", "no choice between sform and qform to make")
        frames = "one frame: none to choose"
        write_series(tmp_path / "series")
        whole = repair_volume(tmp_path / "series", **every)
        assert whole.volume.notes == ("series 4 is the only one", *idle, frames)
        np.testing.assert_array_equal(whole.volume.data[0], voxels())
        path = save(tmp_path / "a.nii.gz", noise(), affine_of())
        repaired = repair_volume(path, **every)
        assert repaired.volume.notes == ("one file: no series to choose", *idle, frames)
        np.testing.assert_array_equal(repaired.volume.data[0], noise())
        save(path, np.stack([noise(), noise(seed=1)], axis=-1), affine_of(), qform=affine_of(angle=20))
        chosen = repair_volume(path, geometry="qform", frame=1)
        np.testing.assert_array_equal(chosen.volume.data[0], noise(seed=1))
        assert [note.split(";")[0] for note in chosen.volume.notes] == ["frame 1 of 2 taken", "qform chosen"]


class TestWhatIsWritten:
    def test_volume_and_sidecar(self, tmp_path):
        repaired = repair_volume(gapped(tmp_path / "LOVELACE Ada" / "series", [4, 7]), fill_gaps=True)
        volume, sidecar = repaired.write(tmp_path / "out" / "t1.v2.nii.gz")
        assert (volume.name, sidecar.name) == ("t1.v2.nii.gz", "t1.v2.fix.json")
        np.testing.assert_array_equal(read_volume(volume).data[0], ramp((6, 5, 10)))
        assert nibabel.load(volume).get_data_dtype() == np.float32
        text = sidecar.read_text()
        for said in (PERSON, NUMBER, "LOVELACE", str(tmp_path), "series", "/"):
            assert said not in text
        facts = json.loads(text)
        assert facts["interpolated"] == [{"slice": 4, "mm": 42.0}, {"slice": 7, "mm": 51.0}]
        assert facts["input"] == {"shape": [6, 5, 8], "spacing_mm": pytest.approx(SPACING, abs=1e-6)}
        assert facts["output"] == {"shape": [6, 5, 10], "spacing_mm": pytest.approx(SPACING, abs=1e-6)}
        assert (facts["shear_degrees"], facts["kind"], facts["research_use_only"]) == (0, "scalar", True)
        assert facts["notes"] == list(repaired.volume.notes)

    @pytest.mark.parametrize("name", ["a.nii.gz", "a.fix.json"])
    def test_nothing_is_replaced_unasked(self, tmp_path, name):
        repaired = repair_volume(save(tmp_path / "in.nii", noise()))
        (tmp_path / name).write_text("mine")
        with pytest.raises(UsageError, match="exists"):
            repaired.write(tmp_path / "a.nii.gz")
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["in.nii", name])
        assert (tmp_path / name).read_text() == "mine"
        repaired.write(tmp_path / "a.nii.gz", overwrite=True)
        np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").data[0], noise())
        assert json.loads((tmp_path / "a.fix.json").read_text())["interpolated"] == []

    def test_what_cannot_be_written_leaves_what_was_there(self, tmp_path, monkeypatch):
        def full(*_, **__):
            raise OSError(28, "no space")

        repaired = repair_volume(save(tmp_path / "in.nii", noise()))
        monkeypatch.setattr("medgen.volume.repair.write_volume", full)
        with pytest.raises(StorageError, match="no space"):
            repaired.write(tmp_path / "new.nii.gz")
        (tmp_path / "old.nii.gz").write_text("mine")
        (tmp_path / "old.fix.json").write_text("mine too")
        with pytest.raises(StorageError, match="no space"):
            repaired.write(tmp_path / "old.nii.gz", overwrite=True)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in.nii", "old.fix.json", "old.nii.gz"]
        assert (tmp_path / "old.fix.json").read_text() == "mine too"

    def test_the_sidecar_of_another_program_stays(self, tmp_path):
        (tmp_path / "a.json").write_text("{}")
        repair_volume(save(tmp_path / "in.nii", noise())).write(tmp_path / "a.nii.gz")
        assert (tmp_path / "a.json").read_text() == "{}"

    def test_another_ending_is_refused_before_anything_is_written(self, tmp_path):
        repaired = repair_volume(save(tmp_path / "in.nii", noise()))
        with pytest.raises(UsageError, match="NIfTI"):
            repaired.write(tmp_path / "a.mha")
        assert [path.name for path in tmp_path.iterdir()] == ["in.nii"]

    def test_command(self, tmp_path, capsys):
        series, out = gapped(tmp_path / "series", [4]), tmp_path / "a.nii.gz"
        command = ["fix", str(series), "-o", str(out), "--fill-gaps", "--resample"]
        for words, code in (
            (command, 0),
            (command, 2),
            ([*command, "--overwrite"], 0),
            ([*command[:4], "--overwrite"], 3),
        ):
            with pytest.raises(SystemExit) as end:
                main(words)
            assert (end.value.code or 0) == code
            said, noted = capsys.readouterr()
            if code == 0:
                assert said.splitlines() == [str(out), str(tmp_path / "a.fix.json")]
                first, second = noted.splitlines()
                assert first.startswith("note: 1 of 10 slices interpolated linearly")
                assert second == "note: even and straight: nothing to resample"
        assert "do: export the series again; or medgen fix FOLDER -o VOLUME.nii.gz --fill-gaps" in noted


def test_a_slice_beside_the_others_is_refused(tmp_path):
    def aside(index, header):
        if index == 3:
            header.ImagePositionPatient = numbers(position(3) + np.array([0.6, 0, 0]))

    write_series(tmp_path / "series", change=aside)
    for read in (read_volume, lambda path: repair_volume(path, resample=True, fill_gaps=True)):
        with pytest.raises(InputError, match=r"slice03\.dcm lies 0\.60 mm beside"):
            read(tmp_path / "series")


def test_a_mended_volume_is_good_for_everything(tmp_path):
    """Once more: nothing is left to do, and no voxel changes."""
    path = save(tmp_path / "a.nii.gz", noise(), sheared(third=0.9), codes=(0, 1))
    first = repair_volume(path, resample=True).volume
    again = repair_volume(write_volume(first, tmp_path / "b.nii.gz", kind="scalar"), resample=True).volume
    np.testing.assert_array_equal(again.data, first.data)
    assert again.notes == ("even and straight: nothing to resample",)


def test_a_volume_is_not_written_over_its_source(tmp_path):
    path = tmp_path / "a.nii.gz"
    save(path, noise())
    before = path.read_bytes()
    with pytest.raises(UsageError, match="the output is an input"):
        repair_volume(path).write(path, overwrite=True)
    assert path.read_bytes() == before


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "flags", "shape", "spacing", "slices"),
    [
        ("dicom/prostate_hbv_missing_slice", {"fill_gaps": True}, (84, 128, 19), (2, 2, 3), [13]),
        ("dicom/pelvis_ct_with_gap", {"fill_gaps": True}, (480, 480, 8), (0.9943, 0.9943, 2.5), [3, 5]),
        ("dicom/uneven_slice_increment", {"fill_gaps": True}, (512, 512, 5), (0.4297, 0.4297, 5), [3]),
        # 5 mm * cos(14 degrees) apart; 3 * 5 mm * sin(14 degrees) are 8.7 rows of 0.418 mm.
        ("dicom/tilted_gantry_ct", {"resample": True}, (512, 521, 4), (0.418, 0.418, 4.8515), []),
        # 2.3708 mm * cos(18.5 degrees) apart; 53 * 2.3708 mm * sin(18.5 degrees) are 82.6 rows of 0.4824 mm.
        (
            "nifti/shear.nii.gz",
            {"resample": True, "geometry": "sform"},
            (306, 505, 54),
            (0.4824, 0.4824, 2.2483),
            [],
        ),
    ],
)
def test_real(real_data, name, flags, shape, spacing, slices):
    with pytest.raises(InputError, match=r"missing|tilted|disagree"):
        repair_volume(real_data / name)
    repaired = repair_volume(real_data / name, **flags)
    assert repaired.volume.shape == shape
    assert repaired.volume.spacing == pytest.approx(spacing, abs=1e-4)
    assert [each.slice for each in repaired.interpolated] == slices


@pytest.mark.real_data
def test_a_real_slice_is_well_guessed(real_data):
    """Between its neighbours a CT slice is nearer to the truth than either of them."""
    truth = read_volume(real_data / "dicom" / "pelvis_ct")
    data = truth.data[0]
    for middle in range(1, truth.shape[2] - 1):
        mean = (data[:, :, middle - 1] + data[:, :, middle + 1]) / 2
        wrong = [np.abs(data[:, :, middle] - guess).mean() for guess in (mean, data[:, :, middle - 1])]
        assert wrong[0] < wrong[1]
