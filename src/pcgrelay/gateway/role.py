"""The interface between a node and its role (edge or relay), in both directions.

A `Node` has the common parts: identity, links, listeners, the catalogue, start and stop. It is given one role. The role
owns its own parts, and uses the node through `NodeParts` only.
"""

from __future__ import annotations

from typing import Protocol

from pcgrelay.catalogue.exchange import CatalogueExchange
from pcgrelay.clock import Clock
from pcgrelay.config import Config
from pcgrelay.dataplane.adapter import Plane
from pcgrelay.dataplane.events import Handlers
from pcgrelay.gateway.approvals import Approvals
from pcgrelay.gateway.fleet import NodeFleet
from pcgrelay.gateway.prepared import Held, Prepared
from pcgrelay.gateway.refused import RefusalCounts
from pcgrelay.handover.node import NodeHandover
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.link.link import Link
from pcgrelay.link.table import LinkTable
from pcgrelay.log.events import Emit
from pcgrelay.log.writer import Log
from pcgrelay.messages import Message
from pcgrelay.state.folder import StateFolder
from pcgrelay.state.writes import StateWrites


class NodeParts(Protocol):
    """What a role uses of its node. Implemented in `node`, and by tests."""

    @property
    def local(self) -> LocalIdentity:
        """Its present configuration and credentials."""

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
    def log(self) -> Log: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def approvals(self) -> Approvals:
        """What was approved at it."""

    @property
    def fleet(self) -> NodeFleet:
        """The store of the fleet as the node uses it."""

    @property
    def state(self) -> StateFolder | None:
        """Where what outlasts a process is kept."""

    @property
    def writes(self) -> StateWrites:
        """Through which files of state are written beside the event loop."""

    @property
    def started_ms(self) -> int:
        """When it started, on the monotonic clock; after hand-overs, when the first process started."""

    @property
    def draining(self) -> bool:
        """Whether nothing new is accepted."""


class Paths(Protocol):
    """The paths of a node: the ends at an edge, or those through a relay."""

    def receive(self, link: Link, message: Message) -> None:
        """Handle a neighbour's message about a path."""

    def control_lost(self, link: Link) -> None:
        """End what is being set up over a link whose control connection was lost."""

    def link_down(self, link: Link) -> None:
        """End all paths over a link that has ended."""

    def count_over(self, link: Link) -> int:
        """Return how many paths use a link."""


class NodeRole(Protocol):
    """An edge or a relay. Its methods are called from the event loop only."""

    @property
    def paths(self) -> Paths: ...

    def handlers(self) -> Handlers:
        """Return its handlers of core events. For lanes and links, the node's handler is called first."""

    async def close(self, code: int) -> None:
        """End everything. It may be called at any point."""

    def is_busy(self) -> bool:
        """Whether there is something that a drain waits for."""

    def tick(self) -> None:
        """Do what is due once a second, after the node's own tick."""

    # -- a configuration ---------------------------------------------------------------------------------------

    def held(self) -> Held:
        """Return the ports that it uses now."""

    async def prepare(self, config: Config, prepared: Prepared, *, reopen: bool) -> None:
        """Open what a configuration needs and does not exist. Raises RunError if something is not available.

        reopen: at the end of a drain, which closed listeners although the configuration is the same.
        """

    def check(self, config: Config, prepared: Prepared) -> None:
        """Check a configuration without a change. Raises ConfigError if the core would refuse it."""

    def apply(self, prepared: Prepared) -> bool:
        """Serve what the configuration says, with what was prepared; whether the core accepted the tables."""

    def unserved(self) -> str:
        """Return the reason for which the core does not serve what the configuration says; empty if it does."""

    def read_system(self) -> None:
        """Take up the settings of the system that hold besides the configuration, at a reload that changes nothing."""

    def trust_changed(self) -> None:
        """End what policy or trust no longer allow, after they have changed."""

    def clearances_changed(self) -> None:
        """Leave or end the paths that are no longer cleared, after clearances or bearers have changed."""

    def why_no_upgrade(self) -> str:
        """Why the node is not to be handed over now; empty if it may be."""

    def drain_begun(self) -> None:
        """Accept nothing new, because a drain has begun."""

    # -- a hand-over -------------------------------------------------------------------------------------------

    def to_handover(self, handover: NodeHandover) -> NodeHandover:
        """Return the hand-over record with the part of this role added."""

    def restore(self, handover: NodeHandover, prepared: Prepared) -> None:
        """Restore the part of this role; the links have been restored already."""

    # -- links and the catalogue -------------------------------------------------------------------------------

    def catalogue_changed(self) -> None:
        """Handle a change of the catalogue: an edge came, went, or changed its offers."""

    def link_is_used(self, link: Link) -> bool:
        """Whether any path uses a link."""

    def link_drains(self, link: Link) -> None:
        """Move what is on this link to another one: the neighbour drains, or a newer link with it is up."""
