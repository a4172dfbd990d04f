"""What a method sees in one step: named tensors with fixed shapes, units and ranges."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Paired(NamedTuple):
    """Patches of one patient in two modalities, voxel for voxel.

    Attributes:
        source: (B, C, X, Y, Z) normalised input channels, then the context channels if there are any.
        target: (B, K, X, Y, Z) in [-1, 1]; for CT the window of the recipe, mapped linearly.
        mask: (B, 1, X, Y, Z) in {0, 1}; 1 where the patient is, 0 also outside the scanned field.
    """

    source: Tensor
    target: Tensor
    mask: Tensor
