"""What a new configuration needs before it can be taken: sockets that are bound, targets that are looked up.

All of it is had first, beside what runs, so that a reload that fails leaves nothing changed.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from pcgrelay.config import Address
from pcgrelay.errors import RunError
from pcgrelay.files import reason_of
from pcgrelay.model import ServiceName
from pcgrelay.net.sockets import BACKLOG, bind_listener, bound, share
from pcgrelay.services.targets import Target

T = TypeVar("T")

# The workers close listeners soon after they are told, not at once.
PATIENCE_S = 0.5
PATIENCE_STEP_S = 0.02


# The ports that a node has, with their sockets where they are its own and not the core's.
Held = dict[Address, socket.socket | None]


@dataclass(slots=True)
class Prepared:
    """What was opened for a configuration and is not in use yet.

    A port that this node itself has, under another address or for another purpose, passes from one to the other: the
    sockets of both are bound beside each other for a moment, and the new one listens only when all else is there.
    """

    held: Held = field(default_factory=dict)  # what this node has now
    # What the process whose place this one takes has for links, and shares with nobody.
    kept: Collection[Address] = ()
    listeners: dict[Address, socket.socket] = field(default_factory=dict)
    imports: dict[ServiceName, list[socket.socket]] = field(default_factory=dict)
    targets: dict[ServiceName, Target] = field(default_factory=dict)
    late: list[socket.socket] = field(default_factory=list)  # bound, and not listening
    shared: list[socket.socket] = field(default_factory=list)  # of links, that are shared for this moment alone

    def listen(self) -> None:
        """Let all listen that were bound beside others; RunError if one cannot, and then nothing has changed."""
        while self.late:
            try:
                self.late[-1].listen(BACKLOG)
            except OSError as error:
                raise RunError(f"A port of this node cannot be handed over ({reason_of(error)}); try again.") from None
            self.late.pop()

    def close(self) -> None:
        """Let go of what nobody took."""
        for sock in [*self.listeners.values(), *(sock for sockets in self.imports.values() for sock in sockets)]:
            with suppress(OSError):
                sock.close()
        for sock in self.shared:
            share(sock, False)

    async def open_links(self, address: Address) -> None:
        """Have a listening socket for links; RunError if the address is not available."""
        ours, elsewhere = self._shared_with(address), self._is_kept(address)
        sock = await _patiently(
            address, "", lambda: bound(address, shared=True) if ours else bind_listener(address), ours, elsewhere
        )
        self.listeners[address] = sock
        if ours:
            self.late.append(sock)
            self.shared.append(sock)

    async def open_import(self, address: Address, service: ServiceName, count: int) -> None:
        """Have so many listening sockets on one port, one for each worker; RunError if it is not available."""
        ours, elsewhere = self._shared_with(address), self._is_kept(address)
        bind = partial(_shared_listeners, address, count, ours)
        self.imports[service] = await _patiently(address, f", for {service}", bind, ours, elsewhere)
        if ours:
            self.late += self.imports[service]

    def _shared_with(self, address: Address) -> bool:
        """Whether this node has that port. Sockets of imports are shared always, those of links from here on."""
        found = [other for other in self.held if other.overlaps(address)]
        for other in found:
            sock = self.held[other]
            if sock is not None:
                share(sock, True)
                self.shared.append(sock)
        return bool(found)

    def _is_kept(self, address: Address) -> bool:
        return any(other.overlaps(address) for other in self.kept)


async def _patiently(address: Address, purpose: str, bind: Callable[[], T], ours: bool, elsewhere: bool) -> T:
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while True:
        try:
            return bind()
        except OSError as error:
            if error.errno != errno.EADDRINUSE or asyncio.get_running_loop().time() > deadline:
                raise RunError(f"{address}{purpose}: {_problem(error, ours, elsewhere)}.") from None
        await asyncio.sleep(PATIENCE_STEP_S)


def _problem(error: OSError, ours: bool, elsewhere: bool) -> str:
    if error.errno == errno.EADDRINUSE and elsewhere:
        return "the running node itself has this port for something else; reload it first, then upgrade"
    if error.errno == errno.EADDRINUSE and ours:
        return "beside this node itself another program has this port, on an address that is asked for; free it there"
    return f"nothing can listen there ({reason_of(error)}); free it or choose another"


def _shared_listeners(address: Address, count: int, ours: bool) -> list[socket.socket]:
    # With SO_REUSEPORT a second program could bind the port too and take half of the connections without anybody
    # noticing. So the port is first bound alone, which fails if anybody is there.
    if not ours:
        bind_listener(address).close()
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            sockets.append((bound if ours else bind_listener)(address, shared=True))
    except OSError:
        for sock in sockets:
            with suppress(OSError):
                sock.close()
        raise
    return sockets
