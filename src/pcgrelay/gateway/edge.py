"""The role of an edge: imports that applications connect to, exports that other edges use, and the sessions.

Each change (of the catalogue, a session, a target, a rule) leads to a new set of tables for the core. Changes in one
turn of the event loop are published together.
"""

from __future__ import annotations

from msgspec import structs

from pcgrelay.config import Config
from pcgrelay.dataplane.events import (
    EventsLost,
    Handlers,
    ImportWanted,
    LaneDown,
    SetupEnded,
    StreamEnd,
    StreamsDone,
    StreamsNudged,
)
from pcgrelay.gateway.cutover_config import refuse_config
from pcgrelay.gateway.cutovers import BREAKS, Cutovers
from pcgrelay.gateway.days import Days
from pcgrelay.gateway.drill_parts import DrillParts
from pcgrelay.gateway.drills import Drills
from pcgrelay.gateway.edge_outlets import EdgeOutlets
from pcgrelay.gateway.edge_routes import EdgeRoutes
from pcgrelay.gateway.edge_services import EdgeServices
from pcgrelay.gateway.edge_tables import EdgeTables
from pcgrelay.gateway.prepared import Held, Prepared
from pcgrelay.gateway.retirement import Retirement
from pcgrelay.gateway.role import NodeParts
from pcgrelay.gateway.statements import Statements
from pcgrelay.gateway.strays import Strays
from pcgrelay.gateway.stream_ends import StreamEnds, tells_details, tells_each_end, tells_limits
from pcgrelay.gateway.wanting import Wanting
from pcgrelay.gateway.watching import ImportWatch
from pcgrelay.handover.node import NodeHandover
from pcgrelay.identity.handshake import session_cap
from pcgrelay.link.link import Link, LinkState
from pcgrelay.log.throttle import Throttle
from pcgrelay.messages import PathOpen
from pcgrelay.model import Transport
from pcgrelay.path.edge import EdgePaths, PathEnd, refused_record
from pcgrelay.path.labels import Labels
from pcgrelay.services.import_causes import ImportFailure, import_failure
from pcgrelay.services.imports import ImportState, exporters_of, offers_of
from pcgrelay.services.services import Imported, key_of
from pcgrelay.services.tables import lacks_datagrams
from pcgrelay.session.recovery import stall_unheard
from pcgrelay.session.session import Key, Session
from pcgrelay.session.table import Sessions


class EdgeRole:
    """The parts that an edge has besides the common node. It observes its sessions."""

    def __init__(self, node: NodeParts) -> None:
        local, plane, emit, clock = node.local, node.plane, node.emit, node.clock
        settings = local.config.node
        self._node = node
        self._throttle = Throttle(interval_ms=1_000)
        self.routes = EdgeRoutes(node)
        self.sessions = Sessions(
            local,
            plane,
            self,
            self.routes.choose,
            lambda flows: session_cap(settings.memory_bytes, flows),
            emit,
            clock,
        )
        self.paths = EdgePaths(settings.id, Labels(clock), self.sessions)
        self.sessions.attach(self.paths)
        self.paths.on_refused = self._path_refused
        self.services = EdgeServices(plane, self._target_changed, emit)
        self.outlets = EdgeOutlets(node, self.services, self._target_changed)
        self.strays = Strays(node, self.services)
        self.days = Days(node, self.services, self.outlets, self.strays)
        self.statements = Statements(node)
        self.import_watch = ImportWatch(emit, clock)
        self.wanting = Wanting(node, self.services, self.sessions, self.import_watch)
        self.tables = EdgeTables(
            node, self.services, self.outlets, self.strays, self.sessions, self.routes, self.wanting.is_unanswered
        )
        self.cutovers = Cutovers(
            node, self.services, self.outlets, self.tables.publisher, self.days, lambda: self.tables.is_starting
        )
        self.cutovers.share(node.fleet)
        self.outlets.is_lost = lambda service: str(service) in self.cutovers.lost
        self.retirement = Retirement(node, self.days, self.cutovers)
        self.outlets.governors += [self.cutovers, self.retirement]
        self.stream_ends = StreamEnds(
            local, plane, self.services, self.strays, self.sessions, self._throttle, node.log, clock
        )
        node.refused.register("sessions", self.sessions.refused)
        node.refused.register("paths", self.paths.refused)
        node.refused.register("streams", self.services.stream_counts.refused_total)
        self.drills = Drills(
            DrillParts(node, self.services, self.outlets, self.sessions, self.tables.publisher, self.cutovers)
        )
        # The first that governs a service decides; a drill is short.
        self.outlets.governors.insert(0, self.drills)
        node.fleet.changes.end_drill = self.drills.stop
        self._news_lost = False

    async def close(self, code: int) -> None:
        await self.drills.close()
        await self.cutovers.stop()
        await self.retirement.stop()
        await self.services.stop()
        self.strays.shut()
        await self.days.stop()
        await self.outlets.stop()
        await self.sessions.stop(code)

    def is_busy(self) -> bool:
        """Whether streams are open. An association has no end of its own, so nobody waits for it."""
        plane, services = self._node.plane, self.services
        active, of_datagrams = plane.services(), Transport.DATAGRAM
        imports = [each.number for each in services.imports if each.settings.transport is of_datagrams]
        exports = [each.number for each in services.exports if each.settings.transport is of_datagrams]
        associations = sum(active["imports"].get(number, 0) for number in imports)
        associations += sum(active["exports"].get(number, 0) for number in exports)
        return plane.streams() > associations

    def tick(self) -> None:
        node, sessions = self._node, self.sessions
        if self._news_lost:
            self._news_lost = False
            stall_unheard(sessions, node.plane.sessions(), sessions.core_stalled)
        now = node.clock.wall()
        sessions.judge(lambda session: node.local.expiry_refusal(session.chain, now))
        sessions.renew()
        if any(link.draining for link in node.link_table.links.values()):
            figures = node.plane.sessions()
            sessions.migration.draining(lambda number: figures.get(number, {}).get("streams", 0))
        sessions.migration.move_back(self.routes.better)
        self.stream_ends.tick()
        if not node.draining:
            self.import_watch.look(self.services.imports, sessions, node.exchange.catalogue)
            down = (each for each in self.services.imports if each.plan.state is ImportState.DOWN)
            failures = ((each.settings.service, self.import_failure(each)) for each in down)
            self.import_watch.look_for_failures({name: failure for name, failure in failures if failure})
        self.wanting.look()
        self._spread_datagrams()
        self.outlets.tick()
        self.strays.tick()
        self.days.tick()
        self.retirement.tick()
        self.tables.tick()
        self.drills.tick()

    def _spread_datagrams(self) -> None:
        for imported in self.services.imports:
            sessions = (self.sessions.by_number(route[0]) for route in imported.plan.routes)
            self.services.spread(imported, min((session.flows for session in sessions if session), default=0))

    def import_failure(self, imported: Imported) -> ImportFailure | None:
        """Return why no stream of an import can go over the gateway; None if one can."""
        if imported.plan.state is ImportState.LIVE:
            return None
        causes, links = self.sessions.causes, self._node.link_table.links.values()
        transport = imported.settings.transport
        return import_failure(
            imported.settings.service,
            imported.exporters,
            self._node.exchange.catalogue,
            is_linked=any(link.state is LinkState.UP for link in links),
            session_cause=lambda exporter: causes.get(key_of(exporter), ""),
            uncleared=lambda exporter: self.routes.uncleared(key_of(exporter)),
            transport=transport,
            lacks_datagrams=lambda exporter: (
                transport is Transport.DATAGRAM and lacks_datagrams(self.sessions.with_key(key_of(exporter)))
            ),
        )

    # -- a configuration ---------------------------------------------------------------------------------------

    def held(self) -> Held:
        return {**self.services.held(), **self.strays.held()}

    async def prepare(self, config: Config, prepared: Prepared, *, reopen: bool) -> None:
        await self.services.prepare(config, prepared, listens=reopen or not self._node.draining)
        await self.outlets.prepare(config, prepared)
        await self.strays.prepare(config, prepared, listens=reopen or not self._node.draining)
        await self.days.prepare(config)

    def check(self, config: Config, prepared: Prepared) -> None:
        self.retirement.check(config)
        refuse_config(config, self.cutovers.all())
        self.tables.check(config, prepared)

    def apply(self, prepared: Prepared) -> bool:
        self._node.plane.tells_limits = tells_limits(self._node.local.config)
        self._node.plane.tells_each_end = tells_each_end(self._node.local.config)
        self._node.plane.tells_details = tells_details(self._node.local.config)
        self.services.apply(self._node.local.config, prepared)
        self.strays.apply(self._node.local.config, prepared)
        self.retirement.load()
        self.outlets.apply(self._node.local.config, prepared)
        self.drills.apply()
        self.days.load()
        self.statements.load()
        self.cutovers.apply()
        self.wanting.look()
        self.catalogue_changed()
        self.tables.publisher.attempt()
        return not self.tables.publisher.has_failed

    def unserved(self) -> str:
        return self.tables.publisher.reason or self.services.unserved()

    def read_system(self) -> None:
        self.services.choose_local_ports(self._node.local.config)

    def trust_changed(self) -> None:
        local = self._node.local
        self.sessions.judge(lambda session: local.standing_refusal(session.chain, session.suite, session.group))

    def clearances_changed(self) -> None:
        self.routes.forget()
        self.sessions.migration.judge(self.routes.may_carry)
        self.tables.publisher.soon()

    def why_no_upgrade(self) -> str:
        return self.drills.why_no_upgrade()

    def drain_begun(self) -> None:
        self.drills.stop("the node drains")
        self.services.shut()
        self.strays.shut()
        self.sessions.want(set())
        self.tables.publisher.attempt()

    # -- a hand-over -------------------------------------------------------------------------------------------

    def to_handover(self, handover: NodeHandover) -> NodeHandover:
        sessions, last = self.sessions.to_handover()
        return structs.replace(
            handover,
            sessions=sessions,
            last_session=last,
            labels=self.paths.labels_handover(),
            imports=self.services.imports_handover(),
            exports=self.services.exports_handover(),
            stream_counts=self.services.stream_counts.to_handover(),
            traffic=self.services.traffic.to_handover(),
            exporters=self.import_watch.to_handover(),
            outlets=self.outlets.to_handover(),
            unwritten_shares=self.outlets.shares.encode(),
            strays=self.strays.to_handover(),
            # Last, for the meters were read.
            days=self.days.to_handover(),
            rule_ends=self.tables.ending_rules.to_handover(),
            # After the outlets, which read their meters a last time.
            cutovers=self.cutovers.to_handover(),
        )

    def restore(self, handover: NodeHandover, prepared: Prepared) -> None:
        self.tables.restore(handover.rule_ends)
        self.import_watch.restore(handover.exporters)
        self.services.restore(handover, prepared)
        self.outlets.restore(handover, prepared)
        self.strays.restore(handover)
        self.days.restore(handover)
        self.cutovers.restore(handover.cutovers)
        self.sessions.restore(handover.sessions, handover.last_session, self._node.link_table.links)
        for session in self.sessions:
            self.stream_ends.remember(session)
        self.paths.restore_labels(handover.labels)
        # Publish new tables before the first frame: streams of the previous process are judged by them.
        self.apply(prepared)

    # -- what changes ------------------------------------------------------------------------------------------

    def catalogue_changed(self) -> None:
        node = self._node
        wanted = set()
        imports = self.services.imports
        offered = offers_of(node.exchange.catalogue, [imported.settings.service for imported in imports])
        for imported in imports:
            offers = offered[imported.settings.service]
            imported.exporters = exporters_of(offers, imported.priority_most, imported.settings.transport)
            imported.is_known = bool(offers)
            imported.marking = max((offer.marking for _, offer in offers), default=imported.marking)
            wanted |= {key_of(exporter) for exporter in imported.exporters}
        wanted = {key for key in wanted if key.edge != node.local.config.node.id}
        if not node.draining:
            self.sessions.want(wanted)
        self.sessions.migration.replaced()
        self.sessions.kick()
        self.tables.publisher.soon()

    def sessions_changed(self, key: Key) -> None:
        self.tables.publisher.soon()

    def session_added(self, session: Session) -> None:
        # The core must have the grants before the first OPEN can arrive.
        self.tables.publisher.now()
        self.stream_ends.remember(session)

    def path_refused(self, key: Key, link: Link, reason: str) -> None:
        self.routes.refused(key, link, reason)

    def is_barred(self, key: Key) -> bool:
        return self.routes.is_barred(key)

    def awaits_way(self, key: Key) -> bool:
        return self.routes.awaits_way(key)

    def may_carry(self, session: Session, end: PathEnd) -> bool:
        return self.routes.may_carry(session, end)

    def is_shut_out(self) -> bool:
        return self._node.link_table.is_shut_out()

    def _target_changed(self) -> None:
        self.tables.publisher.soon()

    # -- links -------------------------------------------------------------------------------------------------

    def link_is_used(self, link: Link) -> bool:
        return any(session.path is not None and session.path.link is link for session in self.sessions)

    def link_drains(self, link: Link) -> None:
        self.sessions.migration.link_drains(link)

    def _path_refused(self, link: Link, asked: PathOpen, code: int, reason: str) -> None:
        suppressed = self._throttle.admit(f"{link.number} {reason}", self._node.clock.monotonic_ms())
        if suppressed is not None:
            self._node.emit(refused_record(asked, code, reason, suppressed))

    # -- what the core reports ---------------------------------------------------------------------------------

    def handlers(self) -> Handlers:
        return {
            **self.sessions.handlers(),
            ImportWanted: self.import_wanted,
            StreamEnd: self.stream_ends.ended,
            StreamsDone: self.stream_ends.done,
            SetupEnded: self.setup_ended,
            StreamsNudged: self.cutovers.nudges.streams_nudged,
            LaneDown: self.lane_down,
            EventsLost: self.events_lost,
        }

    def setup_ended(self, event: SetupEnded) -> None:
        """Handle the end of a set-up: that of a shadow, or one of an application's that failed."""
        if event.shadow:
            self.cutovers.shadows.ended(event)
            return
        self.stream_ends.setup_ended(event)
        self.cutovers.setup_failed(event)
        if event.outcome not in BREAKS:
            self.drills.setup_failed(event.number, event.outlet, event.outcome, event.client)

    def import_wanted(self, event: ImportWanted) -> None:
        for imported in self.services.imports:
            if imported.number == event.number:
                for exporter in imported.exporters:
                    self.sessions.kick(key_of(exporter))

    def lane_down(self, event: LaneDown) -> None:
        if link := self._node.link_table.links.get(event.link):
            self.sessions.migration.lane_lost(link)

    def events_lost(self, event: EventsLost) -> None:
        """Note that stalls may have been missed: the next tick compares the sessions with the core's counters."""
        self._news_lost = self._news_lost or event.kept > 0
