"""The listeners of a node for links: opened for a configuration, put into use, and handed over.

open      open sockets for new addresses, without a change of what runs; a failure changes nothing
apply     listen where the configuration says; accepted links stay when their listener is removed
expect    note that another process hands these addresses over, so they are not opened here
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Sequence
from functools import partial

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
    """All [[listen]] of a node, with the limits on connections that are not authenticated yet."""

    def __init__(self, local: LocalIdentity, link_table: LinkTable, plane: LinkPlane, emit: Emit, clock: Clock) -> None:
        self.strangers = Strangers(local, clock)
        self.expected: set[Address] = set()  # the previous process hands these over
        self._local = local
        self._neighbours = link_table
        self._plane = plane
        self._emit = emit
        self._clock = clock
        self._running: dict[Address, tuple[Listener, asyncio.Task[None]]] = {}

    def sockets(self) -> dict[Address, socket.socket]:
        """Return the listening sockets by address."""
        return {address: listener.sock for address, (listener, _) in self._running.items()}

    def expect(self, addresses: Iterable[Address]) -> None:
        """Do not open these addresses: another process hands them over."""
        self.expected = set(addresses)

    async def open(self, settings: Sequence[ListenSettings], prepared: Prepared) -> None:
        """Open the addresses that are neither open nor expected. Raises RunError if one is not available."""
        for each in settings:
            if each.address not in self._running and each.address not in self.expected:
                await prepared.open_links(each.address)

    def apply(self, settings: Sequence[ListenSettings], prepared: Prepared) -> None:
        """Listen at these addresses and no others, with the sockets that were opened or handed over."""
        wanted = {each.address: each for each in settings}
        for address in [address for address in self._running if address not in wanted]:
            # The listener closes its socket itself.
            self._running.pop(address)[1].cancel()
        for address, each in wanted.items():
            if address in self._running:
                self._running[address][0].settings = each
            else:
                listener = self._listener(prepared.listeners.pop(address), each)
                task = spawn(listener.run(), "listener", self._emit)
                # It closes its socket itself, but for one that is cancelled before it has begun.
                task.add_done_callback(partial(_closed, listener))
                self._running[address] = (listener, task)
        self.expected = set()

    def tasks(self) -> list[asyncio.Task[None]]:
        """Return the tasks that run, for the end of the node."""
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


def _closed(listener: Listener, _: asyncio.Task[None]) -> None:
    listener.close()
