"""A folder of DICOM files that appears whole or not at all."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from medgen.errors import UsageError
from medgen.files import PARTIAL, storage_errors

if TYPE_CHECKING:
    from pydicom import Dataset

_OURS = re.compile(r"[A-Z]+_\d{4}\.dcm")


@contextmanager
def new_folder(path: str | Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield an empty folder beside ``path``, which takes its place if the block succeeds.

    Args:
        path: of the folder that is wanted.
        overwrite: replace a folder that holds an earlier series of medgen and nothing else.

    Raises:
        UsageError: there is a file of this name, or a folder that may not be replaced.
        StorageError: the disk is full or the folder cannot be written; nothing is left.
    """
    path = Path(path)
    require_replaceable(path, overwrite=overwrite)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=path.parent))
    try:
        with storage_errors(path):
            yield made
            made.chmod(0o777 & ~_umask())
            if path.exists():
                shutil.rmtree(path)
            made.rename(path)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def save(header: Dataset, path: Path) -> None:
    """Write one object, uncompressed, with the file meta information that it needs."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    header.save_as(path, enforce_file_format=True)


def require_replaceable(path: Path, *, overwrite: bool) -> None:
    """Refuse a folder that holds anything but DICOM that medgen wrote, or that it may not replace.

    Raises:
        UsageError: it does.
    """
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise UsageError("there is a file or a link of this name", where=path, fix="choose another folder")
    inside = [each.name for each in path.iterdir()] if path.exists() else []
    foreign = [name for name in inside if not _OURS.fullmatch(name)]
    if foreign:
        raise UsageError(f"the folder holds '{foreign[0]}'", where=path, fix="choose another folder")
    if inside and not overwrite:
        raise UsageError("the folder holds a series already", where=path, fix="choose another folder, or --overwrite")


def _umask() -> int:
    import os

    umask = os.umask(0)
    os.umask(umask)
    return umask
