"""Errors that a user can act on, with exit codes; each message names the fault, the file and the fix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import ClassVar

FOREIGN_FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What the code of another library raises for arguments or sizes that it was not written for."""


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """What to do about an unknown name: take the nearest of those that are known, else ``otherwise``.

    >>> did_you_mean("stpes", ["steps", "batch"], "look it up")
    "did you mean 'steps'?"
    """
    near = get_close_matches(name, list(known), 1)
    return f"did you mean '{near[0]}'?" if near else otherwise


class MedgenError(Exception):
    """An error that a user can act on.

    Args:
        what: the fault, with the value found and the value expected.
        where: the file or folder concerned.
        fix: one command, option or action that corrects it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str | Path | None = None, fix: str = "") -> None:
        self.what, self.where, self.fix = what, where, fix
        super().__init__(what)

    def __str__(self) -> str:
        """The three lines that the command line prints."""
        lines = [self.what, f"  in: {self.where}" if self.where else "", f"  do: {self.fix}" if self.fix else ""]
        return "\n".join(line for line in lines if line)


class UsageError(MedgenError):
    """A command, option or recipe is wrong."""

    exit_code = 2


class InputError(MedgenError):
    """An image, label map or case table is damaged, contradictory or of the wrong kind."""

    exit_code = 3


class Diverged(InputError):
    """A training whose losses grew without bound, or whose weights or statistics are not finite any more.

    Args:
        what: the fault.
        good: steps after which nothing was suspicious yet.
        fix: one action that corrects it.
    """

    def __init__(self, what: str, *, good: int, fix: str = "") -> None:
        self.good = good
        super().__init__(what, fix=fix)


class CasesFailed(MedgenError):
    """Some cases of a cohort failed; the others were processed."""

    exit_code = 4


class MemoryExhausted(MedgenError):
    """There is not enough memory."""

    exit_code = 5


class ModelError(MedgenError):
    """A model, its weights or a checkpoint is missing, damaged or untrusted."""

    exit_code = 6


class StorageError(MedgenError):
    """The disk is full, or a folder cannot be written."""

    exit_code = 7


class PathError(StorageError):
    """One path is at fault and not the disk: in a cohort its case fails alone."""


class Preempted(MedgenError):
    """The run was stopped on request; its state is saved and it can be resumed."""

    exit_code = 75


_CONTENT = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What code raises that meets another value than the one that was written."""


@contextmanager
def content_errors(what: str, *, where: str | Path, fix: str) -> Iterator[None]:
    """Turn any error of a block that only uses the content of one file into an :class:`InputError` that names the file.

    Args:
        what: the fault, such as "the scores are damaged"; the error follows in brackets.
        where: the file.
        fix: how to write it again.
    """
    try:
        yield
    except _CONTENT as error:
        raise InputError(f"{what} ({_short(error)})", where=where, fix=fix) from None


def _short(error: Exception) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text if len(text) < 200 else f'{text[:200]} ...'}"
