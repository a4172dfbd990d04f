"""The page of the lesion study: when the claim holds, and what a line says."""

import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "pipelines" / "lesion_adaptation"


@pytest.fixture
def claim(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import claim

    yield claim
    for name in ("claim", "pairs", "run", "screen"):
        sys.modules.pop(name, None)


WINS = {
    "regime": "confirmed_candidates", "title": "the method", "seeds": "5", "dice": "0.7", "dice_low": "0.6",
    "dice_high": "0.8", "gap_share": "0.95", "dice_less_without_shifted_low": "0.1",
    "dice_less_confirmed_source_low": "0.01",
}  # fmt: skip


def test_the_claim_holds_only_if_all_of_it_does(claim):
    assert claim.holds({"confirmed_candidates": WINS})
    assert not claim.holds({"source_only": WINS})
    for key, value in (
        ("gap_share", "0.79"), ("gap_share", ""), ("dice_less_without_shifted_low", "-0.01"),
        ("dice_less_confirmed_source_low", ""),
    ):  # fmt: skip
        assert not claim.holds({"confirmed_candidates": WINS | {key: value}})


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
    assert "| long_echo | no |" in text
    assert (page / "study_long_echo_cases.csv").read_text() == "x"
    with pytest.raises(SystemExit, match="holds no study"):
        claim.write(tmp_path / "nothing", 0, claim.ACCEPTED, page)
