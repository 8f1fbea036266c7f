"""The answer to GET /v1/status: the state of a node. Other tools read this JSON: fields are only added, never changed.

Times are in milliseconds, sizes in bytes, and counters start at zero with the process, unless a name says otherwise.
The status never contains names of people, addresses of applications or payload.
"""

from __future__ import annotations

from msgspec import Struct

from pcgrelay.admin.clocks import ClockStatus
from pcgrelay.admin.validity import CredentialsStatus

STATUS_PATH = "/v1/status"


class NodeStatus(Struct, frozen=True, kw_only=True):
    """The node itself."""

    identity: str  # the SPIFFE URI
    role: str  # edge, relay
    uptime_s: float
    version: str
    draining: bool = False


class LinkStatus(Struct, frozen=True, kw_only=True):
    """A link to a neighbour. A configured link that is down is listed too; its suite and group are empty."""

    peer: str  # name.organisation
    bearer: str
    direction: str  # out: opened here; in: opened by the peer
    state: str  # up, connecting, down, draining, away (a neighbour that dials this node is missing)
    address: str = ""  # out: the address that is dialled; in: that of the listener
    away_since: str = ""  # since when it is away, if it was up within a day
    nth: int = 1  # number among links with the same peer, bearer, direction and address
    suite: str = ""
    group: str = ""  # key exchange, as X25519MLKEM768
    lanes_up: int = 0
    lanes: int = 0
    rtt_ms: float | None = None
    health: str = "unknown"  # by its probes: ok, failing, unknown
    loss: float = 0.0  # of probes, weighted towards the latest: 0 to 1
    silent_ms: int = 0  # since anything was received
    steady: bool = False  # healthy, and its hold-down is over
    precedence: str = "default"  # preferred, default, back-up
    weight: int = 100
    paths: int = 0  # number of this node's paths over it
    sent_bytes: int = 0
    received_bytes: int = 0
    reason: str = ""  # why it is not up, in one word, as in refusals
    generation: int = 0  # renewals since it came up
    authenticated_s: float | None = None  # how long ago both ends last proved their identities


class SessionStatus(Struct, frozen=True, kw_only=True):
    """A session with another edge that has its keys."""

    peer: str  # name.organisation
    via: str  # the neighbour that its path leads through; empty while it has none
    direction: str  # out: opened here; in: opened by the peer
    state: str  # up, starting, stalled
    marking: int
    suite: str
    group: str
    flows: int
    streams_active: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    generation: int = 0  # renewals since it came up
    authenticated_s: float = 0.0  # how long ago both ends last proved their identities


class RouteStatus(Struct, frozen=True, kw_only=True):
    """One route to an imported service."""

    via: str  # the neighbour that the next stream would go through
    exporter: str  # the edge that exports it
    precedence: str  # preferred, default, back-up
    state: str  # ready, settling (in hold-down), session (being set up), away, refused
    weight: int = 100
    priority: str = "normal"  # normal, interactive, critical
    well: bool = True  # a healthy link leads to the exporter
    reason: str = ""  # of a refused one: by whom, when, and by which rule
    away_since: str = ""  # since when the exporter is away, if it was there within a day


class ServiceStatus(Struct, frozen=True, kw_only=True):
    """A service that this edge exports or imports, without addresses: those stay in the configuration."""

    name: str  # name@organisation
    direction: str  # import, export
    state: str  # ready, waiting, refused, down, draining
    health: str  # ok, failing, unknown
    present: bool = True  # import: its listener is open; export: its target answered last time, or was not tried yet
    routes: tuple[RouteStatus, ...] = ()  # imports only, best first
    streams_active: int = 0
    opened_total: int = 0
    refused_total: int = 0
    reason: str = ""  # why it is not ready, if that is known


class ConfigurationStatus(Struct, frozen=True, kw_only=True):
    """The result of the last reload; the start counts as one."""

    successful: bool = True
    timestamp_s: float = 0.0  # when a configuration was last applied
    reason: str = ""  # why the last one was refused


class TablesStatus(Struct, frozen=True, kw_only=True):
    """Whether the data plane serves by the current configuration and catalogue."""

    successful: bool = True
    reason: str = ""  # why the last tables were refused: the previous ones stay, less what is no longer allowed


class StreamStatus(Struct, frozen=True, kw_only=True):
    """All streams of an edge; a relay does not know streams, and reports zero."""

    active: int = 0
    opened_total: int = 0
    closed_total: dict[str, int] = {}  # by reason


class MemoryStatus(Struct, frozen=True, kw_only=True):
    """Memory of the data plane and its budget."""

    used_bytes: int = 0
    budget_bytes: int = 0
    high_water_bytes: int = 0


class LogStatus(Struct, frozen=True, kw_only=True):
    """Lines that could not be written to the log."""

    lost_total: int = 0
    failing: bool = False  # the last line was lost


class WorkerStatus(Struct, frozen=True, kw_only=True):
    """One thread of the data plane."""

    index: int
    lanes: int = 0
    streams: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0


class Status(Struct, frozen=True, kw_only=True):
    """The whole answer."""

    node: NodeStatus
    condition: str = ""  # ready, degraded, failing, draining
    links: tuple[LinkStatus, ...] = ()
    sessions: tuple[SessionStatus, ...] = ()
    services: tuple[ServiceStatus, ...] = ()
    streams: StreamStatus = StreamStatus()
    memory: MemoryStatus = MemoryStatus()
    workers: tuple[WorkerStatus, ...] = ()
    log: LogStatus = LogStatus()
    configuration: ConfigurationStatus = ConfigurationStatus()
    tables: TablesStatus = TablesStatus()
    clocks: tuple[ClockStatus, ...] = ()
    credentials: CredentialsStatus = CredentialsStatus()
    twins: tuple[str, ...] = ()  # identities that more than one process uses
    refusals: dict[str, int] = {}  # refused peers, streams and frames, by reason
