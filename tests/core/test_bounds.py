"""Streams of a service and descriptors have bounds, for all workers together; what is beyond is refused, and told."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pcgrelay._core.face import core as native
from tests.support.applications import knock, try_open
from tests.support.cores import CoreRealm, Node, carried_out, listen
from tests.support.echo_exchange import echo_server
from tests.support.waiting import until

MOST = 6


@pytest.fixture(params=[1, 2], ids=["one worker", "two workers"])
def workers(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def realm() -> Iterator[CoreRealm]:
    made = CoreRealm()
    yield made
    made.close()


def pair(realm: CoreRealm, workers: int) -> tuple[Node, Node, int]:
    near, far = realm.edge(workers=workers), realm.edge(workers=workers)
    link = realm.link(near, far, lanes=workers)
    return near, far, realm.session(near, far, [], link, flows=workers)


def is_answered(address: tuple[str, int]) -> bool:
    sock = try_open(address)
    if sock is not None:
        sock.close()
    return sock is not None


@pytest.mark.parametrize("at_the_importer", [True, False])
def test_a_service_has_no_more_streams_than_it_may(realm: CoreRealm, workers: int, at_the_importer: bool) -> None:
    near, far, session = pair(realm, workers)
    with echo_server() as target:
        door = realm.service(near, far, session, target)
        if at_the_importer:
            near.core.bounds(imports=[(0, MOST)], exports=[])
        else:
            far.core.bounds(imports=[], exports=[(0, MOST)])
        held = [sock for sock in (try_open(door) for _ in range(3 * MOST)) if sock is not None]
        assert len(held) == MOST
        who = near if at_the_importer else far
        assert who.core.counters()["stream_end_limit_total"] == 2 * MOST
        end = who.wait(lambda event: event[0] == native.EVENT_STREAM_END and event[9] == "limit")
        assert end[8] == (3 if at_the_importer else 2)  # BUSY here; LIMIT to the far edge
        # One goes, one may come.
        held.pop().close()
        until(lambda: all(node.core.streams() == MOST - 1 for node in (near, far)))
        again = try_open(door)
        assert again is not None
        assert try_open(door) is None
        # A bound that is taken away holds no more.
        for node in (near, far):
            node.core.bounds(imports=[(0, 0)], exports=[(0, 0)])
        more = try_open(door)
        assert more is not None
        for sock in (*held, again, more):
            sock.close()


def test_services_that_lead_to_each_other_end_at_their_bound(realm: CoreRealm, workers: int) -> None:
    """One connection makes the next, for ever: it goes round until a service has all its streams, and then all end."""
    near, far, there = pair(realm, workers)
    link = realm.link(far, near, lanes=workers)
    back = realm.session(far, near, [], link, flows=workers)
    doors = [listen(node, 0) for node in (near, far)]
    for node, session, other, name, theirs in (
        (near, there, back, b"a", b"b"),
        (far, back, there, b"b", b"a"),
    ):
        node.core.bounds(imports=[(0, 50)], exports=[(1, 50)])
        node.core.publish(
            exports=[(1, theirs, 1, 0, native.EXPORT_READY, 2_000, [doors[node is far]])],
            imports=[(0, name, 1, 0, native.IMPORT_LIVE, [(session, 2, 100)])],
            grants=[(other, [1])],
        )
    # It is reset once the last of them was refused.
    with suppress(ConnectionError), socket.create_connection(doors[0], timeout=30) as sock:
        assert sock.recv(1) == b""
    assert max(node.core.streams() for node in (near, far)) <= 2 * (50 + workers)
    until(lambda: all(node.core.streams() == 0 for node in (near, far)))
    counted = [node.core.counters() for node in (near, far)]
    assert sum(each["stream_end_limit_total"] for each in counted) >= 1
    assert all(40 <= each["streams_opened_total"] <= 2 * (50 + workers) + 2 for each in counted)


def free_descriptor() -> int:
    number = os.dup(0)
    os.close(number)
    return number


def test_descriptors_are_kept_back(realm: CoreRealm, workers: int) -> None:
    """Streams have those below a number; others wait or are refused, and the process can still open what it needs."""
    near, far, session = pair(realm, workers)
    with echo_server() as target:
        door = realm.service(near, far, session, target)
        first = try_open(door)
        assert first is not None
        # Those of the applications here count too, for they are of this process.
        kept = free_descriptor() + 20
        for node in (near, far):
            node.core.bounds(imports=[], exports=[], descriptors=kept)
        crowd = [knock(door) for _ in range(60)]

        def refused() -> int:
            counters = [node.core.counters() for node in (near, far)]
            return sum(each["accept_failed_total"] + each["stream_end_descriptors_total"] for each in counters)

        until(lambda: refused() >= 1)
        # What runs goes on.
        first.sendall(b"still there")
        assert first.recv(100) == b"still there"
        for sock in crowd:
            sock.close()
        until(lambda: all(node.core.streams() <= 1 for node in (near, far)))
        until(lambda: is_answered(door))
        first.close()


def test_streams_of_each_organisation_are_counted_and_bounded(realm: CoreRealm, workers: int) -> None:
    near, far = realm.edge(workers=workers), realm.edge(workers=workers)
    session = realm.session(near, far, [], realm.link(near, far, lanes=workers), flows=workers, organisation=7)
    with echo_server() as target:
        door = realm.service(near, far, session, target)
        far.core.bounds(imports=[], exports=[(0, 0, 3)])
        held = [sock for sock in (try_open(door) for _ in range(8)) if sock is not None]
        counted = sum(row[4] for row in far.core.export_streams())
        assert len(held) == counted <= 3 + workers
        assert far.core.counters()["stream_end_organisation_limit_total"] == 8 - len(held)
        held.pop().close()
        until(lambda: sum(row[4] for row in far.core.export_streams()) == counted - 1)
        far.core.bounds(imports=[], exports=[(0, 0, 0, 2)])
        answered = [is_answered(door) for _ in range(12)]
        assert answered.count(True) < 12
        assert far.core.counters()["stream_end_rate_limit_total"] > 0
        for sock in held:
            sock.close()
        until(lambda: not far.core.export_streams())


def test_an_organisation_is_bounded_over_all_exports(realm: CoreRealm, workers: int) -> None:
    """What it has of one export counts for another; another organisation is not concerned."""
    near, other, far = (realm.edge(workers=workers) for _ in range(3))
    theirs = {
        who: realm.session(who, far, [], realm.link(who, far, lanes=workers), flows=workers, organisation=number)
        for who, number in ((near, 7), (other, 8))
    }
    names = list(enumerate((b"a", b"b")))
    with echo_server() as target:
        exports = [(number, name, 1, 0, native.EXPORT_READY, 2_000, [target]) for number, name in names]
        far.core.publish(exports=exports, imports=[], grants=[(session, [0, 1]) for session in theirs.values()])
        carried_out(far)
        for who, session in theirs.items():
            imports = [(number, name, 1, 0, native.IMPORT_LIVE, [(session, 2, 100)]) for number, name in names]
            who.core.publish(exports=[], imports=imports, grants=[])
        doors = {(who, name): listen(who, number) for who in theirs for number, name in names}
        far.core.bounds(imports=[], exports=[], organisation=(4, 0))
        held = [sock for sock in (try_open(doors[near, name]) for name in (b"a", b"b") * 5) if sock is not None]
        assert 4 <= len(held) <= 4 + workers
        assert far.core.counters()["stream_end_organisation_limit_total"] == 10 - len(held)
        assert all(is_answered(doors[other, name]) for name in (b"a", b"b"))
        for sock in held:
            sock.close()
        until(lambda: far.core.streams() == 0)
        assert is_answered(doors[near, b"a"])
        # So many in a second, of all exports.
        far.core.bounds(imports=[], exports=[], organisation=(0, 2))
        answered = [is_answered(doors[near, name]) for name in (b"a", b"b") * 6]
        assert answered.count(True) < 12
        assert far.core.counters()["stream_end_rate_limit_total"] > 0
        # No limit holds no more.
        far.core.bounds(imports=[], exports=[])
        assert all(is_answered(doors[near, name]) for name in (b"a", b"b") * 3)


def test_a_stream_that_is_idle_or_old_ends(realm: CoreRealm, workers: int) -> None:
    near, far, session = pair(realm, workers)
    with echo_server() as target:
        door = realm.service(near, far, session, target)
        for who, which, cause in ((near, "imports", "idle"), (far, "exports", "max-duration")):
            row = (0, 0, 0, 0, 1, 0) if cause == "idle" else (0, 0, 0, 0, 0, 1)
            sock = try_open(door)
            assert sock is not None
            # It is open before the limit comes.
            who.core.bounds(**{"imports": [], "exports": [], which: [row]})
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
            sock.close()
            assert who.core.counters()[f"stream_end_{cause.replace('-', '_')}_total"] == 1
            who.core.bounds(**{"imports": [], "exports": [], which: [(0, 0)]})
            kept = try_open(door)
            assert kept is not None
            kept.close()
