"""Streams that are closed by order, because their import moves away from the outlet they are on."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pcgrelay.dataplane import events
from pcgrelay.dataplane.api import DataPlaneRefused
from tests.support.applications import client, echo, server, silent, was_reset
from tests.support.plane_realm import DIRECT, GATEWAY, PlaneRealm
from tests.support.waiting import receive, until_async

OUTLETS = pytest.mark.parametrize("outlet", [GATEWAY, DIRECT], ids=["gateway", "direct"])
IDLE_US = 50_000
MANY = 1_000


@pytest.fixture(params=[1, 2], ids=["one worker", "two workers"])
async def realm(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[PlaneRealm]:
    made = PlaneRealm(tmp_path, workers=request.param)
    yield made
    made.stop()
    assert not made.failed


class Ends:
    """A server that echoes and notes how each connection ended, in the order in which they did."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.open = 0

    def talk(self, connection: socket.socket) -> None:
        self.open += 1
        end = "eof"
        try:
            while data := connection.recv(65_536):
                connection.sendall(data)
        except ConnectionError:
            end = "reset"
        self.seen.append(end)
        self.open -= 1


def ready(realm: PlaneRealm, target: tuple[str, int], outlet: int) -> tuple[str, int]:
    realm.export(target)
    realm.publish(target, shares=200 if outlet == DIRECT else 0)
    address = realm.listen()
    realm.start()
    return address


def says(address: tuple[str, int], words: bytes = b"hello") -> socket.socket:
    connection = client(address)
    connection.sendall(words)
    assert receive(connection, len(words)) == words
    return connection


async def nudged(
    realm: PlaneRealm, outlet: int, *, idle_us: int = IDLE_US, most: int = MANY, hard: bool = False
) -> events.StreamsNudged:
    """What a round says. Their numbers begin anew in each process."""
    before = len(realm.told)
    number = realm.plane.streams_nudge(0, outlet, idle_us=idle_us, most=most, hard=hard)

    def told() -> list[events.StreamsNudged]:
        fresh = realm.told[before:]
        return [event for event in fresh if isinstance(event, events.StreamsNudged) and event.round == number]

    await until_async(told)
    [event] = told()
    assert (event.number, event.outlet) == (0, outlet)
    return event


async def idle(realm: PlaneRealm, outlet: int, count: int) -> None:
    """Wait until so many streams are known to be idle."""
    for _ in range(200):
        if (await nudged(realm, outlet, most=0)).idle == count:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("they never became idle")


@OUTLETS
async def test_an_idle_stream_gets_a_clean_end_on_both_sides(realm: PlaneRealm, outlet: int) -> None:
    ends = Ends()
    with server(ends.talk) as target:
        address = ready(realm, target, outlet)
        with says(address) as connection:
            assert (await nudged(realm, outlet)).nudged == 0
            await idle(realm, outlet, 1)
            told = await nudged(realm, outlet)
            assert (told.nudged, told.open, told.idle, told.oldest_us) == (1, 0, 0, 0)
            assert await asyncio.to_thread(connection.recv, 1) == b""
            await until_async(lambda: ends.seen == ["eof"])
            await until_async(lambda: realm.plane.streams() == 0)
        [ended] = await realm.ends(1)
        assert (ended.cause, ended.code, ended.bytes_sent, ended.bytes_received) == ("nudged", 0, 5, 5)
        figures, shadows = realm.plane.meter_read(realm.meter)[outlet]
        assert (figures.nudged, figures.active, figures.cut, figures.early, shadows.nudged) == (1, 0, 0, 0, 0)
        assert realm.plane.meter_read(realm.meter)[1 - outlet][0].nudged == 0
        counters = realm.plane.counters()
        assert counters["streams_nudged_total"] == counters["stream_end_nudged_total"] == 1


@OUTLETS
async def test_what_moves_is_left_alone_and_counted(realm: PlaneRealm, outlet: int) -> None:
    with server(echo) as target, ExitStack() as stack:
        address = ready(realm, target, outlet)
        began = time.monotonic()
        quiet = [stack.enter_context(says(address)) for _ in range(3)]
        busy = stack.enter_context(says(address))
        await idle(realm, outlet, 4)
        busy.sendall(b"again")
        assert receive(busy, 5) == b"again"
        told = await nudged(realm, outlet, idle_us=20_000_000)
        assert (told.nudged, told.open, told.idle) == (0, 4, 0)
        assert 0 < told.oldest_us <= (time.monotonic() - began) * 1_000_000
        # What had moved since the last look is not idle, whatever was so before.
        told = await nudged(realm, outlet)
        assert (told.nudged, told.open) == (3, 1)
        for connection in quiet:
            assert await asyncio.to_thread(connection.recv, 1) == b""
        busy.sendall(b"still")
        assert receive(busy, 5) == b"still"


@OUTLETS
async def test_no_more_than_was_asked_for(realm: PlaneRealm, outlet: int) -> None:
    """Over all workers together."""
    with server(echo) as target, ExitStack() as stack:
        address = ready(realm, target, outlet)
        for _ in range(12):
            stack.enter_context(says(address))
        await idle(realm, outlet, 12)
        told = await nudged(realm, outlet, most=5)
        assert (told.nudged, told.open, told.idle) == (5, 7, 7)
        assert (await nudged(realm, 1 - outlet)).open == 0
        told = await nudged(realm, outlet)
        assert (told.nudged, told.open) == (7, 0)
        await until_async(lambda: realm.plane.meter_read(realm.meter)[outlet][0].nudged == 12)


@OUTLETS
async def test_bytes_that_wait_keep_a_stream_open(realm: PlaneRealm, outlet: int) -> None:
    """The application does not read; then it does, and nothing is missing."""
    size = 16 << 20

    def talk(connection: socket.socket) -> None:
        connection.sendall(bytes(size))
        echo(connection)

    with server(talk) as target:
        address = ready(realm, target, outlet)
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.settimeout(20)
        connection.connect(address)
        with connection:
            before = -1
            while before != (before := realm.plane.counters()["application_received_bytes"]) or not before:
                assert (await nudged(realm, outlet)).nudged == 0
                await asyncio.sleep(0.5)  # a busy machine may stand still for less
            for _ in range(5):
                # Nothing moves any more, and all of it is under way.
                assert (await nudged(realm, outlet, idle_us=0)).nudged == 0

            def read() -> int:
                got = 0
                while got < size:
                    got += len(connection.recv(1 << 18))
                return got

            assert await asyncio.to_thread(read) == size
            await idle(realm, outlet, 1)
            assert (await nudged(realm, outlet)).nudged == 1
            assert await asyncio.to_thread(connection.recv, 1) == b""


@OUTLETS
@pytest.mark.parametrize("first", ["application", "target"])
async def test_a_half_closed_one(realm: PlaneRealm, outlet: int, first: str) -> None:
    """The side that had not ended yet gets its end, and neither gets a reset."""
    seen: list[str] = []
    go_on = threading.Event()

    def talk(connection: socket.socket) -> None:
        if first == "target":
            connection.sendall(b"all I have")
            connection.shutdown(socket.SHUT_WR)
        seen.append("eof" if connection.recv(1) == b"" else "bytes")
        go_on.wait(20)

    with server(talk) as target:
        address = ready(realm, target, outlet)
        with client(address) as connection:
            if first == "application":
                connection.shutdown(socket.SHUT_WR)
                await until_async(lambda: seen == ["eof"])
            else:
                assert await asyncio.to_thread(connection.recv, 10) == b"all I have"
            await idle(realm, outlet, 1)
            assert (await nudged(realm, outlet)).nudged == 1
            assert await asyncio.to_thread(connection.recv, 1) == b""
            await until_async(lambda: seen == ["eof"])
            go_on.set()
            await until_async(lambda: realm.plane.streams() == 0)
    [ended] = await realm.ends(1)
    assert (ended.cause, ended.code) == ("nudged", 0)


@OUTLETS
async def test_last_words_of_the_target_are_read(realm: PlaneRealm, outlet: int) -> None:
    """They are for nobody any more, but a target that cannot say them would be reset."""
    seen: list[str] = []

    def talk(connection: socket.socket) -> None:
        assert connection.recv(1) == b""
        connection.sendall(bytes(4 << 20))
        connection.shutdown(socket.SHUT_WR)
        seen.append("said")

    with server(talk) as target:
        address = ready(realm, target, outlet)
        with client(address) as connection:
            await idle(realm, outlet, 1)
            assert (await nudged(realm, outlet)).nudged == 1
            assert await asyncio.to_thread(connection.recv, 1) == b""
            await until_async(lambda: seen == ["said"])
            await until_async(lambda: realm.plane.streams() == 0)
    [ended] = await realm.ends(1)
    assert (ended.cause, ended.bytes_received) == ("nudged", 0)


@OUTLETS
async def test_hard(realm: PlaneRealm, outlet: int) -> None:
    """Whatever they do, and still no more than was asked for."""
    ends = Ends()
    with server(ends.talk) as target, ExitStack() as stack:
        address = ready(realm, target, outlet)
        connections = [stack.enter_context(says(address)) for _ in range(4)]
        told = await nudged(realm, outlet, idle_us=20_000_000, most=3, hard=True)
        assert (told.nudged, told.open) == (3, 1)
        told = await nudged(realm, outlet, idle_us=20_000_000, most=3, hard=True)
        assert (told.nudged, told.open) == (1, 0)
        for connection in connections:
            assert await asyncio.to_thread(was_reset, connection)
        await until_async(lambda: ends.seen == ["reset"] * 4)
    assert {event.cause for event in await realm.ends(4)} == {"nudged"}
    figures = realm.plane.meter_read(realm.meter)[outlet][0]
    assert (figures.nudged, figures.cut, figures.early) == (4, 0, 0)


@OUTLETS
async def test_what_is_being_set_up_and_what_no_application_made(realm: PlaneRealm, outlet: int) -> None:
    with server(echo) as target, silent() as hangs:
        address = ready(realm, target, outlet)
        shadow = realm.shadow(1, outlet)
        await realm.outcomes(1)
        realm.export(hangs)
        realm.publish(hangs, shares=200 if outlet == DIRECT else 0, patience_ms=9_000)
        with client(address):
            await until_async(lambda: realm.plane.meter_read(realm.meter)[outlet][0].tried == 1)
            for hard in (False, True):
                told = await nudged(realm, outlet, idle_us=0, hard=hard)
                assert (told.nudged, told.open) == (0, 0)
            assert realm.plane.streams() == 2
        shadow.close()


@OUTLETS
async def test_a_hand_over_in_between(realm: PlaneRealm, outlet: int) -> None:
    """How long nothing moved is known to the next process, and what was nudged ends there."""
    ends = Ends()
    go_on = threading.Event()

    def talk(connection: socket.socket) -> None:
        if connection.recv(5) == b"hello":
            connection.sendall(b"hello")
            ends.talk(connection)
            return
        go_on.wait(20)
        connection.sendall(bytes(1 << 20))
        connection.shutdown(socket.SHUT_WR)
        ends.seen.append("said")

    with server(talk) as target, ExitStack() as stack:
        address = ready(realm, target, outlet)
        silent = stack.enter_context(client(address))
        await idle(realm, outlet, 1)
        assert (await nudged(realm, outlet)).nudged == 1
        connection = stack.enter_context(says(address))
        await idle(realm, outlet, 1)
        realm.hand_over()
        told = await nudged(realm, outlet, most=0)
        assert (told.open, told.idle) == (1, 1)
        go_on.set()
        assert await asyncio.to_thread(silent.recv, 1) == b""
        await until_async(lambda: ends.seen == ["said"])
        assert (await nudged(realm, outlet)).nudged == 1
        realm.hand_over()
        assert await asyncio.to_thread(connection.recv, 1) == b""
        await until_async(lambda: realm.plane.streams() == 0)
    assert [event.cause for event in await realm.ends(2)] == ["nudged", "nudged"]


async def test_a_round_that_a_hand_over_meets_is_told_of_before(realm: PlaneRealm) -> None:
    with server(echo) as target, ExitStack() as stack:
        address = ready(realm, target, DIRECT)
        for _ in range(6):
            stack.enter_context(says(address))
        await idle(realm, DIRECT, 6)
        number = realm.plane.streams_nudge(0, DIRECT, idle_us=IDLE_US, most=MANY)
        realm.hand_over()
        rounds = [event for event in realm.told if isinstance(event, events.StreamsNudged) and event.round == number]
        assert [(event.nudged, event.open) for event in rounds] == [(6, 0)]
        await until_async(lambda: realm.plane.streams() == 0)


async def test_rounds_are_bounded_and_each_is_answered(realm: PlaneRealm) -> None:
    realm.publish(None)
    begun = [realm.plane.streams_nudge(0, at % 4, idle_us=0, most=0) for at in range(64)]
    assert begun == list(range(1, 65))
    with pytest.raises(DataPlaneRefused, match="64 rounds"):
        realm.plane.streams_nudge(0, 0, idle_us=0, most=0)
    realm.start()
    await until_async(lambda: len(realm.told) == 64)
    assert [event.round for event in realm.told if isinstance(event, events.StreamsNudged)] == begun
    assert realm.plane.streams_nudge(0, 0, idle_us=0, most=0) == 65
    with pytest.raises(DataPlaneRefused, match="no outlet 4"):
        realm.plane.streams_nudge(0, 4, idle_us=0, most=0)


async def test_thousands_are_looked_at_in_several_turns(tmp_path: Path) -> None:
    """No more than some thousands in one, so that nothing else waits for them."""
    realm = PlaneRealm(tmp_path)
    count = 300
    try:
        with server(echo) as target, ExitStack() as stack:
            address = ready(realm, target, DIRECT)
            for _ in range(count):
                stack.enter_context(says(address))
            await idle(realm, DIRECT, count)
            # Others come and go while rounds are under way.
            for at in range(20):
                realm.plane.streams_nudge(0, DIRECT, idle_us=IDLE_US, most=10)
                with says(address, b"%d" % at):
                    pass
            await until_async(lambda: realm.plane.meter_read(realm.meter)[DIRECT][0].nudged >= 200)
            assert realm.plane.meter_read(realm.meter)[DIRECT][0].nudged == 200
            await until_async(lambda: realm.plane.streams() == count - 200)
            assert (await nudged(realm, DIRECT, most=0)).open == count - 200
    finally:
        realm.stop()
