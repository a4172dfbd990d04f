"""Features of a run folder: of which layer and weights, and for which images."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_samplers import JUDGE, MEANS, NOISE, save_made, save_toy

from medgen.errors import InputError, ModelError, UsageError
from medgen.files import sha256
from medgen.inference.features import FeatureNetwork, open_features, require_fit
from medgen.methods.base import Shape
from medgen.methods.catalogue import create
from medgen.preparation import Preparation
from medgen.training.model_folder import save_model


def opened(run: Path, **options) -> FeatureNetwork:
    return open_features(run, "cpu", allow_modules=[JUDGE, MEANS, NOISE], **options)


def images(count: int, *size: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 1, *size)).astype(np.float32)


def test_a_discriminator_comes_from_the_checkpoints(tmp_path: Path) -> None:
    """The model holds the generator alone; a gain of 5 is nowhere but in the checkpoint."""
    run, trained = save_toy(tmp_path / "run", JUDGE, size=(8, 6)), tmp_path / "trained"
    save_toy(trained, JUDGE, size=(8, 6), config={"gain": 5.0})
    shutil.rmtree(run / "checkpoints")
    shutil.move(trained / "checkpoints", run)
    network = opened(run)
    given = images(70, 8, 6)
    first, second = network.layers(given)
    np.testing.assert_allclose(first, 5 * given.mean(axis=(2, 3)), rtol=1e-4, atol=1e-6)
    quarter = given[:, 0, :4, :3].mean(axis=(1, 2))
    np.testing.assert_allclose(second[:, 0], 5 * quarter, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(network(given), second)
    assert network.origin["weights_sha256"] == sha256(run / "checkpoints" / "stage0" / "final.safetensors")
    described = {key: network.origin[key] for key in ("method", "layer", "layers", "features", "pooling")}
    assert described == {"method": JUDGE, "layer": 2, "layers": 2, "features": 4, "pooling": "mean over space"}


@pytest.mark.parametrize("objective", ["hinge", "wgan_gp", "began"])
def test_the_discriminator_of_a_gan_is_completed(tmp_path: Path, objective: str) -> None:
    """Spectral normalisation of a weight that is missing raises, where other layers make NaN of it."""
    torch.manual_seed(0)
    method = create("gan", {"objective": objective, "width": 0.03125}, Shape(1, 1, (16, 16))).eval()
    run = save_made(tmp_path / "run", "gan", method)
    network = open_features(run, "cpu")
    given = images(3, 16, 16)
    with torch.no_grad():
        expected = method.features(torch.from_numpy(given))[network.origin["layer"] - 1].mean(dim=(2, 3))
    np.testing.assert_allclose(network(given), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_a_model_folder_alone_lacks_the_discriminator(tmp_path: Path) -> None:
    run = save_toy(tmp_path / "run", JUDGE, size=(8, 6))
    (run / "checkpoints" / "stage0" / "done.json").unlink()
    with pytest.raises(ModelError, match="does not hold, such as a discriminator") as caught:
        opened(run)
    assert "checkpoints/" in caught.value.fix


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    run = save_toy(tmp_path / "run", JUDGE, size=(8, 6))
    path = run / "checkpoints" / "stage0" / "final.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ModelError, match="sha256"):
        opened(run / "model")


@pytest.mark.parametrize(
    ("method", "config", "shape", "widest"),
    [
        ("segmentation", {"width": 0.25}, Shape(1, 2, (16, 16, 16)), 4),
        ("vae", {"width": 0.25, "levels": 2, "latent": 3}, Shape(1, 1, (8, 8)), 3),
        ("vicreg", {"width": 0.25, "levels": 3}, Shape(1, 1, (8, 8)), 3),
    ],
)
def test_what_the_model_holds_needs_no_checkpoint(
    tmp_path: Path, method: str, config: dict, shape: Shape, widest: int
) -> None:
    """By default the layer with the most channels, the last of these."""
    torch.manual_seed(0)
    made = create(method, config, shape)
    description = {
        "method": method,
        "task": made.batch_class.task().name,
        "classes": ["lesion"],
        "preparation": {"roles": {"inputs": ["t1"], "labels": "label"}, "config": {"spacing": None}},
        "inference": {},
        "patches": list(shape.size),
        "stages": 1,
    }
    save_model(tmp_path / "model", [made], description)
    network = opened(tmp_path)
    assert network.layer == widest
    assert network.channels[widest - 1] == max(network.channels)
    given = images(3, *shape.size)
    with torch.no_grad():
        maps = made.eval().features(torch.from_numpy(given))[widest - 1]
    np.testing.assert_allclose(network(given), maps.flatten(2).mean(dim=2), rtol=1e-4, atol=1e-5)
    assert network.origin["weights_sha256"] == sha256(tmp_path / "model" / "weights.safetensors")


def test_layers_are_chosen_by_number(tmp_path: Path) -> None:
    run = save_toy(tmp_path / "run", JUDGE, size=(8, 6))
    assert opened(run, layer=1)(images(2, 8, 6)).shape == (2, 1)
    with pytest.raises(UsageError, match="no layer 3") as caught:
        opened(run, layer=3)
    assert "1 (1), 2 (4)" in caught.value.fix


def test_a_model_without_features_says_what_it_can(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot compute features"):
        opened(save_toy(tmp_path / "run", NOISE))


def test_features_that_are_not_finite(tmp_path: Path) -> None:
    run = save_toy(tmp_path / "run", JUDGE, size=(8, 6), config={"gain": 3e38})
    with pytest.raises(ModelError, match="layer 1 are NaN or infinite"):
        opened(run)(100 * images(2, 8, 6))


@pytest.mark.parametrize(
    ("change", "size", "plane", "said"),
    [
        ({}, (8, 8, 8), "axial", "the images are 3D, and the feature network reads 2D images"),
        ({}, (8, 6), "coronal", "coronal slices, and the feature network reads axial ones"),
        ({"inputs": ["t2"]}, (8, 6), "axial", "the images are of t2, and the feature network reads t1"),
        ({"inputs": ["t1", "t2"]}, (8, 6), "axial", "the images are of t1, t2, and"),
        ({"spacing": [2, 2, 2]}, (8, 6), "axial", "voxels of 2 x 2 x 2 mm, and the feature network was trained on 1 x"),
        ({"spacing": None}, (8, 6), "axial", "voxels of their own size, and"),
    ],
)
def test_images_that_do_not_fit(tmp_path: Path, change: dict, size: tuple, plane: str, said: str) -> None:
    network = opened(save_toy(tmp_path / "run", JUDGE, size=(8, 6), spacing=[1, 1, 3]))
    settings = {"inputs": ["t1"], "spacing": [1, 1, 3], **change}
    roles = {"inputs": settings["inputs"]}
    other = Preparation.from_dict({"roles": roles, "config": {"spacing": settings["spacing"]}})
    with pytest.raises(InputError) as caught:
        require_fit(network.model, "feature network", other, size, plane)
    assert said in caught.value.what
    assert "vicreg" in caught.value.fix


def test_sizes_that_layers_cannot_take(tmp_path: Path) -> None:
    made = create("vae", {"width": 0.125, "levels": 2}, Shape(1, 1, (8, 8)))
    preparation = {"roles": {"inputs": ["t1"]}, "config": {"spacing": None}}
    facts = {"method": "vae", "task": "generation", "preparation": preparation, "inference": {}, "patches": [8, 8]}
    save_model(tmp_path / "model", [made], facts)
    network = opened(tmp_path)
    with pytest.raises(InputError, match="have 16 x 16 voxels, and the feature network takes 8 x 8 alone"):
        require_fit(network.model, "feature network", network.model.known.preparation, (16, 16), "axial")
    with pytest.raises(InputError, match="cannot take the images"):
        network(images(2, 16, 16))


def test_other_preparation_is_told(tmp_path: Path) -> None:
    network = opened(save_toy(tmp_path / "run", JUDGE, size=(8, 6), intensity={"t1": {"window": [0, 1000]}}))
    plain = Preparation.from_dict({"roles": {"inputs": ["t1"]}, "config": {"spacing": [3, 3, 3]}})
    assert network.unlike(plain) == ("intensity",)
    assert network.unlike(network.model.known.preparation) == ()


def test_done_json_that_is_damaged(tmp_path: Path) -> None:
    run = save_toy(tmp_path / "run", JUDGE, size=(8, 6))
    (run / "checkpoints" / "stage0" / "done.json").write_text(json.dumps([]))
    with pytest.raises(ModelError, match="no weights of it"):
        opened(run)
