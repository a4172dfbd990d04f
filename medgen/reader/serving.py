"""Serving a study on this machine alone."""

from __future__ import annotations

import errno
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from medgen.errors import InputError, UsageError
from medgen.files import folder_lock
from medgen.reader.application import Desk, application
from medgen.reader.study import ANSWERS, read_study

if TYPE_CHECKING:
    import uvicorn

HOST = "127.0.0.1"


def serve_reader_study(study: str | Path, *, port: int = 0, announce: Callable[[str], None]) -> int:
    """Show a study to readers in their browsers, until the process is interrupted (Ctrl-C) or terminated.

    Only this machine is reached: the server listens on 127.0.0.1. Each link lets one browser in for 12 hours, and a new
    one is announced when it is used. Every answer is on the disk before the next case appears.

    Args:
        study: the study folder.
        port: to listen on; 0 takes one that is free.
        announce: called with each new link.

    Returns:
        Number of answers in the study when it ended.

    Raises:
        UsageError: Starlette and uvicorn are not installed, the port is taken, or the study is being served already.
        InputError: the study is damaged.
        StorageError: the folder cannot be written.
    """
    require_server()
    known = read_study(study)
    if not (known.folder / ANSWERS).is_dir():
        raise InputError(
            "the folder of answers is missing", where=known.folder, fix=f"make an empty folder '{ANSWERS}'"
        )
    with listening(port) as listener, folder_lock(known.folder):
        taken = listener.getsockname()[1]
        desk = Desk(known, announce, f"http://{HOST}:{taken}")
        desk.new_link()
        with suppress(KeyboardInterrupt), terminated():  # the way to end: uvicorn has closed its connections
            server_of(desk, taken).run(sockets=[listener])
        return sum(len(journal.answers) for journal in desk.journals.values())


@contextmanager
def terminated() -> Iterator[None]:
    """Let SIGTERM end the server as Ctrl-C does: uvicorn sends itself again what it was sent."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def require_server() -> None:
    """Refuse to serve without the packages of the extra ``reader``.

    Raises:
        UsageError: one of them is not installed.
    """
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        raise UsageError(
            "a reader study needs Starlette and uvicorn, which are not installed",
            where="this Python environment",
            fix="pip install 'medgen[reader]'",
        ) from None


def listening(port: int) -> socket.socket:
    """A socket on 127.0.0.1.

    Args:
        port: 0 takes one that is free.

    Raises:
        UsageError: the port is taken, for administrators, or none.
    """
    if not 0 <= port < 2**16:
        raise UsageError(f"--port must be between 0 and 65535, got {port}", fix="e.g. --port 8765")
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # of a server that has just ended
        listener.bind((HOST, port))
        listener.listen(64)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            what = f"port {port} is taken by another program"
        elif error.errno in (errno.EACCES, errno.EPERM):
            what = f"port {port} is for administrators"
        else:
            raise
        raise UsageError(what, where=f"{HOST}:{port}", fix="leave out --port, or choose another one") from error
    return listener


def server_of(desk: Desk, port: int) -> uvicorn.Server:
    """The server of a study; it says nothing of itself and logs no request.

    Args:
        desk: what it serves.
        port: of the links.
    """
    import uvicorn

    config = uvicorn.Config(
        application(desk, port),
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=2,
    )
    return uvicorn.Server(config)
