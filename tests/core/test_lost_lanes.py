"""Lanes and paths are lost while streams flow: no byte is lost and none comes twice."""

import threading

import pytest

from pcgrelay._core.face import core as native
from tests.support.applications import Across, client, echo, pattern, server
from tests.support.cores import CoreRealm
from tests.support.waiting import until

MEGABYTE = 1 << 20
RESUMES = 60  # how often a flow may resume in a minute


class Flowing:
    """A client that sends and hears back meanwhile, in threads of its own."""

    def __init__(self, address: tuple[str, int], data: bytes) -> None:
        self.data, self.received = data, bytearray()
        self.connection = client(address)
        self.threads = [threading.Thread(target=run, daemon=True) for run in (self._send, self._hear)]
        for thread in self.threads:
            thread.start()

    def _send(self) -> None:
        self.connection.sendall(self.data)
        self.connection.shutdown(1)

    def _hear(self) -> None:
        while data := self.connection.recv(1 << 18):
            self.received += data

    def until_more_came(self) -> None:
        before = len(self.received)
        until(lambda: len(self.received) > before or not self.threads[1].is_alive())

    def is_whole(self) -> bool:
        for thread in self.threads:
            thread.join(30)
        self.connection.close()
        return self.received == self.data


@pytest.mark.parametrize("relays", [0, 1])
@pytest.mark.parametrize("link", [0, -1])
def test_a_lane_is_lost_and_opened_again(relays: int, link: int) -> None:
    with server(echo) as target, Across(relays=relays) as across:
        nodes = [across.near, *across.relays, across.far]
        one, other = (nodes[0], nodes[1]) if link == 0 else (nodes[-2], nodes[-1])
        flowing = Flowing(across.serve(target), pattern(24 * MEGABYTE))
        for _ in range(4):
            # Somewhere in the middle: the next lane replaces the one before, whatever it carries just now.
            across.realm.lane(one, other, across.links[link], 0)
            flowing.until_more_came()
        assert flowing.is_whole()
        assert across.near.core.counters()["resumes_total"] + across.far.core.counters()["resumes_total"] > 0


def test_who_says_nothing_hears_that_the_far_end_of_its_way_is_lost() -> None:
    """It sends no frame that a relay could answer, and what it waits for will never come."""
    over = threading.Event()
    with server(lambda connection: over.wait(20)) as target, Across(relays=1) as across:
        with client(across.serve(target)):
            until(lambda: across.far.core.streams() == 1)
            dropped = across.relays[0].core.counters()["frames_dropped_total"]
            across.relays[0].core.link_close(across.links[-1], 0)
            assert across.near.wait_kind(native.EVENT_SESSION_STALLED)[1] == across.session
            assert across.relays[0].core.counters()["frames_dropped_total"] == dropped
        over.set()


def use_up(across: Across, link: int) -> int:
    """A session that has resumed as often as it may. What gets no answer in time is begun, and counted, again."""
    realm, near, far = across.realm, across.near, across.far
    session = realm.session(near, far, [], link)
    before = near.core.counters()["resumes_total"]
    while near.core.counters()["resumes_total"] - before < RESUMES:
        near.seen.clear()
        realm.path(session, near, far, [], link)
        near.wait(lambda event: event[:2] == (native.EVENT_SESSION_RESUMED, session))
    return session


def test_a_session_that_may_resume_no_more_keeps_no_other_from_its_lane() -> None:
    with Across(relays=0) as across:
        realm, near, far = across.realm, across.near, across.far
        (link,) = across.links
        others = [realm.session(near, far, [], link) for _ in range(4)]
        used_up = [use_up(across, link) for _ in range(4)]
        assert all(each in near.core.sessions() for each in used_up)
        realm.lane(near, far, link, 0)
        for each in used_up:
            assert near.wait(lambda event, each=each: event[:2] == (native.EVENT_SESSION_DOWN, each))  # type: ignore[misc]
        until(lambda: all(node.core.sessions()[each]["flows_up"] == 1 for node in (near, far) for each in others))


def test_a_link_is_closed_and_another_takes_its_place() -> None:
    with server(echo) as target, Across(relays=0) as across:
        flowing = Flowing(across.serve(target), pattern(16 * MEGABYTE))
        until(lambda: across.far.core.counters()["application_received_bytes"] > 100_000)
        across.near.core.link_close(across.links[0], 0)
        across.near.wait_kind(native.EVENT_SESSION_STALLED)
        link = across.realm.link(across.near, across.far)
        across.realm.path(across.session, across.near, across.far, [], link)
        assert flowing.is_whole()
        assert across.near.wait_kind(native.EVENT_SESSION_RESUMED)[1] == across.session


def test_a_second_path_over_another_relay_takes_over() -> None:
    realm = CoreRealm()
    try:
        near, far = realm.edge(), realm.edge()
        relays = [realm.relay(), realm.relay()]
        links = [(realm.link(near, relay), realm.link(relay, far)) for relay in relays]
        session = realm.session(near, far, [(relays[0], links[0][0])], links[0][1])
        with server(echo) as target:
            flowing = Flowing(realm.service(near, far, session, target), pattern(32 * MEGABYTE))
            for turn in range(1, 6):
                at = turn % 2
                realm.path(session, near, far, [(relays[at], links[at][0])], links[at][1])
                flowing.until_more_came()
            assert flowing.is_whole()
        assert relays[1].core.counters()["frames_forwarded_total"] > 0
    finally:
        realm.close()


def test_a_relay_that_stops_is_replaced() -> None:
    realm = CoreRealm()
    try:
        near, far = realm.edge(), realm.edge()
        first, second = realm.relay(), realm.relay()
        links = [(realm.link(near, relay), realm.link(relay, far)) for relay in (first, second)]
        session = realm.session(near, far, [(first, links[0][0])], links[0][1])
        with server(echo) as target:
            flowing = Flowing(realm.service(near, far, session, target), pattern(32 * MEGABYTE))
            until(lambda: far.core.counters()["application_received_bytes"] > 100_000)
            first.core.stop()
            for edge in (near, far):
                edge.wait_kind(native.EVENT_SESSION_STALLED)
            realm.path(session, near, far, [(second, links[1][0])], links[1][1])
            assert flowing.is_whole()
    finally:
        realm.close()


def test_two_flows_on_two_workers_resume_each_by_itself() -> None:
    with server(echo) as target, Across(lanes=2, workers=2) as across:
        address = across.serve(target)
        flowing = [Flowing(address, pattern(8 * MEGABYTE, seed)) for seed in range(4)]
        for index in (0, 1):
            across.realm.lane(across.near, across.relays[0], across.links[0], index)
        assert [each.is_whole() for each in flowing] == [True] * 4
