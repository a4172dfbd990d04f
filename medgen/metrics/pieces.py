"""Connected pieces of one class: how many, how much, how long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medgen.metrics.overlap import CUBE


class Pieces(NamedTuple):
    """What there is of one class; voxels that share a corner are connected (26 neighbours).

    Attributes:
        voxels: of all pieces.
        number: connected pieces.
        extent_mm: the longest edge of the box around any of them, along the voxel grid.
    """

    voxels: int
    number: int
    extent_mm: float


def count_pieces(mask: NDArray[np.bool_], spacing: Sequence[float]) -> Pieces:
    """The pieces of ``mask``.

    Args:
        mask: (X, Y, Z) bool.
        spacing: voxel size in mm.

    >>> count_pieces(np.array([[[True, True, False, True]]]), (1.0, 1.0, 3.0))
    Pieces(voxels=3, number=2, extent_mm=6.0)
    """
    from scipy import ndimage

    numbered, count = ndimage.label(mask, CUBE)
    boxes = [box for box in ndimage.find_objects(numbered) if box is not None]
    edges = [(side.stop - side.start) * step for box in boxes for side, step in zip(box, spacing, strict=True)]
    return Pieces(int(np.count_nonzero(mask)), int(count), float(max(edges, default=0.0)))
