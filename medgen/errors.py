"""What can go wrong for a user, each with its exit code; a message says what, which file, what to do."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class MedgenError(Exception):
    """An error that a user can act on.

    Args:
        what: what is wrong, with the value found and the value expected.
        where: the file or folder concerned.
        fix: one command, option or action that mends it.
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
    """The command, option or recipe asks for something that does not exist."""

    exit_code = 2


class InputError(MedgenError):
    """An image, label or case table is damaged, contradictory or not what it should be."""

    exit_code = 3


class CasesFailed(MedgenError):
    """Some cases of a cohort failed; the others are done."""

    exit_code = 4


class MemoryExhausted(MedgenError):
    """The work does not fit into memory."""

    exit_code = 5


class ModelError(MedgenError):
    """A model, its weights or a checkpoint is missing, damaged or not trusted."""

    exit_code = 6


class StorageError(MedgenError):
    """The disk is full, or a folder cannot be written."""

    exit_code = 7


class Preempted(MedgenError):
    """The run was asked to stop, has saved its state and can be resumed."""

    exit_code = 75
