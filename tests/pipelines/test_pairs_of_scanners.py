"""The search for pairs of scanners: its heads are those of the phantom, and acceptance is what the issue says."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from medgen.baselines.regressors import BoostingConfig
from medgen.cases import read_cases
from medgen.phantom import make_adaptation_phantom
from medgen.phantom.head.pairs import PAIRS
from medgen.volume import read_volume

FOLDER = Path(__file__).parents[2] / "pipelines" / "lesion_adaptation"


@pytest.fixture(autouse=True)
def studies(monkeypatch):
    import pairs
    import screen

    return screen, pairs


def test_a_head_in_memory_is_that_of_the_phantom(studies, tmp_path):
    screen, _ = studies
    groups = {"source": 0, "target": 1, "test": 0, "source_test": 0, "validation": (0, 0)}
    make_adaptation_phantom(tmp_path, seed=4, spacing=screen.SPACING, pair="long_echo", workers=1, **groups)
    head = screen.scanned(PAIRS["long_echo"], 4, "target", 3000)
    folder = tmp_path / "target_train_000"
    written = {role: read_volume(folder / f"{folder.name}_{role}.nii.gz").data[0] for role in ("t2", "swi", "label")}
    assert (written["label"] == head.label).mean() > 0.9999  # fractions are kept in single precision
    for channel, role in ((0, "t2"), (2, "swi")):
        inside = written[role][head.mask].astype(float)
        scored = (inside - inside.mean()) / inside.std()
        assert (np.abs(head.image[channel][head.mask] - scored) < 0.02).mean() > 0.999  # voxels are rounded


def test_validity_of_the_accepted_pairs(studies, monkeypatch):
    """Source labels fail on the target, one channel less mends most of it, and training on the target is best."""
    screen, _ = studies
    import run

    monkeypatch.setattr(screen, "SPACING", 4.0)
    monkeypatch.setattr(screen, "GROUPS", {"source": (4, 2), "target": (4, 3)})
    monkeypatch.setattr(screen, "TREES", BoostingConfig(trees=30))
    screen.healthy.cache_clear()
    for name in run.ACCEPTED:  # the source is the same in all of them, and its heads are built once
        found = screen.measure(PAIRS[name], 1000)
        told = f"{name}: {found}"
        assert found["s_on_t"] < 0.5 * found["s_on_s"], told
        assert found["without_on_t"] > found["s_on_t"] + 0.2, told
        assert found["t_on_t"] > found["without_on_t"] + 0.05, told


def test_settings_make_a_pair(studies):
    screen, _ = studies
    assert screen.pair_of(screen.BASE) == PAIRS["long_echo"]
    assert screen.pair_of({}) == PAIRS["first"]


def test_accepted_is_a_pair_within_all_limits_on_two_seeds(studies):
    _, pairs = studies
    good = {"s_on_s": 70, "s_on_t": 20, "without_on_t": 55, "t_on_t": 62}
    assert pairs.accepted([good, good])
    assert not pairs.accepted([good])
    for key, value in (("s_on_s", 55), ("s_on_t", 26), ("without_on_t", 44), ("without_on_t", 61), ("t_on_t", 59)):
        assert not pairs.accepted([good, good | {key: value}])


def test_the_committed_page_has_the_committed_numbers(studies):
    _, pairs = studies
    results = Path(__file__).parents[2] / "docs" / "results" / "lesion_adaptation"
    found = json.loads((results / "pairs.json").read_text())["deepmedic"]
    assert "\n".join(pairs.table_of(found)) in (results / "pairs.md").read_text()
    assert {each["pair"] for each in found if "=" not in each["pair"]} <= set(PAIRS)


def test_a_pair_may_be_described_in_place_of_named(studies):
    _, pairs = studies
    options = argparse.Namespace(settings=["high_pass=60", "distractors=[1, 3]", "blood=1.5", "convex=1.0"], pairs=[])
    ((name, pair),) = pairs.chosen_pairs(options).items()
    assert name == "high_pass=60 distractors=[1, 3] blood=1.5 convex=1.0"
    assert (pair.high_pass, pair.disease.distractors, pair.oedema) == (60, (1, 3), 200.0)
    assert pairs.chosen_pairs(argparse.Namespace(settings=None, pairs=["first"])) == {"first": PAIRS["first"]}


def test_a_plan_that_cannot_be_is_refused_before_the_phantoms_are_made(studies, tmp_path, monkeypatch):
    import run

    for words, said in (
        (["--plan", "nope.yaml"], "the plan does not exist"),
        (["--regimes", "confirmed_candidates"], "name it in --regimes too"),
    ):
        monkeypatch.setattr("sys.argv", ["run.py", "study", "--out", str(tmp_path / "out"), *words])
        with pytest.raises(SystemExit, match=said):
            run.main()
    assert not (tmp_path / "out").exists()


def test_the_tables_of_the_study(studies, tmp_path, monkeypatch):
    """Few target patients; the control has patients of the source in their place, who are no test."""
    _, pairs = studies
    import run

    monkeypatch.setattr(pairs, "SPACING", 6.0)
    groups = {"source": 1, "target": run.FEW + 1, "test": 1, "source_test": 2, "validation": (0, 1)}
    made = pairs.phantom(tmp_path, PAIRS["long_echo"], 1000, groups)
    table = run.divided(made, 1)
    whole, few, control = (
        {case.name: case for case in read_cases(table.with_name(name)).cases}
        for name in (run.TABLE, run.FEW_TABLE, run.CONTROL_TABLE)
    )
    assert len(whole) == 1 + run.FEW + 1 + 1 + 1 + 1
    assert whole.keys() - few.keys() == {"target_train_004"}
    assert control.keys() - whole.keys() == {"source_test_001"}
    unseen = {*(f"target_train_00{number}" for number in range(run.FEW + 1)), "target_val_000"}
    assert whole.keys() - control.keys() == unseen
    spare = control["source_test_001"]
    assert (spare.domain, spare.split, "label" in spare.images, "ge" in spare.images) == (
        "target",
        "train",
        False,
        True,
    )
    with pytest.raises(SystemExit, match="holds another phantom"):
        pairs.phantom(tmp_path, PAIRS["long_echo"], 1000, groups | {"test": 2})
    with pytest.raises(SystemExit, match="holds another phantom"):
        pairs.phantom(tmp_path, PAIRS["long_filter"], 1000, groups)


def test_rows_that_were_not_trained_are_missing_and_accept_nothing(studies, tmp_path):
    _, pairs = studies
    table = tmp_path / "benchmark.csv"
    table.write_text("regime,dice,source_dice\nsource_only,0.2,0.65\ntarget_only,0.63,0.3\n")
    found = pairs.scores_of(table)
    assert found == pytest.approx({"s_on_s": 65, "s_on_t": 20, "t_on_t": 63})
    assert not pairs.accepted([found, found])
    line = pairs.table_of([{"pair": "first", "seed": 1000, "steps": 600, "segments": 6, "set": [], **found}])[-1]
    assert line == "| first | 1000 | 600 x 6 | 65.0 | 20.0 | - | 63.0 | - | no |"
