"""Progress of a command: a bar on a terminal, a few plain lines otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from medgen.types import Progress

SECONDS_BETWEEN_LINES = 3.0
SECONDS_OF_SILENCE = 30.0


@contextmanager
def progress_display(stream: TextIO | None = None) -> Iterator[Progress]:
    """Make the callback ``progress(done, total, what)`` that functions of the library take.

    Args:
        stream: where to draw; by default standard error, so that standard output holds results only.
    """
    stream = stream or sys.stderr
    if not stream.isatty():
        yield PlainLines(stream)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(file=stream), refresh_per_second=4) as bars:
        yield _Bar(bars.add_task, bars.update)


class PlainLines:
    """Progress as lines: one every 10 % but at most one in 3 s, at least one every 30 s, and the last step."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._last_done, self._last_time = -1, float("-inf")

    def __call__(self, done: int, total: int, what: str) -> None:
        """Write that ``done`` of ``total`` steps are finished and ``what`` is running, if a line is due."""
        now = self._clock()
        new_phase = done < self._last_done
        if not (new_phase or self._due(done, total, now)):
            return
        share = f"{100 * done // total:3d} %" if total > 0 else "  ..."
        self._stream.write(f"{share}  {done}/{total}  {what}\n")
        self._stream.flush()
        self._last_done, self._last_time = done, now

    def _due(self, done: int, total: int, now: float) -> bool:
        if self._last_done < 0 or (done >= total and done != self._last_done):
            return True
        waited = now - self._last_time
        advanced = done - self._last_done >= 0.1 * total
        return (advanced and waited >= SECONDS_BETWEEN_LINES) or waited >= SECONDS_OF_SILENCE


class _Bar:
    """One bar for each phase: when the count falls, a new bar starts and the finished one stays visible."""

    def __init__(self, add: Callable[..., object], update: Callable[..., None]) -> None:
        self._add, self._update = add, update
        self._task: object = None
        self._done = 0

    def __call__(self, done: int, total: int, what: str) -> None:
        if self._task is None or done < self._done:
            self._task = self._add(what, total=total)
        self._done = done
        self._update(self._task, completed=done, total=total, description=what)
