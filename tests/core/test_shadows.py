"""Shadow connections, which the control plane makes to try an outlet: the end of each set-up is told once."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from pcgrelay._core.face import core as native
from pcgrelay.dataplane import events
from pcgrelay.dataplane.api import DataPlaneRefused
from tests.support.applications import client, echo, reset, server, silent
from tests.support.cores import frozen_record
from tests.support.plane_realm import DIRECT, GATEWAY, PlaneRealm, heard
from tests.support.ports import free_port
from tests.support.waiting import until_async

OUTLETS = pytest.mark.parametrize("outlet", [GATEWAY, DIRECT], ids=["gateway", "direct"])


@pytest.fixture
async def realm(tmp_path: Path) -> AsyncIterator[PlaneRealm]:
    made = PlaneRealm(tmp_path)
    yield made
    made.stop()
    assert not made.failed


@pytest.fixture(name="silent")
def silent_address() -> Iterator[tuple[str, int]]:
    with silent() as address:
        yield address


def closed() -> tuple[str, int]:
    return "127.0.0.1", free_port()


@OUTLETS
async def test_one_that_is_answered_is_told_of(realm: PlaneRealm, outlet: int) -> None:
    with server(echo) as target:
        realm.export(target)
        realm.publish(target)
        realm.start()
        shadow = realm.shadow(77, outlet)
        assert await realm.outcomes(1) == {77: "up"}
        told = realm.setups()[77]
        assert (told.number, told.outlet, told.cause, told.code) == (0, outlet, "done", 0)
        assert 0 < told.elapsed_us < 5_000_000
        assert (told.session != 0) == (outlet == GATEWAY)
        shadow.send(b"hello")
        assert await heard(shadow, 5) == b"hello"
        shadow.close()
        await until_async(lambda: realm.plane.streams() == 0)
        ended = await realm.ends(1)
        assert [(event.shadow, event.cause, event.up) for event in ended] == [(77, "done", True)]
        figures = realm.plane.meter_read(realm.meter)[outlet]
        assert (figures[1].tried, figures[1].up, figures[1].active, figures[0].tried) == (1, 1, 0, 0)


@OUTLETS
async def test_one_that_is_refused(realm: PlaneRealm, outlet: int) -> None:
    realm.export(closed())
    realm.publish(closed())
    realm.start()
    shadow = realm.shadow(1, outlet)
    assert await realm.outcomes(1) == {1: "refused"}
    assert await heard(shadow, 1) == b""
    shadow.close()


@OUTLETS
async def test_one_that_nobody_answers(realm: PlaneRealm, outlet: int, silent: tuple[str, int]) -> None:
    """The outlet's patience is the whole of its time, though it is the last that is tried."""
    realm.export(silent)
    realm.publish(silent, patience_ms=150)
    realm.start()
    shadow = realm.shadow(1, outlet)
    assert await realm.outcomes(1) == {1: "silent"}
    assert 100_000 < realm.setups()[1].elapsed_us < 5_000_000
    shadow.close()


@OUTLETS
@pytest.mark.parametrize("state", [native.IMPORT_DOWN, native.IMPORT_UNCLEARED, native.IMPORT_PENDING])
async def test_one_whose_outlet_is_away(realm: PlaneRealm, outlet: int, state: int) -> None:
    """At once: a shadow waits for a session no longer than the tables say."""
    realm.publish(None, state=state)
    realm.start()
    shadow = realm.shadow(1, outlet)
    assert await realm.outcomes(1) == {1: "away"}
    assert realm.setups()[1].elapsed_us < 5_000_000
    shadow.close()


async def test_one_that_the_exporter_denies(realm: PlaneRealm) -> None:
    realm.export(closed(), granted=False)
    realm.publish(None)
    realm.start()
    shadow = realm.shadow(1, GATEWAY)
    assert await realm.outcomes(1) == {1: "denied"}
    assert realm.setups()[1].session == realm.session
    shadow.close()


@OUTLETS
async def test_one_that_is_closed_before_the_answer(realm: PlaneRealm, outlet: int, silent: tuple[str, int]) -> None:
    realm.export(silent)
    realm.publish(silent, patience_ms=9_000)
    realm.start()
    shadow = realm.shadow(5, outlet)
    await until_async(lambda: realm.plane.meter_read(realm.meter)[outlet][1].tried == 1)
    shadow.close()
    assert await realm.outcomes(1) == {5: "left"}
    await until_async(lambda: realm.plane.streams() == 0)


async def test_what_cannot_begin_is_told_too(realm: PlaneRealm) -> None:
    realm.publish(None, outlets=False)
    realm.start()
    held = [realm.shadow(1, GATEWAY)]
    assert await realm.outcomes(1) == {1: "away"}
    realm.plane.publish(exports=[], imports=[], grants=[])
    held.append(realm.shadow(2, GATEWAY))
    assert await realm.outcomes(2) == {1: "away", 2: "away"}
    realm.publish(None)
    realm.plane.drain()
    held.append(realm.shadow(3, DIRECT))
    assert await realm.outcomes(3) == {1: "away", 2: "away", 3: "local"}
    # No application came, and none ended.
    assert not [event for event in realm.told if isinstance(event, events.StreamEnd)]
    for number in (0, -1):
        ours, theirs = socket.socketpair()
        with pytest.raises((DataPlaneRefused, OverflowError)):
            realm.plane.import_connect(0, theirs.detach(), DIRECT, number)
        held.append(ours)
    for each in held:
        each.close()


async def test_it_takes_no_place_of_an_application(realm: PlaneRealm) -> None:
    with server(echo) as target:
        realm.export(target)
        realm.publish(target, shares=100)
        realm.plane.bounds([(0, 1)], [], 0)
        address = realm.listen()
        realm.start()
        shadows = [realm.shadow(number, number % 2) for number in range(1, 9)]
        assert set((await realm.outcomes(8)).values()) == {"up"}
        assert realm.plane.services()["imports"] == {}
        with client(address) as application:
            application.sendall(b"x")
            assert application.recv(1) == b"x"
            assert realm.plane.services()["imports"] == {0: 1}
            # And its limit is not theirs.
            shadows.append(realm.shadow(9, DIRECT))
            assert (await realm.outcomes(9))[9] == "up"
        for shadow in shadows:
            shadow.close()
        await until_async(lambda: realm.plane.streams() == 0)
        assert realm.plane.services()["imports"] == {}


class Watched:
    """A server that greets, and notes how each connection ended."""

    def __init__(self, greeting: bytes = b"", last: bytes = b"") -> None:
        self.ends: list[str] = []
        self._greeting, self._last = greeting, last
        self._noted = threading.Lock()

    def talk(self, connection: socket.socket) -> None:
        connection.sendall(self._greeting)
        end = "eof"
        try:
            while connection.recv(65_536):
                pass
            connection.sendall(self._last)
        except ConnectionError:
            end = "reset"
        with self._noted:
            self.ends.append(end)


@OUTLETS
@pytest.mark.parametrize("last", [b"", b"bye" * 100_000], ids=["", "last words"])
@pytest.mark.parametrize("reads", [True, False])
async def test_its_end_is_no_reset(realm: PlaneRealm, outlet: int, reads: bool, last: bytes) -> None:
    """Whatever was sent, and whether or not it was read: the target sees the end of a client that goes in order."""
    watched = Watched(b"220 ready\r\n", last)
    with server(watched.talk) as target:
        realm.export(target)
        realm.publish(target)
        realm.start()
        shadow = realm.shadow(1, outlet)
        assert await realm.outcomes(1) == {1: "up"}
        await until_async(lambda: realm.plane.counters()["application_received_bytes"] == 11)
        if reads:
            assert await heard(shadow, 11) == b"220 ready\r\n"
        shadow.close()
        await until_async(lambda: watched.ends == ["eof"])
        await until_async(lambda: realm.plane.streams() == 0)
    [ended] = await realm.ends(1)
    assert (ended.cause, ended.shadow) == ("done", 1)
    figures = realm.plane.meter_read(realm.meter)[outlet][1]
    assert (figures.early, figures.cut, figures.active) == (0, 0, 0)


@OUTLETS
async def test_a_target_that_answers_its_end_with_a_reset_has_not_cut_it(realm: PlaneRealm, outlet: int) -> None:
    def talk(connection: socket.socket) -> None:
        connection.sendall(b"hello")
        connection.recv(1)
        reset(connection)

    with server(talk) as target:
        realm.export(target)
        realm.publish(target)
        realm.start()
        shadow = realm.shadow(1, outlet)
        assert await realm.outcomes(1) == {1: "up"}
        shadow.close()
        await until_async(lambda: realm.plane.streams() == 0)
    figures = realm.plane.meter_read(realm.meter)[outlet][1]
    assert (figures.early, figures.cut) == (0, 0)


@pytest.mark.parametrize("workers", [1, 2])
async def test_hundreds_at_once(tmp_path: Path, workers: int) -> None:
    """Half of them find nobody; each is told of once, by its own number."""
    realm = PlaneRealm(tmp_path, workers=workers)
    try:
        with server(echo) as target:
            realm.export(target)
            realm.publish(closed())
            realm.start()
            shadows = [realm.shadow(number, number % 2) for number in range(1, 601)]
            outcomes = await realm.outcomes(600)
            assert outcomes == {number: ("up", "refused")[number % 2] for number in range(1, 601)}
            figures = [shadow for _, shadow in realm.plane.meter_read(realm.meter)]
            assert [each.tried for each in figures] == [300, 300]
            assert [each.up for each in figures] == [300, 0]
            for shadow in shadows:
                shadow.close()
            await until_async(lambda: realm.plane.streams() == 0)
        assert not realm.failed
    finally:
        realm.stop()


@OUTLETS
async def test_a_hand_over_in_between(realm: PlaneRealm, outlet: int, silent: tuple[str, int]) -> None:
    """Those that are up stay so and end in order; those that wait are told of by the process that comes after."""
    watched = Watched(b"220 ready\r\n")
    with server(watched.talk) as target:
        realm.export(target)
        realm.publish(target)
        realm.start()
        up = [realm.shadow(number, outlet) for number in (1, 2)]
        await realm.outcomes(2)
        await until_async(lambda: realm.plane.counters()["application_received_bytes"] == 22)
        realm.export(silent)
        realm.publish(silent, patience_ms=600)
        waiting = realm.shadow(3, outlet)
        await until_async(lambda: realm.plane.meter_read(realm.meter)[outlet][1].tried == 3)
        realm.hand_over()
        up[0].close()
        await until_async(lambda: watched.ends == ["eof"])
        assert await realm.outcomes(3) == {1: "up", 2: "up", 3: "silent"}
        realm.hand_over()
        assert realm.plane.services()["imports"] == {}
        up[1].close()
        await until_async(lambda: watched.ends == ["eof", "eof"])
        await until_async(lambda: realm.plane.streams() == 0)
        waiting.close()
    assert {event.shadow for event in await realm.ends(3)} == {1, 2, 3}


@OUTLETS
async def test_an_end_that_a_hand_over_interrupts(realm: PlaneRealm, outlet: int) -> None:
    """It was closed with words unread, and the target takes its time to end."""
    left, go_on = threading.Event(), threading.Event()
    ends: list[str] = []

    def talk(connection: socket.socket) -> None:
        connection.sendall(b"hello")
        assert connection.recv(1) == b""
        left.set()
        go_on.wait(20)
        connection.sendall(b"bye" * 100_000)
        connection.shutdown(socket.SHUT_WR)
        ends.append("in order")

    with server(talk) as target:
        realm.export(target)
        realm.publish(target)
        realm.start()
        shadow = realm.shadow(1, outlet)
        await realm.outcomes(1)
        await until_async(lambda: realm.plane.counters()["application_received_bytes"] == 5)
        shadow.close()
        await until_async(left.is_set)
        realm.hand_over()
        go_on.set()
        await until_async(lambda: realm.plane.streams() == 0)
        assert ends == ["in order"]
    [ended] = await realm.ends(1)
    assert (ended.cause, ended.shadow) == ("done", 1)


async def test_an_older_process_says_only_that_it_is_one(realm: PlaneRealm, silent: tuple[str, int]) -> None:
    """It wrote a truth value into the place of the number."""
    number = 0x5EAD0001
    realm.publish(silent, patience_ms=9_000)
    realm.start()
    shadow = realm.shadow(number, DIRECT)
    await until_async(lambda: realm.plane.meter_read(realm.meter)[DIRECT][1].tried == 1)
    record, fds = frozen_record(realm.near)
    tag = struct.pack("<HI", 13, 4)
    assert bytes(record).count(tag + struct.pack("<I", number)) == 1
    older = bytes(record).replace(tag + struct.pack("<I", number), tag + struct.pack("<I", 1))
    other = native.Core(workers=1, memory_bytes=64 << 20, role=native.ROLE_EDGE)
    assert other.handover_read(bytearray(older), fds) == []
    again = bytearray(other.handover_size())
    for fd in other.handover_write(again):
        os.close(fd)
    assert tag + struct.pack("<I", 1) in bytes(again)
    other.abandon()
    shadow.close()


def test_a_stream_that_is_broken_in_no_known_way_is_refused(tmp_path: Path) -> None:
    """The state of a connection is one of four; no worker leaves another."""
    in_order, unknown = struct.pack("<HIB", 33, 1, 0), struct.pack("<HIB", 33, 1, 4)
    with server(echo) as target:
        realm = PlaneRealm(tmp_path)
        try:
            realm.publish(target, shares=200)
            with client(realm.listen()) as connection:
                connection.sendall(b"x")
                assert connection.recv(1) == b"x"
                record, fds = frozen_record(realm.near)
                other = native.Core(workers=1, memory_bytes=64 << 20, role=native.ROLE_EDGE)
                with pytest.raises(native.CoreError, match="bad-field"):
                    other.handover_read(bytearray(bytes(record).replace(in_order, unknown)), fds)
                other.abandon()
                for fd in fds:
                    with contextlib.suppress(OSError):
                        os.close(fd)
        finally:
            realm.stop()
