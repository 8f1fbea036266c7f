"""Probes of export targets: a connection, or a word and its answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from pcgrelay.config import ExportSettings
from pcgrelay.health.state import Health
from pcgrelay.log.events import Record
from pcgrelay.model import Transport
from pcgrelay.services.targets import Target
from tests.support.ports import free_port
from tests.support.probed_targets import Conduct, export, says_nothing, serving
from tests.support.waiting import until_async as until


@asynccontextmanager
async def watched(settings: ExportSettings) -> AsyncIterator[tuple[Target, list[Record]]]:
    said: list[Record] = []
    target = Target(settings, lambda: None, said.append)
    task = asyncio.create_task(target.run())
    try:
        yield target, said
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def answers_in_pieces(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    assert await reader.readexactly(6) == b"PING\r\n"
    for piece in (b"hello +PO", b"NG\r\n"):
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.01)


async def says_no(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"-LOADING\r\n")


async def says_too_much(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(5_000 * b"x" + b"+PONG")


async def test_what_says_the_word_is_well() -> None:
    words: dict[str, bytes] = {"send": b"PING\r\n", "expect": b"+PONG"}
    async with serving(answers_in_pieces) as port, watched(export(port, **words)) as (target, _):
        await until(lambda: target.health is Health.OK)


async def test_the_word_may_come_unasked() -> None:
    async with serving(says_no) as port, watched(export(port, expect=b"LOADING")) as (target, _):
        await until(lambda: target.health is Health.OK)


@pytest.mark.parametrize("conduct", [says_no, says_nothing, says_too_much])
async def test_what_does_not_say_the_word_is_withdrawn(conduct: Conduct) -> None:
    async with serving(conduct) as port, watched(export(port, send=b"PING\r\n", expect=b"+PONG")) as (target, said):
        await until(lambda: target.health is Health.FAILING)
        assert not target.is_present
        assert [record.EVENT for record in said] == ["target.failing"]
    # A connection alone would have been enough.
    async with serving(conduct) as port, watched(export(port)) as (target, _):
        await until(lambda: target.health is Health.OK)


async def test_what_is_not_there_is_withdrawn_and_what_is_not_probed_is_not() -> None:
    port = free_port()
    async with watched(export(port, expect=b"x")) as (target, _), watched(export(port, probe=False)) as (other, _):
        await until(lambda: target.health is Health.FAILING)
        assert (other.health, other.is_present) == (Health.UNKNOWN, True)


class Datagrams(asyncio.DatagramProtocol):
    """A server of datagrams that says one thing to all questions, or nothing."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.heard: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # That of uvloop is no subclass.
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.heard.append(data)
        if self.answer:
            self.transport.sendto(self.answer, addr)


@asynccontextmanager
async def serving_datagrams(answer: bytes) -> AsyncIterator[tuple[int, Datagrams]]:
    server = Datagrams(answer)
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: server, ("127.0.0.1", 0))
    try:
        yield transport.get_extra_info("sockname")[1], server
    finally:
        transport.close()


async def test_a_target_of_datagrams_is_asked_by_one() -> None:
    async with serving_datagrams(b"\x12\x34 here") as (port, server):
        settings = export(port, send=b"\x12\x34?", expect=b"here", transport=Transport.DATAGRAM)
        async with watched(settings) as (target, _):
            await until(lambda: target.health is Health.OK)
    assert set(server.heard) == {b"\x12\x34?"}


@pytest.mark.parametrize(
    ("answer", "cause"), [(b"nobody", "target-answer"), (b"", "target-silent"), (None, "target-refused")]
)
async def test_a_target_of_datagrams_that_does_not_say_the_word_is_withdrawn(answer: bytes | None, cause: str) -> None:
    """Where nothing listens the machine says so (ICMP), which is as good as a refusal."""
    async with serving_datagrams(answer or b"") as (port, server):
        if answer is None:
            server.transport.close()
            await asyncio.sleep(0)
        settings = export(port, send=b"?", expect=b"here", transport=Transport.DATAGRAM)
        async with watched(settings) as (target, said):
            await until(lambda: target.health is Health.FAILING)
            assert target.failure is not None
            assert target.failure.cause == cause
            assert [record.EVENT for record in said] == ["target.failing"]


def test_another_protocol_is_another_target() -> None:
    target = Target(export(1), lambda: None, lambda record: None)
    assert not target.serves(export(1, transport=Transport.DATAGRAM))


def test_other_words_are_another_probe() -> None:
    target = Target(export(1, send=b"a", expect=b"b"), lambda: None, lambda record: None)
    assert target.serves(export(1, send=b"a", expect=b"b"))
    assert not target.serves(export(1, send=b"a", expect=b"c"))
    assert not target.serves(export(1, send=b"c", expect=b"b"))
