"""The realm as one node knows it: by what edges say of themselves, and by the paths."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import Raw, msgpack

from pcgrelay.admin.realm_answers import EDGES_EACH, RealmEdge
from pcgrelay.catalogue import own_entry
from pcgrelay.catalogue.entries import ENTRY_KIND, STATE_DRAIN, Entry, Offer, ReceivedEntry, SignedEntry, VerifiedEntry
from pcgrelay.model import NodeId
from pcgrelay.views.realm import realm_answer
from tests.support.nodes_in_process import HUB, KENT, MET, Nodes, Running, dial, entry, export, relays
from tests.support.pki import REALM
from tests.support.ports import free_port
from tests.support.waiting import until_async as until

R1, R2, R3 = (f"relay-{number}.{HUB}" for number in (1, 2, 3))


@pytest.fixture
async def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Nodes]:
    monkeypatch.setattr(own_entry, "RELAYS_STEADY_MS", 100)
    nodes = Nodes(tmp_path)
    yield nodes
    await nodes.stop()


def edges_of(running: Running, organisation: str = "") -> dict[str, RealmEdge]:
    return {each.edge: each for each in realm_answer(running.node, organisation).edges}


def knows(running: Running, edge: str, *names: str) -> bool:
    known = edges_of(running).get(edge)
    return known is not None and known.said and known.relays == names


async def test_each_node_knows_which_edge_hangs_where(nodes: Nodes) -> None:
    made = await relays(nodes, 3)  # in a row
    ports = [port for _, port in made]
    kent = await nodes.start(KENT, "kent-1", links=[dial(1, ports[0]), dial(2, ports[1])], exports=[export()])
    met = await nodes.start(MET, "met-1", links=[dial(3, ports[2])], imports=[entry()])
    for running in (*(relay for relay, _ in made), met):
        # The third relay has no link to the first, and hears of Kent by the second alone.
        await until(lambda running=running: knows(running, f"kent-1.{KENT}", R1, R2))
    await until(lambda: knows(made[2][0], f"met-1.{MET}", R3))
    # An edge knows the edges that it imports from and itself, and says so.
    assert realm_answer(met.node).interest
    assert list(edges_of(kent)) == [f"kent-1.{KENT}"]
    answer = realm_answer(made[2][0].node)
    assert not answer.interest
    assert (answer.node, answer.role, answer.edges_total, answer.services_total) == (R3, "relay", 2, 1)
    found = {each.relay: (each.link, each.edges, each.services) for each in answer.relays}
    assert found == {R1: ("", 1, 1), R2: ("up", 1, 1), R3: ("here", 1, 0)}
    assert {each.edge: (each.hops, each.services) for each in answer.edges} == {
        f"kent-1.{KENT}": (1, 1), f"met-1.{MET}": (0, 0)
    }  # fmt: skip
    own = edges_of(met)[f"met-1.{MET}"]
    assert (own.relays, own.said, own.hops) == ((R3,), True, 0)
    assert list(edges_of(made[2][0], KENT)) == [f"kent-1.{KENT}"]
    assert edges_of(made[2][0], "nobody.example") == {}

    # A relay goes: who hung there says so, once it is clear that it stays so.
    await made[0][0].kill()
    await until(lambda: knows(made[2][0], f"kent-1.{KENT}", R2))


async def test_an_entry_that_names_no_relays_is_shown_by_the_paths(nodes: Nodes) -> None:
    relay = await nodes.start(HUB, "relay-1", role="relay", listens=[f"127.0.0.1:{free_port()}"])
    catalogue, lives_ms = relay.node.exchange.catalogue, relay.node.clock.monotonic_ms() + 600_000
    names = [NodeId(REALM, KENT, f"kent-{number}") for number in range(EDGES_EACH + 40)]
    far, near = (NodeId(REALM, HUB, f"relay-{number}").uri for number in (3, 2))
    for edge in names:
        for link, path in ((1, (far, near)), (2, (near,))):
            offers = (Offer("mail", 1, state=STATE_DRAIN),)
            verified = VerifiedEntry(SignedEntry(b"", b"", ()), edge, 1, lives_ms, offers)
            catalogue.put(link, ReceivedEntry(verified, path))
    answer = realm_answer(relay.node)
    assert (answer.edges_total, len(answer.edges)) == (EDGES_EACH + 40, EDGES_EACH)
    rest = realm_answer(relay.node, KENT, EDGES_EACH)
    assert (rest.offset, len(rest.edges)) == (EDGES_EACH, 40)
    assert sorted(each.edge for each in (*answer.edges, *rest.edges)) == sorted(edge.dotted for edge in names)
    assert {(each.relays, each.said, each.hops, each.draining) for each in answer.edges} == {((R2, R3), False, 1, True)}
    assert {each.relay: each.edges for each in answer.relays} == {R1: 0, R2: len(names), R3: len(names)}
    assert realm_answer(relay.node, "", 10**6).edges == ()


async def test_a_link_that_flaps_makes_no_entry(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    (relay, port), *_ = await relays(nodes, 1)
    kent = await nodes.start(KENT, "kent-1", links=[dial(1, port)], exports=[export()])
    await until(lambda: knows(relay, f"kent-1.{KENT}", R1))
    told = kent.node.exchange
    monkeypatch.setattr(own_entry, "RELAYS_STEADY_MS", 3_600_000)
    (link,) = kent.node.link_table.links.values()
    before = told.own.sequence
    for draining in (True, False) * 10:
        link.draining = draining
        told.tick()
    assert told.own.sequence == before
    link.draining = True
    monkeypatch.setattr(own_entry, "RELAYS_STEADY_MS", 0)
    told.tick()
    assert told.own.sequence > before
    assert told.own._relays == ()


async def test_what_an_edge_names_that_is_no_relay_is_not_shown(nodes: Nodes) -> None:
    relay = await nodes.start(HUB, "relay-1", role="relay", listens=[f"127.0.0.1:{free_port()}"])
    edge, named = NodeId(REALM, KENT, "kent-1"), ("\x1b[2J", NodeId(REALM, HUB, "relay-9").uri, "spiffe://x")
    content = Entry(ENTRY_KIND, edge.uri, 1, 1, (), Raw(msgpack.encode(named)))
    verified = VerifiedEntry(SignedEntry(msgpack.encode(content), b"", ()), edge, 1, 10**12, ())
    relay.node.exchange.catalogue.put(1, ReceivedEntry(verified, ()))
    (shown,) = realm_answer(relay.node).edges
    assert (shown.relays, shown.said, shown.draining) == ((f"relay-9.{HUB}",), True, False)
