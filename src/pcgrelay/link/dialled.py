"""A link that this node dials, and the state of dialling it.

Either the file names the neighbour, or DNS leads to it; then its name is known only once it has proved it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from pcgrelay.config import Address, DiscoverSettings, LinkSettings, PolicySettings
from pcgrelay.link.link import Link, LinkState
from pcgrelay.model import NodeId, Precedence, Role
from pcgrelay.net.ratelimit import TokenBucket
from pcgrelay.net.sockets import Where
from pcgrelay.policy.rules import link_refusal

ALREADY_LINKED = "already_linked"


@dataclass(frozen=True, slots=True)
class FoundRelay:
    """An address that DNS leads to, and the [[link]] by which it was found."""

    by: DiscoverSettings
    address: Address

    @property
    def bearer(self) -> str:
        return self.by.bearer

    @property
    def precedence(self) -> Precedence:
        return self.by.precedence

    @property
    def weight(self) -> int:
        return self.by.weight

    @property
    def sources(self) -> tuple[str, ...]:
        return self.by.sources


@dataclass(eq=False, slots=True)
class DialledLink:
    """One link, and the state of dialling it."""

    settings: LinkSettings | FoundRelay
    link: Link | None = None
    attempts: int = 0
    reason: str = ""
    last: list[Where] = field(default_factory=list)  # the addresses of its name when it was last resolved
    returns: TokenBucket | None = None
    task: asyncio.Task[None] | None = field(default=None, repr=False)
    seen: NodeId | None = None  # who answered there last
    changed: Callable[[], None] = field(default=lambda: None, repr=False)  # called when an attempt or a link ended
    is_taken: Callable[[NodeId], bool] = field(default=lambda peer: False, repr=False)  # linked to otherwise

    @property
    def peer(self) -> NodeId | None:
        """The neighbour; None: it has not proved its name yet."""
        return self.settings.peer if isinstance(self.settings, LinkSettings) else self.seen

    @property
    def discover(self) -> str:
        """The name by which it was found; empty: the file names it."""
        return self.settings.by.discover if isinstance(self.settings, FoundRelay) else ""

    @property
    def title(self) -> str:
        """The neighbour as a phrase."""
        return str(self.peer) if self.peer is not None else f"A relay that {self.discover} leads to"

    @property
    def lives(self) -> bool:
        """Whether its link is there, or its lanes are while the control connection is made again."""
        link = self.link
        if link is None or link.state is LinkState.CLOSED:
            return False
        return link.state is not LinkState.ORPHANED or bool(link.lanes_up)

    @property
    def holds(self) -> bool:
        """Whether its link is there to stay."""
        return self.lives and self.link is not None and not self.link.draining and not self.has_dead_lanes

    @property
    def has_dead_lanes(self) -> bool:
        """Whether it was up and no lane of it is any more."""
        link = self.link
        return link is not None and link.state in (LinkState.UP, LinkState.ORPHANED) and not link.lanes_up

    @property
    def is_up(self) -> bool:
        """Whether its link is ready for paths, and stays."""
        return self.holds and self.link is not None and bool(self.link.lanes_up)

    @property
    def has_failed(self) -> bool:
        """Whether there is no link and an attempt at it has ended."""
        return not self.lives and bool(self.attempts)

    def refusal(self, peer: NodeId, policy: PolicySettings) -> str | None:
        """Return why the neighbour that answered may not be this link's, as one word, or None."""
        if isinstance(self.settings, LinkSettings):
            return link_refusal(policy, peer, self.settings.peer)
        self.seen = peer
        if not self.settings.by.admits(peer, policy):
            return "relay_not_admitted"
        return ALREADY_LINKED if self.is_taken(peer) else None

    def made_with(self, peer: NodeId, role: Role, policy: PolicySettings) -> LinkSettings | str:
        """Return the settings of the link with the neighbour that answered, or why there is none, as one word.

        policy: as it is now, for a reload may have come since `refusal`.
        """
        if isinstance(self.settings, LinkSettings):
            return self.settings
        if role is not Role.RELAY:
            return "not_a_relay"
        if not self.settings.by.admits(peer, policy):
            return "relay_not_admitted"
        return ALREADY_LINKED if self.is_taken(peer) else self.settings.by.link_to(peer, self.settings.address)

    def drop(self, reason: str) -> None:
        """Dial no more, and end the link so that its paths can move before."""
        if self.task is not None:
            self.task.cancel()
        if self.link is not None and self.link.state is not LinkState.CLOSED:
            self.link.retire(reason)
