"""Whether a file can be read, and hashes of its bytes."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from medgen.errors import InputError, PathError

_RAW_FILE = re.compile(rb"^ElementDataFile[ \t]*=[ \t]*(\S.*?)[ \t\r]*$", re.MULTILINE)


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
