"""Limits on the descriptors of streams, so that some remain for what has to continue.

The system limits the descriptors of a process. Streams stay below that limit by a reserve for links, lanes, probes and
the admin socket: whatever applications do, or a service that leads back to itself, the node can still be asked for its
status. No service takes more than a quarter of the rest unless its configuration says so.
"""

from __future__ import annotations

import resource
from collections.abc import Container, Iterable

from pcgrelay.dataplane.adapter import Plane
from pcgrelay.dataplane.events import StreamEnd
from pcgrelay.log.events import Emit, ServiceFull
from pcgrelay.log.throttle import Throttle
from pcgrelay.model import ServiceName
from pcgrelay.services.services import Exported, Imported, Numbers

# Root may have any number; a node has no more than this, because kernel tables grow with it.
MOST = 1 << 20
KEPT_LEAST, KEPT_MOST = 256, 4_096
KEPT_SHARE = 32
SERVICE_SHARE = 4
FULL = "limit"  # the cause of a refusal because a service has reached its stream limit


def apply_bounds(
    plane: Plane, imports: Iterable[Imported], exports: Iterable[Exported], direct: Container[ServiceName]
) -> None:
    """Set the core's limits on streams, in total and for each service; `direct` are those with direct outlets."""
    most = descriptors_of_streams(raise_descriptor_limit())
    plane.bounds(
        [
            (each.number, streams_most(each.settings.max_streams, most, direct=each.settings.service in direct))
            for each in imports
        ],
        [(each.number, streams_most(each.settings.max_streams, most)) for each in exports],
        most,
    )


def emit_service_full(emit: Emit, throttle: Throttle, now_ms: int, event: StreamEnd, numbers: Numbers) -> None:
    """Log a refusal because a service reached its stream limit; repetitions are throttled."""
    if event.cause != FULL:
        return
    service = numbers.name_of(event.number)
    suppressed = throttle.admit(f"full {event.opener} {service}", now_ms)
    if suppressed is not None:
        emit(ServiceFull(service=str(service or ""), imported=event.opener, suppressed=suppressed))


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files as far as the system allows; return the limit in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        return most
    return MOST if soft == resource.RLIM_INFINITY else soft


def descriptors_of_streams(limit: int) -> int:
    """Return how many descriptors there are for streams and everything else that is open; the rest is the reserve."""
    kept = min(max(limit // KEPT_SHARE, KEPT_LEAST), KEPT_MOST)
    return max(limit - kept, limit // 2)


def streams_most(configured: int, descriptors: int, *, direct: bool = False) -> int:
    """Return how many streams of one service may be open at once.

    A stream has one descriptor here; one that may take a direct outlet has two.
    """
    return configured or max(descriptors // (2 * SERVICE_SHARE if direct else SERVICE_SHARE), 1)
