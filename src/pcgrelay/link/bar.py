"""A bar: for a time no link with a neighbour, or over a bearer, is let up. A drill has it, and nothing keeps it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from pcgrelay.model import NodeId


@dataclass(frozen=True, slots=True)
class Bar:
    """What is barred: a neighbour, or a bearer. Whoever dials waits until it is lifted."""

    peer: NodeId | None = None
    bearer: str | None = None
    lifted: asyncio.Event = field(default_factory=asyncio.Event)

    def holds(self, peer: NodeId | None, bearer: str) -> bool:
        """Whether a link is not to come up now."""
        return not self.lifted.is_set() and self.is_of(peer, bearer)

    def is_of(self, peer: NodeId | None, bearer: str) -> bool:
        """Whether a link is one of those that are barred. peer: None if it has not proved its name yet."""
        return (peer is not None and peer == self.peer) or bearer == self.bearer
