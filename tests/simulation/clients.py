"""A service of datagrams at each edge, for the clients of a world, and what its tables have of it. What each client and
target hears is checked by the library below (associations.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pcgrelay._core.face import core as native

if TYPE_CHECKING:
    from tests.simulation.edges import Edge

NUMBER = 2  # of the service, at both edges
NAME = b"datagrams"
TERMS = (3_000, 2_000, 200)  # idle, silent and wait, in milliseconds
BOUNDS = (40, 4, 200, ())  # associations, of one address, each second; all addresses


class Clients:
    """The service of one edge, in all of its processes; in a world without clients there is none."""

    def __init__(self, edge: Edge, port: int) -> None:
        self._edge = edge
        self._world = edge.world
        self._port = port
        self._processes: list[int] = []
        self.said = self.arrived = 0  # datagrams, in frames
        self.is_there = edge.world.scenario.clients

    def process_began(self) -> None:
        """What it counts is what those before have counted, and more."""
        self._processes.append(self._edge.owner)

    def check_sums(self) -> None:
        """Each datagram that came is counted once, at rest: as sent, as received, or for why it was dropped."""
        library, counters = self._world.library, self._edge.core.counters()
        came = sum(library.virtual_datagrams_read(owner) for owner in self._processes)
        arrived = sum(library.virtual_datagrams_arrived(owner) for owner in self._processes)
        counted = {
            name: n
            for name, n in counters.items()
            if n and name.startswith(("datagrams_sent_", "datagrams_received_", "datagrams_dropped_"))
        }
        self.said, self.arrived = counters["datagrams_sent_total"], arrived
        if came + arrived != sum(counted.values()):
            self._world.broken(
                f"account: edge {self._edge.name} has read {came} datagrams, {arrived} arrived, and it counts {counted}"
            )

    def listen(self) -> None:
        for worker in range(self._world.scenario.workers if self.is_there else 0):
            fd = self._world.library.virtual_datagram_socket(self._edge.owner, NUMBER)
            self._edge.core.listen_datagrams(worker, NUMBER, fd)

    def export_rows(self) -> list[tuple[Any, ...]]:
        target = ("127.0.0.1", self._port)
        row = (NUMBER, NAME, 1, 0, native.EXPORT_READY, 3_000, [target], (), False, TERMS)
        return [row] * self.is_there

    def import_rows(
        self, state: int, routes: list[tuple[int, int, int]], outlets: tuple[Any, ...] | None
    ) -> list[tuple[Any, ...]]:
        return [(NUMBER, NAME, 1, 0, state, routes, outlets, (*TERMS, *BOUNDS))] * self.is_there

    def granted(self) -> list[int]:
        return [NUMBER] * self.is_there

    def ask(self, says: int, pace_us: int, *, sure: bool = False) -> int:
        """Have a client say so much; answer its number. sure: no network fails it."""
        number: int = self._world.library.virtual_client(self._edge.owner, NUMBER, says, pace_us, sure)
        return number
