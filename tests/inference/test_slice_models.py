"""A model of slices predicts a volume slice by slice: in its plane, without a margin or an overlap across it."""

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from mean_model import head, save
from toy_methods import NarrowSlices, SliceMean, make_toy

from medgen.config import Config
from medgen.errors import ModelError, UsageError
from medgen.inference.memory import thriftier
from medgen.inference.stages import Cascade, predict_prepared
from medgen.inference.tiles import predict_tiles
from medgen.methods.base import Shape, Window
from medgen.recipe.prediction import InferenceConfig
from medgen.recipe.settings import load_recipe
from medgen.run.validation import estimate_volume
from medgen.sampling.patches import PatchConfig
from medgen.training.engine import Engine

PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}


def slice_network(kind: type = SliceMean, size: tuple[int, int] = (12, 12)):
    return kind(Config(), Shape(1, 1, size)).eval()


@pytest.mark.parametrize(("plane", "axis"), PLANES.items())
@pytest.mark.parametrize("batch", [1, 3])
def test_mean_over_the_plane_is_added(plane: str, axis: int, batch: int) -> None:
    """Slice n holds n / 10 throughout, so the result is 1.5 n / 10 whatever the tiles are."""
    patches = PatchConfig(size=(6, 4), plane=plane)
    shape = [5, 5, 5]
    shape[axis] = 7
    line = np.arange(7, dtype=np.float32) / 10
    image = np.broadcast_to(np.moveaxis(line[:, None, None], 0, axis), shape)[None]
    network = slice_network(size=(6, 4))
    settings = InferenceConfig(batch=batch, overlap=0.5)
    result = predict_prepared(
        [network], image, None, settings=settings, patch=patches.size, across=patches.across
    )  # fmt: skip
    np.testing.assert_allclose(result, np.clip(1.5 * image, -1, 1), atol=1e-6)
    # 5 x 5 pixels in tiles of at most 6 x 4: two a slice.
    assert {given[1:] for given in network.given} == {(1, 5, 4)}
    assert sum(given[0] for given in network.given) == 2 * 7
    assert max(given[0] for given in network.given) == batch


def test_a_margin_is_one_of_the_plane_alone() -> None:
    """The network returns the middle of each slice, so the volume comes back as it was."""
    image = np.random.default_rng(0).uniform(-1, 1, (1, 13, 9, 4)).astype(np.float32)
    for axis in range(3):
        seen = []

        def spy(tile: torch.Tensor, seen: list = seen) -> torch.Tensor:
            seen.append(tuple(tile.shape))
            return tile[:, :, 2:-2, 2:-2]

        size = [9, 9, 9]
        size[axis] = 1
        result = predict_tiles(spy, image, size=size, window=Window(margin=2), across=axis, overlap=0.3, batch=4)
        np.testing.assert_allclose(result, image, atol=1e-6)
        assert all(len(shape) == 4 for shape in seen)
    network = slice_network(NarrowSlices)
    result = predict_prepared([network], image, None, settings=InferenceConfig(), patch=(12, 12), across=2)
    np.testing.assert_allclose(result, image, atol=1e-6)


@pytest.mark.parametrize(("plane", "axis"), PLANES.items())
def test_of_a_patient(tmp_path: Path, plane: str, axis: int) -> None:
    """The plane is that of the patient; one tile holds a slice. Where no plane is named it is the axial one."""
    image = head()
    path = save(image, tmp_path / "t1.nii.gz")
    model = make_toy(SliceMean, size=(32, 32), plane=None if plane == "axial" else plane)
    assert model.cascade.across == axis
    unit = image / 500 - 1
    others = tuple(other for other in range(3) if other != axis)
    expected = np.clip(unit + 0.5 * unit.mean(axis=others, keepdims=True), -1, 1) * 1512 + 488
    result = model.predict(path).data[0]
    np.testing.assert_allclose(result[6:-6, 6:-6, 6:-6], expected[6:-6, 6:-6, 6:-6], atol=0.01)


def test_memory_halves_the_plane_alone() -> None:
    cascade = Cascade((slice_network(NarrowSlices),), InferenceConfig(size=(40, 60)), (12, 12), torch.device("cpu"), 1)
    plan = cascade.plan()
    assert plan.size == (40, 1, 60)
    step = thriftier(plan, Window(margin=2))
    assert step is not None
    assert step[0].size == (20, 1, 30)


def test_faults_are_named() -> None:
    with pytest.raises(ModelError, match="'oblique' slices"):
        make_toy(SliceMean, size=(12, 12), plane="oblique")
    model = make_toy(SliceMean, size=(12, 12))
    with pytest.raises(ModelError, match="patches of 3 edges, and the network has 2 dimensions"):
        type(model)(model.stages, model.description | {"patches": [12, 12, 12]}, model.device)
    with pytest.raises(UsageError, match=r"inference.size is \[8, 8, 8\].*2 edges"):
        InferenceConfig(size=(8, 8, 8)).tile_size((12, 12), Window())
    with pytest.raises(ModelError, match=r"turned \(1, 1, 4, 1, 4\) into \(1, 1, 2, 1, 2\)"):
        predict_tiles(lambda tile: tile[..., 1:-1, 1:-1], np.zeros((1, 4, 4, 4)), size=(4, 1, 4), across=1)


def test_validation_during_training() -> None:
    """The plane is that of the recipe: the mean is taken over a sagittal slice."""
    changes = {"size": [12, 12], "plane": "sagittal", "augmentation": {}}
    recipe = load_recipe(tiny.recipe(patches=changes))
    image = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 6, 9, 8)).astype(np.float32)
    body = np.ones(image.shape[1:], bool)
    result = estimate_volume(slice_network(), image, body, None, recipe, Engine("cpu"))
    np.testing.assert_allclose(result, image + 0.5 * image.mean(axis=(2, 3), keepdims=True), atol=1e-6)
