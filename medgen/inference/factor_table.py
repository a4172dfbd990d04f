"""Known factors of cases, from one column of a table, for probes of codes and for the colours of a map."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medgen.errors import InputError, UsageError
from medgen.files import require_readable
from medgen.types import Array


def read_table(path: str | Path) -> dict[str, dict[str, str]]:
    """The cells of a CSV file with a column ``case``: by column, the text of each case that has one.

    Raises:
        InputError: it is no such table, or names a case twice.
        StorageError: the file is missing.
    """
    path = Path(path)
    require_readable(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            rows, names = list(reader), list(reader.fieldnames or ())
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"this is no table: {error}", where=path, fix="give a CSV file with a column 'case'") from None
    if "case" not in names:
        raise InputError("the table has no column 'case'", where=path, fix="name the case of each row in it")
    cases = [row["case"] for row in rows]
    if twice := [name for name in cases if cases.count(name) > 1]:
        raise InputError(f"the table has case '{twice[0]}' twice", where=path, fix="keep one row of it")
    others = [name for name in names if name and name != "case"]
    return {name: {row["case"]: row[name].strip() for row in rows if (row[name] or "").strip()} for name in others}


def factor_of(cells: dict[str, str]) -> dict[str, float] | dict[str, str]:
    """A column as numbers where all cells are numbers, as text else."""
    try:
        numbers = {case: float(text) for case, text in cells.items()}
    except ValueError:
        return cells
    return numbers if all(np.isfinite(list(numbers.values()))) else cells


def column_of(path: str | Path, name: str) -> dict[str, float] | dict[str, str]:
    """One column of a table by case.

    Raises:
        UsageError: the table has no such column.
        InputError: see :func:`read_table`.
    """
    table = read_table(path)
    if name not in table:
        columns = ", ".join(table) or "no other column than 'case'"
        raise UsageError(f"the table has no column '{name}'", where=path, fix=f"choose one of: {columns}")
    return factor_of(table[name])


def matched(cases: Sequence[str] | Array, column: dict[str, float] | dict[str, str]) -> tuple[Array, Array]:
    """Which rows (N,) have a value, and the values of these (M,)."""
    known = np.array([case in column for case in cases])
    return known, np.array([column[case] for case in cases if case in column])
