"""Links between neighbours as their control planes live them: `link/link.py` and `link/table.py` of the
gateway, without certificates and TLS. A link has a state at each end, since the ends learn of things at their time."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pcgrelay._core.face import core as native
from tests.simulation.renewals import Renewing

if TYPE_CHECKING:
    from tests.simulation.nodes import Node
    from tests.simulation.world import World

OPENING_MS, LANELESS_MS, ORPHANED_MS = 15_000, 10_000, 180_000
SILENT_MS = 15_000  # until a control connection into nowhere is given up
DRAIN_MS = 700


@dataclass(eq=False)
class End:
    """What one node knows of a link."""

    node: Node
    number: int
    state: str = "opening"
    draining: bool = False
    lanes_up: dict[int, int] = field(default_factory=dict)
    changed_us: int = 0
    said_us: int = 0  # when the last message to the other end arrives
    generation: int = 0  # of its secret
    restored: bool = False  # from a process before: it opens no lane

    def has_stepped(self, mix: int) -> bool:
        return bool(self.node.core.link_has_stepped(self.number, mix))

    def renew(self, secret: bytes, mix: int) -> None:
        with suppress(native.CoreError):
            self.node.core.link_renew(self.number, secret=bytearray(secret), mix=mix)

    def mix(self, mix: int) -> None:
        self.generation = mix
        with suppress(native.CoreError):
            self.node.core.link_mix(self.number, mix)

    @property
    def is_open(self) -> bool:
        return self.node.alive and self.state == "up"


class Link:
    """One association of two neighbours, from its keys to its end."""

    def __init__(self, world: World, pair: Pair, a: Node, b: Node) -> None:
        self.world = world
        self.pair = pair
        self.a = End(a, a.number_taken(), changed_us=world.later.now_us)
        self.b = End(b, b.number_taken(), changed_us=world.later.now_us)
        self.controlled = True
        self.has_udp_lanes = a.udp.is_wanted and b.udp.is_wanted  # as both HELLOs say
        self.wires: dict[int, int] = {}  # lane: the descriptor of the dialler's end
        self.renewing = Renewing(world, self.a, self.b, self.say)
        world.links_made += 1
        secret = hashlib.sha256(f"link {world.scenario.seed} {world.links_made}".encode()).digest()
        for end in (self.a, self.b):
            end.node.links[end.number] = self
            end.node.udp.link_added(self)
            end.node.core.link_add(
                end.number, secret=bytearray(secret), binding=secret, suite=world.scenario.suite,
                dialler=end is self.a, lanes=world.scenario.lanes, link_id=secret[:16],
            )  # fmt: skip
            world.later.after(OPENING_MS, self._pulse, end)
        for index in range(world.scenario.lanes):
            world.later.after(world.flight_ms(), self._dial, index)

    def end(self, node: Node) -> End:
        return self.a if node is self.a.node else self.b

    def other(self, node: Node) -> Node:
        return self.b.node if node is self.a.node else self.a.node

    def usable(self, node: Node) -> bool:
        end = self.end(node)
        return end.state == "up" and len(end.lanes_up) == self.world.scenario.lanes and not end.draining

    def number(self, node: Node) -> int:
        return self.end(node).number

    # -- messages

    def say(self, node: Node, *message: Any) -> None:
        """Messages of one direction come in order, or not at all."""
        end = self.end(node)
        if not self.controlled or not node.alive or end.state not in ("opening", "up"):
            return
        end.said_us = max(end.said_us, self.world.later.now_us + int(self.world.flight_ms() * 1000))
        self.world.later.at(end.said_us, self._said, self.other(node), message)

    def _said(self, node: Node, message: tuple[Any, ...]) -> None:
        if not self.controlled or not node.alive or self.end(node).state == "closed":
            return
        if self.pair.held_until_us > self.world.later.now_us:
            # What is held arrives in its order: this one has the earliest turn at that time.
            self.world.later.at(self.pair.held_until_us, self._said, node, message)
        elif message[0] == "goodbye":
            self.ended(node)
        elif message[0] == "drain":
            self.end(node).draining = message[1]
            node.link_drains(self)
        elif message[0] == "udp-lane":
            node.udp.said(self, message[1])
        elif message[0] == "renewed":
            self.renewing.heard(node, message[1])
        else:
            node.said(self, message)

    def control_lost(self) -> None:
        """Both ends notice at their time."""
        if not self.controlled:
            return
        self.controlled = False
        for end in (self.a, self.b):
            self.world.later.after(self.world.flight_ms(), self._control_lost, end)

    def _control_lost(self, end: End) -> None:
        if end.state == "opening" or (end.state == "up" and not end.lanes_up):
            self.ended(end.node)
        elif end.state == "up":
            end.state = "orphaned"
            end.changed_us = self.world.later.now_us

    # -- lanes

    def _dial(self, index: int) -> None:
        end, world = self.a, self.world
        if not self.controlled or not end.node.alive or end.state not in ("opening", "up"):
            return
        if self.pair.held_until_us > world.later.now_us:
            world.later.at(self.pair.held_until_us, self._dial, index)
            return
        number, preamble = end.node.core.lane_dial(end.number, index)
        shape = world.scenario
        # Each lane is as slow as it likes, so that frames of different lanes overtake each other.
        delay_us = int(shape.delay_us * world.dice.uniform(1, 3))
        fd = world.library.virtual_wire(end.node.owner, delay_us, shape.jitter_us, shape.room, 3)
        self.wires[index] = fd
        end.node.core.lane_add(end.number, index, number, fd)
        world.later.after(world.flight_ms(), self._accept, preamble, fd + 1)

    def _accept(self, preamble: bytes, fd: int) -> None:
        end = self.b
        if end.state == "closed" or not end.node.alive:
            self.world.library.virtual_close(fd)
            return
        self.world.library.virtual_accepted(fd, end.node.owner)
        if end.restored:
            self.world.library.virtual_close(fd)
            return
        index, number = end.node.core.lane_check(end.number, preamble)
        end.node.core.lane_add(end.number, index, number, fd)

    def lane_up(self, node: Node, index: int, number: int) -> None:
        end = self.end(node)
        end.lanes_up[index] = number
        if end.state == "opening" and len(end.lanes_up) == self.world.scenario.lanes:
            end.state = "up"
            end.changed_us = self.world.later.now_us
            for other in list(node.links.values()):
                if other is not self and other.pair is self.pair:
                    other.close(node)
            node.link_up(self)
            node.udp.link_up(self)

    def lane_down(self, node: Node, index: int, number: int) -> None:
        end = self.end(node)
        if end is self.a:
            self.world.later.after(self.world.dice.uniform(1, 300), self._dial_again, index, number)
        if end.lanes_up.get(index) != number:
            return
        del end.lanes_up[index]
        if not end.lanes_up:
            end.changed_us = self.world.later.now_us
            if end.state == "orphaned":
                self.ended(node)

    def _dial_again(self, index: int, number: int) -> None:
        if self.a.lanes_up.get(index, number) == number:
            self._dial(index)

    # -- end

    def close(self, node: Node) -> None:
        self.say(node, "goodbye")
        self.ended(node)

    def ended(self, node: Node) -> None:
        """Here it ends; the other end has its own time."""
        end = self.end(node)
        if end.state == "closed" or not node.alive:
            return
        end.state = "closed"
        del node.links[end.number]
        node.core.link_close(end.number, 0)
        node.udp.link_down(self)
        node.link_down(self)

    def _pulse(self, end: End) -> None:
        if end.state == "closed" or not end.node.alive:
            return
        since_ms = (self.world.later.now_us - end.changed_us) / 1000
        limits = {"opening": OPENING_MS, "orphaned": ORPHANED_MS, "up": LANELESS_MS}
        if since_ms >= limits[end.state] and (end.state != "up" or not end.lanes_up):
            self.close(end.node)
            return
        self.world.later.after(500, self._pulse, end)


class Pair:
    """Two neighbours, of which one dials the other for ever."""

    def __init__(self, world: World, dialler: str, acceptor: str) -> None:
        self.world = world
        self.dialler = dialler
        self.acceptor = acceptor
        self.link: Link | None = None
        self.held_until_us = 0
        self._keep()

    def _keep(self) -> None:
        world, link = self.world, self.link
        a, b = world.nodes[self.dialler], world.nodes[self.acceptor]
        well = link is not None and link.controlled and link.a.state in ("opening", "up")
        if not well and a.alive and b.alive and not a.migration and not b.migration \
                and self.held_until_us <= world.later.now_us:  # fmt: skip
            self.link = Link(world, self, a, b)
        world.later.after(world.dice.uniform(20, 250), self._keep)

    def hold(self, ms: float) -> None:
        """A black hole between the two: nothing arrives, and nobody is told."""
        link, later = self.link, self.world.later
        self.held_until_us = max(self.held_until_us, later.now_us + int(ms * 1000))
        wires = list(link.wires.values()) if link else []
        for fd in wires:
            self.world.library.virtual_hold(fd, True)
        later.at(self.held_until_us, self._let_go, wires)

    def _let_go(self, wires: list[int]) -> None:
        if self.held_until_us <= self.world.later.now_us:
            for fd in wires:
                self.world.library.virtual_hold(fd, False)
