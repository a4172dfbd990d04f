"""Atomic writing of files, hashes of files and locks of folders."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medgen.errors import InputError, PathError, StorageError, UsageError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM}
PARTIAL = ".partial-"
"""Begins the name of a file that is being written."""
HEARTBEAT_SECONDS = 15.0
STALE_SECONDS = 120.0
"""A lock that its owner has not renewed for this long is taken over."""

_RAW_FILE = re.compile(rb"^ElementDataFile[ \t]*=[ \t]*(\S.*?)[ \t\r]*$", re.MULTILINE)

log = logging.getLogger(__name__)


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
    if error.errno in {*_DENIED, errno.EROFS}:
        kind = PathError if error.errno in _DENIED else StorageError
        return kind("no permission to write here", where=path, fix="choose a folder that you may write to")
    if error.errno == errno.ENAMETOOLONG:
        return PathError("the name is longer than this disk allows", where=path, fix="choose a shorter name")
    if error.errno == errno.EISDIR:
        return PathError("this is a folder, not a file", where=path, fix="choose another name, or move the folder")
    if error.errno in {errno.ENOTDIR, errno.EEXIST}:
        file = next((place for place in (path, *path.parents) if place.is_file()), None)
        fix = "choose another folder, or move the file"
        return PathError("this is a file, not a folder", where=file, fix=fix) if file else _dangling(path)
    if error.errno == errno.ENOENT and not path.parent.exists():
        return StorageError("the folder does not exist", where=path.parent, fix="check the path, or create the folder")
    return None


def require_writable(folder: str | Path, *, need: float = 0) -> None:
    """Refuse a folder that could not be written, before work is spent on what should go there; makes nothing.

    Args:
        folder: may be missing: the nearest folder above it is then asked.
        need: bytes that will be written.

    Raises:
        StorageError: a file stands in the way, the folder may not be written, or its disk has fewer bytes free.
    """
    place = _existing(Path(folder).absolute())
    if not place.is_dir():
        raise PathError("this is a file, not a folder", where=place, fix="choose another folder, or move the file")
    if not os.access(place, os.W_OK | os.X_OK):
        raise StorageError("no permission to write here", where=place, fix="choose a folder that you may write to")
    free = shutil.disk_usage(place).free
    if need > free:
        raise StorageError(
            f"not enough space on the disk: {need / 1e9:.1f} GB will be written, {free / 1e9:.1f} GB are free",
            where=folder,
            fix="free some space or choose another folder",
        )


def require_output(path: str | Path) -> None:
    """Refuse a file that could not be written, before work is spent on its content; see :func:`require_writable`.

    Raises:
        UsageError: it is a link to a missing file, such as on a disk that is away.
        StorageError: it is a folder, or its folder could not be written.
    """
    if Path(path).is_dir():
        raise PathError("this is a folder, not a file", where=path, fix="choose another name, or move the folder")
    _require_target(path)
    require_writable(Path(path).absolute().parent)


def require_result(path: str | Path, keys: Iterable[str]) -> None:
    """Refuse to write a JSON result over anything but an earlier one, and what :func:`require_output` refuses.

    An input of the command is never such a result: a case table, codes and what stands beside them are kept.

    Args:
        path: the file to write.
        keys: that every result of this kind has.

    Raises:
        UsageError: another file is there.
        StorageError: it is a folder, or its folder could not be written.
    """
    require_output(path)
    if not Path(path).exists():
        return
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except PermissionError as error:
        raise unreadable(Path(path)) from error
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or not set(keys) <= set(content):
        raise _no_earlier(path)


def require_text_result(path: str | Path, mark: str) -> None:
    """Refuse to write a text over anything but an earlier one, as :func:`require_result` does of JSON.

    Args:
        path: the file to write.
        mark: see :func:`has_mark`.

    Raises:
        UsageError: another file is there.
        StorageError: it is a folder, or its folder could not be written.
    """
    require_output(path)
    if Path(path).exists() and not has_mark(path, mark):
        raise _no_earlier(path)


def has_mark(path: str | Path, mark: str) -> bool:
    """Whether a file has ``mark`` in its first 4096 bytes, such as the heading that every result of its kind has."""
    try:
        with Path(path).open("rb") as file:
            return mark.encode() in file.read(4096)
    except PermissionError as error:
        raise unreadable(Path(path)) from error


def require_free(path: str | Path, *, overwrite: bool) -> None:
    """Refuse to write over a file without the user's word.

    Raises:
        UsageError: it exists, and ``overwrite`` is off; or it is a link to a missing file.
    """
    _require_target(path)
    if Path(path).exists() and not overwrite:
        raise UsageError("the output exists", where=path, fix="choose another name, or --overwrite")


def _require_target(path: str | Path) -> None:
    """Refuse a link without a target: a new file would take the place of the link."""
    if Path(path).is_symlink() and not Path(path).exists():
        fix = "remove the link, or choose another name"
        raise UsageError("the output is a link to a missing file", where=path, fix=fix)


def _no_earlier(path: str | Path) -> UsageError:
    return UsageError("the output exists, and is no earlier result", where=path, fix="choose another name for -o")


def require_apart(output: str | Path, inputs: Iterable[str | Path]) -> None:
    """Refuse an output that is one of the inputs, by whatever path or link.

    Raises:
        UsageError: it is.
    """
    if Path(output).exists() and any(Path(each).exists() and Path(each).samefile(output) for each in inputs):
        raise UsageError("the output is an input of the command", where=output, fix="choose another name for -o")


def _dangling(path: Path) -> StorageError | None:
    """The error for a link without a target in the place of a folder."""
    link = next((place for place in (path, *path.parents) if place.is_symlink() and not place.exists()), None)
    fix = "remove the link"
    return PathError("this is a link to a missing folder", where=link, fix=fix) if link else None


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def image_digest(path: str | Path) -> str:
    """Hexadecimal SHA-256 of an image: of its file, and of the file with its voxels where that is another one.

    Of a folder it is made from all files in it, whatever their names.

    Raises:
        InputError: the file is missing or cannot be read.
        PathError: the file may not be read.
    """
    path = Path(path)
    require_readable(path)
    try:
        if path.is_dir():
            files = [file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")]
        else:
            files = [path, *_voxel_files(path)]
        digests = sorted(sha256(file) for file in files) if path.is_dir() else [sha256(file) for file in files]
    except FileNotFoundError:
        raise InputError("the file does not exist", where=path, fix="check the path") from None
    except PermissionError as error:
        raise unreadable(path) from error
    except OSError as error:
        raise InputError(f"the file cannot be read: {error.strerror}", where=path, fix="copy it again") from error
    return digests[0] if path.is_file() and len(digests) == 1 else _joined(digests)


def _joined(digests: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _voxel_files(path: Path) -> list[Path]:
    """The file beside a header (``.mhd``, ``.hdr``) that holds its voxels, where there is one."""
    if path.suffix.lower() == ".mhd":
        with path.open("rb") as file:
            named = _RAW_FILE.search(file.read(1 << 16))
        beside = [path.with_name(Path(os.fsdecode(named[1])).name)] if named else []
    elif path.suffix.lower() == ".hdr":
        beside = [path.with_suffix(ending) for ending in (".img", ".img.gz")]
    else:
        return []
    return [file for file in beside if file.is_file()]


def require_readable(path: Path) -> None:
    """Refuse a path that leads to nothing that can be read to an end; one that is simply missing passes.

    Raises:
        InputError: a link that leads nowhere or in a circle, a device, a pipe or a socket.
        PathError: a folder on the way may not be entered.
    """
    try:
        mode = path.stat().st_mode
    except PermissionError as error:
        raise unreadable(path) from error
    except ValueError as error:  # a letter that the file names of this session cannot have, or a zero byte
        raise InputError(f"no file can have this name here: {error}", where=ascii(str(path))) from error
    except OSError as error:
        if error.errno != errno.ENOENT or path.is_symlink():
            reason = "it is a link to a missing file" if error.errno == errno.ENOENT else error.strerror
            raise InputError(f"the path leads nowhere: {reason}", where=path, fix="correct the path") from error
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError("the path leads to a device or a pipe, not to a file", where=path, fix="correct the path")


def require_file(path: Path) -> None:
    """Refuse what :func:`require_readable` refuses, and what is missing or a folder.

    Raises:
        PathError: it is.
    """
    require_readable(path)
    if not path.exists():
        raise PathError("the file does not exist", where=path, fix="check the path")
    if path.is_dir():
        raise PathError("this is a folder, not a file", where=path, fix="give a file")


def unreadable(path: Path) -> PathError:
    """The error for a file that may not be read."""
    return PathError("the file may not be read", where=path, fix="ask its owner for access")


def write_json(path: str | Path, content: Any) -> None:
    """Write ``content`` as indented JSON, atomically; NaN and infinity become ``null``."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(plain(content), indent=2, allow_nan=False) + "\n")


def remove_partial_files(folder: str | Path) -> None:
    """Delete temporary files that a killed process left in ``folder`` and its subfolders."""
    with storage_errors(folder):
        for path in Path(folder).rglob(f"{PARTIAL}*"):
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
