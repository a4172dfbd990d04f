"""Known factors of cases, from one column of a table, for probes of codes and for the colours of a map."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medgen.errors import InputError, UsageError
from medgen.files import require_file
from medgen.types import Array

_MOST = 1e100
"""Size of a number, whose square and the sum of squares are finite."""


def read_table(path: str | Path) -> dict[str, dict[str, str]]:
    """The cells of a CSV file with a column ``case``: by column, the text of each case that has one.

    Raises:
        InputError: it is no such table, a row has more or fewer cells than the header, or a column or a case stands
            twice.
        StorageError: the file is missing.
    """
    path = Path(path)
    require_file(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"this is no table: {error}", where=path, fix="give a CSV file with a column 'case'") from None
    names = lines[0][1] if lines else []
    if "case" not in names:
        raise InputError("the table has no column 'case'", where=path, fix="name the case of each row in it")
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise InputError(f"the column '{twice[0]}' stands twice", where=path, fix="keep one of them, or rename it")
    for number, row in lines[1:]:
        if len(row) != len(names):
            what = f"line {number} has {len(row)} cells, the header has {len(names)}"
            fix = "give every line one cell for each column, empty for a missing value"
            raise InputError(what, where=path, fix=fix)
    rows = [dict(zip(names, row, strict=True)) for _, row in lines[1:]]
    cases = [row["case"] for row in rows]
    if twice := [name for name in cases if cases.count(name) > 1]:
        raise InputError(f"the table has case '{twice[0]}' twice", where=path, fix="keep one row of it")
    others = [name for name in names if name and name != "case"]
    return {name: {row["case"]: row[name].strip() for row in rows if row[name].strip()} for name in others}


def factor_of(cells: dict[str, str]) -> dict[str, float] | dict[str, str]:
    """A column as numbers where all cells are numbers, as text else.

    Raises:
        ValueError: all are numbers, and one is not finite or above 1e100 in size.
    """
    try:
        numbers = {case: float(text) for case, text in cells.items()}
    except ValueError:
        return cells
    for case, number in numbers.items():
        if not abs(number) <= _MOST:
            raise ValueError(f"case '{case}' has {cells[case]}, and numbers are finite and at most {_MOST:g} in size")
    return numbers


def column_of(path: str | Path, name: str) -> dict[str, float] | dict[str, str]:
    """One column of a table by case.

    Raises:
        UsageError: the table has no such column.
        InputError: see :func:`read_table`; or the column has a number that is not finite, or too large.
    """
    table = read_table(path)
    if name not in table:
        columns = ", ".join(table) or "no other column than 'case'"
        raise UsageError(f"the table has no column '{name}'", where=path, fix=f"choose one of: {columns}")
    try:
        return factor_of(table[name])
    except ValueError as error:
        fix = "correct the cell, or leave it empty where the value is not known"
        raise InputError(f"the column '{name}': {error}", where=path, fix=fix) from None


def matched(cases: Sequence[str] | Array, column: dict[str, float] | dict[str, str]) -> tuple[Array, Array]:
    """Which rows (N,) have a value, and the values of these (M,)."""
    known = np.array([case in column for case in cases])
    return known, np.array([column[case] for case in cases if case in column])
