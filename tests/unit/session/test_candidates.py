"""Paths that somebody opens for a session that has one: in the initiator's name, knowing no more than the id."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pcgrelay.clock import SetClock
from pcgrelay.dataplane.api import DataPlaneRefused
from pcgrelay.link.link import Link
from pcgrelay.messages import Carry, Code, PathAccept, PathClose, PathOpen, PathRefuse
from pcgrelay.model import NodeId
from pcgrelay.path.edge import EdgePaths, PathEnd
from pcgrelay.path.labels import Labels
from pcgrelay.session import candidates as module
from pcgrelay.session.candidates import CANDIDATES_MOST, Candidates, first_to_go
from pcgrelay.session.recovery import PathRecovery
from pcgrelay.session.session import Key, Session, State
from tests.support import fake_core
from tests.support.nodes_in_process import MET, Nodes, Running, is_live, link_to, two_ways
from tests.support.path_links import LABEL, ME, MIB, OTHER, SESSION, A, B, FakeLink, asked
from tests.support.waiting import until_async as until


@dataclass
class Responder:
    """An edge with one session that A began over the first of two links; what the core and the recovery are asked."""

    known: dict[int, tuple[int, int]] = field(default_factory=dict)  # candidates of the core: (link, out_label)
    taken: list[PathEnd] = field(default_factory=list)
    counted: list[str] = field(default_factory=list)
    refuses: bool = False

    def __post_init__(self) -> None:
        self.links = [FakeLink(number, ME) for number in (1, 2, 3)]
        self.paths = EdgePaths(B, Labels(SetClock(datetime(2027, 1, 1, tzinfo=UTC))), self)
        self.candidates = Candidates(self, self, self.take)  # type: ignore[arg-type]
        self.candidates.paths = self.paths
        self.session = Session(SESSION, Key(A, 1), False, 0, state=State.UP, number=7, flows=2, cap=MIB)
        first = asked(label=LABEL, via=(ME.uri,))
        self.session.path = self.paths.accept(self.links[0], first, A, flows=2, cap=MIB)  # type: ignore[arg-type]
        self.session.path.stands = True

    def ask(self, link: int, label: int, **changes: Any) -> PathAccept | PathRefuse:
        """The answer to a request."""
        self.paths.receive(
            self.links[link],  # type: ignore[arg-type]
            asked(**{"label": label, "resume": True, "via": (ME.uri,), "cap": MIB, **changes}),
        )
        (answer,) = [m for m in self.links[link].said if isinstance(m, PathAccept | PathRefuse) and m.opened == label]
        return answer

    def closed(self, link: int) -> list[int]:
        """Labels of the paths that a neighbour was told the end of."""
        return [message.opened for message in self.links[link].said if isinstance(message, PathClose)]

    # -- what it asks of others

    def path_asked(self, link: Link, asked: PathOpen, source: NodeId) -> None:
        self.candidates.asked(self.session if asked.session == SESSION else None, link, asked, source)

    def session_candidate(self, session: int, *, link: int, in_label: int, out_label: int) -> None:
        if self.refuses:
            raise DataPlaneRefused("no")
        assert session == 7
        assert len(self.known) < CANDIDATES_MOST
        self.known[in_label] = (link, out_label)

    def session_candidate_drop(self, session: int, in_label: int) -> None:
        del self.known[in_label]

    def take(self, session: Session, end: PathEnd) -> None:
        self.taken.append(end)
        session.former, session.path = session.path, end

    def count(self, reason: str) -> None:
        self.counted.append(reason)


@pytest.fixture
async def responder() -> Responder:
    return Responder()


@pytest.mark.parametrize("link", [0, 1], ids=["same link", "other link"])
async def test_an_outsider_that_asks_again_and_again_moves_nothing(responder: Responder, link: int) -> None:
    standing = responder.session.path
    for label in range(1_000, 1_200):
        answer = responder.ask(link, label)
        assert isinstance(answer, PathAccept)
        assert len(responder.session.candidates) == len(responder.known) <= CANDIDATES_MOST
    assert responder.session.path is standing
    assert standing is not None
    assert standing.is_open
    assert not responder.taken
    # The oldest goes first.
    assert responder.closed(link) == list(range(1_000, 1_196))
    assert responder.counted == ["candidate_displaced"] * 196


async def test_who_came_another_way_is_not_displaced(responder: Responder) -> None:
    responder.ask(1, 10)
    for label in range(1_000, 1_100):
        responder.ask(2, label)
    assert responder.closed(1) == []
    assert [end.out_label for end in responder.session.candidates] == [10, 1_097, 1_098, 1_099]
    # Behind one neighbour alike, as far as that tells the truth.
    for label in range(2_000, 2_100):
        responder.ask(1, label, via=(OTHER.uri, ME.uri))
    assert 10 in [end.out_label for end in responder.session.candidates]


@pytest.mark.parametrize(
    ("ways", "comes", "goes"),
    [
        ("a a a a", "a", 0),
        ("a b b b", "b", 1),
        ("a b b b", "a", 1),
        ("a b c d", "e", 0),
        ("a b c d", "c", 2),
        ("a/x a/y a/y b", "a/y", 1),
        ("a/x a/y a/z b", "a/w", 0),
        ("a b b a/x", "a/x", 3),
        ("b a/x a a", "b", 2),
        ("a/x/1 a/x/2 a/x/2 a/y", "c", 1),
    ],
)
async def test_who_is_displaced(ways: str, comes: str, goes: int) -> None:
    ends = []
    new, *new_via = comes.split("/")
    for way in ways.split():
        number, *via = way.split("/")
        end = PathEnd(FakeLink(ord(number), ME), SESSION, A, 1, 1, MIB, 1, 0, False)  # type: ignore[arg-type]
        end.via = tuple(reversed(via))
        ends.append(end)
    assert ends.index(first_to_go(ends, (str(ord(new)), *new_via))) == goes


@pytest.mark.parametrize(
    ("changes", "code", "reason"),
    [
        ({"session": bytes(16)}, Code.UNKNOWN, "unknown_session"),
        ({"source": OTHER.uri}, Code.UNKNOWN, "unknown_session"),
        ({"marking": 2}, Code.VIOLATION, "wrong_class"),
        ({"priority": 1}, Code.VIOLATION, "wrong_class"),
        ({"flows": 1}, Code.LIMIT, "path_too_small"),
        ({"cap": MIB - 1}, Code.LIMIT, "path_too_small"),
    ],
)
async def test_what_is_no_candidate(responder: Responder, changes: dict[str, Any], code: int, reason: str) -> None:
    answer = responder.ask(1, 9, **changes)
    assert isinstance(answer, PathRefuse)
    assert (answer.code, answer.reason) == (code, reason)
    assert not responder.known


async def test_a_label_that_was_given_already_is_none_for_another_path(responder: Responder) -> None:
    responder.links[0].take()
    answer = responder.ask(0, LABEL)
    assert isinstance(answer, PathRefuse)
    assert (answer.code, answer.reason) == (Code.VIOLATION, "label_taken")
    assert responder.session.path is not None
    assert responder.session.path.is_open


async def test_a_core_without_a_place_leaves_nothing_behind(responder: Responder) -> None:
    responder.refuses = True
    answer = responder.ask(1, 9)
    assert isinstance(answer, PathRefuse)
    assert answer.reason == "no_place"
    assert responder.paths.count_over(responder.links[1]) == 0  # type: ignore[arg-type]
    assert not responder.session.candidates


async def test_a_candidate_that_nobody_speaks_over_has_its_time(
    responder: Responder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CANDIDATE_S", 0.01)
    responder.ask(1, 9)
    await until(lambda: not responder.session.candidates)
    assert responder.closed(1) == [9]
    assert not responder.known
    assert responder.counted == ["candidate_expired"]


async def test_the_candidate_over_which_the_far_edge_speaks_is_the_path(
    responder: Responder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CANDIDATE_S", 0.01)
    for link, label in ((1, 9), (2, 8)):
        responder.ask(link, label)
    end = responder.session.candidates[1]
    responder.candidates.moved(responder.session, end.in_label)
    responder.candidates.moved(responder.session, end.in_label)
    responder.candidates.moved(responder.session, 12_345)
    assert responder.taken == [end]
    await until(lambda: not responder.session.candidates)
    assert responder.closed(2) == []


async def test_a_worker_that_reports_an_earlier_move_late_leads_nobody_back(responder: Responder) -> None:
    """The far edge came over one, lost it, and came over the next; each worker reports what it saw."""
    for link, label in ((1, 9), (2, 8)):
        responder.ask(link, label)
    earlier, later = responder.session.candidates
    responder.candidates.moved(responder.session, later.in_label)
    responder.candidates.moved(responder.session, earlier.in_label)
    assert responder.taken == [later]
    assert responder.session.path is later
    assert responder.closed(1) == [9]
    assert earlier.in_label not in responder.known


async def test_no_worker_keeps_a_place_for_a_path_that_was_left(responder: Responder) -> None:
    told: list[tuple[int, int]] = []

    class Core:
        def session_path(self, session: int, *, in_label: int, instead: int, **_: int) -> None:
            told.append((in_label, instead))

        def session_candidate_drop(self, session: int, in_label: int) -> None:
            told.append((0, in_label))

    recovery = PathRecovery(responder, Core(), *[None] * 5)  # type: ignore[arg-type]
    for link, label in ((1, 9), (2, 8)):
        responder.ask(link, label)
    first, second = responder.session.candidates
    responder.session.led = LABEL
    recovery.lead(responder.session, first)
    recovery.lead(responder.session, second)
    assert told == [
        (first.in_label, LABEL),
        (0, LABEL),
        (second.in_label, first.in_label),
        (0, first.in_label),
    ]


async def test_words_without_a_label_mean_the_path_that_stands(responder: Responder) -> None:
    """Those of an older neighbour, and what is carried."""
    responder.ask(0, 9)
    heard: list[bytes] = []
    assert responder.session.path is not None
    responder.session.path.on_carry = heard.append
    responder.paths.receive(responder.links[0], Carry(SESSION, b"sealed"))  # type: ignore[arg-type]
    assert heard == [b"sealed"]
    responder.paths.receive(responder.links[0], PathClose(SESSION, Code.DONE))  # type: ignore[arg-type]
    assert not responder.session.path.is_open
    responder.paths.receive(responder.links[0], PathClose(SESSION, Code.DONE))  # type: ignore[arg-type]
    assert [end.is_open for end in responder.session.candidates] == [True]
    responder.paths.receive(responder.links[0], PathClose(SESSION, Code.DONE, 9))  # type: ignore[arg-type]
    assert not responder.session.candidates
    assert not responder.known


@pytest.mark.parametrize("how", ["link", "session"])
async def test_candidates_go_with_their_link_and_their_session(responder: Responder, how: str) -> None:
    responder.ask(1, 9)
    responder.paths.control_lost(responder.links[1])  # type: ignore[arg-type]
    assert len(responder.session.candidates) == 1
    if how == "link":
        responder.paths.link_down(responder.links[1])  # type: ignore[arg-type]
        assert not responder.known
    else:
        responder.candidates.forget(responder.session, Code.DONE)
        assert responder.closed(1) == [9]
    assert not responder.session.candidates


# -- whole nodes ------------------------------------------------------------------------------------------------------


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    nodes = Nodes(tmp_path)
    yield nodes
    await nodes.stop()


def request(met: Running, kent: Running, label: int) -> PathOpen:
    """What somebody says who knows the session and is not its initiator's way."""
    (session,) = met.edge.sessions
    return PathOpen(
        session=session.id,
        source=met.node.config.node.id.uri,
        destination=kent.node.config.node.id.uri,
        marking=1,
        priority=0,
        flows=session.flows,
        cap=session.cap,
        label=label,
        resume=True,
        via=(),
    )


async def test_a_session_stays_where_its_initiator_leads_it(nodes: Nodes) -> None:
    _, kent, met = await two_ways(nodes)
    (via,) = met.sessions_up()
    (far,) = kent.edge.sessions
    other = next(link for link in met.node.link_table.links.values() if link.peer.dotted != via)
    for label in range(9_000, 9_100):
        other.send(request(met, kent, label))
    await until(lambda: kent.edge.sessions.refused.get("candidate_displaced", 0) >= 50)
    assert met.sessions_up() == kent.sessions_up() == [via]
    assert not [line for running in (met, kent) for line in running.lines("session.stalled")]
    assert far.path is not None
    assert not met.lines("session.down")


async def test_a_session_finds_its_way_while_somebody_asks_all_the_time(nodes: Nodes) -> None:
    made, kent, met = await two_ways(nodes)
    (via,) = met.sessions_up()
    other = next(link for link in met.node.link_table.links.values() if link.peer.dotted != via)

    async def attack() -> None:
        label = 9_000
        while True:
            other.send(request(met, kent, label))
            label += 1
            await asyncio.sleep(0.01)

    attacker = asyncio.create_task(attack())
    await until(lambda: any(session.candidates for session in kent.edge.sessions))
    used = next(relay for relay, _ in made if relay.node.config.node.id.dotted == via)
    await used.kill()
    await until(lambda: met.lines("session.resumed") and kent.lines("session.resumed"))
    await until(lambda: is_live(met) and met.sessions_up() == kent.sessions_up() != [via])
    attacker.cancel()
    assert met.lines("session.resumed")[0]["pause_ms"] < 10_000
    assert not met.lines("session.down")


async def test_a_moved_session_leaves_its_old_path_once_all_flows_have_resumed(nodes: Nodes) -> None:
    made, kent, met = await two_ways(nodes)
    (session,) = met.edge.sessions
    via = session.via
    met.edge.sessions._recovery.mend(session)
    await until(lambda: met.sessions_up() not in ([], [via]) and kent.sessions_up() == met.sessions_up())
    await until(lambda: all(s.former is None for running in (met, kent) for s in running.edge.sessions))
    await until(lambda: sum(len(relay.relay.paths) for relay, _ in made) == 1)
    # Nothing was stalled for the way that stood.
    assert not [line for running in (met, kent) for line in running.lines("session.stalled")]


async def test_a_relay_that_speaks_in_the_far_edges_name_ends_no_session(nodes: Nodes) -> None:
    """It says UNKNOWN when the session comes its way; there is another one."""
    made, kent, met = await two_ways(nodes)
    (session,) = met.edge.sessions
    via = session.via
    other = next(link.peer.dotted for link in met.node.link_table.links.values() if link.peer.dotted != via)
    liar = next(relay for relay, _ in made if relay.node.config.node.id.dotted == other)

    def lies(link: Link, asked: PathOpen) -> None:
        by = kent.node.config.node.id.uri
        link.send(PathRefuse(asked.session, Code.UNKNOWN, "unknown_session", by, asked.label))

    liar.relay.paths._asked = lies  # type: ignore[method-assign]
    kent.core.emit(
        fake_core.EVENT_SESSION_STALLED, next(iter(kent.edge.sessions)).number, 0, Code.UNREACHABLE,
        next(iter(kent.edge.sessions)).path.in_label,  # type: ignore[union-attr]
    )  # fmt: skip
    await until(lambda: met.lines("session.resumed"))
    assert [each.id for each in met.edge.sessions] == [session.id]
    assert met.sessions_up() == [via]
    assert link_to(met, via).usable
    assert not met.lines("session.down")
    assert MET
