"""The standard deviation and the interval beside a synthetic CT: where they stand, whether usable, and their scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from medgen.cases import listed
from medgen.errors import InputError, PathError
from medgen.evaluation.grids import on_grid_of
from medgen.metrics.intervals import UNITS as INTERVALS
from medgen.metrics.intervals import interval_scores
from medgen.metrics.sparsification import REMOVED, sparsification
from medgen.metrics.tissue import Tissue, tissue
from medgen.metrics.uncertainty import SCORE, UNITS, inside, mean_sd, uncertainty_scores
from medgen.types import Array
from medgen.volume import Volume, read_volume, require_same_grid

NONE = dict.fromkeys({**SCORE, **UNITS}, math.nan)
"""The scores of a case whose standard deviation cannot be scored."""
NO_INTERVAL = dict.fromkeys(INTERVALS, math.nan)
"""Those of a case whose interval cannot be scored."""
_SUFFIXES = (".nii.gz", ".nii", ".mha")


@dataclass(frozen=True, eq=False)
class Curves:
    """Of one case, by tissue and ``all``: the sparsification curve and that of the oracle."""

    by_tissue: Mapping[str, tuple[Array, Array]]


def find_deviations(predictions: Mapping[str, Path], what: str = "sd") -> dict[str, Path]:
    """The standard deviation of each case that has one: ``<case>_<role>_sd.nii.gz`` beside ``<case>_<role>.nii.gz``.

    Args:
        predictions: by case.
        what: end of the name, such as ``lower`` and ``upper`` for the ends of an interval.
    """
    found: dict[str, Path] = {}
    for case, path in predictions.items():
        stem = next(path.name.removesuffix(suffix) for suffix in (*_SUFFIXES, "") if path.name.endswith(suffix))
        beside = (path.with_name(f"{stem}_{what}{suffix}") for suffix in _SUFFIXES)
        if file := next((each for each in beside if each.is_file()), None):
            found[case] = file
    return found


def deviation_scores(
    path: Path,
    prediction: Volume,
    truth: Volume,
    mask: Array,
    curves: list[Curves],
    *,
    case: str,
    elsewhere: bool,
    recorded: float | None,
) -> tuple[dict[str, float], str]:
    """The scores of one standard deviation, and a sentence on those that are NaN because it cannot be used.

    ``mean_sd`` is that of the whole file, like the score of the gate; all others are of the mask.

    Args:
        path: file of the standard deviation, on the grid of the prediction; HU.
        prediction: as its file holds it; HU.
        truth: HU.
        mask: (X, Y, Z), where to score.
        curves: those of the case are added.
        case: its name.
        elsewhere: whether the prediction must be resampled to the grid of the truth, and the standard deviation too.
        recorded: the ``mean_sd`` that ``predict`` recorded, which then counts.
    """
    none = NONE if recorded is None else {**NONE, "mean_sd": recorded}
    unusable = f"the standard deviation of {case} cannot be scored"
    try:
        volume = read_volume(path)
        require_same_grid(volume, prediction)
    except (InputError, PathError) as error:
        return none, f"{unusable}: {error.what}"
    pair = [on_grid_of(truth, each, fill=math.nan) if elsewhere else each for each in (volume, prediction)]
    sd, predicted, true = (np.ascontiguousarray(each.data[0]) for each in (*pair, truth))
    if count := int((~(np.isfinite(sd[mask]) & (sd[mask] >= 0))).sum()):
        return none, f"{unusable}: it is negative or not finite in {count} voxels of the mask"
    masks = {"all": mask} | {kind: mask & tissue(true, kind) for kind in get_args(Tissue)}
    curves.append(Curves({name: sparsification(*inside(sd, predicted, true, where)) for name, where in masks.items()}))
    remark, score, whole = "", recorded, volume.data[0]
    if score is None and (count := int((~np.isfinite(whole)).sum())):
        score = math.nan
        remark = (
            f"mean_sd of {case} is left out: its standard deviation is not finite in {count} voxels outside the mask"
        )
    elif score is None:
        score = mean_sd(whole, whole > 0)
    return {"mean_sd": score, **uncertainty_scores(sd, predicted, true, mask)}, remark


def bound_scores(
    paths: tuple[Path, Path], prediction: Volume, truth: Volume, mask: Array, *, case: str, elsewhere: bool
) -> tuple[dict[str, float], str]:
    """The scores of one interval, whose ends are the files ``paths``; else as for :func:`deviation_scores`."""
    unusable = f"the interval of {case} cannot be scored"
    try:
        ends = [read_volume(path) for path in paths]
        for volume in ends:
            require_same_grid(volume, prediction)
    except (InputError, PathError) as error:
        return dict(NO_INTERVAL), f"{unusable}: {error.what}"
    ends = [on_grid_of(truth, each, fill=math.nan) if elsewhere else each for each in ends]
    lower, upper, true = (np.ascontiguousarray(each.data[0]) for each in (*ends, truth))
    if count := int((~(upper[mask] >= lower[mask])).sum()):
        return dict(
            NO_INTERVAL
        ), f"{unusable}: its upper end is below the lower one, or not a number, in {count} voxels"
    return interval_scores(lower, upper, true, mask), ""


def curve_details(curves: Sequence[Curves]) -> dict[str, Any]:
    """The mean sparsification curves by tissue, for ``scores.json``.

    Args:
        curves: of the cases that have a standard deviation.
    """
    if not curves:
        return {}
    tissues = {}
    for name in curves[0].by_tissue:
        pairs = np.array([each.by_tissue[name] for each in curves])
        if (known := np.isfinite(pairs).all(axis=(1, 2))).any():
            tissues[name] = dict(zip(("error", "oracle"), pairs[known].mean(axis=0).tolist(), strict=True))
    return {"sparsification": {"removed": REMOVED.tolist(), **tissues}}


def deviation_notes(names: Sequence[str], deviations: Mapping[str, Path]) -> tuple[str, ...]:
    """Which cases with a usable prediction have no standard deviation though others have.

    Args:
        names: cases with a usable prediction.
        deviations: by case.
    """
    without = [name for name in names if name not in deviations] if deviations else []
    return (f"no standard deviation beside the prediction of {listed(without)}",) if without else ()
