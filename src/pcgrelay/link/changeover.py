"""A link's change from one control connection to the next (docs/protocol.md, 9.9).

    dialler                                          acceptor
    handshake on the new connection, its secret to the core of either side, which reports that it is kept
    -- RENEWED, the last on the old connection -->   heard
    heard              <-- RENEWED, the last on the old connection --
    both: the mix may be named, the new connection is read, the old one is closed

So no message is lost or overtakes another. Before RENEWED is told, the attempt can fail and leave no trace. After it,
the control connection is lost with it, and the dialler makes the link again, as after any such loss.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from pcgrelay.identity.handshake import HandshakeResult
from pcgrelay.link.control import ControlConnection

CHANGEOVER_MS = 10_000


@dataclass(eq=False, slots=True)
class Changeover:
    """One renewal of a link under way, from its handshake on."""

    established: HandshakeResult  # its secret is wiped
    connection: ControlConnection
    began_ms: int
    kept: bool = False  # every worker of the core has the secret
    told: bool = False
    heard: bool = False
    opened: asyncio.Event = field(default_factory=asyncio.Event)  # its messages are read from here on
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def generation(self) -> int:
        """The renewal's number, which is its mix id too."""
        return self.established.generation

    @property
    def is_begun(self) -> bool:
        """Whether one side may have left the old connection already."""
        return self.told or self.heard
