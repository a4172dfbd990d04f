"""Shared fixtures."""

import os
import socket
from collections.abc import Callable, Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")  # several test processes share the cores; their threads would spin

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real volumes; tests that need it are skipped where it is absent."""
    folder = os.environ.get("MEDGEN_REAL_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("MEDGEN_REAL_DATA names no folder of real volumes")
    return Path(folder).resolve()


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """No test reaches beyond this machine, and nothing that is tested may: not even to look up a name."""
    real_lookup = socket.getaddrinfo

    def lookup(host: Any, *rest: Any, **options: Any) -> Any:
        _require_loopback(host)
        return real_lookup(host, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))
        patch.setattr(socket, "getaddrinfo", lookup)
        yield


def _guarded(call: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(self: socket.socket, *arguments: Any) -> Any:
        if self.family != socket.AF_UNIX:
            _require_loopback(arguments[-1][0])  # the address stands last in each of these calls
        return call(self, *arguments)

    return guarded


def _require_loopback(host: Any) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    if name not in (None, "", "localhost", "::1", socket.gethostname()) and not str(name).startswith("127."):
        raise PermissionError(f"a test tried to reach {name!r} over the network")
