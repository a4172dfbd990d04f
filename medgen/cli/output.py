"""What commands say: results on stdout, a table for eyes on a terminal and tab-separated lines in a pipe."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


def say(text: str) -> None:
    """Write one line of result."""
    sys.stdout.write(f"{text}\n")


def note(text: str) -> None:
    """Write one line that is not a result, such as a warning, to stderr."""
    sys.stderr.write(f"{text}\n")


class _Notes(logging.Handler):
    """What the library logs, as notes; stderr is looked up anew each time, because a progress bar replaces it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        note(f"{'note' if record.levelno < logging.WARNING else 'warning'}: {record.getMessage()}")


@contextmanager
def library_notes() -> Iterator[None]:
    """Show what the library decided or doubts on stderr while the block runs."""
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
    """Show ``rows`` under ``columns``; in a pipe each row is one line with tabs between its cells."""
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
