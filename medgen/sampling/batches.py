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


class Labelled(NamedTuple):
    """Patches with a label map.

    Attributes:
        source: (B, C, X, Y, Z) normalised input channels.
        label: (B, 1, X, Y, Z) integers, the index of the class; 0 is background.
        mask: (B, 1, X, Y, Z) in {0, 1}; 1 where the patient is.
    """

    source: Tensor
    label: Tensor
    mask: Tensor


class Adaptation(NamedTuple):
    """Patches of a labelled domain and as many of another one, of which nothing is known but the images.

    Attributes:
        source: (B, C, X, Y, Z) normalised input channels of the labelled (source) domain.
        label: (B, 1, X, Y, Z) integers, the index of the class; 0 is background.
        mask: (B, 1, X, Y, Z) in {0, 1}; 1 where the patient is.
        target: (B, C, X, Y, Z) normalised input channels of the unlabelled (target) domain.
        target_mask: (B, 1, X, Y, Z) in {0, 1}.
    """

    source: Tensor
    label: Tensor
    mask: Tensor
    target: Tensor
    target_mask: Tensor


def centre(volume: Tensor, like: Tensor) -> Tensor:
    """The part of an image, label or mask that an output is about, where a network loses voxels on each side.

    Args:
        volume: (B, C, X, Y, Z).
        like: (B, K, x, y, z), no larger.

    Returns:
        The middle of ``volume`` (B, C, x, y, z); where an odd number of voxels is lost, one more is at the far side.
    """
    for axis in (2, 3, 4):
        excess = volume.shape[axis] - like.shape[axis]
        volume = volume.narrow(axis, excess // 2, like.shape[axis])
    return volume
