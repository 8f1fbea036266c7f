"""Links and sessions prove again who their ends are, while nothing else notices; and what ends if they cannot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from pcgrelay.identity.credentials import load_credentials
from pcgrelay.identity.handshake import Handshake, HandshakeResult
from pcgrelay.identity.renewal import Renewal
from pcgrelay.identity.tls import HandshakeRefused, make_context
from pcgrelay.link import renewer as link_renewer
from pcgrelay.link.control import LostConnection
from pcgrelay.link.link import Link
from pcgrelay.messages import Beat, Drain, Message, Renewed
from pcgrelay.session.renewer import HELD_BYTES
from pcgrelay.session.session import Session
from tests.support.nodes_in_process import HUB, KENT, MET, Nodes, Running
from tests.support.ports import free_port
from tests.support.waiting import until_async as until

SOON = {"members": ["*"], "renewal_interval_s": 1, "renewal_age_s": 60}


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    nodes = Nodes(tmp_path)
    yield nodes
    await nodes.stop()


async def realm(
    nodes: Nodes, policy: dict[str, Any], *, of_relay: dict[str, Any] | None = None
) -> tuple[Running, Running, Running]:
    """A relay, the exporter and the importer, all up."""
    port = free_port()
    links = [{"peer": f"relay-1.{HUB}", "address": f"127.0.0.1:{port}"}]
    relay = await nodes.start(
        HUB, "relay-1", role="relay", listens=[f"127.0.0.1:{port}"], policy=dict(of_relay or policy)
    )
    export = {"service": "custody", "target": "127.0.0.1:5432", "allow": [MET]}
    kent = await nodes.start(KENT, "kent-1", links=links, exports=[export], policy=dict(policy))
    entry = {"service": f"custody@{KENT}", "listen": f"127.0.0.1:{free_port()}"}
    met = await nodes.start(MET, "met-1", links=links, imports=[entry], policy=dict(policy))
    await until(lambda: met.sessions_up() and kent.sessions_up())
    return relay, kent, met


def link_of(running: Running) -> Link:
    (link,) = running.node.link_table.links.values()
    return link


def session_of(running: Running) -> Session:
    (session,) = running.edge.sessions
    return session


def age(thing: Link | Session, seconds: float) -> None:
    """Let it be older than it is."""
    assert thing.schedule is not None
    thing.schedule.authenticated_ms -= round(seconds * 1000)


async def test_no_renewal_begins_while_a_step_of_the_last_one_is_under_way(nodes: Nodes) -> None:
    _, _, met = await realm(nodes, SOON)
    await until(lambda: link_of(met).generation >= 1 and session_of(met).generation >= 1, 15)
    met.core.steps = False
    generations = link_of(met).generation, session_of(met).generation
    for thing in (link_of(met), session_of(met)):
        age(thing, 30)
        attempts = thing.schedule.attempts if thing.schedule is not None else None
        for _ in range(5):
            met.node.tick()
        assert thing.schedule is not None
        # Waiting is no failure: nothing is counted, and it begins as soon as it may.
        assert thing.schedule.attempts == attempts
    await asyncio.sleep(0)
    assert (link_of(met).generation, session_of(met).generation) == generations
    met.core.steps = True
    await until(lambda: link_of(met).generation > generations[0] and session_of(met).generation > generations[1], 15)


async def test_a_responder_answers_a_renewal_when_its_own_step_is_acknowledged(nodes: Nodes) -> None:
    """The initiator keeps the secrets of two renewals, and may not have heard that the last one is agreed."""
    _, kent, met = await realm(nodes, SOON)
    await until(lambda: session_of(met).generation >= 1 and session_of(kent).generation >= 1, 15)
    kent.core.steps = False
    generation, number = session_of(met).generation, session_of(met).number
    age(session_of(met), 30)
    attempts = kent.edge.sessions._renewer._attempts
    await until(lambda: attempts and next(iter(attempts.values())).held, 15)
    kent.node.tick()
    await asyncio.sleep(0.1)
    # Nothing was answered, so the initiator has no secret.
    assert ("session", number, generation + 1) not in met.core.renewals
    kent.core.steps = True
    await until(lambda: session_of(met).generation > generation, 15)
    for edge in (kent, met):
        assert not edge.lines("renewal.failed")
        assert not edge.lines("session.down")


async def test_what_a_relay_says_while_a_renewal_waits_has_its_bound(nodes: Nodes) -> None:
    _, kent, met = await realm(nodes, SOON)
    await until(lambda: session_of(met).generation >= 1 and session_of(kent).generation >= 1, 15)
    kent.core.steps = False
    age(session_of(met), 30)
    attempts = kent.edge.sessions._renewer._attempts
    await until(lambda: attempts and next(iter(attempts.values())).held, 15)
    path = session_of(kent).path
    assert path is not None
    assert path.on_carry is not None
    path.on_carry(bytes(HELD_BYTES))
    assert not attempts
    assert [line["reason"] for line in kent.lines("renewal.failed")] == ["too_many_bytes"]
    assert not kent.lines("session.down")


async def test_links_and_sessions_are_renewed_again_and_again(nodes: Nodes) -> None:
    relay, kent, met = await realm(nodes, SOON)
    for edge in (kent, met):
        await until(lambda edge=edge: link_of(edge).generation >= 2 and session_of(edge).generation >= 2, 15)
    for edge in (kent, met):
        link = link_of(edge)
        (other,) = [each for each in relay.node.link_table.links.values() if each.peer == edge.node.config.node.id]
        await until(lambda other=other: other.generation >= 2)
        for mix in (1, 2):
            ours = edge.core.renewals[("link", link.number, mix)]
            assert relay.core.renewals[("link", other.number, mix)] == ours
            assert ("link", link.number, mix) in edge.core.mixed
            assert ("link", other.number, mix) in relay.core.mixed
        assert len({edge.core.renewals[("link", link.number, mix)] for mix in (1, 2)}) == 2
    numbers = [session_of(edge).number for edge in (kent, met)]
    for mix in (1, 2):
        secrets = [
            edge.core.renewals[("session", number, mix)] for edge, number in zip((kent, met), numbers, strict=True)
        ]
        assert secrets[0] == secrets[1]
        assert ("session", numbers[0], mix) in kent.core.mixed
    for running in (relay, kent, met):
        assert not running.lines("link.down")
        assert not running.lines("link.control_lost")
        assert not running.lines("session.down")
        assert not running.lines("session.stalled")
        assert not running.lines("renewal.failed")
        assert not running.lines("node.failure")


async def test_no_message_is_lost_or_overtakes_another_while_a_link_changes_over(nodes: Nodes) -> None:
    relay, _, met = await realm(nodes, {"members": ["*"]})
    link = link_of(met)
    (other,) = [each for each in relay.node.link_table.links.values() if each.peer == met.node.config.node.id]
    heard: list[int] = []
    taken = other._beat_taken

    def hear(beat: Beat) -> None:
        if beat.answer and beat.token < 1 << 20:
            heard.append(beat.token)
        else:
            taken(beat)

    other._beat_taken = hear  # type: ignore[method-assign]
    said = 0

    def is_renewed(generation: int) -> bool:
        # Well below what a neighbour may say.
        nonlocal said
        for _ in range(10):
            said += 1
            link.send(Beat(said, True))
        return link.generation == generation

    for generation in (1, 2, 3):
        age(link, 4_000)
        await until(lambda generation=generation: is_renewed(generation))
    await until(lambda: len(heard) >= said)
    assert heard == list(range(1, said + 1))
    assert not met.lines("link.control_lost")


async def test_a_renewal_that_finds_nobody_is_tried_again_until_the_hard_age(nodes: Nodes) -> None:
    _, _, met = await realm(nodes, {"members": ["*"], "renewal_age_s": 86_400})
    link = link_of(met)

    async def nobody() -> Any:
        raise OSError

    link._connect = nobody
    age(link, 4_000)
    await until(lambda: len(met.lines("renewal.failed")) >= 2, 15)
    failed = met.lines("renewal.failed")[-1]
    assert (failed["purpose"], failed["reason"], failed["attempts"]) == ("link", "unreachable", 2)
    assert link.usable
    assert not met.lines("session.stalled")
    age(link, 86_400)
    await until(lambda: met.lines("link.down"))
    assert met.lines("link.down")[0]["reason"] == "renewal_overdue"


async def test_each_attempt_has_a_generation_of_its_own(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, met = await realm(nodes, {"members": ["*"]})
    link = link_of(met)
    found: list[int] = []

    async def broken_off(*_: Any, renewal: Renewal, **__: Any) -> Any:
        found.append(renewal.generation)
        raise HandshakeRefused("deadline", "The handshake was not finished in time.")

    monkeypatch.setattr(link_renewer, "handshake_over", broken_off)
    age(link, 4_000)
    await until(lambda: len(found) >= 2, 15)
    assert found[:2] == [1, 2]


class Quiet(LostConnection):
    """A new connection on which nothing comes."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def on_unknown(self, heard: Callable[[], None]) -> None: ...

    def end(self, reason: str) -> None:
        self.ended.append(reason)

    def abandon(self) -> None:
        self.ended.append("abandoned")

    async def run(self, take: Callable[[Message], None], opened: asyncio.Event | None = None) -> str:
        await asyncio.Event().wait()
        return "closed"


async def test_an_attempt_that_comes_behind_a_later_one_changes_nothing(nodes: Nodes) -> None:
    """The dialler gave it up; its last flight was under way for long. docs/proofs/promela/link.pml has the rest."""
    relay, _, met = await realm(nodes, {"members": ["*"]})
    (link,) = [each for each in relay.node.link_table.links.values() if each.peer == met.node.config.node.id]
    later, behind, again = Quiet(), Quiet(), Quiet()

    def arrive(generation: int, connection: Quiet) -> None:
        established = HandshakeResult(
            peer=link.peer,
            peer_role=link.peer_role,
            suite=link.suite,
            group=link.group,
            tls_suite=link.tls_suite,
            client=False,
            secret=bytearray(32),
            binding=bytes(32),
            lanes=link.lanes,
            flows=0,
            cap=link.cap,
            link_id=link.link_id,
            chain=link.chain,
            generation=generation,
        )
        relay.node.link_table.renewer.renewed_by_peer(established, connection)

    relay.core.keeps = False
    arrive(2, later)
    arrive(1, behind)
    assert (later.ended, behind.ended) == ([], ["abandoned"])
    assert relay.node.link_table.refused["renewal_not_taken"] == 1
    assert link.usable
    # A dialler of an earlier version may have used one twice.
    arrive(2, again)
    assert (later.ended, again.ended) == (["superseded"], [])


async def test_an_acceptor_ends_a_link_that_nobody_renews(nodes: Nodes) -> None:
    relay, _, met = await realm(nodes, {"members": ["*"]})
    (link,) = [each for each in relay.node.link_table.links.values() if each.peer == met.node.config.node.id]
    age(link, 86_400)
    await until(lambda: relay.lines("link.down"))
    assert relay.lines("link.down")[0]["reason"] == "renewal_overdue"
    await until(lambda: met.lines("link.down"))
    assert met.lines("link.down")[0]["reason"] == "goodbye_expired"


async def test_a_session_past_its_hard_age_ends(nodes: Nodes) -> None:
    _, kent, met = await realm(nodes, {"members": ["*"]})
    age(session_of(kent), 86_400)
    await until(lambda: kent.lines("session.down"))
    down = kent.lines("session.down")[0]
    assert (down["code"], down["reason"]) == ("expired", "renewal_overdue")
    await until(lambda: len(met.lines("session.up")) == 2)


async def test_a_core_that_keeps_nothing_makes_the_attempt_fail_and_nothing_else(nodes: Nodes) -> None:
    relay, kent, met = await realm(nodes, {"members": ["*"], "handshake_deadline_ms": 1_000})
    met.core.keeps = False
    age(session_of(met), 4_000)
    await until(lambda: met.lines("renewal.failed"), 15)
    assert met.lines("renewal.failed")[0]["reason"] == "deadline"
    met.core.keeps = True
    await until(lambda: session_of(met).generation == 1, 20)
    assert session_of(kent).generation == 1
    for running in (relay, kent, met):
        assert not running.lines("session.down")
        assert not running.lines("link.down")


@pytest.mark.parametrize("purpose", ["link", "session"])
async def test_a_peer_that_may_not_come_in_any_more_loses_what_was_to_be_renewed(
    nodes: Nodes, purpose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay, kent, met = await realm(nodes, {"members": ["*"]})
    thing = link_of(met) if purpose == "link" else session_of(met)
    # The far side shows a certificate that is on the list: it was renewed to one that was withdrawn again.
    far = relay if purpose == "link" else kent
    nodes.pki.authority.revoke(*((HUB, "relay-1") if purpose == "link" else (KENT, "kent-1")))
    monkeypatch.setattr(met.node.local, "context", _with_list(nodes, met))
    age(thing, 4_000)
    event = f"{purpose}.down"
    await until(lambda: met.lines(event))
    assert met.lines(event)[0]["reason"] == "revoked"
    assert met.lines("renewal.failed")[0]["reason"] == "revoked"
    if purpose == "link":
        await until(lambda: far.lines(event))
        assert far.lines(event)[0]["reason"] == "goodbye_refused"


def _with_list(nodes: Nodes, running: Running) -> object:
    """The TLS context that the node would have, had it loaded the list as it is now."""
    return make_context(load_credentials(running.node.config.identity), post_quantum_required=True)


async def test_a_list_that_is_out_of_date_ends_nothing(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, met = await realm(nodes, {"members": ["*"]})

    receive = Handshake.receive

    def refuse(self: Handshake, data: bytes) -> bytes:
        if not self._client:
            return receive(self, data)
        raise HandshakeRefused("crl_not_current", "The list is out of date.")

    monkeypatch.setattr(Handshake, "receive", refuse)
    age(link_of(met), 4_000)
    age(session_of(met), 4_000)
    await until(lambda: len(met.lines("renewal.failed")) >= 2)
    assert {line["reason"] for line in met.lines("renewal.failed")} == {"crl_not_current"}
    await asyncio.sleep(0)
    assert not met.lines("link.down")
    assert not met.lines("session.down")


async def test_a_word_of_renewal_out_of_place_makes_the_link_anew(nodes: Nodes) -> None:
    relay, _, met = await realm(nodes, {"members": ["*"]})
    link_of(met).send(Renewed(mix=1, generation=1))
    await until(lambda: relay.lines("link.control_lost"))
    assert relay.lines("link.control_lost")[0]["reason"] == "renewal_lost"
    await until(lambda: len(met.lines("link.up")) == 2, 15)
    assert not met.lines("session.down")


async def test_what_is_said_on_the_old_connection_after_renewed_ends_the_link(nodes: Nodes) -> None:
    relay, _, met = await realm(nodes, {"members": ["*"]})
    (other,) = [each for each in relay.node.link_table.links.values() if each.peer == met.node.config.node.id]
    relay.core.keeps = False
    link = link_of(met)
    old = link._connection
    age(link, 4_000)
    await until(lambda: other._change is not None and other._change.heard)
    old.send(Drain(0))
    await until(lambda: relay.lines("link.down"))
    assert relay.lines("link.down")[0]["reason"] == "violation"


async def test_a_reload_lowers_the_limits_of_keys(nodes: Nodes) -> None:
    _, kent, _ = await realm(nodes, {"members": ["*"], "rekey_frames": 1_000, "rekey_bytes": "1MiB", "rekey_s": 9})
    assert kent.core.options["rekey_frames"] == 1_000
    assert kent.core.options["rekey_bytes"] == 1 << 20
    assert kent.core.options["rekey_ms"] == 9_000
