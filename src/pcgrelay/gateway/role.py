"""What an edge and a relay do each in its own way, and what they use of their node.

A `Node` has what both have in common: identity, links, listeners, the catalogue, start and stop. It is given one role.
The role owns its parts, and knows the node as `NodeParts` and no more.
"""

from __future__ import annotations

from typing import Protocol

from pcgrelay.catalogue.exchange import CatalogueExchange
from pcgrelay.clock import Clock
from pcgrelay.config import Config
from pcgrelay.dataplane.adapter import Plane
from pcgrelay.dataplane.events import Handlers
from pcgrelay.gateway.prepared import Held, Prepared
from pcgrelay.gateway.refused import RefusalCounts
from pcgrelay.handover.node import NodeHandover
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.link.link import Link
from pcgrelay.link.table import LinkTable
from pcgrelay.log.events import Emit
from pcgrelay.messages import Message


class NodeParts(Protocol):
    """What a role uses of its node. `node` has the real one; tests bring their own."""

    @property
    def local(self) -> LocalIdentity:
        """Its configuration and credentials as they are now."""

    @property
    def plane(self) -> Plane: ...
    @property
    def link_table(self) -> LinkTable: ...
    @property
    def exchange(self) -> CatalogueExchange: ...
    @property
    def refused(self) -> RefusalCounts: ...
    @property
    def emit(self) -> Emit: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def started_ms(self) -> int:
        """When it started, on the monotonic clock; if it was handed over, the first process of all."""

    @property
    def draining(self) -> bool:
        """Whether nothing new is taken."""


class Paths(Protocol):
    """The paths of a node: the ends at an edge, or those through a relay."""

    def receive(self, link: Link, message: Message) -> None:
        """A neighbour said something about a path."""

    def control_lost(self, link: Link) -> None:
        """The control connection of a link is gone with all that was asked for over it."""

    def link_down(self, link: Link) -> None:
        """A link is gone with all paths over it."""

    def count_over(self, link: Link) -> int:
        """How many paths this node leads over a link."""


class NodeRole(Protocol):
    """An edge or a relay. Its methods are called from the event loop only."""

    @property
    def paths(self) -> Paths: ...

    def handlers(self) -> Handlers:
        """What it has to do with events of the core. Of lanes and links the node itself hears first."""

    async def close(self, code: int) -> None:
        """End everything; may be called at any point."""

    def is_busy(self) -> bool:
        """Whether something runs that a drain should wait for."""

    def tick(self) -> None:
        """Once a second, after the node."""

    # -- a configuration ---------------------------------------------------------------------------------------

    def held(self) -> Held:
        """The ports that it has now."""

    async def prepare(self, config: Config, prepared: Prepared, *, reopen: bool) -> None:
        """Open what a configuration needs and is not there; RunError if something is not available.

        reopen: for the end of a drain, which closed listeners although the configuration is the same.
        """

    def check(self, config: Config, prepared: Prepared) -> None:
        """Refuse what the core would refuse of a configuration, as ConfigError, and change nothing."""

    def apply(self, prepared: Prepared) -> bool:
        """Serve what the configuration says, with what was prepared; answers whether the core took the tables."""

    def unserved(self) -> str:
        """Why the core does not serve by what the configuration says, or nothing."""

    def trust_changed(self) -> None:
        """Policy or trust have changed: end what they no longer allow."""

    def drain_begun(self) -> None:
        """Take nothing new, and tell those who would bring it."""

    # -- a hand-over -------------------------------------------------------------------------------------------

    def to_handover(self, handover: NodeHandover) -> NodeHandover:
        """The record of a hand-over, with what only this role has."""

    def restore(self, handover: NodeHandover, prepared: Prepared) -> None:
        """Have what only this role has of the process before, whose links are in the table already."""

    # -- links and the catalogue -------------------------------------------------------------------------------

    def catalogue_changed(self) -> None:
        """An edge came, went, or changed what it offers."""

    def link_is_used(self, link: Link) -> bool:
        """Whether anything is led over a link."""

    def link_drains(self, link: Link) -> None:
        """A neighbour leaves, or a newer link to it is up: lead what is on this link over another."""
