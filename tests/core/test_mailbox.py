"""Events of the core when nobody takes them for a while: a peer can cause any number, and none that lasts is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from pcgrelay._core.face import core as native
from tests.native.probe import LinkKeys
from tests.native.probe_store import Outbox
from tests.reference.ends import End
from tests.reference.frames import Type, body_encode
from tests.reference.records import record_open, records_encode
from tests.support.applications import PATIENCE
from tests.support.cores import CoreRealm, Node, tcp_pair
from tests.support.reference_peer import GIVEN
from tests.support.waiting import until

LINK, SESSION = 9, 5
RING, AT_ONCE = 32_768, 2_500  # events that wait at most; OPENs of one frame


class Flooder:
    """The far side of an edge's only link and session: it speaks the protocol, and far too much."""

    def __init__(self, node: Node) -> None:
        self.node, self.end = node, End(GIVEN, is_initiator=True)
        node.core.link_add(
            LINK,
            secret=bytearray(GIVEN.link_secret),
            binding=GIVEN.link_binding,
            suite=GIVEN.suite,
            dialler=False,
            lanes=1,
            link_id=bytes(16),
        )
        node.core.session_add(
            SESSION,
            secret=bytearray(GIVEN.session_secret),
            binding=GIVEN.session_binding,
            suite=GIVEN.suite,
            initiator=False,
            flows=1,
            cap=8 << 20,
            marking=1,
            priority=0,
        )
        node.core.session_path(SESSION, link=LINK, in_label=GIVEN.responder_label, out_label=GIVEN.initiator_label)
        self.socket, far = tcp_pair()
        number, preamble = LinkKeys(GIVEN.link_secret, bytes(16), 1).dial(0)
        assert node.core.lane_check(LINK, preamble) == (0, number)
        far.setblocking(False)
        node.core.lane_add(LINK, 0, number, far.detach())
        self.socket.settimeout(PATIENCE)
        self.end.lane.confirm()
        self.say()
        while self.end.lane.state.name != "UP":
            self.hear()
        self.end.flow.start()
        while not self.end.is_up:
            self.say()
            self.hear()
        node.wait_kind(native.EVENT_SESSION_UP)
        self.streams = 0

    def say(self) -> None:
        for wire in self.end.take_out():
            self.socket.sendall(wire)

    def hear(self) -> None:
        self.end.receive(self.socket.recv(65_536))

    def open_streams(self) -> None:
        """As many OPENs as one frame takes, for a service that there is not."""
        opens = [record_open(self.streams + 2 * at + 1, "n", 65_536) for at in range(AT_ONCE)]
        self.streams += 2 * AT_ONCE
        self.end.flow.send_bundle(records_encode(opens))
        self.say()


@pytest.fixture
def flooder() -> Iterator[Flooder]:
    realm = CoreRealm()
    made = Flooder(realm.edge())
    yield made
    made.socket.close()
    realm.close()


def all_events(node: Node) -> list[tuple[object, ...]]:
    fresh = node.poll()
    taken = list(fresh)
    while fresh:
        fresh = node.poll()
        taken += fresh
    return taken


def test_ends_of_streams_leave_room_for_what_lasts(flooder: Flooder) -> None:
    node = flooder.node
    while flooder.streams < 2 * (RING + 2 * AT_ONCE):
        flooder.open_streams()
    until(lambda: node.core.counters()["streams_closed_total"] == flooder.streams // 2)
    flooder.socket.close()
    until(lambda: node.core.counters()["lanes_closed_total"] == 1)
    events = all_events(node)
    kinds = Counter(event[0] for event in events)
    assert kinds[native.EVENT_STREAM_END] == RING
    assert (kinds[native.EVENT_SESSION_STALLED], kinds[native.EVENT_LANE_DOWN]) == (1, 1)
    (lost,) = [event for event in events if event[0] == native.EVENT_EVENTS_LOST]
    assert lost == (native.EVENT_EVENTS_LOST, flooder.streams // 2 - RING, 0)


def test_a_neighbour_that_says_again_and_again_that_it_drains_is_told_of_once(flooder: Flooder) -> None:
    node = flooder.node
    for milliseconds in range(100):
        flooder.end.lane.send(Type.DRAIN, body_encode(Type.DRAIN, milliseconds=milliseconds))
    flooder.say()
    flooder.socket.close()
    node.wait_kind(native.EVENT_LANE_DOWN)
    assert [event for event in node.seen if event[0] == native.EVENT_PEER_DRAINS] == [
        (native.EVENT_PEER_DRAINS, LINK, 0)
    ]


def test_what_is_taken_soon_uses_the_beginning_of_the_ring_again() -> None:
    """The whole ring is megabytes, and the system gives a page of it when it is touched."""
    box = Outbox()
    for code in range(0, 300, 3):
        assert box.put(code)
        assert not box.put(code + 1)
        assert not box.put(code + 2)
        assert box.drain(1) == [code]
        assert box.place <= 3
        assert box.drain(64) == [code + 1, code + 2]
    assert box.drain(64) == []
