"""The change of a link from one control connection to the next, when it is renewed (docs/protocol.md, 9.9).

    dialler                                          acceptor
    handshake on the new connection; each side gives the secret to its core, which reports when all workers keep it
    -- RENEWED, the last on the old connection -->   received
    received           <-- RENEWED, the last on the old connection --
    both: the mix may be used, the new connection is read, the old one is closed

So no message is lost and none overtakes another. Before RENEWED is sent, the attempt can fail without effect. After
that a failure also loses the control connection, and the dialler makes the link again, as after any such loss.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from pcgrelay.identity.handshake import HandshakeResult
from pcgrelay.link.control import ControlConnection

CHANGEOVER_MS = 10_000


@dataclass(eq=False, slots=True)
class Changeover:
    """A renewal of a link under way, after its handshake. told, heard: RENEWED was sent, was received."""

    established: HandshakeResult  # its secret is wiped already
    connection: ControlConnection
    began_ms: int
    kept: bool = False  # every worker of the core has the secret
    told: bool = False
    heard: bool = False
    opened: asyncio.Event = field(default_factory=asyncio.Event)  # set: the new connection may be read
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def generation(self) -> int:
        """The generation of the renewal, which is also its mix id."""
        return self.established.generation

    @property
    def is_begun(self) -> bool:
        """Whether one side may have left the old connection already."""
        return self.told or self.heard
