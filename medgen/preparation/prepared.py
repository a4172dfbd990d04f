"""One patient after preparation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from medgen.types import Array
from medgen.volume import Grid, Volume


@dataclass(frozen=True, eq=False)
class Prepared:
    """One patient, ready for a network.

    Attributes:
        image: (C, X, Y, Z) float32, one channel an input, normalised.
        body: (X, Y, Z) bool, the body found in the first input, and a margin around it.
        affine: (4, 4), prepared voxel index to RAS+ mm; the axes point right, anterior, superior.
        reference: the grid of the first input as it was read, to which results go back.
        notes: what had to be decided, for the report of the run.
        target: (K, X, Y, Z) float32 in [-1, 1], or None.
        labels: (X, Y, Z) integers, or None.
        mask: (X, Y, Z) bool, the mask role, or None.
        fingerprint: by input role, what its normalised body looks like.
        first: the first input as it was read, where a later step looks at it.
    """

    image: Array
    body: NDArray[np.bool_]
    affine: Array
    reference: Grid
    notes: tuple[str, ...] = ()
    target: Array | None = None
    labels: Array | None = None
    mask: NDArray[np.bool_] | None = None
    fingerprint: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    first: Volume | None = None
