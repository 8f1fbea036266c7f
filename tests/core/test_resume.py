"""Streams outlive the lane and the path under them: what was sealed is sent again, and nothing arrives twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from pcgrelay._core.face import core as native
from tests.support.cores import CoreRealm
from tests.support.echo_exchange import echo_server, exchange

MIB = 1 << 20


@pytest.fixture
def realm() -> Iterator[CoreRealm]:
    made = CoreRealm()
    yield made
    made.close()


def stalled(event: tuple[object, ...]) -> bool:
    return event[0] == native.EVENT_SESSION_STALLED


def test_streams_go_on_over_another_relay(realm: CoreRealm) -> None:
    a, b = realm.edge(), realm.edge()
    relays = [realm.relay(), realm.relay()]
    near = [realm.link(a, relay) for relay in relays]
    far = [realm.link(relay, b) for relay in relays]
    session = realm.session(a, b, [(relays[0], near[0])], far[0])
    with echo_server() as target:
        address = realm.service(a, b, session, target)
        streams = [threading.Thread(target=exchange, args=(address, 24 * MIB, seed)) for seed in range(4)]
        for stream in streams:
            stream.start()
        at = 0
        for _ in range(6):
            # The relay goes without a word, in the middle of the traffic.
            a.core.link_close(near[at], 0)
            a.wait(stalled)
            a.seen.clear()
            at = 1 - at
            realm.path(session, a, b, [(relays[at], near[at])], far[at])
            a.wait_kind(native.EVENT_SESSION_RESUMED)
            near[1 - at] = realm.link(a, relays[1 - at])
        for stream in streams:
            stream.join(60)
            assert not stream.is_alive()
    assert a.core.counters()["resumes_total"] >= 6
    assert all(node.core.counters()["refused_bad_tag_total"] == 0 for node in (a, b, *relays))


def test_a_lane_that_comes_back_carries_its_flow_on(realm: CoreRealm) -> None:
    a, b = realm.edge(), realm.edge()
    link = realm.link(a, b)
    session = realm.session(a, b, [], link)
    with echo_server() as target:
        address = realm.service(a, b, session, target)
        stream = threading.Thread(target=exchange, args=(address, 32 * MIB, 7))
        stream.start()
        for _ in range(5):
            for node in (a, b):
                node.seen.clear()
            # A new lane of the same index takes the place of the one before, which ends in the middle of a frame.
            realm.lane(a, b, link, 0)
            a.wait_kind(native.EVENT_SESSION_RESUMED)
        stream.join(60)
        assert not stream.is_alive()
    assert a.core.links()[link]["lanes_up"] == b.core.links()[link]["lanes_up"] == 1


def test_without_a_path_streams_wait_and_end_with_their_session(realm: CoreRealm) -> None:
    a, b = realm.edge(), realm.edge()
    link = realm.link(a, b)
    session = realm.session(a, b, [], link)
    with echo_server() as target:
        address = realm.service(a, b, session, target)
        exchange(address, 100, 1)
        a.wait_kind(native.EVENT_STREAM_END)
        a.core.link_close(link, 0)
        a.wait(stalled)
        failed: list[BaseException] = []

        def attempt() -> None:
            try:
                exchange(address, 100, 2)
            except OSError as fault:
                failed.append(fault)

        waits = threading.Thread(target=attempt)
        waits.start()
        a.seen.clear()
        waits.join(0.3)
        assert waits.is_alive()
        a.core.session_close(session, 7)
        end = a.wait_kind(native.EVENT_STREAM_END)
        assert (end[8], end[9]) == (7, "session-lost")
        waits.join(10)
        assert [type(fault) for fault in failed] == [ConnectionResetError]
