"""Outlines of classes as an RT structure set hold the voxels of the label map, wherever it lies."""

import shutil
import time
import warnings

import numpy as np
import pydicom
import pytest
from dicom_files import NUMBER, PERSON, SHAPE, write_frames, write_series
from matplotlib.path import Path as Curve
from scipy import ndimage

from medgen.dicom import Owner, read_source, write_contours
from medgen.dicom.outlines import outlines
from medgen.errors import UsageError
from medgen.volume import read_volume
from tests.dicom.test_ct_series import WAYS, faults


def filled(polygon, shape):
    """The pixels whose centre lies in a polygon, by matplotlib; a centre on the line would be an accident."""
    low, high = np.floor(polygon.min(0)).astype(int).clip(0), np.ceil(polygon.max(0)).astype(int) + 1
    box = tuple(map(slice, low, np.minimum(high, shape)))
    found = np.zeros(shape, bool)
    centres = np.stack(np.mgrid[box], axis=-1)
    inside = Curve(np.vstack([polygon, polygon[:1]])).contains_points(centres.reshape(-1, 2))
    found[box] = inside.reshape(centres.shape[:2])
    return found


def held(path, number, volume):
    """The voxels of a volume whose centres lie in the contours of a structure, by their place alone."""
    header = pydicom.dcmread(path)
    (roi,) = [each for each in header.ROIContourSequence if each.ReferencedROINumber == number]
    found = np.zeros(volume.shape, int)
    inverse = np.linalg.inv(np.diag([-1.0, -1, 1, 1]) @ volume.affine)
    for contour in roi.get("ContourSequence", ()):
        points = np.array(contour.ContourData, float).reshape(-1, 3)
        assert len(points) == contour.NumberOfContourPoints
        index = points @ inverse[:3, :3].T + inverse[:3, 3]
        (level,) = set(np.rint(index[:, 2]).astype(int))
        assert np.abs(index[:, 2] - level).max() < 1e-2  # slices of a scanner are not quite even
        found[:, :, level] += filled(index[:, :2], volume.shape[:2])
    assert found.max() <= 1  # no voxel in two contours: any rule of filling gives the same
    return found.astype(bool)


def ring(shape=SHAPE):
    """A ring of one voxel, what lies in its middle, a single voxel, a pair, and what touches the border."""
    data = np.zeros((1, *shape), np.uint8)
    data[0, 0:5, 0:5, 1] = 1
    data[0, 1:4, 1:4, 1] = 0
    data[0, 2, 2, 1] = 1
    data[0, 5, 4, 3] = 1
    data[0, 1:3, 1, 3] = 2
    data[0, :, :, 6] = 2
    return data


@pytest.mark.parametrize("way", WAYS)
def test_contours_hold_the_voxels_of_their_class(tmp_path, way):
    write_series(tmp_path / "mr", turn=WAYS[way])
    source, volume = read_source(tmp_path / "mr"), read_volume(tmp_path / "mr").with_data(ring())
    assert write_contours(volume, source, tmp_path / "rt", classes=["lesion", "oedema", "none"]) == ()
    (path,) = (tmp_path / "rt").iterdir()
    for number in (1, 2, 3):
        assert np.array_equal(held(path, number, volume), volume.data[0] == number)
    header = pydicom.dcmread(path)
    assert [each.ROIName for each in header.StructureSetROISequence] == ["lesion", "oedema", "none"]
    assert (header.StudyInstanceUID, header.PatientID) == (source.first.StudyInstanceUID, NUMBER)
    assert header.FrameOfReferenceUID == source.first.FrameOfReferenceUID
    assert "NOT FOR CLINICAL USE" in header.SeriesDescription
    slices = {(str(source.headers[each.path].SOPInstanceUID), round(each.position[2], 3)) for each in source.slices}
    for roi in header.ROIContourSequence:
        for contour in roi.get("ContourSequence", ()):
            (image,) = contour.ContourImageSequence
            index = [uid for uid, _ in sorted(slices, key=lambda one: one[1])]
            assert image.ReferencedSOPInstanceUID in index


@pytest.mark.parametrize("density", [0.2, 0.5, 0.8, 0.95])
def test_outlines_of_any_mask_hold_its_pixels(density):
    random = np.random.default_rng(int(100 * density))
    for smooth in (0, 0, 0.7, 1.5):
        noise = random.random((23, 31))
        noise = ndimage.gaussian_filter(noise, smooth) if smooth else noise
        mask = noise < np.quantile(noise, density)
        polygons = outlines(mask)
        assert np.array_equal(sum(filled(polygon, mask.shape).astype(int) for polygon in polygons), mask)
        pieces, _ = ndimage.label(mask)
        assert len(polygons) == pieces.max()  # a hole is no polygon of its own


def turns(polygon):
    """How often the walk round a polygon turns; once if it nowhere crosses itself."""
    way = np.roll(polygon, -1, axis=0) - polygon
    after = np.roll(way, -1, axis=0)
    across = way[:, 0] * after[:, 1] - way[:, 1] * after[:, 0]
    return np.arctan2(across, (way * after).sum(1)).sum() / (2 * np.pi)


@pytest.mark.parametrize("density", [0.5, 0.7, 0.8, 0.9, 0.97])
def test_slits_cross_nothing(density):
    """Where one ends at the beginning of another, too, as with two holes one above the other."""
    masks = [np.random.default_rng(seed).random((17, 15)) < density for seed in range(10)]
    rows = np.ones((9, 7), bool)
    rows[[1, 2, 4, 6], 3] = rows[2, 4] = rows[6, 2] = rows[7, 1] = False
    for mask in [*masks, rows, rows[::-1], rows[:, ::-1], rows.T]:
        padded = np.pad(mask, 1)
        for polygon in outlines(mask):
            assert turns(polygon) == pytest.approx(1)
            ends = np.roll(polygon, -1, axis=0)
            for start, end in zip(polygon, ends, strict=True):
                if np.abs(end - start).max() > 1:
                    assert start[1] == end[1]
                    low, high = sorted((start[0], end[0]))
                    between = np.arange(np.floor(low) + 1, np.ceil(high)).astype(int)
                    assert padded[between + 1][:, int(start[1]) + 1 : int(start[1]) + 3].all()


def test_many_holes_take_no_long_time():
    """Where each hole asks all the others, 192^2 pixels take half a minute."""
    mask = np.random.default_rng(0).random((192, 192)) < 0.9
    started = time.process_time()
    polygons = outlines(mask)
    assert time.process_time() - started < 5
    assert np.array_equal(sum(filled(polygon, mask.shape).astype(int) for polygon in polygons), mask)


def test_nothing_has_no_outline():
    assert outlines(np.zeros((4, 5), bool)) == []


def test_a_slit_passes_beside_the_centres():
    """A reader may take the border for outside; a ring of one pixel would then be open."""
    mask = ring()[0, :, :, 1].astype(bool)
    for polygon in outlines(mask):
        ends = np.roll(polygon, -1, axis=0)
        way = ends - polygon
        for centre in np.argwhere(mask):
            along = np.clip(((centre - polygon) * way).sum(1) / (way**2).sum(1), 0, 1)
            assert np.linalg.norm(polygon + along[:, None] * way - centre, axis=1).min() > 0.1


def test_frames_of_one_file(tmp_path):
    write_frames(tmp_path / "mr.dcm", order=[3, 1, 0, 2, 5, 4, 6])
    volume = read_volume(tmp_path / "mr.dcm").with_data(ring())
    write_contours(volume, read_source(tmp_path / "mr.dcm"), tmp_path / "rt", classes=["a", "b"])
    path = tmp_path / "rt" / "RTSTRUCT_0001.dcm"
    assert np.array_equal(held(path, 2, volume), volume.data[0] == 2)
    (last, *_) = reversed(pydicom.dcmread(path).ROIContourSequence[1].ContourSequence)
    assert last.ContourImageSequence[0].ReferencedFrameNumber == 7  # of the file, not of the place


def test_long_outlines_are_whole(tmp_path):
    """An element of more than 64 kB, which explicit syntaxes cannot hold."""
    shape = (64, 64, 3)
    write_series(tmp_path / "mr", np.ones(shape, np.int16))
    data = np.zeros((1, *shape), np.uint8)
    data[0, ::2, :, 0] = data[0, :, 0, 0] = 1
    volume = read_volume(tmp_path / "mr").with_data(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_contours(volume, read_source(tmp_path / "mr"), tmp_path / "rt", classes=["comb"])
    path = tmp_path / "rt" / "RTSTRUCT_0001.dcm"
    (contour,) = pydicom.dcmread(path).ROIContourSequence[0].ContourSequence
    assert len("\\".join(map(str, contour.ContourData))) > 2**16
    assert np.array_equal(held(path, 1, volume), data[0] == 1)


def test_anonymous_contours_say_nothing_of_whom_they_are(tmp_path):
    write_series(tmp_path / "mr")
    source, volume = read_source(tmp_path / "mr"), read_volume(tmp_path / "mr").with_data(ring())
    write_contours(volume, source, tmp_path / "rt", classes=["a", "b"], owner=Owner(anonymous=True))
    content = (tmp_path / "rt" / "RTSTRUCT_0001.dcm").read_bytes()
    words = [PERSON, NUMBER, "18151210", *(str(header.SOPInstanceUID) for header in source.headers.values())]
    words += [str(source.first[key].value) for key in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")]
    assert [word for word in words if word.encode() in content] == []


def test_a_value_without_a_class_is_refused(tmp_path):
    write_series(tmp_path / "mr")
    volume = read_volume(tmp_path / "mr").with_data(ring())
    with pytest.raises(UsageError, match="has the value 2, and there are 1 classes"):
        write_contours(volume, read_source(tmp_path / "mr"), tmp_path / "rt", classes=["a"])


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dicom3tools are not installed")
@pytest.mark.parametrize("way", ["axial", "oblique"])
@pytest.mark.parametrize("anonymous", [False, True])
def test_a_validator_finds_no_error(tmp_path, anonymous, way):
    write_series(tmp_path / "mr", turn=WAYS[way])
    source, volume = read_source(tmp_path / "mr"), read_volume(tmp_path / "mr").with_data(ring())
    write_contours(volume, source, tmp_path / "rt", classes=["a", "b", "none"], owner=Owner(anonymous=anonymous))
    assert faults(tmp_path / "rt" / "RTSTRUCT_0001.dcm") == set()


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["ge_mr", "siemens_mr", "philips_mr", "pelvis_ct", "philips_enhanced_multiframe"])
def test_real_series_of_three_makers(real_data, tmp_path, name):
    source, volume = read_source(real_data / "dicom" / name), read_volume(real_data / "dicom" / name)
    smooth = ndimage.gaussian_filter(volume.data[0], (4, 4, 0))
    bright = volume.with_data((smooth > np.percentile(smooth, 90)).astype(np.uint8)[None])
    write_contours(bright, source, tmp_path / "rt", classes=["bright"])
    path = tmp_path / "rt" / "RTSTRUCT_0001.dcm"
    assert np.array_equal(held(path, 1, bright), bright.data[0] == 1)
