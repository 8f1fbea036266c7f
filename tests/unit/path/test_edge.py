"""The ends of paths at an edge, and the labels of paths, message by message, without a socket."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from pcgrelay.clock import SetClock
from pcgrelay.messages import Carry, Code, Message, PathAccept, PathClose, PathOpen, PathRefuse
from pcgrelay.model import NodeId, Role
from pcgrelay.path.edge import EdgePaths, PathRefused
from pcgrelay.path.labels import QUARANTINE_MS, Labels
from tests.support.path_links import LABEL, ME, MIB, OTHER, SESSION, A, B, FakeLink, asked


class Answerer:
    def __init__(self) -> None:
        self.asked: list[tuple[PathOpen, NodeId]] = []

    def path_asked(self, link: Any, asked: PathOpen, source: NodeId) -> None:
        self.asked.append((asked, source))


@pytest.fixture
def answerer() -> Answerer:
    return Answerer()


@pytest.fixture
def paths(answerer: Answerer) -> EdgePaths:
    return EdgePaths(B, Labels(SetClock(datetime(2027, 1, 1, tzinfo=UTC))), answerer)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"via": ()}, "wrong_sender"),
        ({"destination": OTHER.uri}, "not_this_edge"),
        ({"source": "nobody"}, "malformed"),
        ({"source": "spiffe://other.example/org/kent.police.example/node/kent-1"}, "wrong_realm"),
        ({"source": B.uri}, "wrong_realm"),
    ],
)
async def test_what_an_edge_refuses(paths: EdgePaths, answerer: Answerer, changes: dict[str, Any], reason: str) -> None:
    link = FakeLink(1, ME)
    paths.receive(link, asked(**{"via": (ME.uri,), **changes}))  # type: ignore[arg-type]
    (message,) = link.take()
    assert isinstance(message, PathRefuse)
    assert message.reason == reason
    assert answerer.asked == []


async def test_an_edge_believes_no_other_edge_about_others(paths: EdgePaths, answerer: Answerer) -> None:
    link = FakeLink(1, OTHER, peer_role=Role.EDGE)
    paths.receive(link, asked(via=(OTHER.uri,)))  # type: ignore[arg-type]
    (message,) = link.take()
    assert isinstance(message, PathRefuse)
    assert message.reason == "not_a_relay"
    paths.receive(FakeLink(2, A, peer_role=Role.EDGE), asked())  # type: ignore[arg-type]
    assert len(answerer.asked) == 1


async def test_the_relays_of_a_path_are_known_as_far_as_they_are_named(paths: EdgePaths) -> None:
    values = {"marking": 1, "priority": 0, "flows": 2, "cap": 4 * MIB, "resume": False}
    end = paths.open(FakeLink(1, ME), SESSION, A, **values)  # type: ignore[arg-type]
    assert end.relays == (ME.dotted,)
    end.via = (OTHER.uri, ME.uri)
    assert end.relays == (ME.dotted, OTHER.dotted)
    direct = paths.open(FakeLink(2, A, peer_role=Role.EDGE), SESSION, A, **values)  # type: ignore[arg-type]
    assert direct.relays == ()


async def test_an_edge_asks_and_is_answered(paths: EdgePaths) -> None:
    link = FakeLink(1, ME)
    end = paths.open(link, SESSION, A, marking=1, priority=0, flows=2, cap=4 * MIB, resume=False)  # type: ignore[arg-type]
    (sent,) = link.take()
    assert isinstance(sent, PathOpen)
    assert (sent.source, sent.destination, sent.label) == (B.uri, A.uri, end.in_label)
    paths.receive(link, PathAccept(SESSION, 1, MIB, 9))  # type: ignore[arg-type]
    await end.answered
    assert (end.flows, end.cap, end.out_label) == (1, MIB, 9)
    heard: list[bytes] = []
    end.on_carry = heard.append
    paths.receive(link, Carry(SESSION, b"sealed"))  # type: ignore[arg-type]
    assert heard == [b"sealed"]
    paths.carry(end, bytes(40_000))
    assert [len(message.data) for message in link.take() if isinstance(message, Carry)] == [16_384, 16_384, 7_232]
    closed: list[int] = []
    end.on_closed = closed.append
    paths.receive(link, PathClose(SESSION, Code.UNREACHABLE))  # type: ignore[arg-type]
    assert closed == [Code.UNREACHABLE]
    paths.close(end, 0)
    assert link.take() == []


@pytest.mark.parametrize(
    "answer", [PathRefuse(SESSION, 5, "not_a_member", ME.uri), PathClose(SESSION, 6), PathAccept(SESSION, 3, MIB, 9)]
)
async def test_an_edge_is_refused(paths: EdgePaths, answer: Message) -> None:
    link = FakeLink(1, ME)
    end = paths.open(link, SESSION, A, marking=1, priority=0, flows=2, cap=4 * MIB, resume=False)  # type: ignore[arg-type]
    paths.receive(link, answer)  # type: ignore[arg-type]
    with pytest.raises(PathRefused):
        await end.answered
    assert not paths._ends


async def test_late_words_of_an_edges_path_leave_the_newer_one_alone(paths: EdgePaths) -> None:
    link = FakeLink(1, ME)
    first, second = (
        paths.open(link, SESSION, A, marking=1, priority=0, flows=2, cap=4 * MIB, resume=True)  # type: ignore[arg-type]
        for _ in range(2)
    )
    for late in (
        PathAccept(SESSION, 2, MIB, 9, first.in_label),
        PathRefuse(SESSION, Code.BUSY, "no_place", A.uri, first.in_label),
        PathClose(SESSION, Code.UNREACHABLE, first.in_label),
    ):
        paths.receive(link, late)  # type: ignore[arg-type]
    assert second.is_open
    assert not second.answered.done()
    paths.receive(link, PathAccept(SESSION, 2, MIB, 9, second.in_label))  # type: ignore[arg-type]
    await second.answered
    link.take()
    paths.close(second, Code.DONE)
    assert link.take() == [PathClose(SESSION, Code.DONE, second.in_label)]


async def test_the_far_end_of_a_path_knows_it_by_the_label_in_the_request(paths: EdgePaths) -> None:
    link = FakeLink(1, ME)
    ends = []
    for label in (LABEL, LABEL + 1):
        request = asked(label=label, via=(ME.uri,), resume=True)
        ends.append(paths.accept(link, request, A, flows=2, cap=MIB))  # type: ignore[arg-type]
        paths.accept_told(ends[-1])
    assert [message.opened for message in link.take() if isinstance(message, PathAccept)] == [LABEL, LABEL + 1]
    paths.receive(link, PathClose(SESSION, Code.DONE, LABEL))  # type: ignore[arg-type]
    assert [end.is_open for end in ends] == [False, True]
    paths.refuse(link, asked(label=9), Code.BUSY, "no_place")  # type: ignore[arg-type]
    assert [message.opened for message in link.take() if isinstance(message, PathRefuse)] == [9]
    paths.receive(link, PathClose(SESSION, Code.DONE, LABEL + 1))  # type: ignore[arg-type]
    assert not ends[1].is_open


async def test_paths_go_with_their_link(paths: EdgePaths) -> None:
    one, two = FakeLink(1, ME), FakeLink(2, OTHER)
    ends = [
        paths.open(link, SESSION, A, marking=1, priority=0, flows=2, cap=4 * MIB, resume=False)  # type: ignore[arg-type]
        for link in (one, two)
    ]
    paths.link_down(one)  # type: ignore[arg-type]
    assert [end.is_open for end in ends] == [False, True]


async def test_what_is_set_up_goes_with_the_control_connection(paths: EdgePaths) -> None:
    link = FakeLink(1, ME)
    ends = [
        paths.open(link, session, A, marking=1, priority=0, flows=2, cap=4 * MIB, resume=False)  # type: ignore[arg-type]
        for session in (SESSION, bytes(16))
    ]
    ends[0].stands = True
    paths.control_lost(link)  # type: ignore[arg-type]
    assert [end.is_open for end in ends] == [True, False]
    with pytest.raises(PathRefused, match="path_lost"):
        await ends[1].answered


# -- labels -----------------------------------------------------------------------------------------------------------


def test_labels_rest_before_they_are_used_again() -> None:
    clock = SetClock(datetime(2027, 1, 1, tzinfo=UTC))
    labels = Labels(clock, first=0xFFFF_FFFE)
    assert [labels.take() for _ in range(3)] == [0xFFFF_FFFE, 0xFFFF_FFFF, 1]
    labels.give_back(0xFFFF_FFFF)
    again = Labels(clock, first=5)
    taken = again.take()
    again.give_back(taken)
    again._next = 5
    assert again.take() == 6
    clock.advance(QUARANTINE_MS)
    again._next = 5
    assert again.take() == 5
