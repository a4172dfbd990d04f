"""Split-conformal calibration of the intervals of a model on validation cases, and its gate."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.cases import Case, listed, read_cases
from medgen.checks import clean_hounsfield
from medgen.errors import InputError, UsageError
from medgen.files import require_apart, require_output, sha256
from medgen.inference.besides import Besides
from medgen.inference.cohort import load_members
from medgen.inference.held_out import require_held_out
from medgen.inference.images import slope_of, unit_of
from medgen.inference.intervals import ALL, FILE, TISSUES, Calibration, Gate, Scale, keep_calibration
from medgen.inference.model import LoadedModel
from medgen.inference.options import PredictOptions, require_coverage
from medgen.metrics.conformal import (
    Histogram,
    conformal_quantile,
    fewest_patients,
    histogram,
    left_out_coverage,
)
from medgen.metrics.tissue import body_mask, tissue
from medgen.shipped import require_own
from medgen.training.model_folder import model_folder
from medgen.types import Progress, Split
from medgen.volume import Volume, read_label, read_volume, require_same_grid

FLOOR = 1e-4
"""Least standard deviation, in normalised units: 0.15 HU for CT. Where all estimates agree, as in air, any error would
else be infinitely many standard deviations."""
MASK = "mask"
"""Role of the mask where none is named; a table may lack it."""
_FOR_A_LINE = 3


@dataclass(frozen=True)
class CalibrateOptions:
    """How a model is calibrated.

    Attributes:
        coverage: nominal, in (0, 1).
        by_tissue: whether air, soft tissue and bone of the prediction have intervals of their own (Mondrian).
        guaranteed: whether the coverage is guaranteed for few patients: see
            :func:`~medgen.metrics.conformal.conformal_quantile`.
        accept: share of patients like those of the validation that the gate accepts, in (0, 1].
        max_mae: the gate accepts an expected mean absolute error up to this; in place of ``accept``.
        mask_role: the voxels that count; without such a mask the body of the true CT.

    Raises:
        UsageError: a value is out of its range.
    """

    coverage: float = 0.9
    by_tissue: bool = False
    guaranteed: bool = False
    accept: float = 0.95
    max_mae: float | None = None
    mask_role: str = MASK

    def __post_init__(self) -> None:
        require_coverage(self.coverage, "--coverage")
        if not 0 < self.accept <= 1:
            raise UsageError(f"the accepted share is above 0 and at most 1, got {self.accept:g}", fix="--accept 0.95")
        if self.max_mae is not None and not 0 < self.max_mae < math.inf:
            raise UsageError(f"the largest error is above 0, got {self.max_mae:g}", fix="choose --max-mae 100")


def calibrate(
    run: str | Path,
    cases: str | Path,
    *,
    split: Split = "val",
    samples: int | None = None,
    dropout: bool = False,
    seed: int | None = None,
    options: CalibrateOptions | None = None,
    ensemble: Sequence[str | Path] = (),
    device: str = "auto",
    allow_modules: Sequence[str] = (),
    progress: Progress | None = None,
) -> Calibration:
    """Measure how many standard deviations hold the wanted share of the errors, and store it with the model.

    The score of a voxel is its absolute error divided by the standard deviation of the estimates; the quantile is over
    the voxels of all patients, each patient with the same weight. Nothing is written unless every case went through.

    Args:
        run: the run folder, or its ``model`` folder, where ``intervals.json`` goes.
        cases: a case table.
        split: whose cases are used; never those of the training.
        samples: draws, as for ``predict``; None: over flips and the ensemble.
        dropout: whether dropout layers drop.
        seed: of the draws; predictions may have another.
        options: coverage and gate.
        ensemble: further runs; a calibration holds for all of them together.
        device: see :func:`~medgen.inference.loading.load_model`.
        allow_modules: modules outside medgen that the model may name as its method.
        progress: called with (cases done, cases in all, name).

    Raises:
        UsageError: the model makes no several estimates of one image, the split is empty or that of the training, or
            no case has the mask.
        InputError: a case lacks its true image, a tissue lacks voxels, there are too few patients, or a model of the
            ensemble was trained on one.
        ModelError: the model is missing or damaged.
        StorageError: the file cannot be written; found before the work.
    """
    options = options or CalibrateOptions()
    require_own(run)
    if split == "train":
        raise UsageError("the model has seen the training cases, so its errors there are too small", fix="--split val")
    table = read_cases(cases)
    chosen = table.select(split=split)
    if not chosen:
        raise UsageError(f"the table has no case of split '{split}'", where=Path(cases), fix="choose another --split")
    role = options.mask_role
    if role != MASK and all(case.path(role) is None for case in chosen):
        fix = "name the column of the masks; without --mask-role it is the body"
        raise UsageError(f"no case of split '{split}' has an image of the role '{role}'", where=Path(cases), fix=fix)
    asked = PredictOptions(seed=seed, uncertainty=samples is None, samples=samples, dropout=dropout)
    require_output(model_folder(run) / FILE)
    require_apart(model_folder(run) / FILE, table.files)
    model = load_members(run, ensemble, device, allow_modules)
    model.calibrations = ()
    for each in (run, *ensemble):
        require_held_out(each, chosen, model.inputs, Path(cases))
    try:
        calibration = calibration_of(model, chosen, asked, options, progress)
    except InputError as error:
        error.where = error.where or Path(cases)
        raise
    calibration = replace(calibration, split=split, cases_sha256=sha256(Path(cases)))
    keep_calibration(run, calibration)
    return calibration


def calibration_of(
    model: LoadedModel,
    cases: Sequence[Case],
    asked: PredictOptions,
    options: CalibrateOptions,
    progress: Progress | None = None,
) -> Calibration:
    """The calibration of a loaded model; arguments and errors as for :func:`calibrate`."""
    if model.task.labels:
        raise UsageError("intervals are of images, and the model makes a label map", fix="give a model of images")
    if lacking := [case.name for case in cases if case.path(model.target) is None]:
        raise InputError(
            f"there is no {model.target} of {listed(lacking)} to calibrate with",
            fix=f"give a table whose validation cases have {model.target}",
        )
    if options.guaranteed and len(cases) < (fewest := fewest_patients(options.coverage)):
        raise InputError(
            f"a guaranteed coverage of {options.coverage:g} needs {fewest} patients, and there are {len(cases)}",
            fix="give more validation cases, a smaller --coverage, or leave out --guaranteed",
        )
    unit = unit_of(model.preparation, model.target)
    if options.by_tissue and not unit.hounsfield:
        raise UsageError("tissues are told apart in HU, and this model makes no CT", fix="leave out --by-tissue")
    floor = FLOOR * slope_of(unit)
    scores: dict[str, list[Histogram]] = defaultdict(list)
    spreads, errors = [], []
    for number, case in enumerate(cases):
        if progress:
            progress(number, len(cases), case.name)
        measured = _measure(model, case, asked, options, hounsfield=unit.hounsfield)
        error, sd = measured.error, np.maximum(measured.sd, floor)
        groups = {name: tissue(measured.mean, name) for name in TISSUES} if options.by_tissue else {ALL: error >= 0}
        for name, where in groups.items():
            if where.any():
                scores[name].append(histogram(error[where] / sd[where]))
        spreads.append(measured.spread)
        errors.append(float(error.mean()))
    if progress:
        progress(len(cases), len(cases), "cases")
    scale = Scale(options.coverage, _quantiles(scores, options), floor)
    left_out = left_out_coverage(scores[ALL], options.coverage) if len(cases) > 1 and not options.by_tissue else []
    summary = (float(np.mean(left_out)), min(left_out), max(left_out)) if left_out else ()
    gate = _gate(spreads, errors, options)
    return Calibration(model.settings_of(asked), scale, gate, len(cases), options.guaranteed, summary)


@dataclass(frozen=True, eq=False)
class _Measured:
    """Voxels of the mask of one case, and its mean standard deviation in the body."""

    mean: NDArray[Any]
    sd: NDArray[Any]
    error: NDArray[Any]
    spread: float


def _measure(
    model: LoadedModel, case: Case, asked: PredictOptions, options: CalibrateOptions, *, hounsfield: bool
) -> _Measured:
    path = case.path(model.target)
    assert path is not None
    truth = read_volume(path)
    truth = clean_hounsfield(truth)[0] if hounsfield else truth
    sds: list[Volume] = []
    result = model.predicted(case, asked, Besides(on_uncertainty=lambda _, sd: sds.append(sd)))
    require_same_grid(truth, result.volume)
    true, mean, sd = truth.data[0], result.volume.data[0], sds[0].data[0]
    file = case.path(options.mask_role)
    if file is None and not hounsfield:
        raise InputError(
            f"case {case.name} has no {options.mask_role}, and the body is found in CT alone",
            fix="give the table a mask, or name its column with --mask-role",
        )
    if file is None:
        mask = body_mask(true)
    else:
        label = read_label(file)
        require_same_grid(label, truth)
        mask = label.data[0] > 0
    if not mask.any() or not np.isfinite(true[mask]).all():
        raise InputError(
            f"the mask of case {case.name} is empty, or its {model.target} is not finite there",
            where=path,
            fix="repair it, or leave the case out",
        )
    error = np.abs(true[mask].astype(np.float64) - mean[mask])
    return _Measured(mean[mask], sd[mask].astype(np.float64), error, float(result.measured["mean_sd"]))


def _quantiles(scores: dict[str, list[Histogram]], options: CalibrateOptions) -> dict[str, float]:
    """The quantile of each group of voxels.

    Raises:
        InputError: a group has no voxel, too few patients, or errors without a standard deviation.
    """
    quantiles = {}
    for name in TISSUES if options.by_tissue else (ALL,):
        patients = scores[name]
        fewest = fewest_patients(options.coverage) if options.guaranteed else 1
        if len(patients) < fewest:
            raise InputError(
                f"{len(patients)} validation cases have {name} in their prediction, and the calibration needs {fewest}",
                fix="give validation cases that have it, or leave out --by-tissue",
            )
        quantiles[name] = conformal_quantile(patients, options.coverage, guaranteed=options.guaranteed)
        if math.isinf(quantiles[name]):
            raise InputError(
                "too many voxels are wrong without any standard deviation",
                fix="use more samples, or a model whose estimates differ",
            )
    return quantiles


def _gate(spreads: Sequence[float], errors: Sequence[float], options: CalibrateOptions) -> Gate:
    """The threshold on the mean standard deviation, and the line that predicts the error by it.

    The accepted share is that of the order statistic ``ceil((K + 1) share)`` of K cases, at most the largest.

    Raises:
        InputError: the error is to be limited, and does not rise with the standard deviation.
    """
    slope, intercept = 0.0, float(np.mean(errors))
    if len(spreads) >= _FOR_A_LINE and np.ptp(spreads) > 0:
        slope, intercept = (float(each) for each in np.polyfit(spreads, errors, 1))
    rank = min(len(spreads), math.ceil((len(spreads) + 1) * options.accept - 1e-9))
    threshold = float(sorted(spreads)[rank - 1])
    if options.max_mae is not None:
        if slope <= 0:
            raise InputError(
                f"over {len(spreads)} validation cases the error does not rise with the standard deviation, so it "
                "cannot be limited by it",
                fix="leave out --max-mae, or give more validation cases",
            )
        threshold = (options.max_mae - intercept) / slope
    return Gate(threshold, slope, intercept)
