"""The status of a node that is well, with something in every table."""

from msgspec import structs

from pcgrelay.admin.clearances import ClearancesStatus
from pcgrelay.admin.status import (
    LinkStatus,
    MemoryStatus,
    NodeStatus,
    OrganisationStatus,
    RouteStatus,
    ServiceStatus,
    SessionStatus,
    Status,
    StreamStatus,
    WorkerStatus,
)
from tests.support.command_line import KENT

HEALTHY = Status(
    node=NodeStatus(
        identity=f"spiffe://police.example/org/{KENT}/node/kent-1", role="edge", uptime_s=93_784.2, version="0.1.0"
    ),
    links=(
        LinkStatus(
            peer="relay-1.hub.example",
            bearer="psn",
            direction="out",
            state="up",
            suite="AES-256-GCM",
            group="X25519MLKEM768",
            lanes_up=4,
            lanes=4,
            rtt_ms=1.234,
            health="ok",
            sent_bytes=123_456_789,
            received_bytes=2048,
            generation=3,
            authenticated_s=65.4,
        ),
        LinkStatus(
            peer="relay-2.backup.hub.example",
            bearer="internet",
            direction="out",
            state="up",
            suite="CHACHA20-POLY1305",
            group="X25519MLKEM768",
            lanes_up=4,
            lanes=4,
            rtt_ms=41.7,
            sent_bytes=5 << 40,
            received_bytes=999,
        ),
    ),
    sessions=(
        SessionStatus(
            peer="met-1.met.police.example",
            via="relay-1.hub.example",
            direction="out",
            state="up",
            marking=1,
            suite="AES-256-GCM",
            group="X25519MLKEM768",
            flows=4,
            streams_active=12,
            sent_bytes=2048,
            received_bytes=123_456_789,
            generation=2,
            authenticated_s=7.0,
        ),
    ),
    services=(
        ServiceStatus(
            name="custody@met.police.example",
            direction="import",
            state="ready",
            health="ok",
            streams_active=12,
            opened_total=3456,
            refused_total=7,
            routes=(
                RouteStatus(
                    via="relay-1.hub.example",
                    exporter="met-1.met.police.example",
                    precedence="preferred",
                    state="ready",
                ),
                RouteStatus(
                    via="relay-2.backup.hub.example",
                    exporter="met-2.met.police.example",
                    precedence="back-up",
                    state="ready",
                ),
            ),
        ),
        ServiceStatus(name=f"intelligence-search@{KENT}", direction="export", state="ready", health="ok"),
    ),
    organisations=(
        OrganisationStatus(
            organisation="met.police.example",
            direction="import",
            streams_total=3_444,
            refused_total=7,
            sent_bytes=5 << 30,
            received_bytes=2_048,
        ),
    ),
    streams=StreamStatus(active=12, opened_total=3456, closed_total={"finished": 3400, "reset_by_target": 44}),
    memory=MemoryStatus(used_bytes=20 << 20, budget_bytes=256 << 20, high_water_bytes=31 << 20),
    workers=(WorkerStatus(index=0, lanes=2, streams=7, sent_bytes=1, received_bytes=2),),
    refusals={"not_allowed": 7},
)

# The same, at a node whose file says what is cleared.
JUDGING = structs.replace(
    HEALTHY,
    marking="OFFICIAL-SENSITIVE",
    clearances=ClearancesStatus(
        bearers={"internet": "OFFICIAL", "psn": "OFFICIAL-SENSITIVE"},
        organisations={"hub.example": "OFFICIAL-SENSITIVE"},
        refused_total=3,
    ),
    links=(
        structs.replace(HEALTHY.links[0], cleared="OFFICIAL-SENSITIVE"),
        structs.replace(HEALTHY.links[1], cleared="OFFICIAL"),
    ),
    sessions=tuple(structs.replace(session, marking=2) for session in HEALTHY.sessions),
)
