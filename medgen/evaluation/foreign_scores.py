"""Scores of another program, as a table of pandas, column by column: what cannot be meant is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Number
from typing import Any, NamedTuple

import numpy as np

from medgen.cases import listed
from medgen.errors import InputError, UsageError, did_you_mean

TASKS = ("synthesis", "segmentation", "detection")
CASE = "case"
_WHY = "give one row a case, and one column a metric"


class Columns(NamedTuple):
    """What a table holds.

    Attributes:
        cases: their names.
        metrics: by name one number a case; NaN is a case that failed.
        left_out: columns without numbers.
    """

    cases: tuple[str, ...]
    metrics: dict[str, list[float]]
    left_out: tuple[str, ...]


def require_task(task: str) -> None:
    """Refuse a task that has no scores of cases.

    Raises:
        UsageError: names the nearest.
    """
    if task not in TASKS:
        fix = did_you_mean(str(task), TASKS, f"choose from {', '.join(TASKS)}")
        raise UsageError(f"there are no scores of the task '{str(task)[:100]}'", fix=fix)


def columns_of(frame: Any, pandas: Any) -> Columns:
    """Read a DataFrame whose index is the case, or which has a column ``case``.

    Args:
        frame: to read.
        pandas: the module, which a plain installation lacks.

    Raises:
        UsageError: it is no DataFrame.
        InputError: an index or columns of several levels; a case without a name; two cases or columns of one name;
            no row; a column of complex numbers, of durations, or of numbers among other things; or no numbers at all.
    """
    if not isinstance(frame, pandas.DataFrame):
        fix = "give a DataFrame; of a Series: series.to_frame('dice')"
        raise UsageError(f"scores are read from a DataFrame, and this is a {type(frame).__name__}", fix=fix)
    for what, index in (("index", frame.index), ("columns", frame.columns)):
        if index.nlevels > 1 and (what == "columns" or CASE not in frame.columns):
            raise InputError(f"the table has {index.nlevels} levels of {what}", fix=f"{_WHY}, each with one name")
    if frame.columns.isna().any():
        raise InputError("a column has no name", fix="name every metric")
    names = [str(name) for name in frame.columns]
    _require_once(names, "columns")
    named = frame.iloc[:, names.index(CASE)] if CASE in names else frame.index
    cases = _cases(list(named), pandas)
    metrics, left_out = {}, list[str]()
    for place, name in enumerate(names):
        if name == CASE:
            continue
        values = _numbers(frame.iloc[:, place], name, pandas.api.types)
        if values is None:
            left_out.append(name)
        else:
            metrics[name] = values
    if not metrics:
        raise InputError("the table has no column of numbers", fix=_WHY)
    return Columns(cases, metrics, tuple(left_out))


def _cases(values: Sequence[Any], pandas: Any) -> tuple[str, ...]:
    if not values:
        raise InputError("the table has no row", fix=_WHY)
    for row, value in enumerate(values, start=1):
        if not pandas.api.types.is_scalar(value) or pandas.isna(value) or not str(value).strip():
            raise InputError(f"row {row} has no name of a case: {str(value)[:100]!r}", fix="name every case")
    names = tuple(str(value) for value in values)
    _require_once(names, "rows")
    return names


def _require_once(names: Sequence[str], what: str) -> None:
    """Refuse names of which two are one as text, as 1 and "1" are."""
    seen: set[str] = set()
    if twice := [name for name in names if name in seen or seen.add(name)]:  # type: ignore[func-returns-value]
        raise InputError(f"two {what} have the name {listed(list(dict.fromkeys(twice)))}", fix=_WHY)


def _numbers(column: Any, name: str, types: Any) -> list[float] | None:
    """The numbers of a column; None where it holds texts, truth values or dates, which are no scores."""
    kind = column.dtype
    if types.is_bool_dtype(kind) or types.is_datetime64_any_dtype(kind):
        return None
    if types.is_complex_dtype(kind) or types.is_timedelta64_dtype(kind):
        what = "complex numbers" if types.is_complex_dtype(kind) else "durations"
        raise InputError(f"the column '{name}' holds {what}", fix="give real numbers, in the unit of the metric")
    if types.is_numeric_dtype(kind):
        return [float(each) for each in column.to_numpy(dtype=float, na_value=math.nan)]
    if mixed := [each for each in column if isinstance(each, Number) and not _is_nothing(each)]:
        said = f"the column '{name}' holds {type(mixed[0]).__name__} among other things"
        raise InputError(said, fix=f"make it numbers first: pandas.to_numeric(frame['{name}'])")
    return None


def _is_nothing(value: Any) -> bool:
    return isinstance(value, bool | np.bool_) or value != value
