"""The probe of features: what it says of features that know a fact exactly, and of a run."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny

from medgen.inference.references import References
from medgen.methods.base import Shape
from medgen.methods.catalogue import create
from medgen.training.model_folder import save_model

FOLDER = Path(__file__).parents[2] / "pipelines" / "generation"


@pytest.fixture
def probe(monkeypatch):
    import probe

    return probe


def references(seed: int, count: int = 60) -> References:
    """Patches whose first pixel is the height, the second whether there is a label, the third the domain."""
    generator = np.random.default_rng(seed)
    images = generator.normal(size=(count, 1, 2, 4)).astype(np.float32)
    places = np.zeros((count, 3))
    places[:, 2] = images[:, 0, 0, 0]
    domains = tuple("target" if value > 0 else "source" for value in images[:, 0, 0, 2])
    return References(images, ("a",) * count, places, domains, images[:, 0, 0, 1] > 0)


def test_what_features_know_is_told_from_what_they_do_not(probe) -> None:
    train_set, test_set = references(0), references(1)
    knows = probe.facts(lambda images: images.reshape(len(images), -1), train_set, test_set)
    assert knows["height_r2"] > 0.99
    assert min(knows["labelled_auroc"], knows["domain_auroc"]) > 0.85
    blind = probe.facts(lambda images: images[:, 0, 1], train_set, test_set)
    assert blind["height_r2"] < 0.2
    assert max(blind.values()) < 0.75


def test_the_command(probe, tmp_path: Path, monkeypatch, capsys) -> None:
    cases = tiny.write_cases(tmp_path / "cases", train=2, val=0, test=2)
    preparation = {"roles": {"inputs": ["t1"]}, "config": {"spacing": None}}
    facts = {"method": "vicreg", "task": "generation", "preparation": preparation, "inference": {}, "patches": [16, 16]}
    made = create("vicreg", {"width": 0.125, "levels": 2, "embedding": 4}, Shape(1, 1, (16, 16)))
    save_model(tmp_path / "run" / "model", [made], facts)
    monkeypatch.setattr(sys, "argv", ["probe.py", str(tmp_path / "run"), str(cases), "--count", "20"])
    probe.main()
    found = json.loads(capsys.readouterr().out)
    assert found["features"]["method"] == "vicreg"
    assert found["kernel_distance"]["blurred by 1.0 voxels"] > found["kernel_distance"]["blurred by 0.5 voxels"]
    assert {"pixels", "features_trained", "features_untrained"} <= found.keys()
