"""The case table, and tables made from folders in layouts that others defined."""

import json
import pickle
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medgen.cases import (
    Case,
    assign_splits,
    from_bids,
    from_msd,
    from_nnunet,
    read_cases,
    write_cases,
)
from medgen.errors import InputError, UsageError


def table(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "cases.csv"
    path.write_bytes(text.encode(encoding))
    return path


def image(path: Path, shape=(3, 4, 5)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    picture = nibabel.Nifti1Image(values, np.eye(4))
    picture.header.set_xyzt_units("mm")
    nibabel.save(picture, path)
    return path


def test_a_table_is_read(tmp_path):
    path = table(
        tmp_path,
        "case,split,domain,t1,ct\n"
        "a, train ,source,a/t1.nii.gz,a/ct.nii.gz\n"
        "\n"
        "b,test,target,../b/t1.nii.gz,\n"
        "c,val,,/data/c.nii.gz,c.nii\n",
    )
    cases = read_cases(path)
    assert cases.path == path
    assert cases.roles == ("t1", "ct")
    assert [(case.name, case.split, case.domain) for case in cases.cases] == [
        ("a", "train", "source"),
        ("b", "test", "target"),
        ("c", "val", None),
    ]
    assert cases.cases[0].images == {"t1": tmp_path / "a/t1.nii.gz", "ct": tmp_path / "a/ct.nii.gz"}
    assert cases.cases[1].images == {"t1": tmp_path.parent / "b/t1.nii.gz"}
    assert cases.cases[2].images["t1"] == Path("/data/c.nii.gz")
    assert [case.name for case in cases.select(split="test")] == ["b"]
    assert [case.name for case in cases.select(domain="source")] == ["a"]
    assert [case.name for case in cases.select(split="train", domain="target")] == []


def test_a_table_of_a_spreadsheet_is_read(tmp_path):
    path = table(tmp_path, '\ufeffcase,split,t1\r\n"a","train","x y/t1.nii.gz"\r\n')
    assert read_cases(path).cases[0].images["t1"] == tmp_path / "x y/t1.nii.gz"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        ("case,split,t1\n", "no cases"),
        ("case;split;t1\na;train;x\n", "not separated by commas"),
        ("case,t1\na,x\n", "column 'split' is missing; the columns are case, t1"),
        ("name,split,t1\na,train,x\n", "column 'case' is missing"),
        ("case,split\na,train\n", "no column names a role"),
        ("case,split,t1,t1\na,train,x,y\n", "'t1' stands twice"),
        ("case,split,t1|t2\na,train,x\n", r"'t1\|t2' cannot be a role"),
        ("case,split,\na,train,x\n", "'' cannot be a role"),
        ("case,split,t1\na,training,x\n", "case 'a' in line 2 has the split 'training'"),
        ("case,split,t1\na,,x\n", "has the split ''"),
        ("case,split,domain,t1\na,train,hospital,x\n", "has the domain 'hospital'"),
        ("case,split,t1\na,train,x\na,train,y\n", r"1 case named twice: a \(train, train\)"),
        ("case,split,t1\na,train,x\nb,val,z\na,test,y\n", r"leakage between splits: .*a \(train, test\)"),
        (
            "case,patient,split,t1\na_1,a,train,x\nb,,val,z\na_2,a,test,y\n",
            r"leakage between splits: patient 'a' is in train \(a_1\) and test \(a_2\)",
        ),
        ("case,split,t1\n\n\na,train\n", "line 4 has 2 cells, the header has 3"),
        ("case,split,t1\na,train,x,y\n", "line 2 has 4 cells"),
        ("case,split,t1\n,train,x\n", "case name '' in line 2"),
        ("case,split,t1\n../a,train,x\n", "case name '../a' in line 2 cannot name a file"),
        ("case,split,t1\na b,train,x\n", "cannot name a file"),
        ("case,split,t1\na,train,\n", "case 'a' in line 2 has no image"),
        ("case,split,t1\na,train,C:\\data\\a.nii.gz\n", "cannot be read on this machine"),
        ("case,split,t1\na,train,data\\a.nii.gz\n", "cannot be read on this machine"),
        ("case,split,t1\na,train,https://host/a.nii.gz\n", "cannot be read on this machine"),
    ],
)
def test_a_wrong_table_is_refused_by_name(tmp_path, text, message):
    path = table(tmp_path, text)
    with pytest.raises(InputError, match=message) as error:
        read_cases(path)
    assert error.value.where == path
    assert str(error.value).count("\n") == 2


def test_encoding_and_absence(tmp_path):
    with pytest.raises(InputError, match="UTF-8"):
        read_cases(table(tmp_path, "case,split,t1\nä,train,x\n", "latin-1"))
    with pytest.raises(InputError, match="no case table"):
        read_cases(tmp_path / "other.csv")
    with pytest.raises(InputError, match="no case table"):
        read_cases(tmp_path)


def test_alternative_roles():
    case = Case("a", "train", None, {"swi": Path("/swi.nii"), "t1": Path("/t1.nii")})
    assert case.path("ge|swi") == Path("/swi.nii")
    assert case.path("t1|swi") == Path("/t1.nii")
    assert case.path("ge|flair") is None


def test_a_case_is_frozen_and_travels_to_workers():
    case = Case("a", "train", None, {"t1": Path("/t1.nii")})
    with pytest.raises(TypeError):
        case.images["t2"] = Path("/t2.nii")
    assert pickle.loads(pickle.dumps(case)) == case  # noqa: S301


def test_written_paths_are_relative_to_the_table(tmp_path):
    cases = (
        Case("a", "train", "source", {"t1": tmp_path / "out/a/t1.nii.gz", "ct": tmp_path / "elsewhere/ct.nii.gz"}),
        Case("b", "test", None, {"flair": tmp_path / "out/b,c/flair.nii.gz"}),
    )
    path = write_cases(cases, tmp_path / "out" / "cases.csv")
    assert path.read_text() == (
        "case,split,domain,t1,ct,flair\n"
        "a,train,source,a/t1.nii.gz,../elsewhere/ct.nii.gz,\n"
        'b,test,,,,"b,c/flair.nii.gz"\n'
    )
    assert read_cases(path).cases == cases
    write_cases([Case("a", "val", None, {"t1": tmp_path / "t1.nii"})], path)
    assert path.read_text() == "case,split,t1\na,val,../t1.nii\n"


def test_studies_of_a_patient(tmp_path):
    path = table(tmp_path, "case,split,patient,t2w\na_1,train,a,x.nii\na_2,train,a,y.nii\nb,test,,z.nii\n")
    cases = read_cases(path).cases
    assert [case.patient for case in cases] == ["a", "a", None]
    assert read_cases(path).roles == ("t2w",)
    assert pickle.loads(pickle.dumps(cases[0])).patient == "a"  # noqa: S301
    write_cases(cases, path)
    assert path.read_text().splitlines()[0] == "case,split,patient,t2w"
    assert read_cases(path).cases == cases
    torn = [cases[0], Case("a_2", "test", None, cases[1].images, "a")]
    with pytest.raises(InputError, match="leakage"):
        write_cases(torn, path)


def test_nothing_and_doubles_are_not_written(tmp_path):
    case = Case("a", "train", None, {"t1": tmp_path / "t1.nii"})
    for cases in ((), (case, case)):
        with pytest.raises(InputError):
            write_cases(cases, tmp_path / "cases.csv")
    assert list(tmp_path.iterdir()) == []


def test_splits_depend_on_names_alone():
    names = [f"case_{number:02d}" for number in range(20)]
    splits = assign_splits(names, validation=0.2, test=0.1)
    assert [list(splits.values()).count(split) for split in ("train", "val", "test")] == [14, 4, 2]
    assert assign_splits(names[::-1] + names[:5], validation=0.2, test=0.1) == splits
    # SHA-256 of "a" begins with ca, of "b" with 3e, of "c" with 2e: c is first.
    assert assign_splits(["a", "b", "c"], validation=0.3) == {"a": "train", "b": "train", "c": "val"}
    assert assign_splits(["a"], validation=0.5, test=0.4) == {"a": "train"}
    assert assign_splits(["a", "b"], validation=0.01) == {"a": "train", "b": "val"}
    assert set(assign_splits(names, validation=0).values()) == {"train"}
    for wrong in (-0.1, 1.0):
        with pytest.raises(UsageError):
            assign_splits(names, validation=wrong)


def nnunet(folder: Path, **description) -> Path:
    for name in ("p1", "p2", "p3"):
        for channel in ("0000", "0001"):
            image(folder / "imagesTr" / f"{name}_{channel}.nii.gz")
        image(folder / "labelsTr" / f"{name}.nii.gz")
    for channel in ("0000", "0001"):
        image(folder / "imagesTs" / f"q_9_{channel}.nii.gz")
    content = {"channel_names": {"0": "T2 W", "1": "ADC"}, "file_ending": ".nii.gz", **description}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def test_nnunet_folder(tmp_path):
    cases = from_nnunet(nnunet(tmp_path / "Dataset001_Prostate"), validation=0.3)
    assert [case.name for case in cases] == ["p1", "p2", "p3", "q_9"]
    assert sorted(case.split for case in cases) == ["test", "train", "train", "val"]
    assert cases[3].split == "test"
    assert list(cases[0].images) == ["t2_w", "adc", "label"]
    assert list(cases[3].images) == ["t2_w", "adc"]
    assert cases[0].images["adc"] == tmp_path / "Dataset001_Prostate/imagesTr/p1_0001.nii.gz"
    assert cases[0].images["label"].is_file()
    path = write_cases(cases, tmp_path / "cases.csv")
    assert read_cases(path).cases == cases
    assert "Dataset001_Prostate/imagesTr/p1_0000.nii.gz" in path.read_text()


def test_nnunet_folder_of_version_1(tmp_path):
    folder = nnunet(tmp_path, modality={"0": "T2", "1": "ADC"})
    content = json.loads((folder / "dataset.json").read_text())
    del content["channel_names"]
    (folder / "dataset.json").write_text(json.dumps(content))
    assert list(from_nnunet(folder)[0].images) == ["t2", "adc", "label"]


def test_wrong_nnunet_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"dataset\.json is missing"):
        from_nnunet(tmp_path)
    folder = nnunet(tmp_path / "a")
    image(folder / "imagesTr" / "p1_0002.nii.gz")
    with pytest.raises(InputError, match="no channel number") as error:
        from_nnunet(folder)
    assert "_0000.nii.gz, _0001.nii.gz" in error.value.fix
    with pytest.raises(InputError, match=r"'\.mha'"):
        from_nnunet(nnunet(tmp_path / "b", file_ending=".mha"))
    with pytest.raises(InputError, match="names no channels"):
        from_nnunet(nnunet(tmp_path / "c", channel_names={}))
    with pytest.raises(InputError, match="two channels have one name"):
        from_nnunet(nnunet(tmp_path / "d", channel_names={"0": "T1", "1": "t1"}))
    (tmp_path / "b" / "dataset.json").write_text("{")
    with pytest.raises(InputError, match="no JSON"):
        from_nnunet(tmp_path / "b")


def msd(folder: Path, channels: dict[str, str], shape: tuple[int, ...]) -> Path:
    for name in ("prostate_00", "prostate_01"):
        image(folder / "imagesTr" / f"{name}.nii.gz", shape)
        image(folder / "labelsTr" / f"{name}.nii.gz")
    image(folder / "imagesTs" / "prostate_02.nii.gz", shape)
    description = {
        "modality": channels,
        "training": [
            {"image": f"./imagesTr/prostate_0{n}.nii.gz", "label": f"./labelsTr/prostate_0{n}.nii.gz"} for n in range(2)
        ],
        "test": ["./imagesTs/prostate_02.nii.gz"],
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def test_voxels_that_nobody_annotated_are_no_class(tmp_path):
    labels = {"background": 0, "tumour": 1, "ignore": 2}
    with pytest.raises(InputError, match="label value 2 means 'ignore'") as error:
        from_nnunet(nnunet(tmp_path, labels=labels))
    assert "data.mask" in error.value.fix


def test_a_decathlon_image_may_be_a_file_for_each_channel(tmp_path):
    names = {kind: f"imagesTr/BRATS_7_{kind}.nii.gz" for kind in ("t2", "adc")}
    for name in (*names.values(), "labelsTr/BRATS_7.nii.gz"):
        image(tmp_path / name)
    listed = {"image": list(names.values())}
    description = {"modality": {"0": "T2", "1": "ADC"}, "training": [{**listed, "label": "labelsTr/BRATS_7.nii.gz"}]}
    (tmp_path / "dataset.json").write_text(json.dumps({**description, "test": [listed]}))
    first, second = from_msd(tmp_path)
    assert first.images == {
        "t2": tmp_path / names["t2"],
        "adc": tmp_path / names["adc"],
        "label": tmp_path / "labelsTr/BRATS_7.nii.gz",
    }
    assert (first.name, second.name) == ("BRATS_7", "BRATS_7")
    description["training"][0]["image"] = [names["t2"]]
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(InputError, match="1 images for 2 channels"):
        from_msd(tmp_path)


def test_decathlon_folder(tmp_path):
    cases = from_msd(msd(tmp_path, {"0": "CT"}, (3, 4, 5)))
    assert [case.name for case in cases] == ["prostate_00", "prostate_01", "prostate_02"]
    assert sorted(case.split for case in cases) == ["test", "train", "val"]
    assert cases[0].images == {
        "ct": tmp_path / "imagesTr/prostate_00.nii.gz",
        "label": tmp_path / "labelsTr/prostate_00.nii.gz",
    }
    assert list(cases[2].images) == ["ct"]


def test_decathlon_channels_are_split_on_request_only(tmp_path):
    folder = msd(tmp_path / "task", {"0": "T2", "1": "ADC"}, (3, 4, 5, 2))
    with pytest.raises(InputError, match=r"2 channels \(t2, adc\)") as error:
        from_msd(folder)
    assert "--split-into FOLDER" in error.value.fix
    from_msd(folder, split_into=tmp_path / "split")
    with pytest.raises(UsageError, match="the output exists"):
        from_msd(folder, split_into=tmp_path / "split")
    cases = from_msd(folder, split_into=tmp_path / "split", overwrite=True)
    description = json.loads((folder / "dataset.json").read_text())
    description["training"][0]["label"] = "volumes/prostate_00/prostate_00_adc.nii.gz"
    label = folder / description["training"][0]["label"]
    label.parent.mkdir(parents=True)
    label.write_bytes(b"drawn by hand")
    (folder / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(UsageError, match="the output is an input of the command"):
        from_msd(folder, split_into=folder / "volumes", overwrite=True)
    assert label.read_bytes() == b"drawn by hand"
    assert not (folder / "volumes/prostate_00/prostate_00_t2.nii.gz").exists()
    whole = nibabel.load(folder / "imagesTs/prostate_02.nii.gz").get_fdata()
    for number, role in enumerate(("t2", "adc")):
        part = nibabel.load(cases[2].images[role])
        assert part.shape == (3, 4, 5)
        assert np.array_equal(part.get_fdata(), whole[..., number])


def test_decathlon_description_cannot_lead_elsewhere(tmp_path):
    folder = msd(tmp_path / "task", {"0": "CT"}, (3, 4, 5))
    image(tmp_path / "secret.nii.gz")
    for path in ("../secret.nii.gz", str(tmp_path / "secret.nii.gz")):
        (folder / "dataset.json").write_text(json.dumps({"modality": {"0": "CT"}, "test": [path]}))
        with pytest.raises(InputError, match="outside the dataset"):
            from_msd(folder)
    (folder / "dataset.json").write_text(json.dumps({"modality": {"0": "CT"}}))
    with pytest.raises(InputError, match="lists no images"):
        from_msd(folder)


def test_bids_folder(tmp_path):
    for name in (
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_ce-gadolinium_T1w.nii.gz",
        "sub-01/anat/sub-01_FLAIR.nii",
        "sub-01/ct/sub-01_ct.nii.gz",
        "sub-01/func/sub-01_task-rest_bold.nii.gz",
        "sub-02/ses-a/anat/sub-02_ses-a_T2w.nii.gz",
        "sub-02/ses-b/anat/sub-02_ses-b_T2w.nii.gz",
        "sub-02/ses-b/anat/sub-02_ses-b_PDw.nii.gz",
        "derivatives/expert/sub-01/anat/sub-01_label-lesion_mask.nii.gz",
        "derivatives/expert/sub-01/anat/sub-01_space-MNI152NLin6Asym_dseg.nii.gz",
        "derivatives/expert/sub-01/anat/sub-01_desc-preproc_T1w.nii.gz",
        "derivatives/bet/sub-01/anat/sub-01_desc-brain_mask.nii.gz",
        "derivatives/expert/sub-02/ses-b/anat/sub-02_ses-b_dseg.nii.gz",
    ):
        image(tmp_path / name)
    cases = {case.name: case for case in from_bids(tmp_path, validation=0.5, test=0)}
    assert list(cases) == ["sub-01", "sub-02_ses-a", "sub-02_ses-b"]
    assert set(cases["sub-01"].images) == {"t1", "t1c", "flair", "ct", "label", "mask"}
    assert cases["sub-01"].images["label"].name == "sub-01_label-lesion_mask.nii.gz"
    assert cases["sub-01"].images["mask"].name == "sub-01_desc-brain_mask.nii.gz"
    assert set(cases["sub-02_ses-b"].images) == {"t2", "pd", "label"}
    assert cases["sub-02_ses-a"].split == cases["sub-02_ses-b"].split
    assert {case.split for case in cases.values()} == {"train", "val"}


def test_a_table_does_not_replace_one_of_its_images(tmp_path):
    """Whatever its name: here a link that ends in .csv."""
    image(tmp_path / "sub-01/anat/sub-01_T1w.nii.gz")
    (tmp_path / "cases.csv").hardlink_to(tmp_path / "sub-01/anat/sub-01_T1w.nii.gz")
    with pytest.raises(UsageError, match="the output is an input"):
        write_cases(from_bids(tmp_path, validation=0, test=0), tmp_path / "cases.csv")


def test_of_a_complex_bids_image_the_magnitude_is_taken(tmp_path):
    for part in ("mag", "phase", "real", "imag"):
        image(tmp_path / f"sub-01/anat/sub-01_part-{part}_T1w.nii.gz")
    image(tmp_path / "sub-02/anat/sub-02_part-phase_T1w.nii.gz")
    image(tmp_path / "sub-02/anat/sub-02_T2w.nii.gz")
    cases = {case.name: case.images for case in from_bids(tmp_path)}
    assert cases["sub-01"]["t1"].name == "sub-01_part-mag_T1w.nii.gz"
    assert list(cases["sub-02"]) == ["t2"]


def test_bids_images_that_compete_need_a_choice(tmp_path):
    for run in (1, 2):
        image(tmp_path / f"sub-01/anat/sub-01_run-{run}_T1w.nii.gz")
    with pytest.raises(InputError, match="case 'sub-01' has 2 images for t1"):
        from_bids(tmp_path)
    (case,) = from_bids(tmp_path, prefer="run-2")
    assert case.images["t1"].name == "sub-01_run-2_T1w.nii.gz"
    with pytest.raises(InputError, match="no sub-"):
        from_bids(tmp_path / "sub-01")
