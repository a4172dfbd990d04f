"""Volumes as a page holds them: cut to the patient, with larger voxels if they must be, as small NIfTI files."""

from __future__ import annotations

import gzip
from base64 import b64encode
from collections.abc import Sequence
from typing import Any, NamedTuple

import nibabel
import numpy as np
from numpy.typing import NDArray

from medgen.types import Floats

HEADER_BYTES = 352
"""Length of a NIfTI-1 header; the values follow."""

_STEPS = 1024  # of values that are not whole numbers: finer than the eye, and coarse enough to be packed well
_INT16 = (-32768, 32767)
_AIR = -1024.0  # HU


class Stored(NamedTuple):
    """Values as they are stored; a value is ``slope * stored + intercept``.

    Attributes:
        data: (X, Y, Z), int16 or uint8.
        slope: of the values.
        intercept: of the values.
    """

    data: NDArray[Any]
    slope: float = 1.0
    intercept: float = 0.0


def stored_values(volumes: Sequence[NDArray[Any]]) -> list[Stored]:
    """Images as int16 on one scale: whole numbers as they are, others in 1024 steps of their common range.

    Args:
        volumes: each (X, Y, Z); a value that is not finite is stored as the lowest one.
    """
    finite = [volume[np.isfinite(volume)] for volume in volumes]
    low = min((float(values.min()) for values in finite if values.size), default=0.0)
    high = max((float(values.max()) for values in finite if values.size), default=0.0)
    whole = low >= _INT16[0] and high <= _INT16[1] and all((values == np.rint(values)).all() for values in finite)
    slope, intercept = (1.0, 0.0) if whole else ((high - low) / _STEPS or 1.0, low)
    stored = []
    for volume in volumes:
        values = np.nan_to_num(volume, nan=low, posinf=high, neginf=low)
        stored.append(Stored(np.rint((values - intercept) / slope).astype(np.int16), slope, intercept))
    return stored


def stored_hounsfield(volume: NDArray[Any]) -> Stored:
    """An image in HU, rounded to whole numbers; what is not finite is air, and plus infinity the largest value."""
    high = float(volume.max(where=np.isfinite(volume), initial=_AIR))
    finite = np.nan_to_num(volume, nan=_AIR, posinf=high, neginf=_AIR)
    return Stored(np.clip(np.rint(finite), *_INT16).astype(np.int16))


def stored_spread(volume: NDArray[Any]) -> Stored:
    """A map that is not negative, in 1024 steps up to its largest value: rare high ones are what people look for."""
    values = np.nan_to_num(volume, nan=0.0, posinf=0.0, neginf=0.0)
    slope = float(values.max(initial=0.0)) / _STEPS or 1.0
    return Stored(np.rint(np.clip(values, 0, None) / slope).astype(np.int16), slope)


def factors_for(spacing: Sequence[float], voxel: float) -> tuple[int, int, int]:
    """How many voxels of each axis become one, so that none is larger than ``voxel`` mm unless it was before.

    >>> factors_for((0.5, 0.5, 3.0), 1.0)
    (2, 2, 1)
    """
    x, y, z = (max(1, int(voxel / size + 1e-6)) for size in spacing)
    return x, y, z


def coarsened(volume: NDArray[Any], factors: Sequence[int], *, label: bool = False) -> NDArray[Any]:
    """Blocks of voxels as one: their mean, or of labels the most frequent value, background among them.

    Where a class and background are equally frequent, the class is taken if it fills half of the block.

    Args:
        volume: (X, Y, Z).
        factors: voxels to a block along each axis; voxels beyond the last whole block are left out.
        label: the values are indices of classes.
    """
    if tuple(factors) == (1, 1, 1):
        return volume
    counts = [max(1, size // factor) for size, factor in zip(volume.shape, factors, strict=True)]
    used = [min(factor, size) for factor, size in zip(factors, volume.shape, strict=True)]
    whole = volume[tuple(slice(count * factor) for count, factor in zip(counts, used, strict=True))]
    blocks = whole.reshape(counts[0], used[0], counts[1], used[1], counts[2], used[2])
    if not label:
        return np.asarray(blocks.mean(axis=(1, 3, 5), dtype=np.float32))
    found, most = np.zeros(counts, volume.dtype), (blocks == 0).sum(axis=(1, 3, 5))
    half = np.prod(used) / 2
    for value in np.unique(volume[volume != 0]):
        count = (blocks == value).sum(axis=(1, 3, 5))
        more = (count > most) | ((count == most) & (count >= half))
        found[more], most[more] = value, count[more]
    return found


def coarsened_affine(affine: Floats, factors: Sequence[int]) -> Floats:
    """(4, 4), the affine of the blocks of :func:`coarsened`."""
    grid = affine.copy()
    grid[:3, :3] = affine[:3, :3] * np.asarray(factors, float)
    grid[:3, 3] = affine[:3, 3] + affine[:3, :3] @ ((np.asarray(factors, float) - 1) / 2)
    return grid


def packed(stored: Stored, affine: Floats) -> str:
    """A gzipped NIfTI-1 file in Base64, without a name, a date or a description.

    Args:
        stored: the values.
        affine: (4, 4), voxel index to RAS+ mm.
    """
    make: Any = nibabel.Nifti1Header  # it has no types
    header = make(endianness="<")
    header.set_data_dtype(stored.data.dtype)
    header.set_data_shape(stored.data.shape)
    header.set_sform(affine, 1)
    header.set_qform(affine, 1, strip_shears=True)
    header.set_xyzt_units("mm")
    header["vox_offset"], header["magic"] = HEADER_BYTES, b"n+1"
    header["scl_slope"], header["scl_inter"] = stored.slope, stored.intercept
    little = stored.data.astype(stored.data.dtype.newbyteorder("<"), copy=False)
    start = header.binaryblock.ljust(HEADER_BYTES, b"\0")
    return b64encode(gzip.compress(start + little.tobytes(order="F"), 6, mtime=0)).decode("ascii")
