"""MetaImage (``.mha``, ``.mhd``): one decoder, which counts and unpacks the same bytes that it returns.

SimpleITK (2.5) returns a packed file that is cut off, damaged or without CompressedDataSize with zeros in place of what
it cannot unpack, and says so on the terminal alone; so no check beside it can vouch for what it reads. Positions are
in LPS+, as ITK has them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.errors import InputError
from medgen.volume.damage import require_exact_size, require_plausible_start, unpack_zlib
from medgen.volume.grid import STRAIGHT, Grid, spacing_of, straighten
from medgen.volume.nifti import RESAMPLE, base_affine, require_regular

SUFFIXES = (".mha", ".mhd")

_LONGEST_HEADER = 1 << 16
_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}  # fmt: skip
_MATRIX, _ORIGIN = ("TransformMatrix", "Rotation", "Orientation"), ("Offset", "Origin", "Position")
_SPACING = ("ElementSpacing", "ElementSize")
_BIG_ENDIAN = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
_UNIT_LENGTH = 1e-3  # a direction cosine written with three digits is off by less
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def is_metaimage(path: Path) -> bool:
    """Whether a file is named like a MetaImage."""
    return path.suffix.lower() in SUFFIXES


def read_metaimage(path: Path, frame: int | None = None, *, keep_shear: bool = False) -> tuple[NDArray[Any], Grid]:
    """The voxels of a MetaImage, (X, Y, Z) as they are stored, and where they lie.

    Args:
        path: a ``.mha``, or a ``.mhd`` with its data beside it.
        frame: 0 or None; there is only one.
        keep_shear: give a sheared grid as it is.

    Raises:
        InputError: the file is missing, incomplete, damaged, larger than its header says, not of three dimensions with
            one number a voxel, or sheared.
    """
    header = _read_header(path, frame)
    grid = _grid(header, path, keep_shear=keep_shear)
    if header.packed:
        values = unpack_zlib(header.data, header.start, header.promised).view(header.dtype)
    else:
        values = np.fromfile(header.data, header.dtype, math.prod(header.shape), offset=header.start)
    return values.reshape(header.shape, order="F"), grid


def read_metaimage_grid(path: Path, frame: int | None = None) -> Grid:
    """Where the voxels lie, without reading them; packed data are not unpacked, so a damaged file can pass.

    Args:
        path: as for :func:`read_metaimage`.
        frame: likewise.

    Raises:
        InputError: as far as the header and the size of the file tell.
    """
    return _grid(_read_header(path, frame), path)


@dataclass(frozen=True)
class _Header:
    """What the text at the beginning says.

    Attributes:
        fields: its lines.
        shape: voxels along (X, Y, Z).
        dtype: of one voxel, with its byte order.
        data: the file that holds the voxels.
        start: where they begin in it.
        packed: whether zlib packed them.
    """

    fields: dict[str, str]
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    data: Path
    start: int
    packed: bool

    @property
    def promised(self) -> int:
        """Bytes of all voxels, not packed."""
        return math.prod(self.shape) * self.dtype.itemsize


def _read_header(path: Path, frame: int | None) -> _Header:
    if not path.is_file():
        what = "a folder was given in place of a volume" if path.is_dir() else "there is no such file"
        raise InputError(what, where=path, fix="check the name and the folder")
    require_plausible_start(path)
    fields, end = _fields(path)
    size, (channels,) = _integers(fields, "DimSize", path), _integers(fields, "ElementNumberOfChannels", path, 1)
    (axes,) = _integers(fields, "NDims", path, 3)
    if len(size) != 3 or axes != 3 or min(size) < 1 or channels != 1 or frame not in (None, 0):
        raise InputError(
            f"the image has {' x '.join(map(str, size))} voxels of {channels} values, expected one 3D volume",
            where=path,
            fix="split it into 3D volumes",
        )
    shape = (size[0], size[1], size[2])
    dtype = _type(fields, path)
    data, start = _place(fields, path, end, math.prod(shape) * dtype.itemsize)
    header = _Header(fields, shape, dtype, data, start, _is_true(fields, "CompressedData", "False"))
    _require_exact(header, path)
    return header


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """The lines of the header by key, and where they end."""
    with path.open("rb") as file:
        start = file.read(_LONGEST_HEADER)
    fields: dict[str, str] = {}
    place = 0
    while "ElementDataFile" not in fields:
        end = start.find(b"\n", place)
        line = start[place : end if end >= 0 else len(start)]
        key, equals, value = line.decode("latin-1").partition("=")
        if not equals:
            break
        fields[key.strip()] = value.strip()
        place = end + 1 if end >= 0 else len(start)
    if missing := [key for key in ("DimSize", "ElementType", "ElementDataFile") if key not in fields]:
        raise InputError(f"the file is no MetaImage: its header has no {missing[0]}", where=path, fix="copy it again")
    return fields, place


def _type(fields: dict[str, str], path: Path) -> np.dtype[Any]:
    """The type of a voxel; of numbers that mean what they are."""
    kind = fields["ElementType"]
    if kind not in _TYPES or not _is_true(fields, "BinaryData", "True"):
        raise InputError(f"voxels of the type {kind or 'text'} are not read", where=path, fix="write it as NIfTI")
    slope, offset = (fields.get(f"ElementToIntensityFunction{name}", "") for name in ("Slope", "Offset"))
    if (slope or "1", offset or "0") != ("1", "0"):
        raise InputError(
            f"the values follow from an intensity function (slope {slope or 1}, offset {offset or 0}), which other "
            "readers leave out",
            where=path,
            fix="apply it to the voxels and write the file again without it",
        )
    orders = {_is_true(fields, key, "False") for key in _BIG_ENDIAN if key in fields}
    if len(orders) > 1:
        raise _contradiction(fields, _BIG_ENDIAN, path)
    return np.dtype((">" if True in orders else "<") + _TYPES[kind])


def _place(fields: dict[str, str], path: Path, end: int, promised: int) -> tuple[Path, int]:
    """The file that holds the voxels, and where they begin in it."""
    name = fields["ElementDataFile"]
    local = name == "LOCAL"
    if not local and (Path(name).name != name or name == "LIST" or "%" in name):
        raise InputError(
            f"the header names its data {name!r}, expected one file beside it", where=path, fix="write it as one .mha"
        )
    data = path if local else path.with_name(name)
    if not data.is_file():
        raise InputError(
            f"the header has no data beside it ({data.name} is missing)",
            where=path,
            fix="copy the .mhd and its data together",
        )
    (skipped,) = _integers(fields, "HeaderSize", path, 0)
    if skipped == -1 and not _is_true(fields, "CompressedData", "False"):  # the data are the end of the file
        skipped = max(data.stat().st_size - promised, end if local else 0)
    if skipped < 0 or (local and skipped not in (0, end)):
        raise InputError(
            f"the header does not say where the data begin (HeaderSize is {fields['HeaderSize']})",
            where=path,
            fix="write it as one .mha",
        )
    return data, end if local else skipped


def _require_exact(header: _Header, path: Path) -> None:
    """Refuse a file that is shorter or longer than the voxels that its header promises."""
    there = header.data.stat().st_size - header.start
    stated = _integers(header.fields, "CompressedDataSize", path, 0)[0] if header.packed else header.promised
    if header.packed and not stated:
        stated = there
    require_exact_size(header.data, max(there, 0), stated, unpacked=header.promised if header.packed else None)


def _grid(header: _Header, path: Path, *, keep_shear: bool = False) -> Grid:
    """The grid in RAS+ millimetres."""
    fields, shape = header.fields, header.shape
    spacing = _reals(fields, _SPACING[:1] if _SPACING[0] in fields else _SPACING, path, [1.0, 1.0, 1.0])
    if min(spacing) <= 0:
        raise InputError(
            f"the voxel size (ElementSpacing) is {spacing[0]:g} x {spacing[1]:g} x {spacing[2]:g}, expected mm above 0",
            where=path,
            fix="write the file again; a direction is turned by the TransformMatrix alone",
        )
    if (unit := fields.get("DistanceUnits", "mm")) not in ("mm", "?"):
        raise InputError(
            f"the header gives lengths in '{unit}', expected mm", where=path, fix="write the header again in mm"
        )
    directions = np.reshape(_reals(fields, _MATRIX, path, np.eye(3).ravel().tolist()), (3, 3)).T
    if np.abs(np.linalg.norm(directions, axis=0) - 1).max() > _UNIT_LENGTH:
        raise InputError(
            "the header is damaged: the axes of TransformMatrix are not of length 1, so the voxel size is not known",
            where=path,
            fix="write the file again; the voxel size stands in ElementSpacing alone",
        )
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = _reals(fields, _ORIGIN, path, [0.0, 0.0, 0.0])
    affine = _LPS_TO_RAS @ affine
    require_regular(affine, path)
    notes = () if any(key in fields for key in _SPACING) else ("no voxel size in the header, 1 mm taken",)
    if not all(any(key in fields for key in keys) for keys in (_MATRIX, _ORIGIN)):
        note = "no world position: the header has no TransformMatrix or no Offset"
        return Grid(shape, base_affine(spacing_of(affine), shape), 0, 0, str(path), (*notes, note))
    straight, angle, moved = straighten(affine, shape)
    if moved > STRAIGHT and not keep_shear:
        raise InputError(
            f"the TransformMatrix is sheared: two axes are {angle:.2f} degrees off the right angle",
            where=path,
            fix=RESAMPLE,
        )
    # What a NIfTI-1 header can hold, so that a result written on this grid has the same one bit for bit.
    held = np.asarray(affine if moved > STRAIGHT else straight, np.float32).astype(np.float64)
    return Grid(shape, held, 1, 1, str(path), notes)


def _integers(fields: dict[str, str], key: str, path: Path, default: int | None = None) -> list[int]:
    """The numbers of a line of the header."""
    words = fields[key].split() if key in fields else [str(default)]
    try:
        return [int(word) for word in words] if words else [int("")]
    except ValueError as error:
        raise _damaged(fields, key, path) from error


def _reals(fields: dict[str, str], keys: tuple[str, ...], path: Path, default: list[float]) -> list[float]:
    """The numbers of the line that has one of several names, as many as the default has."""
    found: list[list[float]] = []
    for key in (key for key in keys if key in fields):
        try:
            found.append([float(word) for word in fields[key].split()])
        except ValueError as error:
            raise _damaged(fields, key, path) from error
        if len(found[-1]) != len(default) or not all(map(math.isfinite, found[-1])):
            raise _damaged(fields, key, path)
        if found[-1] != found[0]:
            raise _contradiction(fields, keys, path)
    return found[0] if found else default


def _is_true(fields: dict[str, str], key: str, default: str) -> bool:
    return fields.get(key, default).lower() in ("true", "1")


def _damaged(fields: dict[str, str], key: str, path: Path) -> InputError:
    return InputError(f"the header is damaged: {key} is {fields[key]!r}", where=path, fix="copy it again")


def _contradiction(fields: dict[str, str], keys: tuple[str, ...], path: Path) -> InputError:
    stated = ", ".join(f"{key} is {fields[key]!r}" for key in keys if key in fields)
    return InputError(f"the header contradicts itself: {stated}", where=path, fix="write the file again")
