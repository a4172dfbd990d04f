# mypy: allow-untyped-calls
# nibabel and isal carry annotations in part only.
"""NIfTI as medgen writes it: whole or not at all, one meaning of the grid, nothing about the patient."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
from isal import igzip
from nibabel.fileholders import FileHolder
from numpy.typing import NDArray

from medgen.errors import InputError, UsageError
from medgen.files import atomic_path, require_free
from medgen.volume.grid import STRAIGHT, Affine, spacing_of, straighten
from medgen.volume.image import Volume
from medgen.volume.nifti import base_affine

Kind = Literal["hu", "label", "scalar"]

_DESCRIPTION = b"medgen, research use only"
_INTEGER = 1e-3  # largest distance from an integer that a label may have
_LONGEST_QUATERNION = -1e-7  # 1 - b^2 - c^2 - d^2; readers forgive as much as float32 rounding
_LONGEST_AXIS = 32767  # NIfTI-1 stores dimensions as int16


def write_volume(volume: Volume, path: str | Path, *, kind: Kind, overwrite: bool = False) -> Path:
    """Write a volume as NIfTI-1, atomically, with qform = sform, units mm and no patient data.

    Args:
        volume: one channel makes a 3D file; several channels become the frames of a 4D file.
        path: ends in ``.nii`` or ``.nii.gz``.
        kind: ``hu``: int16 Hounsfield units with slope 1, rounded, clipped to int16; ``label``: integers >= 0 in
            the smallest unsigned type; ``scalar``: float32 as it is.
        overwrite: replace an existing file.

    Returns:
        The path.

    Raises:
        InputError: NaN or infinity among HU or labels, labels that are not integers >= 0, or a sheared grid.
        StorageError: the disk is full or the folder cannot be written; no partial file is left.
        UsageError: the file exists and may not be overwritten, or has another ending.
    """
    path = Path(path)
    require_nifti_name(path)
    require_free(path, overwrite=overwrite)
    data = _stored(volume, kind)
    image = nibabel.Nifti1Image(data, None, header=_header(volume, data))
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        if path.suffix == ".gz":
            # No name and no time inside: equal volumes make equal bytes.
            with igzip.IGzipFile("", "wb", fileobj=file, mtime=0) as packed:
                _save(image, packed)
        else:
            _save(image, file)
    return path


def require_nifti_name(path: Path) -> None:
    """Refuse a name that is not one of NIfTI."""
    if not path.name.endswith((".nii", ".nii.gz")):
        raise UsageError("a volume is written as NIfTI", where=path, fix="end the name in .nii.gz")


def _save(image: Any, stream: Any) -> None:
    image.to_file_map({"image": FileHolder(fileobj=stream), "header": FileHolder(fileobj=stream)})


def _stored(volume: Volume, kind: Kind) -> NDArray[Any]:
    """The numbers to store, (X, Y, Z) or (X, Y, Z, C)."""
    data = volume.data[0] if len(volume.data) == 1 else np.moveaxis(volume.data, 0, -1)
    if kind == "scalar":
        return data.astype(np.float32, copy=False)
    limits = np.iinfo(np.int16)
    if kind == "hu":
        stored = np.empty(data.shape, np.int16, order="F")
    elif kind == "label":
        stored = np.empty(data.shape, _label_type(volume), order="F")
    else:
        raise UsageError(f"a volume is of kind hu, label or scalar, not {kind!r}")
    for slab in range(data.shape[2]):  # one slice at a time: rounding the whole would cost another copy
        values = data[:, :, slab]
        if values.dtype.kind == "f":
            _require_finite(values, volume)
            values = np.rint(values)
        stored[:, :, slab] = np.clip(values, limits.min, limits.max) if kind == "hu" else values
    return stored


def _require_finite(values: NDArray[Any], volume: Volume) -> None:
    if not np.isfinite(values).all():
        raise InputError(
            "the volume to be written has NaN or infinite voxels",
            where=volume.source or "a volume in memory",
            fix="replace them first; integers cannot hold them",
        )


def _label_type(volume: Volume) -> np.dtype[Any]:
    data = volume.data
    if data.dtype.kind == "f":
        _require_finite(data, volume)
        if np.abs(data - np.rint(data)).max() > _INTEGER:
            raise InputError(
                "the labels to be written are not integers",
                where=volume.source or "a volume in memory",
                fix="write probabilities with kind='scalar'",
            )
    low, high = round(float(data.min())), round(float(data.max()))
    for kind in (np.uint8, np.uint16, np.uint32):
        if low >= 0 and high <= np.iinfo(kind).max:
            return np.dtype(kind)
    raise InputError(
        f"the labels to be written run from {low} to {high}",
        where=volume.source or "a volume in memory",
        fix="number the classes 0, 1, 2, ...",
    )


def _header(volume: Volume, data: NDArray[Any]) -> Any:
    if max(data.shape) > _LONGEST_AXIS:
        raise InputError(f"NIfTI holds at most {_LONGEST_AXIS} voxels along an axis, the volume has {data.shape}")
    affine = np.asarray(volume.affine, np.float32).astype(np.float64)
    _, angle, moved = straighten(affine, volume.shape)
    if moved > STRAIGHT:
        raise InputError(
            f"the grid to be written is sheared by {angle:.2f} degrees: qform and sform could not agree",
            where=volume.source or "a volume in memory",
            fix="resample it onto a straight grid",
        )
    header = nibabel.Nifti1Header()
    header.set_data_dtype(data.dtype)
    header.set_data_shape(data.shape)
    header.set_zooms((*volume.spacing, *([1.0] if data.ndim == 4 else [])))
    header.set_xyzt_units("mm")
    header.set_slope_inter(1.0, 0.0)
    header["descrip"] = _DESCRIPTION
    header.set_sform(affine, code=volume.sform_code)
    qfac, quaternion = _quaternion(affine)
    header["pixdim"][0] = qfac
    header["quatern_b"], header["quatern_c"], header["quatern_d"] = quaternion
    header["qoffset_x"], header["qoffset_y"], header["qoffset_z"] = affine[:3, 3]
    header["qform_code"] = volume.qform_code
    held = np.asarray(header.get_qform(), np.float32)
    if volume.qform_code and not volume.sform_code and not np.array_equal(held, affine):
        # Three numbers for a rotation cannot hold this grid exactly, the sform can.
        header["sform_code"] = volume.qform_code
    if not volume.has_world_position and not np.array_equal(base_affine(volume.spacing, volume.shape), affine):
        raise InputError(
            "a volume without world position can only be written in the axis order of its file",
            where=volume.source or "a volume in memory",
            fix="reorient it like the volume it came from first",
        )
    return header


def _quaternion(affine: Affine) -> tuple[float, NDArray[np.float32]]:
    """The qfac and the three stored numbers (b, c, d) of the rotation of a straight affine.

    The header leaves out a = sqrt(1 - b^2 - c^2 - d^2). Near half a turn a is small, and rounding b, c and d to float32
    changes it by up to 1e-4, so that the qform would miss the sform. Among the float32 numbers around b, c and d those
    are taken that give a back best. (Within 0.07 degrees of half a turn some readers take a as 0; only the sform is
    exact there.)
    """
    rotation = affine[:3, :3] / np.array(spacing_of(affine))
    qfac = 1.0 if np.linalg.det(rotation) > 0 else -1.0
    rotation[:, 2] *= qfac
    a, *rest = nibabel.quaternions.mat2quat(rotation)
    exact = np.array(rest) if a >= 0 else -np.array(rest)
    near = exact.astype(np.float32)
    step = np.spacing(np.maximum(np.abs(near), np.float32(1e-3))).astype(np.float64)
    offsets = np.array(list(product(range(-8, 9), repeat=3)))
    tried = (near.astype(np.float64) + offsets * step).astype(np.float32)
    squared = 1.0 - (tried.astype(np.float64) ** 2).sum(axis=1)
    error = np.abs(np.sqrt(np.maximum(squared, 0.0)) - math.fabs(a)) + np.abs(tried - exact).max(axis=1)
    best = tried[int(np.argmin(np.where(squared < _LONGEST_QUATERNION, np.inf, error)))]
    return qfac, best
