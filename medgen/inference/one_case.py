"""One case of a cohort: predicted, kept from an earlier run, or failed with its reason."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import replace
from pathlib import Path

from medgen.errors import PathError, StorageError
from medgen.inference.dicom_output import predict_files
from medgen.inference.jobs import Job
from medgen.inference.made_from import MadeFrom, made_from
from medgen.inference.model import LoadedModel
from medgen.inference.options import PredictOptions
from medgen.inference.report import CaseReport, Earlier, content_of, reason_of, without_folders

log = logging.getLogger(__name__)


def predict_case(
    model: LoadedModel,
    job: Job,
    output: Path,
    options: PredictOptions,
    earlier: Earlier | None,
    *,
    overwrite: bool,
) -> CaseReport:
    """Predict one case, or keep its result of an earlier run; whatever is wrong with it becomes its reason.

    Args:
        model: loaded once for all cases.
        job: the case and its files.
        output: the folder of the cohort.
        options: what is predicted, and how.
        earlier: what the run that is resumed knows; None where none is.
        overwrite: replace what is there.

    Raises:
        StorageError: the disk is full or the folder cannot be written: no case after this one could be kept either.
    """
    started, case = time.monotonic(), job.case
    try:
        if job.fault:
            raise job.fault
        made = made_from(model, case, options)
        if earlier is not None and all(file.exists() for file in job.files):
            before = earlier.cases.get(case.name, CaseReport(case.name, "kept"))
            change = made.change_since(before.made_from or MadeFrom())
            if not change:
                return _kept(before, job, strict=options.strict)
            log.info("case %s is predicted again: %s", case.name, change)
        # An interrupted case may have left some of its files: they are replaced.
        replaced = overwrite or earlier is not None
        written = predict_files(model, case, output / job.name, options, overwrite=replaced)
    except Exception as error:  # whatever is wrong with one case, the others must finish
        if isinstance(error, StorageError) and not isinstance(error, PathError):
            raise
        reason = reason_of(error, case.images)
        log.warning("case %s failed: %s", case.name, reason)
        log.debug("where case %s failed", case.name, exc_info=True)
        left = job.name if any(map(os.path.lexists, job.files)) else ""
        return CaseReport(case.name, "failed", left, seconds=seconds_since(started), reason=reason)
    notes = tuple(without_folders(note, case.images) for note in written.notes)
    for warning in written.warnings:
        log.warning("case %s: %s", case.name, warning)
    for sentence in written.sentences:
        log.info("case %s: %s", case.name, without_folders(sentence, case.images))
    return CaseReport(case.name, "done", job.name, seconds_since(started), notes, **content_of(written), made_from=made)


def seconds_since(started: float) -> float:
    """Seconds from a time of the monotonic clock until now."""
    return round(time.monotonic() - started, 2)


def _kept(before: CaseReport, job: Job, *, strict: bool) -> CaseReport:
    """A result of an earlier run; one with a warning fails where that is asked for, and its files stay."""
    if strict and before.warnings:
        reason = f"refused by --strict, its files were left as they are: {'; '.join(before.warnings)}"
        log.warning("case %s failed: %s", job.case.name, reason)
        return replace(before, status="failed", seconds=0.0, reason=reason)
    return replace(before, status="kept", output=job.name, seconds=0.0, reason="")
