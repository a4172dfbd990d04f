"""How a command ends: an error becomes three lines on stderr and an exit code."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cyclopts import CycloptsError

from medgen.errors import MedgenError, MemoryExhausted, StorageError, UsageError
from medgen.files import storage_errors

BUG, INTERRUPTED = 1, 130
_ABSOLUTE_PATH = re.compile(r"(?<![\w.:/<])/(?:[^'\":,\n]+/)+[^\s'\":,]*")


def exit_code_of(
    run: Callable[[], object],
    *,
    debug: bool = False,
    words: Sequence[str] = (),
    on_error: Callable[[dict[str, Any]], None] | None = None,
) -> int:
    """Call ``run``, write its error to stderr if it fails, and return the exit code.

    Args:
        run: the parsed command.
        debug: also write the traceback; neither it nor the message then contains an absolute folder.
        words: the command line, whose folders are known to be such whatever characters they contain.
        on_error: is called with what the error is, as plain values.
    """
    try:
        run()
        getattr(sys.stdout, "finish", sys.stdout.flush)()  # see medgen.cli.streams
        return 0
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
    except Exception as error:
        folders = tuple(_folders_of(error, words))
        known = as_user_error(error)
        if debug:
            sys.stderr.write(without_folders("".join(traceback.format_exception(error)), folders))
        if on_error is not None:
            on_error(_plain_error(error, known))
        if known is not None:
            sys.stderr.write(f"error: {without_folders(str(known), folders) if debug else known}\n")
            return known.exit_code
        sys.stderr.write(f"this is a bug in medgen: {type(error).__name__}: {without_folders(str(error), folders)}\n")
        if not debug:
            sys.stderr.write("  do: run the same command with --debug and report its output\n")
        return BUG


def _plain_error(error: Exception, known: MedgenError | None) -> dict[str, Any]:
    if known is None:
        return {"what": f"a bug in medgen: {type(error).__name__}", "where": None, "fix": "", "exit_code": BUG}
    where = None if known.where is None else str(known.where)
    return {"what": known.what, "where": where, "fix": known.fix, "exit_code": known.exit_code}


def as_user_error(error: Exception) -> MedgenError | None:
    """Convert ``error`` to an error that the user can act on; None means that it is a bug."""
    if isinstance(error, MedgenError):
        return error
    if isinstance(error, CycloptsError):
        return UsageError(str(error), fix=f"see '{_help_command(error)}'")
    if _out_of_memory(error):
        what = f"out of memory: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        return MemoryExhausted(what, fix="use a smaller patch, batch or volume, or a device with more memory")
    if isinstance(error, RuntimeError) and "closed by peer" in str(error):  # Gloo, where another process has ended
        return MedgenError("another process of this run has failed", fix="see its error message above")
    if isinstance(error, OSError):
        return _storage_error(error)
    return None


def without_folders(text: str, known: Iterable[Path] = ()) -> str:
    """``text`` with each absolute path shortened to its path inside a package, or to its file name.

    Folder names can contain spaces and patient names, so in doubt the path is cut too much rather than too little.

    Args:
        text: of a message or a traceback.
        known: absolute folders that it may contain. What is not known ends at a quote, a comma or a colon.

    >>> without_folders('File "/home/ada/env/lib/site-packages/numpy/core.py", line 3')
    'File "numpy/core.py", line 3'
    >>> without_folders("cannot read /data/Ada Lovelace/t1.nii.gz, 3/4 of it is missing")
    'cannot read t1.nii.gz, 3/4 of it is missing'
    """
    for folder in sorted(map(str, known), key=len, reverse=True):
        text = text.replace(f"{folder}/", "")
    return _ABSOLUTE_PATH.sub(_shorten, text)


def _folders_of(error: BaseException, words: Sequence[str]) -> Iterator[Path]:
    """The folders that a command line and an error name, but those that hold all of a machine: ``/`` and ``/home``.

    Those of Python and its packages are left to the pattern, which keeps the path inside a package.
    """
    paths = [part for word in words for part in (word, word.partition("=")[2]) if "/" in part]
    paths += [f"{Path.home()}/file", f"{Path.cwd()}/file"]
    chain: list[BaseException] = [error]
    for each in chain:  # grows while it is read
        named = (getattr(each, name, None) for name in ("where", "filename"))
        paths += [str(path) for path in named if isinstance(path, str | Path)]
        chain += [cause for cause in (each.__cause__, each.__context__) if cause is not None and cause not in chain]
    own = Path(__file__).resolve().parents[2]
    for path in map(Path, paths):
        for folder in (path.absolute().parent, path.absolute().resolve().parent):
            if len(folder.parts) > 2 and not own.is_relative_to(folder):
                yield folder


def _shorten(match: re.Match[str]) -> str:
    path = Path(match.group())
    package = Path(__file__).resolve().parents[2]
    if "site-packages" in path.parts:
        return "/".join(path.parts[path.parts.index("site-packages") + 1 :])
    for root in (package, Path(os.__file__).parent):
        if path.is_relative_to(root):
            return path.relative_to(root).as_posix()
    return path.name


def _help_command(error: CycloptsError) -> str:
    return " ".join(["medgen", *(error.command_chain or ()), "--help"])


def _out_of_memory(error: Exception) -> bool:
    """Whether Python, numpy or torch (CPU or GPU) ran out of memory; this does not import torch."""
    torch = sys.modules.get("torch")
    on_device = getattr(torch, "OutOfMemoryError", None)
    if isinstance(error, MemoryError) or (on_device is not None and isinstance(error, on_device)):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate memory" in str(error)


def _storage_error(error: OSError) -> StorageError | None:
    try:
        with storage_errors(error.filename or Path.cwd()):
            raise error
    except StorageError as found:
        return found
    except OSError:
        return None
