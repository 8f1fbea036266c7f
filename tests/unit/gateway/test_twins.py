"""Identities that two processes bear: who finds them, and who is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay.admin.condition import troubles
from pcgrelay.admin.metrics import metrics_text
from pcgrelay.clock import SetClock
from pcgrelay.gateway import twins
from pcgrelay.gateway.twins import TOLD_MOST, TOLD_MS, TwinWatch
from pcgrelay.health.probing import SILENCE_FAILING_MS, LinkProbing
from pcgrelay.link.link import LinkState
from pcgrelay.log.events import IdentityTwins, Record
from pcgrelay.messages import MessageReader, Twin, encode_message
from pcgrelay.model import NodeId, Role
from pcgrelay.views.status import node_status
from tests.support.metric_samples import samples
from tests.support.nodes_in_process import HUB, KENT, Nodes, dial, export, relays
from tests.support.ports import free_port
from tests.support.vectors import Json, load, octets
from tests.support.waiting import until_async as until

KENT_1 = f"kent-1.{KENT}"

VECTORS = load("twins")


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    nodes = Nodes(tmp_path)
    yield nodes
    await nodes.stop()


async def test_two_processes_with_one_identity_are_told(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twins, "BEHIND_MS", 300)
    ((relay, port),) = await relays(nodes, 1)
    first = await nodes.start(KENT, "kent-1", links=[dial(1, port)])
    await until(lambda: list(relay.node.link_table.usable()))
    relay.node.tick()
    assert relay.node.twins.all == []
    second = await nodes.start(KENT, "kent-1", links=[dial(1, port)])
    for each in (relay, first, second):
        await until(lambda each=each: each.lines("identity.twins"))
        status = node_status(each.node)
        assert (status.twins, status.condition) == (
            (KENT_1,),
            "failing" if status.condition == "failing" else "degraded",
        )
        sentences = [trouble.sentence for trouble in troubles(status)]
        whose = f"the identity of {KENT_1}" if each is relay else "this node's identity"
        assert f"Two processes bear {whose}; stop the one that should not run." in sentences
    found = samples(metrics_text(node_status(relay.node), {}))
    links = [
        value for (name, labels), value in found.items() if name == "pcgrelay_link_up" and ("link", KENT_1) in labels
    ]
    assert links == [1, 1]
    await first.kill()
    await until(lambda: not node_status(relay.node).twins)
    assert len(relay.lines("identity.twins")) == 1


async def test_two_processes_at_two_relays_are_told(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twins, "BEHIND_MS", 300)
    monkeypatch.setattr(twins, "TOLD_MS", 2_000)
    both = await relays(nodes, 2)
    found = [running for running, _ in both]
    for number, (relay, port) in enumerate(both, 1):
        found.append(await nodes.start(KENT, "kent-1", links=[dial(number, port)]))
        await until(lambda relay=relay: any(link.peer.dotted == KENT_1 for link in relay.node.link_table.usable()))
    for each in found:
        await until(lambda each=each: each.lines("identity.twins"))
    await found[2].kill()
    for each in (found[0], found[1], found[3]):
        await until(lambda each=each: not node_status(each.node).twins)
        assert len(each.lines("identity.twins")) == 1


async def test_one_process_with_two_links_is_no_twin(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twins, "BEHIND_MS", 0)
    ports = [free_port(), free_port()]
    relay = await nodes.start(HUB, "relay-1", role="relay", listens=[f"127.0.0.1:{port}" for port in ports])
    kent = await nodes.start(KENT, "kent-1", links=[dial(1, port) for port in ports], exports=[export()])
    await until(lambda: len(list(relay.node.link_table.usable())) == 2)
    links = relay.node.link_table.links
    ways = relay.node.exchange.catalogue.ways
    edge = kent.node.config.node.id

    def has_newest() -> bool:
        newest = kent.node.exchange.own.sequence
        return [ways(edge)[number].sequence for number in links if number in ways(edge)] == [newest] * 2

    for _ in range(3):
        kent.node.exchange.offer(kent.edge.tables._offered)
        await until(has_newest)
        relay.node.tick()
        assert relay.node.twins.all == []


class Watched:
    """A relay that looks at the links of one edge, on a clock that the test sets."""

    def __init__(self, role: Role = Role.RELAY) -> None:
        self.clock = SetClock(datetime(2026, 3, 2, tzinfo=UTC), 1_000_000)
        self.told: list[Record] = []
        self.links: dict[int, Any] = {}
        self.paths: dict[int, tuple[str, ...]] = {}
        self.brought: dict[int, int] = {}  # the sequence of the entry that each link has brought
        self.watch = TwinWatch(NodeId.from_uri(VECTORS["me"]), role, self.told.append, self.clock)
        self.edge = NodeId.from_dotted(KENT_1, "police.example")

    def link(self, sequence: int, **facts: Any) -> int:
        number = len(self.links) + 1
        usual = {"number": number, "peer": self.edge, "state": LinkState.UP, "replaced": False, "draining": False}
        sent: list[Twin] = []
        place = {"peer_role": Role.EDGE, "controlled": True, "features": {"twins"}, "sent": sent, "send": sent.append}
        self.links[number] = SimpleNamespace(**{**usual, **place, "probing": LinkProbing(), **facts})
        self.brought[number] = sequence
        return number

    def look(self, after_ms: int = 1_000) -> bool:
        """Whether it takes the edge for two processes then."""
        self.clock.advance(after_ms)
        known = {
            number: SimpleNamespace(path=self.paths.get(number, ()), sequence=sequence)
            for number, sequence in self.brought.items()
        }
        ways = {self.edge: known}
        catalogue = SimpleNamespace(
            ways=lambda peer: ways.get(peer, {}),
            newest=lambda peer: max(ways.get(peer, {}).values(), key=lambda way: way.sequence, default=None),
        )
        self.watch.look(list(self.links.values()), catalogue)  # type: ignore[arg-type]
        return bool(self.watch.all)


@pytest.mark.parametrize("linked_ms", [1, 500, 999])
def test_twins_are_told_within_four_seconds(linked_ms: int) -> None:
    watched = Watched()
    watched.link(1)
    watched.look()
    watched.link(2)
    assert [watched.look(linked_ms), *(watched.look() for _ in range(4))] == [False, False, False, True, True]
    assert [type(record) for record in watched.told] == [IdentityTwins]
    del watched.links[1]
    assert not watched.look()


LAGS = st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 2), min_size=3, max_size=3)), max_size=40)


@given(LAGS)
def test_one_process_whose_links_lag_is_no_twin(steps: list[tuple[bool, list[int]]]) -> None:
    """It signs again at any time, and each link brings any of the last entries, up to two looks late."""
    watched = Watched()
    numbers = [watched.link(1) for _ in range(3)]
    signed = [1, 1, 1]  # the newest entry at each of the last looks, the latest first
    for is_new, lags in steps:
        signed = [signed[0] + is_new, *signed[:2]]
        for number, lag in zip(numbers, lags, strict=True):
            watched.brought[number] = max(watched.brought[number], signed[lag])
        assert not watched.look()


OLD_LINKS: list[Any] = [
    pytest.param({"state": LinkState.ORPHANED}, id="control-lost"),
    pytest.param({"replaced": True}, id="replaced"),
    pytest.param({"draining": True}, id="draining"),
    pytest.param({"probing": LinkProbing(silent_ms=SILENCE_FAILING_MS)}, id="silent"),
]


@pytest.mark.parametrize("facts", OLD_LINKS)
def test_a_process_that_took_the_place_of_another_is_no_twin(facts: dict[str, Any]) -> None:
    """Old links linger after an upgrade, and after a machine was switched off and on again."""
    watched = Watched()
    old = watched.link(1)
    watched.look()
    watched.link(2)
    assert not watched.look()
    vars(watched.links[old]).update(facts)
    assert not any(watched.look() for _ in range(20))


def test_a_pause_of_this_node_makes_no_twins() -> None:
    watched = Watched()
    slow = watched.link(1)
    watched.link(2)
    assert not watched.look()
    assert not watched.look(60_000)  # what was sent meanwhile is still to be read
    watched.brought[slow] = 2
    assert not watched.look()


def test_a_newer_entry_that_a_relay_passed_on_shows_a_twin_and_an_older_one_none() -> None:
    watched = Watched()
    watched.link(2)
    other = watched.link(1, peer=NodeId.from_uri(VECTORS["cases"][0]["linked"][0].replace("kent-1", "relay-9")))
    watched.paths[other] = ("spiffe://a",)
    assert not any(watched.look() for _ in range(20))
    watched.brought[other] = 3
    assert [watched.look() for _ in range(4)] == [False, False, False, True]


@pytest.mark.parametrize("case", VECTORS["messages"], ids=lambda case: case["identity"].rpartition("/")[2])
def test_the_message_is_that_of_the_vectors(case: Json) -> None:
    assert encode_message(Twin(case["identity"])) == octets(case["wire"])
    assert [message for message, _ in MessageReader().feed(octets(case["wire"]))] == [Twin(case["identity"])]


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_who_is_told_is_as_in_the_vectors(case: Json) -> None:
    watched = Watched()
    features = {"twins"} if case["listed"] else set[str]()
    sender = watched.link(1, peer_role=Role(case["role"]), features=features, peer=NodeId.from_dotted(f"x.{HUB}", "a"))
    others = [watched.link(1, peer=NodeId.from_uri(uri)) for uri in case["linked"]]
    watched.brought.clear()
    watched.watch.receive(watched.links[sender], Twin(case["identity"]))
    assert watched.look() == case["holds"]
    told = [uri for number, uri in zip(others, case["linked"], strict=True) if watched.links[number].sent]
    assert told == case["passed"]
    assert watched.links[sender].sent == []
    reasons = {"no identity": "twin_malformed", "its own, and the feature is not listed": "twin_unasked"}
    expected = [reasons[case["name"]]] if case["name"] in reasons else []
    if case["name"] == "a neighbour's, by an edge":
        expected = ["twin_not_a_relay"]
    assert list(watched.watch.refused) == expected
    watched.clock.advance(TOLD_MS - 3_000)
    assert watched.look() == case["holds"]
    assert not watched.look()


def test_who_found_twins_tells_them_and_relays_once_a_second() -> None:
    watched = Watched()
    relay = watched.link(1, peer_role=Role.RELAY, peer=NodeId.from_dotted(f"relay-1.{HUB}", "police.example"))
    edge = watched.link(1, peer=NodeId.from_dotted(f"met-1.{HUB}", "police.example"))
    older = watched.link(1, features=set())  # a version that does not know the message
    newer = watched.link(2)
    watched.brought = {older: 1, newer: 2}
    while not watched.look():
        assert not any(link.sent for link in watched.links.values())
    told = Twin(watched.edge.uri)
    assert [watched.links[number].sent for number in (relay, edge, older, newer)] == [[told], [], [], [told]]
    watched.look()
    assert watched.links[newer].sent == [told, told]
    watched.links[newer].controlled = False
    watched.look()
    assert watched.links[newer].sent == [told, told]


def test_what_one_neighbour_tells_is_bounded_and_ends_with_its_link() -> None:
    watched = Watched()
    relay = watched.links[watched.link(1, peer_role=Role.RELAY)]
    watched.brought.clear()
    for number in range(TOLD_MOST + 5):
        watched.watch.receive(relay, Twin(VECTORS["me"].replace("relay-2", f"n-{number}")))
    assert [len(told) for told in watched.watch._told.values()] == [TOLD_MOST]
    assert watched.watch.refused == {"twin_too_many": 5}
    watched.watch.link_down(relay)
    assert watched.watch._told == {}
    watched.watch.receive(relay, Twin(VECTORS["me"]))
    assert watched.look()
    watched.watch.link_down(relay)
    assert not watched.look()


def test_an_edge_tells_no_relay_of_others() -> None:
    """A relay believes it of relays alone."""
    watched = Watched(Role.EDGE)
    relay = watched.link(1, peer_role=Role.RELAY, peer=NodeId.from_dotted(f"relay-1.{HUB}", "police.example"))
    older, newer = watched.link(1), watched.link(2)
    watched.brought = {older: 1, newer: 2}
    for _ in range(5):
        watched.look()
    assert watched.links[newer].sent
    assert watched.links[relay].sent == []
