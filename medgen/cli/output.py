"""Output of commands: results on stdout; tables are drawn on a terminal and tab-separated in a pipe."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


def say(text: str) -> None:
    """Write one line of results to stdout."""
    sys.stdout.write(f"{text}\n")


def note(text: str) -> None:
    """Write one line that is not a result, for example a warning, to stderr."""
    sys.stderr.write(f"{text}\n")


class _Notes(logging.Handler):
    """Writes log records of the library to stderr, which is looked up each time because a progress bar replaces it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record as a line."""
        note(f"{'note' if record.levelno < logging.WARNING else 'warning'}: {record.getMessage()}")


@contextmanager
def library_notes() -> Iterator[None]:
    """Show notes and warnings of the library on stderr while the block runs."""
    logger, handler = logging.getLogger("medgen"), _Notes(logging.INFO)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """Show ``rows`` under the headings ``columns``; in a pipe, one line per row with tabs between its cells."""
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            say("\t".join(" ".join(cell.split()) for cell in row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, title=title or None, title_justify="left")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
