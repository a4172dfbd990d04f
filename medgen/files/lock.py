"""Locks of folders."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medgen.errors import UsageError
from medgen.files.writing import storage_errors, write_json

HEARTBEAT_SECONDS = 15.0
STALE_SECONDS = 120.0
"""A lock that its owner has not renewed for this long is taken over."""

log = logging.getLogger(__name__)


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
