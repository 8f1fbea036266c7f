"""Server-sent events: each text is one, and they end with whoever reads them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from pcgrelay.admin import http
from pcgrelay.admin.http import Answer, Asked, Events, HttpServer
from pcgrelay.config import Address
from pcgrelay.net.sockets import bind_listener
from tests.support.ports import free_port
from tests.support.waiting import until_async as until


class Source:
    """A server whose answers go on; each view notes when it has ended."""

    def __init__(self) -> None:
        self.began = self.ended = 0
        self.texts = ["<p>one\n&lt;two></p>", "three"]
        self.forever = True
        self.port = free_port()
        self.server = HttpServer(self._answer)

    async def _answer(self, asked: Asked) -> Answer | Events:
        return Events(self._views(), {"X-Content-Type-Options": "nosniff"})

    async def _views(self) -> AsyncGenerator[str, None]:
        self.began += 1
        try:
            for text in self.texts:
                yield text
            if self.forever:
                await asyncio.Event().wait()
        finally:
            self.ended += 1

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        return reader, writer


@pytest.fixture
async def source() -> AsyncIterator[Source]:
    source = Source()
    await source.server.start(bind_listener(Address("127.0.0.1", source.port)))
    yield source
    await source.server.stop()


async def read_until(reader: asyncio.StreamReader, end: bytes) -> bytes:
    async with asyncio.timeout(10):
        return await reader.readuntil(end)


async def test_each_text_is_an_event(source: Source) -> None:
    reader, writer = await source.connect()
    head = await read_until(reader, b"\r\n\r\n")
    assert b"200 OK" in head
    assert b"Content-Type: text/event-stream" in head
    assert b"X-Content-Type-Options: nosniff" in head
    assert b"Server" not in head
    assert b"retry: 2000\ndata: <p>one\ndata: &lt;two></p>\n\n" in await read_until(reader, b"</p>\n\n")
    assert b"data: three\n\n" in await read_until(reader, b"three\n\n")
    assert (source.began, source.ended) == (1, 0)
    writer.close()
    await until(lambda: source.ended == 1)


async def test_they_end_with_the_client(source: Source) -> None:
    links = [await source.connect() for _ in range(3)]
    await until(lambda: source.began == 3)
    for _, writer in links:
        writer.close()
    await until(lambda: source.ended == 3 and not source.server.connections)


async def test_they_end_when_the_server_says_so_and_in_good_order(source: Source) -> None:
    reader, writer = await source.connect()
    await read_until(reader, b"three\n\n")
    source.server.end_events()
    async with asyncio.timeout(10):
        assert (await reader.read()).endswith(b"0\r\n\r\n")
    await until(lambda: source.ended == 1)
    writer.close()


async def test_they_end_with_their_texts(source: Source) -> None:
    source.forever = False
    reader, writer = await source.connect()
    async with asyncio.timeout(10):
        assert (await reader.read()).endswith(b"0\r\n\r\n")
    assert source.ended == 1
    writer.close()


async def test_who_does_not_read_is_cut(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "DEADLINE_S", 0.2)
    source.texts = ["x" * (8 << 20)] * 4
    _, writer = await source.connect()
    await until(lambda: source.ended == 1)
    writer.close()


async def test_who_goes_at_once_leaves_nothing(source: Source) -> None:
    _, writer = await source.connect()
    writer.transport.abort()
    await until(lambda: source.began == source.ended and not source.server.connections)
