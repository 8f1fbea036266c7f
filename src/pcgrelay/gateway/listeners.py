"""The listeners of a node for links: opened for a configuration, taken into use, and handed over.

open      sockets for the addresses that are new, beside what runs; a failure changes nothing
apply     listen where the configuration says; links that came in stay when their listener goes
expect    another process hands these addresses over, so they are not opened here
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Sequence

from pcgrelay.clock import Clock
from pcgrelay.config import Address, ListenSettings
from pcgrelay.dataplane.api import LinkPlane
from pcgrelay.gateway.prepared import Prepared
from pcgrelay.gateway.tasks import spawn
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.link.listener import Listener, Strangers
from pcgrelay.link.table import LinkTable
from pcgrelay.log.events import Emit


class Listeners:
    """All [[listen]] of a node, and those who came in at them and have not proved who they are."""

    def __init__(self, local: LocalIdentity, link_table: LinkTable, plane: LinkPlane, emit: Emit, clock: Clock) -> None:
        self.strangers = Strangers(local, clock)
        self.expected: set[Address] = set()  # the process before this one hands them over
        self._local = local
        self._neighbours = link_table
        self._plane = plane
        self._emit = emit
        self._clock = clock
        self._running: dict[Address, tuple[Listener, asyncio.Task[None]]] = {}

    def sockets(self) -> dict[Address, socket.socket]:
        """The listening sockets by address."""
        return {address: listener.sock for address, (listener, _) in self._running.items()}

    def expect(self, addresses: Iterable[Address]) -> None:
        """Another process will hand these over; do not open them."""
        self.expected = set(addresses)

    async def open(self, settings: Sequence[ListenSettings], prepared: Prepared) -> None:
        """Open what is neither there nor expected; RunError if an address is not available."""
        for each in settings:
            if each.address not in self._running and each.address not in self.expected:
                await prepared.open_links(each.address)

    def apply(self, settings: Sequence[ListenSettings], prepared: Prepared) -> None:
        """Listen here and nowhere else, with what was opened or handed over for it."""
        wanted = {each.address: each for each in settings}
        for address in [address for address in self._running if address not in wanted]:
            # It closes its port itself.
            self._running.pop(address)[1].cancel()
        for address, each in wanted.items():
            if address in self._running:
                self._running[address][0].settings = each
            else:
                listener = self._listener(prepared.listeners.pop(address), each)
                self._running[address] = (listener, spawn(listener.run(), "listener", self._emit))
        self.expected = set()

    def tasks(self) -> list[asyncio.Task[None]]:
        """What runs, for whoever ends the node."""
        return [task for _, task in self._running.values()]

    def _listener(self, sock: socket.socket, settings: ListenSettings) -> Listener:
        return Listener(
            sock,
            settings,
            local=self._local,
            link_table=self._neighbours,
            plane=self._plane,
            strangers=self.strangers,
            emit=self._emit,
            clock=self._clock,
        )
