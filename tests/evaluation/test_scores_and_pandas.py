"""Scores as tables of pandas and back."""

import builtins
import math

import numpy as np
import pytest

from medgen.errors import InputError, UsageError
from medgen.evaluation.scores import Scores
from medgen.metrics.statistics import summarise

VALUES = [0.5, 0.75, math.nan]


def scores():
    rows = tuple({"case": f"p{number}", "dice": value} for number, value in enumerate(VALUES))
    return Scores("segmentation", rows, {"dice": summarise(VALUES)})


def test_out_and_in():
    pytest.importorskip("pandas")
    frame = scores().to_pandas()
    assert list(frame.index) == ["p0", "p1", "p2"]
    assert np.array_equal(frame["dice"], VALUES, equal_nan=True)
    back = Scores.from_pandas(frame, "segmentation")
    assert back.summary["dice"]["mean"] == scores().summary["dice"]["mean"] == 0.625
    assert (back.summary["dice"]["n"], back.summary["dice"]["n_failed"]) == (2, 1)
    assert [row["case"] for row in back.cases] == ["p0", "p1", "p2"]
    assert back.table()[0][0] == "metric"


def test_a_table_of_another_program():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"case": [1, 2], "tool": ["a", "a"], "dice": [0.25, 0.75], "volume": [3, 5]})
    found = Scores.from_pandas(frame, "segmentation")
    assert list(found.summary) == ["dice", "volume"]
    assert found.cases[1] == {"case": "2", "dice": 0.75, "volume": 5.0}
    assert "another program" in found.notes[0]
    with pytest.raises(InputError, match="two rows have the name 1"):
        Scores.from_pandas(frame.assign(case=1), "segmentation")
    with pytest.raises(InputError, match="no column of numbers"):
        Scores.from_pandas(frame[["case", "tool"]], "segmentation")


WRONG = {
    "number and text": (lambda p, good: good.set_axis([1, "1"], axis=0), "two rows have the name 1"),
    "two columns": (lambda p, good: p.DataFrame([[1.0, 2.0]], columns=["mae", "mae"]), "columns have the name mae"),
    "two alike": (lambda p, good: p.DataFrame([[1.0, 2.0]], columns=[1, "1"]), "two columns have the name 1"),
    "two names": (lambda p, good: p.DataFrame([["a", "b"]], columns=["case", "case"]), "columns have the name case"),
    "complex": (lambda p, good: good.assign(mae=[1j, 2j]), "'mae' holds complex numbers"),
    "durations": (lambda p, good: good.assign(mae=p.to_timedelta([1, 2], "ms")), "'mae' holds durations"),
    "mixed": (lambda p, good: good.assign(mae=[0.5, "lost"]), "'mae' holds float among other things"),
    "NaN": (lambda p, good: good.set_axis(["a", math.nan], axis=0), "row 2 has no name of a case"),
    "nothing": (lambda p, good: good.assign(case=[None, "b"]), "row 1 has no name of a case"),
    "blank": (lambda p, good: good.assign(case=["a", " "]), "row 2 has no name of a case"),
    "rows of levels": (lambda p, good: good.set_index([["a", "b"], [1, 2]]), "2 levels of index"),
    "columns of levels": (lambda p, good: p.concat({"tool": good}, axis=1), "2 levels of columns"),
    "no row": (lambda p, good: good.iloc[:0], "the table has no row"),
    "column without a name": (lambda p, good: good.set_axis([math.nan], axis=1), "a column has no name"),
}
"""How a table becomes one that cannot be meant, and what is said of it."""


@pytest.mark.parametrize("name", WRONG)
def test_a_table_that_cannot_be_meant(name):
    pandas = pytest.importorskip("pandas")
    made, said = WRONG[name]
    table = made(pandas, pandas.DataFrame({"dice": [0.5, 0.75]}, index=["a", "b"]))
    with pytest.raises(InputError, match=said):
        Scores.from_pandas(table, "segmentation")


def test_what_is_no_table_and_no_task():
    pandas = pytest.importorskip("pandas")
    series = pandas.Series([0.5], index=["a"])
    with pytest.raises(UsageError, match="this is a Series"):
        Scores.from_pandas(series, "segmentation")
    with pytest.raises(UsageError, match="the task 'segmentaton'") as caught:
        Scores.from_pandas(series.to_frame("dice"), "segmentaton")
    assert caught.value.fix == "did you mean 'segmentation'?"
    with pytest.raises(UsageError, match="the task 'nonsense'"):
        Scores.from_pandas(series.to_frame("dice"), "nonsense")


def test_missing_numbers_fail_and_other_columns_are_named():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"dice": [0.5, 1.0], "tool": ["a", "b"], "found": [True, False]}, index=["a", "b"])
    frame["volume"] = pandas.array([3, None], dtype="Int64")
    found = Scores.from_pandas(frame, "segmentation")
    assert list(found.summary) == ["dice", "volume"]
    assert (found.summary["volume"]["n"], found.summary["volume"]["n_failed"]) == (1, 1)
    assert "columns without numbers were left out: tool, found" in found.notes


def test_infinite_values_are_counted_where_people_look():
    values = {"psnr": [math.inf, 30.0, 40.0], "mae": [0.0, 1.0, math.nan]}
    rows = tuple(
        {"case": f"p{n}", "psnr": psnr, "mae": mae} for n, (psnr, mae) in enumerate(zip(*values.values(), strict=True))
    )
    summary = {name: summarise(each) for name, each in values.items()}
    heading, psnr, mae = Scores("synthesis", rows, summary).table()
    assert (psnr[heading.index("infinite")], mae[heading.index("infinite")]) == ("1", "0")
    assert (psnr[heading.index("n")], psnr[heading.index("failed")]) == ("2", "0")
    assert "infinite" not in scores().table()[0]


def test_without_pandas_it_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def imported(name, *rest, **options):
        if name == "pandas":
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", imported)
    with pytest.raises(UsageError, match="pandas") as error:
        scores().to_pandas()
    assert "pip install 'medgen[pandas]'" in error.value.fix
