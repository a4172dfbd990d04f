"""A synthetic CT as a series lies where its source lies, belongs to the same study, and says what it is."""

import shutil
import subprocess

import numpy as np
import pydicom
import pytest
from dicom_files import NUMBER, ORIGIN, PERSON, SHAPE, SPACING, position, write_frames, write_series

from medgen.dicom import Made, Owner, read_source, write_ct_series
from medgen.errors import InputError, UsageError
from medgen.volume import Volume, read_volume, repair_volume, to_ras, write_volume

TURNED = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
TURNED *= np.sign(np.linalg.det(TURNED))
WAYS = {
    "axial": np.eye(3),
    "feet first": np.diag([-1.0, 1.0, -1.0]),
    "from top to bottom": np.diag([1.0, -1.0, -1.0]),
    "sagittal": np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]),
    "coronal": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "oblique": TURNED,
}


def hounsfield(shape=SHAPE, seed=1):
    return np.random.default_rng(seed).integers(-1024, 3000, (1, *shape)).astype(np.float32)


def headers(folder):
    return [pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))]


def made(tmp_path, **options):
    """Source, result and the folder of the result."""
    write_series(tmp_path / "mr", **options)
    source = read_source(tmp_path / "mr")
    ct = read_volume(tmp_path / "mr").with_data(hounsfield())
    write_ct_series(ct, source, tmp_path / "ct")
    return source, ct, tmp_path / "ct"


@pytest.mark.parametrize("way", WAYS)
def test_it_reads_back_as_it_was_on_the_grid_of_the_source(tmp_path, way):
    source, ct, folder = made(tmp_path, turn=WAYS[way])
    back = read_volume(folder)
    assert np.array_equal(back.data, ct.data)
    assert np.abs(back.affine - ct.affine).max() < 1e-3
    for each, header in zip(source.slices, headers(folder), strict=True):
        assert np.abs(np.array(header.ImagePositionPatient, float) - each.position).max() < 1e-3
        assert np.abs(np.array(header.ImageOrientationPatient, float) - each.orientation).max() < 1e-6


def test_another_reader_sees_the_same(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    _, ct, folder = made(tmp_path, turn=WAYS["oblique"])
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    image = sitk.ReadImage(files)
    assert np.array_equal(sitk.GetArrayFromImage(image).transpose(2, 1, 0), ct.data[0])
    corner = ct.affine @ [*(side - 1 for side in SHAPE), 1]
    theirs = image.TransformIndexToPhysicalPoint([side - 1 for side in SHAPE])
    assert np.abs(corner[:3] * [-1, -1, 1] - theirs).max() < 1e-3


def test_it_belongs_to_the_study_of_the_source_and_says_what_it_is(tmp_path):
    source, _, folder = made(tmp_path)
    first, *others = found = headers(folder)
    assert len(found) == SHAPE[2]
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientName", "PatientID", "PatientBirthDate"):
        assert first[keyword].value == source.first[keyword].value
    assert first.SeriesInstanceUID != source.first.SeriesInstanceUID
    assert {each.SeriesInstanceUID for each in others} == {first.SeriesInstanceUID}
    uids = {each.SOPInstanceUID for each in found} | {each.SOPInstanceUID for each in source.headers.values()}
    assert len(uids) == 2 * SHAPE[2]
    assert (first.Modality, first.RescaleSlope, first.RescaleIntercept) == ("CT", 1, -1024)
    assert first.SeriesNumber == 9000 + source.first.SeriesNumber
    assert first.SeriesDescription == "Synthetic CT, NOT FOR CLINICAL USE"
    assert "NOT FOR CLINICAL USE" in first.ImageComments
    assert first.ImageType[:2] == ["DERIVED", "SECONDARY"]
    assert first.ContributingEquipmentSequence[0].Manufacturer == "medgen"
    made_from = first.SourceImageSequence[0]
    assert made_from.ReferencedSOPInstanceUID == source.first.SOPInstanceUID
    assert "ImageComments" not in source.first
    assert [each.InstanceNumber for each in found] == list(range(1, SHAPE[2] + 1))


def test_an_anonymous_series_says_nothing_of_whom_it_is(tmp_path):
    def private(_, header):
        header.StudyDate, header.StudyTime, header.AccessionNumber = "20250102", "093015", "ACC-4711"
        header.ReferringPhysicianName, header.StudyDescription = "BABBAGE^C", "Lovelace head"
        header.InstitutionName = "Analytical Engine Hospital"
        header.add_new((0x0009, 0x0010), "LO", "LOVELACE PRIVATE")

    write_series(tmp_path / "mr", change=private)
    source, owner = read_source(tmp_path / "mr"), Owner(anonymous=True)
    ct = read_volume(tmp_path / "mr").with_data(hounsfield())
    for name in ("one", "two"):
        write_ct_series(ct, source, tmp_path / name, owner=owner)
    words = [
        PERSON,
        NUMBER,
        "18151210",
        "LOVELACE",
        "Lovelace",
        "ACC-4711",
        "BABBAGE",
        "Hospital",
        "20250102",
        "093015",
    ]
    words += [str(source.first[key].value) for key in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")]
    words += [str(header.SOPInstanceUID) for header in source.headers.values()]
    for path in [*(tmp_path / "one").iterdir(), *(tmp_path / "two").iterdir()]:
        content = path.read_bytes()
        assert [word for word in words if word.encode() in content] == []
    first, second = headers(tmp_path / "one")[0], headers(tmp_path / "two")[0]
    assert first.PatientIdentityRemoved == "YES"
    assert first.StudyInstanceUID == second.StudyInstanceUID  # one patient, one study
    assert first.FrameOfReferenceUID == second.FrameOfReferenceUID
    assert np.array_equal(read_volume(tmp_path / "one").data, ct.data)


def test_frames_of_one_file_become_slices(tmp_path):
    write_frames(tmp_path / "mr.dcm", order=[3, 1, 0, 2, 5, 4, 6][: SHAPE[2]])
    source = read_source(tmp_path / "mr.dcm")
    ct = read_volume(tmp_path / "mr.dcm").with_data(hounsfield())
    write_ct_series(ct, source, tmp_path / "ct")
    assert np.array_equal(read_volume(tmp_path / "ct").data, ct.data)
    numbers = [header.SourceImageSequence[0].ReferencedFrameNumber for header in headers(tmp_path / "ct")]
    assert numbers == [each.frame + 1 for each in source.slices]


def smooth(affine, shape):
    """HU that rise linearly in the patient, so that linear interpolation is exact."""
    index = np.stack(np.meshgrid(*[np.arange(side) for side in shape], indexing="ij"))
    places = np.einsum("ij,j...->i...", affine[:3, :3], index) + affine[:3, 3][:, None, None, None]
    return (np.einsum("i,i...->...", [3.0, -2.0, 5.0], places))[None]


@pytest.mark.parametrize("fault", ["gap", "tilt"])
def test_the_result_of_a_mended_series_lies_on_the_slices_that_there_are(tmp_path, fault):
    if fault == "gap":
        heights = [0, 1, 2, 4, 5, 6, 7]
        write_series(tmp_path / "mr", heights=heights)
        mended = repair_volume(tmp_path / "mr", fill_gaps=True).volume
    else:
        step = np.array([0.0, 1.0, SPACING[2]])
        write_series(tmp_path / "mr", step=step)
        mended = repair_volume(tmp_path / "mr", resample=True).volume
    source = read_source(tmp_path / "mr")
    ct = mended.with_data(smooth(mended.affine, mended.shape))
    notes = write_ct_series(ct, source, tmp_path / "ct")
    assert any("interpolated" in note for note in notes) == (fault == "tilt")  # of a gap each slice is still there
    for number, (each, header) in enumerate(zip(source.slices, headers(tmp_path / "ct"), strict=True)):
        assert np.abs(np.array(header.ImagePositionPatient, float) - each.position).max() < 1e-3
        place = heights[number] if fault == "gap" else number
        corner = position(place, None if fault == "gap" else step)
        rows, columns = np.indices(header.pixel_array.shape)
        x, y, z = -(corner[0] + columns * SPACING[0]), -(corner[1] + rows * SPACING[1]), corner[2]
        expected = np.rint(3 * x - 2 * y + 5 * z)
        found = header.pixel_array.astype(int) - 1024
        inside = found != -1000  # beyond the mended volume is air
        assert inside.mean() > (0.99 if fault == "gap" else 0.75)
        assert np.abs(found - expected)[inside].max() <= 1


@pytest.mark.parametrize("fault", ["gap", "tilt"])
def test_no_slice_is_lost_at_the_border(tmp_path, fault):
    """The centres of the first and the last slice lie on the border of the mended grid, or beside it by rounding."""
    if fault == "gap":
        write_series(tmp_path / "mr", heights=[0, 1, 2, 4, 5, 6, 7], turn=TURNED)
        mended = repair_volume(tmp_path / "mr", fill_gaps=True).volume
    else:
        write_series(tmp_path / "mr", step=np.array([0.0, 1.0, SPACING[2]]))
        mended = repair_volume(tmp_path / "mr", resample=True).volume
    write_ct_series(mended.with_data(np.full((1, *mended.shape), 500.0)), read_source(tmp_path / "mr"), tmp_path / "ct")
    shares = [(header.pixel_array == 1524).mean() for header in headers(tmp_path / "ct")]
    assert min(shares) > (0.999 if fault == "gap" else 0.5)


def test_the_same_voxels_in_another_order_are_taken_as_they_are(tmp_path):
    write_series(tmp_path / "mr", turn=WAYS["sagittal"])
    ct = read_volume(tmp_path / "mr").with_data(hounsfield())
    assert write_ct_series(to_ras(ct), read_source(tmp_path / "mr"), tmp_path / "ct") == ()  # nothing interpolated
    assert np.array_equal(read_volume(tmp_path / "ct").data, ct.data)


def test_values_that_only_one_kind_of_16_bits_holds_do_not_wrap(tmp_path):
    write_series(tmp_path / "mr")
    source, data = read_source(tmp_path / "mr"), hounsfield()
    data[0, 0, 0, 0] = 40000
    write_ct_series(read_volume(tmp_path / "mr").with_data(data), source, tmp_path / "ct")
    assert np.array_equal(read_volume(tmp_path / "ct").data, data)
    data[0, 0, 0, 1] = -1100
    with pytest.raises(InputError, match="no HU"):
        write_ct_series(read_volume(tmp_path / "mr").with_data(data), source, tmp_path / "other")


def test_a_volume_that_lies_elsewhere_is_refused(tmp_path):
    write_series(tmp_path / "mr")
    source = read_source(tmp_path / "mr")
    far = np.eye(4)
    far[:3, 3] = 5000
    with pytest.raises(InputError, match="lies beside the series"):
        write_ct_series(Volume(hounsfield(), far), source, tmp_path / "ct")
    assert not (tmp_path / "ct").exists()


@pytest.mark.parametrize(("value", "said"), [(np.nan, "no numbers"), (70000.0, "no HU"), (-40000.0, "no HU")])
def test_what_is_no_ct_is_refused(tmp_path, value, said):
    write_series(tmp_path / "mr")
    data = hounsfield()
    data[0, 1, 1, 1] = value
    with pytest.raises(InputError, match=said):
        write_ct_series(read_volume(tmp_path / "mr").with_data(data), read_source(tmp_path / "mr"), tmp_path / "ct")
    assert [path.name for path in tmp_path.iterdir()] == ["mr"]


def test_values_below_the_intercept_are_kept(tmp_path):
    write_series(tmp_path / "mr")
    data = hounsfield()
    data[0, 0, 0, 0] = -2000
    write_ct_series(read_volume(tmp_path / "mr").with_data(data), read_source(tmp_path / "mr"), tmp_path / "ct")
    assert np.array_equal(read_volume(tmp_path / "ct").data, data)


def test_a_folder_of_the_user_is_not_replaced(tmp_path):
    source, ct, folder = made(tmp_path)
    with pytest.raises(UsageError, match="holds a series already"):
        write_ct_series(ct, source, folder)
    before = headers(folder)[0].SeriesInstanceUID
    write_ct_series(ct, source, folder, overwrite=True)
    assert headers(folder)[0].SeriesInstanceUID != before
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds 'notes\.txt'"):
        write_ct_series(ct, source, folder, overwrite=True)
    assert (folder / "notes.txt").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ct", "mr"]


def test_the_current_folder_is_not_replaced(tmp_path, monkeypatch):
    write_series(tmp_path / "mr")
    source = read_source(tmp_path / "mr")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(UsageError, match="this is the current folder"):
        write_ct_series(read_volume(tmp_path / "mr").with_data(hounsfield()), source, ".")


def test_series_of_the_user_are_never_replaced(tmp_path):
    """Whatever their files are called: neither the source, nor another series with names like ours."""
    names = [f"CT_{number:04d}.dcm" for number in range(1, SHAPE[2] + 1)]
    for folder in ("mr", "other"):
        write_series(tmp_path / folder, names=names)
    source, ct = read_source(tmp_path / "mr"), read_volume(tmp_path / "mr").with_data(hounsfield())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.dcm")}
    for folder, said in (
        ("mr", "in its source"),
        ("mr/ct", "in its source"),
        ("", "in its source"),
        ("other", "did not write"),
    ):
        with pytest.raises(UsageError, match=said):
            write_ct_series(ct, source, tmp_path / folder, overwrite=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.dcm")} == before


BAD = dict(
    PatientWeight="70 kg", PatientBirthDate="1815-12-10", PatientAge="0Y", PatientSex="Ada", SliceThickness="3mm"
)


@pytest.mark.parametrize("keyword", [*BAD, "SeriesNumber", "BodyPartExamined"])
def test_what_the_source_has_against_the_standard_is_left_out(tmp_path, keyword):
    value = {"SeriesNumber": "4A", "BodyPartExamined": "Lovelace's head"}.get(keyword) or BAD[keyword]
    kind = pydicom.datadict.dictionary_VR(keyword).encode()

    def change(_, header):
        setattr(header, keyword, 1 if kind in (b"DS", b"IS") else "")

    write_series(tmp_path / "mr", change=change)
    tag = pydicom.tag.Tag(keyword)
    head = tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little") + kind
    padded = value + " " * (len(value) % 2)
    for path in (tmp_path / "mr").iterdir():
        before, rest = path.read_bytes().split(head, 1)
        length = int.from_bytes(rest[:2], "little")
        path.write_bytes(before + head + len(padded).to_bytes(2, "little") + padded.encode() + rest[2 + length :])
    ct = read_volume(tmp_path / "mr").with_data(hounsfield())
    write_ct_series(ct, read_source(tmp_path / "mr"), tmp_path / "ct")
    header = headers(tmp_path / "ct")[0]
    assert value not in str(header.get(keyword, ""))
    assert header.SliceThickness == SPACING[2] or keyword != "SliceThickness"


def test_texts_in_any_letters_and_none_that_parts_a_value(tmp_path):
    def name(_, header):
        header.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
        header.PatientName = "Yamada^Tarou=山田^太郎"

    write_series(tmp_path / "mr", change=name)
    ct = read_volume(tmp_path / "mr").with_data(hounsfield())
    made_by = Made("Ödem", description="肿瘤\\CT\x1b[31m")
    write_ct_series(ct, read_source(tmp_path / "mr"), tmp_path / "ct", made=made_by)
    header = headers(tmp_path / "ct")[0]
    assert str(header.PatientName) == "Yamada^Tarou=山田^太郎"
    assert header.SeriesDescription == "肿瘤/CT[31m, NOT FOR CLINICAL USE"
    assert header.ManufacturerModelName == "Ödem"


def test_anonymous_words_are_of_a_list(tmp_path):
    def odd(_, header):
        header.BodyPartExamined, header.PatientSex = "LOVELACE HEAD", "ADA"

    write_series(tmp_path / "mr", change=odd)
    ct = read_volume(tmp_path / "mr").with_data(hounsfield())
    write_ct_series(ct, read_source(tmp_path / "mr"), tmp_path / "ct", owner=Owner(anonymous=True))
    header = headers(tmp_path / "ct")[0]
    assert ("BodyPartExamined" in header, header.PatientSex) == (False, "")


def test_a_loss_is_not_forgotten_and_several_images_are_refused(tmp_path):
    def lossy(_, header):
        header.LossyImageCompression = "01"

    write_series(tmp_path / "mr", change=lossy)
    source, ct = read_source(tmp_path / "mr"), read_volume(tmp_path / "mr").with_data(hounsfield())
    write_ct_series(ct, source, tmp_path / "ct")
    assert headers(tmp_path / "ct")[0].LossyImageCompression == "01"
    with pytest.raises(UsageError, match="2 channels"):
        write_ct_series(Volume(np.concatenate([ct.data] * 2), ct.affine), source, tmp_path / "two")


def test_slices_of_two_studies_are_refused(tmp_path):
    def other(index, header):
        header.StudyInstanceUID = f"1.2.{index % 2}"

    write_series(tmp_path / "mr", change=other)
    with pytest.raises(InputError, match="several studies"):
        read_source(tmp_path / "mr")


def test_a_source_without_a_study_is_refused(tmp_path):
    def bare(_, header):
        del header.StudyInstanceUID

    write_series(tmp_path / "mr", change=bare)
    with pytest.raises(InputError, match="belongs to no study"):
        read_source(tmp_path / "mr")


def test_a_missing_frame_of_reference_is_made_and_told(tmp_path):
    def bare(_, header):
        del header.FrameOfReferenceUID

    write_series(tmp_path / "mr", change=bare)
    source = read_source(tmp_path / "mr")
    notes = write_ct_series(read_volume(tmp_path / "mr").with_data(hounsfield()), source, tmp_path / "ct")
    assert any("no frame of reference" in note for note in notes)
    assert len({header.FrameOfReferenceUID for header in headers(tmp_path / "ct")}) == 1


def faults(path):
    """What dciodvfy calls errors, without the values."""
    told = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False).stderr
    return {line for line in told.splitlines() if line.startswith("Error")}


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dicom3tools are not installed")
@pytest.mark.parametrize("anonymous", [False, True])
def test_a_validator_finds_no_error(tmp_path, anonymous):
    write_series(tmp_path / "mr")
    ct = read_volume(tmp_path / "mr").with_data(hounsfield())
    write_ct_series(ct, read_source(tmp_path / "mr"), tmp_path / "ct", owner=Owner(anonymous=anonymous))
    assert all(faults(path) == set() for path in (tmp_path / "ct").iterdir())


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["ge_mr", "siemens_mr", "philips_mr", "pelvis_ct", "philips_enhanced_multiframe"])
def test_real_series_of_three_makers(real_data, tmp_path, name):
    source, volume = read_source(real_data / "dicom" / name), read_volume(real_data / "dicom" / name)
    ct = volume.with_data(np.clip(np.rint(volume.data), -1024, 3000))
    write_ct_series(ct, source, tmp_path / "ct")
    back = read_volume(tmp_path / "ct")
    assert np.array_equal(back.data, ct.data)
    assert np.abs(back.affine - volume.affine).max() < 1e-3
    if shutil.which("dciodvfy"):
        of_source = faults(source.slices[0].path)
        assert all(faults(path) <= of_source for path in (tmp_path / "ct").iterdir())


def test_a_result_from_a_file_is_the_same(tmp_path):
    source, ct, _ = made(tmp_path)
    write_volume(ct, tmp_path / "ct.nii.gz", kind="hu")
    write_ct_series(read_volume(tmp_path / "ct.nii.gz"), source, tmp_path / "again")
    assert np.array_equal(read_volume(tmp_path / "again").data, ct.data)
    assert ORIGIN[0] == pytest.approx(float(headers(tmp_path / "again")[0].ImagePositionPatient[0]))
