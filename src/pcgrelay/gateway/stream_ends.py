"""Handling of the ends of an edge's streams: counts, refusals of far edges, and the log."""

from __future__ import annotations

from pcgrelay.clock import Clock
from pcgrelay.config import Config
from pcgrelay.dataplane.adapter import Plane, end_bodies
from pcgrelay.dataplane.events import SetupEnded, StreamEnd, StreamsDone
from pcgrelay.gateway.edge_services import EdgeServices
from pcgrelay.gateway.strays import Strays
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.log.ended import EndedAlike
from pcgrelay.log.events import Emit
from pcgrelay.log.stream_events import StreamEnd as StreamEndRecord
from pcgrelay.log.throttle import Throttle
from pcgrelay.log.writer import Log
from pcgrelay.messages import Code, code_name
from pcgrelay.model import ServiceName
from pcgrelay.services.counts import UNKNOWN_RULE, emit_stream_end, record_of_done, was_refused
from pcgrelay.services.datagrams import dropped_by_cause
from pcgrelay.services.descriptors import emit_service_full
from pcgrelay.services.evictions import Evictions
from pcgrelay.services.strays import OTHERS, Stray
from pcgrelay.services.stream_ids import StreamIds
from pcgrelay.session.session import Session
from pcgrelay.session.table import Sessions

# In the access log: it came by a listener of the export, and not by a link.
ALSO = "also"
# So many sessions that have ended are remembered at least.
PAST_MOST = 256


def tells_each_end(config: Config) -> bool:
    """Whether the core is to tell each stream that was done; those that were refused or broke it always tells."""
    return config.log.access


def tells_details(config: Config) -> bool:
    """Whether it is to tell what differs between those that were done and are told together."""
    return config.audit is not None and config.audit.kept_streams == "all"


def tells_limits(config: Config) -> bool:
    """Whether it is to tell each association that made room for another: an audit log has each of them. An access log
    has a line a second for them, since a flood of forged sources makes thousands.
    """
    return config.audit is not None


class StreamEnds:
    """The handler of stream ends of one edge."""

    def __init__(
        self,
        local: LocalIdentity,
        plane: Plane,
        services: EdgeServices,
        strays: Strays,
        sessions: Sessions,
        throttle: Throttle,
        log: Log,
        clock: Clock,
    ) -> None:
        self._local = local
        self._plane = plane
        self._services = services
        self._strays = strays
        self._sessions = sessions
        self._throttle = throttle
        self._log = log
        self._clock = clock
        self._ids = StreamIds(clock)
        self._evictions = Evictions()
        self._known: dict[int, Session] = {}
        self._look_at = PAST_MOST

    def remember(self, session: Session) -> None:
        """Know a session beyond its end: the core tells of its streams after it, and whose they were is on record."""
        self._known[session.number] = session
        if len(self._known) >= self._look_at:
            past = [number for number in self._known if self._sessions.by_number(number) is None]
            for number in past[:-PAST_MOST]:
                del self._known[number]
            self._look_at = len(self._known) + PAST_MOST

    def _session_of(self, number: int) -> Session | None:
        return self._sessions.by_number(number) or self._known.get(number)

    def setup_ended(self, event: SetupEnded) -> None:
        """A set-up ended on one outlet of an import. What a far edge said of it stands until one gets through."""
        session = self._session_of(event.session)
        if session is not None and event.outcome == "denied":
            now_ms = self._clock.monotonic_ms()
            self._services.far_refusals.denied(event.number, session.key.edge, event.code, event.rule, now_ms)

    def ended(self, event: StreamEnd) -> None:
        """Handle StreamEnd: a stream has ended, or was refused."""
        if event.shadow:
            # No application's: its meter has counted it.
            return
        services, now_ms = self._services, self._clock.monotonic_ms()
        if (stray := self._strays.ended(event)) is not None:
            self._stray_ended(event, stray)
            return
        services.stream_counts.count(event)
        session = self._session_of(event.session)
        services.traffic.count(event, *self._whose(event, session))
        if session is not None:
            services.far_refusals.heard(event, session.key.edge, now_ms)
        numbers = services.import_numbers if event.opener else services.export_numbers
        organisation = session.key.edge.organisation if session is not None else ""
        emit_service_full(self._log.emit, self._throttle, now_ms, event, numbers, organisation)
        emit = self._emit_of(event)
        if emit is None:
            return
        service = services.import_numbers.name_of(event.number) if event.opener else None
        outlet = services.outlet_name(event.number, event.outlet) if event.opener else ""
        identity = self._ids.identify(event, session)
        own = self._local.config.node.id.organisation
        allowing = UNKNOWN_RULE if event.opener else services.allowing.get(event.number, UNKNOWN_RULE)
        emit_stream_end(emit, event, own, session, service, services.rules, identity, outlet, allowing)

    def done(self, event: StreamsDone) -> None:
        """Handle StreamsDone: the same for many."""
        stray = self._strays.by_number(event.number) if event.opener else None
        if stray is not None:
            if event.code == Code.DONE:
                self._audit_done(event, None, stray)
            else:
                self._evicted(event, None, stray)
            return
        services = self._services
        services.stream_counts.count_done(event)
        session = self._session_of(event.session)
        services.traffic.count_done(event, *self._whose(event, session))
        if session is not None and event.opener and not was_refused(event):
            answered_ms = self._clock.monotonic_ms() - event.answered_us / 1_000
            services.far_refusals.accepted(event.number, session.key.edge, answered_ms)
        if event.code == Code.DONE:
            self._audit_done(event, session)
            return
        # They made room for others: no audit log is there, or each would have been told.
        numbers = services.import_numbers if event.opener else services.export_numbers
        organisation = session.key.edge.organisation if session is not None else ""
        emit_service_full(self._log.emit, self._throttle, self._clock.monotonic_ms(), event, numbers, organisation)
        self._evicted(event, session)

    def _evicted(self, event: StreamsDone, session: Session | None, stray: Stray | None = None) -> None:
        if self._local.config.log.access:
            self._evictions.add(event, self._record_of(event, session, stray), code_name(event.code))

    def _audit_done(self, event: StreamsDone, session: Session | None, stray: Stray | None = None) -> None:
        audit = self._local.config.audit
        # Just after a reload, what ended before it comes without details.
        if audit is None or audit.kept_streams == "refused" or (audit.kept_streams == "all" and not event.details):
            return
        head = session.id_head if session is not None else 0
        own, own_first = self._ids.reserve(event.count)

        def bodies(parts: tuple[bytes, ...], wall_us: int) -> list[bytes]:
            return end_bodies(parts, event.details, wall_us, head, own, own_first)

        record, sums = self._record_of(event, session, stray), event.sums
        alike = EndedAlike(
            record,
            event.count,
            sums.sent_bytes,
            sums.received_bytes,
            bodies,
            sums.sent_datagrams,
            sums.received_datagrams,
            dropped_by_cause(sums.dropped),
        )
        self._log.audit_ended(alike)

    def _record_of(self, event: StreamsDone, session: Session | None, stray: Stray | None) -> StreamEndRecord:
        """Return what the records of these streams have in common."""
        if stray is not None:
            return record_of_done(event, _caller_of(stray), None, stray.service, ALSO, is_stray=True)
        services, own = self._services, self._local.config.node.id.organisation
        if not event.opener:
            return record_of_done(event, own, session, None, allowing=services.allowing.get(event.number, UNKNOWN_RULE))
        service, outlet = (
            services.import_numbers.name_of(event.number),
            services.outlet_name(event.number, event.outlet),
        )
        return record_of_done(event, own, session, service, outlet)

    def _emit_of(self, event: StreamEnd) -> Emit | None:
        """Return the logs that have a line for this end; nothing: none has one."""
        config = self._local.config
        if config.log.access:
            return self._log.emit
        if config.audit is None or (config.audit.kept_streams == "refused" and not was_refused(event)):
            return None
        return self._log.emit_audit

    def _whose(self, event: StreamEnd | StreamsDone, session: Session | None) -> tuple[ServiceName | None, str]:
        """Return the service of a stream, and the organisation at its far edge; of an import its owner's."""
        numbers = self._services.import_numbers if event.opener else self._services.export_numbers
        service = numbers.name_of(event.number)
        if session is not None:
            return service, session.key.edge.organisation
        return service, service.organisation if service is not None and event.opener else ""

    def _stray_ended(self, event: StreamEnd, stray: Stray) -> None:
        """Handle the end of a stream of somebody who came the old way; its meter has counted it."""
        if (emit := self._emit_of(event)) is not None:
            caller = _caller_of(stray)
            rules = self._services.rules
            identity = self._ids.identify(event, None)
            emit_stream_end(emit, event, caller, None, stray.service, rules, identity, ALSO, is_stray=True)

    def tick(self) -> None:
        """Check once a second for open streams, which show that a far edge accepts an import again; and write the lines
        of associations that made room for others.
        """
        self._evictions.emit(self._log.emit)
        active = self._plane.services()["imports"]
        for imported in self._services.imports:
            edges = {exporter.edge for exporter in imported.exporters}
            outlets = imported.outlets
            # Those on direct outlets say nothing of an exporter.
            count = active.get(imported.number, 0) if outlets is None else outlets.meter.figures(0)[0].active
            self._services.far_refusals.looked_at(imported.number, edges, count, self._clock.monotonic_ms())


def _caller_of(stray: Stray) -> str:
    return "" if stray.caller == OTHERS else stray.caller
