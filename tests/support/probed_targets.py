"""An export and the server at its target, for tests of probes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from pcgrelay.config import Address, ExportSettings
from pcgrelay.model import Marking, ServiceName, Transport

Conduct = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def export(
    port: int,
    *,
    send: bytes = b"",
    expect: bytes = b"",
    probe: bool = True,
    transport: Transport = Transport.STREAM,
) -> ExportSettings:
    return ExportSettings(
        service=ServiceName("custody", "kent.police.example"),
        target=Address("127.0.0.1", port, transport),
        allow=(),
        marking=Marking.OFFICIAL,
        connect_timeout_ms=300,
        probe=probe,
        probe_send=send,
        probe_expect=expect,
        probe_interval_ms=20,
    )


@asynccontextmanager
async def serving(conduct: Conduct) -> AsyncIterator[int]:
    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await conduct(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
