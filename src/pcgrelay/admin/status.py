"""The answer to GET /v1/status: how a node is. Other tools read this JSON, so names here are never changed, only added.

Times are milliseconds, sizes bytes, counters start at zero with the process. Names of people, addresses of
applications and payload never stand in it.
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
    """A link to a neighbour. A link that is wanted but down is listed too; then suite and group are empty."""

    peer: str  # name.organisation
    bearer: str
    direction: str  # out: opened here; in: opened by the peer
    state: str  # up, connecting, down, draining, away (a neighbour that dials this node and is missed)
    address: str = ""  # out: where it is dialled; in: the listener that it came in at
    away_since: str = ""  # of one that is away, and has been there within a day
    nth: int = 1  # which of several that have peer, bearer, direction and address in common
    suite: str = ""
    group: str = ""  # key exchange, as X25519MLKEM768
    lanes_up: int = 0
    lanes: int = 0
    rtt_ms: float | None = None
    health: str = "unknown"  # by its probes: ok, failing, unknown
    loss: float = 0.0  # of probes, the latest weighing most: 0 to 1
    silent_ms: int = 0  # since anything was received
    steady: bool = False  # well, and for long enough since it last was not
    precedence: str = "default"  # preferred, default, back-up
    weight: int = 100
    paths: int = 0  # that this node leads over it
    sent_bytes: int = 0
    received_bytes: int = 0
    reason: str = ""  # why it is not up, in one word, as refusals has it
    generation: int = 0  # renewals since it came up
    authenticated_s: float | None = None  # how long ago both ends last proved who they are


class SessionStatus(Struct, frozen=True, kw_only=True):
    """A session with another edge that has its keys."""

    peer: str  # name.organisation
    via: str  # the neighbour that it leads through; empty while it looks for a way
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
    authenticated_s: float = 0.0  # how long ago both ends last proved who they are


class RouteStatus(Struct, frozen=True, kw_only=True):
    """One way to an imported service."""

    via: str  # the neighbour that the next stream would go through
    exporter: str  # the edge that exports it
    precedence: str  # preferred, default, back-up
    state: str  # ready, settling (well again, and not yet preferred), session (being set up), away, refused
    weight: int = 100
    priority: str = "normal"  # normal, interactive, critical
    well: bool = True  # a link that is well leads to the exporter
    reason: str = ""  # of one that is refused: by whom, when, and by which rule
    away_since: str = ""  # of one that is not to be found any more, and has been there within a day


class ServiceStatus(Struct, frozen=True, kw_only=True):
    """A service that this edge exports or imports. No address: that stays in the configuration."""

    name: str  # name@organisation
    direction: str  # import, export
    state: str  # ready, waiting, refused, down, draining
    health: str  # ok, failing, unknown
    present: bool = True  # import: its listener is open; export: its target answered last time, or was not yet tried
    routes: tuple[RouteStatus, ...] = ()  # imports only, best first
    streams_active: int = 0
    opened_total: int = 0
    refused_total: int = 0
    reason: str = ""  # why it is not ready, if it is known


class ConfigurationStatus(Struct, frozen=True, kw_only=True):
    """How the last reload went; the start counts as one."""

    successful: bool = True
    timestamp_s: float = 0.0  # when a configuration was last taken
    reason: str = ""  # why the last one was refused


class TablesStatus(Struct, frozen=True, kw_only=True):
    """Whether the data plane serves by what the configuration and the catalogue say now."""

    successful: bool = True
    reason: str = ""  # why the last tables were refused: those before hold, less what is no longer allowed


class StreamStatus(Struct, frozen=True, kw_only=True):
    """All streams of an edge; a relay does not know of streams and says zero."""

    active: int = 0
    opened_total: int = 0
    closed_total: dict[str, int] = {}  # by reason


class MemoryStatus(Struct, frozen=True, kw_only=True):
    """The data plane's memory against its budget."""

    used_bytes: int = 0
    budget_bytes: int = 0
    high_water_bytes: int = 0


class LogStatus(Struct, frozen=True, kw_only=True):
    """Lines that the log could not write."""

    lost_total: int = 0
    failing: bool = False  # the last one was lost


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
    twins: tuple[str, ...] = ()  # identities that more than one process bears
    refusals: dict[str, int] = {}  # peers, streams and frames that were refused, by reason
