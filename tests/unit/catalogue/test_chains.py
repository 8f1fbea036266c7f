"""Chains that are named by their digests: who names which, who knows which, and requests for the whole."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec
import pytest

from pcgrelay import messages as m
from pcgrelay.catalogue import chains as c
from pcgrelay.catalogue.entries import (
    ENTRY_KIND,
    Catalogue,
    Entry,
    Offer,
    ReceivedEntry,
    SignedEntry,
    VerifiedEntry,
)
from pcgrelay.catalogue.propagation import LOST_MS
from pcgrelay.clock import SetClock
from pcgrelay.model import NodeId
from tests.support.telling_relay import BOTH, NeighbourLink, TellingRelay
from tests.support.vectors import Json, load, octets

VECTORS = load("interest")
KENT_1, KENT_2, _ = VECTORS["catalogue"]
NOW = datetime(2027, 1, 1, tzinfo=UTC)
EDGE = NodeId.from_uri(KENT_1)
CHAINS = {"A": (b"leaf A", b"root"), "B": (b"leaf B", b"root")}


@dataclass(eq=False)
class Receiver:
    """One end of a link, and what it has of an edge from there."""

    features: frozenset[str] = BOTH
    number: int = 1
    sent: list[m.Message] = field(default_factory=list)
    clock: SetClock = field(default_factory=lambda: SetClock(NOW))
    counted: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.catalogue = Catalogue()
        self.chains = c.ChainRequests(self.catalogue, self.counted, self.clock)
        self.sequence = 0

    def send(self, message: m.Message) -> None:
        self.sent.append(message)

    def receive(self, chain: tuple[bytes, ...], edge: NodeId = EDGE) -> bool:
        """Whether an entry with this chain is taken."""
        self.sequence += 1
        not_after = int(self.clock.wall().timestamp()) + 600
        offers = (Offer("custody", 1),)
        entry = msgspec.msgpack.encode(Entry(ENTRY_KIND, edge.uri, self.sequence, not_after, offers))
        whole = self.chains.whole(self, edge, chain)  # type: ignore[arg-type]
        if whole is None:
            return False
        signed = SignedEntry(entry, b"", whole)
        self.catalogue.put(self.number, ReceivedEntry(VerifiedEntry(signed, edge, self.sequence, 1 << 60, offers), ()))
        return True


@pytest.mark.parametrize("case", VECTORS["digests"])
def test_digests_are_those_of_the_vectors(case: Json) -> None:
    assert c.chain_digest(tuple(map(octets, case["chain"]))) == octets(case["digest"])


@pytest.mark.parametrize("case", VECTORS["adverts"], ids=lambda case: case["name"])
def test_a_receiver_knows_what_the_vectors_say(case: Json) -> None:
    receiver, taken, asked = Receiver(), [], []
    for each in case["sent"]:
        before = len(receiver.sent)
        if each == "-":
            taken.append(receiver.catalogue.withdraw(receiver.number, EDGE))
        elif each[0] == "#":
            taken.append(receiver.receive((c.chain_digest(CHAINS[each[1]]),)))
        else:
            taken.append(receiver.receive(CHAINS[each]))
        asked.append(receiver.sent[before:] == [m.AdvertGet(EDGE.uri)])
    assert (taken, asked) == (case["taken"], case["asked"])
    assert receiver.counted.total() == sum(asked)


def test_a_chain_of_another_link_is_not_known() -> None:
    """The other neighbour may have told of an edge by a certificate that this one never had."""
    receiver = Receiver()
    assert receiver.receive(CHAINS["A"])
    receiver.number = 2
    assert not receiver.receive((c.chain_digest(CHAINS["A"]),))


def test_without_the_feature_a_digest_is_a_certificate_that_is_none() -> None:
    receiver = Receiver(features=frozenset())
    assert receiver.receive(CHAINS["A"])
    digest = (c.chain_digest(CHAINS["A"]),)
    assert receiver.chains.whole(receiver, EDGE, digest) == digest  # type: ignore[arg-type]


def test_requests_are_bounded_and_an_honest_one_is_answered() -> None:
    receiver, asked = Receiver(), []
    for _ in range(1_000):
        receiver.receive((bytes(32),))
    asked = list(receiver.sent)
    assert len(asked) == c.ASKED_AT_ONCE
    receiver.clock.advance(1_000)
    for _ in range(1_000):
        receiver.receive((bytes(32),))
    assert len(receiver.sent) == c.ASKED_AT_ONCE + c.ASKED_EACH_SECOND
    # Who asks as fast as that is answered each time, and who asks faster is not.
    sender = Receiver()
    answers = [sender.chains.answers(sender) for _ in range(c.ANSWERED_AT_ONCE + 10)]  # type: ignore[arg-type]
    assert sum(answers) == c.ANSWERED_AT_ONCE >= len(asked)
    assert sender.counted == {c.GET_TOO_OFTEN: 10}
    stranger = Receiver(features=frozenset())
    assert not stranger.chains.answers(stranger)  # type: ignore[arg-type]
    assert stranger.counted == {c.GET_UNASKED: 1}
    sender.chains.link_gone(sender)  # type: ignore[arg-type]
    assert sender.chains.answers(sender)  # type: ignore[arg-type]


# -- a relay that tells ----------------------------------------------------------------------------------------------


def carried(link: NeighbourLink) -> list[str]:
    """What was sent: W for a whole chain, H for a digest, - for a withdrawal."""
    words = []
    for message in link.sent:
        if isinstance(message, m.Advert):
            words.append("H" if c.digest_in(message.chain) else "W")
        else:
            words.append("-")
    link.sent.clear()
    return words


def test_a_relay_names_a_chain_that_it_told_last_and_no_other() -> None:
    relay = TellingRelay(NeighbourLink(7, NodeId.from_uri(KENT_2), features=frozenset({"chain-hash"})))
    relay.up()
    link = relay.link
    for _ in range(3):
        relay.put(KENT_1, ["custody"])
    assert carried(link) == ["W", "H", "H"]
    relay.chain = (b"renewed",)
    relay.put(KENT_1, ["custody"])
    relay.put(KENT_1, ["custody"])
    assert carried(link) == ["W", "H"]
    # What the neighbour asks for comes whole, once, and is withdrawn as ever.
    relay.propagation.tell_whole(link, EDGE)  # type: ignore[arg-type]
    relay.put(KENT_1, ["custody"])
    assert carried(link) == ["W", "H"]
    relay.catalogue.withdraw(1, EDGE)
    relay.propagation.changed(EDGE)
    relay.tick(LOST_MS)
    relay.propagation.tell_whole(link, EDGE)  # type: ignore[arg-type]
    assert carried(link) == ["-"]
    relay.put(KENT_1, ["custody"])
    assert carried(link) == ["W"]


def test_what_a_neighbour_asks_for_waits_until_it_reads() -> None:
    relay = TellingRelay(NeighbourLink(7, NodeId.from_uri(KENT_2), features=frozenset({"chain-hash"})))
    relay.up()
    relay.put(KENT_1, ["custody"])
    carried(relay.link)
    relay.link.backlog_bytes = 1 << 30
    for _ in range(5):
        relay.propagation.tell_whole(relay.link, EDGE)  # type: ignore[arg-type]
    assert carried(relay.link) == []
    relay.link.backlog_bytes = 0
    relay.propagation.link_has_room(relay.link)  # type: ignore[arg-type]
    assert carried(relay.link) == ["W"]


def test_a_neighbour_without_the_feature_gets_each_chain_whole() -> None:
    relay = TellingRelay(NeighbourLink(7, NodeId.from_uri(KENT_2), features=frozenset()))
    relay.up()
    for _ in range(3):
        relay.put(KENT_1, ["custody"])
    assert carried(relay.link) == ["W", "W", "W"]
