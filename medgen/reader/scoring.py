"""Answers against the truth: accuracy with its interval, agreement with oneself and with the others."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medgen.errors import InputError, UsageError
from medgen.files import atomic_path, require_text_result
from medgen.metrics.agreement import Proportion, fleiss_kappa, proportion
from medgen.metrics.statistics import summarise
from medgen.reader.answers import ALL, Answer, Journal, readers_of
from medgen.reader.study import Study, read_study

COLUMNS = (
    "reader",
    "task",
    "cases",
    "answered",
    "correct",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "p_chance",
    "real_recognised",
    "synthetic_recognised",
    "repeats",
    "repeats_same",
    "repeat_agreement",
    "seconds_median",
    "readers_complete",
    "fleiss_kappa",
)
"""Of the scores."""
ANSWERS = ("reader", "position", "case", "repeat", "images", "truth", "answer", "correct", "seconds", "at")
"""Columns of the answers beside their truth."""


@dataclass(frozen=True)
class ReaderScore:
    """How one reader did.

    Attributes:
        accuracy: of first showings.
        correct: number of first showings answered rightly.
        recognised: share of real, and of synthetic images called what they are; NaN where a task does not ask this.
        repeats: number of second showings answered.
        same: of these, how many were answered as the first time.
        seconds: median time of a first showing.
    """

    accuracy: Proportion
    correct: int
    recognised: tuple[float, float]
    repeats: int
    same: int
    seconds: float


def score_reader_study(study: str | Path, output: str | Path, *, answers: str | Path | None = None) -> Path:
    """Write one row a reader, and one of all who have answered every case, as CSV.

    Accuracy counts first showings; its interval is Wilson's, and ``p_chance`` is the exact binomial test against 0.5.
    In the row ``all``, accuracy is the mean over complete readers with a bootstrap interval over cases: the same cases
    were seen by all, so answers of different readers are not independent.

    Args:
        study: the study folder.
        output: the CSV file to write.
        answers: also write every answer beside its truth into this CSV file.

    Returns:
        The file.

    Raises:
        UsageError: a file that is there is no earlier result, or both results would be one file.
        InputError: the study or a file of answers is damaged, or nobody has answered yet.
        StorageError: the disk is full or a file cannot be written.
    """
    require_text_result(output, ",".join(COLUMNS))
    if answers is not None:
        require_text_result(answers, ",".join(ANSWERS))
        if Path(answers).resolve() == Path(output).resolve():
            raise UsageError("the scores and the answers would be one file", where=answers, fix="name another one")
    known = read_study(study)
    journals = [Journal(known, reader) for reader in readers_of(known)]
    journals = [journal for journal in journals if journal.answers]
    if not journals:
        raise InputError("nobody has answered yet", where=known.folder, fix="start with 'medgen reader-study serve'")
    rows = [_row(known, journal) for journal in journals]
    _write(Path(output), [*rows, _row_of_all(known, journals)], COLUMNS)
    if answers is not None:
        lines = [line for journal in journals for line in _lines(known, journal)]
        _write(Path(answers), lines, ANSWERS)
    return Path(output)


def score_reader(study: Study, answers: Sequence[Answer]) -> ReaderScore:
    """Compare the answers of one reader with the truth.

    Args:
        study: that was read.
        answers: in their order.
    """
    first = [answer for answer in answers if not answer.repeat]
    right = {answer.case: _is_right(study, answer) for answer in first}
    again = [answer for answer in answers if answer.repeat]
    chosen = {answer.case: _chosen(study, answer) for answer in first}
    kinds = [[right[answer.case] for answer in first if study.real[answer.images[0]] is real] for real in (True, False)]
    single = study.task == "real-or-synthetic"
    real, synthetic = (statistics.fmean(kind) if kind and single else math.nan for kind in kinds)
    return ReaderScore(
        proportion(sum(right.values()), len(first)),
        sum(right.values()),
        (real, synthetic),
        len(again),
        sum(_chosen(study, answer) == chosen[answer.case] for answer in again),
        statistics.median(answer.seconds for answer in first) if first else math.nan,
    )


def agreement(study: Study, journals: Sequence[Journal]) -> float:
    """Fleiss' kappa of readers who have answered all cases; NaN of fewer than two."""
    if len(journals) < 2:
        return math.nan
    calls: dict[int, list[int]] = {case: [0, 0] for case in range(len(study.cases))}
    for journal in journals:
        for answer in _first(journal):
            calls[answer.case][_chosen(study, answer)] += 1
    return fleiss_kappa([calls[case] for case in sorted(calls)])


def _first(journal: Journal) -> list[Answer]:
    return [answer for answer in journal.answers if not answer.repeat]


def _is_right(study: Study, answer: Answer) -> bool:
    return answer.answer == study.correct(answer.images)


def _chosen(study: Study, answer: Answer) -> int:
    """0 where the image was called real, 1 where not; of a pair, which image was chosen, whatever its side.

    A case lists its real image first, so of every other pair the numbers are swapped: else readers who are right in all
    pairs would all use one category, which chance explains.
    """
    place = study.choices.index(answer.answer)
    if study.task == "real-or-synthetic":
        return place
    return (study.cases[answer.case].index(answer.images[place]) + answer.case) % 2


def _row(study: Study, journal: Journal) -> dict[str, Any]:
    score = score_reader(study, journal.answers)
    low, high = score.accuracy["ci95"]
    return {
        "reader": journal.reader,
        "task": study.task,
        "cases": len(study.cases),
        "answered": score.accuracy["n"],
        "correct": score.correct,
        "accuracy": score.accuracy["share"],
        "accuracy_low": low,
        "accuracy_high": high,
        "p_chance": score.accuracy["p"],
        "real_recognised": score.recognised[0],
        "synthetic_recognised": score.recognised[1],
        "repeats": score.repeats,
        "repeats_same": score.same,
        "repeat_agreement": score.same / score.repeats if score.repeats else math.nan,
        "seconds_median": score.seconds,
    }


def _row_of_all(study: Study, journals: Sequence[Journal]) -> dict[str, Any]:
    complete = [journal for journal in journals if len(_first(journal)) == len(study.cases)]
    row = {
        "reader": ALL,
        "task": study.task,
        "cases": len(study.cases),
        "readers_complete": len(complete),
        "fleiss_kappa": agreement(study, complete),
    }
    if not complete:
        return row
    right = [0.0] * len(study.cases)
    for journal in complete:
        for answer in _first(journal):
            right[answer.case] += _is_right(study, answer) / len(complete)
    summary = summarise(right, seed=study.seed)
    low, high = summary["ci95"]
    return {**row, "answered": len(right), "accuracy": summary["mean"], "accuracy_low": low, "accuracy_high": high}


def _lines(study: Study, journal: Journal) -> list[dict[str, Any]]:
    return [
        {
            "reader": journal.reader,
            "position": answer.position + 1,
            "case": answer.case,
            "repeat": int(answer.repeat),
            "images": " | ".join(study.origin[image] for image in answer.images),
            "truth": study.correct(answer.images),
            "answer": answer.answer,
            "correct": int(_is_right(study, answer)),
            "seconds": answer.seconds,
            "at": answer.at,
        }
        for answer in journal.answers
    ]


def _write(path: Path, rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    with atomic_path(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return value
