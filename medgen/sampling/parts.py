"""Parts of a batch, and of what is in it."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def split(batch: Any, parts: int) -> list[Any]:
    """One batch as several of equal size, e.g. one for each step of a critic.

    Raises:
        ValueError: the patches cannot be shared out evenly.
    """
    count = len(batch[0])
    if count % parts:
        raise ValueError(f"{count} patches cannot be shared out to {parts} batches")
    chunks = [tensor.split(count // parts) for tensor in batch]
    return [type(batch)(*tensors) for tensors in zip(*chunks, strict=True)]


def centre(volume: Tensor, like: Tensor) -> Tensor:
    """The part of an image, label or mask that an output is about, where a network loses voxels on each side.

    Args:
        volume: (B, C, X, Y, Z) or (B, C, X, Y).
        like: (B, K, x, y, z) or (B, K, x, y), no larger.

    Returns:
        The middle of ``volume``, of the size of ``like``; where an odd number of voxels is lost, one more is at the
        far side.
    """
    for axis in range(2, volume.dim()):
        excess = volume.shape[axis] - like.shape[axis]
        volume = volume.narrow(axis, excess // 2, like.shape[axis])
    return volume
