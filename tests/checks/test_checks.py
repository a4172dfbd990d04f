"""Every fault of a dataset is found, in one go, and a good dataset has none."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medgen.cases import Case, CaseTable, read_cases
from medgen.checks import (
    ALL,
    Fault,
    check_cases,
    clean_hounsfield,
    looks_like_hounsfield,
    require_hounsfield,
)
from medgen.errors import InputError
from medgen.volume import Volume, to_ras, write_volume

SHAPE = (12, 14, 10)


def mri(seed=0):
    return np.random.default_rng(seed).gamma(2, 100, SHAPE).astype(np.float32)


def ct(seed=0):
    """Air with a block of soft tissue in fat and a bone in it."""
    values = np.random.default_rng(seed).normal(-1000, 10, SHAPE)
    values[2:10, 2:12, 2:8] += 900
    values[3:9, 3:11, 3:7] += 140
    values[5:7, 5:7, 4:6] += 900
    return values.astype(np.float32)


def label(value=1):
    values = np.zeros(SHAPE, np.float32)
    values[5:7, 5:7, 4:6] = value
    return values


class Dataset:
    """Three cases, all well, that a test can spoil."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.affine = np.diag([2.0, 2.0, 3.0, 1.0])
        self.cases: dict[str, tuple[str, dict[str, Path]]] = {}
        for seed, (name, split) in enumerate((("a", "train"), ("b", "val"), ("c", "test"))):
            self.cases[name] = (split, {})
            self.put(name, "t1", mri(seed))
            self.put(name, "ct", ct(seed))
            self.put(name, "label", label())

    def put(self, case, role, data, affine=None, unit="mm", codes=(1, 1)):
        image = nibabel.Nifti1Image(data, self.affine if affine is None else affine)
        image.header.set_xyzt_units(unit)
        image.set_sform(image.affine, codes[1])
        image.set_qform(image.affine, codes[0])
        path = self.folder / f"{case}_{role}.nii.gz"
        nibabel.save(image, path)
        self.cases[case][1][role] = path
        return path

    def check(self, **options) -> tuple[Fault, ...]:
        """Faults of images; three cases have one of split 'train', which is one of the table."""
        return tuple(fault for fault in self.check_all(**options) if fault.case != ALL)

    def check_all(self, **options) -> tuple[Fault, ...]:
        cases = tuple(Case(name, split, None, images) for name, (split, images) in self.cases.items())
        return check_cases(CaseTable(self.folder / "cases.csv", cases), **options)


@pytest.fixture
def dataset(tmp_path):
    return Dataset(tmp_path)


def only(faults, case, role, severity="error"):
    assert [(fault.case, fault.role, fault.severity) for fault in faults] == [(case, role, severity)]
    assert faults[0].fix
    return faults[0].what


def test_a_good_dataset_has_no_fault(dataset):
    assert dataset.check() == ()
    assert dataset.check(inputs=["t1"], target="ct", labels="label", classes=[1]) == ()


def test_every_fault_is_found_in_one_go(dataset):
    broken = mri(9)
    broken[0, 0, 0] = np.nan
    dataset.put("a", "t1", broken)
    dataset.put("a", "ct", ct(0) + 1024)
    dataset.put("b", "t1", np.full(SHAPE, 3, np.float32))
    dataset.put("b", "label", label(7))
    dataset.put("b", "ct", ct(2))
    dataset.cases["c"][1]["t1"].unlink()
    faults = dataset.check(classes=[1])
    found = {(fault.case, fault.role): fault.what for fault in faults}
    assert "1 voxels (0.06%) are NaN" in found["a", "t1"]
    assert "intercept is missing" in found["a", "ct"]
    assert "constant (3)" in found["b", "t1"]
    assert "7 (8 voxels); expected 0, 1" in found["b", "label"]
    assert "no such file" in found["c", "t1"]
    assert "leakage" in found["c", "ct"]
    assert len(faults) == 6
    assert {fault.severity for fault in faults} == {"error"}


def test_padding_of_a_ct_is_counted_and_padding_above_all_hu_is_a_fault(dataset):
    padded = ct(1)
    padded[:2] = -3024
    dataset.put("b", "ct", padded)
    what = only(dataset.check(), "b", "ct", "warning")
    assert what.startswith("padding: 280 of 1680 voxels (16.67%) below -1500 HU (lowest -3024), set to -1024 HU")
    padded[:2] = 64511
    dataset.put("b", "ct", padded)
    assert "280 of 1680 voxels (16.67%) lie above 31000 HU" in only(
        dataset.check(inputs=["t1"], target="ct"), "b", "ct"
    )


def test_damage_is_a_fault_and_the_rest_is_checked(dataset):
    path = dataset.cases["a"][1]["t1"]
    path.write_bytes(path.read_bytes()[:-400])
    dataset.put("c", "ct", np.zeros(SHAPE, np.float32))
    faults = dataset.check()
    assert [(fault.case, fault.role) for fault in faults] == [("a", "t1"), ("c", "ct")]
    assert "incomplete file" in faults[0].what


def test_nan_and_infinity(dataset):
    data = mri(5)
    data[:3] = np.inf
    dataset.put("a", "t1", data)
    assert only(dataset.check(), "a", "t1") == "420 voxels (25.00%) are NaN or infinite"
    dataset.put("a", "t1", np.full(SHAPE, np.nan, np.float32))
    assert "(100.00%)" in only(dataset.check(), "a", "t1")


@pytest.mark.parametrize("role", ["ct", "label"])
@pytest.mark.parametrize(
    ("shift", "message"), [(0.3, "0.60 mm apart (0.30 voxels"), (9, "18.00 mm apart"), (15, "no overlap")]
)
def test_roles_on_other_grids(dataset, role, shift, message):
    affine = dataset.affine.copy()
    affine[0, 3] = 2 * shift
    values = ct() if role == "ct" else label()
    dataset.put("a", role, values, affine)
    assert message in only(dataset.check(), "a", role)
    affine[0, 3] = 0.1
    dataset.put("a", role, values, affine)  # 0.05 voxels
    assert dataset.check() == ()


def test_other_shape_and_spacing(dataset):
    dataset.put("a", "label", label()[:-1])
    assert "11 x 14 x 10 and 12 x 14 x 10 voxels" in only(dataset.check(), "a", "label")
    dataset.put("a", "label", label(), np.diag([2.0, 2.0, 3.1, 1.0]))
    assert "mm apart" in only(dataset.check(), "a", "label")


def test_inputs_on_overlapping_grids_are_a_warning(dataset):
    affine = dataset.affine.copy()
    affine[0, 3] = 4
    dataset.put("a", "flair", mri(7), affine)
    dataset.put("b", "flair", mri(8))
    dataset.put("c", "flair", mri(9))
    assert "4.00 mm apart" in only(dataset.check(inputs=["t1", "flair"], target="ct"), "a", "flair", "warning")
    assert "4.00 mm apart" in only(dataset.check(), "a", "flair", "warning")  # the same without a recipe


@pytest.mark.parametrize(("role", "severity"), [("flair", "warning"), ("ct", "error"), ("label", "error")])
def test_the_grid_rule_does_not_depend_on_the_recipe(dataset, role, severity):
    """Whatever stands first in the table: the first input is the reference, and a CT is a target."""
    for seed, case in enumerate("abc"):
        dataset.put(case, "flair", mri(7 + seed))
    affine = dataset.affine.copy()
    affine[0, 3] = 4
    dataset.put("a", role, {"flair": mri(7), "ct": ct(), "label": label()}[role], affine)
    images = dataset.cases["a"][1]
    for order in (list(images), ["label", "ct", "t1", "flair"]):
        dataset.cases["a"] = ("train", {name: images[name] for name in order})
        found = dataset.check()
        only(found, "a", role, severity)
        assert found == dataset.check(inputs=["t1", "flair"], target="ct", labels="label")


def test_splits_that_leave_nothing_to_validate_on(dataset):
    def told():
        return [(fault.severity, fault.what.split(":")[0]) for fault in dataset.check_all() if fault.case == ALL]

    assert told() == [("warning", "there is one training subject")]
    dataset.cases["b"] = ("train", dataset.cases["b"][1])
    assert told() == [("warning", "no case has split 'val'")]
    dataset.cases = {name: ("test", images) for name, (_, images) in dataset.cases.items()}
    assert told() == [("warning", "no case has split 'train'")]


def test_a_file_is_named_by_its_path_in_the_table(dataset):
    (dataset.folder / "deep").mkdir()
    dataset.cases["a"][1]["t1"] = dataset.folder / "deep" / "gone.nii.gz"
    assert only(dataset.check(), "a", "t1").endswith(": deep/gone.nii.gz")


def test_a_target_that_is_resampled_is_a_warning_and_a_mask_never_is(dataset):
    affine = dataset.affine.copy()
    affine[0, 3] = 4
    roles = {"inputs": ["t1"], "target": "ct", "mask": "region"}
    for case in "abc":
        dataset.put(case, "region", label())
    dataset.put("a", "ct", ct(), affine)
    assert "4.00 mm apart" in only(dataset.check(**roles), "a", "ct")
    assert "resample_target" in dataset.check(**roles)[0].fix
    only(dataset.check(**roles, resample_target=True), "a", "ct", "warning")
    dataset.put("a", "ct", ct())
    dataset.put("a", "region", label(), affine)
    only(dataset.check(**roles, resample_target=True), "a", "region")


def test_a_mask_of_any_name_is_looked_at(dataset):
    for case in "abc":
        dataset.put(case, "region", label())
    roles = {"inputs": ["t1"], "target": "ct", "mask": "skin|region"}
    assert dataset.check(**roles) == ()
    dataset.put("a", "region", np.zeros(SHAPE, np.uint8))
    assert "mask is empty" in only(dataset.check(**roles), "a", "region")
    dataset.put("a", "region", label(0.4))
    assert "no integers" in only(dataset.check(**roles), "a", "region")
    dataset.cases["a"][1]["region"].unlink()
    assert "no such file" in only(dataset.check(**roles), "a", "region")
    del dataset.cases["a"][1]["region"]
    assert "no image for this role" in only(dataset.check(**roles), "a", "skin|region")


def test_another_axis_order_is_no_fault(dataset):
    volume = Volume(ct()[None], dataset.affine)
    flipped = Volume(volume.data[:, ::-1].transpose(0, 3, 1, 2), np.eye(4))
    matrix = np.array([[0, -2.0, 0, 22], [0, 0, 2, 0], [3, 0, 0, 0], [0, 0, 0, 1]])
    flipped = Volume(np.ascontiguousarray(flipped.data), matrix)
    assert np.array_equal(to_ras(flipped).data, volume.data)
    write_volume(flipped, dataset.cases["a"][1]["ct"], kind="scalar", overwrite=True)
    assert dataset.check() == ()


def test_units(dataset):
    dataset.put("a", "t1", mri(), unit="meter")
    assert "'meter', expected mm" in only(dataset.check(), "a", "t1")
    dataset.put("a", "t1", mri(), unit="unknown")
    dataset.put("a", "ct", ct(), unit="unknown")
    assert "no unit" in only(dataset.check(), "a", "t1, ct", "warning")
    small = np.diag([0.002, 0.002, 0.003, 1.0])
    for role, data in (("t1", mri()), ("ct", ct()), ("label", label())):
        dataset.put("a", role, data, small)
    faults = dataset.check()
    assert [fault.role for fault in faults] == ["t1", "ct", "label"]
    assert all("0.03 mm long" in fault.what for fault in faults)


def test_a_voxel_size_that_contradicts_the_affine_is_told(dataset):
    path = dataset.put("a", "t1", mri(), codes=(0, 1))
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[80:84] = np.float32(-2).tobytes()  # pixdim[1]
    path.write_bytes(gzip.compress(raw))
    what = only(dataset.check(), "a", "t1", "warning")
    assert what == "the voxel size (pixdim) is -2 x 2 x 3 mm, by the sform 2 x 2 x 3 mm: the sform is taken"


def test_no_world_position(dataset):
    dataset.put("a", "ct", ct(), codes=(0, 0))
    faults = dataset.check()
    assert [(fault.role, fault.severity) for fault in faults] == [("ct", "error"), ("ct", "warning")]
    assert all("no world position" in fault.what for fault in faults)


def test_leakage_is_found_under_another_name_and_packing(dataset):
    again = nibabel.load(dataset.cases["a"][1]["t1"])
    copy = dataset.folder / "renamed.nii"
    nibabel.save(nibabel.Nifti1Image(again.get_fdata(dtype=np.float32), again.affine, again.header), copy)
    dataset.cases["c"][1]["t1"] = copy
    what = only(dataset.check(), "c", "t1")
    assert what == "leakage: test has the same image as 't1' of 'a' in train"


def test_equal_images_within_a_split_or_a_case(dataset):
    dataset.cases["d"] = ("train", dict(dataset.cases["a"][1]))
    faults = dataset.check()
    assert [(fault.case, fault.role, fault.severity) for fault in faults] == [
        ("d", "t1", "warning"),
        ("d", "ct", "warning"),
    ]
    del dataset.cases["d"]
    dataset.put("a", "t2", mri(0))
    assert "same as 't1'" in only(dataset.check(), "a", "t2")


def test_equal_labels_and_constant_images_are_no_leakage(dataset):
    for case in "abc":
        dataset.put(case, "mask", np.ones(SHAPE, np.uint8))
    assert dataset.check() == ()


def test_labels(dataset):
    dataset.put("a", "label", np.zeros(SHAPE, np.uint8))
    assert "empty" in only(dataset.check(), "a", "label", "warning")
    dataset.put("a", "label", label(255))
    assert dataset.check() == ()
    assert "255 (8 voxels); expected 0, 1, 2" in only(dataset.check(classes=[1, 2]), "a", "label")
    dataset.put("a", "label", label(0.4))
    assert "no integers" in only(dataset.check(), "a", "label")
    dataset.put("a", "label", label())
    dataset.put("a", "mask", np.zeros(SHAPE, np.uint8))
    assert "mask is empty" in only(dataset.check(), "a", "mask")
    dataset.put("a", "mask", label(9))
    assert dataset.check(classes=[1]) == ()  # the classes are those of the label map
    dataset.put("a", "lesion", label(3))
    assert "3 (8 voxels)" in dataset.check(inputs=["t1"], labels="lesion", classes=[1])[0].what


def test_every_label_like_role_of_a_table_without_recipe_is_a_map(dataset):
    """Maps of lesions are empty in two splits alike, masks are constant over their box: neither is an image."""
    for name in dataset.cases:
        dataset.put(name, "lesion", label(5) if name == "a" else label(0))
        dataset.put(name, "zones", label(2))
        dataset.put(name, "mask", label())
        dataset.put(name, "gland", label())
    assert dataset.check() == ()
    assert dataset.check(classes=[1]) == ()  # the classes of the label map, not ISUP grades
    dataset.put("b", "zones", label(0))
    assert "label map is empty" in only(dataset.check(), "b", "zones", "warning")
    dataset.put("b", "zones", label(1))
    dataset.put("b", "gland", label(0))
    assert "mask is empty" in only(dataset.check(), "b", "gland")
    dataset.put("b", "gland", label())
    dataset.put("b", "lesion", label(0.5))
    assert "no integers: 0.5" in only(dataset.check(), "b", "lesion")


def test_required_roles(dataset):
    del dataset.cases["a"][1]["t1"]
    assert dataset.check() == ()
    assert "no image for this role" in only(dataset.check(inputs=["t1"], target="ct"), "a", "t1")
    dataset.put("a", "t1", mri(0))
    for case, severity in (("b", "error"), ("c", "warning")):
        images = dataset.cases[case][1]
        kept = images.pop("ct")
        faults = dataset.check(inputs=["pd|t1"], target="ct")
        only(faults, case, "ct", severity)
        images["ct"] = kept
    assert dataset.check(inputs=["flair|ct"]) == ()
    target = Case("z", "train", "target", {"t1": dataset.put("b", "t1", mri(30))})
    table = CaseTable(dataset.folder / "cases.csv", (target,))
    assert [fault for fault in check_cases(table, inputs=["t1"], labels="label") if fault.case != ALL] == []


def test_only_the_roles_of_a_recipe_are_looked_at(dataset):
    dataset.put("a", "pd", np.zeros(SHAPE, np.float32))
    assert dataset.check(inputs=["t1"], target="ct") == ()
    assert "constant" in only(dataset.check(), "a", "pd")
    dataset.put("a", "mask", np.zeros(SHAPE, np.uint8))
    assert dataset.check(inputs=["t1"], target="ct") == ()


def test_swapped_channels_are_suspected(dataset):
    dataset.put("a", "t1", ct(40))
    assert "look like the HU of a CT" in only(dataset.check(), "a", "t1", "warning")
    dataset.put("a", "ct", mri(40))
    for roles in ({}, {"inputs": ["t1"], "target": "ct"}):
        what = only(dataset.check(**roles), "a", "t1, ct")
        assert what == "'t1' has the values of a CT in HU and 'ct' has not: the two look swapped"


def test_choices_of_the_preparation_are_known(dataset):
    data = mri()
    data[0, 0, 0] = np.nan
    path = dataset.put("a", "t1", data)
    assert "NaN" in only(dataset.check(allow_nan=True), "a", "t1", "warning")
    dataset.put("a", "t1", np.full(SHAPE, np.nan, np.float32))
    only(dataset.check(allow_nan=True), "a", "t1")  # nothing is left to replace it by
    image = nibabel.Nifti1Image(mri(), dataset.affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(np.eye(4), 1)
    nibabel.save(image, path)
    assert "sform and qform disagree" in only(dataset.check(), "a", "t1")
    assert dataset.check(geometry="sform") == ()


def test_progress_is_told(dataset):
    told = []
    dataset.check(progress=lambda done, total, what: told.append((done, total, what)))
    assert told == [(0, 3, "a"), (1, 3, "b"), (2, 3, "c"), (3, 3, "")]


# ---------------------------------------------------------------- Hounsfield units


def volume(values):
    return Volume(np.asarray(values, np.float32)[None], np.eye(4), source="ct.nii.gz")


def test_hounsfield_units_pass():
    require_hounsfield(volume(ct()))
    padded = ct()
    padded[:4] = -3024
    require_hounsfield(volume(padded))
    body = np.random.default_rng(0).normal(40, 20, SHAPE)
    body[:2] = -100  # a crop without air still has fat
    require_hounsfield(volume(body))
    with_nan = ct()
    with_nan[0, 0, 0] = np.nan
    require_hounsfield(volume(with_nan))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.clip(ct() + 1024, 0, 4095), "looks? like raw values, the intercept is missing"),
        (np.where(ct() < -900, -2000, ct() + 1024), "intercept is missing"),
        ((ct() + 1024) / 4095, "looks normalised"),
        ((ct() + 1024) / 4095 * 2 - 1, "looks normalised"),
        (ct() - 1024, "subtracted twice"),
        (np.full(SHAPE, -3024.0), "nothing but padding"),
        (np.where(ct() < -900, 64511, ct()), r"lie above 31000 HU \(highest 64511\), which no CT measures"),
    ],
)
def test_what_is_not_hounsfield_is_refused(values, message):
    with pytest.raises(InputError, match=message) as error:
        require_hounsfield(volume(values))
    assert error.value.where == "ct.nii.gz"


def test_padding_becomes_air():
    values = ct()
    values[0, 0, :4] = (-3024, -2000, -1025, np.nan)
    before = values.copy()
    cleaned, note = clean_hounsfield(volume(values))
    assert cleaned.data[0, 0, 0, :3].tolist() == [-1024, -1024, -1024]
    assert np.isnan(cleaned.data[0, 0, 0, 3])
    assert cleaned.data.dtype == np.float32
    assert np.array_equal(cleaned.data[0, 1:], before[1:].clip(-1024))
    assert note.startswith("padding: 2 of ")
    assert "lowest -3024" in note
    assert np.array_equal(values, before, equal_nan=True)
    values[0, 0, :2] = -1030
    assert clean_hounsfield(volume(values))[1].startswith(f"{(values < -1024).sum()} of 1680 voxels")  # noise of air
    same, nothing = clean_hounsfield(cleaned)
    assert same is cleaned
    assert nothing == ""


def test_one_voxel_above_all_hu_is_found_whatever_the_sample():
    values = ct()
    values[7, 7, 7] = 32767
    with pytest.raises(InputError, match=r"1 of 1680 voxels .* lie above 31000 HU"):
        require_hounsfield(volume(values))
    values[7, 7, 7] = 30710  # metal on an extended scale
    require_hounsfield(volume(values))


def test_looking_like_a_ct():
    assert looks_like_hounsfield(ct())
    assert not looks_like_hounsfield(mri())
    assert not looks_like_hounsfield((mri() - 200) / 140)
    assert not looks_like_hounsfield(np.full(SHAPE, np.nan))


@pytest.mark.real_data
def test_real_scan_has_no_fault_and_its_mr_is_no_ct(real_data, tmp_path):
    folder = real_data / "mr_ct" / "porcine"
    path, row = tmp_path / "cases.csv", f"meat,test,{folder}/test_t2.nii.gz,{folder}/test_ct.nii.gz\n"
    path.write_text("case,split,t2,ct\n" + row)
    (alone,) = check_cases(read_cases(path), inputs=["t2"], target="ct")
    assert alone.role == "split"
    path.write_text("case,split,ct,t2\n" + row)
    faults = [fault for fault in check_cases(read_cases(path)) if fault.role != "split"]
    assert [(fault.role, fault.severity) for fault in faults] == [("t2, ct", "error")]
    assert "swapped" in faults[0].what
