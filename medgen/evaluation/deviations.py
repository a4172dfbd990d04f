"""The standard deviation beside a synthetic CT: where it stands, whether it is usable, and its scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from medgen.cases import listed
from medgen.errors import InputError, PathError
from medgen.evaluation.grids import on_grid_of
from medgen.metrics.uncertainty import UNITS, uncertainty_scores
from medgen.types import Array
from medgen.volume import Volume, read_volume, require_same_grid

NONE = dict.fromkeys(UNITS, math.nan)
"""The scores of a case whose standard deviation cannot be scored."""
_SUFFIXES = (".nii.gz", ".nii", ".mha")


def find_deviations(predictions: Mapping[str, Path]) -> dict[str, Path]:
    """The standard deviation of each case that has one: ``<case>_<role>_sd.nii.gz`` beside ``<case>_<role>.nii.gz``.

    Args:
        predictions: by case.
    """
    found: dict[str, Path] = {}
    for case, path in predictions.items():
        stem = next(path.name.removesuffix(suffix) for suffix in (*_SUFFIXES, "") if path.name.endswith(suffix))
        beside = (path.with_name(f"{stem}_sd{suffix}") for suffix in _SUFFIXES)
        if file := next((each for each in beside if each.is_file()), None):
            found[case] = file
    return found


def deviation_scores(
    path: Path, prediction: Volume, truth: Volume, mask: Array, *, elsewhere: bool
) -> tuple[dict[str, float], str]:
    """The scores of one standard deviation, and why they are NaN if it cannot be used.

    Args:
        path: file of the standard deviation, on the grid of the prediction; HU.
        prediction: as its file holds it; HU.
        truth: HU.
        mask: (X, Y, Z), where to score.
        elsewhere: whether the prediction must be resampled to the grid of the truth, and the standard deviation too.
    """
    try:
        volume = read_volume(path)
        require_same_grid(volume, prediction)
    except (InputError, PathError) as error:
        return dict(NONE), error.what
    pair = [on_grid_of(truth, each, fill=math.nan) if elsewhere else each for each in (volume, prediction)]
    sd, predicted, true = (np.ascontiguousarray(each.data[0]) for each in (*pair, truth))
    if count := int((~(np.isfinite(sd[mask]) & (sd[mask] >= 0))).sum()):
        return dict(NONE), f"the standard deviation is negative or not finite in {count} voxels of the mask"
    return uncertainty_scores(sd, predicted, true, mask), ""


def deviation_notes(
    names: Sequence[str], deviations: Mapping[str, Path], unusable: Mapping[str, str]
) -> tuple[str, ...]:
    """Which cases with a usable prediction have no standard deviation though others have, and which are unusable.

    Args:
        names: cases with a usable prediction.
        deviations: by case.
        unusable: by case, why.
    """
    if not deviations:
        return ()
    without = [name for name in names if name not in deviations]
    notes = [f"the standard deviation of {name} cannot be scored: {reason}" for name, reason in unusable.items()]
    return (*notes, *([f"no standard deviation beside the prediction of {listed(without)}"] if without else ()))
