"""The page of a run on 127.0.0.1, for the browsers of this machine alone."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from medgen.errors import MedgenError, UsageError
from medgen.live.page import PAGE, LivePage, reason
from medgen.reader.serving import HOST, listening, terminated
from medgen.training.engine import parse_device

log = logging.getLogger(__name__)

_DAY = 86400
_HEADERS = {
    "content-type": "text/html; charset=utf-8",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",  # no copy of an image stays in the browser
}


def watch_run(
    run: str | Path,
    *,
    announce: Callable[[str], None],
    cases: str | Path | None = None,
    case: str | None = None,
    port: int = 0,
    every: float = 15.0,
    device: str = "cpu",
    until: Callable[[], bool] = lambda: False,
) -> None:
    """Show a run in a browser while it trains, until the process is interrupted (Ctrl-C) or terminated.

    Nothing is written to the run folder, and only this machine is reached.

    Args:
        run: the folder of ``medgen train --out``.
        announce: called with the address once there is a page.
        cases: the case table of the run, for pictures of a case.
        case: which one; by default the first for validation.
        port: to listen on; 0 takes one that is free.
        every: seconds between two looks at the run; a browser asks as often whether there is a newer page.
        device: for pictures; the training may need all of a GPU.
        until: asked after each look; True ends it.

    Raises:
        UsageError: the port is taken, the table has no such case, there is no such device, or ``every`` is less than a
            second or more than a day.
        InputError: there is no run, or no such table.
    """
    if not every >= 1:
        raise UsageError(f"a look every {every:g} s would take the machine from the training", fix="give 1 s or more")
    if every > _DAY:
        raise UsageError(f"a look every {every:g} s is less than one a day", fix=f"give {_DAY} s or less")
    parse_device(device)
    with tempfile.TemporaryDirectory(prefix="medgen-watch-") as name, listening(port) as listener:
        table = Path(cases) if cases else None
        page = LivePage(Path(run), Path(name), cases=table, case=case, device=device, every=every)
        page.renew()
        taken = listener.getsockname()[1]
        server = ThreadingHTTPServer((HOST, taken), _handler(page.folder / PAGE, taken), bind_and_activate=False)
        server.socket.close()
        server.socket = listener
        threading.Thread(target=server.serve_forever, daemon=True).start()
        announce(f"http://{HOST}:{taken}/")
        stop = threading.Event()
        with suppress(KeyboardInterrupt), terminated():
            while not until():
                stop.wait(every)
                try:
                    page.renew()
                except (MedgenError, OSError) as error:  # a file that comes or goes; the next look may find it whole
                    log.warning("the page stays as it was: %s", reason(error))
        server.shutdown()


def _handler(page: Path, port: int) -> type[BaseHTTPRequestHandler]:
    """What answers: the page, under the names of this machine alone (no other name may lead here: DNS rebinding)."""
    hosts = {f"{name}:{port}" for name in (HOST, "localhost")} | ({HOST, "localhost"} if port == 80 else set())

    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "medgen", ""

        def do_GET(self) -> None:
            if (self.headers.get("host") or "").lower() not in hosts:
                self._answer(403, b"use the address as medgen wrote it", {"content-type": "text/plain"})
            elif self.path != "/":
                self._answer(404, b"there is one page: /", {"content-type": "text/plain"})
            else:
                with page.open("rb") as file:  # one file, though a newer one may take its name
                    tag = f'"{os.fstat(file.fileno()).st_mtime_ns}"'
                    known = self.headers.get("if-none-match") == tag
                    self._answer(304 if known else 200, b"" if known else file.read(), {"etag": tag})

        def _answer(self, code: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(code)
            for name, value in (_HEADERS | headers | {"content-length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: every reload would be a line."""

    return Handler
