"""The interface of the link table that the dialler and the renewer use."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from cryptography import x509

from pcgrelay.config import LinkSettings
from pcgrelay.identity.handshake import HandshakeResult
from pcgrelay.link.bar import Bar
from pcgrelay.link.control import ControlConnection
from pcgrelay.link.link import Link
from pcgrelay.model import NodeId, Suite


class LinkRegistry(Protocol):
    """The links by number and id. Implemented in `table`, and by tests."""

    links: dict[int, Link]

    @property
    def bar(self) -> Bar | None:
        """Links that are not to come up."""

    def add(
        self,
        established: HandshakeResult,
        connection: ControlConnection,
        settings: LinkSettings,
        connect: Callable[[], Awaitable[socket.socket]],
    ) -> Link | None:
        """Add a dialled link whose handshake is complete. None if it is refused; the refusal is counted then."""

    def by_id(self, link_id: bytes) -> Link | None:
        """The link that was accepted here and has this id, or None."""

    def refusal(
        self, peer: NodeId, dialled: bool, chain: tuple[x509.Certificate, ...], suite: Suite, group: str
    ) -> str | None:
        """Return the reason for which a neighbour would be refused now, or None."""

    def shut_out_by(self, peer: NodeId) -> None:
        """Note that a neighbour refuses this node."""

    def refuse_count(self, reason: str) -> None:
        """Count a refusal by its reason."""

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a task that is cancelled when the links stop. An exception in it is logged, and goes no further."""
