"""CycleGAN: tiles without seams, known pairs, the structure term, the published schedule, features."""

import csv
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from scipy.ndimage import gaussian_filter

from medgen.errors import InputError, UsageError
from medgen.inference.tiles import predict_tiles
from medgen.losses.image import gradient_correlation, mutual_information
from medgen.methods.base import HasFeatures, Shape
from medgen.methods.catalogue import create
from medgen.networks.ranks import VoxelNorm
from medgen.recipe.check import check_recipe
from medgen.recipe.settings import load_recipe
from medgen.run.experiment import train
from medgen.sampling.batches import PartlyPaired, Unpaired

SMALL = {"width": 0.0625, "blocks": 1, "history": 2}
RECIPE = tiny.recipe(
    method="cyclegan", patches={"size": [16, 16]}, schedule={"steps": 2, "batch": 2, "averaging": None}
) | {"config": SMALL}


def made(dimensions: int = 2, **config):
    torch.manual_seed(0)
    method = create("cyclegan", {**SMALL, **config}, Shape(1, 1, (16,) * dimensions)).eval()
    if config.get("generator") == "unet":  # its last layer starts at 0
        torch.nn.init.normal_(method.to_target.tail[-1].weight, 0, 0.05)
    return method


def batch_of(kind: type, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    fields = ("mask" in name or torch.randn(2, 1, 16, 16, generator=generator).tanh() for name in kind._fields)
    return kind(*(torch.ones(2, 1, 16, 16) if field is True else field for field in fields))


def difference(method, size: int) -> float:
    """Largest difference of a volume of 230 x 200 voxels in tiles from the same at once, in standard deviations."""
    noise = np.random.default_rng(0).standard_normal((230, 200))
    image = gaussian_filter(noise, 3)[None, :, :, None].astype(np.float32) * 10
    options = {"window": method.window, "across": 2}
    whole, tiled = (
        predict_tiles(lambda x: method.predict(x, "forward"), image, size=(edge, edge, 1), **options)
        for edge in (256, size)
    )
    return float(np.abs(whole - tiled).max() / whole.std())


@pytest.mark.parametrize("config", [{"norm": "none"}, {"norm": "voxel"}, {"generator": "unet"}])
def test_tiles_have_no_seams(config):
    """Of a size at which the halo is as wide as the network sees the values are those of the whole."""
    assert difference(made(**config), size=160) < 1e-4


def test_the_published_normalisation_has_seams():
    assert difference(made(norm="instance"), size=160) > 0.05


def test_a_volume_that_fits_is_one_tile():
    window = made().window
    assert load_recipe(RECIPE).inference.tile_size((16, 16), window) == (160, 160)


def test_the_schedule_is_the_published_one_unless_the_recipe_has_one():
    rate = check_recipe(load_recipe(RECIPE))[0].schedule.learning_rate
    assert [rate.factor(progress) for progress in (0.0, 0.5, 0.75)] == [1, 1, 0.5]
    own = check_recipe(load_recipe(RECIPE, ["schedule.learning_rate={kind: constant}"]))[0]
    assert own.schedule.learning_rate.factor(0.75) == 1


def test_a_unet_has_no_normalisation_and_a_resnet_one_of_each_voxel():
    made(generator="unet")
    assert any(isinstance(part, VoxelNorm) for part in made().to_target.modules())
    with pytest.raises(UsageError, match="norm is instance, and the generator unet has no normalisation"):
        made(generator="unet", norm="instance")


@pytest.mark.parametrize(
    ("name", "function"), [("gradient_correlation", gradient_correlation), ("mutual_information", mutual_information)]
)
def test_structure_compares_each_image_with_its_translation(name, function):
    method, batch = made(structure=name, structure_weight=3.0), batch_of(Unpaired)
    losses = next(method.updates(batch, 0.0)).losses
    expected = 3 * function(batch.source, method.to_target(batch.source))
    assert losses["structure_target"].item() == pytest.approx(expected.item(), rel=1e-5)
    expected = 3 * function(batch.target, method.to_source(batch.target))
    assert losses["structure_source"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert not any("structure" in name for name in next(made().updates(batch, 0.0)).losses)


def test_known_pairs_add_the_error_in_their_mask():
    method, batch = made(paired_fraction=0.5, paired_weight=4.0), batch_of(PartlyPaired)
    mask = torch.zeros_like(batch.paired_mask)
    mask[:, :, :8] = 1
    batch = batch._replace(paired_mask=mask)
    losses = next(method.updates(batch, 0.0)).losses
    error = (method.to_target(batch.paired_source) - batch.paired_target)[:, :, :8].abs().mean()
    assert losses["paired_target"].item() == pytest.approx(4 * error.item(), rel=1e-5)
    assert "paired_source" in losses
    assert method.batches(method.config) is PartlyPaired
    assert made().batches(made().config) is Unpaired


def test_features_are_those_of_the_discriminator_of_the_target():
    method = made()
    assert isinstance(method, HasFeatures)
    image = torch.randn(2, 1, 16, 16)
    maps = method.features(image)
    assert [tuple(each.shape) for each in maps] == [(2, 4, 8, 8), (2, 8, 4, 4), (2, 16, 3, 3)]
    last = method.of_target.body[-1]
    assert torch.equal(last(maps[-1]), method.of_target(image))


@pytest.fixture
def cases(tmp_path) -> Path:
    return tiny.write_cases(tmp_path / "cases", train=4)


def without_pairs(table: Path) -> Path:
    """Of the training cases two keep the T1, the others the CT."""
    rows = list(csv.DictReader(table.read_text().splitlines()))
    for number, row in enumerate(row for row in rows if row["split"] == "train"):
        row["ct" if number % 2 else "t1"] = ""
    other = table.with_name("unpaired.csv")
    with other.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return other


def test_a_run_with_known_pairs_learns_from_them(cases, tmp_path):
    run = train(RECIPE, cases, tmp_path / "run", device="cpu", overrides=["config.paired_fraction=0.5"])
    assert "generators/paired_target" in (run / "metrics.jsonl").read_text()


def test_a_table_without_pairs_is_refused_before_anything_is_prepared(cases, tmp_path):
    table = without_pairs(cases)
    with pytest.raises(InputError, match="no training case has both images") as caught:
        train(RECIPE, table, tmp_path / "run", device="cpu", overrides=["config.paired_fraction=0.5"])
    assert "config.paired_fraction to 0" in str(caught.value.fix)
    assert not (tmp_path / "run").exists()
