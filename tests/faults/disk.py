"""Every moment at which a program touches the disk: let it fail there, or kill it there.

A touch is a write to an open file, an ``fsync``, or a rename; they are numbered from 0 in the order in which they
happen. At the chosen one, :func:`failing` raises what a full or closed disk raises, and :func:`killed` ends the process
with SIGKILL. In both cases a write has written half of its bytes by then, as a full disk does. What libraries write
past Python (torch, safetensors) is no touch of its own, but the ``fsync`` and the rename after it are.
"""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from isal import igzip
from safetensors.numpy import load_file

NAMES = {"fsync": "sync", "replace": "rename", "rename": "rename"}
UNFINISHED = (".partial-", ".unfinished-")
"""How names begin that nobody reads."""


class _File:
    """An open file whose writes are touches."""

    def __init__(self, file: Any, touch: Callable[..., None]) -> None:
        self._file, self._touch = file, touch

    def write(self, data: Any) -> Any:
        self._touch("write", lambda: (self._file.write(data[: len(data) // 2]), self._file.flush()))
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._file)


@contextmanager
def touches(at: int | None = None, act: Callable[[], None] | None = None) -> Iterator[list[str]]:
    """The touches inside the block: ``write``, ``sync`` or ``rename``; ``act`` is called from number ``at`` on."""
    kinds: list[str] = []

    def touch(kind: str, half: Callable[[], object] = lambda: None) -> None:
        kinds.append(kind)
        if act is not None and at is not None and len(kinds) > at:
            half()
            act()

    def opened(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
            made = real(file, mode, *rest, **options)
            return _File(made, touch) if set(mode) & set("wax+") else made

        return call

    def counted(real: Callable[..., Any], kind: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            touch(kind)
            return real(*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for module in (io, builtins):
            patch.setattr(module, "open", opened(module.open))
        for name, kind in NAMES.items():
            patch.setattr(os, name, counted(getattr(os, name), kind))
        yield kinds


def failing(at: int, number: int = errno.ENOSPC) -> Any:
    """Inside the block the touch ``at`` and all that follow raise the operating system's error ``number``."""

    def fail() -> None:
        raise OSError(number, os.strerror(number))

    return touches(at, fail)


def killed(run: Callable[[], object], at: int) -> bool:
    """Call ``run`` in a process that is killed with SIGKILL at touch ``at``; False if it ended before.

    Raises:
        AssertionError: ``run`` failed by itself.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            torch.set_num_threads(1)  # the thread pool of the parent does not survive the fork
            with touches(at, lambda: os.kill(os.getpid(), signal.SIGKILL)):
                run()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    if os.WIFSIGNALED(ended):
        assert os.WTERMSIG(ended) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(ended) == 0, "the process failed by itself; its traceback is above"
    return False


def finished(folder: Path) -> dict[str, Path]:
    """All files below a folder that stand under a final name."""
    found = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path for name, path in found.items() if not any(part in f"/{name}" for part in _begins())}


def _begins() -> list[str]:
    return [f"/{begin}" for begin in UNFINISHED]


def left_over(folder: Path) -> list[str]:
    """Names of temporary files and folders below a folder."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.name.startswith(UNFINISHED)]


def damaged(folder: Path) -> list[str]:
    """Names of files that stand under a final name and cannot be read to their end."""
    return [name for name, path in finished(folder).items() if not _readable(path)]


def _readable(path: Path) -> bool:
    readers: dict[str, Callable[[Path], object]] = {
        ".json": lambda path: json.loads(path.read_text()),
        ".npy": lambda path: np.load(path),
        ".safetensors": load_file,
        ".gz": lambda path: igzip.decompress(path.read_bytes()),
        ".pt": lambda path: torch.load(path, weights_only=True),
    }
    try:
        readers.get(path.suffix, Path.read_bytes)(path)
    except Exception:  # of whatever kind: it cannot be read
        return False
    return True
