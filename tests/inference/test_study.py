"""``predict -i STUDY`` takes the series that it cannot mistake, and asks where there is a doubt."""

import pytest
from dicom_files import write_series
from pydicom.uid import generate_uid

from medgen.errors import InputError, UsageError
from medgen.inference.study import inputs_of

KINDS = {
    "T1": dict(EchoTime=4, RepetitionTime=600),
    "T2W": dict(EchoTime=100, RepetitionTime=4000),
    "ADC": dict(ImageType=["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]),
    "high b": dict(DiffusionBValue=1400),
    "GE": dict(EchoTime=20, ScanningSequence="GR"),
    "SWI": dict(EchoTime=20, SeriesDescription="SWI"),
    "localizer": dict(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
}


def add(study, folder, kind, *, number=1, person="someone", uid="1.2.3"):
    series = generate_uid()

    def change(_, header):
        header.SeriesInstanceUID, header.StudyInstanceUID, header.SeriesNumber = series, uid, number
        for name, value in KINDS[kind].items():
            setattr(header, name, value)

    write_series(study / folder, change=change, person=person)


@pytest.fixture
def study(tmp_path):
    for number, kind in enumerate(("T2W", "ADC", "high b", "localizer"), start=1):
        add(tmp_path, f"DICOM/{number}", kind, number=number)
    return tmp_path


def test_series_are_found_by_what_they_are(study):
    found = inputs_of(study, ["t2w", "adc", "hbv"])
    assert found == {"t2w": study / "DICOM/1", "adc": study / "DICOM/2", "hbv": study / "DICOM/3"}


def test_of_two_columns_the_one_that_is_there(tmp_path):
    add(tmp_path, "a", "T1")
    add(tmp_path, "b", "SWI")
    assert inputs_of(tmp_path, ["t1", "ge|swi"]) == {"t1": tmp_path / "a", "ge|swi": tmp_path / "b"}
    assert inputs_of(tmp_path, ["t1", "adc?"]) == {"t1": tmp_path / "a"}


def test_a_doubt_is_asked_about_with_the_series_in_question(study):
    add(study, "again", "T2W", number=9)
    with pytest.raises(
        UsageError, match=r"for t2w, t1 \(t2w: series 1 in DICOM/1, series 9 in again; t1: none\)"
    ) as error:
        inputs_of(study, ["t2w", "adc", "t1"])
    assert "-i t2w=FOLDER -i adc=FOLDER -i t1=FOLDER" in error.value.fix


def test_a_role_of_another_name_is_asked_about(study):
    with pytest.raises(UsageError, match="mr: none"):
        inputs_of(study, ["mr"])


def test_two_series_in_one_folder_are_taken_apart_first(tmp_path):
    add(tmp_path, "all", "T2W", number=3)
    for path in (tmp_path / "all").iterdir():
        path.rename(path.with_name(f"t2_{path.name}"))
    add(tmp_path, "all", "ADC", number=4)
    with pytest.raises(UsageError, match="shares its folder with other series") as error:
        inputs_of(tmp_path, ["t2w"])
    assert "--series 3" in error.value.fix


def test_of_two_patients_or_studies_none_is_guessed(study):
    add(study, "other", "T1", uid="4.5.6")
    with pytest.raises(InputError, match="2 studies"):
        inputs_of(study, ["t1"])
    add(study, "third", "SWI", person="another")
    with pytest.raises(InputError, match="2 patients"):
        inputs_of(study, ["t1"])


def test_one_series_and_files_are_left_as_they_are(study):
    for source in (study / "DICOM/1", study / "away.nii.gz", {"t1": study}):
        assert inputs_of(source, ["t1"]) is source
