"""A network is marked lower while links are made anew, as they are after an upgrade: sessions are led on, not ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pcgrelay.catalogue.exchange import CatalogueMessage
from pcgrelay.health import damping
from pcgrelay.identity.tls import HandshakeRefused
from pcgrelay.link.dialled import DialledLink
from pcgrelay.link.link import Link, LinkState
from pcgrelay.session import recovery
from tests.support.marked_nodes import SENSITIVE, Realm
from tests.support.nodes_in_process import HUB, KENT, MET, Nodes, Running, link_to
from tests.support.waiting import until_async as until

BOTH = [{"name": name, "marking": SENSITIVE} for name in ("internet", "psn")]


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    nodes = Nodes(tmp_path)
    yield nodes
    await nodes.stop()


@pytest.fixture(autouse=True)
def hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(damping, "HOLD_MS", 400)


async def preferring_psn(nodes: Nodes) -> Realm:
    """The Met's session goes over the PSN, and both networks are cleared for it at both edges."""
    realm = Realm(nodes)
    realm.links[1] = {**realm.links[1], "precedence": "preferred"}
    await realm.start(met={"bearers": BOTH}, kent={"bearers": BOTH})
    await until(lambda: realm.met.sessions_up() == [f"relay-2.{HUB}"])
    return realm


def dial_later(running: Running, bearer: str, patch: pytest.MonkeyPatch, *, fails: bool = False) -> asyncio.Event:
    """Have a node dial over that network only when the event is set, or in vain."""
    gate, dialler = asyncio.Event(), running.node.link_table.dialler
    dialled = dialler._dialled

    async def late(wanted: DialledLink) -> Link | None:
        if wanted.settings.bearer == bearer:
            if fails:
                raise HandshakeRefused("unreachable", "Nobody is there.")
            await gate.wait()
        return await dialled(wanted)

    patch.setattr(dialler, "_dialled", late)
    return gate


async def mark_psn_lower(realm: Realm) -> None:
    await realm.reload(realm.met, MET, **realm.of_met(bearers=BOTH[:1], links=realm.links))


async def led_on(realm: Realm) -> None:
    await until(lambda: realm.met.sessions_up() == [f"relay-1.{HUB}"])
    assert not realm.met.lines("session.down")
    assert len(realm.met.lines("session.up")) == len(realm.kent.lines("session.up")) == 1


async def test_a_link_without_its_control_connection_is_waited_for(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    realm = await preferring_psn(nodes)
    gate = dial_later(realm.met, "internet", monkeypatch)
    link = link_to(realm.met, f"relay-1.{HUB}")
    link.remake("test")
    await until(lambda: link.state is LinkState.ORPHANED)
    assert link.lanes_up
    await mark_psn_lower(realm)
    # Nothing goes over what is not cleared meanwhile.
    assert realm.met.sessions_up() == []
    await until(lambda: not realm.relays[1].core.path_sides)
    gate.set()
    await led_on(realm)


async def test_a_link_that_was_lost_a_moment_ago_is_waited_for(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    realm = await preferring_psn(nodes)
    gate = dial_later(realm.met, "internet", monkeypatch)
    link = link_to(realm.met, f"relay-1.{HUB}")
    link.sever("test")
    await until(lambda: link.number not in realm.met.node.link_table.links)
    await mark_psn_lower(realm)
    assert realm.met.sessions_up() == []
    gate.set()
    await led_on(realm)


async def test_a_new_link_is_waited_for_until_its_neighbour_has_told_what_it_knows(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    realm = await preferring_psn(nodes)
    exchange = realm.met.node.exchange
    old, receive, held = link_to(realm.met, f"relay-1.{HUB}"), exchange.receive, list[tuple[Link, CatalogueMessage]]()

    def late(link: Link, message: CatalogueMessage) -> None:
        if link.bearer == "internet":
            held.append((link, message))
        else:
            receive(link, message)

    monkeypatch.setattr(exchange, "receive", late)
    old.remake("test")
    await until(lambda: old.number not in realm.met.node.link_table.links)
    await until(lambda: link_to(realm.met, f"relay-1.{HUB}").able and held)
    await mark_psn_lower(realm)
    assert realm.met.sessions_up() == []
    assert not realm.met.lines("session.down")
    monkeypatch.setattr(exchange, "receive", receive)
    for link, message in held:
        receive(link, message)
    await led_on(realm)


async def test_what_does_not_come_back_is_not_waited_for_long(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    realm = await preferring_psn(nodes)
    dial_later(realm.met, "internet", monkeypatch, fails=True)
    link_to(realm.met, f"relay-1.{HUB}").sever("test")
    await mark_psn_lower(realm)
    # Far sooner than after `path_wait_ms`.
    await until(lambda: realm.met.lines("session.down"), 15)
    (down,) = realm.met.lines("session.down")
    assert (down["code"], down["reason"]) == ("refused", "marking")


async def test_the_far_edge_waits_longer_where_nobody_was_told(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "REFUSED_WAIT_MS", 200)
    realm = await preferring_psn(nodes)
    gate = dial_later(realm.kent, "psn", monkeypatch)
    link = link_to(realm.kent, f"relay-2.{HUB}")
    link.remake("test")
    await until(lambda: link.state is LinkState.ORPHANED)
    await realm.reload(realm.kent, KENT, **realm.of_kent(bearers=BOTH[:1], links=realm.links))
    await asyncio.sleep(0.6)
    assert len(realm.kent.core.session_table) == 1
    gate.set()
    await led_on(realm)
