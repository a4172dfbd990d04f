"""Atomic writing of files."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from medgen.errors import PathError, StorageError, UsageError

PARTIAL = ".partial-"
"""Begins the name of a file that is being written."""
_BEFORE = ".before-"
"""Begins the name of a folder while another takes its place; unlike a partial one it is never deleted as left over."""
_MOUNTED = "is where another disk begins (a mount), and cannot be replaced"
_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM}


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Write a file atomically: yield a temporary path beside ``path``, and rename it to ``path`` if the block succeeds.

    The temporary name keeps the suffixes of ``path`` (``.nii.gz``), because writers choose the format by them.

    Raises:
        StorageError: the disk is full or the folder cannot be written; the temporary file is removed.
    """
    path = Path(path)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=PARTIAL, suffix="".join(path.suffixes[-2:]), dir=path.parent)
        os.close(handle)
    temporary = Path(name)
    try:
        with storage_errors(path):
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)  # mkstemp makes 0600, but a result must follow the user's umask
            temporary.replace(path)
            _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path``, which takes its place, or that of a folder there, if the block succeeds.

    Whatever interrupts it, a folder that was there before is there afterwards, unless the new one is.

    Raises:
        UsageError: see :func:`require_movable`.
        StorageError: the disk is full or the folder cannot be written; nothing is left.
    """
    require_movable(path)
    place = Path(os.path.realpath(path))
    with storage_errors(path):
        place.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=place.parent))
    old = made.with_name(made.name.replace(PARTIAL, _BEFORE, 1))
    try:
        with storage_errors(path):
            yield made
            umask = os.umask(0)
            os.umask(umask)
            made.chmod(0o777 & ~umask)
            if place.exists():
                place.rename(old)
            made.rename(place)
    finally:
        _settle(made, old, place)


def _settle(made: Path, old: Path, place: Path) -> None:
    """Put the old folder back, unless the new one is in its place; remove what is left over."""
    if old.exists():
        with suppress(OSError):  # another process may have filled the place; the old folder then stays where it is
            old.rename(place if made.exists() else made)
    shutil.rmtree(made, ignore_errors=True)


def require_movable(path: str | Path) -> None:
    """Refuse a folder that cannot be replaced as a whole; one that is missing passes.

    Raises:
        UsageError: it is the current folder or holds it, or another disk begins at it.
    """
    place = Path(os.path.realpath(path))
    try:
        here = Path.cwd()
    except FileNotFoundError:  # it is gone
        here = None
    if here is not None and here.is_relative_to(place):
        what = "the current folder" if here == place else "above the current folder"
        raise UsageError(f"this is {what}, and cannot be replaced", where=path, fix="name a folder in it")
    if os.path.ismount(place):
        raise UsageError(f"this folder {_MOUNTED}", where=path, fix="name a folder in it")


@contextmanager
def storage_errors(path: str | Path) -> Iterator[None]:
    """Turn an operating system's error about ``path`` into a :class:`StorageError` that names the path at fault.

    Covered are: disk full, permission denied, a file in place of a folder or the reverse, a missing folder, a mount.
    All other errors pass through.
    """
    try:
        yield
    except OSError as error:
        known = _storage_error(error, Path(path))
        if known is None:
            raise
        raise known from error


def _storage_error(error: OSError, path: Path) -> StorageError | None:
    if error.errno in _FULL:
        free = shutil.disk_usage(existing(path)).free
        return StorageError(
            f"no space left on the disk: {free / 1e6:.1f} MB free",
            where=path,
            fix="free some space or choose another folder; files that existed before are intact",
        )
    if error.errno in {*_DENIED, errno.EROFS}:
        kind = PathError if error.errno in _DENIED else StorageError
        return kind("no permission to write here", where=path, fix="choose a folder that you may write to")
    if error.errno == errno.ENAMETOOLONG:
        return PathError("the name is longer than this disk allows", where=path, fix="choose a shorter name")
    if error.errno == errno.EBUSY:
        return PathError(f"the folder is in use, or it {_MOUNTED}", where=path, fix="name a folder in it")
    if error.errno == errno.EISDIR:
        return PathError("this is a folder, not a file", where=path, fix="choose another name, or move the folder")
    if error.errno in {errno.ENOTDIR, errno.EEXIST}:
        file = next((place for place in (path, *path.parents) if place.is_file()), None)
        fix = "choose another folder, or move the file"
        return PathError("this is a file, not a folder", where=file, fix=fix) if file else _dangling(path)
    if error.errno == errno.ENOENT and not _takes_files(place := existing(path.absolute().parent)):
        return StorageError("no file can be made in this folder", where=place, fix="choose another folder")
    if error.errno == errno.ENOENT and not path.parent.exists():
        return StorageError("the folder does not exist", where=path.parent, fix="check the path, or create the folder")
    return None


def write_json(path: str | Path, content: Any) -> None:
    """Write ``content`` as indented JSON, atomically; NaN and infinity become ``null``."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(plain(content), indent=2, allow_nan=False) + "\n")


def remove_partial_files(folder: str | Path) -> None:
    """Delete temporary files and folders that a killed process left in ``folder`` and its subfolders."""
    with storage_errors(folder):
        for path in list(Path(folder).rglob(f"{PARTIAL}*")):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def plain(value: Any) -> Any:
    """Convert ``value`` for JSON: paths become text, array scalars numbers, NaN and infinity None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    while not path.exists():
        path = path.parent
    return path


def _takes_files(folder: Path) -> bool:
    """Whether a folder is one of files; in /proc and the like even what could be made is "not found"."""
    try:
        handle, name = tempfile.mkstemp(prefix=PARTIAL, dir=folder)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    os.close(handle)
    Path(name).unlink()
    return True


def _dangling(path: Path) -> StorageError | None:
    """The error for a link without a target in the place of a folder."""
    link = next((place for place in (path, *path.parents) if place.is_symlink() and not place.exists()), None)
    fix = "remove the link"
    return PathError("this is a link to a missing folder", where=link, fix=fix) if link else None


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
