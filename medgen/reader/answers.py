"""Answers of one reader: a file that only grows, synced to the disk before an answer counts as given."""

from __future__ import annotations

import json
import math
import os
import re
import threading
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from medgen.errors import InputError, StorageError, UsageError
from medgen.files import atomic_path, storage_errors
from medgen.reader.design import Showing
from medgen.reader.study import ANSWERS, Study

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
LONGEST = 86_400.0
ALL = "all"
"""The row of all readers in the scores, so no reader's code."""


@dataclass(frozen=True)
class Answer:
    """What a reader said of one showing.

    Attributes:
        position: of the showing in the reader's order, from 0.
        case: its number.
        repeat: whether it was the second showing.
        images: as they stood on the screen.
        answer: one of the two choices.
        seconds: from the moment all pictures could be seen to the answer, without time in which the page was hidden.
        at: UTC.
    """

    position: int
    case: int
    repeat: bool
    images: tuple[str, ...]
    answer: str
    seconds: float
    at: str


def reader_name(text: str) -> str:
    """A reader's code as it names their file.

    Raises:
        UsageError: it has other characters than letters, digits, dash and underscore, or more than 32.

    >>> reader_name(" R1 ")
    'r1'
    """
    name = text.strip().lower()
    if not _NAME.fullmatch(name) or name == ALL:
        raise UsageError("a code has 1 to 32 letters, digits, '-' or '_', and is not 'all'", fix="e.g. r1, no name")
    return name


def readers_of(study: Study) -> list[str]:
    """Codes of the readers who have begun."""
    return sorted(path.stem for path in (study.folder / ANSWERS).glob("*.jsonl") if _NAME.fullmatch(path.stem))


class Journal:
    """The answers of one reader, in their order.

    Args:
        study: that is read.
        reader: code, see :func:`reader_name`.

    Raises:
        InputError: the file is damaged, or belongs to another study.
    """

    def __init__(self, study: Study, reader: str) -> None:
        self.study, self.reader = study, reader
        self.path = study.folder / ANSWERS / f"{reader}.jsonl"
        self.order = study.order(reader)
        self._lock = threading.Lock()
        self._answers, self._bytes = _read(self.path, self.order, study.choices)

    @property
    def answers(self) -> tuple[Answer, ...]:
        """Those given so far."""
        return tuple(self._answers)

    @property
    def current(self) -> Showing | None:
        """What the reader sees now; None at the end."""
        done = len(self._answers)
        return self.order[done] if done < len(self.order) else None

    def record(self, position: int, answer: str, seconds: float) -> bool:
        """Keep an answer; it is on the disk when this returns.

        Args:
            position: of the showing that is answered.
            answer: one of the two choices.
            seconds: 0 to 86400.

        Returns:
            Whether it was kept. A position that has an answer keeps that one: a second tab, a key pressed twice or a
            request sent again changes nothing.

        Raises:
            UsageError: there is no such choice, the time makes no sense, or the position has not come yet.
            StorageError: the disk is full or the file may not be written; the answer does not count.
        """
        if answer not in self.study.choices or not (math.isfinite(seconds) and 0 <= seconds <= LONGEST):
            raise UsageError(
                "the answer is not one of the choices, or its time makes no sense", fix="load the page again"
            )
        with self._lock:
            if 0 <= position < len(self._answers):
                return False
            if position != len(self._answers) or position >= len(self.order):
                raise UsageError("the answer is for a case that has not been shown", fix="load the page again")
            shown, now = self.order[position], datetime.now(UTC).isoformat(timespec="seconds")
            new = Answer(position, shown.case, shown.repeat, shown.images, answer, round(seconds, 3), now)
            self._append((json.dumps(asdict(new)) + "\n").encode())
            self._answers.append(new)
            return True

    def _append(self, line: bytes) -> None:
        with storage_errors(self.path):
            there = self.path.exists()
            if (self.path.stat().st_size if there else 0) < self._bytes:  # to go on would bury answers that are kept
                raise StorageError(
                    "the file of answers has gone, or was cut, while the study was served",
                    where=self.path,
                    fix="put the file back, and end and serve the study again",
                )
            if not there:
                with atomic_path(self.path):  # its name is on the disk before its first line
                    pass
            with self.path.open("r+b") as file:
                file.truncate(self._bytes)  # what a killed or refused write left
                file.seek(self._bytes)
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        self._bytes += len(line)


def _read(path: Path, order: tuple[Showing, ...], choices: tuple[str, str]) -> tuple[list[Answer], int]:
    """The answers in a file, and its bytes up to the last whole line; a torn line was never confirmed."""
    if not path.exists():
        return [], 0
    with storage_errors(path):
        content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    answers: list[Answer] = []
    for line in whole.splitlines():
        try:
            fields = json.loads(line)
            answer = Answer(**{**fields, "images": tuple(fields["images"])})
            shown = order[len(answers)]
            if answer.position != len(answers) or answer.answer not in choices or not 0 <= answer.seconds <= LONGEST:
                raise ValueError
            if (answer.case, answer.repeat, answer.images) != (shown.case, shown.repeat, shown.images):
                raise ValueError
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise InputError(
                f"line {len(answers) + 1} is damaged, or of another study", where=path, fix="copy the file again"
            ) from error
        answers.append(answer)
    return answers, len(whole)
