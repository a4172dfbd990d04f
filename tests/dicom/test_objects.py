"""Segmentations and parametric maps read back where and what they were, with other tools too."""

import shutil
import subprocess
import sys

import numpy as np
import pydicom
import pytest
from dicom_files import NUMBER, PERSON, SHAPE, write_frames, write_series

from medgen.dicom import (
    Made,
    Owner,
    read_source,
    write_contours,
    write_ct_series,
    write_parametric_maps,
    write_segmentations,
)
from medgen.dicom.segmentation import KNOWN
from medgen.errors import InputError, UsageError
from medgen.volume import read_volume
from tests.dicom.test_ct_series import TURNED, WAYS, faults

highdicom = pytest.importorskip("highdicom", reason="no wheel for this Python")
pytestmark = pytest.mark.skipif(sys.version_info >= (3, 14), reason="highdicom cannot be installed")


def labels(shape=SHAPE):
    """A lesion in the middle, which leaves the first and the last slices empty, and a second class beside it."""
    data = np.zeros((1, *shape), np.uint8)
    data[0, 2:4, 1:3, 2:4] = 1
    data[0, 4:, 3:, 3:5] = 2
    return data


def by_index(found, volume):
    """What highdicom has at each voxel of a volume, by position, never by index."""
    index = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij")).reshape(3, -1)
    lps = (np.diag([-1.0, -1, 1, 1]) @ volume.affine @ np.vstack([index, np.ones(index.shape[1])]))[:3]
    places = np.linalg.inv(found.affine) @ np.vstack([lps, np.ones(lps.shape[1])])
    assert np.abs(places - np.rint(places)).max() < 1e-2
    return found.array[tuple(np.rint(places[:3]).astype(int))].reshape(volume.shape)


@pytest.mark.parametrize("way", WAYS)
def test_each_class_lies_where_it_was(tmp_path, way):
    write_series(tmp_path / "mr", turn=WAYS[way])
    source, volume = read_source(tmp_path / "mr"), read_volume(tmp_path / "mr").with_data(labels())
    assert write_segmentations(volume, source, tmp_path / "seg", classes=["contusion", "bruise"]) == ()
    paths = sorted((tmp_path / "seg").iterdir())
    assert [path.name for path in paths] == ["SEG_0001.dcm", "SEG_0002.dcm"]
    for number, (path, name) in enumerate(zip(paths, ["contusion", "bruise"], strict=True), start=1):
        read = highdicom.seg.segread(path)
        assert np.array_equal(by_index(read.get_volume(combine_segments=True), volume), volume.data[0] == number)
        assert read.get_segment_description(1).SegmentLabel == name
        assert int(read.NumberOfFrames) == SHAPE[2]  # empty slices too, for readers that count frames
        assert read.SegmentSequence[0].SegmentAlgorithmType == "AUTOMATIC"
        assert (read.StudyInstanceUID, read.PatientID) == (source.first.StudyInstanceUID, NUMBER)
        assert "NOT FOR CLINICAL USE" in read.SeriesDescription
        assert read.FrameOfReferenceUID == source.first.FrameOfReferenceUID


def test_simpleitk_sees_a_class_in_its_place(tmp_path):
    """Where all voxels fill whole bytes: the last ones it leaves out (findings/last_voxels_of_a_segmentation.sh)."""
    sitk = pytest.importorskip("SimpleITK")
    data = np.zeros((8, 4, 7), np.int16)
    write_series(tmp_path / "mr", data)
    volume = read_volume(tmp_path / "mr").with_data(labels((8, 4, 7)))
    write_segmentations(volume, read_source(tmp_path / "mr"), tmp_path / "seg", classes=["contusion", "bruise"])
    image = sitk.ReadImage(str(tmp_path / "seg" / "SEG_0001.dcm"))
    found = sitk.GetArrayFromImage(image).transpose(2, 1, 0) > 0
    for voxel in np.ndindex(data.shape):
        place = volume.affine @ [*voxel, 1]
        assert found[image.TransformPhysicalPointToIndex((place[:3] * [-1, -1, 1]).tolist())] == (
            volume.data[(0, *voxel)] == 1
        )


def test_a_class_that_is_nowhere_is_written_empty(tmp_path):
    write_series(tmp_path / "mr")
    volume = read_volume(tmp_path / "mr").with_data(np.zeros((1, *SHAPE), np.uint8))
    write_segmentations(volume, read_source(tmp_path / "mr"), tmp_path / "seg", classes=["lesion"])
    assert not pydicom.dcmread(tmp_path / "seg" / "SEG_0001.dcm").pixel_array.any()


def test_known_classes_have_a_code_of_their_own(tmp_path):
    write_series(tmp_path / "mr")
    volume = read_volume(tmp_path / "mr").with_data(labels())
    write_segmentations(volume, read_source(tmp_path / "mr"), tmp_path / "seg", classes=["Tumour", "new thing"])
    found = [pydicom.dcmread(path).SegmentSequence[0] for path in sorted((tmp_path / "seg").iterdir())]
    codes = [each.SegmentedPropertyTypeCodeSequence[0].CodeValue for each in found]
    assert codes == [KNOWN["tumour"][1][0], "85756007"]


@pytest.mark.parametrize("turn", [np.eye(3), TURNED], ids=["axial", "oblique"])
def test_a_map_has_its_values(tmp_path, turn):
    write_series(tmp_path / "mr", turn=turn)
    source, volume = read_source(tmp_path / "mr"), read_volume(tmp_path / "mr")
    chance = volume.with_data(np.random.default_rng(2).random((1, *SHAPE)).astype(np.float32))
    maps = {"probability of contusion": chance, "standard deviation": chance.with_data(chance.data / 3)}
    assert write_parametric_maps(maps, source, tmp_path / "pm", made=Made("segmentation")) == ()
    for (says, wanted), path in zip(maps.items(), sorted((tmp_path / "pm").iterdir()), strict=True):
        read = highdicom.pm.ParametricMap.from_dataset(pydicom.dcmread(path))
        found = read.get_volume(apply_real_world_transform=True)
        assert np.abs(by_index(found, chance) - wanted.data[0]).max() < 1e-6
        assert read.ContentQualification == "RESEARCH"
        assert read.SeriesDescription == f"{says.capitalize()}, NOT FOR CLINICAL USE"
        assert read.ManufacturerModelName == "segmentation"


def test_frames_of_one_file(tmp_path):
    write_frames(tmp_path / "mr.dcm", order=[3, 1, 0, 2, 5, 4, 6][: SHAPE[2]])
    source, volume = read_source(tmp_path / "mr.dcm"), read_volume(tmp_path / "mr.dcm").with_data(labels())
    write_segmentations(volume, source, tmp_path / "seg", classes=["one", "two"])
    chance = volume.with_data(np.random.default_rng(2).random((1, *SHAPE)).astype(np.float32))
    write_parametric_maps({"chance": chance}, source, tmp_path / "pm")
    read = highdicom.seg.segread(tmp_path / "seg" / "SEG_0002.dcm")
    assert np.array_equal(by_index(read.get_volume(combine_segments=True), volume), volume.data[0] == 2)
    read = highdicom.pm.ParametricMap.from_dataset(pydicom.dcmread(tmp_path / "pm" / "PM_0001.dcm"))
    assert np.abs(by_index(read.get_volume(), chance) - chance.data[0]).max() < 1e-6


def test_anonymous_objects_say_nothing_of_whom_they_are(tmp_path):
    write_series(tmp_path / "mr")
    source, owner = read_source(tmp_path / "mr"), Owner(anonymous=True)
    volume = read_volume(tmp_path / "mr").with_data(labels())
    write_segmentations(volume, source, tmp_path / "seg", classes=["a", "b"], owner=owner)
    write_parametric_maps({"p": volume.with_data(labels() / 2)}, source, tmp_path / "pm", owner=owner)
    words = [PERSON, NUMBER, "18151210", *(str(header.SOPInstanceUID) for header in source.headers.values())]
    words += [str(source.first[key].value) for key in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")]
    paths = [*(tmp_path / "seg").iterdir(), *(tmp_path / "pm").iterdir()]
    assert [(path.name, word) for path in paths for word in words if word.encode() in path.read_bytes()] == []
    assert len({pydicom.dcmread(path).StudyInstanceUID for path in paths}) == 1


def test_labels_without_a_name_and_maps_without_numbers_are_refused(tmp_path):
    write_series(tmp_path / "mr")
    source, volume = read_source(tmp_path / "mr"), read_volume(tmp_path / "mr")
    with pytest.raises(UsageError, match="has the value 2, and there are 1 classes"):
        write_segmentations(volume.with_data(labels()), source, tmp_path / "seg", classes=["a"])
    with pytest.raises(InputError, match="no numbers"):
        write_parametric_maps({"p": volume.with_data(np.full((1, *SHAPE), np.nan))}, source, tmp_path / "pm")
    assert [path.name for path in tmp_path.iterdir()] == ["mr"]


def test_maps_are_series_of_their_own_and_segments_share_one(tmp_path):
    """An archive keeps one description of a series: that of a probability must not stand over a deviation."""
    write_series(tmp_path / "mr")
    source, volume = read_source(tmp_path / "mr"), read_volume(tmp_path / "mr").with_data(labels())
    write_parametric_maps({"a": volume, "b": volume}, source, tmp_path / "pm")
    write_segmentations(volume, source, tmp_path / "seg", classes=["a", "b"])
    for folder, count in (("pm", 2), ("seg", 1)):
        found = [pydicom.dcmread(path) for path in sorted((tmp_path / folder).iterdir())]
        assert len({each.SeriesInstanceUID for each in found}) == count
        of_series = {
            (each.SeriesInstanceUID, each.SeriesNumber, each.SeriesDescription, each.SeriesTime) for each in found
        }
        assert len(of_series) == count


def test_a_source_without_a_frame_of_reference_is_told(tmp_path):
    write_series(tmp_path / "mr", change=lambda _, header: delattr(header, "FrameOfReferenceUID"))
    source, volume = read_source(tmp_path / "mr"), read_volume(tmp_path / "mr").with_data(labels())
    owner = Owner()
    told = [
        write_segmentations(volume, source, tmp_path / "seg", classes=["a", "b"], owner=owner),
        write_contours(volume, source, tmp_path / "rt", classes=["a", "b"], owner=owner),
        write_parametric_maps({"p": volume}, source, tmp_path / "pm", owner=owner),
        write_ct_series(volume.with_data(labels() - 5.0), source, tmp_path / "ct", owner=owner),
    ]
    assert [len(each) for each in told] == [1] * 4
    assert all("its place is unproven" in each for (each,) in told)
    paths = [next((tmp_path / kind).iterdir()) for kind in ("seg", "rt", "pm", "ct")]
    assert len({pydicom.dcmread(path).FrameOfReferenceUID for path in paths}) == 1  # they lie over one another


def test_several_enhanced_files_are_refused(tmp_path):
    (tmp_path / "mr").mkdir()
    for number in range(2):
        path = write_frames(tmp_path / f"mr/{number}.dcm")
        header = pydicom.dcmread(path)
        for groups in header.PerFrameFunctionalGroupsSequence:
            groups.PlanePositionSequence[0].ImagePositionPatient[2] += 21 * number
        header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number + 1}"
        header.save_as(path)
    source, volume = read_source(tmp_path / "mr"), read_volume(tmp_path / "mr")
    with pytest.raises(InputError, match="2 files of the Enhanced kind"):
        write_parametric_maps({"a": volume}, source, tmp_path / "pm")
    write_ct_series(volume, source, tmp_path / "ct")
    assert np.array_equal(read_volume(tmp_path / "ct").data, volume.data)


@pytest.mark.parametrize("data", [labels() * 0.3, labels() * np.nan, labels() * -1.0], ids=["share", "nan", "negative"])
def test_what_is_no_label_map_is_refused(tmp_path, data):
    write_series(tmp_path / "mr")
    volume = read_volume(tmp_path / "mr").with_data(data)
    with pytest.raises(InputError):
        write_segmentations(volume, read_source(tmp_path / "mr"), tmp_path / "seg", classes=["a", "b"])
    assert not (tmp_path / "seg").exists()


@pytest.mark.parametrize("classes", [(), ("a", ""), ("a", "a")])
def test_classes_need_a_name_each(tmp_path, classes):
    write_series(tmp_path / "mr")
    volume = read_volume(tmp_path / "mr").with_data(labels())
    with pytest.raises(UsageError, match="need a name each"):
        write_segmentations(volume, read_source(tmp_path / "mr"), tmp_path / "seg", classes=classes)


def test_numbers_beyond_32_bits_and_unknown_units_are_refused(tmp_path):
    write_series(tmp_path / "mr")
    source, volume = read_source(tmp_path / "mr"), read_volume(tmp_path / "mr")
    with pytest.raises(InputError, match="no numbers"):
        write_parametric_maps({"a": volume.with_data(np.full((1, *SHAPE), 1e300))}, source, tmp_path / "pm")
    with pytest.raises(UsageError, match="'mm2/s' is not known"):
        write_parametric_maps({"a": volume}, source, tmp_path / "pm", unit="mm2/s")


def test_without_highdicom_it_says_what_to_install(tmp_path, monkeypatch):
    write_series(tmp_path / "mr")
    monkeypatch.setitem(sys.modules, "highdicom", None)
    volume = read_volume(tmp_path / "mr").with_data(labels())
    with pytest.raises(UsageError, match="need highdicom") as error:
        write_segmentations(volume, read_source(tmp_path / "mr"), tmp_path / "seg", classes=["a", "b"])
    assert "medgen[dicom]" in error.value.fix


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dicom3tools are not installed")
@pytest.mark.parametrize("anonymous", [False, True])
def test_a_validator_finds_no_error(tmp_path, anonymous):
    write_series(tmp_path / "mr")
    source, volume = read_source(tmp_path / "mr"), read_volume(tmp_path / "mr").with_data(labels())
    owner = Owner(anonymous=anonymous)
    write_segmentations(volume, source, tmp_path / "seg", classes=["contusion", "b"], owner=owner)
    maps = {"chance": volume.with_data(labels() / 2), "none": volume.with_data(labels() * 0.0)}
    write_parametric_maps(maps, source, tmp_path / "pm", owner=owner)
    for path in (*(tmp_path / "seg").iterdir(), *(tmp_path / "pm").iterdir()):
        assert faults(path) == set()


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["ge_mr", "siemens_mr", "philips_mr", "pelvis_ct", "philips_enhanced_multiframe"])
def test_real_series_of_three_makers(real_data, tmp_path, name):
    source, volume = read_source(real_data / "dicom" / name), read_volume(real_data / "dicom" / name)
    bright = volume.with_data((volume.data > np.percentile(volume.data, 90)).astype(np.uint8))
    write_segmentations(bright, source, tmp_path / "seg", classes=["bright"])
    path = tmp_path / "seg" / "SEG_0001.dcm"
    found = by_index(highdicom.seg.segread(path).get_volume(combine_segments=True), bright)
    assert np.array_equal(found, bright.data[0])
    if shutil.which("dciodvfy"):
        told = subprocess.run(["dciodvfy", str(source.slices[0].path)], capture_output=True, text=True, check=False)
        assert faults(path) <= set(told.stderr.splitlines())
