"""The rows of a case table as work for one model: the files that each makes, and what cannot be worked at."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from medgen.cases import Case, WrongRow
from medgen.errors import UsageError
from medgen.inference.dicom_output import folders_of, stale_folders
from medgen.inference.model import LoadedModel
from medgen.inference.options import PredictOptions
from medgen.inference.report import CaseReport, reason_of
from medgen.inference.writing import output_name
from medgen.names import CASE_BYTES


@dataclass(frozen=True)
class Job:
    """A case and its files.

    Attributes:
        case: of the table.
        name: its first result, relative to the output folder.
        files: that it makes, and folders that it fills.
        left_over: files and folders of an earlier run, which are removed once there is a new result.
        fault: why its files cannot be named.
    """

    case: Case
    name: str
    files: tuple[Path, ...]
    left_over: tuple[Path, ...] = ()
    fault: UsageError | None = None

    @property
    def touched(self) -> tuple[Path, ...]:
        """Everything that is written, replaced or removed for this case."""
        return (*self.files, *self.left_over)


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
            files = model.files(output / name, options)
            jobs.append(
                Job(case, name, (*files.all, *folders_of(files, options)), (*files.left_over, *stale_folders(files)))
            )
        except UsageError as error:
            jobs.append(Job(case, "", (), fault=error))
    return jobs


def refused(row: WrongRow) -> CaseReport:
    """The state of a row that is no case."""
    name = row.name[:CASE_BYTES] or f"line {row.line}"
    return CaseReport(name if name.isprintable() else ascii(name), "failed", reason=reason_of(row.error, {}))


def require_one_image(model: LoadedModel, options: PredictOptions) -> None:
    """Refuse one output file for a model that makes several images.

    Raises:
        UsageError: says what to do.
    """
    makes = model.route(options.direction).makes
    if len(makes) > 1:
        raise UsageError(
            f"the model makes {len(makes)} images of a patient ({', '.join(makes)}), and the output is one file",
            fix="give a case table (.csv) as input and a folder as output",
        )


def require_folder_name(output: Path) -> None:
    """Refuse a file, or the name of one, for the outputs of a table.

    Raises:
        UsageError: says what to do.
    """
    if output.is_file() or output.name.endswith((".nii", ".nii.gz")):
        raise UsageError("the cases of a table go into a folder", where=output, fix="give -o a folder")


def require_free(
    output: Path, jobs: Sequence[Job], *, overwrite: bool, resume: bool, recorded: Collection[str] = ()
) -> None:
    """Refuse outputs that exist, unless they are replaced, or kept and continued.

    Args:
        output: the folder.
        jobs: whose files go there.
        overwrite: whether what is there may be replaced.
        resume: whether what an earlier run made may be kept or made again.
        recorded: the results of that run, relative to the folder. Files of a case that is not among them are somebody
            else's.

    Raises:
        UsageError: names the first of them, and says what to do.
    """
    if overwrite:
        return
    if resume:
        foreign = _there(file for job in jobs if job.name not in recorded for file in job.touched)
        if foreign:
            raise UsageError(
                f"{_counted(foreign, output)}, of which prediction.json has no record, so --resume does not replace it",
                where=output,
                fix="choose another folder, or move these files away; with 'medgen predict', --overwrite replaces them",
            )
        return
    if there := _there(file for job in jobs for file in job.files):
        raise UsageError(
            _counted(there, output),
            where=output,
            fix="choose another folder; of an earlier prediction, --resume keeps them and predicts the rest, "
            "--overwrite replaces them",
        )


def _there(files: Iterable[Path]) -> list[Path]:
    return [file for file in files if os.path.lexists(file)]


def _counted(files: Sequence[Path], output: Path) -> str:
    first = files[0].relative_to(output).as_posix()
    return f"{len(files)} outputs exist, the first is {first}" if len(files) > 1 else f"the output {first} exists"
