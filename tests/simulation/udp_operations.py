"""What operations do to UDP lanes. In a world without them, nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.udp_lanes import NAMES, host_number

if TYPE_CHECKING:
    from tests.simulation.world import World

BLOCKED_MS = 20_000  # at most: back-off and probes go on meanwhile
UNWANTED_MS = 4_000  # at most: no longer than what is looked at in the end is waited for
REST_MS = 60_000


class UdpOperations:
    """A part of the operations of one world, by name."""

    _world: World

    def udp_block(self, a: int, b: int, c: int) -> None:
        """No packet comes through between two neighbours, in one direction or in both, for a while."""
        if not self._world.scenario.udp:
            return
        pair = self._world.pairs[a % len(self._world.pairs)]
        ends = (host_number(pair.dialler), host_number(pair.acceptor))
        for direction in ((ends,), (ends[::-1],), (ends, ends[::-1]))[b % 3]:
            self._world.library.virtual_packets_block(*direction, True)
            self._world.later.after(1 + c % BLOCKED_MS, self._unblock, *direction)

    def _unblock(self, source: int, to: int) -> None:
        if not self._world.is_over:
            self._world.library.virtual_packets_block(source, to, False)

    def udp_forget(self, a: int, b: int, c: int) -> None:
        """The NAT before an edge, which dials, forgets all of its packets: it is seen at other ports, or elsewhere."""
        if self._world.scenario.udp:
            self._world.library.virtual_packets_moved(host_number(f"e{a % 2}"), bool(b % 2))

    def udp_lanes(self, a: int, b: int, c: int) -> None:
        """A node's file wants UDP lanes, or no more, and later it is as it was."""
        node = self._world.nodes[NAMES[a % len(NAMES)]]
        if self._world.scenario.udp and node.alive:
            is_wanted = node.udp.is_wanted
            node.udp.want(not is_wanted)
            self._world.later.after(1 + b % UNWANTED_MS, self._want, node.name, is_wanted)

    def _want(self, name: str, is_wanted: bool) -> None:
        node = self._world.nodes[name]
        if node.alive and node.udp.is_wanted != is_wanted:
            node.udp.want(is_wanted)

    def udp_rest(self, a: int, b: int, c: int) -> None:
        """Time passes, in which keys grow old."""
        if self._world.scenario.udp:
            self._world.run_for(1 + a % REST_MS)
