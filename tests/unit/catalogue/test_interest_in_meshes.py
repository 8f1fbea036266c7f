"""An edge that says what it needs finds the same exporters, over the same paths, as one that hears everything.

Relays in random meshes, with the classes that run; what carries their messages is a list. Two edges are linked to the
same relays, one of a version that lists the features and one that does not. Entries change, edges and links come and
go, the edges import something else, and what is under way arrives in any order over different links.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from types import SimpleNamespace

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from pcgrelay import messages as m
from pcgrelay.catalogue.chains import ChainRequests
from pcgrelay.catalogue.entries import (
    ENTRY_KIND,
    RELAYS_MOST,
    Catalogue,
    Entry,
    Offer,
    ReceivedEntry,
    SignedEntry,
    VerifiedEntry,
)
from pcgrelay.catalogue.interest import Interests, make_want
from pcgrelay.catalogue.propagation import CataloguePropagation
from pcgrelay.clock import SetClock
from pcgrelay.model import NodeId, Role, ServiceName
from pcgrelay.policy.clearances import OPEN
from pcgrelay.services.imports import offers_of
from tests.support.machines import examples

REALM = "police.example"
SERVICES = ("custody", "mail", "records", "fuel")
OWNERS = ("kent.example", "met.example")
BOTH = frozenset({"interest", "chain-hash"})
STEPS = 60


@dataclass(eq=False)
class End:
    """One end of a link."""

    number: int
    peer: NodeId
    peer_role: Role
    features: frozenset[str]
    far: Node
    bearer: str = "internet"
    controlled: bool = True
    draining: bool = False
    lanes_up: dict[int, int] = field(default_factory=lambda: {0: 0})
    backlog_bytes: int = 0
    arriving: deque[m.Message] = field(default_factory=deque)  # what the far end has sent
    other: End | None = None

    def send(self, message: m.Message) -> None:
        assert self.other is not None
        ((decoded, _),) = m.MessageReader().feed(m.encode_message(message))
        self.other.arriving.append(decoded)


class Node:
    """A relay, or an edge: what it exports, what it imports, and what it has heard."""

    def __init__(self, identity: NodeId, role: Role, clock: SetClock, features: frozenset[str] = BOTH) -> None:
        self.identity, self.role, self.clock, self.features = identity, role, clock, features
        self.links: dict[int, End] = {}
        self.catalogue = Catalogue()
        self.counted: Counter[str] = Counter()
        self.chains = ChainRequests(self.catalogue, self.counted, clock)
        self.interests = Interests(self.counted, clock)
        policy = SimpleNamespace(admits=lambda organisation: True)
        config = SimpleNamespace(node=SimpleNamespace(id=identity), policy=policy)
        self.propagation = CataloguePropagation(
            SimpleNamespace(clearances=OPEN, config=config),  # type: ignore[arg-type]
            self.catalogue,
            self.links if role is Role.RELAY else {},  # type: ignore[arg-type]
            self.interests,
            lambda reason: None,
            clock,
        )
        self.sequence = 0
        self.offers: tuple[Offer, ...] = ()
        self.imports: list[ServiceName] = []
        self.asked: m.Want | None = None

    def up(self, end: End) -> None:
        self.links[end.number] = end
        if self.role is Role.EDGE:
            self.asked = None
            self.ask()
            self.tell_own(end)
        else:
            self.interests.link_up(end)  # type: ignore[arg-type]
            self.propagation.tell_link(end)  # type: ignore[arg-type]

    def down(self, end: End) -> None:
        del self.links[end.number]
        self.chains.link_gone(end)  # type: ignore[arg-type]
        self.interests.link_gone(end)  # type: ignore[arg-type]
        self.propagation.link_gone(end)  # type: ignore[arg-type]
        for edge in self.catalogue.link_gone(end.number):
            self.propagation.changed(edge, end.number)

    def receive(self, end: End, message: m.Message) -> None:
        if isinstance(message, m.Advert):
            self._advertised(end, message)
        elif isinstance(message, m.Withdraw):
            edge = NodeId.from_uri(message.edge)
            if self.catalogue.withdraw(end.number, edge):
                self.propagation.changed(edge, end.number)
        elif isinstance(message, m.AdvertGet):
            if message.edge == self.identity.uri:
                self.tell_own(end)
            else:
                self.propagation.tell_whole(end, NodeId.from_uri(message.edge))  # type: ignore[arg-type]
        elif isinstance(message, m.Want) and self.interests.receive(end, message) is not None:  # type: ignore[arg-type]
            self.propagation.tell_link(end)  # type: ignore[arg-type]

    def _advertised(self, end: End, message: m.Advert) -> None:
        entry = msgspec.msgpack.decode(message.entry, type=Entry)
        edge = NodeId.from_uri(entry.edge)
        if self.identity.uri in message.path or edge == self.identity or len(message.path) > RELAYS_MOST:
            return
        if self.catalogue.put_refusal(edge, entry.sequence):
            return
        chain = self.chains.whole(end, edge, message.chain)  # type: ignore[arg-type]
        if chain is None:
            return
        assert chain == (edge.uri.encode(),)
        signed = SignedEntry(message.entry, message.signature, chain)
        known = ReceivedEntry(VerifiedEntry(signed, edge, entry.sequence, 1 << 60, entry.offers), message.path)
        self.catalogue.put(end.number, known)
        self.propagation.changed(edge, end.number)

    def offer(self, offers: tuple[Offer, ...]) -> None:
        self.offers = offers
        self.sequence += 1
        for end in self.links.values():
            self.tell_own(end)

    def tell_own(self, end: End) -> None:
        not_after = int(self.clock.wall().timestamp()) + 600
        entry = Entry(ENTRY_KIND, self.identity.uri, self.sequence, not_after, self.offers)
        end.send(m.Advert(msgspec.msgpack.encode(entry), b"", (self.identity.uri.encode(),), ()))

    def ask(self) -> None:
        """As `gateway.wanting`, without what that asks of the time."""
        found = offers_of(self.catalogue, self.imports)
        unfound = {service.organisation for service, offers in found.items() if not offers}
        want = make_want(self.imports, unfound, [edge for offers in found.values() for edge, _ in offers])
        if want != self.asked and "interest" in self.features:
            self.asked = want
            for end in self.links.values():
                end.send(want)

    def tick(self) -> None:
        for number in self.interests.due():
            self.propagation.tell_link(self.links[number])  # type: ignore[arg-type]
        self.propagation.tick()
        if self.role is Role.EDGE:
            self.ask()

    def decided(self) -> object:
        """What it decides by: the offers of each import, and the ways to those who have them."""
        found = offers_of(self.catalogue, self.imports)
        ways = {
            edge: {number: (known.path, known.sequence) for number, known in self.catalogue.ways(edge).items()}
            for offers in found.values()
            for edge, _ in offers
        }
        return {service: sorted(offers) for service, offers in found.items()}, ways

    def names(self) -> set[str]:
        """What is shown in place of an import that nobody offers."""
        unfound = {
            service.organisation for service, offers in offers_of(self.catalogue, self.imports).items() if not offers
        }
        edges = [edge for edge in self.catalogue.edges() if edge.organisation in unfound]
        newest = [known for edge in edges if (known := self.catalogue.newest(edge)) is not None]
        return {f"{offer.service}@{known.edge.organisation}" for known in newest for offer in known.offers}


class Mesh:
    """Relays, exporters behind them, and two edges that import the same over the same relays."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.clock = SetClock(datetime(2027, 1, 1, tzinfo=UTC))
        self.numbers: Counter[NodeId] = Counter()
        self.ends: list[End] = []
        self.relays = [
            Node(NodeId(REALM, "hub.example", f"relay-{number}"), Role.RELAY, self.clock)
            for number in range(random.randint(1, 4))
        ]
        self.exporters = [
            Node(NodeId(REALM, random.choice(OWNERS), f"edge-{number}"), Role.EDGE, self.clock)
            for number in range(random.randint(1, 5))
        ]
        importer = lambda name, features: Node(NodeId(REALM, "city.example", name), Role.EDGE, self.clock, features)
        self.importers = importer("newer", BOTH), importer("older", frozenset[str]())
        for number, relay in enumerate(self.relays[1:], 1):
            for other in random.sample(self.relays[:number], random.randint(1, number)):
                self.connect(relay, other)
        for exporter in self.exporters:
            self.change(exporter)
            for relay in random.sample(self.relays, random.randint(1, min(2, len(self.relays)))):
                self.connect(exporter, relay)
        self.importing()
        for relay in random.sample(self.relays, random.randint(1, len(self.relays))):
            for importer in self.importers:
                self.connect(importer, relay)

    def connect(self, one: Node, other: Node) -> None:
        features = one.features & other.features
        ends = [self._end(node, far, features) for node, far in ((one, other), (other, one))]
        ends[0].other, ends[1].other = ends[1], ends[0]
        self.ends += ends
        for node, end in zip((one, other), ends, strict=True):
            node.up(end)

    def _end(self, node: Node, far: Node, features: frozenset[str]) -> End:
        self.numbers[node.identity] += 1
        return End(self.numbers[node.identity], far.identity, far.role, features, far)

    def cut(self, end: End) -> None:
        other = end.other
        assert other is not None
        self.ends = [each for each in self.ends if each is not end and each is not other]
        for node, each in ((other.far, end), (end.far, other)):
            each.controlled = False
            node.down(each)

    def change(self, exporter: Node) -> None:
        names = self.random.sample(SERVICES, self.random.randint(0, 3))
        exporter.offer(tuple(Offer(name, 1, state=self.random.randint(1, 3)) for name in names))

    def importing(self) -> None:
        names = [ServiceName(name, owner) for name in SERVICES for owner in OWNERS]
        chosen = self.random.sample(names, self.random.randint(0, 4))
        for importer in self.importers:
            importer.imports = chosen
            importer.ask()

    def deliver(self, most: int) -> bool:
        """Let so many messages arrive, of links in any order; whether one did."""
        arrived = False
        for _ in range(most):
            ready = [end for end in self.ends if end.arriving]
            if not ready:
                break
            end = self.random.choice(ready)
            assert end.other is not None
            end.other.far.receive(end, end.arriving.popleft())
            arrived = True
        return arrived

    def step(self) -> None:
        act = self.random.randrange(6)
        if act == 0:
            self.change(self.random.choice(self.exporters))
        elif act == 1:
            self.importing()
        elif act == 2:
            self._relink()
        elif act == 3:
            self.wait(1_000)
        else:
            self.deliver(self.random.randint(1, 20))

    def _relink(self) -> None:
        """Lose a link that is not of an importer, and perhaps have it again."""
        identities = {importer.identity for importer in self.importers}
        inner = [end for end in self.ends if end.other and not {end.peer, end.other.peer} & identities]
        if inner:
            end = self.random.choice(inner)
            assert end.other is not None
            one, other = end.far, end.other.far
            self.cut(end)
            if self.random.random() < 0.7:
                self.connect(one, other)

    def wait(self, milliseconds: int) -> None:
        self.clock.advance(milliseconds)
        for node in (*self.relays, *self.exporters, *self.importers):
            node.tick()

    def settle(self) -> None:
        """Wait until nothing changes any more: what flaps and what was put off comes too."""
        for _ in range(40):
            while self.deliver(1_000):
                pass
            self.wait(3_000)
        assert not self.deliver(1)


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(0, 1 << 64))
def test_an_edge_that_hears_what_it_needs_decides_as_one_that_hears_everything(seed: int) -> None:
    mesh = Mesh(Random(seed))
    newer, older = mesh.importers
    for _ in range(3):
        for _ in range(STEPS // 3):
            mesh.step()
        mesh.settle()
        assert newer.decided() == older.decided()
        assert newer.names() == older.names()
        heard, everything = set(newer.catalogue.edges()), set(older.catalogue.edges()) - {newer.identity}
        assert heard <= everything
        wanted = {service.organisation for service in newer.imports}
        assert all(edge.organisation in wanted for edge in heard)
    refused = Counter(word for node in mesh.relays for word in node.counted.elements())
    assert set(refused) <= {"want_too_often", "want_missing", "chain_unknown"}
