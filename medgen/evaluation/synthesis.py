"""Scores of synthetic CT against the true CT."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from medgen.cases import listed
from medgen.errors import InputError
from medgen.evaluation.grids import on_grid_of, recorded
from medgen.evaluation.references import Reference, compare_grids, find_predictions, find_references
from medgen.evaluation.scores import Scores
from medgen.metrics.image import SETTINGS, UNITS, image_scores
from medgen.metrics.statistics import summarise
from medgen.metrics.tissue import BODY_ABOVE, body_mask
from medgen.types import Progress, SplitOrAll
from medgen.volume import Volume, read_label, read_volume

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
        not finite in the mask: its metrics are then NaN, ``n_failed`` counts it and ``failed`` lists it.

    Raises:
        InputError: no case has a prediction; a mask, or a prediction without ``resample_to_reference``, is on another
            grid than the reference; or a reference cannot be used.
        UsageError: a split is given, but the references are not a case table.
    """
    found, settings, notes = find_references(Path(references), role, mask_role, split)
    paths = find_predictions(Path(predictions), found, role)
    broken, elsewhere = compare_grids(found, paths, resample=resample_to_reference)
    cases: list[dict[str, Any]] = []
    for number, item in enumerate(found):
        if progress:
            progress(number, len(found), item.case)
        if item.case not in broken:
            values, reason = _score(item, paths[item.case], elsewhere=item.case in elsewhere)
            broken.update({item.case: reason} if reason else {})
        cases.append({"case": item.case, **(dict.fromkeys(UNITS, math.nan) if item.case in broken else values)})
    if progress:
        progress(len(found), len(found), "scores")
    resampling, remarks = recorded("linear", resample_to_reference, elsewhere)
    if without := [item.case for item in found if item.mask is None]:
        notes.append(f"no {mask_role} for {listed(without)}: scored in the body, which is {_BODY}")
    return Scores(
        task="synthesis",
        cases=tuple(cases),
        summary={name: summarise([row[name] for row in cases], seed=seed, draws=draws) for name in UNITS},
        failed=tuple({"case": item.case, "reason": broken[item.case]} for item in found if item.case in broken),
        notes=(*notes, *remarks),
        settings={"role": role, **settings, **SETTINGS, **resampling, "bootstrap": {"seed": seed, "draws": draws}},
    )


def _score(item: Reference, path: Path, *, elsewhere: bool) -> tuple[dict[str, float], str]:
    """The metrics of one case, and the reason if it failed."""
    truth = read_volume(item.truth)
    true = _voxels(truth)
    mask = body_mask(true) if item.mask is None else _voxels(read_label(item.mask)) > 0
    if not mask.any():
        return {}, "the mask is empty"
    if not np.isfinite(true[mask]).all():
        raise InputError(
            "the true CT contains NaN or infinity inside the mask",
            where=item.truth,
            fix="repair it or leave the case out",
        )
    try:
        volume = read_volume(path)
    except InputError as error:
        return {}, error.what
    predicted = _voxels(on_grid_of(truth, volume, fill=math.nan) if elsewhere else volume)
    if count := int((~np.isfinite(predicted[mask])).sum()):
        what = "NaN, infinite or outside its field of view" if elsewhere else "NaN or infinite"
        return {}, f"the prediction is {what} in {count} voxels of the mask"
    return image_scores(predicted, true, mask, spacing=truth.spacing), ""


def _voxels(volume: Volume) -> NDArray[Any]:
    return np.ascontiguousarray(volume.data[0])
