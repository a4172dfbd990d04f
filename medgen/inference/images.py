"""From the estimate of a network to images in their units on the patient's own grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.preparation import Preparation, Prepared
from medgen.preparation.intensity import unit_to_window
from medgen.preparation.settings import ZSCORE, IntensityConfig
from medgen.preparation.task import IMAGE
from medgen.volume import AIR, Volume

OnUncertainty = Callable[[str, Volume], None]
"""Is called with the role of each image and its standard deviation."""


def clipped_note(clipped: int, voxels: int) -> tuple[str, ...]:
    """How much of the body was beyond the model's range, where anything was."""
    if not clipped:
        return ()
    return (f"{clipped} voxels ({clipped / max(1, voxels):.2%} of the body) outside the model's range, clipped",)


def images_on_own_grid(
    data: NDArray[Any], roles: Sequence[str], prepared: Prepared, preparation: Preparation
) -> tuple[Volume, tuple[str, ...]]:
    """The images of a patient in their units, on the patient's own grid.

    An image with a window goes back to its unit with it. A z-scored one, or one mapped by percentiles, has no unit that
    is known for a new patient: it stays normalised. Outside the body stands air for CT, else the low end of the range,
    and where there is none (z-scores) the smallest value inside.

    Args:
        data: (K, X, Y, Z) float32 on the prepared grid, normalised; is overwritten.
        roles: of the K images.
        prepared: the patient.
        preparation: of the model.

    Returns:
        (K, X, Y, Z) float32, and notes on voxels that were clipped and on images without a unit.
    """
    volumes, notes = [], list[str]()
    for channel, role in zip(data, roles, strict=True):
        unit = unit_of(preparation, role)
        if unit != ZSCORE:
            clipped = _clip(channel)
            notes += [f"{role}: {note}" for note in clipped_note(clipped, int(prepared.body.sum()))]
        if unit.window:
            channel[...] = unit_to_window(channel, *unit.window)
        elif role != preparation.roles.target:
            notes.append(f"{role} is in units of the normalised training images")
        outside = _outside(unit, channel, prepared.body)
        for x in range(len(channel)):  # a slab at a time: a mask of the whole volume would be one more
            np.copyto(channel[x], np.float32(outside), where=~prepared.body[x])
        volumes.append(preparation.restore(channel, prepared, fill=outside))
    first = volumes[0]
    return first if len(volumes) == 1 else first.with_data(np.concatenate([each.data for each in volumes])), tuple(
        notes
    )


def deviations_on_own_grid(
    sd: NDArray[np.float32],
    roles: Sequence[str],
    prepared: Prepared,
    preparation: Preparation,
    on_uncertainty: OnUncertainty,
) -> None:
    """Give out the standard deviation of each image in the unit of that image, on the patient's own grid.

    An image goes back to its unit by a linear map or stays normalised, so its standard deviation is multiplied by the
    slope alone: half the width of the window, or 1. Interpolated like the image, and 0 outside the body.

    Args:
        sd: (K, X, Y, Z) float32 on the prepared grid, of the normalised images; is overwritten.
        roles: of the K images.
        prepared: the patient.
        preparation: of the model.
        on_uncertainty: is called with each role and its (1, X, Y, Z) float32 volume.
    """
    for channel, role in zip(sd, roles, strict=True):
        if (slope := slope_of(unit_of(preparation, role))) != 1:
            channel *= np.float32(slope)
        for x in range(len(channel)):
            np.copyto(channel[x], np.float32(0), where=~prepared.body[x])
        on_uncertainty(role, preparation.restore(channel, prepared, fill=0.0))


def unit_of(preparation: Preparation, role: str) -> IntensityConfig:
    """How an image was normalised, and so how it goes back; the residual of an image has no unit."""
    return ZSCORE if role in preparation.config.residual else preparation.intensity(role)


def slope_of(unit: IntensityConfig) -> float:
    """Units of an image for one of its normalised values; 1 where it stays normalised."""
    if not unit.window:
        return 1.0
    low, high = unit.window
    return (high - low) / (IMAGE.high - IMAGE.low)


def _clip(channel: NDArray[np.float32]) -> int:
    """Clip to the range of images in place, slab by slab; the number of clipped voxels."""
    clipped = 0
    for slab in channel:
        clipped += int(np.count_nonzero((slab < IMAGE.low) | (slab > IMAGE.high)))
        np.clip(slab, IMAGE.low, IMAGE.high, out=slab)
    return clipped


def _outside(unit: IntensityConfig, channel: NDArray[np.float32], body: NDArray[np.bool_]) -> float:
    if unit.hounsfield:
        return AIR
    if unit.window:
        return float(unit_to_window(np.full(1, IMAGE.low), *unit.window)[0])
    return IMAGE.low if unit.percentiles else float(channel.min(where=body, initial=np.inf))
