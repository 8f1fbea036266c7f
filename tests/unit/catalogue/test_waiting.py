"""Adverts that wait to be verified: none is lost within the limits, and one neighbour's do not push out another's."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from pcgrelay import config
from pcgrelay.catalogue import exchange, proofs, waiting
from pcgrelay.catalogue.entries import ENTRY_KIND
from pcgrelay.catalogue.exchange import CatalogueExchange
from pcgrelay.catalogue.proofs import PROOFS_AT_ONCE, PROOFS_EACH_SECOND
from pcgrelay.catalogue.waiting import FORM_BYTES, WaitingAdverts
from pcgrelay.clock import SetClock
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.messages import Advert, Withdraw
from pcgrelay.model import NodeId, Role
from tests.support.nodes_in_process import HUB, KENT, Nodes
from tests.support.pki import REALM
from tests.support.ports import free_port


def edge(number: int) -> NodeId:
    return NodeId(REALM, KENT, f"edge-{number}")


def advert(size: int = 0, word: bytes = b"") -> Advert:
    return Advert(word, b"", (bytes(size),), ())


# -- what waits -------------------------------------------------------------------------------------------------------


def test_the_newest_of_each_edge_waits_in_the_order_of_coming() -> None:
    held = WaitingAdverts()
    for number, word in ((1, b"a"), (2, b"b"), (1, b"c")):
        assert held.put(7, edge(number), advert(word=word))
    assert [(who, each.entry) for who, each in held.of(7)] == [(edge(1), b"c"), (edge(2), b"b")]
    assert held.of(8) == []
    held.drop(7, edge(3))
    held.drop(7, edge(1))
    held.drop(7, edge(2))
    assert (held.links(), held._bytes) == ([], {})


def test_a_link_has_no_more_waiting_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LINK_BYTES", 3 * FORM_BYTES)
    held = WaitingAdverts()
    assert [held.put(1, edge(number), advert()) for number in range(4)] == [True, True, True, False]
    # It may be replaced by one that is not larger; one that is too large takes the older one with it.
    assert held.put(1, edge(2), advert())
    assert not held.put(1, edge(2), advert(1))
    assert [who for who, _ in held.of(1)] == [edge(0), edge(1)]
    assert held._bytes == {1: 2 * FORM_BYTES}


def test_who_has_most_waiting_loses_it_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "ALL_BYTES", 4 * FORM_BYTES)
    held = WaitingAdverts()
    for number in range(4):
        assert held.put(1, edge(number), advert())
    assert held.put(2, edge(0), advert())
    assert held.put(2, edge(1), advert())
    # Both have the same now: neither pushes out the other.
    assert not held.put(2, edge(2), advert())
    assert not held.put(1, edge(2), advert())
    assert [who for who, _ in held.of(1)] == [edge(0), edge(1)]
    held.link_gone(1)
    assert (len(held), held._bytes) == (2, {2: 2 * FORM_BYTES})


# -- in a relay -------------------------------------------------------------------------------------------------------


class Relay:
    """A relay with neighbours that are relays and tell of any number of edges. Proofs are counted and not verified."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        local = LocalIdentity(
            config.load(Nodes(folder).write(HUB, "me", role="relay", listens=[f"127.0.0.1:{free_port()}"]))
        )
        self.proofs = 0
        monkeypatch.setattr(proofs, "verify_entry", self._verify)
        self.clock = SetClock(datetime.now(UTC))
        self.links: dict[int, Any] = {number: self._link(number) for number in (1, 2)}
        self.exchange = CatalogueExchange(
            local, self.links, lambda link: 0, lambda: None, lambda record: None, self.clock
        )
        self.exchange._changed_soon = lambda: None  # type: ignore[method-assign]

    def _verify(self, *given: object) -> None:
        self.proofs += 1

    def _link(self, number: int) -> Any:
        peer = NodeId(REALM, HUB, f"relay-{number}")
        return SimpleNamespace(
            number=number,
            peer=peer,
            peer_role=Role.RELAY,
            controlled=True,
            lanes_up={},
            draining=False,
            bearer="x",
            features=(),
        )

    def told(self, link: int, number: int, sequence: int = 1) -> None:
        not_after = int(self.clock.wall().timestamp()) + 1_800
        entry = msgspec.msgpack.encode([ENTRY_KIND, edge(number).uri, sequence, not_after, [["mail", 1, 2, 100, 1]]])
        path = (self.links[link].peer.uri,)
        self.exchange.receive(self.links[link], Advert(entry, b"%d" % number, (bytes(1_000),), path))

    def second(self) -> int:
        """Let a second pass; return how many proofs were verified in it."""
        before = self.proofs
        self.clock.advance(1_000)
        self.exchange.tick()
        return self.proofs - before

    @property
    def known(self) -> int:
        return len(list(self.exchange.catalogue.edges()))


@pytest.fixture
def relay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Relay:
    return Relay(tmp_path, monkeypatch)


async def test_a_relay_with_one_neighbour_soon_knows_5000_edges(relay: Relay) -> None:
    for number in range(5_000):
        relay.told(1, number)
    assert relay.known == relay.proofs == PROOFS_AT_ONCE
    assert relay.exchange.refused == {"advert_waits": 5_000 - PROOFS_AT_ONCE}
    seconds = 0
    while len(relay.exchange._waiting):
        assert relay.second() <= PROOFS_EACH_SECOND
        seconds += 1
    assert seconds == (5_000 - PROOFS_AT_ONCE) / PROOFS_EACH_SECOND
    assert relay.known == relay.proofs == 5_000
    assert relay.exchange.refused == {"advert_waits": 5_000 - PROOFS_AT_ONCE}


async def test_what_another_link_brings_need_not_wait(relay: Relay) -> None:
    for link in (1, 2):
        for number in range(2 * PROOFS_AT_ONCE) if link == 1 else range(PROOFS_AT_ONCE, 2 * PROOFS_AT_ONCE):
            relay.told(link, number)
    assert (relay.known, relay.proofs) == (2 * PROOFS_AT_ONCE, 2 * PROOFS_AT_ONCE)
    for _ in range(PROOFS_AT_ONCE // exchange.WAITING_EACH_SECOND):
        assert relay.second() == 0
    assert len(relay.exchange._waiting) == 0
    assert list(relay.exchange.catalogue.ways(edge(2 * PROOFS_AT_ONCE - 1))) == [2, 1]


async def test_what_is_withdrawn_renewed_or_lost_with_its_link_waits_no_more(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proofs, "PROOFS_AT_ONCE", 1)
    for number in range(5):
        relay.told(1, number)
    relay.told(1, 2, sequence=2)
    relay.exchange.receive(relay.links[1], Withdraw(edge(1).uri, 1))
    assert [who for who, _ in relay.exchange._waiting.of(1)] == [edge(2), edge(3), edge(4)]
    relay.clock.advance(1_000)
    relay.told(1, 3, sequence=2)  # before the others: its budget is whole again
    assert [who for who, _ in relay.exchange._waiting.of(1)] == [edge(2), edge(4)]
    relay.clock.advance(1_000)
    relay.exchange.tick()
    assert [known.sequence for known in relay.exchange.catalogue.ways(edge(2)).values()] == [2]
    relay.exchange.link_down(relay.links.pop(1))
    assert len(relay.exchange._waiting) == 0
    relay.exchange.tick()
    assert relay.known == 0


async def test_what_has_no_room_to_wait_is_refused_by_name(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proofs, "PROOFS_AT_ONCE", 1)
    monkeypatch.setattr(waiting, "LINK_BYTES", 2 * (1_200 + FORM_BYTES))
    for number in range(5):
        relay.told(1, number)
    assert relay.exchange.refused == {"advert_waits": 2, "advert_budget": 2}
