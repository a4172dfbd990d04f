"""From what a network made to the image that is written: the unit of the target, and air around the body."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.checks import AIR
from medgen.inference.stages import Estimate
from medgen.preparation import Preparation, Prepared
from medgen.preparation.task import IMAGE
from medgen.volume import Volume


def clipped_note(estimate: Estimate) -> tuple[str, ...]:
    """How much of the body was beyond the model's range, where something was."""
    if not estimate.clipped:
        return ()
    share = estimate.clipped / max(1, estimate.voxels)
    return (f"{estimate.clipped} voxels ({share:.2%} of the body) outside the model's range, clipped",)


def image_on_own_grid(data: NDArray[Any], prepared: Prepared, preparation: Preparation, *, hounsfield: bool) -> Volume:
    """The image of a patient, on the grid of the first input.

    Args:
        data: (1, X, Y, Z) float32 on the prepared grid, in the unit of the target; what lies outside the body is
            overwritten here.
        prepared: the patient.
        preparation: of the model.
        hounsfield: whether that unit is HU; -1024 then stands outside the body, else the low end of the range.
    """
    outside = AIR if hounsfield else float(preparation.target_from_network(np.full(1, IMAGE.low))[0])
    for x in range(data.shape[1]):  # a slab at a time: a mask of the whole volume would be one more
        np.copyto(data[:, x], np.float32(outside), where=~prepared.body[x][None])
    return preparation.restore(data, prepared, fill=outside)
