"""The case table: one row a patient, one column a role."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from medgen.cases.case import DOMAINS, SPLITS, Case, is_role
from medgen.errors import InputError, UsageError
from medgen.files import atomic_path, require_apart
from medgen.names import CASE_BYTES, file_name
from medgen.types import Split

_FIXED = ("case", "split", "domain", "patient")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # a case names files and folders


@dataclass(frozen=True)
class CaseTable:
    """The cases of one file.

    Args:
        path: the file that the cases were read from.
        cases: in the order of the file.
    """

    path: Path
    cases: tuple[Case, ...]

    @property
    def roles(self) -> tuple[str, ...]:
        """Every role that some case has, in the order of first appearance."""
        return tuple(dict.fromkeys(role for case in self.cases for role in case.images))

    @property
    def files(self) -> tuple[Path, ...]:
        """The table and every image that it names, whatever the role: what no command that reads it may replace."""
        return (self.path, *(image for case in self.cases for image in case.images.values()))

    def select(self, *, split: Split | None = None, domain: str | None = None) -> tuple[Case, ...]:
        """The cases of one split, of one domain, or of both."""
        return tuple(
            case
            for case in self.cases
            if (split is None or case.split == split) and (domain is None or case.domain == domain)
        )


def read_cases(path: str | Path) -> CaseTable:
    """Read ``cases.csv``: columns ``case``, ``split``, ``domain`` and ``patient`` (optional) and one for each role.

    Paths are relative to the file; an empty cell is a missing image. Whether the images exist and make sense is the
    business of ``check_cases``.

    Raises:
        InputError: the table itself is wrong: a missing column, an unknown split or domain, a case named twice, a case
            or a patient in two splits (which is leakage), a row of another length, a path that cannot be meant.
    """
    table, wrong = read_rows(path)
    _require_unique(table.cases, table.path)
    if wrong:
        raise wrong[0].error
    _require_patients_apart(table.cases, table.path)
    return table


@dataclass(frozen=True)
class WrongRow:
    """A row of a case table that is no case.

    Attributes:
        line: of the file, from 1.
        name: of the case as it stands there.
        split: as it stands there.
        error: what is wrong.
    """

    line: int
    name: str
    split: str
    error: InputError


def read_rows(path: str | Path) -> tuple[CaseTable, tuple[WrongRow, ...]]:
    """Read a case table of which every row stands for itself, as in a prediction: one that is wrong spoils no other.

    Returns:
        The table of the rows that are cases, a name that stands twice included, and the other rows.

    Raises:
        InputError: the table itself is wrong, or no row is a case.
    """
    path = Path(path)
    rows = _rows(path)
    header = [name.strip() for name in rows[0][1]] if rows else []
    roles = _checked_header(header, path)
    cases: list[Case] = []
    wrong: list[WrongRow] = []
    for line, cells in rows[1:]:
        try:
            _require_length(line, cells, header, path)
            cases.append(_case(dict(zip(header, cells, strict=True)), roles, path, line))
        except InputError as error:
            name, split = (cells[at].strip() if at < len(cells) else "" for at in map(header.index, ("case", "split")))
            wrong.append(WrongRow(line, name, split, error))
    if not cases:
        raise (
            wrong[0].error
            if wrong
            else InputError("the case table has no cases", where=path, fix="add one row for each patient")
        )
    return CaseTable(path.absolute(), tuple(cases)), tuple(wrong)


def write_cases(cases: Iterable[Case], path: str | Path) -> Path:
    """Write a case table, with paths relative to it where the disk allows, atomically.

    Args:
        cases: in the order to write.
        path: the file, usually ``cases.csv``.

    Returns:
        The path.

    Raises:
        InputError: there is no case, two have one name, a patient is in two splits, or a name or role could not be
            read back.
        UsageError: the file is an image of a case.
        StorageError: the disk is full or the folder cannot be written.
    """
    path, cases = Path(path), tuple(cases)
    require_apart(path, (image for case in cases for image in case.images.values()))
    if not cases:
        raise InputError("there are no cases to write", where=path, fix="look at the folder they should come from")
    _require_unique(cases, path)
    _require_patients_apart(cases, path)
    for case in cases:
        require_name(case.name, path)
    roles = CaseTable(path, cases).roles
    _require_roles(roles, path)
    further = [column for column in ("patient", "domain") if any(getattr(case, column) for case in cases)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "split", *further, *roles])
    folder = path.absolute().parent
    for case in cases:
        paths = [_relative(case.images[role], folder) if role in case.images else "" for role in roles]
        writer.writerow([case.name, case.split, *(getattr(case, column) or "" for column in further), *paths])
    with atomic_path(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
    return path


def require_folder(folder: str | Path) -> Path:
    """The absolute path of a folder that is there.

    Raises:
        InputError: it is not there, or is no folder.
    """
    folder = Path(folder).absolute()
    if not folder.is_dir():
        what = "the path is no folder" if folder.exists() else "there is no such folder"
        raise InputError(what, where=folder, fix="check the name")
    return folder


def require_name(name: str, where: str | Path, line: int | None = None) -> str:
    """A case name that can name a file.

    Raises:
        InputError: it is empty or has other characters than letters, digits, point, dash and underscore.
    """
    try:
        if _NAME.fullmatch(name):
            return file_name(name, CASE_BYTES)
    except UsageError:
        pass
    at = "" if line is None else f" in line {line}"
    raise InputError(
        f"the case name {name[:CASE_BYTES]!r}{at} cannot name a file",
        where=where,
        fix=f"use at most {CASE_BYTES} letters, digits, '.', '-' and '_', beginning with a letter or digit",
    )


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Line number and cells of every line that is not blank, the header first."""
    if not path.is_file():
        raise InputError("there is no case table", where=path, fix="name a cases.csv")
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets begin the file with a byte order mark
    except UnicodeDecodeError as error:
        raise InputError("the case table is not UTF-8", where=path, fix="save it as 'CSV UTF-8'") from error
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        rows = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise InputError(
            f"line {reader.line_num} is no CSV: {error}", where=path, fix="save it as CSV again"
        ) from error
    return rows


def _require_length(line: int, cells: Sequence[str], header: Sequence[str], path: Path) -> None:
    if len(cells) != len(header):
        raise InputError(
            f"line {line} has {len(cells)} cells, the header has {len(header)}",
            where=path,
            fix="give every line one cell for each column, empty for a missing image",
        )


def _checked_header(header: Sequence[str], path: Path) -> tuple[str, ...]:
    """The roles among the columns."""
    if not header:
        raise InputError("the case table is empty", where=path, fix="begin it with: case,split,t1,ct")
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        raise InputError("the columns are not separated by commas", where=path, fix="save it with commas")
    missing = [name for name in ("case", "split") if name not in header]
    if missing:
        raise InputError(
            f"the column '{missing[0]}' is missing; the columns are {', '.join(header)}",
            where=path,
            fix="begin the table with: case,split,t1,ct",
        )
    twice = [name for name, count in Counter(header).items() if count > 1]
    roles = tuple(name for name in header if name not in _FIXED)
    if twice or not roles:
        what = f"the column '{twice[0]}' stands twice" if twice else "no column names a role"
        raise InputError(what, where=path, fix="name one column for each role, such as t1, ct, mask, label")
    _require_roles(roles, path)
    return roles


def _require_roles(roles: Iterable[str], path: Path) -> None:
    if wrong := [role for role in roles if not is_role(role)]:
        raise InputError(
            f"the column {wrong[0][:100]!r} cannot be a role", where=path, fix="use letters, digits, '-' and '_'"
        )


def _case(row: Mapping[str, str], roles: Sequence[str], path: Path, line: int) -> Case:
    cells = {name: cell.strip() for name, cell in row.items()}
    name = require_name(cells["case"], path, line)
    if cells["split"] not in SPLITS:
        raise InputError(
            f"case '{name}' in line {line} has the split {cells['split']!r}",
            where=path,
            fix=f"write one of: {', '.join(SPLITS)}",
        )
    domain = cells.get("domain") or None
    if domain is not None and domain not in DOMAINS:
        raise InputError(
            f"case '{name}' in line {line} has the domain {domain!r}",
            where=path,
            fix=f"write one of: {', '.join(DOMAINS)}, or nothing",
        )
    folder = path.absolute().parent
    images = {role: _resolved(cells[role], folder, path, line) for role in roles if cells[role]}
    if not images:
        raise InputError(f"case '{name}' in line {line} has no image", where=path, fix="add one or remove the line")
    return Case(name, cells["split"], domain, images, cells.get("patient") or None)


def _resolved(cell: str, folder: Path, path: Path, line: int) -> Path:
    """The absolute path that a cell means."""
    foreign = os.name != "nt" and ("\\" in cell or PureWindowsPath(cell).drive)
    if foreign or "\0" in cell or "://" in cell:
        raise InputError(
            f"the path {cell!r} in line {line} cannot be read on this machine",
            where=path,
            fix="write paths relative to the table, with '/' between folders",
        )
    return Path(os.path.normpath(folder / cell))


def _require_unique(cases: Sequence[Case], path: Path) -> None:
    splits: dict[str, list[str]] = {}
    for case in cases:
        splits.setdefault(case.name, []).append(case.split)
    twice = {name: found for name, found in splits.items() if len(found) > 1}
    if twice:
        listed = ", ".join(f"{name} ({', '.join(found)})" for name, found in list(twice.items())[:5])
        leakage = any(len(set(found)) > 1 for found in twice.values())
        count = "1 case" if len(twice) == 1 else f"{len(twice)} cases"
        raise InputError(
            f"{'leakage between splits: ' if leakage else ''}{count} named twice: {listed}",
            where=path,
            fix="give every patient one row",
        )


def _require_patients_apart(cases: Sequence[Case], path: Path) -> None:
    first: dict[str, Case] = {}
    torn = [
        (case, other)
        for case in cases
        if case.patient and (other := first.setdefault(case.patient, case)).split != case.split
    ]
    if torn:
        case, other = torn[0]
        raise InputError(
            f"leakage between splits: patient '{case.patient}' is in {other.split} ({other.name}) and {case.split} "
            f"({case.name})",
            where=path,
            fix="give all studies of a patient one split",
        )


def _relative(image: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(image, folder)).as_posix()
    except ValueError:  # another drive of a Windows machine has no relative path
        return image.as_posix()
