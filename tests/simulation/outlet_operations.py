"""What operations do that concern the outlets of imports. Where a world has none, they do nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pcgrelay._core.face import core as native
from tests.simulation.clients import NUMBER as DATAGRAMS
from tests.simulation.edges import PORT_ANSWERS, PORT_REFUSES, PORT_SILENT, SERVICES, Edge, port_of
from tests.simulation.outlets import DIRECT, DIRECT_PORT, GATEWAY

if TYPE_CHECKING:
    from tests.simulation.world import World

AWAY_MS = 2_500  # at most, on purpose: sessions wait 30 s for a way
SHARES = [0, 0.5, 1, 5, 25, 50, 75, 99.5, 100]
NUDGE_MS = 400  # between rounds: what is idle is known from one to the next
SHADOW_MS = 4_000  # at most, until its other end is closed


class OutletOperations:
    """A part of the operations of one world, by name."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._shadows = 0

    def _edge(self, a: int) -> Edge | None:
        edge = self._world.edge(a % 2)
        return edge if edge.alive else None

    def _edge_with_outlets(self, a: int) -> Edge | None:
        return self._edge(a) if self._world.scenario.outlets else None

    def share(self, a: int, b: int, c: int) -> None:
        """Of new streams, another part goes to the direct outlet."""
        if edge := self._edge_with_outlets(a):
            edge.outlets.share(edge.outlets.number_of(b), SHARES[c % len(SHARES)])
            edge.publish()

    def direct_target(self, a: int, b: int, c: int) -> None:
        """What a direct outlet leads to refuses, or says nothing, for a while."""
        if edge := self._edge_with_outlets(a):
            number, ms = b % SERVICES, 1 + (c >> 1) % AWAY_MS
            port = port_of(edge.far, number) + DIRECT_PORT
            self._world.library.virtual_ports(port, (PORT_REFUSES, PORT_SILENT)[c % 2])
            # The last attempt may have begun just now, and another one follows only after a while.
            edge.outlets.ill(number, ms)
            self._world.later.after(ms, self._world.library.virtual_ports, port, PORT_ANSWERS)

    def direct_away(self, a: int, b: int, c: int) -> None:
        """A direct outlet has no address, or is no outlet any more, for a while."""
        if edge := self._edge_with_outlets(a):
            number, ms = edge.outlets.number_of(b), 1 + (c >> 1) % AWAY_MS
            edge.outlets.ill(number, ms)
            if c % 2:
                edge.outlets.unresolved.add(number)
            else:
                edge.outlets.kinds[number] = native.OUTLET_NONE
            edge.publish()
            self._world.later.after(ms, self._direct_is_back, edge, number)

    def direct_forbidden(self, a: int, b: int, c: int) -> None:
        """A direct outlet is below the marking of its service, or its rule has ended, for a while."""
        if edge := self._edge_with_outlets(a):
            number = edge.outlets.number_of(b)
            edge.outlets.kinds[number] = (native.OUTLET_FORBIDDEN, native.OUTLET_ENDED)[(b >> 8) % 2]
            edge.publish()
            self._world.later.after(1 + c % AWAY_MS, self._direct_is_back, edge, number)

    def _direct_is_back(self, edge: Edge, number: int) -> None:
        edge.outlets.unresolved.discard(number)
        edge.outlets.kinds[number] = native.OUTLET_DIRECT
        if edge.alive:
            edge.publish()

    def gateway_away(self, a: int, b: int, c: int) -> None:
        """An import has no way over the gateway, for a while."""
        if edge := self._edge_with_outlets(a):
            number = edge.outlets.number_of(b)
            edge.outlets.down.add(number)
            edge.publish()
            self._world.later.after(1 + c % AWAY_MS, self._gateway_is_back, edge, number)

    def _gateway_is_back(self, edge: Edge, number: int) -> None:
        edge.outlets.down.discard(number)
        if edge.alive:
            edge.publish()

    def shadow(self, a: int, b: int, c: int) -> None:
        """The control plane tries an outlet, and leaves after a while."""
        if edge := self._edge_with_outlets(a):
            self._shadows += 1
            number, stays_us = edge.outlets.number_of(b), 1000 * (c % SHADOW_MS)
            if number == DATAGRAMS:
                fd = self._world.library.virtual_shadow_of_datagrams(edge.owner, number, stays_us)
            else:
                fd = self._world.library.virtual_shadow(edge.owner, port_of(edge.far, number), stays_us)
            edge.outlets.shadow(number, (GATEWAY, DIRECT)[(b >> 1) % 2], fd, self._shadows)

    def nudge(self, a: int, b: int, c: int) -> None:
        """Streams of an outlet that are idle are closed in order, a few in each round, or whatever they do."""
        if edge := self._edge_with_outlets(a):
            self._world.library.virtual_nudges()
            hard = (b >> 4) % 4 == 0
            for turn in range(1 if hard else 4):
                self._world.later.after(turn * NUDGE_MS, self._nudge, edge, b, c, hard)

    def _nudge(self, edge: Edge, b: int, c: int, hard: bool) -> None:
        if edge.alive:
            number, outlet = edge.outlets.number_of(b), (GATEWAY, DIRECT)[(b >> 1) % 2]
            edge.outlets.nudge(number, outlet, idle_ms=c % 700, most=(b >> 8) % 9, hard=hard)
