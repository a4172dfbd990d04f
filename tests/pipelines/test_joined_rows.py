"""Rows of two runs of the lesion study in one table: joined with itself, a table is as it was."""

import csv
import json
import shutil
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "pipelines" / "lesion_adaptation"
PAGE = FOLDER.parents[1] / "docs" / "results" / "lesion_adaptation"
PAIR = "long_echo"
FACTS = {
    "title": "Benchmark (phantom)",
    "phantom": True,
    "folds": 1,
    "source_split": "test",
    "failed": [],
    "stopped": "",
}


@pytest.fixture
def study(tmp_path):
    """A study whose tables are those of the page, and the page."""
    folder, page = tmp_path / "out" / f"{PAIR}_0" / "study", tmp_path / "page"
    folder.mkdir(parents=True)
    page.mkdir()
    for end in (".csv", "_cases.csv"):
        shutil.copy(PAGE / f"study_{PAIR}{end}", folder / f"benchmark{end}")
        shutil.copy(PAGE / f"study_{PAIR}{end}", page)
    own = {name: {"seconds": [], "overrides": []} for name in ("confirmed", "confirmed_candidates", "confirmed_source")}
    facts = {**FACTS, "budget": {}, "runs": {"all": 1, "done": 1}, "regimes": own, "references": []}
    (folder / "benchmark.json").write_text(json.dumps(facts))
    return tmp_path / "out", page


def rows(path):
    with path.open(newline="") as file:
        return {row["regime"]: row for row in csv.DictReader(file)}


def test_a_table_joined_with_itself_is_as_it_was(study):
    import joined

    out, page = study
    joined.write(out, 0, page)
    before, after = rows(page / f"study_{PAIR}.csv"), rows(page / f"students_{PAIR}.csv")
    assert list(after) == [*before]
    names = ["dice", "dice_low", "source_dice", "hd95", "gap_share", "gap_share_low", "dice_less_without_shifted_high"]
    names += ["dice_less_confirmed_source_low", "dice_less_confirmed", "dice_less_without_shifted_p"]
    for name, row in before.items():
        assert after[name]["seeds"] == row["seeds"]
        kept = [key for key in names if row[key]]
        assert [float(after[name][key]) for key in kept] == pytest.approx([float(row[key]) for key in kept])
    text = (page / f"students_{PAIR}.md").read_text()
    assert "train on S, without GE/SWI (earlier run)" in text
    assert (page / f"students_{PAIR}.png").stat().st_size > 10_000


def test_other_test_patients_are_not_joined(study):
    import joined

    out, page = study
    table = page / f"study_{PAIR}_cases.csv"
    table.write_text(table.read_text().replace("target_test_003", "somebody"))
    with pytest.raises(SystemExit, match="other test patients"):
        joined.write(out, 0, page)
    table.write_text(table.read_text().replace("target_only", "nothing"))
    with pytest.raises(SystemExit, match="has no row 'target_only' on target"):
        joined.write(out, 0, page)
