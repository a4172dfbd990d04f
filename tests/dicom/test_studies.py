"""``medgen dicom list`` and ``write``: what a study holds, and a result into it."""

import json
import shutil
import zipfile

import numpy as np
import pytest
from dicom_files import NUMBER, PERSON, SHAPE, voxels, write_frames, write_series
from pydicom.uid import CTImageStorage, generate_uid

from medgen.cli import main
from medgen.dicom.studies import list_studies
from medgen.errors import InputError
from medgen.volume import read_volume, repair_volume, write_volume

KINDS = {
    "T1": dict(EchoTime=4, RepetitionTime=600),
    "T1 with contrast": dict(EchoTime=4, RepetitionTime=600, ContrastBolusAgent="some"),
    "T2W": dict(EchoTime=100, RepetitionTime=4000),
    "FLAIR": dict(EchoTime=100, RepetitionTime=9000, InversionTime=2500),
    "PD": dict(EchoTime=15, RepetitionTime=3000),
    "GE": dict(EchoTime=20, RepetitionTime=700, ScanningSequence="GR"),
    "SWI": dict(EchoTime=20, ScanningSequence="GR", SeriesDescription="t2_SWI3d"),
    "ADC": dict(ImageType=["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]),
    "DWI": dict(DiffusionBValue=50, EchoTime=80),
    "high b": dict(DiffusionBValue=1400, EchoTime=80),
    "localizer": dict(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
    "CT": dict(kind=CTImageStorage),
}


def write_one(folder, **elements):
    kind, uid = elements.pop("kind", None), generate_uid()

    def change(_, header):
        header.SeriesInstanceUID, header.StudyInstanceUID = uid, "1.2.3"
        for name, value in elements.items():
            setattr(header, name, value)

    return write_series(folder, change=change, **({"kind": kind} if kind else {}))


def run(capsys, *words):
    with pytest.raises(SystemExit) as exit_:
        main([str(word) for word in words])
    return exit_.value.code or 0, *capsys.readouterr()


@pytest.mark.parametrize("could_be", KINDS)
def test_what_a_series_could_be(tmp_path, could_be):
    write_one(tmp_path / "deep/er/series", **KINDS[could_be])
    (found,) = list_studies(tmp_path)
    assert (found.could_be, found.where, found.images) == (could_be, "deep/er/series", SHAPE[2])


@pytest.mark.parametrize(
    ("description", "could_be"),
    [
        ("ep2d_diff_tra CALC_BVAL", "high b"),
        ("DWI b1000", "high b"),
        ("ep2d_diff b50", "DWI"),
        ("Apparent Diffusion (ADC)", "ADC"),
        ("T1w MPRAGE", "T1"),
        ("3-plane Localizer", "localizer"),
        ("something", ""),
        ("b1000", "high b"),
        ("eADC", "ADC"),
    ],
)
def test_words_tell_where_no_element_does(tmp_path, description, could_be):
    write_one(tmp_path / "a", SeriesDescription=description)
    assert [each.could_be for each in list_studies(tmp_path)] == [could_be]


@pytest.mark.parametrize("description", ["T1 FLAIR", "MPRAGE", "t1_tirm", ""])
def test_t1_after_an_inversion_is_t1(tmp_path, description):
    write_one(tmp_path / "a", EchoTime=9, RepetitionTime=2000, InversionTime=860, SeriesDescription=description)
    assert [each.could_be for each in list_studies(tmp_path)] == ["T1"]


def test_odd_headers_are_no_bug(tmp_path, caplog):
    def odd(index, header):
        header.add_new(0x0019100C, "DS", "inf")
        header.SeriesDescription = "a\x1b[31mb"
        if index == 0:
            header.Columns = None

    write_series(tmp_path / "a", change=odd)
    (found,) = list_studies(tmp_path)
    assert (found.b_values, found.description, found.images) == ((), "a[31mb", SHAPE[2])


def test_one_series_number_of_two_patients_is_two_series(tmp_path):
    for number, person in enumerate(("one", "two")):
        write_series(tmp_path / str(number), person=person)
    assert [(each.patient, each.images) for each in list_studies(tmp_path)] == [(1, SHAPE[2]), (2, SHAPE[2])]


def test_what_cannot_be_read_is_counted(tmp_path, caplog):
    paths = write_one(tmp_path / "a")
    paths[0].write_bytes(paths[0].read_bytes()[:300])
    assert [each.images for each in list_studies(tmp_path)] == [SHAPE[2] - 1]
    assert "left out because they are encrypted, damaged or cut off: 1" in caplog.text
    for path in paths[1:]:
        path.unlink()
    with pytest.raises(InputError, match="cut off: 1"):
        list_studies(tmp_path)


def test_b_values_of_the_makers_and_of_frames(tmp_path):
    def siemens(_, header):
        header.SeriesInstanceUID = "1.2.3.5"
        header.add_new(0x0019100C, "IS", "800")

    def ge(index, header):
        header.SeriesInstanceUID = "1.2.3.4"
        header.add_new(0x00431039, "IS", [1000001000 if index else 50, 0, 0, 0])

    write_series(tmp_path / "siemens", change=siemens)
    write_series(tmp_path / "ge", change=ge)
    write_frames(tmp_path / "frames.dcm")
    found = {each.where: each for each in list_studies(tmp_path)}
    assert found["ge"].b_values == (50, 1000)
    assert (found["frames.dcm"].images, found["frames.dcm"].b_values) == (SHAPE[2], ())
    assert found["siemens"].b_values == (800,)


def test_84_series_of_two_patients_in_a_zip_file(tmp_path, capsys):
    first = write_one(tmp_path / "x/0")[0].read_bytes()
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        import io

        import pydicom

        for number in range(84):
            header = pydicom.dcmread(io.BytesIO(first))
            header.SeriesInstanceUID, header.SeriesNumber = generate_uid(), number + 1
            header.PatientID = "other" if number % 2 else NUMBER
            packed = io.BytesIO()
            header.save_as(packed)
            archive.writestr(f"DICOM/{number}/1", packed.getvalue())
        archive.writestr("readme.txt", "no DICOM")
    code, out, _ = run(capsys, "dicom", "list", tmp_path / "study.zip", "--json")
    assert code == 0
    rows = json.loads(out)
    assert len(rows) == 84
    assert {row["patient"] for row in rows} == {1, 2}
    assert [row["number"] for row in rows if row["patient"] == 1][:3] == ["1", "3", "5"]  # by number, not by letter
    assert PERSON not in out
    assert NUMBER not in out


def test_the_table_names_no_patient(tmp_path, capsys):
    write_one(tmp_path / "a", **KINDS["high b"])
    code, out, _ = run(capsys, "dicom", "list", tmp_path)
    assert code == 0
    heading, row = out.splitlines()
    assert heading.split("\t")[-2:] == ["could be", "where"]
    assert row.split("\t")[5:] == ["1400", str(SHAPE[2]), "6 x 5", "high b", "a"]
    assert not any(word in out for word in (PERSON, NUMBER, "LOVELACE"))


def test_nothing_to_list(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("no DICOM")
    for path in (tmp_path, tmp_path / "a.txt"):
        with pytest.raises(InputError, match="no DICOM file"):
            list_studies(path)
    with pytest.raises(InputError, match="no such file"):
        list_studies(tmp_path / "away")
    (paths := write_one(tmp_path / "b"))[0].write_bytes(paths[0].read_bytes()[:400])  # cut off: left out
    assert [each.images for each in list_studies(tmp_path)] == [SHAPE[2] - 1]


def test_a_ct_of_a_mended_series_is_written_by_hand(tmp_path, capsys):
    write_series(tmp_path / "T1", heights=[0, 1, 2, 4, 5, 6, 7])
    mended = repair_volume(tmp_path / "T1", fill_gaps=True).volume
    write_volume(mended.with_data(np.full((1, *mended.shape), -40.0)), tmp_path / "ct.nii.gz", kind="hu")
    words = ("dicom", "write", tmp_path / "ct.nii.gz", "--as", "ct", "--source", tmp_path / "T1")
    code, out, err = run(capsys, *words, "-o", tmp_path / "ct", "--description", "sCT of T1")
    assert (code, out) == (0, f"written: {tmp_path / 'ct'}\n")
    assert "interpolated" not in err  # the slices that there are have voxels of their own
    assert len(list((tmp_path / "ct").iterdir())) == 7
    (found,) = list_studies(tmp_path / "ct")
    assert found.description == "sCT of T1, NOT FOR CLINICAL USE"
    code, _, err = run(capsys, *words, "-o", tmp_path / "ct")
    assert code == 2
    assert "--overwrite" in err


def test_a_label_map_and_a_map_are_written_by_hand(tmp_path, capsys):
    pytest.importorskip("highdicom")
    write_series(tmp_path / "T2")
    volume = read_volume(tmp_path / "T2")
    write_volume(volume.with_data((voxels()[None] > 500).astype(np.uint8)), tmp_path / "l.nii.gz", kind="label")
    write_volume(volume.with_data(voxels()[None] / 1000), tmp_path / "p.nii.gz", kind="scalar")
    common = ("--source", tmp_path / "T2", "--anonymize", "-o")
    label = ("dicom", "write", tmp_path / "l.nii.gz", "--as", "labels")
    assert run(capsys, *label, "--classes", "lesion", *common, tmp_path / "seg")[0] == 0
    assert run(capsys, "dicom", "write", tmp_path / "p.nii.gz", "--as", "map", *common, tmp_path / "pm")[0] == 0
    assert {path.name for path in tmp_path.glob("*/*_0001.dcm")} == {"SEG_0001.dcm", "PM_0001.dcm"}
    code, _, err = run(capsys, *label, *common, tmp_path / "other")
    assert code == 2
    assert "--classes" in err
    shutil.rmtree(tmp_path / "T2")
    assert run(capsys, *label, "--classes", "lesion", *common, tmp_path / "other")[0] == 3


def test_frames_are_counted(tmp_path):
    path = write_frames(tmp_path / "mr.dcm")
    (found,) = list_studies(tmp_path)
    assert (found.where, found.images) == (path.name, SHAPE[2])


def test_a_zip_file_inside_is_named(tmp_path, capsys):
    write_one(tmp_path / "series")
    with zipfile.ZipFile(tmp_path / "inner.zip", "w") as inner:
        for path in sorted((tmp_path / "series").iterdir()):
            inner.write(path, path.name)
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as outer:
        outer.write(tmp_path / "inner.zip", "deep/inner.zip")
    code, _, err = run(capsys, "dicom", "list", tmp_path / "outer.zip")
    assert code == 3
    assert "zip files that were not opened: deep/inner.zip" in err
    assert "unpack the zip files that lie inside first" in err
    code, out, err = run(capsys, "dicom", "list", tmp_path)
    assert (code, "series" in out, "not opened: inner.zip, outer.zip" in err) == (0, True, True)
    code, out, err = run(capsys, "dicom", "list", tmp_path / "inner.zip")
    assert (code, "not opened" in err) == (0, False)


def test_a_label_map_is_no_ct(tmp_path, capsys):
    write_series(tmp_path / "mr")
    labels = read_volume(tmp_path / "mr").with_data((voxels() % 3)[None].astype(np.uint8))
    write_volume(labels, tmp_path / "l.nii.gz", kind="label")
    words = ("dicom", "write", tmp_path / "l.nii.gz", "--source", tmp_path / "mr", "-o", tmp_path / "out", "--as")
    code, _, err = run(capsys, *words, "ct")
    assert code == 3
    assert "has the values 0, 1, 2 alone, like a label map" in err
    assert "--as labels" in err
    code, *_ = run(capsys, *words, "contours", "--classes", "a,b")
    assert (code, [path.name for path in (tmp_path / "out").iterdir()]) == (0, ["RTSTRUCT_0001.dcm"])
    code, _, err = run(capsys, *words, "contours")
    assert (code, "--classes" in err) == (2, True)
