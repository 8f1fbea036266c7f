"""Connections by name: where a name led last serves while nobody can tell where it leads."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

import pytest

from pcgrelay.config import Address
from pcgrelay.session import sockets
from pcgrelay.session.sockets import Where, backs_off, connected, reset

NAME = "relay-1.hub.example"
TCP_CLOSE = bytes([7])


@pytest.fixture
def listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def leading(monkeypatch: pytest.MonkeyPatch, *found: str) -> list[int]:
    """Names lead there from now on, or nobody answers; notes how long each look-up may take."""
    deadlines: list[int] = []

    async def resolved(address: Address, deadline_ms: int) -> list[Where]:
        deadlines.append(deadline_ms)
        if not found:
            raise TimeoutError
        return [(socket.AF_INET, (host, address.port)) for host in found]

    monkeypatch.setattr(sockets, "resolved", resolved)
    return deadlines


async def test_a_name_that_led_somewhere_is_found_again(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, last = Address(NAME, listener.getsockname()[1]), list[Where]()
    with listener:
        leading(monkeypatch, "127.0.0.1")
        (await connected(address, 5_000, last)).close()
        assert last == [(socket.AF_INET, ("127.0.0.1", address.port))]
        deadlines = leading(monkeypatch)
        (await connected(address, 5_000, last)).close()
        # Who knows where to go does not wait long to be told.
        assert deadlines == [sockets.LOOK_UP_AGAIN_MS]
        leading(monkeypatch, "127.0.0.2")
        with pytest.raises(OSError, match=r"127\.0\.0\.2"):
            await connected(address, 5_000, last)
        assert last == [(socket.AF_INET, ("127.0.0.2", address.port))]


async def test_a_name_that_never_led_anywhere_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    deadlines, last = leading(monkeypatch), list[Where]()
    with pytest.raises(TimeoutError):
        await connected(Address(NAME, 1), 5_000, last)
    assert (deadlines, last) == ([5_000], [])


class Told:
    """A socket of which the kernel says so."""

    def __init__(self, times: int, waiting: int) -> None:
        # Linux, include/uapi/linux/tcp.h: five bytes before the flags, then words of four bytes.
        self._info = struct.pack("=8B5I", 1, 0, times, 0, times, 0, 0, 0, 800_000, 0, 1460, 1460, waiting)

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert (level, option) == (socket.IPPROTO_TCP, socket.TCP_INFO)
        return self._info[:size]


@pytest.mark.parametrize(
    ("times", "waiting", "expected"),
    [(0, 0, False), (0, 3, False), (1, 1, False), (2, 1, True), (6, 9, True), (3, 0, False)],
)
def test_tcp_backs_off_when_it_has_sent_again_in_vain(times: int, waiting: int, expected: bool) -> None:
    assert backs_off(Told(times, waiting)) is expected  # type: ignore[arg-type]


def test_a_connection_that_is_acknowledged_does_not_back_off_nor_does_one_that_is_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as sock:
        sock.sendall(b"x")
        assert not backs_off(sock)
        sock.close()
        assert not backs_off(sock)


def test_a_reset_is_heard_although_much_is_unread() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sock = socket.create_connection(server.getsockname())
        far, _ = server.accept()
        with far:
            far.settimeout(5)
            sock.sendall(bytes(1000))
            reset(sock)
            with suppress(ConnectionResetError):
                far.recv(1000)
            assert far.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == TCP_CLOSE
        reset(sock)
