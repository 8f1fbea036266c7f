"""The writing side of a control connection: a slow reader is borne, one that reads nothing is not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from pcgrelay.identity.tls import HandshakeRefused
from pcgrelay.link import control
from pcgrelay.link.control import ROOM_BYTES, ControlConnection
from pcgrelay.messages import Advert, Beat, Message, MessageReader, MessageRefused, encode_message

SLICE_BYTES = 16_384


class Clear:
    """A TLS connection that seals nothing."""

    def __init__(self) -> None:
        self.waiting = b""

    def write(self, data: bytes) -> None:
        self.waiting += data

    def take(self) -> bytes:
        taken, self.waiting = self.waiting, b""
        return taken

    def read(self) -> bytes:
        return b""


class Wire:
    """A connection and its other end, with little room between."""

    def __init__(self) -> None:
        near, self.far = socket.socketpair()
        for sock in (near, self.far):
            sock.setblocking(False)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        self.connection = ControlConnection(near, Clear(), MessageReader(), b"")  # type: ignore[arg-type]
        self.run = asyncio.create_task(self.connection.run(lambda message: None))

    async def read(self, size: int) -> int:
        return len(await asyncio.get_running_loop().sock_recv(self.far, size))


@pytest.fixture
async def wire(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Wire]:
    monkeypatch.setattr(control, "SLICE_BYTES", SLICE_BYTES)
    monkeypatch.setattr(control, "WRITE_DEADLINE_S", 0.3)
    made = Wire()
    yield made
    made.connection.end("over")
    made.far.close()
    await made.run


def entry(size: int) -> Advert:
    return Advert(bytes(size), b"", (b"",), ())


async def test_what_came_with_the_handshake_is_taken_first() -> None:
    """Nothing more need come: it waits in the reader, behind HELLO."""
    reader = MessageReader()
    next(reader.feed(encode_message(Beat(1, False)) + encode_message(Beat(2, False))))
    near, far = socket.socketpair()
    near.setblocking(False)
    with far:
        connection = ControlConnection(near, Clear(), reader, b"")  # type: ignore[arg-type]
        taken: list[Message] = []

        def take(message: Message) -> None:
            taken.append(message)
            connection.end("over")

        async with asyncio.timeout(10):
            assert await connection.run(take) == "over"
    assert taken == [Beat(2, False)]


async def test_who_reads_slowly_is_not_taken_for_one_that_stands_still(wire: Wire) -> None:
    """All of it takes three times as long as a slice may."""
    roomy: list[int] = []
    wire.connection.on_room = lambda: roomy.append(wire.connection.backlog_bytes)
    for _ in range(4):
        wire.connection.send(entry(150_000))
    assert wire.connection.backlog_bytes > 2 * ROOM_BYTES
    taken = 0
    async with asyncio.timeout(10):
        while taken < 600_000:
            taken += await wire.read(SLICE_BYTES)
            await asyncio.sleep(0.02)
    assert not wire.connection.has_ended()
    assert wire.connection.backlog_bytes == 0
    assert roomy[0] <= ROOM_BYTES
    assert roomy == sorted(roomy, reverse=True)


async def test_who_reads_nothing_is_left(wire: Wire) -> None:
    wire.connection.send(entry(150_000))
    assert await asyncio.wait_for(wire.run, 5) == "stalled"


async def test_a_queue_that_grows_without_end_is_left(wire: Wire) -> None:
    for _ in range(60):
        wire.connection.send(entry(150_000))
    assert wire.connection.has_ended()
    assert await asyncio.wait_for(wire.run, 5) == "backlog"


class Said(Clear):
    """One that the peer has said something over."""

    def __init__(self, said: bytes) -> None:
        super().__init__()
        self.said = said

    def read(self) -> bytes:
        said, self.said = self.said, b""
        return said


def spoken_to(said: bytes) -> tuple[ControlConnection, socket.socket]:
    near, far = socket.socketpair()
    for sock in (near, far):
        sock.setblocking(False)
    return ControlConnection(near, Said(said), MessageReader(), b""), far  # type: ignore[arg-type]


@pytest.mark.parametrize("fault", [MessageRefused("too long"), HandshakeRefused("x", "y"), OSError("z"), KeyError()])
async def test_what_fails_while_a_message_is_acted_on_is_not_booked_as_the_peers(fault: Exception) -> None:
    connection, far = spoken_to(encode_message(Beat(1, False)))

    def take(message: Message) -> None:
        raise fault

    with far, pytest.raises(type(fault)) as caught:
        await asyncio.wait_for(connection.run(take), 5)
    assert caught.value is fault


async def test_what_is_no_message_is_a_violation() -> None:
    connection, far = spoken_to(encode_message(Beat(1, False)) + b"\0\0\0\1\0")
    taken: list[Message] = []
    with far:
        assert await asyncio.wait_for(connection.run(taken.append), 5) == "violation"
    assert taken == [Beat(1, False)]


async def test_a_message_that_is_too_long_to_be_sent_is_left_out(wire: Wire) -> None:
    wire.connection.send(Advert(bytes(300_000), b"", (b"",), ()))
    assert wire.connection.unsendable_total == 1
    wire.connection.send(Beat(7, False))
    assert await wire.read(SLICE_BYTES) == len(encode_message(Beat(7, False)))
    assert not wire.connection.has_ended()


async def test_to_send_never_raises(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(data: bytes) -> None:
        raise HandshakeRefused("tls_error", "TLS has ended")

    monkeypatch.setattr(wire.connection._tls, "write", broken)
    wire.connection.send(Beat(7, False))
    assert await asyncio.wait_for(wire.run, 5) == "closed"
