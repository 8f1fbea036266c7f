"""OPENs that end unanswered have a budget for each peer organisation; what is beyond it costs next to nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pcgrelay._core.face import core as native
from tests.reference.records import Kind, Record, record_open, record_reset, records_encode
from tests.support.applications import client, echo, is_turned_away, server
from tests.support.cores import CoreRealm
from tests.support.reference_peer import SESSION, Peer
from tests.support.waiting import until

LIMIT, UNKNOWN, REFUSED, UNREACHABLE, ABORTED = 2, 4, 5, 6, 8
STREAM_END, SESSION_DOWN = 9, 4
AT_ONCE = 1_000
EACH_S = 0.01
BEYOND = 20_000


def codes(peer: Peer) -> list[int]:
    """The codes of RESETs that came since the last look."""
    found = [record.number("code") for record in peer.records() if record.kind is Kind.RESET]
    peer.arrivals.clear()
    return found


class Opener:
    """A member whose organisation is known, and which keeps no table of what it opens."""

    def __init__(self) -> None:
        self.peer = Peer(start=False, organisation=7)
        self.peer.confirm()
        self.peer.end.flow.start()
        self.peer.settle()
        self.peer.be_blind()
        self.peer.edge.publish([(0, b"s"), (1, b"t")], [], [(SESSION, 0), (SESSION, 1)])
        self.next_id = 1

    def send(self, count: int, make: Callable[[int], list[Record]]) -> list[int]:
        records: list[Record] = []
        for _ in range(count):
            records += make(self.next_id)
            self.next_id += 2
        for at in range(0, len(records), 1_000):
            self.peer.send_body(records_encode(records[at : at + 1_000]))
            self.peer.end.flow.send_ack()
            self.peer.settle()
        return codes(self.peer)

    def ends(self) -> int:
        return sum(event[0] == STREAM_END for event in self.peer.edge.events())


def opened(service: str) -> Callable[[int], list[Record]]:
    return lambda stream: [record_open(stream, service, 1 << 20)]


def opened_and_reset(service: str) -> Callable[[int], list[Record]]:
    return lambda stream: [record_open(stream, service, 1 << 20), record_reset(stream, ABORTED)]


@pytest.mark.parametrize(("service", "granted", "code"), [("other", True, UNKNOWN), ("s", False, REFUSED)])
def test_refusals_beyond_the_budget_are_told_limit_and_nobody_else(service: str, granted: bool, code: int) -> None:
    opener = Opener()
    if not granted:
        opener.peer.edge.publish([(0, b"s"), (1, b"t")], [], [(SESSION, 1)])
    assert opener.send(AT_ONCE, opened(service)) == [code] * AT_ONCE
    opener.ends()
    assert opener.send(500, opened(service)) == [LIMIT] * 500
    assert opener.ends() == 0
    assert opener.peer.edge.refused()["UNANSWERED_OPENS"] == 500
    # What may be opened is served as ever, and what is refused has its budget again bit by bit.
    assert opener.send(50, opened("t")) == []
    opener.peer.wait(5 * EACH_S)
    assert sorted(opener.send(6, opened(service))) == [LIMIT] + [code] * 5


def test_a_rapid_reset_is_bounded_for_its_service_alone() -> None:
    opener = Opener()
    opener.peer.edge.connects = False
    assert opener.send(AT_ONCE, opened_and_reset("s")) == []
    tried = len(opener.peer.edge.answered)
    assert opener.send(2_000, opened_and_reset("s")) == [LIMIT] * 2_000
    assert len(opener.peer.edge.answered) == tried
    opener.peer.edge.connects = True
    assert opener.send(10, opened("t")) == []
    opener.peer.wait(EACH_S)
    assert opener.send(1, opened("s")) == []


def test_a_target_that_is_down_is_bounded_and_back_at_once() -> None:
    opener = Opener()
    opener.peer.edge.refuses = True
    found = []
    for _ in range(30):
        found += opener.send(50, opened("s"))
    assert found == [UNREACHABLE] * AT_ONCE + [LIMIT] * 500
    opener.peer.edge.refuses = False
    opener.peer.wait(2 * EACH_S)
    # What is answered takes nothing of the budget.
    assert opener.send(200, opened("s")) == []


def test_streams_that_were_answered_are_free() -> None:
    opener = Opener()
    for _ in range(3 * AT_ONCE // 50):
        assert opener.send(50, opened("s")) == []
        opener.peer.send_body(records_encode([record_reset(opener.next_id - 2 * n, ABORTED) for n in range(1, 51)]))
    assert "UNANSWERED_OPENS" not in opener.peer.edge.refused()


def test_who_goes_on_all_the_same_loses_the_session() -> None:
    opener = Opener()
    opener.send(AT_ONCE + BEYOND, opened("other"))
    assert opener.peer.edge.has_session(SESSION)
    opener.send(2, opened("other"))
    assert not opener.peer.edge.has_session(SESSION)
    downs = [event for event in opener.peer.edge.events() if event[0] == SESSION_DOWN]
    assert [(event[2], event[3]) for event in downs] == [(LIMIT, 32)]


# -- shared by sessions and workers -----------------------------------------------------------------------------------


@pytest.fixture
def realm() -> Iterator[CoreRealm]:
    made = CoreRealm()
    yield made
    made.close()


def over_budget(realm: CoreRealm, organisations: tuple[int, int]) -> int:
    """Two sessions of two workers each have 600 OPENs refused; answer how many were beyond the budget."""
    near, far = realm.edge(workers=2), realm.edge(workers=2)
    link = realm.link(near, far, lanes=2)
    sessions = [realm.session(near, far, [], link, flows=2, organisation=number) for number in organisations]
    for session in sessions:
        address = realm.service(near, far, session, ("127.0.0.1", 9))
        far.core.publish(exports=[(0, b"echo", 1, 0, native.EXPORT_READY, 2000, [])], imports=[], grants=[])
        before = far.core.counters()["streams_refused_total"]
        for _ in range(600):
            assert is_turned_away(address)
        until(lambda before=before: far.core.counters()["streams_refused_total"] >= before + 600)
        near.core.import_unlisten(0)
    return int(far.core.counters()["refused_unanswered_opens_total"])


def test_all_sessions_of_an_organisation_share_one(realm: CoreRealm) -> None:
    # Some came back meanwhile: one each 10 ms.
    assert over_budget(realm, (5, 5)) > 0


def test_each_organisation_has_its_own(realm: CoreRealm) -> None:
    assert over_budget(realm, (5, 6)) == 0


def test_a_neighbour_keeps_its_service(realm: CoreRealm) -> None:
    near, far = realm.edge(), realm.edge()
    link = realm.link(near, far)
    bad, good = (realm.session(near, far, [], link, organisation=number) for number in (5, 6))
    address = realm.service(near, far, bad, ("127.0.0.1", 9))
    far.core.publish(exports=[(0, b"echo", 1, 0, native.EXPORT_READY, 2000, [])], imports=[], grants=[])
    for _ in range(AT_ONCE + 300):
        assert is_turned_away(address)
    near.core.import_unlisten(0)
    with server(echo) as target, client(realm.service(near, far, good, target)) as connection:
        connection.sendall(b"here")
        assert connection.recv(4) == b"here"
