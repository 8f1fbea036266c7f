"""The tables of an edge: built from services, sessions and rules, published to the core, then offered to neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pcgrelay.catalogue.entries import Offer
from pcgrelay.config import Config
from pcgrelay.gateway.edge_outlets import EdgeOutlets
from pcgrelay.gateway.edge_routes import EdgeRoutes
from pcgrelay.gateway.edge_services import EdgeServices
from pcgrelay.gateway.prepared import Prepared
from pcgrelay.gateway.role import NodeParts
from pcgrelay.gateway.strays import Strays
from pcgrelay.handover.node import RuleEndHandover
from pcgrelay.model import Transport
from pcgrelay.policy.clearances import clearances_of
from pcgrelay.policy.in_force import has_ended
from pcgrelay.policy.rules import export_rules
from pcgrelay.services.ending_rules import EndingRules
from pcgrelay.services.imports import ImportState
from pcgrelay.services.publisher import TablePublisher
from pcgrelay.services.services import Exported, Imported, exports_with, imports_with
from pcgrelay.services.tables import ImportPlanner, Tables, export_rows, grants_of, import_rows, offer_of, row_of
from pcgrelay.session.session import Session
from pcgrelay.session.table import Sessions

# How long after the start an import without a known exporter lets its applications wait.
STARTING_MS = 5_000


class EdgeTables:
    """The service tables of one edge. Its publisher decides when they are published."""

    def __init__(
        self,
        node: NodeParts,
        services: EdgeServices,
        outlets: EdgeOutlets,
        strays: Strays,
        sessions: Sessions,
        routes: EdgeRoutes,
        is_unanswered: Callable[[Imported], bool],
    ) -> None:
        """is_unanswered: whether an import was asked for so recently that an edge may still announce it."""
        self._node = node
        self._services = services
        self._outlets = outlets
        self._strays = strays
        self._sessions = sessions
        self._planner = ImportPlanner(sessions, routes.bars, node.clock)
        self.publisher = TablePublisher(node.plane, self.build, self._taken, sessions.count, node.emit)
        self._offered: list[Offer] = []
        self._was_starting = True
        self._was_settling = False
        self._is_unanswered = is_unanswered
        self._was_unanswered = False
        self.ending_rules = EndingRules(node.emit)

    @property
    def is_starting(self) -> bool:
        """Whether the node started so recently that an unknown service may still be announced."""
        return self._node.clock.monotonic_ms() - self._node.started_ms < STARTING_MS

    def tick(self) -> None:
        """Publish again if the time has changed something or the core refused tables; called once a second."""
        now_ms = self._node.clock.monotonic_ms()
        settling = any(imported.is_held_down(now_ms) for imported in self._services.imports)
        was_starting = self._was_starting and not self.is_starting
        has_ended = self.ending_rules.look(self._services.rules, self._node.clock.wall())
        unanswered = any(map(self._is_unanswered, self._services.imports))
        waited = settling or self._was_settling or was_starting or unanswered or self._was_unanswered
        # A renewal tells what the far edge knows by now.
        waited = waited or any(map(_waits_for_datagrams, self._services.imports))
        if waited or self.publisher.has_failed or has_ended:
            self._was_starting = self.is_starting
            self._was_settling = settling
            self._was_unanswered = unanswered
            self.publisher.soon()

    def restore(self, rule_ends: Iterable[RuleEndHandover]) -> None:
        """Note that this process continues another one, so that it is not starting, and what that has told of rules."""
        self._was_starting = False
        self.ending_rules.restore(rule_ends)

    def build(self) -> Tables:
        """Build all tables as they are now."""
        node, services = self._node, self._services
        is_starting = self.is_starting
        settling = self._planner.plan(
            services.imports, starting=lambda imported: is_starting or self._is_unanswered(imported)
        )
        self._outlets.replan()
        self._was_settling = self._was_settling or settling
        now = node.clock.wall()
        # As of exports, to which it grants nothing any more: what has ended goes at once, whatever else waits.
        imports = [each for each in services.imports if not has_ended(each.settings.paper, now)]
        return Tables(
            exports=export_rows(node.plane, services.exports, draining=node.draining),
            imports=[*import_rows(node.plane, imports, draining=node.draining), *self._strays.rows()],
            grants=[(session.number, self.granted_to(session)) for session in self._sessions if session.number],
        )

    def check(self, config: Config, prepared: Prepared) -> None:
        """Check the tables of another configuration, changing nothing. Raises ConfigError if the core refuses them."""
        plane, services = self._node.plane, self._services
        exports = exports_with(services.exports, config.exports, services.export_numbers, prepared.targets)
        imports = imports_with(services.imports, config.imports, services.import_numbers)
        numbers = [exported.number for exported in exports]
        rules, now = export_rules(config.exports), self._node.clock.wall()
        clearances = clearances_of(config)
        self.publisher.check(
            Tables(
                exports=export_rows(plane, exports, draining=self._node.draining),
                imports=[*import_rows(plane, imports, draining=self._node.draining), *self._strays.rows()],
                grants=[
                    (session.number, grants_of(session, rules, numbers, now, clearances))
                    for session in self._sessions
                    if session.number
                ],
            )
        )

    def refusal_of(self, exported: Exported) -> str:
        """Return the reason for which the core refuses an export; empty if it does not."""
        return self.publisher.left_out.get(row_of(exported), "")

    def granted_to(self, session: Session) -> tuple[int, ...]:
        """Return the numbers of the exports that a session's peer may open."""
        numbers = [exported.number for exported in self._services.exports]
        local = self._node.local
        return grants_of(session, self._services.rules, numbers, self._node.clock.wall(), local.clearances)

    def _taken(self) -> None:
        """Send the neighbours the new offers, if these have changed, after the core has accepted new tables.

        An export whose rule has ended is none of them: whoever has another way to the service is to take that.
        """
        node = self._node
        now = node.clock.wall()
        offers = [
            offer_of(exported, draining=node.draining, refused=bool(self.refusal_of(exported)))
            for exported in self._services.exports
            if not has_ended(exported.settings.paper, now)
        ]
        if offers != self._offered or not node.exchange.has_offered:
            self._offered = offers
            node.exchange.offer(offers)


def _waits_for_datagrams(imported: Imported) -> bool:
    plan = imported.plan
    return imported.settings.transport is Transport.DATAGRAM and plan.state is ImportState.DOWN and imported.is_known
