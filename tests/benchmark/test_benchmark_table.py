import csv
import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from medgen.benchmark.figure import dots, write_figure
from medgen.benchmark.rendering import cells, difference_cells, markdown, write_results
from medgen.benchmark.table import tabulate
from medgen.benchmark.verdict import verdict
from medgen.recipe.settings import HealthConfig, Schedule
from medgen.run.monitor import LIMITS

TITLES = {"source_only": "train on S", "adapted": "adapted", "target_only": "train on T"}
FACTS = {
    "title": "Benchmark (phantom)",
    "phantom": True,
    "references": ["source_only", "without_shifted"],
    "folds": 1,
    "source_split": "test",
    "budget": {"steps": 7},
    "failed": [{"run": "adapted, seed 2", "reason": "it fell over"}],
    "stopped": "",
    "runs": {"all": 7, "done": 5},
    "regimes": {
        name: {"overrides": ["config.begin=0.5"] if name == "adapted" else [], "seconds": []} for name in TITLES
    },
}


def run(folder: Path, regime: str, seed: int, dice: dict, *, fold: int = 0, source: dict | None = None, done=True):
    """A finished run with these scores."""
    place = folder / f"{regime}-{seed}-{fold}"
    place.mkdir()
    tested = {"target": ()} | ({"source": ()} if source else {})
    for name, scores in (("scores.json", dice), ("scores_source.json", source or {})):
        rows = [{"case": case, "dice": value, "hd95": 4.0} for case, value in scores.items()]
        (place / name).write_text(json.dumps({"cases": rows}))
    recipe = SimpleNamespace(schedule=Schedule(keep="last"))
    names = {"regime": SimpleNamespace(name=regime), "seed": seed, "folder": place, "recipe": recipe}
    return SimpleNamespace(**names, done=done, tested=tested)


def thrice(**dice):
    """Three patients of each kind."""
    return {f"{name}{number}": value for number in range(3) for name, value in dice.items()}


@pytest.fixture
def rows(tmp_path):
    source = {"s": 0.8}
    runs = [
        run(tmp_path, "source_only", 0, thrice(a=0.1, b=0.2, c=0.3), source=source),
        run(tmp_path, "source_only", 1, thrice(a=0.1, b=0.2, c=0.3), source=source),
        run(tmp_path, "adapted", 0, thrice(c=0.5, a=0.4, b=0.6)),
        run(tmp_path, "adapted", 1, thrice(a=0.4, b=0.6, c=0.6)),
        run(tmp_path, "adapted", 2, thrice(a=0.9, b=0.9, c=0.9), done=False),
        run(tmp_path, "target_only", 0, thrice(a=0.5, b=0.7, c=None)),
    ]
    return tabulate(runs, TITLES)


def test_means_by_hand(rows):
    source, adapted, target = rows
    assert source.metrics["dice"]["mean"] == pytest.approx(0.2)
    assert adapted.metrics["dice"]["mean"] == pytest.approx((0.5 + 1.6 / 3) / 2)
    assert adapted.metrics["dice"]["sd_cases"] == pytest.approx(np.std([0.4, 0.6, 0.55] * 3, ddof=1))
    assert (adapted.target.seeds, adapted.wanted) == ((0, 1), 3)
    assert source.source_metrics["dice"]["mean"] == pytest.approx(0.8)
    assert adapted.source is None
    assert (target.metrics["dice"]["mean"], target.metrics["dice"]["n_failed"]) == (pytest.approx(0.6), 3)


def test_gap_and_differences_pair_cases_by_name(rows):
    source, adapted, target = rows
    # the cases that training on T could not score are left out: 0.15, 0.5 and 0.6 of the others
    assert adapted.gap["share"] == pytest.approx(0.35 / 0.45)
    assert adapted.gap["n_cases"] == 6
    assert source.gap is None
    assert target.gap is None
    difference = adapted.against["source_only"]
    assert difference["mean_difference"] == pytest.approx(np.mean([0.3, 0.4, 0.25]))
    assert (difference["p"], difference["p_holm"]) == (
        pytest.approx(2 / 2**9, rel=0.5),
        pytest.approx(2 * difference["p"]),
    )
    assert target.against["source_only"]["n_failed"] == 3
    assert source.against == {}


def test_the_result_begins_with_a_verdict(rows, tmp_path):
    sentence = verdict(rows, FACTS["references"])
    assert sentence.startswith("Better than “train on S” in DSC on T, in percentage points: adapted +31.7 [")
    assert "; train on T +4" in sentence
    write_results(rows, FACTS, tmp_path)
    assert (tmp_path / "benchmark.md").read_text().split("\n\n")[1] == sentence
    assert json.loads((tmp_path / "benchmark.json").read_text())["verdict"] == sentence


def test_a_verdict_names_what_is_not_better_and_what_is_not_decided(tmp_path):
    worse = [0.1, 0.3, 0.1, 0.3, 0.1, 0.3]
    scores = {"source_only": [0.2] * 6, "adapted": worse, "target_only": [0.9] * 6}
    runs = [run(tmp_path, name, 0, dict(zip("abcdef", values, strict=True))) for name, values in scores.items()]
    sentence = verdict(tabulate(runs, TITLES), ["source_only"])
    assert (
        "percentage points: train on T +70.0 [+70.0, +70.0]. Not better, or not shown to be: adapted +0.0 [" in sentence
    )
    few = [run(tmp_path, name, 1, {"a": value}) for name, value in (("source_only", 0.1), ("adapted", 0.6))]
    assert verdict(tabulate(few, TITLES), ["source_only"]).endswith(
        "Fewer than 6 cases, so not decided: adapted +50.0."
    )
    assert "'medgen benchmark ... --regimes source_only' trains one" in verdict(
        tabulate(few[1:], TITLES), ["source_only"]
    )


def test_a_plan_says_what_the_rows_are_tested_against(tmp_path):
    scores = {"target_only": (0.7, 0.8, 0.9) * 2, "adapted": (0.5,) * 6, "source_only": (0.1,) * 6}
    runs = [run(tmp_path, name, 7, dict(zip("abcdef", values, strict=True))) for name, values in scores.items()]
    references = ("target_only", "without_shifted", "adapted")  # the second has no scores
    found = tabulate(runs, TITLES, references=references)
    source, adapted, target = found
    assert list(source.against) == ["target_only", "adapted"]
    assert [list(row.against) for row in (adapted, target)] == [["target_only"], ["adapted"]]
    assert source.against["target_only"]["mean_difference"] == pytest.approx(-0.7)
    assert adapted.against["target_only"]["mean_difference"] == pytest.approx(-0.3)
    # Wilcoxon of six cases of one sign: 2 / 2**6; two rows are tested against each reference
    assert [row.against["target_only"]["p_holm"] for row in (source, adapted)] == pytest.approx([1 / 16, 1 / 16])
    facts = FACTS | {"references": list(references)}
    text = markdown(found, facts)
    assert "| regime | against “train on T” | p | against “adapted” | p |" in text
    assert "| train on S | -70.0 [" in text
    write_results(found, facts, tmp_path)
    written = json.loads((tmp_path / "benchmark.json").read_text())
    assert written["references"] == list(references)
    assert written["rows"][0]["against"]["adapted"]["mean_difference"] == pytest.approx(-0.4)
    (line, *_) = csv.DictReader((tmp_path / "benchmark.csv").open())
    assert float(line["dice_less_adapted"]) == pytest.approx(-0.4)
    assert {"dice_less_target_only_low", "dice_less_target_only_p_holm"} <= line.keys()
    assert "dice_less_source_only" not in line
    assert "## Differences" not in markdown(found, FACTS | {"references": []})


def test_a_seed_counts_when_all_its_folds_are_there(tmp_path):
    runs = [
        run(tmp_path, "adapted", 0, {"a": 0.4}, fold=0, source={"s": 0.5}),
        run(tmp_path, "adapted", 0, {"b": 0.8}, fold=1, source={"s": 0.7}),
        run(tmp_path, "adapted", 1, {"a": 0.1}, fold=0, source={"s": 0.1}),
        run(tmp_path, "adapted", 1, {"b": 0.1}, fold=1, source={"s": 0.1}, done=False),
    ]
    (row,) = tabulate(runs, TITLES)
    assert (row.target.seeds, row.target.cases) == ((0,), ("a", "b"))
    assert row.metrics["dice"]["mean"] == pytest.approx(0.6)
    assert row.source_metrics["dice"]["mean"] == pytest.approx(0.6)  # one case, scored in two folds
    assert tabulate(runs[2:], TITLES) == ()


def test_the_table_as_text(rows):
    shown = cells(rows)
    assert [line[0] for line in shown] == list(TITLES.values())
    assert shown[0][1:3] == ("2", "20.0 (8.7)")
    assert shown[1][1] == "2/3"
    assert shown[1][4].startswith("78 [")
    assert shown[0][7] == "4.0 (0.0)"  # mm, no percent
    assert (shown[0][-1], shown[1][-1]) == ("80.0", "–")
    assert difference_cells(rows)[1][1].startswith("+31.7 [+")
    assert difference_cells(rows)[0][1:] == ("–", "–")


def test_few_cases_are_shown_in_place_of_an_interval(tmp_path):
    few = [run(tmp_path, "adapted", seed, {"a": 0.4 + seed / 10, "b": 0.6}) for seed in range(2)]
    found = tabulate([*few, run(tmp_path, "source_only", 0, {"a": 0.1, "b": 0.2})], TITLES)
    assert [line[3] for line in cells(found)] == ["10.0, 20.0", "45.0, 60.0"]
    assert difference_cells(found)[1][1:3] == ("+37.5 –", "–")
    assert dots(found).axes[0].texts[0].get_text() == "15"


def test_markdown_says_what_it_shows(rows):
    text = markdown(rows, FACTS)
    for words in (
        "# Benchmark (phantom)",
        "9 virtual patients (phantom)",
        "in %",
        "| adapted | 50.0 | 53.3 |",
        "adapted: config.begin=0.5",
        "adapted: only 2 of 3 seeds",
        "train on T: 3 predictions have no DSC",
        "train on T: one seed",
        "failed: adapted, seed 2: it fell over",
        "steps: 7",
        "5 of 7 runs are finished",
    ):
        assert words in text
    timed = {**FACTS["regimes"], "adapted": {"overrides": [], "seconds": [{"training": 90}, {"training": 30}]}}
    assert "adapted: 1.5 minutes of training each" in markdown(rows, {**FACTS, "regimes": timed})
    assert "No run has scores yet" in markdown((), FACTS)


def test_verdicts_are_shown_by_seed(tmp_path):
    one = run(tmp_path, "adapted", 0, {"a": 0.4})
    looks = [{"source_dice": 0.6, "volume_source": 1.0, "volume_target": 1.0}, {"source_dice": 0.2}]
    records = [{"part": "stage0", "step": step, "health": health} for step, health in enumerate(looks)]
    (one.folder / "metrics.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    (row,) = tabulate([one, run(tmp_path, "adapted", 1, {"a": 0.5})], TITLES)
    assert row.health == {0: ("collapsed",)}  # a third of the source Dice is left
    text = markdown([row], FACTS)
    assert "| adapted | collapsed | – |" in text
    assert "COLLAPSED if" in text
    assert LIMITS in text


def test_a_training_that_the_monitor_ended_is_marked(tmp_path):
    one = run(tmp_path, "adapted", 0, {"a": 0.4})
    one.recipe.schedule = Schedule(keep="last", health=HealthConfig(stop="probe"))
    before = {"source_dice": 0.6, "volume_source": 1.0, "volume_target": 1.0}
    records = [
        {"part": "stage0", "step": 0, "health": before, "verdict": "warming up"},
        {"part": "stage0", "step": 1, "health": {"source_dice": 0.2}, "verdict": "collapsed"},
    ]
    (one.folder / "metrics.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    (row,) = tabulate([one], TITLES)
    assert row.health == {0: ("warming up (ended: collapsed)",)}  # the weights from before are kept


def test_files_hold_every_number(rows, tmp_path):
    write_results(rows, FACTS, tmp_path)
    found = json.loads((tmp_path / "benchmark.json").read_text())
    assert found["rows"][1]["target"]["values"]["dice"]["1"] == thrice(c=0.6, a=0.4, b=0.6)
    assert found["rows"][2]["target"]["values"]["dice"]["0"]["c0"] is None
    assert str(tmp_path) not in json.dumps(found)
    table = list(csv.DictReader((tmp_path / "benchmark.csv").open()))
    assert float(table[0]["dice"]) == pytest.approx(0.2)
    assert float(table[1]["dice_less_source_only"]) == pytest.approx(np.mean([0.3, 0.4, 0.25]))
    assert table[0]["gap_share"] == ""
    lines = list(csv.DictReader((tmp_path / "benchmark_cases.csv").open()))
    assert len(lines) == 18 + 2 + 18 + 9
    assert [line["dice"] for line in lines if line["regime"] == "target_only"] == ["0.5", "0.7", ""] * 3
    write_results((), FACTS, tmp_path)


def test_the_figure_shows_every_case_once_a_regime(rows, tmp_path):
    axes = dots(rows, phantom=True).axes[0]
    drawn = [line for line in axes.lines if line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in drawn] == [9, 9, 9]
    assert np.nanmax(drawn[1].get_xdata()) == pytest.approx(60)
    assert math.isnan(drawn[2].get_xdata()[2])
    joined = [line for line in axes.lines if line.get_marker() == "None" and len(line.get_xdata()) == len(rows)]
    assert len(joined) == 9
    assert list(joined[0].get_xdata()) == pytest.approx([10, 40, 50])
    assert axes.get_title(loc="left").startswith("Phantom: 9 cases")
    assert axes.texts[0].get_text().startswith("20 [")
    assert [label.get_text() for label in axes.get_yticklabels()] == list(TITLES.values())
    png, svg = write_figure(rows, tmp_path)
    assert png.read_bytes().startswith(b"\x89PNG")
    first = svg.read_text()
    assert "matplotlib" not in first.split("</metadata>")[0].split("<metadata>")[-1]
    write_figure(rows, tmp_path)
    assert svg.read_text() == first


def test_many_rows_of_long_titles_do_not_overlap(rows):
    named = "train on S, two views agree (residual of GE/SWI; without it), and a word too many to be shown here"
    figure = dots([replace(rows[0], title=named)] * 16)
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert all(upper.y0 > lower.y1 for upper, lower in pairwise(boxes))
    assert min(box.x0 for box in boxes) >= 0
    assert max(text.get_window_extent().x1 for text in figure.axes[0].texts) <= figure.bbox.x1
