"""The folder that holds samples: what it is called inside, and how it appears whole or not at all."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from medgen.errors import InputError, UsageError
from medgen.files import atomic_folder, require_movable, require_writable
from medgen.types import Array

MANIFEST, SHEET, RAW = "samples.json", "contact_sheet.png", "samples.npz"

NEIGHBOURS, NEIGHBOUR_SHEET = "neighbours.json", "neighbours.png"


@dataclass(frozen=True)
class FolderKind:
    """What a command calls its files, so that it deletes no other.

    Attributes:
        command: that writes the folder.
        what: is in it.
        manifest: the file that every such folder has.
        own: what the names of the others match.
    """

    command: str
    what: str
    manifest: str
    own: re.Pattern[str]


SAMPLES = FolderKind(
    "medgen sample",
    "samples",
    MANIFEST,
    re.compile(
        r"contact_sheet\.png|samples\.npz|interpolation\.(png|gif|npz)|neighbours\.(json|png)"
        r"|sample_\d{4,}_.+\.(nii\.gz|png)|interpolation_\d{4,}_.+\.nii\.gz"
    ),
)


def sample_file(number: int, name: str, ending: str, kind: str = "sample") -> str:
    """What a sample is called, or a frame (``kind`` is then ``interpolation``).

    >>> sample_file(7, "t1", ".nii.gz")
    'sample_0007_t1.nii.gz'
    """
    return f"{kind}_{number:04d}_{name}{ending}"


def read_slices(folder: Path, role: str) -> Array:
    """The values (N, A, B) of sampled slices, float32.

    Raises:
        InputError: the file is missing or damaged, or has no such role.
    """
    path = folder / RAW
    try:
        with np.load(path, allow_pickle=False) as arrays:
            values: Array = np.asarray(arrays[role], np.float32)
        if values.ndim != 3:
            raise ValueError(f"'{role}' has {values.ndim} axes")
    except (OSError, ValueError, KeyError, EOFError, zlib.error, BadZipFile) as error:
        what = "the values of the samples are missing or damaged"
        raise InputError(what, where=path, fix="draw the samples again with 'medgen sample'") from error
    return values


def require_free(folder: Path, *, overwrite: bool, kind: FolderKind = SAMPLES) -> None:
    """Refuse a folder that cannot be made, or replaced.

    Raises:
        UsageError: it is a file; or it is not empty, and ``overwrite`` is not set or it holds other things than
            what ``kind`` names, which are never deleted; or it cannot be replaced as a whole.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{kind.what} go into a folder, and this is a file", where=folder, fix="give -o a folder")
    require_movable(folder)
    require_writable(folder.absolute().parent)
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if not names:
        return
    if not overwrite:
        raise UsageError("the folder is not empty", where=folder, fix="choose another folder, or --overwrite")
    others = [name for name in names if name != kind.manifest and not kind.own.fullmatch(name)]
    if others or kind.manifest not in names:
        what = f"'{others[0]}'" if others else f"{kind.what} without {kind.manifest}"
        raise UsageError(
            f"the folder holds {what}, which '{kind.command}' did not write and will not delete",
            where=folder,
            fix="choose another folder",
        )


@contextmanager
def new_folder(folder: Path, *, overwrite: bool, kind: FolderKind = SAMPLES) -> Iterator[Path]:
    """Give a temporary folder beside ``folder``; rename it to that at a clean exit, and remove it at any other.

    Raises:
        UsageError: see :func:`require_free`.
        StorageError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    with atomic_folder(folder) as temporary:
        yield temporary
        require_free(folder, overwrite=overwrite, kind=kind)  # once more: another run may have ended meanwhile
