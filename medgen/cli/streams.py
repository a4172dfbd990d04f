"""Standard streams that are closed, broken or of a narrow encoding: no result is lost by them, and no command fails."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TextIO, cast

from medgen.errors import StorageError


class _Lasting:
    """A text stream that swallows what is written after its reader has gone, as in ``medgen check c.csv | head -1``.

    Args:
        stream: the real one.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._failure: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or drop."""
        with self._reader_may_go():
            self._stream.write(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write each, or drop it."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush, or drop."""
        with self._reader_may_go():
            self._stream.flush()

    @contextmanager
    def _reader_may_go(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._drop()
            if not isinstance(error, BrokenPipeError):
                self._failure = error

    def finish(self) -> None:
        """Tell, when the work is done, that something else than a reader who left has kept the text from its place.

        Raises:
            StorageError: what was written did not arrive, as on a full disk.
        """
        self.flush()
        if self._failure is not None:
            raise StorageError(
                f"the standard output could not be written: {self._failure.strerror}",
                fix="the command has done its work; send its output to another place",
            )

    def _drop(self) -> None:
        """Send what is still buffered, and all that follows, nowhere: else the interpreter fails with it at its end."""
        with contextlib.suppress(OSError, ValueError), open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), self._stream.fileno())


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Make standard input, output and error safe to use until the block ends.

    A closed one is replaced by nowhere, before a file of the run gets its number. A letter that the encoding of a
    stream lacks is written as an escape.
    """
    _occupy_standard_numbers()
    with ExitStack() as stack:
        for name in ("stdin", "stdout", "stderr"):
            if getattr(sys, name) is None:
                nowhere = stack.enter_context(open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))
                stack.callback(setattr, sys, name, None)
                setattr(sys, name, nowhere)
        for name in ("stdout", "stderr"):
            stream = cast(TextIO, getattr(sys, name))
            stack.callback(setattr, sys, name, stream)
            if hasattr(stream, "reconfigure"):
                stack.callback(_restore, stream, stream.errors)
                stream.reconfigure(errors="backslashreplace")
            lasting = _Lasting(stream)
            stack.callback(lasting.flush)
            setattr(sys, name, lasting)
        yield


def _restore(stream: Any, errors: str | None) -> None:
    with contextlib.suppress(OSError, ValueError):
        stream.reconfigure(errors=errors)


def _occupy_standard_numbers() -> None:
    """Open nowhere under the numbers 0 to 2 where they are closed; else the next file would be written as output."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
