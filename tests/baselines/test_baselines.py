"""Baselines: what they fit, where they look, and that they repeat."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, laplace

from medgen.baselines import regressors as baselines
from medgen.baselines.regressors import BoostingConfig, ConstantBaseline, boosted_trees, fit_boosting
from medgen.errors import InputError, ModelError
from medgen.inference import boosting
from medgen.inference.boosting import BoostedEstimator
from medgen.inference.neighbourhood import NEIGHBOURHOOD, VOXELWISE, Features

SMALL = BoostingConfig(voxels=4000, trees=40)


@dataclass
class Stored:
    name: str
    image: np.ndarray
    target: np.ndarray | None
    mask: np.ndarray | None = None


def constant_case(name, values, mask=None):
    target = np.array(values, dtype=np.float32).reshape(1, -1, 1, 1)
    return Stored(name, np.zeros_like(target), target, None if mask is None else np.array(mask).reshape(-1, 1, 1))


def smooth_case(seed, shape=(16, 14, 12)):
    """A target that depends on a voxel's intensity and on the mean around it."""
    image = np.random.default_rng(seed).normal(size=(2, *shape)).astype(np.float32)
    around = gaussian_filter(image[1], 2.0)
    target = np.clip(0.3 * image[0] + 1.5 * around, -1, 1)[None]
    return Stored(f"case{seed}", image, target, np.ones(shape, dtype=np.uint8))


def test_constant_is_the_median_over_all_masks():
    cases = [constant_case("a", [-1, 0.25, 0.5, 1], [0, 1, 1, 1]), constant_case("b", [0.75, 0.75])]
    fitted = ConstantBaseline().fit(cases)
    # 0.25, 0.5, 0.75, 0.75, 1: the -1 is outside its mask
    assert fitted.value == pytest.approx(0.75, abs=1 / 65535)
    prediction = fitted.predict(np.zeros((3, 4, 5, 6), dtype=np.float32))
    assert prediction.shape == (1, 4, 5, 6)
    assert np.ptp(prediction) == 0


def test_no_constant_has_a_lower_mean_absolute_error():
    case = smooth_case(1)
    value = ConstantBaseline().fit([case]).value
    errors = {shift: np.abs(case.target - value - shift).mean() for shift in (-0.05, 0.0, 0.05)}
    assert min(errors, key=errors.get) == 0


def test_voxelwise_learns_from_intensity_and_surroundings():
    training, unseen = [smooth_case(1), smooth_case(2)], smooth_case(3)
    prediction = fit_boosting(training, SMALL).predict(unseen.image)
    assert prediction.shape == unseen.target.shape
    assert prediction.dtype == np.float32
    constant = ConstantBaseline().fit(training).predict(unseen.image)
    error, baseline = (np.abs(p - unseen.target).mean() for p in (prediction, constant))
    assert error < 0.35 * baseline
    # without the surroundings it cannot know the second term
    blind = fit_boosting(training, SMALL.model_copy(update={"features": Features(sigmas=(0.0,))})).predict(unseen.image)
    assert np.abs(blind - unseen.target).mean() > 1.5 * error


def test_voxelwise_repeats_with_its_seed():
    case = smooth_case(1)
    config = BoostingConfig(voxels=500, trees=5)
    first, again, other = (fit_boosting([case], config, seed=s).predict(case.image) for s in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("features", [VOXELWISE, NEIGHBOURHOOD])
def test_slabs_give_the_same_features_as_the_whole_volume(monkeypatch, features):
    image = np.random.default_rng(0).normal(size=(2, 70, 5, 4)).astype(np.float32)
    case = Stored("a", image, np.tanh(image[:1]))
    fitted = fit_boosting([case], BoostingConfig(trees=5, features=features))
    whole = fitted.predict(image)
    monkeypatch.setattr(boosting, "_PLANES", 3)
    monkeypatch.setattr(boosting, "_VOXELS", 1)
    np.testing.assert_array_equal(fitted.predict(image), whole)
    parts = [np.stack([*features.of(image, planes)], -1) for planes in (slice(0, 3), slice(3, 41), slice(41, 70))]
    np.testing.assert_array_equal(np.concatenate(parts), np.stack([*features.of(image, slice(0, 70))], -1))


def test_features_by_hand():
    image = np.random.default_rng(0).normal(size=(1, 20, 18, 16)).astype(np.float32)
    voxel, features = image[0], Features(sigmas=(0, 1), shifts=((0, 2), (1, 3)), edges=(1,), boxes=(3,))
    found = [*features.of(image, slice(0, 20))]
    assert len(found) == features.count == 2 + 12 + 2 + 2
    smooth = gaussian_filter(voxel, 1)
    np.testing.assert_array_equal(found[0], voxel)
    np.testing.assert_array_equal(found[1], smooth)
    np.testing.assert_array_equal(found[2][5:], voxel[3:-2])  # two before along x
    assert (found[2][0] == voxel[0]).all()  # the first plane goes on
    np.testing.assert_array_equal(found[7][:, :, :-2], voxel[:, :, 2:])  # two behind along z
    np.testing.assert_array_equal(found[11][:, :-3], smooth[:, 3:])  # three behind along y, smoothed
    slope = np.stack(np.gradient(smooth))[:, 1:-1, 1:-1, 1:-1]
    np.testing.assert_allclose(found[14][1:-1, 1:-1, 1:-1], np.sqrt((slope**2).sum(axis=0)), rtol=1e-4)
    np.testing.assert_allclose(found[15][1:-1, 1:-1, 1:-1], laplace(smooth)[1:-1, 1:-1, 1:-1], atol=1e-5)
    assert found[16][4, 5, 6] == voxel[3:6, 4:7, 5:8].min()
    assert found[17][4, 5, 6] == voxel[3:6, 4:7, 5:8].max()


def test_trees_that_read_the_neighbourhood_know_what_smoothing_hides():
    """The target is the intensity three voxels behind: no smoothing at the voxel itself tells it."""
    rng = np.random.default_rng(0)
    images = [gaussian_filter(rng.normal(size=(1, 24, 22, 20)), (0, 1, 1, 1)).astype(np.float32) * 5 for _ in range(2)]
    training, unseen = (Stored(str(n), image, np.tanh(np.roll(image, -3, axis=1))) for n, image in enumerate(images))
    errors = {}
    for features in (VOXELWISE, NEIGHBOURHOOD):
        estimate = fit_boosting([training], SMALL.model_copy(update={"features": features})).predict(unseen.image)
        errors[features] = np.abs(estimate - unseen.target)[:, :-3].mean()
    assert errors[NEIGHBOURHOOD] < 0.5 * errors[VOXELWISE]


def tissues(seed, *, level=0.0):
    """Two tissues that intensity tells exactly, up to the ``level`` of the patient, and texture nearly."""
    target = np.repeat(np.array([-0.3, 0.5], np.float32), 12 * 14 * 14).reshape(1, 24, 14, 14)
    smooth = target < 0
    image = np.where(smooth, 0.0, 0.2) + level + np.random.default_rng(seed).normal(0, np.where(smooth, 0.01, 0.05))
    return Stored(f"case{seed}", image.astype(np.float32), target)


def test_trees_of_varied_copies_do_not_rely_on_the_level_of_the_patients_they_know():
    training, stranger = [tissues(seed) for seed in range(3)], tissues(9, level=0.15)
    plain = BoostingConfig(voxels=6000, trees=60, features=Features(sigmas=(0.0,), edges=(1.0,)))
    errors = [
        np.abs(fit_boosting(training, config).predict(stranger.image) - stranger.target).mean()
        for config in (plain, plain.model_copy(update={"copies": 10, "shift": 2.0}))
    ]
    assert errors[0] > 0.3
    assert errors[1] < 0.3 * errors[0]


def test_copies_are_varied_by_channel_and_one_copy_is_the_image():
    image = np.random.default_rng(0).normal(size=(2, 6, 5, 4)).astype(np.float32)
    where, generator = np.ones(image.shape[1:], bool), np.random.default_rng(1)
    assert baselines._varied(image, BoostingConfig(), where, generator) is image
    varied = baselines._varied(image, BoostingConfig(copies=2), where, generator)
    lines = [np.polyfit(channel.ravel(), other.ravel(), 1) for channel, other in zip(image, varied, strict=True)]
    assert np.abs(varied - image).max() > 0
    assert not np.allclose(lines[0], lines[1])
    for line, channel, other in zip(lines, image, varied, strict=True):
        np.testing.assert_allclose(np.polyval(line, channel), other, atol=1e-5)


def test_voxels_are_drawn_by_the_weight_of_their_tissue():
    target = np.repeat(np.array([-1.0, -0.3, 0.5], np.float32), 400).reshape(1, 12, 10, 10)
    case, everywhere = Stored("a", np.zeros_like(target), target), np.ones(target.shape[1:], bool)
    config = BoostingConfig(tissue_weights=(0.0, 2.0, 1.0))
    _, drawn = baselines._samples(case, 1000, config, everywhere, np.random.default_rng(0))
    assert set(drawn.tolist()) == {np.float32(-0.3), 0.5}
    assert np.mean(drawn < 0) == pytest.approx(2 / 3, abs=0.05)
    _, equal = baselines._samples(case, 1200, BoostingConfig(), everywhere, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(equal), target.ravel())


def test_of_a_case_without_the_tissues_that_count_nothing_is_drawn():
    target = np.full((1, 8, 8, 8), 0.5, np.float32)
    bony, soft = Stored("a", target, target), Stored("b", target, np.full_like(target, -0.3))
    config = BoostingConfig(tissue_weights=(0.0, 1.0, 0.0), trees=3)
    estimate = fit_boosting([bony, soft], config).predict(target)
    np.testing.assert_allclose(estimate, -0.3, atol=1e-6)
    with pytest.raises(InputError, match="no voxel"):
        fit_boosting([bony], config)


def test_mask_limits_the_prediction():
    case = smooth_case(1)
    mask = np.zeros(case.image.shape[1:], dtype=bool)
    mask[4:8] = True
    fitted = fit_boosting([case], SMALL)
    limited, full = fitted.predict(case.image, mask), fitted.predict(case.image)
    np.testing.assert_array_equal(limited[0, mask], full[0, mask])
    assert (limited[0, ~mask] == -1).all()


def test_training_looks_into_the_masks_only():
    case = smooth_case(1)
    mask = np.zeros(case.image.shape[1:], dtype=np.uint8)
    mask[:8] = 1
    spoiled = case.target.copy()
    spoiled[:, 8:] = np.nan
    fit_boosting([Stored("a", case.image, spoiled, mask)], SMALL)
    with pytest.raises(InputError, match="not finite"):
        fit_boosting([Stored("a", case.image, spoiled, None)], SMALL)


def test_shares_are_in_proportion_and_never_above_a_mask():
    assert baselines._shares([10, 30, 60], 10) == [1, 3, 6]
    assert baselines._shares([10, 30, 60], 1000) == [10, 30, 60]
    shares = baselines._shares([1, 1, 1, 997], 999)
    assert sum(shares) == 999
    assert all(share <= size for share, size in zip(shares, [1, 1, 1, 997], strict=True))


@pytest.mark.parametrize("fit", [lambda cases: ConstantBaseline().fit(cases), fit_boosting])
def test_what_cannot_be_fitted(fit):
    image = np.zeros((1, 2, 2, 2), dtype=np.float32)
    with pytest.raises(InputError, match="'a' has no target"):
        fit([Stored("a", image, None)])
    with pytest.raises(InputError, match="no voxel"):
        fit([Stored("a", image, image, np.zeros((2, 2, 2)))])


def test_a_constant_that_was_not_fitted():
    with pytest.raises(RuntimeError, match="fit"):
        ConstantBaseline().predict(np.zeros((1, 2, 2, 2), dtype=np.float32))


def values_of(trees, samples):
    """What the trees say of the rows of ``samples``."""
    return trees.predict(np.stack([trees.places(column, values) for column, values in enumerate(samples.T)]))


@pytest.mark.parametrize(("leaves", "trees", "features"), [(2, 7, 1), (31, 25, 4), (32, 10, 3)])
def test_bit_masks_reach_the_leaves_that_scikit_learn_reaches(leaves, trees, features):
    from sklearn.ensemble import HistGradientBoostingRegressor

    generator = np.random.default_rng(leaves)
    # Rounded, so that many values lie on a threshold or share a bin.
    samples = generator.normal(size=(3000, features)).round(1).astype(np.float32)
    targets = np.sin(samples.sum(axis=1) * 3) + generator.normal(0, 0.1, 3000)
    model = HistGradientBoostingRegressor(max_iter=trees, max_leaf_nodes=leaves, min_samples_leaf=1).fit(
        samples, targets
    )
    new = np.concatenate([generator.normal(0, 3, size=(70_000, features)).astype(np.float32), samples])
    np.testing.assert_allclose(values_of(boosted_trees(model, features), new), model.predict(new), atol=1e-5)


@pytest.mark.parametrize("leaves", [2, 3, 8, 31, 32])
def test_a_value_on_a_threshold_goes_where_scikit_learn_sends_it(leaves):
    from sklearn.ensemble import HistGradientBoostingRegressor

    generator = np.random.default_rng(leaves)
    samples = generator.normal(size=(500, 2))
    targets = np.sin(3 * samples.sum(axis=1))
    options = {"max_iter": 15, "max_leaf_nodes": leaves, "min_samples_leaf": 1, "max_bins": 255}
    model = HistGradientBoostingRegressor(**options).fit(samples, targets)
    nodes = np.concatenate([tree.nodes for (tree,) in model._predictors])
    edges = np.unique(nodes["num_threshold"][nodes["is_leaf"] == 0])
    assert max(tree.get_n_leaf_nodes() for (tree,) in model._predictors) == leaves
    exact = np.stack(np.meshgrid(edges[::3], edges[::3]), -1).reshape(-1, 2)
    near = np.concatenate([exact, np.nextafter(exact, np.inf), np.nextafter(exact, -np.inf)])
    trees = boosted_trees(model, 2)
    for rows in (near, near.astype(np.float32)):  # float32 rounds them to either side
        found = values_of(trees, rows)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, model.predict(rows), rtol=0, atol=1e-6)


def test_a_tree_of_one_leaf_among_others():
    from sklearn.ensemble import HistGradientBoostingRegressor

    samples = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    # With a rate of 1 the first trees leave nothing that a split would reduce.
    options = {"max_iter": 6, "min_samples_leaf": 1, "learning_rate": 1.0, "early_stopping": False}
    model = HistGradientBoostingRegressor(**options).fit(samples, (samples[:, 0] > 0).astype(float))
    leaves = [tree.get_n_leaf_nodes() for (tree,) in model._predictors]
    assert min(leaves) == 1 < max(leaves)
    np.testing.assert_allclose(values_of(boosted_trees(model, 2), samples), model.predict(samples), rtol=0, atol=1e-6)


def test_a_target_that_is_one_value_has_trees_of_one_leaf():
    image = np.random.default_rng(0).normal(size=(1, 8, 8, 8)).astype(np.float32)
    fitted = fit_boosting([Stored("a", image, np.full_like(image, 0.25))], SMALL)
    np.testing.assert_allclose(fitted.predict(image), 0.25, atol=1e-6)


def test_an_estimator_is_the_same_from_its_file(tmp_path):
    case = smooth_case(1)
    fitted = fit_boosting([case], SMALL)
    note = fitted.save(tmp_path)
    loaded = BoostedEstimator.load(tmp_path, note["sha256"])
    np.testing.assert_array_equal(loaded.predict(case.image), fitted.predict(case.image))
    with pytest.raises(ModelError, match="read 2 channels and were given 1"):
        loaded.predict(case.image[:1])
    file = tmp_path / boosting.FILE
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(ModelError, match="damaged"):
        BoostedEstimator.load(tmp_path, note["sha256"])


def test_a_file_of_an_earlier_version_names_the_smoothing_alone(tmp_path):
    from safetensors.numpy import load_file, save_file

    case = smooth_case(1)
    fitted = fit_boosting([case], BoostingConfig(voxels=500, trees=2))
    fitted.save(tmp_path)
    arrays = load_file(tmp_path / boosting.FILE)
    for later in ("shifts", "edges", "boxes"):
        arrays.pop(later)
    save_file(arrays, tmp_path / boosting.FILE)
    loaded = BoostedEstimator.load(tmp_path)
    assert loaded.features == VOXELWISE
    np.testing.assert_array_equal(loaded.predict(case.image), fitted.predict(case.image))


def test_the_mean_has_the_lower_squared_error():
    case = constant_case("a", [-1, 0, 0, 0.5])
    assert ConstantBaseline("mean").fit([case]).value == pytest.approx(-0.125, abs=1 / 65535)
    assert ConstantBaseline("median").fit([case]).value == pytest.approx(0.0, abs=1 / 65535)


@pytest.mark.parametrize(
    "damage",
    [
        "missing",
        "cut",
        "text",
        "lacks values",
        "lacks sigmas",
        "lacks base",
        "lacks shifts",
        "lacks boxes",
        "negative",
        "another number",
    ],
)
def test_a_damaged_file_of_the_trees_is_refused_even_without_its_hash(tmp_path, damage):
    from safetensors.numpy import load_file, save_file

    fit_boosting([smooth_case(1)], BoostingConfig(voxels=500, trees=2)).save(tmp_path)
    file = tmp_path / boosting.FILE
    if damage == "missing":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-200])
    elif damage == "text":
        file.write_text("no tensors")
    else:
        arrays = load_file(file)
        if damage.startswith("lacks"):
            arrays.pop(damage.removeprefix("lacks "))
        else:
            arrays["sigmas"] = np.array({"negative": [-1.0], "another number": [0.0, 1.0, 2.0]}[damage])
        save_file(arrays, file)
    with pytest.raises(ModelError, match=r"context\.safetensors"):
        BoostedEstimator.load(tmp_path)


def test_slabs_of_a_masked_volume_are_those_of_the_whole(monkeypatch):
    case = smooth_case(1)
    mask = np.random.default_rng(0).random(case.image.shape[1:]) < 0.3
    mask[3:7] = False  # a slab with nothing inside
    fitted = fit_boosting([case], BoostingConfig(voxels=500, trees=5))
    whole = fitted.predict(case.image, mask)
    monkeypatch.setattr(boosting, "_PLANES", 1)  # a plane at a time
    monkeypatch.setattr(boosting, "_VOXELS", 1)
    monkeypatch.setattr(boosting, "_ROWS", 7)
    np.testing.assert_array_equal(fitted.predict(case.image, mask), whole)
    assert (whole[0][~mask] == -1).all()
    assert np.abs(whole).max() <= 1
