"""Limits on the descriptors of streams, so that some remain for what has to continue.

The system limits the descriptors of a process. Streams stay below that limit by a reserve (`net/descriptors`): whatever
applications do, or a service that leads back to itself, the node can still be asked for its status. No service takes
more than a quarter of the rest unless its configuration says so.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

from msgspec import structs

from pcgrelay.config.settings import Limits, PolicySettings
from pcgrelay.dataplane.adapter import Plane, ServiceBounds
from pcgrelay.dataplane.events import StreamEnd, StreamsDone
from pcgrelay.log.events import Emit, ServiceFull
from pcgrelay.log.throttle import Throttle
from pcgrelay.model import ServiceName, Transport
from pcgrelay.net.descriptors import descriptors_of_streams, raise_descriptor_limit
from pcgrelay.services.counts import was_refused
from pcgrelay.services.services import Exported, Imported, Numbers

SERVICE_SHARE = 4
# The causes of a refusal because a service has reached a limit: of its streams, of those of one organisation, of new
# ones in a second.
FULL = ("limit", "organisation-limit", "rate-limit")


def apply_bounds(
    plane: Plane,
    imports: Iterable[Imported],
    exports: Iterable[Exported],
    direct: Container[ServiceName],
    policy: PolicySettings,
) -> None:
    """Set the core's limits on streams: of all, of each service, of each organisation.

    direct: services with direct outlets.
    """
    most = descriptors_of_streams(raise_descriptor_limit())
    plane.bounds(
        [_of_import(each, most, direct=each.settings.service in direct) for each in imports],
        [_of_export(each, most) for each in exports],
        most,
        (policy.organisation_streams, policy.organisation_new_per_second),
    )


def _bounds(number: int, limits: Limits, most: int, *, direct: bool = False) -> ServiceBounds:
    streams = streams_most(limits.streams, most, direct=direct)
    times = (limits.idle_s, limits.duration_s)
    return number, streams, limits.per_organisation, limits.new_per_second, *times, limits.rate_bytes


def _of_import(imported: Imported, most: int, *, direct: bool) -> ServiceBounds:
    limits = imported.settings.limits
    if imported.settings.transport is Transport.DATAGRAM:
        # Its row has the other limits. An association has a descriptor on a direct outlet alone.
        return imported.number, 0, 0, 0, 0, limits.duration_s, limits.rate_bytes
    return _bounds(imported.number, limits, most, direct=direct)


def _of_export(exported: Exported, most: int) -> ServiceBounds:
    limits = exported.settings.limits
    if exported.settings.transport is Transport.DATAGRAM:
        limits = structs.replace(limits, idle_s=0)  # the row has it
    return _bounds(exported.number, limits, most)


def emit_service_full(
    emit: Emit,
    throttle: Throttle,
    now_ms: int,
    event: StreamEnd | StreamsDone,
    numbers: Numbers,
    organisation: str,
) -> None:
    """Log a refusal because a service reached a limit; repetitions are throttled. organisation: whose stream it was.

    An association that made room for another is none: that goes on all the time where a resolver asks.
    """
    if event.cause not in FULL or (event.protocol == "udp" and not was_refused(event)):
        return
    service = numbers.name_of(event.number)
    # What one organisation has used up is told apart; a limit of the whole service is nobody's alone.
    organisation = "" if event.cause == FULL[0] or event.opener else organisation
    suppressed = throttle.admit(f"{event.cause} {event.opener} {service} {organisation}", now_ms)
    if suppressed is not None:
        emit(
            ServiceFull(
                service=str(service or ""),
                imported=event.opener,
                limit=event.cause,
                organisation=organisation,
                suppressed=suppressed,
            )
        )


def streams_most(configured: int, descriptors: int, *, direct: bool = False) -> int:
    """Return how many streams of one service may be open at once.

    A stream has one descriptor here; one that may take a direct outlet has two.
    """
    return configured or max(descriptors // (2 * SERVICE_SHARE if direct else SERVICE_SHARE), 1)
