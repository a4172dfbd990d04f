"""The study of synthetic training cases: its arms are fair, and the committed page says what its numbers say."""

import json
from pathlib import Path

import numpy as np
import pytest

from medgen.cases import Case
from medgen.recipe.settings import load_recipe
from medgen.volume import Volume, write_volume

ROOT = Path(__file__).parents[2]
FOLDER, RESULTS = ROOT / "pipelines" / "generation", ROOT / "docs" / "results" / "generation"


@pytest.fixture(autouse=True)
def study(monkeypatch):
    import train_on_synthetic

    return train_on_synthetic


def test_the_arms(study):
    real = [Case(f"head_{n}", "train", None, {}) for n in range(10)]
    synthetic = [Case(f"sample_{n}", "train", None, {}) for n in range(100)]
    arms = study._arms(real, synthetic)
    assert {name: len(cases) for name, cases in arms.items()} == {
        "real": 10,
        "synthetic": 10,
        "many_synthetic": 100,
        "both": 110,
    }
    assert all(case.split == "train" for cases in arms.values() for case in cases)


def test_both_recipes_prepare_t1_alike():
    generator, segmenter = (load_recipe(FOLDER / name) for name in ("joint_vae.yaml", "skull_unet.yaml"))
    assert generator.preparation.spacing == segmenter.preparation.spacing
    assert generator.preparation.intensity["t1"] == segmenter.preparation.intensity["t1"]
    assert generator.data.inputs == (*segmenter.data.inputs, segmenter.data.labels)


def test_the_table_by_hand(study):
    scores = {arm: np.full((2, 8), level) for level, arm in zip((0.8, 0.5, 0.6, 0.7), study.ARMS, strict=True)}
    rows = study.table_of(scores).splitlines()
    assert rows[2] == "| 10 real | 0.800 | 0.800 to 0.800 | 0.800 to 0.800 |  |  |"
    assert rows[3] == "| 10 synthetic | 0.500 | 0.500 to 0.500 | 0.500 to 0.500 | -0.300 | -0.300 to -0.300 |"


def test_contrast_by_hand(study, tmp_path):
    """Two voxels of skull, 10 and 30, among neighbours of 70; the corners are farther away and do not count."""
    image, skull = np.full((4, 3, 3), 70.0), np.zeros((4, 3, 3))
    image[1, 1, 1], image[2, 1, 1], image[0, 0, 0], skull[1:3, 1, 1] = 10, 30, 999, 1
    write_volume(Volume(image[None], np.eye(4)), tmp_path / "t1.nii.gz", kind="scalar")
    write_volume(Volume(skull[None], np.eye(4)), tmp_path / "skull.nii.gz", kind="label")
    case = Case("a", "train", None, {role: tmp_path / f"{role}.nii.gz" for role in ("t1", "skull")})
    assert study.contrast_of([case, case]) == (20, 70)


def test_the_committed_page_has_the_committed_numbers(study):
    results = json.loads((RESULTS / "train_on_synthetic.json").read_text())
    assert study.table_of(results["dice"]).strip() in (RESULTS / "train_on_synthetic.md").read_text()
    assert all(np.shape(found) == (3, 20) for found in results["dice"].values())
