# mypy: allow-untyped-calls
# SimpleITK carries annotations in part only.
"""MetaImage (``.mha``, ``.mhd``) read with SimpleITK, after its header and the size of its data were looked at.

SimpleITK (2.5) returns a packed file that is cut off or damaged with zeros in place of what cannot be unpacked, and
says so on the terminal alone. So the data are unpacked and counted before it may read them. Its positions are in LPS+.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.errors import InputError
from medgen.volume.damage import BLOCK, require_plausible_start
from medgen.volume.grid import STRAIGHT, Grid, spacing_of, straighten
from medgen.volume.nifti import RESAMPLE, base_affine, require_regular

SUFFIXES = (".mha", ".mhd")

_LONGEST_HEADER = 1 << 16
_BYTES = {
    "MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4, "MET_LONG": 4,
    "MET_ULONG": 4, "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4, "MET_DOUBLE": 8,
}  # fmt: skip
_POSITION = (("TransformMatrix", "Rotation", "Orientation"), ("Offset", "Origin", "Position"))
_SPACING = ("ElementSpacing", "ElementSize")
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
        InputError: the file is missing, incomplete, damaged, not of three dimensions with one number a voxel, or
            sheared.
    """
    header = _read_header(path, frame)
    if header.packed:
        _require_intact(header, path)
    grid = _grid(header, path, keep_shear=keep_shear)
    import SimpleITK

    try:
        image = SimpleITK.ReadImage(str(path), imageIO="MetaImageIO")
    except RuntimeError as error:
        raise _unreadable(path) from error
    return np.asarray(SimpleITK.GetArrayFromImage(image)).transpose(2, 1, 0), grid


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
        data: the file that holds the voxels.
        start: where they begin in it.
        packed: whether zlib packed them.
        promised: bytes of all voxels, not packed.
    """

    fields: dict[str, str]
    data: Path
    start: int
    packed: bool
    promised: int


def _read_header(path: Path, frame: int | None) -> _Header:
    if not path.is_file():
        what = "a folder was given in place of a volume" if path.is_dir() else "there is no such file"
        raise InputError(what, where=path, fix="check the name and the folder")
    require_plausible_start(path)
    fields, end = _fields(path)
    size, (channels,) = _integers(fields, "DimSize", path), _integers(fields, "ElementNumberOfChannels", path, 1)
    if len(size) != 3 or min(size) < 1 or channels != 1 or frame not in (None, 0):
        raise InputError(
            f"the image has {' x '.join(map(str, size))} voxels of {channels} values, expected one 3D volume",
            where=path,
            fix="split it into 3D volumes",
        )
    kind = fields.get("ElementType", "")
    if kind not in _BYTES or not _is_true(fields, "BinaryData", "True"):
        raise InputError(f"voxels of the type {kind or 'text'} are not read", where=path, fix="write it as NIfTI")
    name = fields["ElementDataFile"]
    local = name == "LOCAL"
    if not local and (Path(name).name != name or name == "LIST" or "%" in name):
        raise InputError(
            f"the header names its data {name!r}, expected one file beside it", where=path, fix="write it as one .mha"
        )
    (skipped,) = _integers(fields, "HeaderSize", path, 0)
    if skipped < 0:
        raise InputError("the header does not say where the data begin", where=path, fix="write it as one .mha")
    header = _Header(
        fields,
        path if local else path.with_name(name),
        end if local else skipped,
        _is_true(fields, "CompressedData", "False"),
        math.prod(size) * _BYTES[kind],
    )
    _require_complete(header, path)
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


def _require_complete(header: _Header, path: Path) -> None:
    """Refuse a file that cannot hold the voxels its header promises."""
    if not header.data.is_file():
        raise InputError(
            f"the header has no data beside it ({header.data.name} is missing)",
            where=path,
            fix="copy the .mhd and its data together",
        )
    there = header.data.stat().st_size - header.start
    needed = _integers(header.fields, "CompressedDataSize", path, 1)[0] if header.packed else header.promised
    if there < needed:
        raise InputError(
            f"incomplete file: the header promises {needed} bytes of data, the file has {max(there, 0)}",
            where=header.data,
            fix="copy it again",
        )


def _require_intact(header: _Header, path: Path) -> None:
    """Unpack the data once, keeping nothing: their length and checksum must be right."""
    unpacker = zlib.decompressobj()
    found = 0
    with header.data.open("rb") as file:
        file.seek(header.start)
        try:
            while found <= header.promised and not unpacker.eof and (block := file.read(BLOCK)):
                while block and not unpacker.eof:
                    found += len(unpacker.decompress(block, BLOCK))
                    block = unpacker.unconsumed_tail
        except zlib.error as error:
            raise InputError(
                f"the file is damaged: its packed data or their checksum are wrong ({error})",
                where=header.data,
                fix="copy it again and compare the checksums of both copies",
            ) from error
    if not unpacker.eof or found != header.promised:
        raise InputError(
            f"incomplete file: the header promises {header.promised} bytes of data, {found} are there",
            where=header.data,
            fix="copy it again",
        )


def _grid(header: _Header, path: Path, *, keep_shear: bool = False) -> Grid:
    """The grid in RAS+ millimetres."""
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("MetaImageIO")
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path) from error
    x, y, z = reader.GetSize()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(reader.GetDirection(), (3, 3)) * reader.GetSpacing()
    affine[:3, 3] = reader.GetOrigin()
    affine = _LPS_TO_RAS @ affine
    require_regular(affine, path)
    notes = () if any(key in header.fields for key in _SPACING) else ("no voxel size in the header, 1 mm taken",)
    if not all(any(key in header.fields for key in keys) for keys in _POSITION):
        note = "no world position: the header has no TransformMatrix or no Offset"
        return Grid((x, y, z), base_affine(spacing_of(affine), (x, y, z)), 0, 0, str(path), (*notes, note))
    straight, angle, moved = straighten(affine, (x, y, z))
    if moved > STRAIGHT and not keep_shear:
        raise InputError(
            f"the TransformMatrix is sheared: two axes are {angle:.2f} degrees off the right angle",
            where=path,
            fix=RESAMPLE,
        )
    # What a NIfTI-1 header can hold, so that a result written on this grid has the same one bit for bit.
    held = np.asarray(affine if moved > STRAIGHT else straight, np.float32).astype(np.float64)
    return Grid((x, y, z), held, 1, 1, str(path), notes)


def _integers(fields: dict[str, str], key: str, path: Path, default: int | None = None) -> list[int]:
    """The numbers of a line of the header."""
    words = fields[key].split() if key in fields else [str(default)]
    try:
        return [int(word) for word in words] if words else [int("")]
    except ValueError as error:
        raise InputError(f"the header is damaged: {key} is {fields[key]!r}", where=path, fix="copy it again") from error


def _is_true(fields: dict[str, str], key: str, default: str) -> bool:
    return fields.get(key, default).lower() in ("true", "1")


def _unreadable(path: Path) -> InputError:
    return InputError(
        "the file is damaged or no MetaImage: SimpleITK cannot read it", where=path, fix="copy or convert it again"
    )
