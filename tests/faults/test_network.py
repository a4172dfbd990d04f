"""The network is out of reach, and nobody tries."""

import socket

import pytest

from faults.network import blocked


def test_a_test_cannot_reach_the_network():
    with blocked() as tried:
        with pytest.raises(PermissionError, match=r"192\.0\.2\.1"):
            socket.create_connection(("192.0.2.1", 80), timeout=1)
        for lookup in (lambda: socket.getaddrinfo("example.org", 80), lambda: socket.gethostbyname("example.org")):
            with pytest.raises(PermissionError, match="example"):
                lookup()
        with socket.socket() as plain:
            for connect in (plain.connect, plain.connect_ex):
                with pytest.raises(PermissionError):
                    connect(("192.0.2.1", 80))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
            with pytest.raises(PermissionError):
                datagram.sendto(b"x", ("192.0.2.1", 53))
            with pytest.raises(PermissionError):
                datagram.sendmsg([b"x"], [], 0, ("192.0.2.1", 53))
    assert set(tried) == {"192.0.2.1", "example.org"}
    assert len(tried) == 7


def test_this_machine_is_in_reach():
    with blocked() as tried, socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=1).close()
    assert tried == []


def test_every_test_stands_behind_the_block(no_network):
    with pytest.raises(PermissionError):
        socket.getaddrinfo("example.org", 80)
    assert no_network == ["example.org"]
    no_network.clear()  # or this test would fail: it is not allowed to have tried
