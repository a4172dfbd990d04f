"""The slices of one DICOM series: which files of a folder they are, and what their headers say.

Only the elements named here are read. What a patient is called is compared and forgotten: no element but the number
and the modality of a series goes into a message, and no text of pydicom does, which may quote a value.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from medgen.errors import InputError
from medgen.volume.slices import Slice, damage, damaged, read_slices, require_small_deflated, silenced

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
    "RescaleSlope", "RescaleIntercept", "RescaleType", "PixelPaddingValue", "PixelPaddingRangeLimit",
    "ModalityLUTSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", *_PIXEL_TAGS,
]  # fmt: skip


def is_dicom(path: Path) -> bool:
    """Whether this is a folder, or a file that is DICOM by its name or its first bytes."""
    if path.is_dir() or path.suffix.lower() in SUFFIXES:
        return True
    return path.suffix.lower() not in _OTHER_FORMATS and path.is_file() and _is_marked(path)


def holds_dicom(folder: Path) -> bool:
    """Whether a file that lies in the folder itself is DICOM."""
    return any(file.is_file() and _is_marked(file) for file in folder.iterdir())


class Series(NamedTuple):
    """One series of a folder.

    Attributes:
        name: of one of its files, by which it can be chosen.
        modality: as the header says, for example ``CT``; empty where it does not.
        files: how many there are.
    """

    name: str
    modality: str
    files: int


def list_series(path: Path) -> tuple[Series, ...]:
    """The series of images in a folder or a file, localizers included; nothing of the patient.

    Raises:
        InputError: there is no DICOM file, or one is empty, cut off or damaged.
    """
    files, _ = _files(path)
    headers = {file: _header(file) for file in files}
    images = {file: header for file, header in headers.items() if _is_image(header)}
    groups = _grouped(images, lambda header: str(header.get("SeriesInstanceUID")))
    return tuple(
        Series(next(iter(group)).name, str(next(iter(group.values())).get("Modality", "")), len(group))
        for group in groups.values()
    )


def find_slices(path: Path, series: str | None = None) -> tuple[list[Slice], tuple[str, ...]]:
    """The slices of one series in a folder, or of one file, in no order; and notes on what was left out.

    Localizers are left out, and so are files that hold no image; folders inside are not looked at.

    Args:
        path: a folder or a file.
        series: which one of several: its number, or, where two have one number, its SeriesInstanceUID or the name of
            one of its files; None where there is one alone.

    Raises:
        InputError: there is no image, a file is empty, cut off or damaged, there are several patients, several series
            and no choice, or none such as was chosen, or an image has no position.
    """
    files, notes = _files(path)
    headers = {file: _header(file) for file in files}
    images = {file: header for file, header in headers.items() if _is_image(header)}
    if other := len(headers) - len(images):
        notes.append(f"{_count(other, 'file')} left out: DICOM, but no image")
    _require_one_patient(images, path)
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
    chosen, others = _one_series(slices, path, series)
    if series is not None:
        number = _number(next(iter(chosen.values())))
        notes.append(f"series {number} taken, {others} left out" if others else f"series {number} is the only one")
    found = [each for file, header in chosen.items() for each in read_slices(file, header)]
    return found, tuple(notes)


def read_pixels(path: Path) -> Dataset:
    """The elements of a file that decoding needs, pixel data included."""
    import pydicom

    return pydicom.dcmread(path, specific_tags=list(_PIXEL_TAGS))


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
            require_small_deflated(path)
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_HEADER_TAGS))
            for _ in header:  # pydicom decodes an element when it is looked at
                pass
            kind, promised = header.get("SOPClassUID"), header.file_meta.MediaStorageSOPClassUID
            if promised.name == _DIRECTORY:
                header.SOPClassUID = promised
                return header
            # A class that is cut off is none of the known ones; it would pass for something other than an image.
            whole = kind is not None and (kind.name != str(kind) or kind == promised)
    except PermissionError:
        raise
    except damage() as error:
        raise damaged(path) from error
    # These stand last: where they are missing, what is compared before them may be, too.
    if not whole or (_is_image(header) and not all(name in header for name in ("Rows", "Columns", "BitsAllocated"))):
        raise damaged(path)
    return header


def _is_image(header: Dataset) -> bool:
    """Whether the object is of one of DICOM's many classes of images."""
    return str(header.SOPClassUID.name).endswith("Image Storage")


def _require_one_patient(images: dict[Path, Dataset], where: Path) -> None:
    groups = _grouped(images, lambda header: (str(header.get("PatientID", "")).strip(), _name(header)))
    if len(groups) > 1:
        raise InputError(
            f"the folder holds {len(groups)} patients: {'; '.join(map(_files_of, groups.values()))}",
            where=where,
            fix="give each series a folder of its own",
        )


def _name(header: Dataset) -> str:
    """The patient's name without the empty components and blanks at its end, which mean nothing (PS3.5, 6.2)."""
    groups = str(header.get("PatientName", "")).split("=")
    return "=".join(group.rstrip("^ ") for group in groups).rstrip("=")


def _one_series(slices: dict[Path, Dataset], where: Path, wanted: str | None) -> tuple[dict[Path, Dataset], int]:
    """The headers of the series that is meant, and how many others there are."""
    groups = _grouped(slices, lambda header: str(header.get("SeriesInstanceUID")))
    if wanted is None and len(groups) == 1:
        return slices, 0
    listed = "; ".join(
        f"number {_number(first := next(iter(group.values())))}, {first.get('Modality', '')}, {_files_of(group)}"
        for group in groups.values()
    )
    if wanted is None:
        raise InputError(
            f"the folder holds {len(groups)} series: {listed}",
            where=where,
            fix="medgen fix FOLDER -o VOLUME.nii.gz --series NUMBER takes one; or give each a folder of its own",
        )
    numbered = [group for group in groups.values() if _number(next(iter(group.values()))) == wanted]
    named = [group for uid, group in groups.items() if wanted == str(uid) or wanted in {file.name for file in group}]
    fitting = numbered if len(numbered) == 1 else named
    if len(fitting) != 1:
        raise InputError(
            f"{len(numbered) or 'none'} of {len(groups)} series {'have' if numbered else 'has'} this number: {listed}",
            where=where,
            fix="choose one of these numbers; where they are equal, give --series the name of one of the files",
        )
    return fitting[0], len(groups) - 1


def _grouped(headers: dict[Path, Dataset], key: Callable[[Dataset], object]) -> dict[object, dict[Path, Dataset]]:
    groups: dict[object, dict[Path, Dataset]] = {}
    for file, header in headers.items():
        groups.setdefault(key(header), {})[file] = header
    return groups


def _files_of(group: dict[Path, Dataset]) -> str:
    return f"{_count(len(group), 'file')} from {next(iter(group)).name}"


def _number(header: Dataset) -> str:
    number = header.get("SeriesNumber")
    return "unknown" if number is None else str(number)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
