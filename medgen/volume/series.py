"""The slices of one DICOM series: which files of a folder they are, and what their headers say.

Only the elements named here are read. What a patient is called is compared and forgotten: no element but the number
and the modality of a series goes into a message, and no text of pydicom does, which may quote a value.
"""

from __future__ import annotations

import logging
import math
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgen.errors import InputError

if TYPE_CHECKING:
    from pydicom import Dataset

SUFFIXES = (".dcm", ".ima")
MARK = b"DICM"
_DIRECTORY = "Media Storage Directory Storage"
_OTHER_FORMATS = (".nii", ".gz", ".hdr", ".img", ".mha", ".mhd")
_PIXEL_TAGS = [
    "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored",
    "HighBit", "PixelRepresentation", "PlanarConfiguration", "PixelData", "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
]  # fmt: skip
_HEADER_TAGS = [
    "SOPClassUID", "ImageType", "Modality", "PatientID", "PatientName", "SeriesInstanceUID", "SeriesNumber",
    "FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SpacingBetweenSlices",
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", *_PIXEL_TAGS,
]  # fmt: skip
# What pydicom and its decoders were seen to raise on files that are cut off or damaged.
DAMAGE = (OSError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError, struct.error)


@dataclass(frozen=True)
class Slice:
    """What the header says about one slice.

    Attributes:
        path: its file.
        frame: which one of the file, from 0.
        shape: (columns, rows).
        stored: type of the stored numbers, as numpy calls it.
        position: of the centre of the first voxel, LPS+ mm.
        orientation: direction cosines along a row, then along a column, in LPS+.
        spacing: distance of the columns and of the rows, mm.
        slope: of the stored numbers.
        intercept: likewise.
        between: distance of the slices as the header has it, mm.
        frame_of_reference: what the positions refer to; empty where nothing is said.
    """

    path: Path
    frame: int
    shape: tuple[int, int]
    stored: str
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, float]
    slope: float
    intercept: float
    between: float | None
    frame_of_reference: str


def is_dicom(path: Path) -> bool:
    """Whether this is a folder, or a file that is DICOM by its name or its first bytes."""
    if path.is_dir() or path.suffix.lower() in SUFFIXES:
        return True
    return path.suffix.lower() not in _OTHER_FORMATS and path.is_file() and _is_marked(path)


def find_slices(path: Path) -> tuple[list[Slice], tuple[str, ...]]:
    """The slices of the one series in a folder, or of one file, in no order; and notes on what was left out.

    Localizers are left out, and so are files that hold no image; folders inside are not looked at.

    Args:
        path: a folder or a file.

    Raises:
        InputError: there is no image, a file is empty, cut off or damaged, there are several patients or series, or
            an image has no position.
    """
    files, notes = _files(path)
    headers = {file: _header(file) for file in files}
    images = {file: header for file, header in headers.items() if _is_image(header)}
    if other := len(headers) - len(images):
        notes.append(f"{_count(other, 'file')} left out: DICOM, but no image")
    _require_one(images, path, "patient", lambda header: (str(header.get("PatientID")), str(header.get("PatientName"))))
    slices = {file: header for file, header in images.items() if "LOCALIZER" not in (header.get("ImageType") or ())}
    if localizers := len(images) - len(slices):
        notes.append(f"{_count(localizers, 'localizer')} left out")
    if not slices:
        remark = f" ({'; '.join(notes)})" if notes else ""
        raise InputError(
            f"there is no image of a DICOM series here{remark}",
            where=path,
            fix="give the folder that holds the slices of one series",
        )
    _require_one(slices, path, "series", lambda header: str(header.get("SeriesInstanceUID")))
    found = [each for file, header in slices.items() for each in _slices(file, header)]
    return found, tuple(notes)


def read_pixels(path: Path) -> Dataset:
    """The elements of a file that decoding needs, pixel data included."""
    import pydicom

    return pydicom.dcmread(path, specific_tags=list(_PIXEL_TAGS))


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


def _files(path: Path) -> tuple[list[Path], list[str]]:
    """The DICOM files of a folder, sorted by name, and a note on the others."""
    if not path.exists():
        raise InputError("there is no such file", where=path, fix="check the name and the folder")
    inside = sorted(path.iterdir()) if path.is_dir() else [path]
    candidates = [file for file in inside if file.is_file() and not file.name.startswith(".")]
    if empty := [file for file in candidates if file.stat().st_size == 0]:
        raise InputError("the file is empty (0 bytes): an incomplete file", where=empty[0], fix="copy it again")
    files = [file for file in candidates if _is_marked(file)]
    others = [file for file in candidates if file not in set(files)]
    endings = {_ending(file) for file in files} | set(SUFFIXES)
    if broken := [file for file in others if _ending(file) in endings]:
        raise InputError(
            f"the file is named like DICOM and is not: the mark {MARK.decode()} is missing from its start",
            where=broken[0],
            fix="copy it again, or take it out of the folder",
        )
    if not files:
        raise InputError(
            "the folder holds no DICOM file",
            where=path,
            fix="name a volume, or the folder that holds the slices of one series itself",
        )
    return files, [f"{_count(len(others), 'file')} left out: no DICOM"] if others else []


def _is_marked(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == MARK


def _ending(path: Path) -> str:
    """The suffix; a file named by a number or an identifier has none."""
    return "" if path.suffix[1:].isdigit() else path.suffix.lower()


def _header(path: Path) -> Dataset:
    import pydicom

    try:
        with silenced():
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_HEADER_TAGS))
            kind, promised = header.get("SOPClassUID"), header.file_meta.MediaStorageSOPClassUID
            if promised.name == _DIRECTORY:
                header.SOPClassUID = promised
                return header
            # A class that is cut off is none of the known ones; it would pass for something other than an image.
            whole = kind is not None and (kind.name != str(kind) or kind == promised)
    except PermissionError:
        raise
    except DAMAGE as error:
        raise _damaged(path) from error
    # These stand last: where they are missing, what is compared before them may be, too.
    if not whole or (_is_image(header) and not all(name in header for name in ("Rows", "Columns", "BitsAllocated"))):
        raise _damaged(path)
    return header


def _is_image(header: Dataset) -> bool:
    """Whether the object is of one of DICOM's many classes of images."""
    return str(header.SOPClassUID.name).endswith("Image Storage")


def _require_one(headers: dict[Path, Dataset], where: Path, what: str, key: Callable[[Dataset], object]) -> None:
    groups: dict[object, list[Path]] = {}
    for file, header in headers.items():
        groups.setdefault(key(header), []).append(file)
    if len(groups) < 2:
        return
    named = []
    for files in groups.values():
        first = headers[files[0]]
        about = (
            f"number {first.get('SeriesNumber', 'unknown')}, {first.get('Modality', '')}, " if what == "series" else ""
        )
        named.append(f"{about}{_count(len(files), 'file')} from {files[0].name}")
    raise InputError(
        f"the folder holds {len(groups)} {what if what == 'series' else 'patients'}: {'; '.join(named)}",
        where=where,
        fix="give each series a folder of its own",
    )


def _slices(path: Path, header: Dataset) -> Iterator[Slice]:
    """The frames of one file."""
    try:
        with silenced():
            _require_grey(path, header)
            for frame in range(int(header.get("NumberOfFrames") or 1)):
                yield _slice(path, header, frame)
    except DAMAGE as error:
        raise _damaged(path) from error


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
    return Slice(
        path=path,
        frame=frame,
        shape=(int(header.Columns), int(header.Rows)),
        stored=f"{kind}{int(header.BitsAllocated) // 8}",
        position=position,
        orientation=orientation,
        spacing=(spacing[1], spacing[0]),  # DICOM names the distance of the rows first
        slope=slope[0],
        intercept=intercept[0],
        between=between[0] if between else None,
        frame_of_reference=str(header.get("FrameOfReferenceUID") or ""),
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
    if wrong:
        raise InputError(wrong, where=path, fix="export the scanner's own images in place of rendered ones")


def _damaged(path: Path) -> InputError:
    return InputError(
        "the file is cut off or damaged: its header cannot be read", where=path, fix="copy it again from the archive"
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
