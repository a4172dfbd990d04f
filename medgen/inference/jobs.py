"""The rows of a case table as work for one model: which files each makes, and which rows cannot be worked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medgen.cases import Case, WrongRow
from medgen.errors import UsageError
from medgen.inference.model import LoadedModel
from medgen.inference.options import PredictOptions
from medgen.inference.report import CaseReport, reason_of
from medgen.inference.writing import output_name
from medgen.names import CASE_BYTES


@dataclass(frozen=True)
class Job:
    """A case and its files; ``fault`` where they cannot be named."""

    case: Case
    name: str
    files: tuple[Path, ...]
    fault: UsageError | None = None


def jobs_of(model: LoadedModel, cases: Sequence[Case], output: Path, options: PredictOptions) -> list[Job]:
    """The files of each case.

    Raises:
        UsageError: the model makes no such prediction.
    """
    role = model.route(options.direction).makes[0]
    model.files(output / "case" / "case.nii.gz", options)
    counts = Counter(case.name for case in cases)
    jobs = []
    for case in cases:
        try:
            name = output_name(case, role)
            if counts[case.name] > 1:
                what = f"the case stands in the table {counts[case.name]} times"
                raise UsageError(what, fix="give every patient one row")
            jobs.append(Job(case, name, model.files(output / name, options).all))
        except UsageError as error:
            jobs.append(Job(case, "", (), error))
    return jobs


def refused(row: WrongRow) -> CaseReport:
    """The state of a row that is no case."""
    name = row.name[:CASE_BYTES] or f"line {row.line}"
    return CaseReport(name if name.isprintable() else ascii(name), "failed", reason=reason_of(row.error, {}))
