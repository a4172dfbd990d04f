"""What lies in a folder, or a zip file, of DICOM: its series, and what each could be.

Headers alone are read, element by element as named here. Nothing of the patient is kept: patients and studies are
numbered as they come.
"""

from __future__ import annotations

import logging
import math
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgen.errors import InputError
from medgen.types import Progress
from medgen.volume.damage import explained
from medgen.volume.series import MARK
from medgen.volume.slices import damage, silenced

if TYPE_CHECKING:
    from pydicom import Dataset

log = logging.getLogger(__name__)

HIGH_B = 800
"""s/mm2 from which a diffusion-weighted image counts as one of high b-value."""
_LONGEST_T1, _SHORTEST_T2 = 30.0, 60.0
"""ms: echo times below and above which a spin echo is weighted by T1 and by T2."""
_LONG_INVERSION = 1500.0
"""ms: fluid is dark after it."""
_NAMED = 5
"""Files that a message names."""
_TAGS: list[Any] = [
    "PatientID", "PatientName", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "Modality",
    "SeriesDescription", "ImageType", "ScanningSequence", "EchoTime", "RepetitionTime", "InversionTime",
    "ContrastBolusAgent", "DiffusionBValue", "NumberOfFrames", "Rows", "Columns", "SOPClassUID",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    0x0019100C, 0x00431039,  # b-values of Siemens and of GE
]  # fmt: skip


@dataclass(frozen=True)
class FoundSeries:
    """A series of images.

    Attributes:
        patient: its number, from 1, in the order of finding.
        study: likewise.
        number: as the header has it; empty where it has none.
        modality: likewise, e.g. ``MR``.
        description: likewise, as the scanner or a person wrote it.
        images: slices, or frames of them.
        size: columns and rows.
        b_values: of diffusion, s/mm2, in rising order.
        could_be: what it looks like, e.g. ``T2W``; empty where nothing tells.
        where: the folder of its first file, or the file where that holds it all, relative to what was searched.
    """

    patient: int
    study: int
    number: str
    modality: str
    description: str
    images: int
    size: tuple[int, int]
    b_values: tuple[int, ...]
    could_be: str
    where: str


def list_studies(path: str | Path, *, progress: Progress | None = None) -> tuple[FoundSeries, ...]:
    """Every series of images in a tree of folders or in a zip file.

    Files that are no DICOM, or no images, are left out. A zip file in a folder or in another one is not opened; a
    warning names it.

    Args:
        path: the folder, the zip file or one DICOM file.
        progress: called with (files done, files in all, "files").

    Raises:
        InputError: there is no such file or folder, or no DICOM image in it, or the zip file is damaged.
    """
    path = Path(path)
    groups: dict[tuple[str, ...], list[tuple[str, Dataset]]] = {}
    skipped = 0
    with explained(path):
        files = _files(path)
        for done, (name, opened) in enumerate(files):
            if progress:
                progress(done, len(files), "files")
            try:
                header = _header(opened)
            except _Unreadable:
                skipped += 1
                continue
            if header is not None:
                groups.setdefault(_key(header), []).append((name, header))
    if progress:
        progress(len(files), len(files), "files")
    left = [f"files left out because they are encrypted, damaged or cut off: {skipped}"] if skipped else []
    inner = [name for name, _ in files if name.lower().endswith(".zip") and (path.is_dir() or name != path.name)]
    more = f" and {len(inner) - _NAMED} more" if len(inner) > _NAMED else ""
    left += [f"zip files that were not opened: {', '.join(inner[:_NAMED])}{more}"] if inner else []
    if not groups:
        what = "there is no DICOM file with an image here" + (f" ({'; '.join(left)})" if left else "")
        fix = "unpack the zip files that lie inside first" if inner else "give the folder or the zip file of a study"
        raise InputError(what, where=path, fix=fix)
    for each in left:
        log.warning(each)
    patients, studies = _Numbers(), _Numbers()
    found = []
    for group in groups.values():
        first = group[0][1]
        patient = patients.of((str(first.get("PatientID", "")), str(first.get("PatientName", ""))))
        study = studies.of(str(first.get("StudyInstanceUID", "")))
        found.append(_described(group, patient, study))
    return tuple(sorted(found, key=lambda each: (each.patient, each.study, _whole(each.number), each.where)))


class _Unreadable(Exception):
    """A file that looks like DICOM, or is encrypted, and cannot be read."""


def _key(header: Dataset) -> tuple[str, ...]:
    """What the files of one series have in common."""
    names = ("PatientID", "PatientName", "StudyInstanceUID", "SeriesInstanceUID")
    return tuple(str(header.get(name, "")) for name in names)


class _Numbers:
    """Numbers things as they come."""

    def __init__(self) -> None:
        self._known: dict[Any, int] = {}

    def of(self, key: Any) -> int:
        return self._known.setdefault(key, len(self._known) + 1)


def _files(path: Path) -> list[tuple[str, Callable[[], Any]]]:
    """Names relative to ``path``, and how each is opened."""
    if not path.exists():
        raise InputError("there is no such file", where=path, fix="check the name and the folder")
    if path.is_dir():
        inside = sorted(each for each in path.rglob("*") if each.is_file() and not each.name.startswith("."))
        return [(each.relative_to(path).as_posix(), _opener(each)) for each in inside]
    if not zipfile.is_zipfile(path):
        return [(path.name, _opener(path))]
    try:
        archive = zipfile.ZipFile(path)
        members = sorted(each.filename for each in archive.infolist() if not each.is_dir())
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise InputError("the zip file is damaged", where=path, fix="copy it again") from error
    return [(name, _member(archive, name)) for name in members]


def _opener(path: Path) -> Callable[[], Any]:
    return lambda: path.open("rb")


def _member(archive: zipfile.ZipFile, name: str) -> Callable[[], Any]:
    return lambda: archive.open(name)


def _header(opened: Callable[[], Any]) -> Dataset | None:
    """The elements that are looked at; None for what is no DICOM image, or cannot be read."""
    import pydicom

    try:
        with silenced(), opened() as file:
            if file.read(132)[128:] != MARK:
                return None
            file.seek(0)
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(_TAGS))
            for _ in header:  # pydicom decodes an element when it is looked at
                pass
            is_image = str(header.file_meta.MediaStorageSOPClassUID.name).endswith("Image Storage")
            if is_image and "Rows" not in header:
                raise ValueError("cut off before its size")
            _size(header)
    except PermissionError:
        raise
    except zipfile.BadZipFile as error:
        raise _Unreadable from error
    except damage() as error:
        raise _Unreadable from error
    return header if is_image else None


def _size(header: Dataset) -> tuple[int, int]:
    """Columns and rows."""
    return int(header.get("Columns") or 0), int(header.get("Rows") or 0)


def _described(group: list[tuple[str, Dataset]], patient: int, study: int) -> FoundSeries:
    headers = [header for _, header in group]
    first, name = headers[0], group[0][0]
    b_values = tuple(sorted({value for header in headers for value in _b_values(header)}))
    folder = name.rpartition("/")[0] or "."
    return FoundSeries(
        patient,
        study,
        "" if first.get("SeriesNumber") is None else str(first.SeriesNumber),
        str(first.get("Modality", "")),
        "".join(letter for letter in " ".join(str(first.get("SeriesDescription", "")).split()) if letter.isprintable()),
        sum(int(header.get("NumberOfFrames") or 1) for header in headers),
        _size(first),
        b_values,
        _could_be(first, b_values),
        name if len(group) == 1 else folder,
    )


def _could_be(header: Dataset, b_values: tuple[int, ...]) -> str:
    """What the header says first, then what physics says, then what a person wrote."""
    kinds = {str(each).upper() for each in header.get("ImageType") or ()}
    words = re.sub(r"[^a-z0-9]+", " ", str(header.get("SeriesDescription", "")).lower())
    if "LOCALIZER" in kinds or re.search(r"\b(scout|locali[sz]er|survey)\b", words):
        return "localizer"
    modality = str(header.get("Modality", ""))
    if modality != "MR":
        return modality if modality in ("CT", "PT") else ""
    if "ADC" in kinds or re.search(r"\be?adc\b", words):
        return "ADC"
    if "DIFFUSION" in kinds or re.search(r"diff|dwi|trace|\bb ?\d{3,4}\b", words) or max(b_values, default=0) > 0:
        named = [int(each) for each in re.findall(r"\bb ?(\d{2,4})\b", words)]
        high = max((*b_values, *named), default=0) >= HIGH_B or re.search(r"calc.*bval", words)
        return "high b" if high else "DWI"
    if re.search(r"\b(swi|swan|venobold)", words):
        return "SWI"
    return _weighting(header, words)


def _weighting(header: Dataset, words: str) -> str:
    echo, inversion = (_number(header, name) for name in ("EchoTime", "InversionTime"))
    sequence = {str(each).upper() for each in _listed(header.get("ScanningSequence"))}
    short = 0 < echo < _LONGEST_T1
    if (re.search(r"\bflair\b", words) and not short) or (inversion > _LONG_INVERSION and echo >= _SHORTEST_T2):
        return "FLAIR"
    if echo >= _SHORTEST_T2:
        return "T2W"
    if not echo:
        named = re.search(r"\b(t1|t2|pd)w?\b", words)
        return {"t1": "T1", "t2": "T2W", "pd": "PD"}[named[1]] if named else ""
    if "GR" in sequence and echo > 12:
        return "GE"
    repetition = _number(header, "RepetitionTime")
    inverted = 0 < inversion <= _LONG_INVERSION
    if short and (0 < repetition < 1500 or "GR" in sequence or inverted or re.search(r"\b(t1|mprage)", words)):
        return "T1 with contrast" if header.get("ContrastBolusAgent") else "T1"
    return "PD" if short else ""


def _b_values(header: Dataset) -> Iterator[int]:
    """Of a file: the standard's element, also that of each frame, then those of makers."""
    values: list[Any] = [header.get("DiffusionBValue")]
    groups = [*header.get("SharedFunctionalGroupsSequence", ()), *header.get("PerFrameFunctionalGroupsSequence", ())]
    values += [each.get("DiffusionBValue") for group in groups for each in group.get("MRDiffusionSequence", ())]
    for tag, modulus in ((0x0019100C, None), (0x00431039, 10**9)):  # GE adds a multiple of 1e9 to some
        raw = _listed(header[tag].value) if tag in header else []
        values += [int(float(one)) % modulus if modulus else one for one in raw[:1] if _is_number(one)]
    yield from (int(float(value)) for value in values if _is_number(value) and float(value) >= 0)


def _listed(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace").split("\\")
    return [value] if isinstance(value, str | int | float) else list(value)


def _is_number(value: Any) -> bool:
    try:
        return value is not None and math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def _number(header: Dataset, keyword: str) -> float:
    value = header.get(keyword)
    return float(value) if _is_number(value) else 0.0


def _whole(text: str) -> tuple[int, str]:
    return (int(text), "") if text.lstrip("-").isdigit() else (10**9, text)
