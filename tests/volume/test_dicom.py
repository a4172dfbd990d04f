"""A DICOM series is one whole, even and straight volume, or an error that says what it lacks."""

import shutil
import sys

import numpy as np
import pydicom
import pytest
from dicom_files import (
    NUMBER,
    ORIGIN,
    PERSON,
    SHAPE,
    SPACING,
    dataset,
    position,
    voxels,
    write_frames,
    write_series,
)
from nifti_files import turned
from pydicom.uid import CTImageStorage, JPEGLosslessSV1, MediaStorageDirectoryStorage, generate_uid

from medgen.errors import InputError
from medgen.volume import read_header, read_label, read_volume

SAGITTAL = np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]], float)  # rows run to P, columns to I, slices to R


def refused(path, message):
    """The error on a series; it names nobody."""
    with pytest.raises(InputError, match=message) as error:
        read_volume(path)
    text = str(error.value)
    assert PERSON not in text
    assert "LOVELACE" not in text
    assert NUMBER not in text
    return text


class TestPlaceAndValues:
    @pytest.mark.parametrize("turn", [np.eye(3), SAGITTAL, turned(25)], ids=["axial", "sagittal", "oblique"])
    def test_each_voxel_stands_where_its_slice_says(self, tmp_path, turn):
        data = voxels()
        write_series(tmp_path / "series", data, turn=turn)
        volume = read_volume(tmp_path / "series")
        np.testing.assert_array_equal(volume.data[0], data)
        assert volume.data.dtype == np.float32
        for x, y, z in ((0, 0, 0), (5, 0, 0), (0, 4, 0), (2, 3, 6)):
            # Part 3 of the standard, C.7.6.2.1.1: position + columns * row direction + rows * column direction.
            left, back, up = position(z, turn=turn) + x * SPACING[0] * turn[:, 0] + y * SPACING[1] * turn[:, 1]
            np.testing.assert_allclose(volume.affine @ [x, y, z, 1], [-left, -back, up, 1], atol=1e-4)
        assert volume.spacing == pytest.approx(SPACING, abs=1e-6)
        assert volume.has_world_position

    def test_one_voxel_by_hand(self, tmp_path):
        write_series(tmp_path / "series")
        volume = read_volume(tmp_path / "series")
        # 12.5 + 2 * 0.5 and -20.25 + 4 * 0.75 are to the left and to the back; RAS counts right and front.
        np.testing.assert_allclose(volume.affine @ [2, 4, 1, 1], [-13.5, 17.25, 33.0, 1])
        assert volume.axis_codes == ("L", "P", "S")

    def test_order_comes_from_positions_alone(self, tmp_path):
        names = [f"{number}" for number in (5, 2, 7, 1, 6, 3, 4)]
        write_series(
            tmp_path / "series", names=names, change=lambda i, header: setattr(header, "InstanceNumber", 9 - i)
        )
        volume = read_volume(tmp_path / "series")
        np.testing.assert_array_equal(volume.data[0], voxels())
        assert volume.affine[2, 3] == ORIGIN[2]

    def test_slices_written_from_head_to_feet(self, tmp_path):
        write_series(tmp_path / "series", step=(0, 0, -3.0))
        volume = read_volume(tmp_path / "series")
        np.testing.assert_array_equal(volume.data[0], voxels()[:, :, ::-1])
        np.testing.assert_allclose(volume.affine @ [0, 0, 0, 1], [-12.5, 20.25, 30 - 18, 1])

    def test_header_alone(self, tmp_path):
        write_series(tmp_path / "series", turn=turned(25))
        volume, header = read_volume(tmp_path / "series"), read_header(tmp_path / "series")
        np.testing.assert_array_equal(header.affine, volume.affine)
        assert header.shape == SHAPE

    def test_each_slice_has_its_own_slope(self, tmp_path):
        write_series(tmp_path / "series", rescale=lambda index: (f"0.{index + 1}", -1021.5))
        data = voxels().astype(float) * [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7] - 1021.5
        np.testing.assert_array_equal(read_volume(tmp_path / "series").data[0], data.astype(np.float32))
        np.testing.assert_array_equal(read_volume(tmp_path / "series", dtype=None).data[0], data)
        with pytest.raises(TypeError, match="floating"):
            read_volume(tmp_path / "series", dtype=np.int16)

    def test_a_label_map_keeps_its_integers(self, tmp_path):
        write_series(tmp_path / "series", (voxels() % 4).astype(np.int16))
        assert read_label(tmp_path / "series", [1, 2, 3]).data.dtype == np.uint8

    def test_frames_of_one_file(self, tmp_path):
        slopes = [0.5, 1, 1.5, 2, 2.5, 3, 3.5]
        path = write_frames(tmp_path / "frames.dcm", order=[3, 0, 6, 1, 5, 2, 4], slopes=slopes)
        volume = read_volume(path)
        np.testing.assert_array_equal(volume.data[0], voxels() * slopes)
        np.testing.assert_allclose(volume.affine @ [2, 4, 1, 1], [-13.5, 17.25, 33.0, 1])
        np.testing.assert_array_equal(read_volume(path.rename(tmp_path / "XX01")).data, volume.data)

    @pytest.mark.skipif(sys.version_info >= (3, 14), reason="highdicom cannot be installed")
    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize("turn", [np.eye(3), SAGITTAL, turned(25)], ids=["axial", "sagittal", "oblique"])
    def test_highdicom_has_the_same_volume(self, tmp_path, turn):
        paths = write_series(tmp_path / "series", turn=turn, kind=CTImageStorage, rescale=lambda index: (2.0, -1000.0))
        import highdicom

        theirs = highdicom.get_volume_from_series([pydicom.dcmread(path) for path in paths])
        ours = read_volume(tmp_path / "series", dtype=None)
        for index in ((0, 0, 0), (5, 4, 0), (3, 1, 6)):
            place = ours.affine @ [*index, 1] * [-1, -1, 1, 1]
            slab, row, column = np.rint(np.linalg.inv(theirs.affine) @ place)[:3].astype(int)
            np.testing.assert_allclose(theirs.affine @ [slab, row, column, 1], place, atol=1e-4)
            assert theirs.array[slab, row, column] == ours.data[(0, *index)]

    def test_a_series_without_a_frame_of_reference(self, tmp_path):
        write_series(tmp_path / "series", change=lambda index, header: delattr(header, "FrameOfReferenceUID"))
        assert read_volume(tmp_path / "series").has_world_position

    def test_positions_rounded_to_hundredths(self, tmp_path):
        def rounded(index, header):
            header.ImagePositionPatient = [f"{float(value):.2f}" for value in header.ImagePositionPatient]

        turn = turned(25)
        write_series(tmp_path / "series", turn=turn, change=rounded)
        volume = read_volume(tmp_path / "series")
        left, back, up = position(6, turn=turn)
        np.testing.assert_allclose(volume.affine @ [0, 0, 6, 1], [-left, -back, up, 1], atol=0.02)


class TestWhatIsLeftOut:
    def test_localizers(self, tmp_path):
        def mark(index, header):
            header.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

        write_series(tmp_path / "series")
        write_series(tmp_path / "series", voxels()[:, :, :2], turn=SAGITTAL, names=["a.dcm", "b.dcm"], change=mark)
        volume = read_volume(tmp_path / "series")
        assert volume.shape == SHAPE
        assert volume.notes == ("2 localizers left out",)

    def test_localizers_alone(self, tmp_path):
        write_series(tmp_path / "s", change=lambda i, header: header.ImageType.__setitem__(2, "LOCALIZER"))
        refused(tmp_path / "s", r"no image of a DICOM series here \(7 localizers left out\)")

    def test_files_that_are_no_images(self, tmp_path):
        write_series(tmp_path / "series")
        write_series(
            tmp_path / "series",
            voxels()[:, :, :1],
            names=["report"],
            kind="1.2.840.10008.5.1.4.1.1.88.11",  # Basic Text SR
        )
        directory = dataset(MediaStorageDirectoryStorage)
        del directory.SOPClassUID  # the index of a disc has none of its own
        directory.save_as(tmp_path / "series" / "DICOMDIR", enforce_file_format=True)
        (tmp_path / "series" / "notes.txt").write_text("a remark")
        (tmp_path / "series" / "._slice00.dcm").write_text("what a Mac leaves")
        volume = read_volume(tmp_path / "series")
        assert volume.shape == SHAPE
        assert volume.notes == ("1 file left out: no DICOM", "2 files left out: DICOM, but no image")


class TestRefused:
    def test_missing_slices(self, tmp_path):
        paths = write_series(tmp_path / "series", np.tile(voxels(), (1, 1, 2))[:, :, :10])
        paths[4].unlink()
        paths[7].unlink()
        text = refused(tmp_path / "series", r"2 of 10 slices are missing, at 42\.0, 51\.0 mm")
        assert "after slice03.dcm" in text
        with pytest.raises(InputError, match="missing"):
            read_header(tmp_path / "series")

    def test_every_second_slice_missing_is_a_doubt(self, tmp_path):
        def thin(index, header):
            header.SpacingBetweenSlices = "3"

        write_series(tmp_path / "series", heights=[0, 2, 4, 6, 8, 10, 12], change=thin)
        (note,) = read_volume(tmp_path / "series").notes
        assert note == "the slices lie 6 mm apart, where the header says 3: some may be missing"

    def test_uneven(self, tmp_path):
        write_series(tmp_path / "series", heights=[0, 1, 2, 3, 4.4, 5.4, 6.4])
        refused(tmp_path / "series", r"unevenly: 3 to 4\.2 mm")

    def test_a_drift_that_no_single_step_shows(self, tmp_path):
        write_series(tmp_path / "series", heights=np.cumsum([0, *np.linspace(1, 1.09, 6)]) + 0.0)
        volume = read_volume(tmp_path / "series")  # at most 0.07 of a step from even
        assert volume.shape == SHAPE
        folder = tmp_path / "long"
        write_series(folder, np.tile(voxels(), (1, 1, 6)), heights=np.cumsum([0, *np.linspace(1, 1.09, 41)]))
        refused(folder, "unevenly")

    def test_two_slices_at_one_place(self, tmp_path):
        write_series(tmp_path / "series", heights=[0, 1, 2, 0, 1, 2, 3])
        refused(tmp_path / "series", r"3 of 7 slices lie where another one does.*30\.00 mm: slice00.dcm and slice03")

    def test_tilted_gantry(self, tmp_path):
        angle = np.radians(14)
        step = (0, 3 * np.sin(angle), 3 * np.cos(angle))
        write_series(tmp_path / "series", step=step)
        refused(tmp_path / "series", r"14\.00 degrees off their normal: a tilted gantry")

    def test_two_series(self, tmp_path):
        write_series(tmp_path / "both")
        names = [f"other{index}.dcm" for index in range(7)]
        write_series(tmp_path / "both", names=names, series=generate_uid(), kind=CTImageStorage)
        text = refused(tmp_path / "both", "2 series")
        assert "number 4, CT, 7 files from other0.dcm; number 4, MR, 7 files from slice00.dcm" in text

    @pytest.mark.parametrize("same", ["PATIENT^ONE^^", "PATIENT^ONE ", "PATIENT^ONE=="])
    def test_what_ends_a_name_and_says_nothing_makes_no_second_patient(self, tmp_path, same):
        for number, path in enumerate(write_series(tmp_path / "series")):
            header = pydicom.dcmread(path)
            header.PatientName = same if number % 2 else "PATIENT^ONE"
            header.save_as(path)
        assert read_volume(tmp_path / "series").shape[2] == 7

    def test_numbers_in_the_upper_bits(self, tmp_path):
        for path in write_series(tmp_path / "series"):
            header = pydicom.dcmread(path)
            header.BitsStored, header.HighBit = 12, 15
            header.save_as(path)
        refused(tmp_path / "series", r"12 bits \(BitsStored\) end at bit 15 \(HighBit\), expected bit 11")

    def test_two_patients(self, tmp_path):
        write_series(tmp_path / "both")
        write_series(tmp_path / "both", voxels()[:, :, :2], names=["x.dcm", "y.dcm"], person="PATIENT-1843")
        assert "1843" not in refused(tmp_path / "both", "2 patients: 7 files from slice00.dcm; 2 files from x.dcm")

    @pytest.mark.parametrize(("kept", "message"), [(-20, "pixel data.*cut off"), (500, "header cannot"), (0, "empty")])
    def test_a_slice_that_is_cut_off(self, tmp_path, kept, message):
        path = write_series(tmp_path / "series")[6]  # the last one, which no gap would betray
        path.write_bytes(path.read_bytes()[:kept])
        assert "slice06.dcm" in refused(tmp_path / "series", message)

    def test_every_length_of_a_slice(self, tmp_path):
        path = write_series(tmp_path / "series", voxels((6, 5, 3)))[2]
        content = path.read_bytes()
        for kept in range(0, len(content) - 1, 7):
            path.write_bytes(content[:kept])
            assert "slice02.dcm" in refused(tmp_path / "series", "cut off|empty|mark DICM|does not say"), kept

    def test_a_slice_whose_start_is_lost(self, tmp_path):
        path = write_series(tmp_path / "series")[6]
        path.write_bytes(b"\0" * 200)
        assert "slice06.dcm" in refused(tmp_path / "series", "mark DICM is missing")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                lambda header: setattr(header, "ImageOrientationPatient", [1, 0, 0, 0, 0, 1]),
                "differ in their direction",
            ),
            (lambda header: setattr(header, "PixelSpacing", [1, 1]), "differ in their pixel spacing"),
            (lambda header: setattr(header, "FrameOfReferenceUID", "1.2.3"), "differ in their frame of reference"),
            (lambda header: (setattr(header, "Rows", 6), setattr(header, "Columns", 5)), "differ in their size"),
            (lambda header: delattr(header, "ImagePositionPatient"), "does not say where the slice lies"),
            (lambda header: setattr(header, "PhotometricInterpretation", "RGB"), "colour"),
            (lambda header: setattr(header, "RescaleSlope", "0"), "cannot be"),
            (lambda header: setattr(header, "BitsAllocated", 1), "have 1 bits"),
        ],
    )
    def test_one_slice_that_does_not_fit(self, tmp_path, change, message):
        write_series(tmp_path / "series", change=lambda index, header: index == 3 and change(header))
        assert "slice03.dcm" in refused(tmp_path / "series", message)

    def test_no_decoder(self, tmp_path):
        path = write_series(tmp_path / "series")[0]
        header = pydicom.dcmread(path)
        header.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        header.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8" + b"\0" * 40])
        header["PixelData"].is_undefined_length = True
        header.save_as(path)
        if any(pydicom.pixels.get_decoder(JPEGLosslessSV1).available_plugins):
            refused(tmp_path / "series", "cut off or damaged")
        else:
            assert "medgen[dicom-codecs]" in refused(tmp_path / "series", "packed as 'JPEG Lossless")

    def test_single_slices(self, tmp_path):
        path = write_series(tmp_path / "series")[0]
        assert "all slices" in refused(path, "1 of at least 3 slices")

    def test_folders_without_a_series(self, tmp_path):
        refused(tmp_path, "the folder holds no DICOM file")
        (tmp_path / "t1.nii.gz").write_bytes(b"something")
        refused(tmp_path, "the folder holds no DICOM file")
        refused(tmp_path / "absent.dcm", "no such file")

    def test_frame(self, tmp_path):
        write_series(tmp_path / "series")
        assert read_volume(tmp_path / "series", frame=0).shape == SHAPE
        with pytest.raises(InputError, match="no frame 1"):
            read_volume(tmp_path / "series", frame=1)


@pytest.mark.real_data
class TestRealSeries:
    @pytest.mark.parametrize(
        ("name", "shape", "spacing", "codes"),
        [
            ("ge_mr", (256, 256, 4), (1, 1, 1), "PIR"),
            ("siemens_mr", (256, 256, 4), (1, 1, 1), "PIR"),
            ("philips_mr", (240, 240, 4), (1.0417, 1.0417, 0.6), "LIP"),
            ("jpeg2000_mr", (256, 256, 4), (1, 1, 1), "PIR"),
            ("philips_enhanced_multiframe", (256, 256, 8), (1, 1, 1.2), "PIR"),
            ("pelvis_ct", (480, 480, 8), (0.9943, 0.9943, 2.5), "LPS"),
        ],
    )
    def test_good(self, real_data, name, shape, spacing, codes):
        volume = read_volume(real_data / "dicom" / name)
        assert (volume.shape, "".join(volume.axis_codes)) == (shape, codes)
        assert volume.spacing == pytest.approx(spacing, abs=1e-4)

    def test_first_voxel_of_a_ct(self, real_data):
        """By the headers, from feet to head: the slice at -33.92 mm comes first, with the intercept -1405."""
        folder = real_data / "dicom" / "pelvis_ct"
        volume = read_volume(folder)
        np.testing.assert_allclose(volume.affine[:3, 3], [215.25599, 241.49800, -33.92399], atol=1e-4)
        (first,) = folder.glob("*217753110911708310010915150288635812089.dcm")
        stored = pydicom.dcmread(first).pixel_array.astype(float)
        np.testing.assert_array_equal(volume.data[0, :, :, 0], stored.T - 1405)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("pelvis_ct_with_gap", r"2 of 8 slices are missing, at -41\.4, -36\.4 mm"),
            ("prostate_hbv_missing_slice", r"1 of 19 slices are missing.*after 1-07\.dcm"),
            ("uneven_slice_increment", r"missing, at 33\.1 mm"),
            ("tilted_gantry_ct", r"14\.00 degrees"),
            ("two_slices", "2 of at least 3"),
        ],
    )
    def test_bad(self, real_data, name, message):
        refused(real_data / "dicom" / name, message)

    def test_a_slice_of_a_packed_series_that_is_cut_off(self, real_data, tmp_path):
        folder = shutil.copytree(real_data / "dicom" / "jpeg2000_mr", tmp_path / "series")
        path = folder / "IM-0001-0004-0001.dcm"
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:-2000])
        assert path.name in refused(folder, "cut off or damaged")
