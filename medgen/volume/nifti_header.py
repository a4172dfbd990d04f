# mypy: allow-untyped-calls
# nibabel and isal carry annotations in part only.
"""What a NIfTI header says before nibabel mends it: voxel size, unit, codes, and where the voxels begin.

nibabel makes a negative voxel size positive, an empty one 1 mm and an unknown code 0, and says so in a log at most.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from isal import igzip

from medgen.errors import InputError
from medgen.volume.damage import Oversized, unpacked_size
from medgen.volume.grid import SAME_GRID, Affine, spacing_of

LARGEST_EXTENSION = 64 << 20
"""Bytes between a header and its voxels; text and DICOM headers that tools put there have some thousand."""

_KINDS = {348: nibabel.Nifti1Header, 540: nibabel.Nifti2Header}
_LENGTH_UNITS = ("mm", "unknown")
_CODES = range(6)


def stored_header(path: Path) -> Any:
    """The header of a NIfTI file or pair as it is stored, or None where there is none.

    Args:
        path: the file; of a pair either half.
    """
    file = _header_file(path)
    if not file.is_file():
        return None
    with igzip.open(file, "rb") if file.suffix.lower() == ".gz" else file.open("rb") as stream:
        start = stream.read(max(_KINDS))
    for size, kind in _KINDS.items():
        if len(start) >= size and size in (int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")):
            return kind(start[:size], check=False)
    return None


def require_small_extension(stored: Any, path: Path) -> None:
    """Refuse a header that has nibabel read more than 64 MiB in front of the voxels.

    Raises:
        InputError: it does; raised before memory is asked for.
    """
    file, limit = _header_file(path), LARGEST_EXTENSION + max(_KINDS) + 4
    if stored["magic"].item() in (b"n+1", b"n+2"):
        size = float(stored["vox_offset"])
    else:
        size = unpacked_size(file, limit) if file.suffix.lower() == ".gz" else file.stat().st_size
    if size > limit:
        raise Oversized(
            f"the header and what follows it until the voxels have {size:.0f} bytes or more, at most {limit} are read",
            where=path,
            fix="write the file again without header extensions",
        )


def require_known_codes(stored: Any, path: Path) -> None:
    """Refuse a code that NIfTI does not know: what the affine means is then not known either.

    Raises:
        InputError: the qform or the sform has such a code.
    """
    for form in ("qform", "sform"):
        if (code := int(stored[f"{form}_code"])) not in _CODES:
            raise InputError(
                f"the {form}_code is {code}, expected 0 to {_CODES[-1]}",
                where=path,
                fix="convert it again, or set the code to 1 if the position is that of the scanner",
            )


def unit_notes(stored: Any, path: Path) -> tuple[str, ...]:
    """Notes on the unit of length.

    Raises:
        InputError: it is the metre, the micron, or none that NIfTI knows.
    """
    try:
        unit = str(stored.get_xyzt_units()[0])
    except KeyError:
        unit = f"code {int(stored['xyzt_units']) & 7}"
    if unit not in _LENGTH_UNITS:
        raise InputError(
            f"the header gives lengths in '{unit}', expected mm", where=path, fix="write the header again in mm"
        )
    return () if unit == "mm" else ("no unit of length in the header, millimetres taken",)


def fault_of_size(stored: Any) -> str:
    """What is wrong with the voxel size (pixdim), if a grid is to be made of it; else ""."""
    pixdim = _pixdim(stored)
    if not (np.all(np.isfinite(pixdim)) and np.all(pixdim > 0)):
        return f"the voxel size (pixdim) is {_listed(pixdim)} mm, expected numbers above 0"
    return ""


def fault_of_qform(stored: Any) -> str:
    """What is wrong with the numbers that a qform is made of beside its rotation; else ""."""
    sign = float(stored["pixdim"][0])
    if sign not in (-1.0, 0.0, 1.0):
        return f"pixdim[0] is {sign:g}, expected 1 or -1: readers disagree which way the slices run"
    return fault_of_size(stored)


def size_notes(stored: Any, sform: Affine, shape: tuple[int, int, int]) -> tuple[str, ...]:
    """A note where the voxel size (pixdim) contradicts the sform, of which the grid is made."""
    pixdim = _pixdim(stored)
    spacing = np.array(spacing_of(sform))[: len(pixdim)]
    away = np.abs(pixdim - spacing) * np.array(shape)[: len(pixdim)]
    if np.all(away <= SAME_GRID * spacing):  # also False for NaN
        return ()
    return (f"the voxel size (pixdim) is {_listed(pixdim)} mm, by the sform {_listed(spacing)} mm: the sform is taken",)


def _header_file(path: Path) -> Path:
    """The file that begins with the header."""
    name = path.name
    for image, header in ((".img", ".hdr"), (".IMG", ".HDR"), (".img.gz", ".hdr.gz")):
        if name.endswith(image):
            return path.with_name(name.removesuffix(image) + header)
    return path


def _pixdim(stored: Any) -> Affine:
    axes = min(3, int(stored["dim"][0]))
    with np.errstate(invalid="ignore"):  # some NaN
        return np.asarray(stored["pixdim"][1 : 1 + axes], np.float64)


def _listed(sizes: Affine) -> str:
    return " x ".join(f"{size:.4g}" for size in sizes)
