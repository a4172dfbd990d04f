"""Phantoms are recognised by the bytes of their images alone, and a model says that it learnt from them."""

import gzip
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from medgen.cases import Case, read_cases
from medgen.cases.phantoms import is_phantom, phantom_notice
from medgen.methods.segmentation import Config as SegmentationConfig
from medgen.methods.segmentation import Segmentation
from medgen.preparation import Preparation, build_store
from medgen.recipe.settings import load_recipe
from medgen.run.description import describe

SAMPLE = Path(__file__).parents[2] / "sample_data"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in ("head_000", "head_001"):
        shutil.copytree(SAMPLE / name, tmp_path / "data" / name)
    shutil.copy(SAMPLE / "phantom.json", tmp_path / "data")
    return tmp_path / "data"


def case(folder: Path, name: str = "head_000_t1.nii.gz") -> Case:
    return Case("p", "train", None, {"t1": folder / name})


def test_sample_data_are_phantoms():
    assert all(is_phantom(each, each.images) for each in read_cases(SAMPLE / "cases.csv").cases)


def test_renamed_and_recompressed_images_are_recognised(copy):
    image = copy / "head_000" / "head_000_t1.nii.gz"
    image.write_bytes(gzip.compress(gzip.decompress(image.read_bytes()), 1))
    shutil.move(copy / "head_000", copy / "my patient")
    assert is_phantom(case(copy / "my patient"), ["t1"])


def test_one_other_byte_makes_it_unknown(copy):
    image = copy / "head_000" / "head_000_t1.nii.gz"
    content = bytearray(gzip.decompress(image.read_bytes()))
    content[-1] ^= 1
    image.write_bytes(gzip.compress(bytes(content)))
    assert not is_phantom(case(copy / "head_000"), ["t1"])


@pytest.mark.parametrize("manifest", [None, "{}", '{"subjects": 3}', "not json", '{"images": []}'])
def test_without_a_list_of_images_nothing_is_called_a_phantom(copy, manifest):
    """An image in a phantom's folder is not a phantom for that."""
    (copy / "phantom.json").unlink()
    if manifest is not None:
        (copy / "phantom.json").write_text(manifest)
    assert not is_phantom(case(copy / "head_000"), ["t1"])


def test_every_image_that_is_used_must_be_one(copy):
    (copy / "head_000" / "real.nii.gz").write_bytes(b"real")
    mixed = Case("p", "train", None, {**case(copy / "head_000").images, "ct": copy / "head_000" / "real.nii.gz"})
    assert is_phantom(mixed, ["t1"])
    assert not is_phantom(mixed, ["t1", "ct"])
    assert not is_phantom(mixed, ["flair"])


def test_the_model_says_how_many_phantoms_it_learnt_from(tmp_path, copy):
    cases = [replace(each, split="train") for each in read_cases(SAMPLE / "cases.csv").cases[:2]]
    content = bytearray(gzip.decompress((copy / "head_001" / "head_001_t1.nii.gz").read_bytes()))
    content[-1] ^= 1
    (tmp_path / "real.nii.gz").write_bytes(gzip.compress(bytes(content)))
    mixed = [cases[0], replace(cases[1], images={**cases[1].images, "t1": tmp_path / "real.nii.gz"})]
    recipe = load_recipe(
        {"method": "supervised", "data": {"inputs": ["t1"], "labels": "mask", "classes": {"head": [1]}}}
    )
    recipe = recipe.model_copy(update={"preparation": recipe.preparation.model_copy(update={"spacing": (8, 8, 8)})})
    store = build_store(cases, Preparation(recipe.data, recipe.preparation), tmp_path / "store")
    pure, both = (
        json.loads(
            json.dumps(describe(recipe, Segmentation, SegmentationConfig(network="unet"), store, ["head"], each))
        )
        for each in (cases, mixed)
    )
    assert pure["phantoms"] == {"train": 2}
    assert "phantoms alone" in phantom_notice(pure)
    assert "phantoms, 1 of 2 cases" in phantom_notice(both)
    assert phantom_notice({**pure, "phantoms": {}}) == phantom_notice({}) == ""
    # The same description carries what the labels and the images of the training cases let expect.
    low, high = pure["plausible"]["head"]["ml"]
    assert low < 2000 < 4000 < high
    assert pure["preparation"]["calibration"]["training_cases"] == 2
