"""A service of datagrams at each edge, for the clients of a world: what its tables have of it, and what must hold in
the end. What each client and target hears is checked by the library below (associations.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pcgrelay._core.face import core as native

if TYPE_CHECKING:
    from tests.simulation.edges import Edge
    from tests.simulation.world import World

NUMBER = 2  # of the service, at both edges
NAME = b"datagrams"
TERMS = (3_000, 2_000, 200)  # idle, silent and wait, in milliseconds
BOUNDS = (40, 4, 200, ())  # associations, of one address, each second; all addresses
SAYS, PACE_US = 20, 100_000  # of a client that no network fails
HARM_MS = 5_000  # so long what operations do goes on at most: what is held, still, or silent
WELL_MS = 60_000  # for sessions to be up at both edges: a lost way is waited for, and another set-up has to be tried


class Clients:
    """The service of one edge, in all of its processes; in a world without clients there is none."""

    def __init__(self, edge: Edge, port: int) -> None:
        self._edge = edge
        self._world = edge.world
        self._port = port
        self.is_there = edge.world.scenario.clients

    def listen(self) -> None:
        for worker in range(self._world.scenario.workers if self.is_there else 0):
            fd = self._world.library.virtual_datagram_socket(self._edge.owner, NUMBER)
            self._edge.core.listen_datagrams(worker, NUMBER, fd)

    def export_rows(self) -> list[tuple[Any, ...]]:
        target = ("127.0.0.1", self._port)
        row = (NUMBER, NAME, 1, 0, native.EXPORT_READY, 3_000, [target], (), False, TERMS)
        return [row] * self.is_there

    def import_rows(self, state: int, routes: list[tuple[int, int, int]]) -> list[tuple[Any, ...]]:
        return [(NUMBER, NAME, 1, 0, state, routes, None, (*TERMS, *BOUNDS))] * self.is_there

    def granted(self) -> list[int]:
        return [NUMBER] * self.is_there

    def ask(self, says: int, pace_us: int, *, sure: bool = False) -> int:
        """Have a client say so much; answer its number. sure: no network fails it."""
        number: int = self._world.library.virtual_client(self._edge.owner, NUMBER, says, pace_us, sure)
        return number


def check_clients(world: World, quiet_us: int) -> None:
    """In a quiet world a client is answered, however much has happened to the gateway before.

    quiet_us: when the last operation had begun. An edge that is not back yet, or has no session that works, drops what
    clients say, as it must; so both edges get their time for that first.
    """
    world.run_for(max(0, HARM_MS - (world.later.now_us - quiet_us) / 1000))
    world.wait_for_sessions(WELL_MS)
    askers = [edge.clients.ask(SAYS, PACE_US, sure=True) for edge in map(world.edge, (0, 1))]
    world.run_for(SAYS * PACE_US / 1000 + 1_000)
    for asker in askers:
        if not world.library.virtual_client_heard(asker, True):
            world.broken(f"datagrams: client {asker} said {SAYS} datagrams in a quiet world, and heard no answer")
