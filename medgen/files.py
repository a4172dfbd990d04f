"""Atomic writing of files, hashes of files and locks of folders."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import socket
import tempfile
import threading
import time
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medgen.errors import StorageError, UsageError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
HEARTBEAT_SECONDS = 15.0
STALE_SECONDS = 120.0
"""A lock that its owner has not renewed for this long is taken over."""

CASE_BYTES, PART_BYTES = 128, 48
"""Longest name of a case, and of a role or class: ``<case>_probability_<class>.nii.gz`` stays below 255."""
_NOT_IN_NAMES = frozenset('/\\:*?"<>|')

log = logging.getLogger(__name__)


def file_name(text: str, most: int = PART_BYTES) -> str:
    """Part of a file's name from text that somebody else wrote: in a model, a table, a plan, the header of an image.

    No other function makes names from text. What would lead out of a folder, hide the file or be changed by a file
    system is refused and never replaced, so two names stay two.

    Args:
        text: the name of a case, role, class, regime, ...
        most: bytes.

    Returns:
        The text in Unicode's composed form (NFC).

    Raises:
        UsageError: it is empty or too long; it begins with a point, dash or blank, or ends in a point or blank; or it
            has a separator of folders (also of Windows), a wildcard, a control or another invisible character.

    >>> file_name("white matter")
    'white matter'
    >>> file_name("x/../..")
    Traceback (most recent call last):
    medgen.errors.UsageError: the name 'x/../..' cannot name a file
      do: use letters, digits, '.', '_' and '-', beginning with a letter or digit
    """
    name = unicodedata.normalize("NFC", text)
    letters = "use letters, digits, '.', '_' and '-', beginning with a letter or digit"
    if not name or name[0] in ".- " or name[-1] in ". " or not name.isprintable() or _NOT_IN_NAMES & set(name):
        shown = ascii(text) if len(text) <= PART_BYTES else f"{text[:PART_BYTES]!a}..."
        raise UsageError(f"the name {shown} cannot name a file", fix=letters)
    if (size := len(name.encode())) > most:
        raise UsageError(f"the name {text[:PART_BYTES]!a}... has {size} bytes, at most {most} can name a file")
    return name


def clashing(names: Iterable[str]) -> tuple[str, ...]:
    """Names that some file system holds for one: they differ in upper case, in how letters are composed, or not at all.

    >>> clashing(["Lesion", "lesion", "organ"])
    ('Lesion', 'lesion')
    """
    names = tuple(names)
    keys = [unicodedata.normalize("NFC", name).casefold() for name in names]
    return tuple(name for name, key in zip(names, keys, strict=True) if keys.count(key) > 1)


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
        handle, name = tempfile.mkstemp(prefix=".partial-", suffix="".join(path.suffixes[-2:]), dir=path.parent)
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
def storage_errors(path: str | Path) -> Iterator[None]:
    """Turn an operating system's error about ``path`` into a :class:`StorageError` that names the path at fault.

    Covered are: disk full, permission denied, a file in place of a folder or the reverse, a missing folder. All other
    errors pass through.
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
        free = shutil.disk_usage(_existing(path)).free
        return StorageError(
            f"no space left on the disk: {free / 1e6:.1f} MB free",
            where=path,
            fix="free some space or choose another folder; files that existed before are intact",
        )
    if error.errno in _DENIED:
        return StorageError("no permission to write here", where=path, fix="choose a folder that you may write to")
    if error.errno == errno.ENAMETOOLONG:
        return StorageError("the name is longer than this disk allows", where=path, fix="choose a shorter name")
    if error.errno == errno.EISDIR:
        return StorageError("this is a folder, not a file", where=path, fix="choose another name, or move the folder")
    if error.errno in {errno.ENOTDIR, errno.EEXIST}:
        file = next((place for place in (path, *path.parents) if place.is_file()), None)
        fix = "choose another folder, or move the file"
        return StorageError("this is a file, not a folder", where=file, fix=fix) if file else None
    if error.errno == errno.ENOENT and not path.parent.exists():
        return StorageError("the folder does not exist", where=path.parent, fix="check the path, or create the folder")
    return None


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def image_digest(path: str | Path) -> str:
    """Hexadecimal SHA-256 of an image: of its file, or of all files in its folder whatever their names."""
    path = Path(path)
    if not path.is_dir():
        return sha256(path)
    inside = sorted(sha256(file) for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    return hashlib.sha256("\n".join(inside).encode()).hexdigest()


def write_json(path: str | Path, content: Any) -> None:
    """Write ``content`` as indented JSON, atomically; NaN and infinity become ``null``."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(plain(content), indent=2, allow_nan=False) + "\n")


def remove_partial_files(folder: str | Path) -> None:
    """Delete temporary files that a killed process left in ``folder`` and its subfolders."""
    for path in Path(folder).rglob(".partial-*"):
        path.unlink(missing_ok=True)


@contextmanager
def folder_lock(folder: str | Path) -> Iterator[None]:
    """Lock ``folder`` against other runs until the block ends; the folder is created if it is missing.

    The operating system's lock on ``.lock`` ends with its process. On a network folder another machine may not see
    it, so ``.lock.json`` also names the owner and is touched every 15 seconds. The lock is taken over, with a
    warning, if its owner has ended (same machine) or has not touched the file for two minutes (another machine).

    Raises:
        UsageError: another run is using the folder; the message names its host, process and start.
        StorageError: the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    folder = Path(folder)
    owner = folder / ".lock.json"
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise _occupied(folder, _owner(owner)) from None
    try:
        _take_over(folder, owner)
        stop = threading.Event()
        heart = threading.Thread(target=_beat, args=(owner, stop), name="folder lock", daemon=True)
        heart.start()
        try:
            yield
        finally:
            stop.set()
            heart.join()
            owner.unlink(missing_ok=True)
    finally:
        lock.release()


def _take_over(folder: Path, owner: Path) -> None:
    """Write this process as the owner, unless an owner on another machine is alive; the system's lock may miss that."""
    previous, host = _owner(owner), socket.gethostname()
    if previous:
        silent = time.time() - owner.stat().st_mtime
        if previous.get("host") != host and silent < STALE_SECONDS:
            raise _occupied(folder, previous)
        log.warning("taking over the folder from a run that ended unexpectedly (%s)", _describe(previous))
    started = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(owner, {"host": host, "pid": os.getpid(), "started": started})


def _beat(owner: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        if owner.exists():
            os.utime(owner)


def _owner(path: Path) -> dict[str, Any]:
    """The owner of the lock; empty if there is none or it has not written the file yet."""
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _describe(owner: dict[str, Any]) -> str:
    keys = {"host": "host", "process": "pid", "since": "started"}
    return ", ".join(f"{name} {owner.get(key, 'unknown')}" for name, key in keys.items())


def _occupied(folder: Path, owner: dict[str, Any]) -> UsageError:
    return UsageError(
        f"another run is using this folder: {_describe(owner)}",
        where=folder,
        fix="wait until it has finished, or choose another folder",
    )


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


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
