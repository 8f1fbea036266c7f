"""An edge: imports that applications connect to, exports that other edges call, and the sessions between.

Whatever changes (the catalogue, a session, a target, a rule) leads to one new set of tables for the core. Changes of
one turn of the loop are published together.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

from msgspec import structs

from pcgrelay.catalogue.entries import Offer
from pcgrelay.clock import Clock
from pcgrelay.config import Address, Config, ExportSettings, ImportSettings
from pcgrelay.dataplane.adapter import Plane
from pcgrelay.dataplane.api import DataPlaneRefused
from pcgrelay.dataplane.events import Handlers, ImportWanted, LaneDown, StreamEnd
from pcgrelay.errors import RunError
from pcgrelay.gateway.node import Node
from pcgrelay.gateway.prepared import Held, Prepared
from pcgrelay.gateway.tasks import spawn
from pcgrelay.gateway.watching import ImportWatch
from pcgrelay.handover.node import NodeHandover, ServiceHandover
from pcgrelay.identity.handshake import session_cap
from pcgrelay.link.link import Link
from pcgrelay.log.events import PathRefused, TablesRefused
from pcgrelay.log.throttle import Throttle
from pcgrelay.log.writer import Log
from pcgrelay.messages import Message, PathOpen, code_name
from pcgrelay.model import NodeId, ServiceName
from pcgrelay.path.edge import EdgePaths
from pcgrelay.path.labels import Labels
from pcgrelay.policy.rules import export_rules
from pcgrelay.services.counts import StreamCounts, emit_stream_end, service_handover
from pcgrelay.services.descriptors import apply_bounds, emit_service_full
from pcgrelay.services.far_refusals import FarRefusals
from pcgrelay.services.imports import exporters_of, offers_of
from pcgrelay.services.publisher import TablePublisher
from pcgrelay.services.services import Exported, Imported, Numbers, exports_with, imports_with, key_of
from pcgrelay.services.tables import ImportPlanner, Tables, export_rows, grants_of, import_rows, offer_of, row_of
from pcgrelay.services.targets import Target
from pcgrelay.session.recovery import stall_unheard
from pcgrelay.session.session import Key, Session
from pcgrelay.session.table import Sessions

# For how long after the start an import without a known exporter lets its applications wait.
STARTING_MS = 5_000


class Edge(Node):
    """One edge."""

    def __init__(self, config: Config, plane: Plane, log: Log, clock: Clock) -> None:
        super().__init__(config, plane, log, clock)
        self.stream_counts = StreamCounts()
        self.far_refusals = FarRefusals()
        self.import_watch = ImportWatch(log.emit, clock)
        self.exports: list[Exported] = []
        self.imports: list[Imported] = []
        self._export_numbers = Numbers()
        self._import_numbers = Numbers()
        self.sessions = Sessions(
            self.local,
            plane,
            self,
            self._choose,
            lambda flows: session_cap(config.node.memory_bytes, flows),
            log.emit,
            clock,
        )
        self.paths = EdgePaths(config.node.id, Labels(clock), self.sessions)
        self.sessions.attach(self.paths)
        self.paths.on_refused = self._path_refused
        self._refusals = Throttle(interval_ms=1_000)
        self._planner = ImportPlanner(self.sessions, clock)
        self._offered: list[Offer] = []
        self.publisher = TablePublisher(plane, self._tables, self._tables_taken, self.sessions.count, self.emit)
        self.refused.register("sessions", self.sessions.refused)
        self.refused.register("paths", self.paths.refused)
        self.refused.register("streams", self.stream_counts.refused_total)
        self._was_starting = True
        self._was_settling = False

    # -- life --------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        prepared = await self._prepare_listens(self.config)
        try:
            self.take_services(prepared)
        finally:
            prepared.close()
        if self.publisher.has_failed:
            raise RunError("The data plane does not take the tables of the services; the log says more.")

    async def close(self, code: int) -> None:
        tasks = [exported.task for exported in self.exports if exported.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.sessions.stop(code)

    def is_busy(self) -> bool:
        return self.plane.streams() > 0

    def unserved(self) -> str:
        closed = (f"import {each.settings.service}: {each.refusal}" for each in self.imports if each.refusal)
        return self.publisher.reason or next(closed, "")

    def paths_over(self, link: Link) -> int:
        return self.paths.count_over(link)

    def drain_begun(self) -> None:
        for imported in self.imports:
            self._shut(imported)
        self.sessions.want(set())
        self.publisher.attempt()

    async def drain_undone(self) -> None:
        prepared = await self._prepare_listens(self.config, shut=True)
        self.draining = False
        self.take_services(prepared)

    def tick(self) -> None:
        super().tick()
        now = self.clock.wall()
        self.sessions.judge(lambda session: self.local.expiry_refusal(session.chain, now))
        self.sessions.renew()
        if any(link.draining for link in self.link_table.links.values()):
            figures = self.plane.sessions()
            self.sessions.migration.draining(lambda number: figures.get(number, {}).get("streams", 0))
        self.sessions.migration.move_back(self.exchange.better)
        self._refusals_looked_at()
        if not self.draining:
            self.import_watch.look(self.imports, self.sessions, self.exchange.catalogue)
        settling = any(imported.is_held_down(self.clock.monotonic_ms()) for imported in self.imports)
        was_starting = self._was_starting and not self.is_starting
        if settling or self._was_settling or was_starting or self.publisher.has_failed:
            self._was_starting = self.is_starting
            self._was_settling = settling
            self.publisher.soon()

    def _refusals_looked_at(self) -> None:
        active = self.plane.services()["imports"]
        for imported in self.imports:
            edges = {exporter.edge for exporter in imported.exporters}
            count = active.get(imported.number, 0)
            self.far_refusals.looked_at(imported.number, edges, count, self.clock.monotonic_ms())

    @property
    def is_starting(self) -> bool:
        """Whether the node started so recently that an unknown service may still be announced."""
        return self.clock.monotonic_ms() - self.started_ms < STARTING_MS

    # -- services ----------------------------------------------------------------------------------------------

    async def prepare(self, config: Config) -> Prepared:
        prepared = await super().prepare(config)
        try:
            added = await self._prepare_listens(config)
        except BaseException:
            prepared.close()
            raise
        prepared.add(added)
        try:
            self.publisher.check(self._tables_with(config, prepared))
        except BaseException:
            prepared.close()
            raise
        return prepared

    def held(self) -> Held:
        return {**super().held(), **{each.settings.listen: None for each in self.imports if each.is_open}}

    async def _prepare_listens(self, config: Config, *, shut: bool = False) -> Prepared:
        """Open what is not there yet. shut: the listeners are closed although the configuration is the same."""
        prepared = Prepared()
        known = {imported.settings.service: imported.settings.listen for imported in self.imports if imported.is_open}
        targets = {exported.settings.service: exported.target for exported in self.exports}
        try:
            for entry in config.imports:
                if known.get(entry.service) != entry.listen and (shut or not self.draining):
                    count = self.plane.workers
                    await prepared.open_import(entry.listen, entry.service, count, self.held(), self.listeners.expected)
            for export in config.exports:
                old = targets.get(export.service)
                if old is None or not old.serves(export):
                    fresh = prepared.targets[export.service] = Target(export, self.publisher.soon, self.emit)
                    if old is not None and old.export.target == export.target:
                        fresh.remember(old.addresses)
            # A service that moves to another name must not be away until that is looked up.
            await asyncio.gather(*(target.settled() for name, target in prepared.targets.items() if name in targets))
        except BaseException:
            prepared.close()
            raise
        return prepared

    def take_services(self, prepared: Prepared) -> None:
        """Export and import what the configuration says, with what was opened for it."""
        config = self.config
        self.rules = export_rules(config.exports)
        self._take_exports(config.exports, prepared)
        shut = self._take_imports(config.imports, prepared)
        for number in shut:
            self.plane.import_unlisten(number)
        for imported in self.imports:
            sockets = prepared.imports.pop(imported.settings.service, None)
            if sockets is not None:
                self._listen(imported, sockets)
        apply_bounds(self.plane, self.imports, self.exports)
        self.catalogue_changed()
        self.publisher.attempt()

    def _take_exports(self, settings: Sequence[ExportSettings], prepared: Prepared) -> None:
        known = {exported.settings.service: exported for exported in self.exports}
        for number in self._export_numbers.keep(export.service for export in settings):
            self.stream_counts.exports.pop(number, None)
        self.exports = []
        for export in settings:
            exported = known.pop(export.service, None)
            fresh = prepared.targets.get(export.service)
            if exported is None:
                assert fresh is not None
                exported = Exported(self._export_numbers.take(export.service), export, fresh)
            elif fresh is not None:
                self._left(exported)
                exported.target = fresh
            exported.settings = export
            if exported.task is None:
                exported.task = spawn(exported.target.run(), "target", self.emit)
            self.exports.append(exported)
        for exported in known.values():
            self._left(exported)

    def _take_imports(self, settings: Sequence[ImportSettings], prepared: Prepared) -> list[int]:
        """Answers the numbers whose listeners close."""
        known = {imported.settings.service: imported for imported in self.imports}
        shut = [imported.number for name, imported in known.items() if imported.is_open and name in prepared.imports]
        gone = self._import_numbers.keep(entry.service for entry in settings)
        shut += [imported.number for imported in self.imports if imported.is_open and imported.number in gone]
        for number in gone:
            self.stream_counts.imports.pop(number, None)
        self.far_refusals.forget(gone)
        self.imports = []
        for entry in settings:
            imported = known.get(entry.service) or Imported(self._import_numbers.take(entry.service), entry)
            imported.settings = entry
            self.imports.append(imported)
        return shut

    def _left(self, exported: Exported) -> None:
        if exported.task is not None:
            exported.task.cancel()
            exported.task = None

    def _listen(self, imported: Imported, sockets: Sequence[socket.socket]) -> None:
        try:
            self.plane.import_listen(imported.number, [sock.fileno() for sock in sockets])
        except DataPlaneRefused as refused:
            imported.is_open, imported.refusal = False, str(refused)
            self.emit(TablesRefused(part=f"import {imported.settings.service.service}", reason=str(refused)))
            for sock in sockets:
                sock.close()
            return
        imported.is_open, imported.refusal = True, ""
        for sock in sockets:
            sock.detach()

    def _shut(self, imported: Imported) -> None:
        if imported.is_open:
            imported.is_open = False
            self.plane.import_unlisten(imported.number)

    def trust_changed(self) -> None:
        local = self.local
        self.sessions.judge(lambda session: local.standing_refusal(session.chain, session.suite, session.group))

    # -- hand-over ---------------------------------------------------------------------------------------------

    def role_to_handover(self, handover: NodeHandover) -> NodeHandover:
        sessions, last = self.sessions.to_handover()
        return structs.replace(
            handover,
            sessions=sessions,
            last_session=last,
            labels=self.paths.labels_handover(),
            imports=self.services_offered(),
            exports=tuple(
                structs.replace(
                    service_handover(exported.number, exported.settings.service, self.stream_counts.exports),
                    target=str(exported.settings.target),
                    addresses=exported.target.addresses,
                )
                for exported in self.exports
            ),
            stream_counts=self.stream_counts.to_handover(),
            exporters=self.import_watch.to_handover(),
        )

    def services_offered(self) -> tuple[ServiceHandover, ...]:
        """The imports with their listeners."""
        return tuple(
            structs.replace(
                service_handover(imported.number, imported.settings.service, self.stream_counts.imports),
                listen=str(imported.settings.listen),
                is_open=imported.is_open,
            )
            for imported in self.imports
        )

    def expect_imports(self, imports: Sequence[ServiceHandover]) -> None:
        """Another process hands over the listeners of these; do not open them."""
        for each in imports:
            settings = ImportSettings(service=ServiceName.parse(each.service), listen=Address.parse(each.listen))
            self.imports.append(Imported(each.number, settings, is_open=each.is_open))

    def role_restore(self, handover: NodeHandover, prepared: Prepared) -> None:
        self._was_starting = False
        self.import_watch.restore(handover.exporters)
        self._import_numbers.restore({each.number: ServiceName.parse(each.service) for each in handover.imports})
        self._export_numbers.restore({each.number: ServiceName.parse(each.service) for each in handover.exports})
        self.stream_counts.restore(handover.stream_counts, handover.imports, handover.exports)
        self.sessions.restore(handover.sessions, handover.last_session, self.link_table.links)
        self.paths.restore_labels(handover.labels)
        for each in handover.exports:
            fresh = prepared.targets.get(ServiceName.parse(each.service))
            if fresh is not None and str(fresh.export.target) == each.target:
                # The name service may be away just now.
                fresh.remember(each.addresses)
        # New tables before the first frame: what was asked of the process before is judged by them.
        self.take_services(prepared)

    # -- what changes ------------------------------------------------------------------------------------------

    def catalogue_changed(self) -> None:
        wanted = set()
        offered = offers_of(self.exchange.catalogue, [imported.settings.service for imported in self.imports])
        for imported in self.imports:
            offers = offered[imported.settings.service]
            imported.exporters = exporters_of(offers, imported.priority_most)
            imported.is_known = bool(offers)
            wanted |= {key_of(exporter) for exporter in imported.exporters}
        wanted = {key for key in wanted if key.edge != self.config.node.id}
        if not self.draining:
            self.sessions.want(wanted)
        self.sessions.migration.replaced()
        self.sessions.kick()
        self.publisher.soon()

    def sessions_changed(self, key: Key) -> None:
        self.publisher.soon()

    def session_added(self, session: Session) -> None:
        # Grants must be there before the first OPEN can be.
        self.publisher.now()

    def path_message(self, link: Link, message: Message) -> None:
        self.paths.receive(link, message)

    def link_is_used(self, link: Link) -> bool:
        return any(session.path is not None and session.path.link is link for session in self.sessions)

    def requests_lost(self, link: Link) -> None:
        self.paths.control_lost(link)

    def paths_lost(self, link: Link) -> None:
        self.paths.link_down(link)

    def link_drains(self, link: Link) -> None:
        super().link_drains(link)
        self.sessions.migration.link_drains(link)

    def lane_down(self, event: LaneDown) -> None:
        super().lane_down(event)
        if link := self.link_table.links.get(event.link):
            self.sessions.migration.lane_lost(link)

    def handlers(self) -> Handlers:
        return {
            **super().handlers(),
            **self.sessions.handlers(),
            ImportWanted: self.import_wanted,
            StreamEnd: self.stream_end,
        }

    def look_again(self) -> None:
        super().look_again()
        stall_unheard(self.sessions, self.plane.sessions(), self.sessions.core_stalled)

    def is_shut_out(self) -> bool:
        return self.link_table.is_shut_out()

    def import_wanted(self, event: ImportWanted) -> None:
        for imported in self.imports:
            if imported.number == event.number:
                for exporter in imported.exporters:
                    self.sessions.kick(key_of(exporter))

    def stream_end(self, event: StreamEnd) -> None:
        self.stream_counts.count(event)
        session = self.sessions.by_number(event.session)
        if session is not None:
            self.far_refusals.heard(event, session.key.edge, self.clock.monotonic_ms())
        numbers = self._import_numbers if event.opener else self._export_numbers
        emit_service_full(self.emit, self._refusals, self.clock.monotonic_ms(), event, numbers)
        if not self.config.log.access:
            return
        service = self._import_numbers.name_of(event.number) if event.opener else None
        emit_stream_end(self.emit, event, self.config.node.id.organisation, session, service, self.rules)

    def _path_refused(self, link: Link, asked: PathOpen, code: int, reason: str) -> None:
        suppressed = self._refusals.admit(f"{link.number} {reason}", self.clock.monotonic_ms())
        if suppressed is not None:
            self.emit(
                PathRefused(
                    source=asked.source,
                    destination=asked.destination,
                    code=code_name(code),
                    reason=reason,
                    suppressed=suppressed,
                )
            )

    # -- tables ------------------------------------------------------------------------------------------------

    def _tables(self) -> Tables:
        """All tables as they are now."""
        settling = self._planner.plan(self.imports, starting=self.is_starting)
        self._was_settling = self._was_settling or settling
        return Tables(
            exports=export_rows(self.plane, self.exports, draining=self.draining),
            imports=import_rows(self.plane, self.imports),
            grants=[(session.number, self.granted_to(session)) for session in self.sessions if session.number],
        )

    def _tables_with(self, config: Config, prepared: Prepared) -> Tables:
        """The tables as they will be with another configuration and what was opened for it."""
        exports = exports_with(self.exports, config.exports, self._export_numbers, prepared.targets)
        numbers = [exported.number for exported in exports]
        rules = export_rules(config.exports)
        return Tables(
            exports=export_rows(self.plane, exports, draining=self.draining),
            imports=import_rows(self.plane, imports_with(self.imports, config.imports, self._import_numbers)),
            grants=[
                (session.number, grants_of(session, rules, numbers)) for session in self.sessions if session.number
            ],
        )

    def _tables_taken(self) -> None:
        """The core has new tables: tell the neighbours what is offered, if that has changed."""
        offers = [
            offer_of(exported, draining=self.draining, refused=bool(self.refusal_of(exported)))
            for exported in self.exports
        ]
        if offers != self._offered or not self.exchange.has_offered:
            self._offered = offers
            self.exchange.offer(offers)

    def refusal_of(self, exported: Exported) -> str:
        """Why the core does not take an export, or nothing."""
        return self.publisher.left_out.get(row_of(exported), "")

    def granted_to(self, session: Session) -> tuple[int, ...]:
        """The numbers of the exports that a session's peer may open."""
        return grants_of(session, self.rules, [exported.number for exported in self.exports])

    def _choose(self, edge: NodeId, avoid: Link | None) -> Link | None:
        """The best link to an edge, another one than avoid if there is one."""
        other = self.exchange.route(edge, lambda link: link is not avoid)
        return other or self.exchange.route(edge, lambda link: True)
