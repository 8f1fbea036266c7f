"""A fleet of relays and edges without sockets: the real catalogue of each node, messages as bytes, a virtual network.

Each node has its own LocalIdentity (copied from one that read files), CatalogueExchange and tables; each edge a
certificate of its own and a chain of two. A message is encoded by who sends it, arrives TRIP_MS later, and is decoded
by who gets it. Not there: TLS, the kernel, and the core.
"""

from __future__ import annotations

import copy
import dataclasses
import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec import structs

from pcgrelay import config
from pcgrelay.catalogue.entries import Offer
from pcgrelay.catalogue.exchange import CatalogueExchange
from pcgrelay.catalogue.interest import make_want
from pcgrelay.clock import SetClock
from pcgrelay.identity.handshake import CHAIN_HASH, INTEREST
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.messages import Message, MessageReader, Want, encode_message
from pcgrelay.model import NodeId, Role, ServiceName
from tests.support.nodes_in_process import HUB, KENT, Nodes
from tests.support.pki import REALM

TRIP_MS = 5  # of a message from one node to the next
SERVICES = 10  # of each edge
RENEWED_EACH_S = 900
EDGES_EACH = 40  # for each relay; each edge hangs on two, so a relay has 80 of them
IMPORTS = 20  # of an edge
FEATURES = (INTEREST, CHAIN_HASH)


def neighbours(count: int, degree: int | None) -> list[set[int]]:
    """Who is linked with whom: everybody if degree is None, else a ring with chords, of six neighbours each."""
    if degree is None or count <= degree + 1:
        return [set(range(count)) - {each} for each in range(count)]
    chords = max(2, round(count ** (1 / 3))), max(3, round(count ** (2 / 3)))
    steps = {1, *(step - (2 * step == count) for step in chords)}
    return [{(each + sign * step) % count for step in steps for sign in (1, -1)} - {each} for each in range(count)]


def relay_id(number: int) -> NodeId:
    return NodeId(REALM, HUB, f"relay-{number}")


def edge_id(number: int) -> NodeId:
    return NodeId(REALM, KENT, f"edge-{number}")


def offers_of(number: int) -> tuple[Offer, ...]:
    return tuple(Offer(f"service-{number}-{each}", 1) for each in range(SERVICES))


class Identities:
    """The identities of the nodes of one fleet: one authority, and a certificate for each edge."""

    def __init__(self, folder: Path) -> None:
        nodes = Nodes(folder)
        path = nodes.write(HUB, "relay-0", role="relay", listens=["127.0.0.1:1"])
        self.base = LocalIdentity(config.load(path))
        nodes.pki.issue(KENT, "edge-0")
        leaf = (folder / f"edge-0.{KENT}" / "edge-0.pem").read_bytes()
        self._leaf = x509.load_pem_x509_certificates(leaf)[0]
        self._authority = nodes.pki.ca_certificate
        key = load_pem_private_key((folder / "ca" / "realm-ca.key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._authority_key = key
        self._key = ec.generate_private_key(ec.SECP256R1())

    def relay(self, identity: NodeId) -> LocalIdentity:
        return self._local(identity, Role.RELAY)

    def edge(self, identity: NodeId) -> LocalIdentity:
        local = self._local(identity, Role.EDGE)
        chain = (self._certificate(identity), self._authority)
        local.credentials = dataclasses.replace(local.credentials, chain=chain, key=self._key)
        return local

    def _local(self, identity: NodeId, role: Role) -> LocalIdentity:
        local = copy.copy(self.base)
        node = structs.replace(self.base.config.node, id=identity, role=role)
        policy = structs.replace(self.base.config.policy, members=("*",))
        local.config = structs.replace(self.base.config, node=node, policy=policy)
        return local

    def _certificate(self, identity: NodeId) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(self._leaf.subject).issuer_name(self._authority.subject)
        builder = builder.public_key(self._key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=60))
        for extension in self._leaf.extensions:
            value: Any = extension.value
            if isinstance(value, x509.SubjectAlternativeName):
                value = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity.uri)])
            if isinstance(value, x509.SubjectKeyIdentifier):
                value = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
            builder = builder.add_extension(value, extension.critical)
        return builder.sign(self._authority_key, hashes.SHA256())


class End:
    """One node's end of a link, as its catalogue sees it. Without another end what is sent is encoded and dropped."""

    def __init__(self, node: Node, number: int, peer: NodeId, peer_role: Role) -> None:
        self.node = node
        self.number = number
        self.peer, self.peer_role = peer, peer_role
        self.bearer = "internet"
        self.controlled, self.draining, self.lanes_up, self.backlog_bytes = True, False, {0: 0}, 0
        self.features = node.fleet.features
        self.other: End | None = None
        self.reader = MessageReader()
        self.told = self.bytes = 0  # messages and bytes that were sent
        node.links[number] = self

    def send(self, message: Message) -> None:
        body = encode_message(message)
        self.told += 1
        self.bytes += len(body)
        self.node.fleet.sent[type(message).__name__, self.node.role, self.peer_role] += 1
        if self.other is not None and self.other.controlled:
            self.node.fleet.post(self.other, body)


class Node:
    def __init__(self, fleet: Fleet, local: LocalIdentity) -> None:
        self.fleet = fleet
        self.role, self.id = local.config.node.role, local.config.node.id
        self.links: dict[int, Any] = {}
        self.local = local
        self.exchange = CatalogueExchange(
            local, self.links, lambda link: 0, lambda: None, lambda record: None, fleet.clock
        )

    def receive(self, end: End, body: bytes) -> None:
        given: Any = end
        for message, _ in end.reader.feed(body):
            self.exchange.receive(given, message)  # type: ignore[arg-type]

    def lose(self, end: End) -> None:
        """Lose a link, as if its network had ended."""
        given: Any = self.links.pop(end.number)
        end.controlled = False
        self.exchange.link_down(given)

    def knows(self, edge: NodeId, sequence: int) -> bool:
        newest = self.exchange.catalogue.newest(edge)
        return newest is not None and newest.sequence >= sequence


class Fleet:
    """Relays, the edges that are looked at, and the network between them. Must be used in a running event loop."""

    def __init__(self, identities: Identities, count: int, degree: int | None, features: tuple[str, ...]) -> None:
        self.identities = identities
        self.features = features
        self.clock = SetClock(datetime.now(UTC))
        self.sent: Counter[tuple[str, Role, Role]] = Counter()
        self.delivered: Callable[[Node], None] = lambda node: None
        self._posted: list[tuple[int, int, End, bytes]] = []
        self._order = self._links = 0
        self.relays = [Node(self, identities.relay(relay_id(number))) for number in range(count)]
        self.edges: list[Node] = []
        for number, others in enumerate(neighbours(count, degree)):
            for other in sorted(each for each in others if each > number):
                self.link(self.relays[number], self.relays[other])

    def link(self, one: Node, other: Node) -> None:
        self._links += 1
        near, far = End(one, self._links, other.id, other.role), End(other, self._links, one.id, one.role)
        near.other, far.other = far, near
        for node, end in ((one, near), (other, far)):
            given: Any = end
            node.exchange.link_up(given)

    def add_edge(self, relays: Iterable[int], wants: Iterable[int] = ()) -> Node:
        """Add an edge on these relays; it imports a service of each of those edges."""
        number = len(self.edges)
        edge = Node(self, self.identities.edge(edge_id(number)))
        self.edges.append(edge)
        services = [ServiceName(f"service-{each}-0", KENT) for each in wants]
        edge.exchange.want(make_want(services, (), ()))
        for each in dict.fromkeys(relays):
            self.link(edge, self.relays[each])
        edge.exchange.offer(offers_of(number))
        return edge

    def add_silent_edges(self, relay: Node, count: int, wanting: int) -> None:
        """Add edges that only listen. They import what nobody here offers, but each hundredth from all of `wanting`."""
        for number in range(count):
            self._links += 1
            end: Any = End(relay, self._links, NodeId(REALM, KENT, f"silent-{self._links}"), Role.EDGE)
            relay.exchange.link_up(end)
            names = [ServiceName(f"service-{each}-0", KENT) for each in range(wanting)] if number % 100 == 0 else []
            others = [ServiceName(f"other-{each}", KENT) for each in range(IMPORTS)]
            if INTEREST in self.features:
                want = make_want(names or others, (), ())
                assert isinstance(want, Want)
                relay.exchange.receive(end, want)

    def post(self, to: End, body: bytes) -> None:
        self._order += 1
        heapq.heappush(self._posted, (self.clock.monotonic_ms() + TRIP_MS, self._order, to, body))

    def settle(self, edge: NodeId | None = None, sequence: int = 0, among: Iterable[Node] = ()) -> tuple[int, int]:
        """Deliver until nothing is on the way; return the milliseconds until then, and until all knew the edge.

        among: who must know of the edge with this sequence. `delivered` is called after each message.
        """
        began = last = self.clock.monotonic_ms()
        ignorant = set(among)
        known = began
        while self._posted:
            at, _, end, body = heapq.heappop(self._posted)
            self.clock.advance(max(0, at - self.clock.monotonic_ms()))
            if not end.controlled:
                continue
            end.node.receive(end, body)
            self.delivered(end.node)
            last = at
            if edge is not None and end.node in ignorant and end.node.knows(edge, sequence):
                ignorant.discard(end.node)
                known = at
        if ignorant:
            raise AssertionError(f"{len(ignorant)} nodes did not hear of {edge}")
        return last - began, known - began

    def rest(self, seconds: int = 60) -> None:
        """Let time pass, so that nothing counts as flapping, and forget what was counted."""
        for _ in range(2):
            self.clock.advance(seconds * 500)
            for node in (*self.relays, *self.edges):
                node.exchange._propagation.tick()
        self.sent.clear()
