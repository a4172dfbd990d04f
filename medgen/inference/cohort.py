"""Many patients with one model: one that fails is reported, the others finish."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from medgen.cases import SPLITS, Case, WrongRow, read_rows
from medgen.errors import UsageError
from medgen.files import folder_lock, remove_partial_files, require_apart, require_result, require_text_result
from medgen.inference.bids_output import require_bids, require_names, write_bids
from medgen.inference.dicom_output import predict_files
from medgen.inference.guard import load_guard
from medgen.inference.jobs import jobs_of, refused, require_folder_name, require_free, require_one_image
from medgen.inference.lesions import OnDetected
from medgen.inference.limits import NO_LIMITS, Limits
from medgen.inference.loading import load_model
from medgen.inference.model import LoadedModel
from medgen.inference.one_case import predict_case, seconds_since
from medgen.inference.options import NanRule, PredictOptions, ReadOptions
from medgen.inference.report import (
    FAILED,
    FAILED_COLUMNS,
    REPORT,
    REPORT_KEYS,
    CaseReport,
    CohortResult,
    content_of,
    earlier_cases,
    write_failures,
    write_report,
)
from medgen.inference.sources import Inputs, parse_inputs
from medgen.inference.study import inputs_of
from medgen.inference.writing import split_name
from medgen.methods.base import Direction
from medgen.types import Checkpoint, Engine, Progress, Split
from medgen.volume import Geometry

log = logging.getLogger(__name__)


def predict(
    run: str | Path,
    inputs: Inputs,
    output: str | Path,
    *,
    device: str = "auto",
    overwrite: bool = False,
    resume: bool = False,
    nan: NanRule | None = None,
    geometry: Geometry | None = None,
    frame: int | None = None,
    split: Split | None = None,
    probabilities: bool = False,
    uncertainty: bool = False,
    allow_missing_channel: bool = False,
    direction: Direction | None = None,
    seed: int | None = None,
    limits: Limits = NO_LIMITS,
    strict: bool = False,
    ensemble: Sequence[str | Path] = (),
    guard: str | Path | None = None,
    allow_modules: Sequence[str] = (),
    checkpoint: Checkpoint | None = None,
    samples: int | None = None,
    dropout: bool = False,
    interval: float | None = None,
    keep_samples: bool = False,
    threshold: float | None = None,
    dicom: bool = False,
    contours: bool = False,
    anonymize: bool = False,
    bids: str | Path | None = None,
    engine: Engine = "torch",
    on_detected: OnDetected | None = None,
    progress: Progress | None = None,
) -> Path:
    """Predict one patient, or every case of a table, with a trained model.

    Args:
        run: the run folder, its ``model`` folder, or a bundle of ``medgen export``.
        inputs: a volume (a file, or the folder of a DICOM series); the folder of a DICOM study, with each series in a
            folder of its own, where no series is in doubt; ``role=file`` once for each input, or
            ``{role: file}``; or a case table (``.csv``).
        output: a name ending in ``.nii.gz`` for one patient; for a table the folder, which gets
            ``<case>/<case>_<role>.nii.gz``, ``prediction.json`` and, where cases failed, ``failed.csv``. The role of
            a segmentation is that of its labels. A model that makes several images takes a table alone.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        overwrite: replace what is there.
        resume: keep the cases that are done and predict the rest (tables only).
        nan: what takes the place of voxels that are NaN or infinite; the model's own rule by default.
        geometry: which one to believe where sform and qform disagree.
        frame: which frame of a 4D file, from 0.
        split: of a table, only the cases of this split.
        probabilities: of a segmentation, also write ``<case>_probability_<class>.nii.gz`` for each class.
        uncertainty: of an image, also write ``<case>_<role>_sd.nii.gz``, the voxel-wise standard deviation over the
            flips of the recipe (``inference.flips``) and the members of the ensemble, in the unit of the image; of a
            segmentation ``<case>_sd_<class>.nii.gz`` and ``<case>_entropy.nii.gz`` of its probabilities.
        allow_missing_channel: predict also where an input is missing, or holds one value throughout, that the model
            was trained to do without.
        direction: of a model that translates: ``forward``, the default, makes the target from the inputs,
            ``backward`` the inputs from the target.
        seed: of a model with chance, for one draw, or of the ``samples``; None: the prediction without chance.
        limits: what one case may take of memory and time; one that takes more fails.
        strict: a case with a warning (an image unlike those of the training, an implausible amount of a class) fails,
            and no file of it is kept.
        ensemble: further runs, such as the other folds, whose images or probabilities are averaged with this one's;
            all are loaded once.
        guard: run of a generative model with a novelty score (``medgen novelty fit``), which warns of patients that are
            unlike those it was trained on.
        allow_modules: modules outside medgen that the model may name as its method.
        checkpoint: of a run that has not ended, ``last``: the weights of its last checkpoint, or ``best``: those of its
            best validation so far; likewise of each run of ``ensemble``. All that is made with them says so.
        samples: draws at random of a model with chance or with ``dropout``: the result is their mean; files as for
            ``uncertainty``, and of an image the ends of an interval, ``<case>_<role>_lower`` and ``_upper``.
        dropout: whether dropout layers drop in each draw.
        interval: nominal coverage of the interval, 0.9 by default with ``samples``; it holds this share of the voxels
            once the model is calibrated (:func:`medgen.inference.calibrating.calibrate`).
        keep_samples: whether each draw is written too, as ``<case>_<role>_sample_01.nii.gz``.
        threshold: of a segmentation, the probability above which a voxel is of the class, in place of the model's
            :attr:`~medgen.recipe.prediction.InferenceConfig.threshold`.
        dicom: where the first image is a DICOM series, also write results and maps as DICOM into its study, in folders
            ``<case>_<role>_dicom`` beside them: a CT as a series, a label map as segmentations.
        contours: of a segmentation, with ``dicom``, also write the outlines of its classes, as an RT structure set in
            ``<case>_<role>_dicom_contours``.
        anonymize: of these, leave out all that tells who the patient is; they then have a study of their own.
        bids: of a table, a folder that gets label maps, probabilities and images of all cases once more, as BIDS
            derivatives (:func:`~medgen.inference.bids_output.write_bids`).
        engine: what computes the networks, see :func:`~medgen.inference.loading.load_model`.
        on_detected: for one patient and a model that detects lesions, is called with them.
        progress: called with (done, total, what).

    Returns:
        ``output``. A model that detects lesions (``inference.detection``) writes ``<case>_detection_map.nii.gz`` and
        ``<case>_lesions.json`` beside each result.

    Raises:
        UsageError: the inputs, the device or the output do not allow it, or the model makes no such prediction.
        InputError: the image or the table is not usable.
        CasesFailed: some cases of a table failed, the others are done; or ``strict`` refused the one patient.
        ModelError: the model is missing or damaged, or returned NaN.
        MemoryExhausted: nothing that was tried fits into memory.
        StorageError: the disk is full or the folder cannot be written.
    """
    source, output = parse_inputs(inputs), Path(output)
    read = ReadOptions(nan, geometry, frame, allow_missing_channel)
    options = PredictOptions(read, direction, seed, probabilities, uncertainty, limits=limits, strict=strict)
    options = replace(options, samples=samples, dropout=dropout, interval=interval, keep_samples=keep_samples)
    options = replace(options, threshold=threshold, dicom=dicom, contours=contours, anonymize=anonymize)
    if isinstance(source, Path) and source.suffix == ".csv":
        table, wrong = read_rows(source)
        cases = table.select(split=split)
        # A row whose split cannot be read may be meant.
        wrong = tuple(row for row in wrong if split is None or row.split == split or row.split not in SPLITS)
        if not cases:
            raise UsageError(f"the table has no case of split '{split}'", where=source, fix="choose another --split")
        require_folder_name(output)
        if bids is not None:
            require_apart(bids, table.files, fix="choose another folder for --bids")
            require_bids(Path(bids), cases, replace=overwrite or resume)
        model = load_members(run, ensemble, device, allow_modules, checkpoint, guard, direction, engine)
        if bids is not None:
            require_names(model, options)
        result = predict_cohort(
            model,
            cases,
            output,
            options,
            wrong=wrong,
            overwrite=overwrite,
            resume=resume,
            inputs=table.files,
            progress=progress,
        )
        if bids is not None:
            write_bids(model, result, options, Path(bids))
        result.require_complete()
        return output
    for option, given in (("--resume", resume), ("--split", split is not None), ("--bids", bids is not None)):
        if given:
            raise UsageError(f"{option} is for a case table, not for one patient", fix="leave it out, or give a .csv")
    model = load_members(run, ensemble, device, allow_modules, checkpoint, guard, direction, engine)
    require_one_image(model, options)
    images = inputs_of(source, model.route(direction).reads)
    started = time.monotonic()
    stem, _ = split_name(output)
    report = output.with_name(f"{stem}.{REPORT}")  # stands beside the volume: ct.nii.gz has ct.prediction.json
    if not overwrite:
        require_result(report, REPORT_KEYS)
    written = predict_files(model, images, output, options, overwrite=overwrite, progress=progress)
    for warning in written.warnings:
        log.warning(warning)
    for sentence in written.sentences:
        log.info(sentence)
    case = CaseReport(stem, "done", output.name, seconds_since(started), written.notes, **content_of(written))
    write_report(report, model, options, [case])
    if on_detected and written.detected:
        on_detected(written.detected)
    return output


def predict_cohort(
    model: LoadedModel,
    cases: Sequence[Case],
    output: str | Path,
    options: PredictOptions | None = None,
    *,
    wrong: Sequence[WrongRow] = (),
    overwrite: bool = False,
    resume: bool = False,
    inputs: Iterable[Path] = (),
    progress: Progress | None = None,
) -> CohortResult:
    """Predict cases one after the other into ``OUTPUT/<case>/<case>_<role>.nii.gz``.

    The report and ``failed.csv`` are brought up to date after each case, so that they are right whenever the run ends.
    Every row ends in a result or in ``failed.csv``.

    Args:
        model: loaded once.
        cases: rows of a case table.
        output: the folder, which no other run may be using.
        options: what is predicted, and how.
        wrong: rows of the table that are no cases; they have failed.
        overwrite: replace outputs that are there.
        resume: keep cases all of whose outputs are there (they are whole, because they are written atomically), if
            they were made from the same images with the same settings, and predict the rest. Files of a case without a
            record in ``prediction.json`` are never replaced.
        inputs: what else is never replaced, beside all images of ``cases``: the table, and images of its other cases.
        progress: called with (cases done, cases in all, what).

    Returns:
        The state of each case. A failed case raises nothing here: see
        :meth:`~medgen.inference.report.CohortResult.require_complete`.

    Raises:
        UsageError: outputs exist and neither ``overwrite`` nor ``resume`` is set, or an output is an input; another run
            is at work here; or the model makes no such prediction.
        StorageError: the disk is full or the folder cannot be written: no case after this one could be kept either.
    """
    output, options = Path(output), options or PredictOptions()
    jobs = jobs_of(model, cases, output, options)
    rows = [refused(row) for row in wrong]
    images = (image for case in cases for image in case.images.values())
    touched = (output / REPORT, output / FAILED, *(file for job in jobs for file in job.touched))
    require_apart(touched, (*images, *inputs), fix="choose another folder for -o")
    require_text_result(output / FAILED, ",".join(FAILED_COLUMNS))
    if not (overwrite or resume):
        require_result(output / REPORT, REPORT_KEYS)
    with folder_lock(output):
        remove_partial_files(output)
        earlier = earlier_cases(output / REPORT, model) if resume else None
        recorded = earlier.results if earlier else ()
        require_free(output, jobs, overwrite=overwrite, resume=resume, recorded=recorded)
        reports: list[CaseReport] = []
        for number, job in enumerate(jobs):
            if progress:
                progress(number, len(jobs), job.case.name)
            # What a run that is killed here leaves is known to be its own, and what an earlier one made stays known.
            kept = [before for each in jobs[number:] if earlier and (before := earlier.cases.get(each.case.name))]
            mine = [each.name for each in jobs[number : None if overwrite else number + 1] if each.name]
            write_report(output / REPORT, model, options, [*reports, *kept, *rows], writing=mine)
            reports.append(predict_case(model, job, output, options, earlier, overwrite=overwrite))
            write_failures(output / FAILED, [*reports, *rows])
        write_report(output / REPORT, model, options, [*reports, *rows])
        if progress:
            progress(len(jobs), len(jobs), "cases")
    return CohortResult(output, (*reports, *rows))


def load_members(
    run: str | Path,
    ensemble: Sequence[str | Path],
    device: str,
    allow_modules: Sequence[str],
    checkpoint: Checkpoint | None = None,
    guard: str | Path | None = None,
    direction: Direction | None = None,
    engine: Engine = "torch",
) -> LoadedModel:
    """A model, joined with the further runs of an ensemble; arguments and errors as for :func:`predict`."""
    first, *others = (
        load_model(each, device=device, allow_modules=allow_modules, checkpoint=checkpoint, engine=engine)
        for each in (run, *ensemble)
    )
    model = first.joined(others) if others else first
    if guard is not None:
        model.guard = load_guard(guard, model.route(direction).reads, device=device, allow_modules=allow_modules)
    return model
