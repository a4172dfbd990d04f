"""MONAI's random transforms as augmentation: the same patch for the same number, and only what a recipe may ask."""

import numpy as np
import pytest
import tiny
import torch
from monai.transforms import RandAffined, RandGaussianNoised
from test_patches import config, stored

from medgen.config import build
from medgen.errors import UsageError
from medgen.recipe.check import check_recipe
from medgen.recipe.settings import load_recipe
from medgen.sampling.augmentation import AugmentationConfig
from medgen.sampling.batches import Paired
from medgen.sampling.loading import patch_batches
from medgen.sampling.monai_transforms import INTENSITY, SPATIAL, MonaiTransforms
from medgen.sampling.patches import PatchSource

NEEDED = {
    "Rand2DElasticd": {"spacing": [4, 4], "magnitude_range": [1, 2], "rotate_range": 0.5},
    "Rand3DElasticd": {"sigma_range": [1, 2], "magnitude_range": [10, 20], "rotate_range": [0.5, 0.5, 0.5]},
    "RandAffined": {"rotate_range": [0.5, 0.5, 0.5]},
    "RandCoarseDropoutd": {"holes": 2, "spatial_size": 4},
    "RandCoarseShuffled": {"holes": 2, "spatial_size": 4},
    "RandRotated": {"range_x": [0.5, 0.6]},
    "RandScaleIntensityFixedMeand": {"factors": 0.2},
    "RandScaleIntensityd": {"factors": 0.2},
    "RandShiftIntensityd": {"offsets": 0.2},
    "RandStdShiftIntensityd": {"factors": 0.2},
    "RandZoomd": {"min_zoom": 0.5, "max_zoom": 0.7},
}
PATCHES = [{"RandAffined": {"prob": 0.7, "rotate_range": [0.3, 0.3, 0.3]}}, {"RandGaussianNoised": {"prob": 0.7}}]


def crop(box=(12, 12, 12)):
    """Two channels, and whole numbers beside them."""
    generator = np.random.default_rng(1)
    return {
        "source": generator.random((2, *box)).astype(np.float32),
        "target": generator.random((1, *box)).astype(np.float32),
        "label": generator.integers(0, 3, (1, *box)).astype(np.uint8),
        "mask": (generator.random((1, *box)) > 0.5).astype(np.float32),
    }


@pytest.mark.parametrize("name", INTENSITY + SPATIAL)
def test_each_depends_on_the_generator_alone(name):
    """Neither on the global state, nor on what the same object has changed before."""
    flat = name == "Rand2DElasticd"
    box, across = ((12, 12, 1), 2) if flat else ((12, 12, 12), None)
    transforms = MonaiTransforms([{name: {**NEEDED.get(name, {}), "prob": 1.0}}], across)
    found = []
    for seed in (0, 1):
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        found.append(transforms(crop(box), np.random.default_rng(5)))
    before, (one, two) = crop(box), found
    assert all(np.array_equal(one[key], two[key]) for key in before)
    assert {key: (each.shape, each.dtype) for key, each in one.items()} == {
        key: (each.shape, each.dtype) for key, each in before.items()
    }
    changed = {key for key in before if not np.array_equal(one[key], before[key])}
    assert changed == ({"source"} if name in INTENSITY else set(before))
    for key in ("label", "mask"):
        assert set(np.unique(one[key])) <= set(np.unique(before[key]))


def test_it_is_what_monai_makes_with_this_random_state():
    generator = np.random.default_rng(3)
    affine = RandAffined("source", prob=0.7, rotate_range=(0.3, 0.3, 0.3), mode="bilinear")
    noise = RandGaussianNoised("source", prob=0.7)
    for each in (affine, noise):
        each.set_random_state(state=np.random.RandomState(generator.bit_generator))
    expected = noise(affine({"source": crop()["source"]}))["source"]  # Compose would seed them anew
    found = MonaiTransforms(PATCHES, None)({"source": crop()["source"]}, np.random.default_rng(3))["source"]
    assert not np.array_equal(found, crop()["source"])
    assert np.array_equal(found, np.asarray(expected))


def test_labels_and_masks_move_with_the_image():
    box = np.zeros((1, 16, 16, 16), np.float32)
    box[:, 4:12, 5:10, 6:14] = 1
    given = {"source": box, "label": 2 * box.astype(np.int16), "mask": box, "context": box}
    arguments = {"prob": 1.0, "rotate_range": [0.4, 0.4, 0.4], "keys": ["image", "label"]}
    found = MonaiTransforms([{"RandAffined": arguments}], None)(given, np.random.default_rng(0))
    assert not np.array_equal(found["mask"], box)
    assert np.array_equal(found["label"], 2 * found["mask"])
    assert np.array_equal(found["context"], found["source"])
    assert ((found["source"] > 0.5) == (found["mask"] > 0)).mean() > 0.99


def centroid(array):
    """Of the first channel, in voxels."""
    values = array[0].astype(float)
    return np.array([(axis * values).sum() for axis in np.indices(values.shape)]) / values.sum()


def balls(seed, flat, edge=32, radius=6.0):
    """A sharp and a smooth ball beside the middle."""
    centre = np.random.default_rng(seed).uniform(edge / 2 - 3, edge / 2 + 2, 3)
    places = np.indices((edge, edge, 1 if flat else edge), float)
    if flat:
        centre[2] = 0
    away = ((places - centre[:, None, None, None]) ** 2).sum(0)[None]
    return (away < radius**2).astype(np.uint8), np.exp(-away / radius**2 * 2).astype(np.float32)


ALIGNED = {
    "Rand2DElasticd": {"spacing": [5, 5], "magnitude_range": [1, 2], "rotate_range": 0.5},
    "Rand3DElasticd": {"sigma_range": [2, 3], "magnitude_range": [5, 10], "rotate_range": [0.5, 0.5, 0.5]},
    "RandAffined": {"rotate_range": [0.5, 0.5, 0.5], "scale_range": [0.3, 0.3, 0.3], "translate_range": [3, 3, 3]},
    "RandRotated": {"range_x": 0.5, "range_y": 0.5},
    "RandZoomd": {"min_zoom": 0.7, "max_zoom": 1.3},
}


@pytest.mark.parametrize("name", SPATIAL)
def test_no_transform_moves_what_is_whole_against_the_image(name):
    """On average over 40 patches; the nearest voxel of a single one is somewhere within half a voxel."""
    flat = name == "Rand2DElasticd"
    transforms = MonaiTransforms([{name: {**ALIGNED.get(name, {}), "prob": 1.0}}], 2 if flat else None)
    away, moved = [], []
    for seed in range(40):
        ball, _ = balls(seed, flat)
        given = {"source": ball.astype(np.float32), "label": ball, "mask": ball, "target": ball.astype(np.float32)}
        found = {key: centroid(each) for key, each in transforms(given, np.random.default_rng(seed)).items()}
        assert np.array_equal(found["source"], found["target"])
        assert np.array_equal(found["label"], found["mask"])
        away.append(found["label"] - found["source"])
        moved.append(found["source"] - centroid(ball))
    assert np.abs(moved).max() > 0.3
    assert np.abs(np.mean(away, axis=0)).max() < 0.1
    assert np.abs(away).max() < 0.5


@pytest.mark.parametrize("mode", ["area", "trilinear", "nearest-exact"])
def test_zoom_moves_images_of_any_mode_as_it_moves_labels(mode):
    transforms = MonaiTransforms([{"RandZoomd": {**ALIGNED["RandZoomd"], "mode": mode, "prob": 1.0}}], None)
    away = []
    for seed in range(40):
        ball, _ = balls(seed, flat=False)
        found = transforms({"source": ball.astype(np.float32), "label": ball}, np.random.default_rng(seed))
        away.append(centroid(found["label"]) - centroid(found["source"]))
    assert np.abs(np.mean(away, axis=0)).max() < 0.1


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("name", ["RandSimulateLowResolutiond", "RandGaussianSmoothd", "RandGaussianSharpend"])
def test_what_changes_intensities_moves_nothing(name, flat):
    transforms = MonaiTransforms([{name: {"prob": 1.0}}], 2 if flat else None)
    away, changed = [], 0
    for seed in range(40):
        _, smooth = balls(seed, flat)
        found = transforms({"source": smooth}, np.random.default_rng(seed))["source"]
        changed += not np.allclose(found, smooth, atol=1e-4)
        away.append(centroid(found) - centroid(smooth))
    assert changed > 30
    assert np.abs(np.mean(away, axis=0)).max() < 0.02
    assert np.abs(away).max() < 0.2


def test_patches_are_the_same_for_every_worker_and_after_a_resume(tmp_path):
    cases = [stored(tmp_path, name, seed=number) for number, name in enumerate("ab")]
    settings = config(augmentation={"monai": PATCHES, "flip": ["x"], "noise": 0.1})
    alone = [PatchSource(cases, settings, seed=7)[n] for n in range(6)]  # a new object each
    one = PatchSource(cases, settings, seed=7)
    backwards = [one[n] for n in reversed(range(6))][::-1]
    batches = list(patch_batches(one, Paired, batch=2, start=0, stop=3, workers=2))
    (resumed,) = patch_batches(one, Paired, batch=2, start=2, stop=3)
    for n, patch in enumerate(alone):
        for key in Paired._fields:
            assert np.array_equal(patch[key], backwards[n][key])
            assert np.array_equal(patch[key], getattr(batches[n // 2], key)[n % 2].numpy())
    assert torch.equal(resumed.source, batches[2].source)
    plain = PatchSource(cases, config(augmentation={"flip": ["x"], "noise": 0.1}), seed=7)
    assert any(not np.array_equal(plain[n]["source"], alone[n]["source"]) for n in range(6))


def test_slices_are_changed_in_their_plane(tmp_path):
    case = stored(tmp_path, "a")
    turned = {"RandRotated": {"prob": 1.0, "range_x": [0.5, 0.5]}}
    source = PatchSource([case], config((8, 8), augmentation={"monai": [turned]}), seed=0)
    plain = PatchSource([case], config((8, 8)), seed=0)
    assert source[0]["source"].shape == (1, 8, 8)
    assert not np.array_equal(source[0]["source"], plain[0]["source"])


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"RandGausianSmoothd": {}}, "did you mean 'RandGaussianSmoothd'"),
        ({"RandGaussianSmooth": {}}, "did you mean 'RandGaussianSmoothd'"),
        ({"RandSpatialCropd": {"roi_size": 4}}, "keeps the size"),
        ({"RandLambdad": {"func": "print"}}, "keeps the size"),
        ({"RandFlipd": {}, "RandZoomd": {}}, "in one entry"),
        ({"RandGaussianNoised": {"keys": "imag"}}, "choose from image, target, label"),
        ({"RandFlipd": {"keys": {"image": None, "target": None}}}, "names the key \"{'image': None, 'target': None}\""),
        ({"RandFlipd": {"keys": {"image": 1}}}, "choose from image, target, label"),
        ({"RandFlipd": {"keys": [["image"]]}}, "names the key \"['image']\" in 'keys'"),
        ({"RandFlipd": {"keys": [{}]}}, "choose from image, target, label"),
        ({"RandFlipd": {"keys": 1}}, "choose from image, target, label"),
        ({"RandGaussianNoised": {"keys": [["image"]]}}, "choose from image, target, label"),
        ({"RandGaussianNoised": {"keys": ["image", "target"]}}, "keys: image"),
        ({"RandAffined": {"spatial_size": [4, 4, 4]}}, "medgen sets it"),
        ({"RandZoomd": {"keep_size": False}}, "medgen sets it"),
        ({"RandFlipd": {"lazy": True}}, "medgen sets it"),
        ({"RandFlipd": {"prob": 2}}, "from 0 to 1"),
        ({"RandAffined": {"mode": ["bilinear", "nearest"]}}, "always nearest"),
        ({"RandZoomd": {"mode": "nearest"}}, "mode: nearest-exact"),
        ({"RandZoomd": {"mode": "trilinear", "align_corners": True}}, "by another factor"),
        ({"RandSimulateLowResolutiond": {"downsample_mode": "nearest"}}, "downsample_mode: area"),
        ({"RandSimulateLowResolutiond": {"downsample_mode": "nearest-exact"}}, "downsample_mode: area"),
        ({"RandSimulateLowResolutiond": {"upsample_mode": "nearest"}}, "upsample_mode: trilinear"),
        ({"RandSimulateLowResolutiond": {"align_corners": True}}, "by another factor"),
    ],
)
def test_what_may_not_be_asked_is_refused_when_the_recipe_is_read(entry, said):
    with pytest.raises(UsageError) as caught:
        build(AugmentationConfig, {"monai": [entry]}, where="recipe.yaml")
    assert said in str(caught.value)
    assert caught.value.where == "recipe.yaml"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"RandGaussianNoised": {"standard": 1}}, "no argument 'standard'"),
        ({"RandAffined": {"keys": "image", "prob": 0.1}}, "keys: [image, target]"),
        ({"RandFlipd": {"keys": ["image", "label"]}}, "keys: [image, target]"),
        ({"RandRotate90d": {}}, "to another size"),
        ({"Rand2DElasticd": NEEDED["Rand2DElasticd"]}, "3 dimensions"),
        ({"RandScaleIntensityd": {}}, "factors"),
    ],
)
def test_what_monai_or_the_patch_does_not_take_is_refused_before_training(entry, said):
    recipe = load_recipe(tiny.recipe(patches={"size": [16, 24, 16], "augmentation": {"monai": [entry]}}))
    with pytest.raises(UsageError) as caught:
        check_recipe(recipe)
    assert said in str(caught.value)


@pytest.mark.parametrize("place", ["_built", "MonaiTransforms"])
def test_arguments_that_no_memory_holds_are_a_fault_of_the_recipe(monkeypatch, place):
    """As RandBiasFieldd with degree 10000, of a patch that any memory holds."""

    def exhausted(*_):
        raise MemoryError("Unable to allocate 1.21 TiB")

    monkeypatch.setattr(f"medgen.sampling.monai_transforms.{place}", exhausted)
    recipe = load_recipe(tiny.recipe(patches={"size": [16, 16, 16], "augmentation": {"monai": [{"RandFlipd": {}}]}}))
    with pytest.raises(UsageError, match=r"RandFlipd in patches.augmentation.monai fails: Unable") as caught:
        check_recipe(recipe, where="recipe.yaml")
    assert caught.value.where == "recipe.yaml"


def test_a_recipe_with_transforms_is_kept_as_it_is():
    recipe = load_recipe(tiny.recipe(patches={"size": [16, 16, 16], "augmentation": {"monai": [*PATCHES]}}))
    resolved, _, _ = check_recipe(recipe)
    again = load_recipe(resolved.model_dump(mode="json"))
    assert again.patches.augmentation.monai == tuple(PATCHES)
