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
from numpy.typing import NDArray

from medgen.errors import InputError, MedgenError, MemoryExhausted, PathError
from medgen.files import require_readable, unreadable

BLOCK = 1 << 20  # bytes read at a time where only the end of a stream matters
LARGEST_DEFLATE_RATIO = 1032  # zlib's technical notes: no deflate stream expands further

_PACKED_START = b"\x1f\x8b"
_DOUBTED_RATIO = 100  # beyond, packed data are counted before memory is asked for; scans expand 2 to 10 times
_MOST_EXPLAINED = 8 << 30  # bytes unpacked to explain an error; some seconds
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
        require_readable(path)
        yield
    except MemoryError as error:
        raise MemoryExhausted(
            "the image does not fit into memory", where=path, fix="close other programs or use a larger machine"
        ) from error
    except PermissionError as error:
        raise unreadable(path) from error
    except (Oversized, PathError):
        raise
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
    if path.suffix.lower() in (".bz2", ".zst"):
        raise InputError(
            f"the file is packed as {path.suffix}, expected .gz", where=path, fix="pack it again with gzip"
        )
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


class Oversized(InputError):
    """A file that holds more than its header says, which reading all of it would not explain."""


def require_complete(image: Any, path: Path) -> None:
    """Refuse a file that does not hold the voxels its header promises, or more, before memory is asked for."""
    file = Path(image.file_map["image"].filename)
    if not file.exists():
        raise InputError(
            f"the header has no image beside it ({file.name} is missing)",
            where=path,
            fix="copy the .hdr and the .img file together",
        )
    needed, size = promised_bytes(image), file.stat().st_size
    if file.suffix.lower() != ".gz":
        require_exact_size(file, size, needed)
        return
    if needed > size * LARGEST_DEFLATE_RATIO:
        raise _too_short(file, needed, f"the file has {size}, packed")


def require_unpacked_size(file: Path, promised: int) -> None:
    """Count what a gzip file holds that would have to grow a lot, keeping nothing, before memory is asked for.

    Raises:
        InputError: it does not become ``promised`` bytes.
    """
    if promised <= file.stat().st_size * _DOUBTED_RATIO or (there := unpacked_size(file, promised)) == promised:
        return
    raise _too_short(file, promised, f"{there} are there") if there < promised else too_long(file, promised)


def promised_bytes(image: Any) -> int:
    """Bytes that an unpacked NIfTI image has by its header, from the beginning of the file."""
    proxy = image.dataobj
    return math.prod(int(size) for size in proxy.shape) * int(proxy.dtype.itemsize) + int(proxy.offset)


def require_exact_size(file: Path, there: int, promised: int, *, unpacked: int | None = None) -> None:
    """Refuse data that are fewer or more bytes than a header promises.

    Args:
        file: for messages.
        there: bytes that are there.
        promised: bytes that should be.
        unpacked: bytes that they should become, if they are packed.

    Raises:
        InputError: the numbers differ, or no packed data of that length hold as much.
    """
    if there < promised or (unpacked or 0) > there * LARGEST_DEFLATE_RATIO:
        raise _too_short(file, promised if there < promised else int(unpacked or 0), f"the file has {there}")
    if there > promised:
        raise too_long(file, promised, there)


def _too_short(file: Path, promised: int, found: str) -> InputError:
    return InputError(
        f"incomplete file: the header promises {promised} bytes, {found}", where=file, fix="copy it again"
    )


def too_long(file: Path, promised: int, there: int | None = None) -> Oversized:
    """The error on data beyond the volume."""
    found = "more" if there is None else str(there)
    return Oversized(
        f"the file holds more than its header says: {promised} bytes are promised, {found} are there",
        where=file,
        fix="convert the original again: header and voxels do not belong together",
    )


def unpacked_size(path: Path, limit: int) -> int:
    """Bytes in a gzip file, counted without keeping them; some number above ``limit`` where there are more."""
    found = 0
    with igzip.open(path, "rb") as stream:
        while found <= limit and (block := stream.read(BLOCK)):
            found += len(block)
    return found


def deflated_size(path: Path, start: int, limit: int) -> int:
    """As :func:`unpacked_size`, of a raw deflate stream that begins at ``start``."""
    unpacker, found = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with path.open("rb") as file:
        file.seek(start)
        while found <= limit and not unpacker.eof and (packed := unpacker.unconsumed_tail or file.read(BLOCK)):
            found += len(unpacker.decompress(packed, BLOCK))
    return found


def unpack_zlib(path: Path, start: int, promised: int) -> NDArray[np.uint8]:
    """Unpack the data at the end of a file.

    Args:
        path: the file.
        start: where they begin.
        promised: bytes that they must become; memory for as many is asked for.

    Raises:
        InputError: they are cut off or damaged, become another number of bytes, or something follows them.
    """
    if promised > _DOUBTED_RATIO * (path.stat().st_size - start):
        for _ in _unpacked(path, start, promised):
            pass
    data = np.empty(promised, np.uint8)
    for place, block in _unpacked(path, start, promised):
        data[place : place + len(block)] = np.frombuffer(block, np.uint8)
    return data


def _unpacked(path: Path, start: int, promised: int) -> Iterator[tuple[int, bytes]]:
    """Blocks of unpacked data and where they belong; the last one only where all of them are right."""
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)  # zlib or gzip, as ITK takes both
    found = 0
    with path.open("rb") as file:
        file.seek(start)
        try:
            while not unpacker.eof and (packed := unpacker.unconsumed_tail or file.read(BLOCK)):
                block = unpacker.decompress(packed, BLOCK)
                if found + len(block) > promised:
                    raise too_long(path, promised)
                yield found, block
                found += len(block)
        except zlib.error as error:
            raise InputError(
                f"the file is damaged: its packed data or their checksum are wrong ({error})",
                where=path,
                fix="copy it again and compare the checksums of both copies",
            ) from error
        if not unpacker.eof or found != promised:
            raise _too_short(path, promised, f"{found} are there")
        if unpacker.unused_data or file.read(1):
            raise too_long(path, promised)


def _require_intact_gzip(path: Path) -> None:
    """Read a packed file to its end: raise if the end is missing or a checksum is wrong."""
    if path.suffix.lower() != ".gz" or not path.is_file():
        return
    with path.open("rb") as file:
        if file.read(2) != _PACKED_START:
            return
    try:
        unpacked_size(path, _MOST_EXPLAINED)
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
