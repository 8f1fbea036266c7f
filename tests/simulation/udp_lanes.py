"""The UDP lanes of one node, in all of its processes: `link/udp_lanes.py` and `link/udp_sockets.py` themselves, on
links of the model. What the core counts of packets is held to what the network below (packets.c) has seen."""

from __future__ import annotations

import ctypes
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from pcgrelay._core.face import core as native
from pcgrelay.config import Address, ListenSettings
from pcgrelay.dataplane import events
from pcgrelay.dataplane.api import DataPlaneRefused
from pcgrelay.handover.records import UdpSocketHandover
from pcgrelay.identity.handshake import UDP_LANES
from pcgrelay.link.link import LinkState
from pcgrelay.link.udp_lanes import UdpLanes
from pcgrelay.messages import DatagramLane

if TYPE_CHECKING:
    from tests.simulation.links import Link
    from tests.simulation.nodes import Node
    from tests.simulation.world import World

NAMES = ["r0", "r1", "r2", "e0", "e1"]
FIRST_PORT = 7400
TICK_MS = 1_000
EVENTS = {
    native.EVENT_UDP_LANE_UP: events.UdpLaneUp,
    native.EVENT_UDP_LANE_DOWN: events.UdpLaneDown,
    native.EVENT_UDP_LANE_SPENT: events.UdpLaneSpent,
}
STATES = {
    "opening": LinkState.OPENING, "up": LinkState.UP, "orphaned": LinkState.ORPHANED, "closed": LinkState.CLOSED,
}  # fmt: skip
# Of what a process has read, what became of it.
READ = ("packets_taken", *(f"refused_{cause}" for cause in ("token", "length", "late", "replayed", "tag")))


def host_number(name: str) -> int:
    """By which the network knows a node."""
    return NAMES.index(name) + 1


def address_of(name: str) -> str:
    return f"10.9.0.{host_number(name)}"


class PacketSums(ctypes.Structure):
    """What the network has seen of a process, as packets.c has it."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in ("sent", "refused", "read", "first", "again", "changed", "cut", "datagrams")
    ]  # fmt: skip


def packet_sums(world: World, owners: list[int]) -> PacketSums:
    """Of several processes."""
    sums, each = PacketSums(), PacketSums()
    for owner in owners:
        world.library.virtual_packet_sums(owner, ctypes.cast(ctypes.byref(each), ctypes.POINTER(ctypes.c_uint64)))
        for name, _ in PacketSums._fields_:
            setattr(sums, name, getattr(sums, name) + getattr(each, name))
    return sums


class WorldClock:
    """The clock of a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def wall(self) -> datetime:
        return datetime(2031, 1, 1, tzinfo=UTC)

    def monotonic_ms(self) -> int:
        return self._world.later.now_us // 1000


class WorldPlane:
    """The core of a node, as the keeper calls it: whose process makes a socket, and whose errors are raised."""

    def __init__(self, node: Node) -> None:
        self._node = node

    @property
    def workers(self) -> int:
        return self._node.world.scenario.workers

    def __getattr__(self, name: str) -> Any:
        def called(*args: Any, **options: Any) -> Any:
            try:
                return getattr(self._node.core, name)(*args, **options)
            except native.CoreError as error:
                raise DataPlaneRefused(str(error)) from None

        return called


@dataclass(eq=False)
class LinkEnd:
    """A link of the model, as the keeper at one end of it sees links."""

    link: Link
    node: Node

    @property
    def number(self) -> int:
        return self.link.number(self.node)

    @property
    def dialled(self) -> bool:
        return self.link.a.node is self.node

    @property
    def lanes(self) -> int:
        return self.link.world.scenario.lanes

    @property
    def features(self) -> set[str]:
        return {UDP_LANES} if self.link.has_udp_lanes else set()

    @property
    def state(self) -> LinkState:
        return STATES[self.link.end(self.node).state]

    @property
    def generation(self) -> int:
        return self.link.end(self.node).generation

    @property
    def ends(self) -> tuple[str, str] | None:
        other = self.link.other(self.node)
        return (address_of(self.node.name), address_of(other.name)) if self.link.controlled else None

    @property
    def standing(self) -> Any:
        listens = ListenSettings(address=Address(address_of(self.node.name), FIRST_PORT), bearer=self.bearer)
        return SimpleNamespace(settings=None if self.dialled else listens)

    @property
    def peer(self) -> Any:
        return SimpleNamespace(dotted=self.link.other(self.node).name)

    replaced = False
    bearer = "internet"

    def send(self, message: DatagramLane) -> None:
        self.link.say(self.node, "udp-lane", message)

    def remake(self, _: str) -> None:
        self.link.control_lost()


class UdpLanesOfNode:
    """What one node has of UDP lanes; in a world without them, nothing."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._world = node.world
        self.is_there = bool(self._world.scenario.udp)
        self.is_wanted = bool(self._world.scenario.udp >> NAMES.index(node.name) & 1)
        self._links: dict[int, LinkEnd] = {}
        self._processes = [node.owner]
        self._refused: Counter[str] = Counter()
        self._keeper = self._kept()
        if self.is_there:
            self._world.later.after(TICK_MS, self._tick)

    def _kept(self) -> UdpLanes:
        node_settings = SimpleNamespace(config=SimpleNamespace(node=self))
        plane: Any = WorldPlane(self._node)
        links: Any = self._links
        local: Any = node_settings
        return UdpLanes(local, links, self._refused, plane, self._emit, WorldClock(self._world))

    @property
    def udp_lanes(self) -> bool:
        """As in the node's file."""
        return self.is_wanted

    def _emit(self, event: Any) -> None:
        self._world.count(f"udp {type(event).__name__} {getattr(event, 'reason', '')}".strip())

    def _called(self, call: Any, *args: Any) -> None:
        if self.is_there:
            # Sockets are made for this process.
            self._world.library.virtual_owner(self._node.owner)
            call(*args)

    def _tick(self) -> None:
        if not self._node.alive:
            return
        self._called(self._keeper.tick)
        self._bounded()
        self._world.later.after(TICK_MS, self._tick)

    def _bounded(self) -> None:
        """No more sockets than the workers want for each link, and for all that have come in."""
        sockets, workers = len(self._keeper.to_handover()), self._world.scenario.workers
        if sockets > workers * (len(self._links) + 1):
            self._world.broken(f"udp: node {self._node.name} has {sockets} sockets for {len(self._links)} links")

    # -- what links and the core say

    def link_added(self, link: Link) -> None:
        self._links[link.number(self._node)] = LinkEnd(link, self._node)

    def link_up(self, link: Link) -> None:
        self._called(self._keeper.link_up, self._links[link.number(self._node)])

    def link_down(self, link: Link) -> None:
        if end := self._links.pop(link.number(self._node), None):
            self._called(self._keeper.link_down, end)

    def said(self, link: Link, message: DatagramLane) -> None:
        self._called(self._keeper.receive, self._links[link.number(self._node)], message)

    def told(self, kind: int, fields: list[Any]) -> None:
        event = EVENTS[kind](*fields)
        if kind == native.EVENT_UDP_LANE_DOWN:
            self._world.count(f"udp-lane {fields[3]}")
        self._keeper.handlers()[type(event)](event)

    def want(self, is_wanted: bool) -> None:
        """Another file is in force, which wants UDP lanes or does not."""
        self.is_wanted = is_wanted
        self._called(self._keeper.apply)

    # -- what is known of them

    def states(self, link: Link) -> list[str]:
        """Of each index that has or had one."""
        return [row[2] for row in self._node.core.udp_lanes(link.number(self._node))]

    # -- processes

    def to_handover(self) -> tuple[UdpSocketHandover, ...]:
        return self._keeper.to_handover()

    def taken_over(self, sockets: tuple[UdpSocketHandover, ...]) -> None:
        self._processes.append(self._node.owner)
        self._keeper = self._kept()
        self._keeper.restore(sockets)
        self._called(self._keeper.judge_restored)

    @property
    def sums(self) -> PacketSums:
        return packet_sums(self._world, self._processes)

    def leaves(self) -> None:
        """The last process ends: what all of them have counted is what the network has seen."""
        if not self.is_there:
            return
        world, name = self._world, self._node.name
        sums, counters = self.sums, self._node.core.counters()
        seen = {what: counters[f"udp_{what}_total"] for what in (*READ, "packets_sent", "packets_not_sent")}
        of = {what: getattr(sums, what) for what, _ in PacketSums._fields_}
        fault = ""
        if seen["packets_sent"] != sums.sent or seen["packets_not_sent"] < sums.refused:
            fault = "did not send what it has counted"
        elif sum(seen[what] for what in READ) != sums.read:
            fault = "has not counted each packet once"
        elif seen["packets_taken"] > sums.first:
            fault = "has taken packets that were changed, or that it had taken before"
        elif seen["refused_tag"] > sums.changed or seen["refused_length"] > sums.cut:
            fault = "has refused packets that nobody had changed"
        elif counters["udp_refused_malformed_total"]:
            fault = "has believed packets that were changed"
        if fault:
            world.broken(f"packets: node {name} {fault}: {seen}, and the network saw {of}")
        for what, number in (*seen.items(), *self._refused.items()):
            world.counts[f"udp {what}"] += number
        world.counts["udp datagrams"] += sums.datagrams
