"""The slices that a DICOM file holds: what its header says about each, one or many.

No text of pydicom goes into a message: it may quote a value of the header.
"""

from __future__ import annotations

import logging
import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgen.errors import InputError
from medgen.volume.damage import LARGEST_DEFLATE_RATIO, deflated_size
from medgen.volume.padding import Padding, named_padding

if TYPE_CHECKING:
    from pydicom import Dataset

# What pydicom and its decoders were seen to raise on files that are cut off or damaged.
_DAMAGE = (
    OSError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError, struct.error,
    zlib.error,
)  # fmt: skip

_LARGEST_GROWTH = 10_000  # a frame of one value by JPEG-LS or JPEG 2000; no image of a patient comes near
_ITEM = 8  # bytes that an encapsulated frame has at least
_MOST_DEFLATED = 1 << 30
_META_BEGIN = 144  # preamble, mark, and the element that holds the length of the rest of the file meta information


@dataclass(frozen=True)
class Slice:
    """What the header says about one slice.

    Attributes:
        path: its file.
        frame: which one of the file, from 0.
        frames: how many the file has.
        shape: (columns, rows).
        stored: type of the stored numbers, as numpy calls it.
        position: of the centre of the first voxel, LPS+ mm.
        orientation: direction cosines along a row, then along a column, in LPS+.
        spacing: distance of the columns and of the rows, mm.
        slope: of the stored numbers.
        intercept: likewise.
        between: distance of the slices as the header has it, mm.
        frame_of_reference: what the positions refer to; empty where nothing is said.
        padding: stored numbers that are no measurement; None where the header names none.
    """

    path: Path
    frame: int
    frames: int
    shape: tuple[int, int]
    stored: str
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, float]
    slope: float
    intercept: float
    between: float | None
    frame_of_reference: str
    padding: Padding | None


@contextmanager
def silenced() -> Iterator[None]:
    """Keep pydicom's warnings, which quote values of the header, off the terminal and out of the log."""
    log = logging.getLogger("pydicom")
    before, log.disabled = log.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.disabled = before


def damage() -> tuple[type[Exception], ...]:
    """What a damaged file makes pydicom raise; looked up when something was raised, since pydicom is imported late."""
    from pydicom.errors import BytesLengthException

    return (*_DAMAGE, BytesLengthException)


def read_slices(path: Path, header: Dataset) -> Iterator[Slice]:
    """What the header of one file says about its frames.

    Raises:
        InputError: it does not say where they lie, their numbers are no grey values, it promises more pixel data than
            the file can hold, or it is damaged.
    """
    try:
        with silenced():
            _require_grey(path, header)
            require_held(path, header)
            for frame in range(_frames(header)):
                yield _slice(path, header, frame)
    except damage() as error:
        raise damaged(path) from error


def _frames(header: Dataset) -> int:
    return int(header.get("NumberOfFrames") or 1)


def _slice(path: Path, header: Dataset, frame: int) -> Slice:
    def numbers(group: str, keyword: str) -> tuple[float, ...]:
        value = _element(header, frame, group, keyword)
        values = (value,) if isinstance(value, int | float) else value or ()
        return tuple(float(each) for each in values)

    position = numbers("PlanePositionSequence", "ImagePositionPatient")
    orientation = numbers("PlaneOrientationSequence", "ImageOrientationPatient")
    spacing = numbers("PixelMeasuresSequence", "PixelSpacing")
    if not (len(position), len(orientation), len(spacing)) == (3, 6, 2):
        raise InputError(
            "the header does not say where the slice lies: position, orientation or pixel spacing are missing",
            where=path,
            fix="export the series again from the scanner or the archive, with these elements",
        )
    slope = numbers("PixelValueTransformationSequence", "RescaleSlope") or (1.0,)
    intercept = numbers("PixelValueTransformationSequence", "RescaleIntercept") or (0.0,)
    between = numbers("PixelMeasuresSequence", "SpacingBetweenSlices")
    values = (*position, *orientation, *spacing, *slope, *intercept)
    if not all(map(math.isfinite, values)) or min(spacing) <= 0 or slope[0] == 0:
        raise InputError(
            "the header has a position, a pixel spacing or a rescale slope that cannot be",
            where=path,
            fix="export the series again",
        )
    kind = "iu"[not header.get("PixelRepresentation")]
    stored = f"{kind}{int(header.BitsAllocated) // 8}"
    return Slice(
        path=path,
        frame=frame,
        frames=_frames(header),
        shape=(int(header.Columns), int(header.Rows)),
        stored=stored,
        position=position,
        orientation=orientation,
        spacing=(spacing[1], spacing[0]),  # DICOM names the distance of the rows first
        slope=slope[0],
        intercept=intercept[0],
        between=between[0] if between else None,
        frame_of_reference=str(header.get("FrameOfReferenceUID") or ""),
        padding=named_padding(header, stored),
    )


def _element(header: Dataset, frame: int, group: str, keyword: str) -> Any:
    """An element of a frame: of its own group, the group that all frames share, or the header itself."""
    for sequence, index in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        if sequence in header and group in (groups := header[sequence].value[index]):
            value = groups[group].value[0].get(keyword)
            if value is not None:
                return value
    return header.get(keyword)


def _require_grey(path: Path, header: Dataset) -> None:
    """Refuse stored numbers that do not mean one value a voxel by slope and intercept."""
    kind = str(header.get("PhotometricInterpretation"))
    wrong = ""
    if int(header.get("SamplesPerPixel") or 1) != 1 or not kind.startswith("MONOCHROME"):
        wrong = f"the voxels are colour ({kind}), expected one number each"
    elif "ModalityLUTSequence" in header:
        wrong = "the values follow from a table (Modality LUT), expected slope and intercept"
    elif int(header.BitsAllocated) not in (8, 16, 32):
        wrong = f"the voxels have {int(header.BitsAllocated)} bits, expected 8, 16 or 32"
    _require_low_bits(path, header)
    if wrong:
        raise InputError(wrong, where=path, fix="export the scanner's own images in place of rendered ones")


def _require_low_bits(path: Path, header: Dataset) -> None:
    """Refuse numbers that do not end at bit 0, as was legal before 2014: they are not what decoders make of them."""
    stored, high = (int(header.get(key) or 0) for key in ("BitsStored", "HighBit"))
    if stored and "HighBit" in header and high != stored - 1:
        raise InputError(
            f"the numbers of {stored} bits (BitsStored) end at bit {high} (HighBit), expected bit {stored - 1}",
            where=path,
            fix="convert the series with a tool that moves the bits; read as they stand, the values are wrong",
        )


def require_held(path: Path, header: Dataset) -> None:
    """Refuse a header that promises more frames or larger ones than its file can hold, before they are counted through.

    Raises:
        InputError: it does, with both numbers.
    """
    size, syntax = path.stat().st_size, header.file_meta.TransferSyntaxUID
    frames, rows, columns = _frames(header), int(header.Rows), int(header.Columns)
    if min(frames, rows, columns) < 1:
        raise damaged(path)
    promised = frames * rows * columns * (int(header.BitsAllocated) // 8)
    growth = _LARGEST_GROWTH if syntax.is_encapsulated else LARGEST_DEFLATE_RATIO if syntax.is_deflated else 1
    if promised > size * growth or (syntax.is_encapsulated and frames * _ITEM > size):
        packed = f", packed as '{syntax.name}'" if growth > 1 else ""
        raise InputError(
            f"the pixel data are cut off: the header promises {promised} bytes ({frames} frames of {columns} x {rows})"
            f", the file has {size}{packed}",
            where=path,
            fix="copy it again from the archive",
        )


def require_small_deflated(path: Path) -> None:
    """Refuse a file packed as a whole (Deflated Explicit VR) that unpacks to more than 1 GiB, which pydicom would keep.

    Raises:
        InputError: it does.
    """
    import pydicom

    if path.stat().st_size * LARGEST_DEFLATE_RATIO <= _MOST_DEFLATED:
        return
    meta = pydicom.filereader.read_file_meta_info(path)
    if not meta.TransferSyntaxUID.is_deflated:
        return
    begin = _META_BEGIN + int(meta.FileMetaInformationGroupLength)
    if deflated_size(path, begin, _MOST_DEFLATED) > _MOST_DEFLATED:
        raise InputError(
            f"the file unpacks to more than {_MOST_DEFLATED >> 20} MiB, the limit for Deflated Explicit VR",
            where=path,
            fix="export it again, not packed or as JPEG 2000",
        )


def damaged(path: Path) -> InputError:
    """The error on a file whose header makes no sense."""
    return InputError(
        "the file is cut off or damaged: its header cannot be read", where=path, fix="copy it again from the archive"
    )
