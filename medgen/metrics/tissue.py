"""Tissue of a CT by its Hounsfield units, and the body in it."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Tissue = Literal["air", "soft", "bone"]
Mask = NDArray[np.bool_]

AIR_BELOW = -250.0
"""HU below which a voxel is air or lung; fat, the lightest soft tissue, is at about -100."""
BONE_FROM = 200.0
"""HU from which a voxel is bone."""
BODY_ABOVE = -300.0
"""HU above which a voxel can belong to the body."""


def tissue(ct: NDArray[np.floating], kind: Tissue) -> Mask:
    """Voxels of one tissue: air (HU < -250), soft (-250 <= HU < 200) or bone (HU >= 200).

    Args:
        ct: any shape, HU.
        kind: which tissue.

    Returns:
        A mask of the shape of ``ct``.

    >>> tissue(np.array([-1000.0, -250.0, 199.0, 200.0]), "soft").tolist()
    [False, True, True, False]
    """
    if kind == "air":
        return np.asarray(ct < AIR_BELOW)
    if kind == "bone":
        return np.asarray(ct >= BONE_FROM)
    return np.asarray((ct >= AIR_BELOW) & (ct < BONE_FROM))


def body_mask(ct: NDArray[np.floating]) -> Mask:
    """The largest connected piece above -300 HU, with the cavities that it encloses.

    Args:
        ct: ``(X, Y, Z)``, HU.

    Returns:
        ``(X, Y, Z)``; empty where no voxel exceeds -300 HU.
    """
    pieces, count = ndimage.label(ct > BODY_ABOVE)
    if not count:
        return np.zeros(ct.shape, dtype=bool)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    largest = pieces == sizes.argmax()
    return np.asarray(ndimage.binary_fill_holes(largest))
