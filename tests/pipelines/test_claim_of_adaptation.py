"""The page of the lesion study: who wins, and what a line says."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "pipelines" / "lesion_adaptation"


@pytest.fixture
def claim(monkeypatch):
    import claim

    return claim


WINS = {
    "regime": "confirmed_candidates", "title": "the method", "seeds": "5", "dice": "0.7", "dice_low": "0.6",
    "dice_high": "0.8", "gap_share": "0.95", "dice_less_without_shifted_low": "0.1",
    "dice_less_confirmed_source_low": "0.01",
}  # fmt: skip


def test_who_wins(claim):
    asked = ("confirmed_candidates", ["without_shifted", "confirmed_source"])
    assert claim.wins({"confirmed_candidates": WINS | {"seeds": "4"}}, *asked) == "?"
    assert claim.wins({"confirmed_candidates": WINS}, *asked) == "yes"
    assert claim.wins({"source_only": WINS}, *asked) == "?"
    for key, value, said in (
        ("gap_share", "0.79", "no"), ("gap_share", "", "?"), ("dice_less_without_shifted_low", "-0.01", "no"),
        ("dice_less_confirmed_source_low", "", "?"),
    ):  # fmt: skip
        assert claim.wins({"confirmed_candidates": WINS | {key: value}}, *asked) == said
    assert claim.verdicts({"confirmed_candidates": WINS}) == ("?", "yes", "?")


def test_the_page_and_the_copied_tables(claim, tmp_path):
    folder, page = tmp_path / "runs" / "long_echo_0" / "study", tmp_path / "page"
    folder.mkdir(parents=True)
    page.mkdir()
    for name in claim.FILES:
        (folder / name).write_text("x")
    (folder / "benchmark.csv").write_text(
        "regime,title,seeds,dice,dice_low,dice_high\nsource_only,train on S,5,0.2,0.1,0.3\n"
    )
    claim.write(tmp_path / "runs", 0, claim.ACCEPTED, page)
    text = (page / "claim.md").read_text()
    assert "| train on S (`source_only`) | 5 | 20.0 [10.0, 30.0] | 15.7 | - | - | - | - | - |" in text
    assert "| long_echo | ? | ? | ? |" in text
    assert (page / "study_long_echo_cases.csv").read_text() == "x"
    with pytest.raises(SystemExit, match="holds no study"):
        claim.write(tmp_path / "nothing", 0, claim.ACCEPTED, page)
