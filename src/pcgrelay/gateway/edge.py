"""The role of an edge: imports that applications connect to, exports that other edges use, and the sessions.

Each change (of the catalogue, a session, a target, a rule) leads to a new set of tables for the core. Changes in one
turn of the event loop are published together.
"""

from __future__ import annotations

from msgspec import structs

from pcgrelay.config import Config
from pcgrelay.dataplane.events import EventsLost, Handlers, ImportWanted, LaneDown, StreamEnd
from pcgrelay.gateway.edge_services import EdgeServices
from pcgrelay.gateway.edge_tables import EdgeTables
from pcgrelay.gateway.prepared import Held, Prepared
from pcgrelay.gateway.role import NodeParts
from pcgrelay.gateway.stream_ends import StreamEnds
from pcgrelay.gateway.watching import ImportWatch
from pcgrelay.handover.node import NodeHandover
from pcgrelay.identity.handshake import session_cap
from pcgrelay.link.link import Link
from pcgrelay.log.events import PathRefused
from pcgrelay.log.throttle import Throttle
from pcgrelay.messages import PathOpen, code_name
from pcgrelay.model import NodeId
from pcgrelay.path.edge import EdgePaths
from pcgrelay.path.labels import Labels
from pcgrelay.services.imports import exporters_of, offers_of
from pcgrelay.services.services import key_of
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
        self.sessions = Sessions(
            local,
            plane,
            self,
            self._choose,
            lambda flows: session_cap(settings.memory_bytes, flows),
            emit,
            clock,
        )
        self.paths = EdgePaths(settings.id, Labels(clock), self.sessions)
        self.sessions.attach(self.paths)
        self.paths.on_refused = self._path_refused
        self.services = EdgeServices(plane, self._target_changed, emit)
        self.tables = EdgeTables(node, self.services, self.sessions)
        self.stream_ends = StreamEnds(local, plane, self.services, self.sessions, self._throttle, emit, clock)
        self.import_watch = ImportWatch(emit, clock)
        node.refused.register("sessions", self.sessions.refused)
        node.refused.register("paths", self.paths.refused)
        node.refused.register("streams", self.services.stream_counts.refused_total)
        self._news_lost = False

    async def close(self, code: int) -> None:
        await self.services.stop()
        await self.sessions.stop(code)

    def is_busy(self) -> bool:
        return self._node.plane.streams() > 0

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
        sessions.migration.move_back(node.exchange.better)
        self.stream_ends.tick()
        if not node.draining:
            self.import_watch.look(self.services.imports, sessions, node.exchange.catalogue)
        self.tables.tick()

    # -- a configuration ---------------------------------------------------------------------------------------

    def held(self) -> Held:
        return self.services.held()

    async def prepare(self, config: Config, prepared: Prepared, *, reopen: bool) -> None:
        await self.services.prepare(config, prepared, listens=reopen or not self._node.draining)

    def check(self, config: Config, prepared: Prepared) -> None:
        self.tables.check(config, prepared)

    def apply(self, prepared: Prepared) -> bool:
        self.services.apply(self._node.local.config, prepared)
        self.catalogue_changed()
        self.tables.publisher.attempt()
        return not self.tables.publisher.has_failed

    def unserved(self) -> str:
        return self.tables.publisher.reason or self.services.unserved()

    def trust_changed(self) -> None:
        local = self._node.local
        self.sessions.judge(lambda session: local.standing_refusal(session.chain, session.suite, session.group))

    def drain_begun(self) -> None:
        self.services.shut()
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
            exporters=self.import_watch.to_handover(),
        )

    def restore(self, handover: NodeHandover, prepared: Prepared) -> None:
        self.tables.restore()
        self.import_watch.restore(handover.exporters)
        self.services.restore(handover, prepared)
        self.sessions.restore(handover.sessions, handover.last_session, self._node.link_table.links)
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
            imported.exporters = exporters_of(offers, imported.priority_most)
            imported.is_known = bool(offers)
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

    def is_shut_out(self) -> bool:
        return self._node.link_table.is_shut_out()

    def _target_changed(self) -> None:
        self.tables.publisher.soon()

    # -- links -------------------------------------------------------------------------------------------------

    def link_is_used(self, link: Link) -> bool:
        return any(session.path is not None and session.path.link is link for session in self.sessions)

    def link_drains(self, link: Link) -> None:
        self.sessions.migration.link_drains(link)

    def _choose(self, edge: NodeId, avoid: Link | None) -> Link | None:
        """Return the best link to an edge, another one than `avoid` if there is one."""
        route = self._node.exchange.route
        return route(edge, lambda link: link is not avoid) or route(edge, lambda link: True)

    def _path_refused(self, link: Link, asked: PathOpen, code: int, reason: str) -> None:
        suppressed = self._throttle.admit(f"{link.number} {reason}", self._node.clock.monotonic_ms())
        if suppressed is not None:
            self._node.emit(
                PathRefused(
                    source=asked.source,
                    destination=asked.destination,
                    code=code_name(code),
                    reason=reason,
                    suppressed=suppressed,
                )
            )

    # -- what the core reports ---------------------------------------------------------------------------------

    def handlers(self) -> Handlers:
        return {
            **self.sessions.handlers(),
            ImportWanted: self.import_wanted,
            StreamEnd: self.stream_ends.ended,
            LaneDown: self.lane_down,
            EventsLost: self.events_lost,
        }

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
