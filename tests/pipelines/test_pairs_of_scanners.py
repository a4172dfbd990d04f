"""The search for pairs of scanners: its heads are those of the phantom, and acceptance is what the issue says."""

import argparse
import json
import sys
from pathlib import Path

import pytest

from medgen.phantom import make_adaptation_phantom
from medgen.phantom.head.pairs import PAIRS
from medgen.volume import read_volume

FOLDER = Path(__file__).parents[2] / "pipelines" / "lesion_adaptation"


@pytest.fixture(autouse=True)
def studies(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import pairs

    import screen

    yield screen, pairs
    for name in ("pairs", "screen"):
        sys.modules.pop(name, None)


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
        assert head.image[channel][head.mask] == pytest.approx((inside - inside.mean()) / inside.std(), abs=0.02)


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


def test_rows_that_were_not_trained_are_missing_and_accept_nothing(studies, tmp_path):
    _, pairs = studies
    table = tmp_path / "benchmark.csv"
    table.write_text("regime,dice,source_dice\nsource_only,0.2,0.65\ntarget_only,0.63,0.3\n")
    found = pairs.scores_of(table)
    assert found == pytest.approx({"s_on_s": 65, "s_on_t": 20, "t_on_t": 63})
    assert not pairs.accepted([found, found])
    line = pairs.table_of([{"pair": "first", "seed": 1000, "steps": 600, "segments": 6, **found}])[-1]
    assert line == "| first | 1000 | 600 x 6 | 65.0 | 20.0 | - | 63.0 | - | no |"
