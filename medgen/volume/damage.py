# mypy: allow-untyped-calls
# nibabel and isal carry annotations in part only.
"""What is wrong with a file that cannot be read: its end is missing, a checksum is wrong, it is something else."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
from isal import igzip, isal_zlib
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from medgen.errors import InputError, MedgenError, MemoryExhausted, StorageError

BLOCK = 1 << 20  # bytes read at a time where only the end of a stream matters

_PACKED_START = b"\x1f\x8b"
_LARGEST_DEFLATE_RATIO = 1032  # zlib's technical notes: no deflate stream expands further
_PACKED = (igzip.BadGzipFile, EOFError, zlib.error, cast("type[Exception]", isal_zlib.error))
# What nibabel and numpy were seen to raise on damaged headers and streams.
_DAMAGE: tuple[type[Exception], ...] = (
    MedgenError, OSError, ValueError, OverflowError, KeyError, ZeroDivisionError, np.linalg.LinAlgError,
    ImageFileError, HeaderDataError, WrapStructError, *_PACKED,
)  # fmt: skip


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file makes nibabel raise into an :class:`InputError` that names the damage.

    A wrong checksum or a missing end explains every other complaint about a packed file, so that is looked for
    first: a flipped bit may well look like a contradictory header.
    """
    try:
        yield
    except MemoryError as error:
        raise MemoryExhausted(
            "the image does not fit into memory", where=path, fix="close other programs or use a larger machine"
        ) from error
    except PermissionError as error:
        raise StorageError("the file may not be read", where=path, fix="ask its owner for access") from error
    except _DAMAGE as error:
        _require_intact_gzip(path)
        if isinstance(error, MedgenError):
            raise
        raise InputError(
            f"the file is damaged or no NIfTI: {first_line(error)}", where=path, fix="copy or convert it again"
        ) from error


def require_plausible_start(path: Path) -> None:
    """Refuse what its first bytes show not to be a NIfTI file.

    Raises:
        InputError: an empty file, a Git LFS pointer, DICOM, or packed without being named so (or the reverse).
    """
    with path.open("rb") as file:
        start = file.read(132)
    packed = path.suffix.lower() == ".gz"
    if not start:
        raise InputError("the file is empty (0 bytes): an incomplete file", where=path, fix="copy it again")
    if start.startswith(b"version https://git-lfs"):
        raise InputError("the file is only a pointer of Git LFS", where=path, fix="git lfs pull")
    if start[128:132] == b"DICM":
        raise InputError("the file is DICOM, not NIfTI", where=path, fix="give the folder of the DICOM series")
    if packed and not start.startswith(_PACKED_START):
        raise InputError(
            "the file is named .gz but not packed, or its start is damaged", where=path, fix="copy it again"
        )
    if path.suffix.lower() == ".nii" and start.startswith(_PACKED_START):
        raise InputError("the file is packed but not named .gz", where=path, fix="end its name in .nii.gz")


def require_complete(image: Any, path: Path) -> None:
    """Refuse a file that cannot hold the voxels its header promises, before memory is asked for."""
    file = Path(image.file_map["image"].filename)
    if not file.exists():
        raise InputError(
            f"the header has no image beside it ({file.name} is missing)",
            where=path,
            fix="copy the .hdr and the .img file together",
        )
    proxy = image.dataobj
    needed = math.prod(int(size) for size in proxy.shape) * proxy.dtype.itemsize + int(proxy.offset)
    size = file.stat().st_size
    if needed > (size * _LARGEST_DEFLATE_RATIO if file.suffix.lower() == ".gz" else size):
        raise InputError(
            f"incomplete file: the header promises {needed} bytes, the file has {size}",
            where=file,
            fix="copy it again",
        )


def _require_intact_gzip(path: Path) -> None:
    """Read a packed file to its end: raise if the end is missing or a checksum is wrong."""
    if path.suffix.lower() != ".gz" or not path.is_file():
        return
    with path.open("rb") as file:
        if file.read(2) != _PACKED_START:
            return
    try:
        with igzip.open(path, "rb") as stream:
            while stream.read(BLOCK):
                pass
    except EOFError as error:
        size = path.stat().st_size
        raise InputError(f"incomplete file: it ends after {size} bytes", where=path, fix="copy it again") from error
    except _PACKED as error:
        raise InputError(
            f"the file is damaged: checksum or packed data are wrong ({first_line(error)})",
            where=path,
            fix="copy it again and compare the checksums of both copies",
        ) from error


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
