"""What edges ask their relays for, and that they miss nothing of what they do not ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pcgrelay.catalogue import interest
from pcgrelay.daemon.reload import Reloader
from pcgrelay.gateway import edge_tables
from pcgrelay.identity.handshake import CHAIN_HASH, INTEREST
from pcgrelay.link.link import Link
from pcgrelay.log.writer import Log
from pcgrelay.messages import Advert, AdvertGet, Code, Message, Want
from pcgrelay.model import NodeId
from pcgrelay.views.explain import explain
from tests.support import fake_core
from tests.support.nodes_in_process import (
    KENT,
    MET,
    Nodes,
    Running,
    dial,
    entry,
    export,
    is_live,
    relays,
    two_ways,
    without_feature,
)
from tests.support.pki import REALM
from tests.support.ports import free_port
from tests.support.waiting import until_async as until


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    nodes = Nodes(tmp_path)
    yield nodes
    await nodes.stop()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Message]]:
    """What all nodes have sent, with the name of the neighbour."""
    found: list[tuple[str, Message]] = []
    send = Link.send

    def noted(link: Link, message: Message) -> None:
        found.append((link.peer.name, message))
        send(link, message)

    monkeypatch.setattr(Link, "send", noted)
    return found


def service(name: str, **keys: Any) -> dict[str, Any]:
    return {**export(), "service": name, "probe": "none", **keys}


def importing(*names: str) -> list[dict[str, Any]]:
    return [{"service": f"{name}@{KENT}", "listen": f"127.0.0.1:{free_port()}"} for name in names]


def end_sessions(running: Running, *names: str) -> None:
    for session in list(running.edge.sessions):
        if session.key.edge.name in names:
            running.edge.sessions.close(session, Code.DONE, "test")


def known(running: Running) -> set[str]:
    return {edge.name for edge in running.node.exchange.catalogue.edges()}


async def reload(nodes: Nodes, running: Running, organisation: str, **tables: Any) -> None:
    nodes.write(organisation, running.node.config.node.id.name, **tables)
    answer = await Reloader(running.node, Log("debug", running.sink), lambda text: None).reload()
    assert answer.ok, answer


async def test_an_edge_hears_of_what_it_imports_and_of_nothing_else(nodes: Nodes) -> None:
    (first, _), (second, port) = await relays(nodes, 2)
    for number, names in enumerate((["custody"], ["mail"], ["records", "mail"]), 1):
        links = [dial(1, first.node.config.listens[0].address.port)]
        await nodes.start(KENT, f"kent-{number}", links=links, exports=[service(name) for name in names])
    doors = importing("custody", "mail")
    met = await nodes.start(MET, "met-1", links=[dial(2, port)], imports=doors[:1])
    await until(lambda: met.imports() == [fake_core.IMPORT_LIVE])
    await until(lambda: known(second) == {"kent-1", "kent-2", "kent-3", "met-1"})
    assert known(met) == {"kent-1"}
    kent = nodes.running[2]
    assert kent.node.config.node.id.name == "kent-1"
    # It serves a caller of which it has no entry.
    await until(lambda: len(list(kent.edge.sessions)) == 1)
    assert known(kent) == set()
    await reload(nodes, met, MET, links=[dial(2, port)], imports=doors)
    await until(lambda: met.imports() == [fake_core.IMPORT_LIVE] * 2)
    assert known(met) == {"kent-1", "kent-2", "kent-3"}
    await reload(nodes, met, MET, links=[dial(2, port)], imports=doors[:1])
    # As long as there are sessions with the others their entries are needed: a session may have to find another path.
    met.node.tick()
    await until(lambda: len(met.edge.services.imports) == 1)
    assert known(met) == {"kent-1", "kent-2", "kent-3"}
    end_sessions(met, "kent-2", "kent-3")
    await until(lambda: known(met) == {"kent-1"})
    assert met.imports() == [fake_core.IMPORT_LIVE]
    assert not any("want" in word for each in nodes.running for word in each.node.refused.total())


async def test_a_name_that_nobody_offers_is_explained_through_a_relay(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_tables, "STARTING_MS", 500)
    ((_, port),) = await relays(nodes, 1)
    await nodes.start(KENT, "kent-1", links=[dial(1, port)], exports=[service("custody")])
    await nodes.start(KENT, "kent-2", links=[dial(1, port)], exports=[service("mail")])
    met = await nodes.start(MET, "met-1", links=[dial(1, port)], imports=importing("custdy"))
    await until(lambda: met.lines("import.unavailable"))
    (line,) = met.lines("import.unavailable")
    assert line["cause"] == "unknown-service"
    assert line["nearest"] == f"custody@{KENT}"
    assert line["detail"] == f"no edge of {KENT} offers it; it offers: custody, mail"
    assert f"Perhaps custody@{KENT} was meant." in explain(met.node, f"custdy@{KENT}").verdict
    # One that is added is looked for before it is said to be unknown; the application waits meanwhile.
    doors = importing("custdy", "mial")
    await reload(nodes, met, MET, links=[dial(1, port)], imports=doors)
    assert met.imports()[1] == fake_core.IMPORT_PENDING
    await until(lambda: len(met.lines("import.unavailable")) == 2)
    assert met.lines("import.unavailable")[1]["nearest"] == f"mail@{KENT}"
    await until(lambda: met.imports() == [fake_core.IMPORT_DOWN] * 2)
    # What is found is asked for alone.
    doors[:] = importing("custody")
    await reload(nodes, met, MET, links=[dial(1, port)], imports=doors)
    await until(lambda: met.imports() == [fake_core.IMPORT_LIVE])
    await until(lambda: known(met) == {"kent-1"})
    assert len(met.lines("import.unavailable")) == 2


async def test_an_edge_that_gives_a_service_up_is_not_missed(nodes: Nodes) -> None:
    ((relay, port),) = await relays(nodes, 1)
    kents = [
        await nodes.start(KENT, name, links=[dial(1, port)], exports=[service("custody")]) for name in ("k-1", "k-2")
    ]
    met = await nodes.start(MET, "met-1", links=[dial(1, port)], imports=importing("custody"))
    await until(lambda: known(met) == {"k-1", "k-2"})
    await until(lambda: len(met.sessions_up()) == 2)
    # By name, so that it hears of the next change too.
    named = lambda: relay.node.exchange._interests.of(_link(relay, "met-1")).edges
    await until(lambda: len(named()) == 2)
    await reload(nodes, kents[1], KENT, links=[dial(1, port)], exports=[service("mail")])
    # It knows, by an entry that is signed, that this one is there and offers it no more.
    await until(lambda: len(met.edge.services.imports[0].exporters) == 1)
    assert known(met) == {"k-1", "k-2"}
    end_sessions(met, "k-2")
    await until(lambda: known(met) == {"k-1"})
    assert not met.lines("member.away")
    assert not met.edge.import_watch.away(met.edge.services.imports[0].settings.service)
    # One that goes is.
    await kents[0].kill()
    await until(lambda: met.lines("member.away"))
    assert len(named()) == 1


def _link(running: Running, name: str) -> Link:
    return next(link for link in running.node.link_table.links.values() if link.peer.name == name)


@pytest.mark.parametrize("older", ["relay", "edge", "nobody"])
async def test_versions_that_do_not_know_it_are_told_everything(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, sent: list[tuple[str, Message]], older: str
) -> None:
    with monkeypatch.context() as patched:
        if older == "relay":
            without_feature(patched, INTEREST)
            without_feature(patched, CHAIN_HASH)
        ((relay, port),) = await relays(nodes, 1)
        await until(lambda: relay.node.listeners.sockets)
        await _listed(nodes, relay, port, patched, older)
    met = nodes.running[-1]
    await until(lambda: is_live(met))
    everything = {"kent-1", "kent-2"}
    await until(lambda: known(met) == (everything if older != "nobody" else {"kent-1"}))
    assert any(isinstance(message, Want) for _, message in sent) == (older == "nobody")
    assert met.routes() == [[(met.routes()[0][0][0], 2, 100)]]


async def _listed(nodes: Nodes, relay: Running, port: int, patched: pytest.MonkeyPatch, older: str) -> None:
    if older == "edge":
        without_feature(patched, INTEREST)
        without_feature(patched, CHAIN_HASH)
    await nodes.start(KENT, "kent-1", links=[dial(1, port)], exports=[service("custody")])
    await nodes.start(KENT, "kent-2", links=[dial(1, port)], exports=[service("mail")])
    met = await nodes.start(MET, "met-1", links=[dial(1, port)], imports=importing("custody"))
    await until(lambda: list(met.node.link_table.usable()))


async def test_an_edge_that_never_says_it_is_told_everything(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interest, "AWAITED_MS", 1_000)
    ((relay, port),) = await relays(nodes, 1)
    await nodes.start(KENT, "kent-1", links=[dial(1, port)], exports=[service("mail")])
    met = await nodes.start(MET, "met-1", listens=[f"127.0.0.1:{free_port()}"])
    monkeypatch.setattr(met.node.exchange, "_tell_want", lambda link: None)
    await reload(nodes, met, MET, links=[dial(1, port)])
    await until(lambda: known(met) == {"kent-1"})
    assert relay.node.refused.total()["want_missing"] == 1


async def test_a_chain_goes_over_a_link_once(nodes: Nodes, sent: list[tuple[str, Message]]) -> None:
    made, kent, met = await two_ways(nodes)
    edge = kent.node.config.node.id
    first = met.node.exchange.catalogue.newest(edge)
    assert first is not None

    def whole() -> int:
        return sum(isinstance(message, Advert) and len(message.chain[0]) > 32 for _, message in sent)

    ways = met.node.exchange.catalogue.ways
    for _ in range(3):
        before = whole()
        sequence = max(way.sequence for way in met.node.exchange.catalogue.ways(edge).values())
        kent.node.exchange.offer(kent.node.exchange.own.offers)
        await until(lambda old=sequence: min(way.sequence for way in ways(edge).values()) > old)
        # Over both relays, and each has it from the edge and from the other one.
        await until(lambda: all(len(relay.node.exchange.catalogue.ways(edge)) == 2 for relay, _ in made))
        assert whole() == before
        assert len(met.node.exchange.catalogue.ways(edge)) == 2
    newest = met.node.exchange.catalogue.newest(edge)
    assert newest is not None
    assert newest.signed.chain == first.signed.chain
    assert newest.sequence > first.sequence
    # One that has forgotten it asks, and has it again.
    (relay, _) = made[0]
    link = _link(met, relay.node.config.node.id.name)
    assert met.node.exchange.catalogue.withdraw(link.number, edge)
    kent.node.exchange.offer(kent.node.exchange.own.offers)
    await until(lambda: link.number in met.node.exchange.catalogue.ways(edge))
    assert sum(isinstance(message, AdvertGet) for _, message in sent) == 1
    assert met.node.refused.total()["chain_unknown"] == 1
    assert is_live(met)


async def test_what_is_asked_for_survives_a_link_that_is_made_again(nodes: Nodes) -> None:
    ((relay, port),) = await relays(nodes, 1)
    await nodes.start(KENT, "kent-1", links=[dial(1, port)], exports=[service("custody")])
    await nodes.start(KENT, "kent-2", links=[dial(1, port)], exports=[service("mail")])
    met = await nodes.start(MET, "met-1", links=[dial(1, port)], imports=[entry()])
    await until(lambda: is_live(met))
    link = _link(relay, "met-1")
    # As after an upgrade of the relay: the lanes go on, and the control connection is made again.
    link.remake("test")
    await until(lambda: link.number not in relay.node.link_table.links)
    fresh = _link(relay, "met-1")
    kent = NodeId(REALM, KENT, "kent-1")
    await until(lambda: kent in set(met.node.exchange.catalogue.edges()))
    assert known(met) == {"kent-1"}
    assert relay.node.exchange._interests.of(fresh).services == {KENT: frozenset({"custody"})}
    assert "want_missing" not in relay.node.refused.total()
