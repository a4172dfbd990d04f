"""A folder of DICOM files that appears whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from medgen.errors import UsageError
from medgen.files import atomic_folder, require_movable
from medgen.volume.slices import damage, silenced

if TYPE_CHECKING:
    from pydicom import Dataset

MANUFACTURER = "medgen"
"""What every object that medgen writes names as its maker."""
_OURS = re.compile(r"(CT|SEG|PM|RTSTRUCT)_\d{4}\.dcm")


@contextmanager
def new_folder(path: str | Path, source: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield an empty folder beside ``path``, which takes its place if the block succeeds.

    Args:
        path: of the folder that is wanted.
        source: of the series that the results are made from, which is never touched.
        overwrite: replace a folder that holds an earlier series of medgen and nothing else.

    Raises:
        UsageError: there is a file of this name, or a folder that may not be replaced.
        StorageError: the disk is full or the folder cannot be written; nothing is left.
    """
    path = Path(path)
    require_replaceable(path, overwrite=overwrite, source=source)
    with atomic_folder(path) as made:
        yield made


def save(header: Dataset, path: Path, *, implicit: bool = False) -> None:
    """Write one object, uncompressed, with the file meta information that it needs.

    Args:
        header: the object.
        path: of the file.
        implicit: leave out what kind each element is, without which one of text may be longer than 64 kB.
    """
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    header.save_as(path, enforce_file_format=True)


def require_replaceable(path: Path, *, overwrite: bool, source: Path | None = None) -> None:
    """Refuse a folder that holds anything but DICOM that medgen wrote, or that it may not replace.

    Args:
        path: of the folder.
        overwrite: replace what medgen wrote.
        source: the folder or file of the series that results are made from, which is never touched.

    Raises:
        UsageError: it holds something else, it is, contains or lies in the source, or it may not or cannot be replaced.
    """
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise UsageError("there is a file or a link of this name", where=path, fix="choose another folder")
    if source is not None:
        mine, theirs = path.resolve(), source.resolve()
        if mine.is_relative_to(theirs) or theirs.is_relative_to(mine):
            raise UsageError("the output is, contains or lies in its source", where=path, fix="choose another folder")
    require_movable(path)
    inside = sorted(path.iterdir()) if path.exists() else []
    if foreign := [each.name for each in inside if not _is_ours(each)]:
        what = f"the folder holds '{foreign[0]}', which medgen did not write"
        raise UsageError(what, where=path, fix="choose another folder")
    if inside and not overwrite:
        raise UsageError("the folder holds a series already", where=path, fix="choose another folder, or --overwrite")


def is_ours(path: Path) -> bool:
    """Whether a folder holds DICOM that medgen wrote, and nothing else."""
    if path.is_symlink() or not path.is_dir():
        return False
    inside = list(path.iterdir())
    return bool(inside) and all(map(_is_ours, inside))


def _is_ours(path: Path) -> bool:
    """By its name and by what it says of itself."""
    import pydicom

    if not _OURS.fullmatch(path.name) or not path.is_file():
        return False
    try:
        with silenced():
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["Manufacturer"])
    except damage():
        return False
    return str(header.get("Manufacturer", "")) == MANUFACTURER
