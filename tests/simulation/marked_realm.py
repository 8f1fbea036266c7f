"""A realm of edges and relays on wires that lose nothing, in virtual time: what goes where, and whether it may.

The control plane is the real one from the catalogue to sessions. Not there: certificates, signatures, TLS (a handshake
is two messages that name the marking) and the core, of which only the tables are kept. A byte is traced through these
tables from one edge to the other, whatever the control plane believes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from msgspec import structs

from pcgrelay.catalogue import own_entry, proofs
from pcgrelay.catalogue.entries import ENTRY_KIND, Entry, Offer, SignedEntry
from pcgrelay.catalogue.exchange import CatalogueExchange, CatalogueMessage
from pcgrelay.catalogue.interest import make_want
from pcgrelay.dataplane.api import PathSpec
from pcgrelay.dataplane.events import SessionMoved, SessionResumed, SessionUp
from pcgrelay.gateway.edge_routes import EdgeRoutes
from pcgrelay.identity.handshake import LINK_FEATURES
from pcgrelay.identity.tls import HandshakeRefused
from pcgrelay.link.link import LinkState
from pcgrelay.messages import Advert, Message, PathOpen
from pcgrelay.model import NodeId, Precedence, Role, ServiceName, Suite
from pcgrelay.path.budget import Budget
from pcgrelay.path.edge import EdgePaths, PathEnd
from pcgrelay.path.labels import Labels
from pcgrelay.path.relay import RelayPaths
from pcgrelay.policy.clearances import OPEN, Clearances
from pcgrelay.session import table as sessions_module
from pcgrelay.session.session import Key, Session, State
from pcgrelay.session.table import Sessions
from tests.support.virtual_time import VirtualLoop

REALM = "police.example"
# What a relay may hide: who was before it on a path and is behind it, how a path is marked, and who it is itself.
LIES = ("names", "marking", "self")
TRIP_S = 0.002  # of a message over one wire
MIB = 1 << 20


class End:
    """One node's end of a wire, as the control plane sees a link."""

    def __init__(self, node: Node, number: int, bearer: str, far: NodeId, far_role: Role) -> None:
        self.node = node
        self.number = number
        self.bearer = bearer
        self.peer, self.peer_role = far, far_role
        self.other: End
        self.coming: deque[Message] = deque()  # on the wire
        self.is_up = True
        self.lanes, self.cap = 1, 16 * MIB
        self.draining = self.replaced = False
        self.state, self.changed_ms = LinkState.UP, node.realm.loop.monotonic_ms()
        self.backlog_bytes = 0
        self.lanes_up = {0: 1}
        self.standing = SimpleNamespace(settings=SimpleNamespace(precedence=Precedence.DEFAULT, weight=100))
        self.probing = SimpleNamespace(round_trip_ms=2 * TRIP_S * 1000)
        self.features: frozenset[str] = frozenset()  # those that both ends list

    usable = able = controlled = has_lanes = is_steady = is_well = property(lambda self: self.is_up)

    def send(self, message: Message) -> None:
        message = self.node.spoken(message)
        if self.is_up:
            self.other.coming.append(message)
            asyncio.get_running_loop().call_later(TRIP_S, self.other.deliver)

    def deliver(self) -> None:
        """Receive the next message: timers of one moment come in any order, and what is on a wire does not."""
        message = self.coming.popleft()
        if self.is_up:
            self.node.receive(self, message)


class Node:
    """One node: its catalogue, and what it says is cleared."""

    def __init__(self, realm: Realm, identity: NodeId, role: Role) -> None:
        self.realm = realm
        self.id = identity
        self.role = role
        self.links: dict[int, Any] = {}
        self.features = frozenset(LINK_FEATURES)
        policy = SimpleNamespace(admits=lambda name: True, handshake_deadline_ms=10_000, path_wait_ms=5_000)
        settings = SimpleNamespace(id=identity, role=role, lanes=1)
        self.local: Any = SimpleNamespace(
            config=SimpleNamespace(node=settings, policy=policy),
            clearances=OPEN,
            credentials=SimpleNamespace(key=None),
            chain=(b"leaf",),
            skews=SimpleNamespace(hear_entry=lambda *given: None),
            standing_refusal=lambda *given: None,
        )
        self.paths: Any
        self.exchange = CatalogueExchange(
            self.local, self.links, self.count_over, self.catalogue_changed, lambda record: None, realm.loop
        )

    def count_over(self, link: Any) -> int:
        count: int = self.paths.count_over(link)
        return count

    def catalogue_changed(self) -> None:
        """Do what the role does."""

    def spoken(self, message: Message) -> Message:
        """What it says in place of a message."""
        return message

    def receive(self, link: End, message: Message) -> None:
        given: Any = link
        if isinstance(message, CatalogueMessage):
            self.exchange.receive(given, message)
        else:
            self.paths.receive(given, message)

    def tick(self) -> None:
        self.exchange.tick()

    def judge(self) -> None:
        """Judge what stands by other clearances."""

    def clear(self, clearances: Clearances) -> None:
        """Reload with other clearances."""
        self.local.clearances = clearances
        self.judge()
        self.exchange.clearances_changed()


class Relay(Node):
    def __init__(self, realm: Realm, identity: NodeId) -> None:
        super().__init__(realm, identity, Role.RELAY)
        self.lie, self.claims = "", ""
        self.table: dict[int, PathSpec] = {}
        self.paths = RelayPaths(
            identity,
            plane=self,
            labels=Labels(realm.loop),
            next_link=self.exchange.route,
            awaits_way=self.exchange.awaits_way,
            reach=lambda source, destination: None,
            relays_behind=self.exchange.relays_behind,
            clearances=lambda: self.local.clearances,
            budget=Budget(1 << 40),
            emit=lambda record: None,
            clock=realm.loop,
        )

    def spoken(self, message: Message) -> Message:
        names = (self.claims if self.lie == "self" else self.id.uri,)
        if self.lie in ("names", "self") and isinstance(message, PathOpen):
            return structs.replace(message, via=names)
        if self.lie in ("names", "self") and isinstance(message, Advert):
            return structs.replace(message, path=names)
        if self.lie == "marking" and isinstance(message, PathOpen):
            return structs.replace(message, marking=1)
        return message

    def path_add(self, path: int, spec: PathSpec) -> None:
        self.table[path] = spec

    def path_remove(self, path: int) -> None:
        del self.table[path]

    def tick(self) -> None:
        super().tick()
        self.paths.expire()

    def judge(self) -> None:
        self.paths.judge()

    def onward(self, link: int, label: int) -> tuple[int, int] | None:
        """Where a frame goes that arrives on a link with a label: the link, and its label there."""
        for spec in self.table.values():
            if (link, label) == (spec.a_link, spec.a_in):
                return spec.b_link, spec.b_out
            if (link, label) == (spec.b_link, spec.b_in):
                return spec.a_link, spec.a_out
        return None


class Edge(Node):
    def __init__(self, realm: Realm, identity: NodeId) -> None:
        super().__init__(realm, identity, Role.EDGE)
        self.ways: dict[int, tuple[int, int, int]] = {}  # of sessions in the core: link, own label, the other's
        self.candidates: dict[int, dict[int, tuple[int, int, int]]] = {}
        node: Any = SimpleNamespace(
            exchange=self.exchange,
            clock=realm.loop,
            local=self.local,
            link_table=SimpleNamespace(links=self.links, dialler=SimpleNamespace(awaited=list)),
        )
        self.routes = EdgeRoutes(node)
        plane: Any = self
        self.sessions = Sessions(
            self.local, plane, plane, self.routes.choose, lambda flows: MIB, lambda record: None, realm.loop
        )
        self.paths = EdgePaths(identity, Labels(realm.loop), self.sessions)
        self.sessions.attach(self.paths)
        self.importing()

    def importing(self, *services: ServiceName) -> None:
        """Say what it imports, where the relays want to know that."""
        self.exchange.want(make_want(services, (), ()))

    def tick(self) -> None:
        super().tick()
        self.sessions.migration.move_back(self.routes.better)

    def judge(self) -> None:
        self.routes.forget()
        self.sessions.migration.judge(self.routes.may_carry)

    def catalogue_changed(self) -> None:
        self.sessions.migration.replaced()
        self.sessions.kick()

    # What sessions tell.

    def path_refused(self, key: Key, link: Any, reason: str) -> None:
        self.routes.refused(key, link, reason)

    def is_barred(self, key: Key) -> bool:
        return self.routes.is_barred(key)

    def awaits_way(self, key: Key) -> bool:
        return self.routes.awaits_way(key)

    def may_carry(self, session: Session, end: PathEnd) -> bool:
        return self.routes.may_carry(session, end)

    def session_added(self, session: Session) -> None:
        """Nothing is published."""

    def sessions_changed(self, key: Key) -> None:
        """Nothing is published."""

    def is_shut_out(self) -> bool:
        return False

    # The core.

    def session_add(self, number: int, **values: object) -> None:
        self.candidates[number] = {}

    def session_close(self, number: int, code: int) -> None:
        self.ways.pop(number, None)
        self.candidates.pop(number, None)

    def session_path(self, number: int, *, link: int, in_label: int, out_label: int, instead: int = 0) -> None:
        now = self.ways.get(number)
        self.candidates[number].pop(in_label, None)
        if instead and now is not None and (now[1] != instead or instead == in_label):
            return
        self.ways[number] = (link, in_label, out_label)
        self.realm.loop.call_later(2 * TRIP_S, self.realm.follow, self, number)

    def session_candidate(self, number: int, *, link: int, in_label: int, out_label: int) -> None:
        self.candidates[number][in_label] = (link, in_label, out_label)

    def session_candidate_drop(self, number: int, in_label: int) -> None:
        self.candidates[number].pop(in_label, None)

    def having(self, link: int, label: int) -> tuple[int, bool] | None:
        """The session that takes a frame from a link with a label, and whether only as one that resumes."""
        for number, way in self.ways.items():
            if way[:2] == (link, label):
                return number, False
        for number, ways in self.candidates.items():
            if label in ways and ways[label][0] == link:
                return number, True
        return None


class Hop:
    """One node on the way of a byte, and its ends of the wires there."""

    def __init__(self, node: Node, came: End | None, goes: End | None) -> None:
        self.node, self.came, self.goes = node, came, goes


class Realm:
    """Nodes and the wires between them."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.nodes: list[Node] = []
        self.wires: list[tuple[Node, str, Node, str]] = []  # with the bearer at each end
        self.ends: dict[int, End] = {}  # of wires that are up, by wire
        self._number = 0

    def relay(self, organisation: str, name: str) -> Relay:
        node = Relay(self, NodeId(REALM, organisation, name))
        self.nodes.append(node)
        return node

    def edge(self, organisation: str, name: str) -> Edge:
        node = Edge(self, NodeId(REALM, organisation, name))
        self.nodes.append(node)
        return node

    def wire(self, a: Node, a_bearer: str, b: Node, b_bearer: str) -> int:
        """Join two nodes; return the number of the wire, which is down yet."""
        self.wires.append((a, a_bearer, b, b_bearer))
        return len(self.wires) - 1

    def up(self, wire: int) -> None:
        if wire in self.ends:
            return
        a, a_bearer, b, b_bearer = self.wires[wire]
        self._number += 2
        here = End(a, self._number, a_bearer, b.id, b.role)
        there = End(b, self._number + 1, b_bearer, a.id, a.role)
        here.other, there.other = there, here
        here.features = there.features = a.features & b.features
        for end in (here, there):
            end.node.links[end.number] = end
        for end in (here, there):
            given: Any = end
            end.node.exchange.link_up(given)
            end.node.catalogue_changed()
        self.ends[wire] = here

    def down(self, wire: int) -> None:
        here = self.ends.pop(wire, None)
        if here is None:
            return
        for end in (here, here.other):
            given: Any = end
            end.is_up = False
            del end.node.links[end.number]
            end.node.exchange.link_down(given)
            end.node.paths.link_down(given)

    def rename(self, wire: int, a_bearer: str, b_bearer: str) -> None:
        """Say of a wire that it goes over other networks; both ends judge by that at once."""
        a, _, b, _ = self.wires[wire]
        self.wires[wire] = (a, a_bearer, b, b_bearer)
        if here := self.ends.get(wire):
            here.bearer, here.other.bearer = a_bearer, b_bearer
            for end in (here, here.other):
                end.node.clear(end.node.local.clearances)

    # -- the bytes ---------------------------------------------------------------------------------------------

    def trace(self, edge: Edge, number: int) -> tuple[list[Hop], Edge, int, bool] | None:
        """Follow a byte of a session: its hops, the far edge, the session there, and whether it only resumes there."""
        link, _, label = edge.ways.get(number, (0, 0, 0))
        node: Node = edge
        came: End | None = None
        hops: list[Hop] = []
        while (goes := node.links.get(link)) is not None:
            hops.append(Hop(node, came, goes))
            came, node = goes.other, goes.other.node
            if isinstance(node, Edge):
                hops.append(Hop(node, came, None))
                found = node.having(came.number, label)
                return None if found is None else (hops, node, *found)
            assert isinstance(node, Relay)
            onward = node.onward(came.number, label)
            if onward is None:
                return None
            link, label = onward
        return None

    def delivered(self) -> Iterator[tuple[Session, list[Hop]]]:
        """Return what a byte of each session of each edge would cross now, if it arrived."""
        for edge in self.nodes:
            for number in list(edge.ways) if isinstance(edge, Edge) else ():
                assert isinstance(edge, Edge)
                session = edge.sessions.by_number(number)
                found = self.trace(edge, number)
                if session is not None and found is not None and not found[3]:
                    yield session, found[0]

    def follow(self, edge: Edge, number: int) -> None:
        """Let the flow of a session start or resume over its path, if that leads to the far edge."""
        session = edge.sessions.by_number(number)
        found = self.trace(edge, number)
        if session is None or found is None or not session.initiator:
            return
        _, far, other, is_candidate = found
        peer = far.sessions.by_number(other)
        if peer is None or peer.id != session.id:
            return
        if is_candidate:
            label = next(way[2] for way in (edge.ways[number],))
            mine = next(each for each, way in far.candidates[other].items() if self._leads(far, way, edge, number))
            far.ways[other] = far.candidates[other].pop(mine)
            assert label
            far.sessions.core_moved(SessionMoved(other, mine))
        for node, each in ((edge, number), (far, other)):
            known = node.sessions.by_number(each)
            if known is None:
                continue
            if known.state is State.STARTING:
                node.sessions.core_up(SessionUp(each))
            node.sessions.core_resumed(SessionResumed(each, 0))

    def _leads(self, far: Edge, way: tuple[int, int, int], edge: Edge, number: int) -> bool:
        """Whether a candidate is the other end of the path that a session has."""
        before = far.ways.get(-1)
        far.ways[-1] = way
        found = self.trace(far, -1)
        if before is None:
            del far.ways[-1]
        return found is not None and found[1] is edge and found[2] == number

    def tick(self) -> None:
        for node in self.nodes:
            node.tick()


def carried(sessions: Sessions, session: Session, end: PathEnd) -> Any:
    """A handshake of two messages: each side names the marking that the path has at its end."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    session.state = State.HANDSHAKE
    established: Any = SimpleNamespace(
        chain=(), suite=Suite.AES_256_GCM, group="", tls_suite="", secret=bytearray(32), binding=bytes(32),
        flows=1, cap=MIB, features=(),
    )  # fmt: skip

    def fail(reason: str) -> None:
        end.on_carry = None
        if not done.done():
            done.set_exception(HandshakeRefused(reason, "It is over."))

    def take(data: bytes) -> None:
        if data != bytes([end.marking]):
            fail("session_class")
            return
        try:
            end.on_carry = None
            sessions._ready(session, end, established)
        except HandshakeRefused as refused:
            fail(refused.reason)
            return
        if not end.initiator:
            sessions.paths.carry(end, bytes([end.marking]))
        if not done.done():
            done.set_result(None)

    end.on_carry = take
    end.on_closed = lambda code: fail("path_lost")
    return SimpleNamespace(start=lambda: sessions.paths.carry(end, bytes([end.marking])), done=done)


def without_cryptography(patch: pytest.MonkeyPatch) -> None:
    """Have entries that nobody signs, and handshakes without TLS."""

    def sign(me: NodeId, offers: tuple[Offer, ...], *, sequence: int, not_after: int, **given: object) -> SignedEntry:
        entry = msgspec.msgpack.encode(Entry(ENTRY_KIND, me.uri, sequence, not_after, tuple(offers)))
        return SignedEntry(entry, b"", (b"leaf",))

    accept: Callable[..., None] = lambda *given: None
    patch.setattr(own_entry, "sign_entry", sign)
    patch.setattr(proofs, "verify_entry", accept)
    patch.setattr(Sessions, "_carried", carried)
    patch.setattr(sessions_module, "up_record", accept)
