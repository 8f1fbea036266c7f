"""Handling of the ends of an edge's streams: counts, refusals of far edges, and the log."""

from __future__ import annotations

from pcgrelay.clock import Clock
from pcgrelay.dataplane.adapter import Plane
from pcgrelay.dataplane.events import StreamEnd
from pcgrelay.gateway.edge_services import EdgeServices
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.log.events import Emit
from pcgrelay.log.throttle import Throttle
from pcgrelay.services.counts import emit_stream_end
from pcgrelay.services.descriptors import emit_service_full
from pcgrelay.session.table import Sessions


class StreamEnds:
    """The handler of stream ends of one edge."""

    def __init__(
        self,
        local: LocalIdentity,
        plane: Plane,
        services: EdgeServices,
        sessions: Sessions,
        throttle: Throttle,
        emit: Emit,
        clock: Clock,
    ) -> None:
        self._local = local
        self._plane = plane
        self._services = services
        self._sessions = sessions
        self._throttle = throttle
        self._emit = emit
        self._clock = clock

    def ended(self, event: StreamEnd) -> None:
        """Handle StreamEnd: a stream has ended, or was refused."""
        services, now_ms = self._services, self._clock.monotonic_ms()
        services.stream_counts.count(event)
        session = self._sessions.by_number(event.session)
        if session is not None:
            services.far_refusals.heard(event, session.key.edge, now_ms)
        numbers = services.import_numbers if event.opener else services.export_numbers
        emit_service_full(self._emit, self._throttle, now_ms, event, numbers)
        config = self._local.config
        if not config.log.access:
            return
        service = services.import_numbers.name_of(event.number) if event.opener else None
        emit_stream_end(self._emit, event, config.node.id.organisation, session, service, services.rules)

    def tick(self) -> None:
        """Check once a second for open streams, which show that a far edge accepts an import again."""
        active = self._plane.services()["imports"]
        for imported in self._services.imports:
            edges = {exporter.edge for exporter in imported.exporters}
            count = active.get(imported.number, 0)
            self._services.far_refusals.looked_at(imported.number, edges, count, self._clock.monotonic_ms())
