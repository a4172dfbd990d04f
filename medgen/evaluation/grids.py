"""Resampling of predictions to the grid of their references, if the user allowed it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from medgen.cases import listed
from medgen.preparation.resampling import resample
from medgen.volume import HasGrid, Volume

Interpolation = Literal["nearest neighbour", "linear"]


def on_grid_of(reference: HasGrid, prediction: Volume, *, fill: float, nearest: bool = False) -> Volume:
    """Resample a prediction to the grid of its reference.

    Args:
        reference: defines the grid.
        prediction: a volume that overlaps with the reference.
        fill: value of voxels of the reference outside the field of view of the prediction.
        nearest: nearest-neighbour interpolation, for label maps; else linear.
    """
    data = resample(prediction.data, prediction.affine, reference.affine, reference.shape, fill=fill, nearest=nearest)
    return Volume(data, reference.affine, source=prediction.source, notes=prediction.notes)


def recorded(interpolation: Interpolation, allowed: bool, cases: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Settings and notes that record the resampling.

    Args:
        interpolation: the kind used.
        allowed: whether the user allowed resampling.
        cases: cases whose predictions were resampled.
    """
    settings = {"resample_to_reference": interpolation if allowed else None}
    note = f"resampled to the grid of the reference ({interpolation}): {listed(cases)}"
    return (settings | {"resampled": list(cases)}, [note]) if cases else (settings, [])
