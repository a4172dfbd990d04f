"""The study of few labelled patients: its arms are fair, and the committed page says what its numbers say."""

import json
from pathlib import Path

import numpy as np
import pytest

from medgen.cases import Case

ROOT = Path(__file__).parents[2]
FOLDER, RESULTS = ROOT / "pipelines" / "generation", ROOT / "docs" / "results" / "generation"


@pytest.fixture(autouse=True)
def study(monkeypatch):
    import shortage

    return shortage


def test_every_arm_has_its_steps_and_the_same_test_heads(study, monkeypatch, tmp_path):
    few = [Case(f"head_{n}", "train", None, {"t1": Path(f"head_{n}.nii.gz")}) for n in range(4)]
    synthetic = [Case(f"sample_{n}", "train", None, {"t1": Path(f"sample_{n}.nii.gz")}) for n in range(64)]
    tests, made = [Case("test", "test", None, {})], []

    def score(folder, cases, tested, changes, start=None):
        assert tested is tests
        made.append((folder.name, cases, changes, start))
        return [0.5], 1.0

    monkeypatch.setattr(study, "score", score)
    for arm in study.ARMS:
        study.arm_of(arm, tmp_path, few, synthetic, tests, 7)
    by_name = {name: (cases, changes, start) for name, cases, changes, start in made}
    steps = {name: int(changes[-3].split("=")[1]) for name, (_, changes, _) in by_name.items()}
    # Half of the patches of "mixed" are real, so its steps on real ones are those of "half" and "pretrained".
    assert steps["half"] == steps["pretrained"] == steps["before"] == study.STEPS // 2
    assert steps["plain"] == steps["augmented"] == steps["mixed"] == study.STEPS
    assert by_name["pretrained"][2] == tmp_path / "before" / "run"
    assert all("seed=7" in changes for _, changes, _ in by_name.values())
    assert [name for name, (_, changes, _) in by_name.items() if "augmentation" not in str(changes)] == ["plain"]
    mixed = by_name["mixed"][0]
    assert len({case.name for case in mixed}) == len(mixed) == 128
    assert [sum(case.images == head.images for case in mixed) for head in few] == [16] * 4


def test_the_table_by_hand(study):
    arms = {arm: np.full((2, 8), level) for level, arm in zip((0.8, 0.7, 0.6, 0.5, 0.4), study.ARMS, strict=True)}
    rows = study.table_of({"2": arms}).splitlines()
    same = "0.800 (0.800 to 0.800) | 0.800 to 0.800"
    assert rows[2] == f"| 2 | as they are | {same} | +0.100 (+0.100 to +0.100) | +0.200 (+0.200 to +0.200) |"
    assert rows[3].endswith(" | 0.700 to 0.700 |  | +0.100 (+0.100 to +0.100) |")
    assert rows[4].endswith(" | 0.600 to 0.600 | -0.100 (-0.100 to -0.100) |  |")


def test_the_committed_page_has_the_committed_numbers(study):
    results = json.loads((RESULTS / "shortage.json").read_text())
    assert study.table_of(results["dice"]).strip() in (RESULTS / "shortage.md").read_text()
    shapes = {np.shape(found) for arms in results["dice"].values() for found in arms.values()}
    assert shapes == {(3, 20)}
    assert list(results["dice"]) == ["2", "4", "8", "16"]
