"""The writing side of a control connection: a slow reader is borne, one that reads nothing is not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from pcgrelay.session import control
from pcgrelay.session.control import ROOM_BYTES, ControlConnection
from pcgrelay.session.messages import Advert, MessageReader

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
