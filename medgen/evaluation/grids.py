"""A prediction on the grid of its reference, where the user allowed to bring it there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from medgen.cases import listed
from medgen.preparation.resampling import resample
from medgen.volume import HasGrid, Volume

Interpolation = Literal["nearest neighbour", "linear"]


def on_grid_of(reference: HasGrid, prediction: Volume, *, fill: float, nearest: bool = False) -> Volume:
    """The values of a prediction at the voxels of its reference.

    Args:
        reference: on whose grid.
        prediction: one that overlaps with it.
        fill: value of voxels of the reference outside the field of view of the prediction.
        nearest: take the nearest voxel, for label maps; else linear.
    """
    data = resample(prediction.data, prediction.affine, reference.affine, reference.shape, fill=fill, nearest=nearest)
    return Volume(data, reference.affine, source=prediction.source, notes=prediction.notes)


def recorded(interpolation: Interpolation, allowed: bool, cases: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """What the settings and the notes of an evaluation say of it.

    Args:
        interpolation: how.
        allowed: whether the user allowed it.
        cases: whose predictions were brought to the grid of their references.
    """
    settings = {"resample_to_reference": interpolation if allowed else None}
    note = f"resampled to the grid of the reference ({interpolation}): {listed(cases)}"
    return (settings | {"resampled": list(cases)}, [note]) if cases else (settings, [])
