"""What each kind of operation of a scenario does to the world. Numbers are read modulo what there is at that time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.clients import NUMBER as DATAGRAMS
from tests.simulation.edges import PORT_ANSWERS, PORT_REFUSES, PORT_SILENT, SERVICES, Edge, port_of
from tests.simulation.handovers import hand_over
from tests.simulation.links import Link, Pair
from tests.simulation.nodes import Node
from tests.simulation.outlet_operations import AWAY_MS, OutletOperations
from tests.simulation.outlets import DIRECT_PORT
from tests.simulation.renewals import Renewing, SessionEnd, session_renewing
from tests.simulation.udp_operations import UdpOperations
from tests.simulation.virtual import FAULTS

if TYPE_CHECKING:
    from tests.simulation.world import World

SIZES = [0, 8, 300, 5_000, 40_000, 200_000, 400_000]
STILL_MS = 1_400  # from the stop of the old workers to the start of the new ones, at most


class Operations(OutletOperations, UdpOperations):
    """The operations of one world, by name."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._listening = 0
        self._strays = 0

    # -- applications

    def connect(self, a: int, b: int, c: int) -> None:
        """An application of either edge connects to an import: how much it says, how fast, and how it ends."""
        world = self._world
        edge = world.edge(a % 2)
        number = (a >> 1) % SERVICES
        listeners = edge.listeners[number]
        total = SIZES[b % len(SIZES)] and SIZES[b % len(SIZES)] - (b >> 4) % 7
        chunk = max(1 + c % 9_000, total // 200)
        resets = (b >> 8) % 16 == 0
        deaf = (b >> 12) % 8 == 0
        rests = world.scenario.outlets and (b >> 20) % 4 == 0
        world.library.virtual_application(
            listeners[(a >> 4) % len(listeners)] if edge.alive else 0,
            port_of(edge.far, number),
            total,
            1 + (b >> 16) % max(1, total) if resets else 0,
            chunk,
            (c >> 14) % 3_000,
            (b >> 16) * 100,
            (c >> 8) % 4_000_000 if deaf else 0,
            c % 6_000_000 if rests else 0,
        )
        world.resets += resets

    def ask(self, a: int, b: int, c: int) -> None:
        """A client of either edge says some datagrams; or some with the same address do."""
        if not self._world.scenario.clients:
            return
        for _ in range(1 + (a >> 1) % 6):
            self._world.edge(a % 2).clients.ask(1 + b % 40, c % 300_000)

    def datagram_target(self, a: int, b: int, c: int) -> None:
        """What a service of datagrams leads to refuses, or says nothing, for a while; or its direct outlet does."""
        port, ms = port_of(f"e{a % 2}", DATAGRAMS), c % 5_000
        if self._world.scenario.outlets and (b >> 1) % 2:
            port += DIRECT_PORT
            self._world.edge(1 - a % 2).outlets.ill(DATAGRAMS, ms)
        self._world.library.virtual_datagram_target(port, PORT_REFUSES if b % 2 else PORT_SILENT)
        self._world.later.after(ms, self._world.library.virtual_datagram_target, port, PORT_ANSWERS)

    def reset_application(self, a: int, b: int, c: int) -> None:
        count = self._world.applications().count
        if count:
            self._world.library.virtual_application_reset(a % count)
            self._world.resets += 1

    def wait(self, a: int, b: int, c: int) -> None:
        self._world.run_for([1, 10, 60, 300, 1_500][a % 5] * (1 + b % 3))

    # -- wires

    def _pair(self, a: int) -> Pair:
        return self._world.pairs[a % len(self._world.pairs)]

    def _wire(self, a: int, b: int) -> int:
        """The descriptor of one end of a lane, or zero."""
        link = self._pair(a).link
        if link is None or not link.wires:
            return 0
        wires = list(link.wires.values())
        return wires[b % len(wires)] + (b >> 8) % 2

    def cut_lane(self, a: int, b: int, c: int) -> None:
        self._world.library.virtual_cut(self._wire(a, b), c % 2, c >> 1)

    def hold_lane(self, a: int, b: int, c: int) -> None:
        """One lane brings nothing for a while, so that the others overtake it; the longest are found to be silent."""
        fd = self._wire(a, b)
        if self._world.library.virtual_hold(fd, True):
            self._world.later.after(c % 5_000, self._let_go, fd)

    def _let_go(self, fd: int) -> None:
        if not self._world.is_over:
            self._world.library.virtual_hold(fd, False)

    def hold_link(self, a: int, b: int, c: int) -> None:
        self._pair(a).hold(b % AWAY_MS)

    def repeat(self, a: int, b: int, c: int) -> None:
        """The last frame under way comes twice: the lane ends, for its number is used up."""
        self._world.count(f"repeat {self._world.library.virtual_repeat(self._wire(a, b), True)}")

    def splice(self, a: int, b: int, c: int) -> None:
        """The last piece under way comes twice, perhaps in the middle of a frame."""
        self._world.library.virtual_repeat(self._wire(a, b), False)

    def corrupt(self, a: int, b: int, c: int) -> None:
        self._world.library.virtual_corrupt(self._wire(a, b), c)

    def cut_control(self, a: int, b: int, c: int) -> None:
        if link := self._pair(a).link:
            link.control_lost()

    # -- nodes

    def kill_relay(self, a: int, b: int, c: int) -> None:
        name = self._world.relay_names[a % len(self._world.relay_names)]
        self._world.end_node(name, in_order=False, back_ms=1 + b % AWAY_MS)

    def stop_relay(self, a: int, b: int, c: int) -> None:
        name = self._world.relay_names[a % len(self._world.relay_names)]
        self._world.end_node(name, in_order=True, back_ms=1 + b % AWAY_MS)

    def kill_edge(self, a: int, b: int, c: int) -> None:
        self._world.end_node(f"e{a % 2}", in_order=False, back_ms=1 + b % AWAY_MS)

    def drain(self, a: int, b: int, c: int) -> None:
        """A relay says to its neighbours that it leaves, and a while later that it stays."""
        node = self._world.nodes[self._world.relay_names[a % len(self._world.relay_names)]]
        if node.alive:
            for link in list(node.links.values()):
                node.core.link_drain(link.number(node), 1_000)
                self._world.later.after(1 + b % AWAY_MS, link.say, node, "drain", False)

    def squeeze(self, a: int, b: int, c: int) -> None:
        """A node has little memory for a while."""
        node = self._node(a)
        if node.alive:
            node.squeeze(150_000 + b % 1_000_000)
            self._world.later.after(1 + c % AWAY_MS, self._world.unsqueeze, node)

    def freeze(self, a: int, b: int, c: int) -> None:
        """The workers of a node stand still for a while; the longest are taken for dead."""
        node = self._node(a)
        if node.alive:
            self._world.freeze(node, b % [20, 300, 3_500][c % 3])

    def hand_over(self, a: int, b: int, c: int) -> None:
        """Another process takes the place of a node, or gives up before its turn comes."""
        node = self._node(a)
        if node.alive:
            still_ms = (0, 20, STILL_MS)[c % 3]
            hand_over(self._world, node, gives_up=b % 4 == 0, still_ms=still_ms and (c >> 2) % still_ms)

    def scarce(self, a: int, b: int, c: int) -> None:
        """An edge gets no new descriptor for a while."""
        if edge := self._edge(a):
            self._world.library.virtual_scarce(edge.owner)
            self._world.later.after(1 + c % AWAY_MS, self._world.library.virtual_scarce, -1)

    def target(self, a: int, b: int, c: int) -> None:
        """What an export leads to refuses, or says nothing, for a while."""
        port = port_of(f"e{a % 2}", b % SERVICES)
        self._world.library.virtual_ports(port, (PORT_REFUSES, PORT_SILENT)[c % 2])
        self._world.later.after(1 + c % AWAY_MS, self._world.library.virtual_ports, port, PORT_ANSWERS)

    def relay_repeats(self, a: int, b: int, c: int) -> None:
        """A relay that lies forwards one of its next frames twice, under good headers."""
        self._world.library.virtual_arm(FAULTS.index("repeating_relay"), 1 + a % 20)

    def _node(self, a: int) -> Node:
        return list(self._world.nodes.values())[a % len(self._world.nodes)]

    # -- configuration and sessions

    def renew(self, a: int, b: int, c: int) -> None:
        """A link or session gets a fresh secret, at times at one end only, or its answer is lost."""
        alone = (b >> 1) % 2 if (b >> 2) % 4 == 0 else None
        renewing = self._session_renewing(a) if b % 2 else getattr(self._pair(a).link, "renewing", None)
        if renewing is not None:
            renewing.begin(alone=alone, unheard=c % 4 == 3)

    def _session_renewing(self, a: int) -> Renewing | None:
        ends = [
            SessionEnd(edge, session)
            for edge in (self._world.edge(a % 2), self._world.edge(1 - a % 2))
            for session in edge.sessions.values()
        ]
        for client in ends:
            for server in ends:
                if client.session.initiator and client.session.id == server.session.id and client is not server:
                    return client.session.renewing or session_renewing(self._world, client, server)
        return None

    def withdraw(self, a: int, b: int, c: int) -> None:
        if edge := self._edge(a):
            number = b % SERVICES
            kept = edge.draining_exports if c % 2 else edge.withdrawn
            kept.add(number)
            edge.publish()
            self._world.later.after(1 + c % AWAY_MS, self._republish, edge, kept, number)

    def forbid(self, a: int, b: int, c: int) -> None:
        if edge := self._edge(a):
            edge.forbidden.add(b % SERVICES)
            edge.publish()
            self._world.later.after(1 + c % AWAY_MS, self._republish, edge, edge.forbidden, b % SERVICES)

    def _republish(self, edge: Edge, kept: set[int], number: int) -> None:
        kept.discard(number)
        if edge.alive:
            edge.publish()

    def forget(self, a: int, b: int, c: int) -> None:
        if edge := self._edge(a):
            edge.forget(b % SERVICES)
            self._world.later.after(1 + c % AWAY_MS, self._remember, edge, b % SERVICES)

    def _remember(self, edge: Edge, number: int) -> None:
        if edge.alive:
            edge.remember(number)

    def move(self, a: int, b: int, c: int) -> None:
        if edge := self._edge(a):
            for session in list(edge.sessions.values()):
                if session.initiator and session.state == "up":
                    edge.mend(session)

    def stray_resume(self, a: int, b: int, c: int) -> None:
        """Whoever once carried a session asks its responder for a path, in the initiator's name, and says no more."""
        edge = self._edge(a)
        relays = [link for link in edge.links.values() if link.usable(edge)] if edge else []
        if edge is None or not relays:
            return
        link = relays[b % len(relays)]
        for session in list(edge.sessions.values()):
            if not session.initiator:
                for number in range(1 + c % 90):
                    label = 1_000_000 + self._strays
                    self._strays += 1
                    self._world.later.after(
                        10 * number, self._stray, link, edge, ("open", session.id, edge.far, edge.name, label, True, ())
                    )

    def _stray(self, link: Link, edge: Edge, message: tuple[object, ...]) -> None:
        if edge.alive and link.usable(edge):
            link.say(link.other(edge), *message)

    def close_session(self, a: int, b: int, c: int) -> None:
        if edge := self._edge(a):
            for session in list(edge.sessions.values()):
                edge.close(session, 0)
