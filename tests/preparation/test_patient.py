"""One patient: roles, grids, HU, NaN; and the way back."""

import json
from itertools import permutations, product

import nibabel
import numpy as np
import pytest

from medgen.config import build
from medgen.errors import InputError, UsageError
from medgen.preparation import Preparation, PreparationConfig, Prepared, Roles
from medgen.volume import Volume

RAS = np.diag([2.0, 2.0, 2.0, 1.0])


def head(shape=(20, 22, 18), affine=RAS, source="mr.nii.gz"):
    """MR: a box of tissue, brighter towards the first axis, in noise."""
    data = np.abs(np.random.default_rng(0).normal(0, 10, shape)).astype(np.float32)
    ramp = np.linspace(400, 800, shape[0] - 8)[:, None, None]
    data[4:-4, 4:-4, 4:-4] += ramp
    return Volume(data[None], affine, source=source)


def ct(shape=(20, 22, 18), affine=RAS):
    data = np.full(shape, -1000.0, np.float32)
    data[4:-4, 4:-4, 4:-4] = 40
    data[6:8, 6:-6, 6:-6] = 1200
    return Volume(data[None], affine, source="ct.nii.gz")


def preparation(**config):
    config.setdefault("spacing", None)
    return Preparation(Roles(inputs=("t1",), target="ct"), build(PreparationConfig, config))


def test_the_recipe_of_the_design():
    config = build(
        PreparationConfig,
        {"spacing": [2, 2, 2], "bias_correction": "n4", "intensity": {"t1": "zscore", "ct": {"window": [-1024, 2000]}}},
    )
    assert config.model_dump(mode="json") == {
        "spacing": [2.0, 2.0, 2.0],
        "bias_correction": "n4",
        "intensity": {"t1": "zscore", "ct": {"window": [-1024.0, 2000.0]}},
        "residual": {},
        "body_margin": 6.0,
        "nan": "error",
        "resample_target": False,
        "geometry": None,
    }
    assert build(PreparationConfig, config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    "values",
    [
        {"spacing": [0, 1, 1]},
        {"intensity": {"t1": "zscor"}},
        {"intensity": {"t1": {"window": [5, 5]}}},
        {"intensity": {"t1": {"percentiles": [-1, 50]}}},
        {"intensity": {"t1": {"window": [0, 1], "percentiles": [0, 1]}}},
        {"nan": "mean"},
        {"spcing": [1, 1, 1]},
    ],
)
def test_wrong_settings_are_refused(values):
    with pytest.raises(UsageError):
        build(PreparationConfig, values)


def test_an_intensity_of_an_unused_role_is_a_typo():
    with pytest.raises(UsageError, match="'tt1'"):
        preparation(intensity={"tt1": "zscore"})
    with pytest.raises(UsageError, match="no range"):
        preparation(intensity={"ct": "zscore"})
    with pytest.raises(UsageError):
        build(Roles, {"inputs": []})
    with pytest.raises(UsageError):
        build(Roles, {"inputs": ["t1", "t1"]})


def test_defaults_and_ranges():
    prepared = preparation().prepare({"t1": head(), "ct": ct()})
    assert prepared.image.shape == (1, 20, 22, 18)
    assert prepared.image.dtype == np.float32
    bare = preparation(body_margin=0).prepare({"t1": head(), "ct": ct()})
    assert np.array_equal(bare.image, prepared.image)  # intensities are those of the body alone
    body = prepared.image[0][bare.body]
    assert abs(body.mean()) < 0.2
    assert prepared.target[0, 0, 0, 0] == pytest.approx((-1000 - 488) / 1512)
    assert prepared.target.max() == pytest.approx((1200 - 488) / 1512)
    assert bare.body.sum() == pytest.approx(12 * 14 * 10, rel=0.1)
    assert prepared.body.sum() > 2 * bare.body.sum()  # 6 mm are three voxels on each side


def test_percentiles_of_the_body_become_minus_one_and_one():
    prepared = preparation(intensity={"t1": {"percentiles": [0, 100]}}).prepare_inputs({"t1": head()})
    body = prepared.image[0][prepared.body]
    assert (body.min(), body.max()) == pytest.approx((-1, 1), abs=1e-5)


def test_prediction_sees_what_training_saw():
    plan = preparation(spacing=[3, 3, 3])
    trained, predicted = plan.prepare({"t1": head(), "ct": ct()}), plan.prepare_inputs({"t1": head(), "ct": ct()})
    assert np.array_equal(trained.image, predicted.image)
    assert predicted.target is None


def test_hounsfield_and_network_range_are_inverse():
    plan = preparation()
    values = np.array([-1024.0, -1000, 0, 40, 2000], np.float32)
    np.testing.assert_allclose(plan.target_from_network(plan.target_to_network(values)), values, atol=1e-3)
    assert plan.target_to_network(np.array([5000.0])) == 1


def test_as_dict_is_plain_and_complete():
    plan = preparation(spacing=[1, 2, 3], bias_correction="n4", intensity={"t1": {"percentiles": [1, 99]}}, nan="zero")
    copy = Preparation.from_dict(json.loads(json.dumps(plan.as_dict())))
    assert copy.as_dict() == plan.as_dict()
    earlier = {key: value for key, value in plan.as_dict().items() if key != "quiet_air"}
    assert copy.quiet_air
    assert not Preparation.from_dict(earlier).quiet_air
    assert copy.config == plan.config
    assert copy.roles == plan.roles


@pytest.mark.parametrize("spacing", [None, (1.7, 2.3, 2.5)])
def test_back_onto_the_patients_own_grid_from_all_48_orders(spacing):
    shape = (9, 10, 11)
    ramp = (np.indices(shape, np.float32) * np.array([1, 20, 300])[:, None, None, None]).sum(axis=0)
    tilt = np.radians(20)
    oblique = np.eye(4)
    oblique[:2, :2] = [[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]
    plan = preparation(spacing=spacing, intensity={"t1": {"window": [-100, 4000]}})
    for order in permutations(range(3)):
        for signs in product([1, -1], repeat=3):
            moves = np.column_stack([order, signs])
            turned = nibabel.apply_orientation(ramp, moves)
            affine = oblique @ np.diag([2.0, 2.1, 2.2, 1]) @ nibabel.orientations.inv_ornt_aff(moves, shape)
            volume = Volume(np.ascontiguousarray(turned)[None], np.asarray(affine, np.float32), 1, 2, "x.nii")
            prepared = plan.prepare_inputs({"t1": volume})
            assert nibabel.aff2axcodes(prepared.affine) == ("R", "A", "S")
            values = (prepared.image + 1) / 2 * 4100 - 100
            back = plan.restore(values, prepared)
            assert np.array_equal(back.affine, volume.affine)
            assert (back.shape, back.qform_code, back.sform_code) == (volume.shape, 1, 2)
            inner = (0, *(slice(3, -3),) * 3)
            np.testing.assert_allclose(back.data[inner], volume.data[inner], atol=1e-2)


def test_beyond_the_prepared_grid_stands_the_fill():
    prepared = Prepared(
        image=np.zeros((1, 4, 4, 4), np.float32),
        body=np.ones((4, 4, 4), bool),
        affine=np.eye(4),
        reference=Volume(np.zeros((1, 8, 4, 4)), np.eye(4)).grid,
    )
    back = preparation().restore(np.full((1, 4, 4, 4), 7.0, np.float32), prepared, fill=-1024)
    assert (back.data[0, :4] == 7).all()
    assert (back.data[0, 4:] == -1024).all()


@pytest.mark.parametrize(("moved", "said"), [(0.1, False), (0.6, True), (60.0, None)])
def test_grids_that_differ(moved, said):
    affine = RAS.copy()
    affine[0, 3] = moved
    images = {"t1": head(), "ct": ct(affine=affine)}
    if said is None:
        with pytest.raises(InputError, match="do not overlap") as caught:
            preparation().prepare(images)
        assert "mr.nii.gz" in str(caught.value)
        assert "ct.nii.gz" in str(caught.value)
        return
    prepared = preparation(resample_target=True).prepare(images)
    assert prepared.notes == (
        ("ct: resampled to the grid of the first input, 100% of which it covers",) if said else ()
    )
    direct = preparation().prepare({"t1": head(), "ct": ct()})
    assert np.array_equal(prepared.target, direct.target) == (not said)


def test_another_spacing_lands_at_the_same_place():
    fine = np.diag([1.0, 1.0, 1.0, 1.0])
    fine[:3, 3] = -0.5  # its voxel pairs are centred on those of 2 mm
    data = np.repeat(np.repeat(np.repeat(ct().data[0], 2, 0), 2, 1), 2, 2)
    images = {"t1": head(), "ct": Volume(data[None], fine, source="ct.nii.gz")}
    prepared = preparation(resample_target=True).prepare(images)
    direct = preparation().prepare({"t1": head(), "ct": ct()})
    inside = np.s_[0, 9:15, 6:-6, 6:-6]
    np.testing.assert_allclose(prepared.target[inside], direct.target[inside], atol=1e-5)


@pytest.mark.parametrize("role", ["ct", "lesion", "region"])
def test_truth_on_another_grid_is_refused_with_both_names_and_the_distance(role):
    plan = Preparation(
        Roles(inputs=("t1", "t2"), target="ct", labels="lesion", mask="region"), PreparationConfig(spacing=None)
    )
    moved = RAS.copy()
    moved[0, 3] = 0.6
    images = {"t1": head(), "t2": head(affine=moved, source="t2.nii.gz"), "ct": ct()}
    whole = np.zeros((1, 20, 22, 18), np.uint8)
    whole[0, 8:12, 8:12, 8:12] = 1
    images |= {name: Volume(whole, RAS, source=f"{name}.nii.gz") for name in ("lesion", "region")}
    assert [note[:14] for note in plan.prepare(images).notes] == ["t2: resampled "]  # a further input is brought there
    images[role] = Volume(images[role].data, moved, source=f"{role}.nii.gz")
    with pytest.raises(InputError, match=r"0\.60 mm apart \(0\.30 voxels, allowed 0\.1\)") as caught:
        plan.prepare(images)
    assert caught.value.where == f"{role}.nii.gz and mr.nii.gz"
    assert ("resample_target" in caught.value.fix) == (role == "ct")
    images[role] = Volume(images[role].data[:, 1:], RAS, source=f"{role}.nii.gz")
    with pytest.raises(InputError, match="19 x 22 x 18 and 20 x 22 x 18 voxels"):
        plan.prepare(images)


def test_no_world_position_cannot_be_combined():
    lost = Volume(ct().data, RAS, 0, 0, "lost.nii.gz")
    with pytest.raises(InputError, match="no world position"):
        preparation().prepare({"t1": head(), "ct": lost})
    alone = Volume(head().data, RAS, 0, 0, "lost.nii.gz")
    assert preparation().prepare_inputs({"t1": alone}).image.shape[0] == 1


def test_nan_is_an_error_until_a_rule_is_chosen():
    data = head().data.copy()
    data[0, 5, 5, 5], data[0, 6, 6, 6] = np.nan, np.inf
    broken = Volume(data, RAS, source="mr.nii.gz")
    with pytest.raises(InputError, match="2 voxels"):
        preparation().prepare_inputs({"t1": broken})
    for rule in ("zero", "min", "median"):
        prepared = preparation(nan=rule, spacing=[3, 3, 3]).prepare_inputs({"t1": broken})
        assert np.isfinite(prepared.image).all()
        assert rule in prepared.notes[0]


@pytest.mark.parametrize(
    ("volume", "says"),
    [
        (Volume(np.zeros((1, 20, 22, 18), np.float32), RAS, source="a"), "empty: 0 throughout"),
        (Volume(ct().data + 1024, RAS, source="a"), "intercept"),
        (Volume(ct().data / 3000, RAS, source="a"), "normalised"),
    ],
)
def test_images_that_are_not_what_they_should_be(volume, says):
    role, rest = ("t1", {}) if says.startswith("empty") else ("ct", {"t1": head()})
    with pytest.raises(InputError, match=says):
        preparation().prepare({role: volume, **rest})


def test_an_image_of_another_unit_is_refused_as_by_the_check():
    metres = Volume(head().data, np.diag([0.001, 0.001, 0.001, 1]) @ RAS, source="t1.nii.gz")
    with pytest.raises(InputError, match="mm long: the unit of its voxel size cannot be the millimetre"):
        preparation().prepare({"t1": metres})


def test_padding_of_the_scanner_is_air():
    data = ct().data.copy()
    data[:, :2] = -3024
    prepared = preparation().prepare({"t1": head(), "ct": Volume(data, RAS, source="ct.nii.gz")})
    assert prepared.target.min() == -1
    assert "set to -1024" in prepared.notes[0]
    data[:, :2] = 64511
    with pytest.raises(InputError, match="lie above 31000 HU"):
        preparation().prepare({"t1": head(), "ct": Volume(data, RAS, source="ct.nii.gz")})


def test_a_missing_input_lists_what_is_expected():
    plan = Preparation(Roles(inputs=("t2w", "adc")))
    with pytest.raises(InputError, match="adc") as caught:
        plan.prepare_inputs({"t2w": head()})
    assert "t2w, adc" in caught.value.fix


def test_either_of_two_roles_has_one_rule():
    plan = Preparation(Roles(inputs=("ge|swi",)), build(PreparationConfig, {"intensity": {"swi": {"window": [0, 9]}}}))
    assert plan.intensity("ge|swi").window == (0, 9)


def test_thin_stacks_are_prepared():
    for slices in (1, 2):
        volume = Volume(head((24, 24, 20)).data[..., 5 : 5 + slices], np.diag([0.4, 0.4, 5, 1]), source="thin")
        prepared = preparation(spacing=[0.8, 0.8, 5]).prepare_inputs({"t1": volume})
        assert prepared.image.shape == (1, 12, 12, slices)
        assert preparation().restore(prepared.image, prepared).shape == volume.shape


@pytest.mark.real_data
def test_a_real_scan(real_data):
    folder = real_data / "mr_ct" / "porcine"
    plan = Preparation(Roles(inputs=("t2",), target="ct"), PreparationConfig(body_margin=0))
    prepared = plan.prepare(plan.read({"t2": folder / "test_t2.nii.gz", "ct": folder / "test_ct.nii.gz"}))
    hounsfield = plan.target_from_network(prepared.target)[0]
    found = prepared.body
    assert np.median(hounsfield[found]) == pytest.approx(40, abs=60)
    assert (hounsfield[found] > -300).mean() > 0.95
    assert plan.restore(prepared.target, prepared).axis_codes == ("L", "P", "S")
