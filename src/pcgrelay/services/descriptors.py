"""Descriptors: how many the streams of a node may have, so that some are left for what must go on.

The system has a bound for each process. Streams stay below a part of it that is kept back for links, lanes, probes and
the admin socket: whatever applications or a service that leads back to itself do, the node can be asked how it is. And
no service takes more than a quarter of the rest, unless its configuration says so.
"""

from __future__ import annotations

import resource
from collections.abc import Iterable

from pcgrelay.dataplane.adapter import Plane
from pcgrelay.dataplane.events import StreamEnd
from pcgrelay.log.events import Emit, ServiceFull
from pcgrelay.log.throttle import Throttle
from pcgrelay.services.services import Exported, Imported, Numbers

# The system lets root have any number; no node has more than this, and tables of the kernel grow with it.
MOST = 1 << 20
KEPT_LEAST, KEPT_MOST = 256, 4_096
KEPT_SHARE = 32
SERVICE_SHARE = 4
FULL = "limit"  # the cause of what is refused since a service has all streams that it may have


def apply_bounds(plane: Plane, imports: Iterable[Imported], exports: Iterable[Exported]) -> None:
    """Tell the core how many streams there may be."""
    most = descriptors_of_streams(raise_descriptor_limit())
    plane.bounds(
        [(each.number, streams_most(each.settings.max_streams, most)) for each in imports],
        [(each.number, streams_most(each.settings.max_streams, most)) for each in exports],
        most,
    )


def emit_service_full(emit: Emit, throttle: Throttle, now_ms: int, event: StreamEnd, numbers: Numbers) -> None:
    """If a stream was refused since its service has all that it may have, tell that, but not for each."""
    if event.cause != FULL:
        return
    service = numbers.name_of(event.number)
    suppressed = throttle.admit(f"full {event.opener} {service}", now_ms)
    if suppressed is not None:
        emit(ServiceFull(service=str(service or ""), imported=event.opener, suppressed=suppressed))


def raise_descriptor_limit() -> int:
    """Take as many as the system allows; answers how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        return most
    return MOST if soft == resource.RLIM_INFINITY else soft


def descriptors_of_streams(limit: int) -> int:
    """How many there are for streams and all that is open beside them; those from this number on are kept back."""
    kept = min(max(limit // KEPT_SHARE, KEPT_LEAST), KEPT_MOST)
    return max(limit - kept, limit // 2)


def streams_most(configured: int, descriptors: int) -> int:
    """How many streams of one service may be open at once. Each has one descriptor here."""
    return configured or max(descriptors // SERVICE_SHARE, 1)
