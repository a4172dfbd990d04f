"""Output of commands: results on stdout; tables are drawn on a terminal and tab-separated in a pipe.

With ``--json`` all of it is one JSON document, which is written at the end.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medgen.cli.failures import without_folders
from medgen.files import plain


@dataclass
class Document:
    """What a command has to say, collected.

    Attributes:
        lines: of results.
        tables: rows as ``{column: cell}``.
        answer: the result as plain values, of a command that has such.
    """

    lines: list[str] = field(default_factory=list)
    tables: list[list[dict[str, str]]] = field(default_factory=list)
    answer: Any = None

    def write(self, error: dict[str, Any] | None = None) -> None:
        """Write it to stdout: the answer alone where there is one; after an error, what it is and what came before."""
        whole = {"lines": self.lines, "tables": self.tables}
        if error is not None:
            whole = {"error": error, **whole} if self.answer is None else {"error": error, "answer": self.answer}
        elif self.answer is not None:
            whole = self.answer
        sys.stdout.write(f"{json.dumps(plain(whole), indent=2, allow_nan=False)}\n")


_document: Document | None = None


@contextmanager
def json_output(*, wanted: bool) -> Iterator[Document | None]:
    """Inside the block nothing is written to stdout, where JSON is wanted; the caller writes the document."""
    global _document
    before, _document = _document, Document() if wanted else None
    try:
        yield _document
    finally:
        _document = before


def answer(content: Any) -> None:
    """With ``--json``, let plain values be the output of the command; else do nothing."""
    if _document is not None:
        _document.answer = content


def answer_file(path: Path) -> None:
    """With ``--json``, let a JSON file that a command wrote be its output; else do nothing."""
    if _document is not None:
        _document.answer = json.loads(path.read_text(encoding="utf-8"))


def say(text: str) -> None:
    """Write one line of results to stdout."""
    if _document is not None:
        _document.lines.append(text)
        return
    sys.stdout.write(f"{text}\n")


def note(text: str) -> None:
    """Write one line that is not a result, for example a warning, to stderr."""
    sys.stderr.write(f"{text}\n")


def write_or_say(text: str, output: Path | None, *, overwrite: bool, inputs: Iterable[Path] = ()) -> None:
    """Write a text to a file, atomically; without one, to stdout.

    Args:
        text: to write.
        output: the file.
        overwrite: whether a file that is there may be replaced.
        inputs: files that the text was made from, which are never replaced.

    Raises:
        UsageError: the file is an input, or exists, and ``overwrite`` is off.
    """
    from medgen.files import atomic_path, require_apart, require_free

    if output is None:
        say(text.rstrip("\n"))
        return
    require_apart(output, inputs)
    require_free(output, overwrite=overwrite)
    with atomic_path(output) as temporary:
        temporary.write_text(text, encoding="utf-8")
    say(f"written: {output}")


class _Notes(logging.Handler):
    """Writes log records of the library to stderr, which is looked up each time because a progress bar replaces it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record as a line."""
        note(f"{'note' if record.levelno < logging.WARNING else 'warning'}: {record.getMessage()}")


class _Others(logging.Handler):
    """Takes the log records of other libraries, which name folders of the environment and say nothing to a user.

    Without a handler Python writes them to stderr itself.
    """

    def __init__(self, *, shown: bool) -> None:
        super().__init__()
        self._shown = shown

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record as a line, without folders, where it is wanted."""
        if self._shown and not record.name.startswith("medgen"):
            note(f"{record.name}: {without_folders(record.getMessage())}")


@contextmanager
def library_notes(*, others: bool = False) -> Iterator[None]:
    """Show notes and warnings of medgen on stderr while the block runs.

    Args:
        others: show the log records and Python warnings of other libraries too, without folders.
    """
    logger, root, handler, foreign = logging.getLogger("medgen"), logging.getLogger(), _Notes(), _Others(shown=others)
    nibabel = logging.getLogger("nibabel.global")  # has a handler of its own
    before = logger.level
    handler.setLevel(logging.INFO)

    def through_root(record: logging.LogRecord) -> bool:
        foreign.handle(record)
        return False

    def shown(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        if others:
            note(f"{category.__name__}: {without_folders(str(message))}")

    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    root.addHandler(foreign)
    nibabel.addFilter(through_root)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = shown
            yield
    finally:
        nibabel.removeFilter(through_root)
        root.removeHandler(foreign)
        logger.removeHandler(handler)
        logger.setLevel(before)


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """Show ``rows`` under the headings ``columns``; in a pipe, one line per row with tabs between its cells."""
    if _document is not None:
        _document.tables.append([dict(zip(columns, row, strict=True)) for row in rows])
        return
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            say("\t".join(_on_one_line(cell) for cell in row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, title=title or None, title_justify="left")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def _on_one_line(cell: str) -> str:
    """A cell without what would end it, or steer a terminal: it may come from a file of a stranger.

    >>> _on_one_line(f"a{chr(9)}b{chr(27)}[31m")
    'a b[31m'
    """
    return "".join(letter for letter in " ".join(cell.split()) if letter.isprintable())
