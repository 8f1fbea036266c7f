"""What a new configuration needs before it can be taken: sockets that are bound, targets that are looked up.

All of it is had first, beside what runs, so that a reload that fails leaves nothing changed.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from pcgrelay.config import Address
from pcgrelay.errors import RunError
from pcgrelay.files import reason_of
from pcgrelay.gateway.targets import Target
from pcgrelay.model import ServiceName
from pcgrelay.session.sockets import listening

T = TypeVar("T")

# The workers close listeners soon after they are told, not at once.
PATIENCE_S = 0.5
PATIENCE_STEP_S = 0.02


@dataclass(slots=True)
class Opened:
    """What was opened for a configuration and is not in use yet."""

    listeners: dict[Address, socket.socket] = field(default_factory=dict)
    imports: dict[ServiceName, list[socket.socket]] = field(default_factory=dict)
    targets: dict[ServiceName, Target] = field(default_factory=dict)

    def close(self) -> None:
        """Let go of what nobody took."""
        for sock in [*self.listeners.values(), *(sock for sockets in self.imports.values() for sock in sockets)]:
            with suppress(OSError):
                sock.close()


async def link_listener(address: Address) -> socket.socket:
    """A listening socket for links; RunError if the address cannot be had."""
    return await _patiently(address, "", lambda: listening(address))


async def import_listeners(address: Address, service: ServiceName, count: int, *, ours: bool) -> list[socket.socket]:
    """One listening socket for each worker, all on one port; RunError if the address cannot be had.

    ours: another import of this node still listens there, and gives the address up in a moment.
    """
    return await _patiently(address, f", for {service}", lambda: _shared_listeners(address, count, ours))


async def _patiently(address: Address, purpose: str, bind: Callable[[], T]) -> T:
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while True:
        try:
            return bind()
        except OSError as error:
            if error.errno != errno.EADDRINUSE or asyncio.get_running_loop().time() > deadline:
                problem = f"nothing can listen there ({reason_of(error)}); free it or choose another"
                raise RunError(f"{address}{purpose}: {problem}.") from None
        await asyncio.sleep(PATIENCE_STEP_S)


def _shared_listeners(address: Address, count: int, ours: bool) -> list[socket.socket]:
    # With SO_REUSEPORT a second program could bind the port too and take half of the connections without anybody
    # noticing. So the port is first bound alone, which fails if anybody is there.
    if not ours:
        listening(address).close()
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            sockets.append(listening(address, shared=True))
    except OSError:
        for sock in sockets:
            with suppress(OSError):
                sock.close()
        raise
    return sockets
