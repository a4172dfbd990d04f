"""Tables made from folders in the layout of the PI-CAI challenge."""

import numpy as np
import pytest
import SimpleITK

from medgen.cases import from_picai, read_cases, write_cases
from medgen.cli import main
from medgen.errors import InputError
from medgen.volume import read_header, read_label, require_same_grid


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def study(folder, patient, number, roles=("t2w", "adc", "hbv", "cor", "sag"), *, flat=False, ending=".mha"):
    place = folder if flat else folder / patient
    for role in roles:
        touch(place / f"{patient}_{number}_{role}{ending}")


def test_a_folder_for_each_patient(tmp_path):
    study(tmp_path / "images", "10000", "1000000")
    study(tmp_path / "images", "10001", "1000001")
    study(tmp_path / "images", "10001", "1000002", ("t2w", "adc"))
    for name in ("10000_1000000", "10001_1000002", "99999_1000009"):
        touch(tmp_path / "labels" / f"{name}.nii.gz")
    touch(tmp_path / "images" / "._10000_1000000_t2w.mha")
    cases = from_picai(tmp_path / "images", labels=tmp_path / "labels")
    assert [case.name for case in cases] == ["10000_1000000", "10001_1000001", "10001_1000002"]
    assert [case.patient for case in cases] == ["10000", "10001", "10001"]
    assert [list(case.images) for case in cases] == [
        ["t2w", "adc", "hbv", "lesion"],
        ["t2w", "adc", "hbv"],
        ["t2w", "adc", "lesion"],
    ]
    assert cases[0].images["hbv"] == tmp_path / "images/10000/10000_1000000_hbv.mha"
    path = write_cases(cases, tmp_path / "cases.csv")
    assert read_cases(path).cases == cases
    assert path.read_text().splitlines()[0] == "case,split,patient,t2w,adc,hbv,lesion"


@pytest.mark.parametrize("ending", [".mha", ".nii.gz", ".nii"])
def test_all_images_in_one_folder(tmp_path, ending):
    study(tmp_path, "10000", "1", flat=True, ending=ending)
    (case,) = from_picai(tmp_path, validation=0, test=0)
    assert (case.name, case.split, list(case.images)) == ("10000_1", "train", ["t2w", "adc", "hbv"])


def test_all_studies_of_a_patient_go_to_one_split(tmp_path):
    """Each patient has three; if studies were dealt out, a patient in two splits would be almost certain."""
    for patient in range(40):
        for number in range(3):
            study(tmp_path, f"{10000 + patient}", f"{patient * 3 + number}", ("t2w",))
    cases = from_picai(tmp_path, validation=0.25, test=0.25)
    splits = {case.patient: set() for case in cases}
    for case in cases:
        splits[case.patient].add(case.split)
    assert all(len(found) == 1 for found in splits.values())
    assert sorted(next(iter(found)) for found in splits.values()) == ["test"] * 10 + ["train"] * 20 + ["val"] * 10
    assert from_picai(tmp_path, validation=0.25, test=0.25) == cases


def test_wrong_folders_are_refused(tmp_path):
    touch(tmp_path / "t2w.mha")
    with pytest.raises(InputError, match="no images named"):
        from_picai(tmp_path)
    study(tmp_path, "10000", "1")
    (tmp_path / "labels").mkdir()
    with pytest.raises(InputError, match="named after one of the 1 studies") as error:
        from_picai(tmp_path, labels=tmp_path / "labels")
    assert "10000_1.nii.gz" in error.value.fix
    study(tmp_path, "10000", "1", flat=True)
    with pytest.raises(InputError, match="two files for adc"):
        from_picai(tmp_path)


def test_a_folder_that_is_not_there(capsys, tmp_path):
    for layout in ("nnunet", "msd", "bids", "picai"):
        with pytest.raises(SystemExit) as exit_:
            main(["cases", f"from-{layout}", str(tmp_path / "absent"), "-o", str(tmp_path / "cases.csv")])
        assert exit_.value.code == 3
        assert "there is no such folder" in capsys.readouterr().err
    study(tmp_path / "images", "10000", "1")
    with pytest.raises(InputError, match="there is no such folder") as error:
        from_picai(tmp_path / "images", labels=tmp_path / "absent")
    assert "absent" in str(error.value.where)
    with pytest.raises(InputError, match="the path is no folder"):
        from_picai(touch(tmp_path / "images.zip"))


def test_the_command_makes_a_table_whose_images_can_be_read(capsys, tmp_path):
    """Images as MetaImage and labels as NIfTI of the same grid; two patients have no lesion."""
    generator = np.random.default_rng(0)
    for number in range(5):
        for role in ("t2w", "adc", "hbv"):
            path = tmp_path / "images" / f"{number}" / f"{number}_7{number}_{role}.mha"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(generator.integers(0, 300, (8, 20, 20)).astype(np.int16), path, packed=True)
        grades = np.zeros((8, 20, 20), np.uint8)
        grades[3:5, 8:12, 8:12] = max(0, number - 1)  # the first two are negative, like most studies
        (tmp_path / "labels").mkdir(exist_ok=True)
        picture(grades, tmp_path / "labels" / f"{number}_7{number}.nii.gz")
    words = ["cases", "from-picai", str(tmp_path / "images"), "--labels", str(tmp_path / "labels")]
    with pytest.raises(SystemExit) as exit_:
        main([*words, "-o", str(tmp_path / "cases.csv")])
    assert not exit_.value.code, capsys.readouterr().err
    cases = read_cases(tmp_path / "cases.csv").cases
    assert len(cases) == 5
    for case in cases:
        require_same_grid(read_header(case.images["t2w"]), read_header(case.images["lesion"]))
        assert read_label(case.images["lesion"]).data.max() == max(0, int(case.patient) - 1)
    assert len({case.split for case in cases}) > 1  # two negatives in two splits would be leakage, were they images
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        main(["check", str(tmp_path / "cases.csv")])
    out, _ = capsys.readouterr()
    assert not exit_.value.code
    assert out == "5 cases, no fault found\n"


def picture(voxels, path, *, packed=False):
    image = SimpleITK.GetImageFromArray(voxels)
    image.SetSpacing((0.5, 0.5, 3.0))
    image.SetOrigin((-20.0, 10.0, 5.0))
    SimpleITK.WriteImage(image, str(path), useCompression=packed)
