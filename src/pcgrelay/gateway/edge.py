"""An edge: imports that applications connect to, exports that other edges call, and the sessions between.

Whatever changes (the catalogue, a session, a target, a rule) leads to one new set of tables for the core. Changes of
one turn of the loop are published together.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

from pcgrelay.audit.log import Log
from pcgrelay.audit.record import PathRefused, Throttle
from pcgrelay.clock import Clock
from pcgrelay.config import Address, Config
from pcgrelay.errors import RunError
from pcgrelay.files import reason_of
from pcgrelay.gateway.node import Node
from pcgrelay.gateway.tally import Tally, line_said
from pcgrelay.gateway.targets import Target
from pcgrelay.model import NodeId
from pcgrelay.plane import (
    ImportWanted,
    Plane,
    SessionDown,
    SessionResumed,
    SessionStalled,
    SessionUp,
    StreamEnd,
)
from pcgrelay.routing.catalogue import STATE_DRAIN, STATE_READY, Offer
from pcgrelay.routing.policy import MARKING_NUMBERS, export_rules, granted, session_cap
from pcgrelay.routing.table import Exporter, Health, ImportPlan, ImportState, SessionFact, exporters_of, import_plan
from pcgrelay.session.labels import Labels
from pcgrelay.session.link import Link
from pcgrelay.session.messages import Message, PathOpen, code_name
from pcgrelay.session.paths import EdgePaths
from pcgrelay.session.session import Key, Session, State
from pcgrelay.session.sessions import Sessions
from pcgrelay.session.sockets import listening

# So long after the start an import whose exporter is not known yet lets its applications wait.
STARTING_MS = 5_000
LINE_INTERVAL_MS = 1_000

_HEALTH = {State.UP: Health.UP, State.STALLED: Health.STALLED}


class Edge(Node):
    """One edge."""

    def __init__(self, config: Config, plane: Plane, log: Log, clock: Clock) -> None:
        super().__init__(config, plane, log, clock)
        self.rules = export_rules(config.exports)
        self.tally = Tally()
        self.targets = [Target(export, self._publish_soon, log.say) for export in config.exports]
        self.plans: list[ImportPlan] = [ImportPlan(ImportState.PENDING, 1, ()) for _ in config.imports]
        self.exporters: list[list[Exporter]] = [[] for _ in config.imports]
        self.sessions = Sessions(
            self.presence,
            plane,
            self,
            self._choose,
            lambda flows: session_cap(config.node.memory_bytes, flows),
            log.say,
            clock,
        )
        self.paths = EdgePaths(config.node.id, Labels(clock), self.sessions)
        self.sessions.attach(self.paths)
        self.paths.on_refused = self._path_refused
        self._refusals = Throttle(LINE_INTERVAL_MS)
        self._publish_waits = False
        self._was_starting = True
        self._target_tasks: list[asyncio.Task[None]] = []

    # -- life --------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        self.publish()
        for number, entry in enumerate(self.config.imports):
            try:
                sockets = _shared_listeners(entry.listen, self.plane.workers)
            except OSError as error:
                problem = f"nothing can listen there ({reason_of(error)}); free it or choose another"
                raise RunError(f"{entry.listen}, for {entry.service}: {problem}.") from None
            self.plane.import_listen(number, [sock.detach() for sock in sockets])
        self._target_tasks = [asyncio.create_task(self._guarded(target.run(), "target")) for target in self.targets]
        self.adverts.offer(self._offers(STATE_READY))

    async def close(self, code: int) -> None:
        for task in self._target_tasks:
            task.cancel()
        await asyncio.gather(*self._target_tasks, return_exceptions=True)
        await self.sessions.stop(code)

    def is_busy(self) -> bool:
        return self.plane.streams() > 0

    def drain_begun(self) -> None:
        self.adverts.offer(self._offers(STATE_DRAIN))
        self.sessions.want(set())

    def tick(self) -> None:
        super().tick()
        if self._was_starting and not self.is_starting:
            self._was_starting = False
            self._publish_soon()

    @property
    def is_starting(self) -> bool:
        """Whether the node is too young to know what nobody offers."""
        return self.clock.monotonic_ms() - self.started_ms < STARTING_MS

    # -- what changes ------------------------------------------------------------------------------------------

    def catalogue_changed(self) -> None:
        wanted = set()
        for number, entry in enumerate(self.config.imports):
            self.exporters[number] = exporters_of(self.adverts.catalogue, entry.service)
            wanted |= {Key(exporter.edge, exporter.marking) for exporter in self.exporters[number]}
        wanted = {key for key in wanted if key.edge != self.config.node.id}
        if not self.draining:
            self.sessions.want(wanted)
        self.sessions.kick()
        self._publish_soon()

    def sessions_changed(self, key: Key) -> None:
        self._publish_soon()

    def session_added(self, session: Session) -> None:
        # Grants must be there before the first OPEN can be.
        self.publish()

    def path_message(self, link: Link, message: Message) -> None:
        self.paths.receive(link, message)

    def paths_lost(self, link: Link) -> None:
        self.paths.link_down(link)

    def link_drains(self, link: Link) -> None:
        super().link_drains(link)
        self.sessions.link_drains(link)

    def session_up(self, event: SessionUp) -> None:
        self.sessions.core_up(event.session)

    def session_down(self, event: SessionDown) -> None:
        self.sessions.core_down(event.session, event.code, event.reason, event.remote)

    def session_stalled(self, event: SessionStalled) -> None:
        self.sessions.core_stalled(event.session, event.flow, event.code, event.in_label)

    def session_resumed(self, event: SessionResumed) -> None:
        self.sessions.core_resumed(event.session, event.flow)

    def import_wanted(self, event: ImportWanted) -> None:
        if 0 <= event.number < len(self.exporters):
            for exporter in self.exporters[event.number]:
                self.sessions.kick(Key(exporter.edge, exporter.marking))

    def stream_end(self, event: StreamEnd) -> None:
        self.tally.count(event)
        if not self.config.log.access:
            return
        imports = self.config.imports
        service = imports[event.number].service if event.opener and 0 <= event.number < len(imports) else None
        session = self.sessions.by_number(event.session)
        line_said(self.say, event, self.config.node.id.organisation, session, service, self.rules)

    def refusal_tables(self) -> list[dict[str, int]]:
        return [*super().refusal_tables(), self.sessions.refused, self.paths.refused, self.tally.refused_total]

    def _path_refused(self, link: Link, asked: PathOpen, code: int, reason: str) -> None:
        suppressed = self._refusals.admit(f"{link.number} {reason}", self.clock.monotonic_ms())
        if suppressed is not None:
            self.say(
                PathRefused(
                    source=asked.source,
                    destination=asked.destination,
                    code=code_name(code),
                    reason=reason,
                    suppressed=suppressed,
                )
            )

    # -- tables ------------------------------------------------------------------------------------------------

    def publish(self) -> None:
        """Give the core all tables as they are now."""
        self._publish_waits = False
        plane, config = self.plane, self.config
        self.plans = [import_plan(exporters, self._facts, starting=self.is_starting) for exporters in self.exporters]
        states = {
            ImportState.DOWN: plane.IMPORT_DOWN,
            ImportState.PENDING: plane.IMPORT_PENDING,
            ImportState.LIVE: plane.IMPORT_LIVE,
        }
        plane.publish(
            exports=[
                (
                    number,
                    export.service.service.encode(),
                    MARKING_NUMBERS[export.marking],
                    number,
                    self._export_state(number),
                    export.connect_timeout_ms,
                    self.targets[number].addresses,
                )
                for number, export in enumerate(config.exports)
            ],
            imports=[
                (number, entry.service.service.encode(), plan.marking, 0, states[plan.state], plan.routes)
                for number, (entry, plan) in enumerate(zip(config.imports, self.plans, strict=True))
            ],
            grants=[
                (session.number, granted(self.rules, session.key.edge.organisation))
                for session in self.sessions
                if session.number
            ],
        )

    def _publish_soon(self) -> None:
        if not self._publish_waits:
            self._publish_waits = True
            asyncio.get_running_loop().call_soon(self._publish_if_waiting)

    def _publish_if_waiting(self) -> None:
        if self._publish_waits:
            self.publish()

    def _export_state(self, number: int) -> int:
        if self.draining:
            return self.plane.EXPORT_DRAIN
        return self.plane.EXPORT_READY if self.targets[number].addresses else self.plane.EXPORT_UNRESOLVED

    def _facts(self, exporter: Exporter) -> list[SessionFact]:
        key = Key(exporter.edge, exporter.marking)
        failures = self.sessions.failures.get(key, 0)
        found = [
            SessionFact(_HEALTH.get(session.state, Health.SETTING_UP), session.number, failures)
            for session in self.sessions.with_key(key)
        ]
        return found or [SessionFact(Health.NONE, 0, failures)]

    def _offers(self, state: int) -> list[Offer]:
        return [
            Offer(export.service.service, MARKING_NUMBERS[export.marking], state=state)
            for export in self.config.exports
        ]

    def _choose(self, edge: NodeId, avoid: Link | None) -> Link | None:
        """The best link to an edge, another one than avoid if there is one."""
        other = self.adverts.route(edge, lambda link: link is not avoid)
        return other or self.adverts.route(edge, lambda link: True)


def _shared_listeners(address: Address, count: int) -> list[socket.socket]:
    """One listening socket for each worker, all on one port.

    With SO_REUSEPORT a second program could bind the port too and take half of the connections without anybody
    noticing. So the port is first bound alone, which fails if anybody is there.
    """
    listening(address).close()
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            sockets.append(listening(address, shared=True))
    except OSError:
        for sock in sockets:
            with suppress(OSError):
                sock.close()
        raise
    return sockets
