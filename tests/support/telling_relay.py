"""A relay without sockets that knows edges, and a neighbour that it tells of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace

from pcgrelay import messages as m
from pcgrelay.catalogue.entries import Catalogue, Offer, ReceivedEntry, SignedEntry, VerifiedEntry
from pcgrelay.catalogue.interest import Interests
from pcgrelay.catalogue.propagation import CataloguePropagation
from pcgrelay.clock import SetClock
from pcgrelay.model import NodeId, Role
from pcgrelay.policy.clearances import OPEN

REALM = "police.example"
ME = NodeId(REALM, "hub.example", "relay-1")
BOTH = frozenset({"interest", "chain-hash"})


@dataclass(eq=False)
class NeighbourLink:
    number: int
    peer: NodeId
    peer_role: Role = Role.EDGE
    features: frozenset[str] = BOTH
    bearer: str = "internet"
    controlled: bool = True
    draining: bool = False
    lanes_up: dict[int, int] = field(default_factory=lambda: {0: 0})
    backlog_bytes: int = 0
    sent: list[m.Message] = field(default_factory=list)

    def send(self, message: m.Message) -> None:
        self.sent.append(message)

    def told(self) -> set[str]:
        """The edges that it was told of and that were not withdrawn."""
        found: set[str] = set()
        for message in self.sent:
            if isinstance(message, m.Advert):
                found.add(message.entry.decode())
            elif isinstance(message, m.Withdraw):
                found.remove(message.edge)
        return found


class TellingRelay:
    """A relay that knows edges from another one, and has one neighbour that may be an edge."""

    def __init__(self, link: NeighbourLink) -> None:
        self.clock = SetClock(datetime(2027, 1, 1, tzinfo=UTC))
        self.link = link
        self.links = {1: NeighbourLink(1, NodeId(REALM, "hub.example", "relay-2"), Role.RELAY), link.number: link}
        self.catalogue = Catalogue()
        self.counted: Counter[str] = Counter()
        self.interests = Interests(self.counted, self.clock)
        policy = SimpleNamespace(admits=lambda organisation: True)
        local = SimpleNamespace(clearances=OPEN, config=SimpleNamespace(node=SimpleNamespace(id=ME), policy=policy))
        self.propagation = CataloguePropagation(
            local,  # type: ignore[arg-type]
            self.catalogue,
            self.links,  # type: ignore[arg-type]
            self.interests,
            lambda reason: None,
            self.clock,
        )
        self.sequence = 0
        self.chain: tuple[bytes, ...] = (b"leaf",)

    def put(self, edge: str, services: list[str]) -> None:
        self.sequence += 1
        signed = SignedEntry(edge.encode(), b"", self.chain)
        offers = tuple(Offer(service, 1) for service in services)
        identity = NodeId.from_uri(edge)
        path = (self.links[1].peer.uri,)
        self.catalogue.put(1, ReceivedEntry(VerifiedEntry(signed, identity, self.sequence, 1 << 60, offers), path))
        self.propagation.changed(identity)

    def up(self) -> None:
        self.interests.link_up(self.link)  # type: ignore[arg-type]
        self.propagation.tell_link(self.link)  # type: ignore[arg-type]

    def want(self, *services: str, edges: tuple[str, ...] = ()) -> None:
        if self.interests.receive(self.link, m.Want(services, edges)) is not None:  # type: ignore[arg-type]
            self.propagation.tell_link(self.link)  # type: ignore[arg-type]

    def tick(self, milliseconds: int = 1_000) -> None:
        self.clock.advance(milliseconds)
        for number in self.interests.due():
            self.propagation.tell_link(self.links[number])  # type: ignore[arg-type]
        self.propagation.tick()
