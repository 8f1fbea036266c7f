"""Nodes of the core over virtual wires and a virtual clock: cut the wire anywhere, let two minutes pass in no time.

A World joins edges and relays. Nothing moves by itself: `settle` carries bytes until all is still, `wait` lets time
pass. A Wire is one lane's two ends with the bytes under way between them.
"""

import hashlib
from collections.abc import Iterator

from tests.native.probe import LinkKeys
from tests.native.probe_edge import Application, Edge
from tests.native.probe_link import Lane, Node, Relay

STEP_US = 50_000


def secret(what: str) -> bytes:
    return hashlib.sha256(what.encode()).digest()


class Wire:
    """One lane of a link: what `near` and `far` send, and how far it has come."""

    def __init__(self, near: Lane, far: Lane) -> None:
        self.ends = (near, far)
        self.under_way = [bytearray(), bytearray()]  # towards far, towards near
        self.stopped = [False, False]

    def collect(self) -> bool:
        """Take from both ends what they would send."""
        before = sum(map(len, self.under_way))
        for way, end in enumerate(self.ends):
            if not self.stopped[way]:
                self.under_way[way] += end.take()
        return sum(map(len, self.under_way)) != before

    def deliver(self, way: int, limit: int | None = None, *, piece: int = 1 << 20) -> int:
        """Hand over at most limit bytes, so many at a time; answer how many."""
        data = bytes(self.under_way[way][:limit])
        del self.under_way[way][:limit]
        end = self.ends[1 - way]
        for at in range(0, len(data), piece):
            if end.state != "CLOSED":
                end.feed(data[at : at + piece])
        return len(data)

    def carry(self) -> bool:
        moved = self.collect()
        for way in (0, 1):
            moved = bool(self.deliver(way)) or moved
        return moved

    def cut(self) -> None:
        """TCP fails on both sides; what was under way is gone."""
        self.under_way = [bytearray(), bytearray()]
        for end in self.ends:
            end.cut()

    @property
    def is_up(self) -> bool:
        return all(end.state in ("UP", "DRAINING") for end in self.ends)


class Link:
    """Two neighbours and the secrets of their lanes."""

    def __init__(self, world: "World", number: int, near: Node, far: Node, suite: int, lanes: int) -> None:
        self.world, self.number, self.nodes, self.lanes = world, number, (near, far), lanes
        given = secret(f"link {number}")
        link_id = secret(f"id {number}")[:16]
        self.keys = LinkKeys(given, link_id, lanes), LinkKeys(given, link_id, lanes)
        self.wires: dict[int, Wire] = {}
        for node in self.nodes:
            node.link_add(number, suite=suite, dialler=node is near, lanes=lanes, binding=secret(f"binding {number}"))

    def open(self, index: int = 0) -> Wire:
        """A new lane, not yet confirmed."""
        dialler, acceptor = self.keys
        number, preamble = dialler.dial(index)
        assert acceptor.check(preamble) == (index, number)
        ends = [
            node.lane_start(self.number, index=index, number=number, secret=keys.take(number))
            for node, keys in zip(self.nodes, self.keys, strict=True)
        ]
        self.wires[index] = Wire(*ends)
        return self.wires[index]


class World:
    def __init__(self, *, suite: int = 1) -> None:
        self.suite = suite
        self.nodes: list[Node] = []
        self.links: list[Link] = []
        self.numbers = 0

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    def edge(self, **options: int) -> Edge:
        edge = Edge(**options)
        self.nodes.append(edge)
        return edge

    def relay(self, **options: int) -> Relay:
        relay = Relay(**options)
        self.nodes.append(relay)
        return relay

    def link(self, near: Node, far: Node, *, lanes: int = 1) -> Link:
        link = Link(self, self.number(), near, far, self.suite, lanes)
        self.links.append(link)
        for index in range(lanes):
            link.open(index)
        self.settle()
        return link

    def session(
        self,
        near: Edge,
        far: Edge,
        links: list[Link],
        *,
        flows: int = 1,
        cap: int = 1 << 20,
        priority: int = 0,
        organisation: int = 0,
    ) -> int:
        """A session over these links, with all relays between them told, and up."""
        session = self.number()
        for edge in (near, far):
            edge.session_add(
                session,
                secret=secret(f"session {session}"),
                binding=secret(f"session binding {session}"),
                suite=self.suite,
                initiator=edge is near,
                flows=flows,
                cap=cap,
                priority=priority,
                organisation=organisation,
            )
        self.path(session, near, far, links, cap=cap, flows=flows)
        return session

    def path(
        self, session: int, near: Edge, far: Edge, links: list[Link], *, cap: int = 1 << 20, flows: int = 1
    ) -> None:
        """Lead the session over these links from now on."""
        # On each link: the label that the nearer node gave, and the one that the farther gave.
        labels = [(self.number(), self.number()) for _ in links]
        for at, link in enumerate(links[1:]):
            relay = next(node for node in link.nodes if node in links[at].nodes)
            assert isinstance(relay, Relay)
            relay.path_add(
                self.number(),
                a_link=links[at].number,
                a_in=labels[at][1],
                a_out=labels[at][0],
                b_link=link.number,
                b_in=labels[at + 1][0],
                b_out=labels[at + 1][1],
                cap=cap,
                lanes=flows,
            )
        far.session_path(session, link=links[-1].number, in_label=labels[-1][1], out_label=labels[-1][0])
        near.session_path(session, link=links[0].number, in_label=labels[0][0], out_label=labels[0][1])
        self.settle()

    def service(self, near: Edge, far: Edge, session: int, name: bytes = b"echo") -> None:
        """far exports a service, near imports it."""
        far.publish([(0, name)], [], [(session, 0)])
        near.publish([], [(0, name, [session])], [])

    def wires(self) -> Iterator[Wire]:
        for link in self.links:
            yield from link.wires.values()

    def turn(self) -> None:
        for node in self.nodes:
            node.turn()

    def settle(self) -> None:
        """Carry everything to where it goes; no time passes."""
        moved = True
        while moved:
            self.turn()
            moved = False
            for wire in self.wires():
                moved = wire.carry() or moved

    def wait(self, seconds: float) -> None:
        """Let time pass, and carry what it brings about."""
        left = round(seconds * 1_000_000)
        while left > 0:
            self.pass_time(min(left, STEP_US))
            left -= STEP_US
            self.settle()

    def pass_time(self, microseconds: int) -> None:
        for node in self.nodes:
            node.now_us += microseconds


def conversation(world: World, near: Edge, far: Edge) -> tuple[Application, Application]:
    """An application at each end of a fresh stream."""
    here = near.connect()
    assert here is not None
    before = len(far.answered)
    world.settle()
    return here, far.answered[before]


def two_edges(*, suite: int = 1, cap: int = 1 << 20, flows: int = 1) -> tuple[World, Edge, Edge, int]:
    """Two edges with a link, a session and a service between them."""
    world = World(suite=suite)
    near, far = world.edge(), world.edge()
    session = world.session(near, far, [world.link(near, far, lanes=flows)], flows=flows, cap=cap)
    world.service(near, far, session)
    return world, near, far, session


def over_a_relay(*, suite: int = 1, cap: int = 1 << 20, **options: int) -> tuple[World, Edge, Relay, Edge, int]:
    """Two edges with a relay between them. options: of the relay."""
    world = World(suite=suite)
    near, relay, far = world.edge(), world.relay(**options), world.edge()
    session = world.session(near, far, [world.link(near, relay), world.link(relay, far)], cap=cap)
    world.service(near, far, session)
    return world, near, relay, far, session
