"""All links of a node, as those see them that dial and renew them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Protocol

from cryptography import x509

from pcgrelay.config import LinkSettings
from pcgrelay.identity.handshake import HandshakeResult
from pcgrelay.link.control import ControlConnection
from pcgrelay.link.link import Link
from pcgrelay.model import NodeId, Suite


class LinkRegistry(Protocol):
    """The links by number and id. `table` has the real one; tests bring their own."""

    links: dict[int, Link]

    def add(
        self,
        established: HandshakeResult,
        connection: ControlConnection,
        settings: LinkSettings,
        connect: Callable[[], Awaitable[socket.socket]],
    ) -> Link | None:
        """Take a link in that was dialled and whose handshake is over; nothing if it is refused."""

    def by_id(self, link_id: bytes) -> Link | None:
        """The link that came in here and has this id."""

    def refusal(
        self, peer: NodeId, dialled: bool, chain: tuple[x509.Certificate, ...], suite: Suite, group: str
    ) -> str | None:
        """Why a neighbour would not be let in now, in one word, or nothing."""

    def shut_out_by(self, peer: NodeId) -> None:
        """A neighbour says that this node may not come in."""

    def refuse_count(self, reason: str) -> None:
        """Count a refusal under its one word."""

    def spawn(self, work: Awaitable[None], name: str) -> asyncio.Task[None]:
        """A task that ends with the links. Its failure is logged and goes no further."""
