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
