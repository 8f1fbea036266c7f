"""Connections by name: where a name led last serves while nobody can tell; one address of several will do."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress

import pytest

from pcgrelay.config import Address
from pcgrelay.model import Transport
from pcgrelay.net import sockets
from pcgrelay.net.resolver import Use
from pcgrelay.net.sockets import NEXT_ADDRESS_S, Where, backs_off, bound, connect, interleave, race_connects, reset

NAME = "relay-1.hub.example"
TCP_CLOSE = bytes([7])


@pytest.fixture
def listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def leading(monkeypatch: pytest.MonkeyPatch, *found: str) -> list[int]:
    """Names lead there from now on, or nobody answers; notes how long each look-up may take."""
    deadlines: list[int] = []

    async def resolve(address: Address, deadline_ms: int, use: Use) -> list[Where]:
        assert use is Use.LINK
        deadlines.append(deadline_ms)
        if not found:
            raise TimeoutError
        return [(socket.AF_INET, (host, address.port)) for host in found]

    monkeypatch.setattr(sockets, "resolve", resolve)
    return deadlines


async def test_a_name_that_led_somewhere_is_found_again(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, last = Address(NAME, listener.getsockname()[1]), list[Where]()
    with listener:
        leading(monkeypatch, "127.0.0.1")
        (await connect(address, 5_000, last)).close()
        assert last == [(socket.AF_INET, ("127.0.0.1", address.port))]
        deadlines = leading(monkeypatch)
        (await connect(address, 5_000, last)).close()
        # Who knows where to go does not wait long to be told.
        assert deadlines == [sockets.LOOK_UP_AGAIN_MS]
        leading(monkeypatch, "127.0.0.2")
        with pytest.raises(OSError, match=r"127\.0\.0\.2"):
            await connect(address, 5_000, last)
        assert last == [(socket.AF_INET, ("127.0.0.2", address.port))]


async def test_a_name_that_never_led_anywhere_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    deadlines, last = leading(monkeypatch), list[Where]()
    with pytest.raises(TimeoutError):
        await connect(Address(NAME, 1), 5_000, last)
    assert (deadlines, last) == ([5_000], [])


SILENT, REFUSING, WELL = "192.0.2.1", "127.0.0.3", "127.0.0.1"


@pytest.fixture
def swallows(monkeypatch: pytest.MonkeyPatch) -> None:
    """One address takes what is sent to it and says nothing."""
    connects = sockets._connect

    async def connected_unless_silent(where: Where, sources: Sequence[str]) -> tuple[Where, socket.socket]:
        if where[1][0] == SILENT:
            await asyncio.Event().wait()
        return await connects(where, sources)

    monkeypatch.setattr(sockets, "_connect", connected_unless_silent)


@pytest.mark.usefixtures("swallows")
@pytest.mark.parametrize(
    "hosts",
    [
        (SILENT, WELL),
        (SILENT, SILENT, SILENT, WELL),
        (REFUSING, WELL),
        (SILENT, REFUSING, WELL),
        (REFUSING, REFUSING, SILENT, WELL),
        (WELL, SILENT),
    ],
)
async def test_one_address_that_answers_will_do(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, hosts: tuple[str, ...]
) -> None:
    address, last = Address(NAME, listener.getsockname()[1]), list[Where]()
    with listener:
        leading(monkeypatch, *hosts)
        began = asyncio.get_running_loop().time()
        # Far less than the deadline, which the silent one alone would take.
        (await connect(address, 30_000, last)).close()
        assert asyncio.get_running_loop().time() - began < len(hosts) * NEXT_ADDRESS_S + 5
        # It is tried first from then on, as long as the name leads there.
        assert last[0] == (socket.AF_INET, (WELL, address.port))
        (await connect(address, 30_000, last)).close()
        assert last[0][1][0] == WELL
        leading(monkeypatch)
        (await connect(address, 30_000, last)).close()


@pytest.mark.usefixtures("swallows")
async def test_the_deadline_is_for_all_addresses(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    with listener:
        leading(monkeypatch, SILENT, SILENT, SILENT)
        began = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError):
            await connect(Address(NAME, 1), 600, [])
        assert 0.5 < asyncio.get_running_loop().time() - began < 10


async def test_the_first_that_succeeds_wins_and_the_others_are_given_back() -> None:
    discarded: list[int] = []
    begun: list[int] = []

    async def attempt(number: int, seconds: float, error: Exception | None = None) -> int:
        begun.append(number)
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            if number == 7:
                return number  # it has succeeded in the same moment
            raise
        if error is not None:
            raise error
        return number

    assert await race_connects([attempt(1, 9), attempt(7, 9), attempt(3, 0), attempt(4, 0)], discarded.append) == 3
    assert (begun, discarded) == ([1, 7, 3], [7])
    with pytest.raises(ConnectionRefusedError):
        await race_connects([attempt(1, 0, OSError()), attempt(2, 0, ConnectionRefusedError())], discarded.append)
    with pytest.raises(OSError, match="no address"):
        await race_connects([], discarded.append)


def test_families_take_turns() -> None:
    six, four = socket.AF_INET6, socket.AF_INET
    found: list[Where] = [(six, ("a", 1)), (six, ("b", 1)), (six, ("c", 1)), (four, ("d", 1))]
    assert [where[1][0] for where in interleave(found)] == ["a", "d", "b", "c"]
    assert interleave([]) == []


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


def test_a_port_of_datagrams_is_bound_beside_the_same_one_of_tcp(listener: socket.socket) -> None:
    host, port = listener.getsockname()
    address = Address(host, port, Transport.DATAGRAM)
    with listener, bound(address) as sock:
        assert (sock.type, sock.getsockname()) == (socket.SOCK_DGRAM, (host, port))
        assert not sock.getblocking()
        assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        for shared in (False, True):
            with pytest.raises(OSError, match="in use"):
                bound(address, shared=shared)


def test_sockets_that_share_a_port_of_datagrams_share_it_with_each_other_alone(listener: socket.socket) -> None:
    host, port = listener.getsockname()
    address = Address(host, port, Transport.DATAGRAM)
    with listener, bound(address, shared=True), bound(address, shared=True), pytest.raises(OSError, match="in use"):
        bound(address)
