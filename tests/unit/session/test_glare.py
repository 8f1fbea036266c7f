"""Two edges begin a session of one class with each other at the same time, and one session results."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from pcgrelay.link.link import Link
from pcgrelay.messages import Carry, PathOpen
from pcgrelay.model import NodeId, Suite
from pcgrelay.path.relay_path import RelayPath
from pcgrelay.session.pending import GLARE, glare_refusal
from pcgrelay.session.session import Key, Session, State
from tests.support.nodes_in_process import KENT, MET, Nodes, Running, dial, export, relays
from tests.support.ports import free_port
from tests.support.waiting import until_async as until

LESSER = NodeId("police.example", KENT, "kent-1")
GREATER = NodeId("police.example", MET, "met-1")
SHORT = {"members": ["*"], "handshake_deadline_ms": 6_000}


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    nodes = Nodes(tmp_path)
    yield nodes
    await nodes.stop()


def begun(edge: NodeId, *, initiator: bool, began_ms: int, keyed_ms: int = 0, marking: int = 1) -> Session:
    """A session with that edge; with a number in the core if it has keys."""
    session = Session(bytes([began_ms]) * 16, Key(edge, marking), initiator, began_ms)
    if keyed_ms:
        session.number, session.keyed_ms, session.state, session.suite = began_ms, keyed_ms, State.UP, Suite(1)
    return session


@pytest.mark.parametrize("initiator", [False, True])
def test_what_gets_its_keys_second_ends_at_the_lesser_edge(initiator: bool) -> None:
    first = begun(GREATER, initiator=not initiator, began_ms=2, keyed_ms=5)
    second = begun(GREATER, initiator=initiator, began_ms=3)
    assert glare_refusal([first, second], LESSER, second) == GLARE


def test_the_greater_edge_follows_what_has_been_decided() -> None:
    """If both edges went by keys, each could end what the other one keeps. What is up has been decided on."""
    theirs = begun(LESSER, initiator=False, began_ms=2, keyed_ms=5)
    mine = begun(LESSER, initiator=True, began_ms=3)
    for state, word in ((State.STARTING, None), (State.UP, GLARE), (State.STALLED, GLARE)):
        theirs.state = state
        assert glare_refusal([theirs, mine], GREATER, mine) == word
    # Of what the lesser begins, that one decides.
    mine = begun(LESSER, initiator=True, began_ms=2, keyed_ms=5)
    theirs = begun(LESSER, initiator=False, began_ms=3)
    assert glare_refusal([mine, theirs], GREATER, theirs) is None


def test_a_set_up_that_was_alone_goes_on() -> None:
    mine = begun(GREATER, initiator=True, began_ms=3)
    for other in (
        begun(GREATER, initiator=False, began_ms=2),  # it has no keys
        begun(GREATER, initiator=False, began_ms=1, keyed_ms=2),  # it was there before: its edge may have begun anew
        begun(GREATER, initiator=False, began_ms=2, keyed_ms=5, marking=2),
        begun(NodeId("police.example", MET, "met-2"), initiator=False, began_ms=2, keyed_ms=5),
        begun(GREATER, initiator=True, began_ms=2, keyed_ms=5),  # this edge's own, whose keeper made another one
    ):
        assert glare_refusal([other, mine], LESSER, mine) is None


class Slow:
    """A relay that holds back what is carried for sessions, by who began them, until it is let go."""

    def __init__(self, relay: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        self._true: Callable[[RelayPath, Link, Carry], None] = relay.relay.paths._carried
        self._held: dict[NodeId, list[tuple[RelayPath, Link, Carry]]] = {LESSER: [], GREATER: []}
        monkeypatch.setattr(relay.relay.paths, "_carried", self._carried)

    def _carried(self, relayed: RelayPath, link: Link, message: Carry) -> None:
        if relayed.source in self._held:
            self._held[relayed.source].append((relayed, link, message))
        else:
            self._true(relayed, link, message)

    def let_go(self, edge: NodeId) -> None:
        for each in self._held.pop(edge):
            self._true(*each)


async def both_begin(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> tuple[Slow, Running, Running]:
    """Each edge imports of the other. The lesser wants to begin, is asked, and begins then, too.

    The relay holds back what the greater asks for until the lesser wants to begin: else that one gives way first.
    """
    ((relay, port),) = await relays(nodes, 1)
    held = Slow(relay, monkeypatch)

    def tables(mine: str, other: str) -> dict[str, Any]:
        entry = {"service": f"custody@{other}", "listen": f"127.0.0.1:{free_port()}"}
        return {"links": [dial(1, port)], "exports": [export(other)], "imports": [entry], "policy": dict(SHORT)}

    kent = await nodes.start(KENT, "kent-1", **tables(KENT, MET))
    true, true_asked = kent.edge.sessions._establish, relay.relay.paths._asked
    wants, is_asked = asyncio.Event(), asyncio.Event()
    held_back: list[tuple[Link, PathOpen]] = []

    async def establish(*arguments: Any) -> None:
        wants.set()
        for each in held_back:
            true_asked(*each)
        held_back.clear()
        await is_asked.wait()
        await true(*arguments)

    def asked(link: Link, message: PathOpen) -> None:
        if message.source == GREATER.uri and not wants.is_set():
            held_back.append((link, message))
        else:
            true_asked(link, message)

    monkeypatch.setattr(kent.edge.sessions, "_establish", establish)
    monkeypatch.setattr(relay.relay.paths, "_asked", asked)
    met = await nodes.start(MET, "met-1", **tables(MET, KENT))
    await until(lambda: any(not session.initiator for session in kent.edge.sessions))
    is_asked.set()
    await until(lambda: len(list(kent.edge.sessions)) == 2)
    return held, kent, met


@pytest.mark.parametrize("slow", [LESSER, GREATER], ids=["the lesser is slow", "the greater is slow"])
async def test_one_of_two_sessions_goes_on(nodes: Nodes, monkeypatch: pytest.MonkeyPatch, slow: NodeId) -> None:
    held, kent, met = await both_begin(nodes, monkeypatch)
    held.let_go(GREATER if slow == LESSER else LESSER)
    await until(lambda: kent.sessions_up() and met.sessions_up())
    held.let_go(slow)
    await until(lambda: len(list(kent.edge.sessions)) == len(list(met.edge.sessions)) == 1, 30)
    (at_kent,), (at_met,) = kent.edge.sessions, met.edge.sessions
    assert at_kent.id == at_met.id
    assert at_kent.state is at_met.state is State.UP
    assert at_kent.initiator is (slow == GREATER)
    for edge in (kent, met):
        assert not edge.lines("session.failed")
        assert not edge.lines("node.failure")
