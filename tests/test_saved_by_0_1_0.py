"""What medgen 0.1.0 saved is read for good: a model predicts what it predicted then, and a store is found again.

``data/models_0_1_0.tar.gz`` holds a cascade of two context-aware GANs and an adversarial mean teacher, each trained
for four steps on the cases of ``tiny`` and ``tiny_domains``, with every ninth voxel of what they predicted.
"""

import tarfile
from pathlib import Path

import numpy as np
import pytest
import tiny
import tiny_domains

from medgen import load_model, prepare, read_cases

ARCHIVE = Path(__file__).parent / "data" / "models_0_1_0.tar.gz"
STORE = "803e723fa6dd6e38"


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


def test_a_cascade_predicts_as_before(models, tmp_path):
    case = read_cases(tiny.write_cases(tmp_path)).cases[0]
    found = load_model(models / "context_aware_gan", device="cpu").predict(case)
    expected = np.load(models / "expected.npz")["context_aware_gan"]
    assert np.abs(found.data[0, ::3, ::3, ::3] - expected).max() < 0.5  # HU


def test_a_teacher_with_statistics_of_the_target_predicts_as_before(models, tmp_path):
    case = read_cases(tiny_domains.write_domains(tmp_path)).cases[0]
    maps = []
    model = load_model(models / "adversarial_mean_teacher", device="cpu")
    model.predict(case, on_probability=lambda _, volume: maps.append(volume.data))
    expected = np.load(models / "expected.npz")["adversarial_mean_teacher"]
    assert np.abs(maps[0][0, ::3, ::3, ::3] - expected).max() < 1e-4


def test_a_store_is_found_again(tmp_path, monkeypatch):
    """The key is a hash of settings, files and version: a new setting must not make every old store stale."""
    monkeypatch.setattr("medgen.preparation.building.image_digest", lambda path: path.name)
    store = prepare(tiny.recipe(), tiny.write_cases(tmp_path, train=1, val=0, test=0), tmp_path / "store")
    assert [case.folder.parent.name for case in store.cases] == [STORE]
