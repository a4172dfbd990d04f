"""Nothing reaches beyond this machine: not a connection, not a packet, not the look-up of a name."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CALLS = ("connect", "connect_ex", "sendto", "sendmsg")
LOOKUPS = ("getaddrinfo", "gethostbyname", "gethostbyname_ex")


@contextmanager
def blocked() -> Iterator[list[str]]:
    """Refuse whatever is not loopback with a PermissionError; the list names what was tried.

    A library may swallow the error and go on without the network, so look at the list too.
    """
    tried: list[str] = []

    def require_loopback(host: Any) -> None:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in (None, "", "localhost", "::1", socket.gethostname()) and not str(name).startswith("127."):
            tried.append(str(name))
            raise PermissionError(f"a test tried to reach {name!r} over the network")

    def guarded(call: Callable[..., Any]) -> Callable[..., Any]:
        def method(self: socket.socket, *arguments: Any) -> Any:
            address = arguments[-1]  # it stands last in each of these calls
            if self.family != socket.AF_UNIX and isinstance(address, tuple):
                require_loopback(address[0])
            return call(self, *arguments)

        return method

    def looked_up(call: Callable[..., Any]) -> Callable[..., Any]:
        def lookup(host: Any, *rest: Any, **options: Any) -> Any:
            require_loopback(host)
            return call(host, *rest, **options)

        return lookup

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))
        for name in LOOKUPS:
            patch.setattr(socket, name, looked_up(getattr(socket, name)))
        yield tried
