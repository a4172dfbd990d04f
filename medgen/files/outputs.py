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


def require_apart(
    outputs: str | Path | Iterable[str | Path],
    inputs: Iterable[str | Path],
    *,
    fix: str = "choose another name for -o",
) -> None:
    """Refuse outputs of which one is an input, by whatever path or link, or a folder that holds one.

    Args:
        outputs: files, and folders that are replaced as a whole; of many one look at each is enough.
        inputs: files and folders that the command reads, or that its case table names.
        fix: what to do.

    Raises:
        UsageError: names the output.
    """
    every = (outputs,) if isinstance(outputs, str | Path) else outputs
    there = [(each, mark) for each in every if (mark := _identity(each))]
    if not there:
        return
    known = _with_folders(inputs)
    for each, mark in there:
        if mark in known:
            what = (
                "the output holds an input of the command" if known[mark] else "the output is an input of the command"
            )
            raise UsageError(what, where=each, fix=fix)


def _with_folders(inputs: Iterable[str | Path]) -> dict[tuple[int, int], bool]:
    """What the inputs are on the disk (False), and the folders above them (True)."""
    known: dict[tuple[int, int], bool] = {}
    seen: set[str] = set()
    for each in inputs:
        if (mark := _identity(each)) is None:
            continue
        known[mark] = False
        for place in {os.path.realpath(each), os.path.abspath(each)}:
            folder = os.path.dirname(place)
            while folder not in seen:
                seen.add(folder)
                if above := _identity(folder):
                    known.setdefault(above, True)
                folder = os.path.dirname(folder)
    return known


def _identity(path: str | Path) -> tuple[int, int] | None:
    """What a path leads to on the disk; None where it leads to nothing that can be looked at."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _require_target(path: str | Path) -> None:
    """Refuse a link without a target: a new file would take the place of the link."""
    if Path(path).is_symlink() and not Path(path).exists():
        fix = "remove the link, or choose another name"
        raise UsageError("the output is a link to a missing file", where=path, fix=fix)


def _no_earlier(path: str | Path) -> UsageError:
    return UsageError("the output exists, and is no earlier result", where=path, fix="choose another name for -o")
