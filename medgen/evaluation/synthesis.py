"""Scores of synthetic CT against the true CT."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from medgen.cases import listed
from medgen.checks import clean_hounsfield, require_no_high_padding
from medgen.errors import InputError, PathError
from medgen.evaluation.deviations import (
    Curves,
    bound_scores,
    curve_details,
    deviation_notes,
    deviation_scores,
    find_deviations,
)
from medgen.evaluation.gate import find_judged, gate_details, gate_notes
from medgen.evaluation.grids import on_grid_of, recorded
from medgen.evaluation.provenance import calibration_notes, provenance
from medgen.evaluation.references import Reference, compare_grids, copies, find_predictions, find_references
from medgen.evaluation.scores import Scores
from medgen.evaluation.strays import file_notes
from medgen.metrics import intervals, uncertainty
from medgen.metrics.image import LOWEST, SETTINGS, UNITS, image_scores
from medgen.metrics.statistics import summarise
from medgen.metrics.tissue import BODY_ABOVE, body_mask
from medgen.types import Progress, SplitOrAll
from medgen.volume import PADDING, Volume, read_label, read_volume

_BODY = f"the filled largest component above {BODY_ABOVE:g} HU of the true CT"


class SynthesisOptions(TypedDict, total=False):
    """Keyword arguments of :func:`evaluate_synthesis`."""

    role: str
    mask_role: str
    split: SplitOrAll | None
    resample_to_reference: bool
    seed: int
    draws: int
    progress: Progress | None


def evaluate_synthesis(
    predictions: str | Path,
    references: str | Path,
    *,
    role: str = "ct",
    mask_role: str = "mask",
    split: SplitOrAll | None = None,
    resample_to_reference: bool = False,
    seed: int = 0,
    draws: int = 2000,
    progress: Progress | None = None,
) -> Scores:
    """Score synthetic CTs against the true CTs with every metric of :mod:`medgen.metrics.image`.

    A case with a standard deviation beside its prediction (``<case>_<role>_sd.nii.gz``, as ``predict --uncertainty``
    writes it) also has the metrics of :mod:`medgen.metrics.uncertainty`, and one with an interval (``_lower`` and
    ``_upper``) those of :mod:`medgen.metrics.intervals`. They are NaN if it cannot be used, with a note, and if the
    case failed. The details then have the mean sparsification curves and the accept-reject curve of the gate, whose
    score ``mean_sd`` is the one that ``predict`` recorded (else that of the file of the standard deviation); and if
    ``predict`` had a gate, the error of the cases that it accepted and rejected.

    Args:
        predictions: folder with ``<case>/<case>_<role>.nii.gz`` (as ``predict`` writes), ``<case>_<role>.nii.gz`` or
            ``<case>.nii.gz``; or one volume if the reference is one. HU.
        references: ``cases.csv`` (or a folder that holds it), a folder laid out as above, or one volume. HU.
        role: role of the true CT: its column in the table, or its name in the files.
        mask_role: role of the mask to score in. A case without one is scored in the body: the filled largest
            component above -300 HU of the true CT.
        split: split of the table to score; by default ``test`` if it has cases, else all.
        resample_to_reference: resample a prediction that is on another grid than its reference, by linear
            interpolation; the notes and settings of the scores list these cases. A case fails if the prediction
            does not cover the mask.
        seed: random seed of the bootstrap.
        draws: number of bootstrap samples.
        progress: called with (cases done, number of cases, name of the case).

    Returns:
        The scores, cases in the order of the table or by name. A case fails if its prediction is missing, damaged or
        not finite in the mask: its metrics are then NaN, ``n_failed`` counts it and ``failed`` lists it. Values below
        -1024 HU, such as -2000 or -3024 outside a scanner's field of view, are no measurement and count as -1024 HU;
        the notes list them for each true CT.

    Raises:
        InputError: no case has a prediction; a mask, or a prediction without ``resample_to_reference``, is on another
            grid than the reference; or a reference cannot be used, such as a true CT with values above 31000 HU.
        UsageError: a split is given, but the references are not a case table.
    """
    found, settings, notes = find_references(Path(references), role, mask_role, split)
    paths = find_predictions(Path(predictions), found, role)
    broken, elsewhere = compare_grids(found, paths, resample=resample_to_reference)
    deviations = find_deviations(paths)
    lower, upper = (find_deviations(paths, what) for what in ("lower", "upper"))
    bounds = {case: (lower[case], upper[case]) for case in lower if case in upper}
    judged = find_judged(Path(predictions), paths)
    metrics = {
        **UNITS,
        **(uncertainty.SCORE if deviations or judged else {}),
        **(uncertainty.UNITS if deviations else {}),
        **(intervals.UNITS if bounds else {}),
    }
    curves: list[Curves] = []
    unusable: list[str] = []
    padding: list[str] = []
    cases: list[dict[str, Any]] = []
    for number, item in enumerate(found):
        if progress:
            progress(number, len(found), item.case)
        if item.case not in broken:
            case = _Case(
                item,
                paths[item.case],
                deviations.get(item.case),
                bounds.get(item.case),
                item.case in elsewhere,
                judged[item.case].mean_sd if item.case in judged else None,
            )
            values, reason, remarks = _score(case, padding, curves)
            broken.update({item.case: reason} if reason else {})
            unusable += remarks
        cases.append({"case": item.case, **(dict.fromkeys(metrics, math.nan) if item.case in broken else values)})
    if progress:
        progress(len(found), len(found), "scores")
    gate = gate_details(cases, judged, seed=seed, draws=draws)
    resampling, moved = recorded("linear", resample_to_reference, elsewhere)
    if without := [item.case for item in found if item.mask is None]:
        notes.append(f"no {mask_role} for {listed(without)}: scored in the body, which is {_BODY}")
    return Scores(
        task="synthesis",
        cases=tuple(cases),
        summary={
            name: summarise([row[name] for row in cases if name in row], seed=seed, draws=draws) for name in metrics
        },
        failed=tuple({"case": item.case, "reason": broken[item.case]} for item in found if item.case in broken),
        notes=(
            *notes,
            *file_notes(Path(predictions), role, Path(references), found),
            *copies(found, paths),
            *padding,
            *moved,
            *calibration_notes(Path(predictions), settings),
            *gate_notes(cases, judged, gate),
            *unusable,
            *deviation_notes([name for name in paths if name not in broken], deviations),
        ),
        settings={
            "role": role,
            **settings,
            **provenance(Path(predictions), {name: path for name, path in paths.items() if name not in broken}),
            **SETTINGS,
            "raised_to_hu": LOWEST,
            **(uncertainty.SETTINGS if deviations else {}),
            **resampling,
            "bootstrap": {"seed": seed, "draws": draws},
        },
        details={**curve_details(curves), **gate},
    )


@dataclass(frozen=True)
class _Case:
    """The files of one case; ``elsewhere`` if the prediction must be resampled to the grid of the truth.

    ``mean_sd`` is that which ``predict`` recorded, if it did.
    """

    reference: Reference
    prediction: Path
    deviation: Path | None
    bounds: tuple[Path, Path] | None
    elsewhere: bool
    mean_sd: float | None


def _score(case: _Case, padding: list[str], curves: list[Curves]) -> tuple[dict[str, float], str, list[str]]:
    """The metrics of one case, the reason if it failed, and sentences on scores of uncertainty that are left out.

    Notes on voxels of the true CT that are no measurement are added to ``padding``, and the sparsification curves of
    the case to ``curves``.
    """
    item = case.reference
    truth = read_volume(item.truth)
    require_no_high_padding(truth)
    truth, lowest = clean_hounsfield(truth)
    padding += [f"true CT of {item.case}: {note}" for note in (*truth.notes, lowest) if note.startswith(PADDING)]
    true = _voxels(truth)
    mask = body_mask(true) if item.mask is None else _voxels(read_label(item.mask)) > 0
    if not mask.any():
        return {}, "the mask is empty", []
    if not np.isfinite(true[mask]).all():
        raise InputError(
            "the true CT contains NaN or infinity inside the mask",
            where=item.truth,
            fix="repair it or leave the case out",
        )
    try:
        volume, _ = clean_hounsfield(read_volume(case.prediction))
    except (InputError, PathError) as error:
        return {}, error.what, []
    predicted = _voxels(on_grid_of(truth, volume, fill=math.nan) if case.elsewhere else volume)
    if count := int((~np.isfinite(predicted[mask])).sum()):
        what = "NaN, infinite or outside its field of view" if case.elsewhere else "NaN or infinite"
        return {}, f"the prediction is {what} in {count} voxels of the mask", []
    scores = image_scores(predicted, true, mask, spacing=truth.spacing)
    scores |= {} if case.mean_sd is None else {"mean_sd": case.mean_sd}
    remarks, name, elsewhere = [], item.case, case.elsewhere
    if case.deviation is not None:
        more, remark = deviation_scores(
            case.deviation, volume, truth, mask, curves, case=name, elsewhere=elsewhere, recorded=case.mean_sd
        )
        scores, remarks = scores | more, [remark]
    if case.bounds is not None:
        more, remark = bound_scores(case.bounds, volume, truth, mask, case=name, elsewhere=elsewhere)
        scores, remarks = scores | more, [*remarks, remark]
    return scores, "", [remark for remark in remarks if remark]


def _voxels(volume: Volume) -> NDArray[Any]:
    return np.ascontiguousarray(volume.data[0])
