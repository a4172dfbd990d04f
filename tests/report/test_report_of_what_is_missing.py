"""A report without pictures of cases says why, on the page and on stderr."""

import pytest
from test_report import make_reader_study, text_of

from medgen.cli import main

NO_PREDICTIONS = "no predictions/ here, so no pictures of cases"
NO_TABLE = "no case table (cases.csv) here, so no pictures of cases; give --cases"


def said(folder, capsys, *words: str) -> tuple[str, str]:
    """What stands on stderr and what on the page."""
    with pytest.raises(SystemExit) as ended:
        main(["report", str(folder), *words])
    assert ended.value.code == 0
    return capsys.readouterr().err, text_of((folder / "report.html").read_text())


@pytest.fixture
def study(tmp_path):
    return make_reader_study(tmp_path / "study")


def test_predictions_with_another_name(study, capsys):
    (study / "predictions").rename(study / "predicted")
    errors, page = said(study, capsys)
    assert f"note: {NO_PREDICTIONS}\n" in errors
    assert NO_PREDICTIONS[1:] in page
    assert "case table" not in errors + page


def test_nothing_in_predictions(study, capsys):
    (study / "predictions").rename(study / "predicted")
    (study / "predictions").mkdir()
    errors, page = said(study, capsys)
    assert "note: nothing of a case in predictions/, so no pictures of cases\n" in errors
    assert "Nothing of a case in predictions/" in page


def test_no_case_table_until_it_is_given(study, capsys):
    (study / "data").rename(study / "elsewhere")
    errors, page = said(study, capsys)
    assert f"note: {NO_TABLE}\n" in errors
    assert NO_TABLE[1:] in page
    errors, page = said(study, capsys, "--cases", str(study / "elsewhere/cases.csv"))
    assert "no pictures" not in errors + page
    assert "p3, the worst case" in page


def test_a_training_alone_needs_no_case_table(study, capsys):
    errors, page = said(study / "run", capsys)
    assert f"note: {NO_PREDICTIONS}\n" in errors
    assert "case table" not in errors + page


def test_a_whole_study_says_nothing(study, capsys):
    errors, page = said(study, capsys)
    assert "note:" not in errors
    assert "no pictures of cases" not in page
