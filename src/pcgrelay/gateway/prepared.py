"""What a new configuration needs before it can be applied: bound sockets and resolved targets.

All of it is prepared first, beside what runs, so that a reload that fails changes nothing.
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

from pcgrelay.config import Address, ImportSettings
from pcgrelay.errors import RunError
from pcgrelay.files import reason_of
from pcgrelay.model import ServiceName, Transport
from pcgrelay.net.sockets import BACKLOG, bind_listener, bound, share
from pcgrelay.net.unix_sockets import SocketPathError, open_beside, remove_beside
from pcgrelay.services.targets import Target

T = TypeVar("T")

# The workers close listeners soon after the order, not at once.
PATIENCE_S = 0.5
PATIENCE_STEP_S = 0.02


# The ports that a node uses, with their sockets unless these belong to the core.
Held = dict[Address, socket.socket | None]


@dataclass(slots=True)
class Prepared:
    """What was opened for a configuration and is not in use yet.

    A port that this node itself uses, with another address or for another purpose, moves from one to the other: both
    sockets are bound at the same time for a moment, and the new one listens only when everything else is ready.
    """

    held: Held = field(default_factory=dict)  # the ports that this node uses now
    # Ports that the previous process uses for links, without SO_REUSEPORT.
    kept: Collection[Address] = ()
    listeners: dict[Address, socket.socket] = field(default_factory=dict)
    imports: dict[ServiceName, list[socket.socket]] = field(default_factory=dict)
    targets: dict[ServiceName, Target] = field(default_factory=dict)
    directs: dict[tuple[ServiceName, str], Target] = field(default_factory=dict)  # of outlets, by import and name
    late: list[socket.socket] = field(default_factory=list)  # bound and not listening yet
    beside: set[str] = field(default_factory=set)  # paths of unix sockets that are not in their places yet
    shared: list[socket.socket] = field(default_factory=list)  # of links, with SO_REUSEPORT for this moment only

    def listen(self) -> None:
        """Let the sockets listen that are only bound yet. Raises RunError if one cannot; then nothing has changed."""
        while self.late:
            try:
                self.late[-1].listen(BACKLOG)
            except OSError as error:
                raise RunError(f"A port of this node cannot be handed over ({reason_of(error)}); try again.") from None
            self.late.pop()

    def close(self) -> None:
        """Close what was not used."""
        for sock in [*self.listeners.values(), *(sock for sockets in self.imports.values() for sock in sockets)]:
            with suppress(OSError):
                sock.close()
        for path in self.beside:
            remove_beside(path)
        for sock in self.shared:
            share(sock, False)

    async def open_links(self, address: Address) -> None:
        """Open a listening socket for links. Raises RunError if the address is not available."""
        ours, elsewhere = self._shared_with(address), self._is_kept(address)
        sock = await _patiently(
            address, "", lambda: bound(address, shared=True) if ours else bind_listener(address), ours, elsewhere
        )
        self.listeners[address] = sock
        if ours:
            self.late.append(sock)
            self.shared.append(sock)

    async def open_import(self, address: Address, service: ServiceName, count: int) -> None:
        """Open `count` listening sockets on one port, one for each worker. Raises RunError if it is not available."""
        ours, elsewhere = self._shared_with(address), self._is_kept(address)
        bind = partial(_shared_listeners, address, count, ours)
        sockets = await _patiently(address, f", for {service}", bind, ours, elsewhere)
        self.imports.setdefault(service, []).extend(sockets)
        if ours and address.transport is Transport.STREAM:
            self.late += sockets

    def open_socket(self, address: Address, settings: ImportSettings, count: int, *, ours: bool) -> None:
        """Open a listening unix socket, `count` times for as many workers. ours: its path is this node's own already.

        Raises RunError.
        """
        path = address.host
        try:
            sock = open_beside(path, settings.mode, settings.group, ours=ours)
        except SocketPathError as problem:
            raise RunError(f"{address}, for {settings.service}: {problem}.") from None
        self.beside.add(path)
        copies = [sock, *(sock.dup() for _ in range(count - 1))]
        self.imports.setdefault(settings.service, []).extend(copies)

    def _shared_with(self, address: Address) -> bool:
        """Whether this node uses that port. Sockets of imports always have SO_REUSEPORT; those of links get it here."""
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
    # With SO_REUSEPORT a second program of this user could have the port too and take half of the connections
    # unnoticed. So the port is first bound exclusively, which fails if another socket has it.
    is_stream = address.transport is Transport.STREAM
    make = bind_listener if is_stream and not ours else bound
    if not ours:
        make(address).close()
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            sockets.append(make(address, shared=True))
    except OSError:
        for sock in sockets:
            with suppress(OSError):
                sock.close()
        raise
    return sockets
