"""Whether an output may and can be written, asked before the work."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from medgen.errors import PathError, StorageError, UsageError
from medgen.files.inputs import unreadable
from medgen.files.writing import existing


def require_writable(folder: str | Path, *, need: float = 0) -> None:
    """Refuse a folder that could not be written, before work is spent on what should go there; makes nothing.

    Args:
        folder: may be missing: the nearest folder above it is then asked.
        need: bytes that will be written.

    Raises:
        StorageError: a file stands in the way, the folder may not be written, or its disk has fewer bytes free.
    """
    place = existing(Path(folder).absolute())
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


def require_apart(output: str | Path, inputs: Iterable[str | Path]) -> None:
    """Refuse an output that is one of the inputs, by whatever path or link.

    Raises:
        UsageError: it is.
    """
    if Path(output).exists() and any(Path(each).exists() and Path(each).samefile(output) for each in inputs):
        raise UsageError("the output is an input of the command", where=output, fix="choose another name for -o")


def _require_target(path: str | Path) -> None:
    """Refuse a link without a target: a new file would take the place of the link."""
    if Path(path).is_symlink() and not Path(path).exists():
        fix = "remove the link, or choose another name"
        raise UsageError("the output is a link to a missing file", where=path, fix=fix)


def _no_earlier(path: str | Path) -> UsageError:
    return UsageError("the output exists, and is no earlier result", where=path, fix="choose another name for -o")
