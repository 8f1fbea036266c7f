"""The answer to GET /v1/status: the state of a node. Other tools read this JSON: fields are only added, never changed.

Times are in milliseconds, sizes in bytes, and counters start at zero with the process, unless a name says otherwise.
The status never contains names of people, addresses of applications or payload.
"""

from __future__ import annotations

from msgspec import Struct

from pcgrelay.admin.bundles import BundleStatus
from pcgrelay.admin.clearances import ClearancesStatus
from pcgrelay.admin.clocks import ClockStatus
from pcgrelay.admin.discovery import DiscoveryStatus
from pcgrelay.admin.fleet_answers import FleetStatus
from pcgrelay.admin.rules import RuleStatus
from pcgrelay.admin.udp_lanes import UdpLanesStatus
from pcgrelay.admin.validity import CredentialsStatus
from pcgrelay.admin.waiting import WaitingStatus

STATUS_PATH = "/v1/status"


class NodeStatus(Struct, frozen=True, kw_only=True):
    """The node itself."""

    identity: str  # the SPIFFE URI
    role: str  # edge, relay
    uptime_s: float
    version: str
    draining: bool = False
    stands_back: bool = True  # its priority is below that of the workers, so that busy ones go first


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
    sent_total_bytes: int = 0  # with those of links to the same place that have ended, since the first process
    received_total_bytes: int = 0
    cleared: str = ""  # the highest marking that may go over it; empty: this node does not judge
    reason: str = ""  # why it is not up, in one word, as in refusals
    generation: int = 0  # renewals since it came up
    authenticated_s: float | None = None  # how long ago both ends last proved their identities
    until: str = ""  # when the first certificate of the peer's chain ends
    discover: str = ""  # the name of DNS that led to the peer, who is empty until one has answered; empty: the file
    udp: UdpLanesStatus | None = None  # none: not both ends have UDP lanes


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
    bearers: tuple[str, ...] = ()  # of the link of its path, and of the former one while it moves from there
    relays: tuple[str, ...] = ()  # name.organisation of the relays on these, as far as this edge knows them


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


class OutletTimes(Struct, frozen=True, kw_only=True):
    """How long something took, over all times that it was measured."""

    count: int = 0
    sum_s: float = 0.0  # to within some percent, for what is kept are counts of ranges
    below: tuple[int, ...] = ()  # how many took less than 128 us, 256 us, and so on up to 67 s
    median_ms: float | None = None
    p95_ms: float | None = None


class OutletStatus(Struct, frozen=True, kw_only=True):
    """One outlet of an import that has several. Set-ups are counted since the first process."""

    name: str
    kind: str  # gateway, direct
    # ready, failing (its set-ups fail), away (no stream can be set up), forbidden (by the marking), removed, retired
    state: str
    reason: str = ""  # why it is not ready
    share: float = 0.0  # of new streams, 0 to 1
    exercised: bool = False  # its share is that of [[import]] exercise, so that it is known to work
    exercise_success_s: float = 0.0  # wall time of the last stream that got through then; 0: none yet
    next: int = 0  # its place among those that a failed set-up is led on to; 0: none
    away_since: str = ""
    bearer: str = ""
    marking: str = ""  # the highest that may go over that bearer
    supported_until: str = ""  # the last day
    supported: bool = True  # that day is not over
    streams_active: int = 0
    outcomes: dict[str, int] = {}  # of set-ups: up, refused, silent, away, denied, local, left, lost
    moved_total: int = 0  # led on from here to the next outlet
    early_total: int = 0  # ended by the far side within a second without a byte
    cut_total: int = 0  # reset after data, and not by the application
    nudged_total: int = 0  # closed by order, because the service moves away from here
    sent_bytes: int = 0
    received_bytes: int = 0
    shadows: dict[str, int] = {}  # outcomes of connections that no application made
    quiet_days: int = 0  # of a direct one: whole days in a row, up to yesterday, on which nothing used it
    quiet_since: str = ""  # the first of them
    used: str = ""  # when anything last used it; "": never, as far as is known
    patience_ms: int = 0  # so long it may take to answer before the next one is tried
    setup: OutletTimes = OutletTimes()
    answer: OutletTimes = OutletTimes()  # from there to the first byte of the far side


class ListenerStatus(Struct, frozen=True, kw_only=True):
    """One listener of an import that has several. Connections are counted since the first process."""

    name: str  # listen, also-1, also-2, ...
    connections_total: int = 0  # accepted, whatever became of them
    streams_active: int = 0
    sent_bytes: int = 0  # of streams that have ended
    received_bytes: int = 0
    quiet_days: int = 0  # of also-1, also-2, ...: whole days in a row, up to yesterday, on which nobody came there
    quiet_since: str = ""  # the first of them
    used: str = ""  # when anybody last came there; "": never, as far as is known


class StrayStatus(Struct, frozen=True, kw_only=True):
    """Callers of one organisation who come to an export the old way, by its `also` listeners."""

    organisation: str  # or others: of no network that is known
    streams_active: int = 0
    tried_total: int = 0
    failed_total: int = 0
    sent_bytes: int = 0  # to the target
    received_bytes: int = 0
    quiet_days: int = 0  # whole days in a row, up to yesterday, on which none came
    quiet_since: str = ""
    used: str = ""  # when the last one came, or last sent anything


class ServiceStatus(Struct, frozen=True, kw_only=True):
    """A service that this edge exports or imports, without addresses: those stay in the configuration."""

    name: str  # name@organisation
    direction: str  # import, export
    protocol: str = "tcp"  # or udp, whose streams are associations
    state: str  # ready, waiting, refused, down, draining
    health: str  # ok, failing, unknown
    present: bool = True  # import: its listener is open; export: its target answered last time, or was not tried yet
    routes: tuple[RouteStatus, ...] = ()  # imports only, best first
    streams_active: int = 0
    opened_total: int = 0
    refused_total: int = 0
    reason: str = ""  # why it is not ready, if that is known
    sent_datagrams: int = 0  # towards the far edge, of associations that have ended
    received_datagrams: int = 0
    dropped: dict[str, int] = {}  # of these, by cause
    strays: tuple[StrayStatus, ...] = ()  # of an export with `also`
    outlets: tuple[OutletStatus, ...] = ()  # of an import that has others than the gateway, that one first
    listeners: tuple[ListenerStatus, ...] = ()  # of an import that has further ones (`also`)
    decided_by: str = ""  # who decides their shares: configuration, hand, cut-over, drill


class OrganisationStatus(Struct, frozen=True, kw_only=True):
    """What the services of an edge carried with one organisation, of streams that have ended, since the first process.

    The metrics have the same for each service.
    """

    organisation: str  # of the far edge; other: those beyond 500, and streams whose far edge is not known
    direction: str  # import, export
    streams_total: int = 0  # without those that were refused
    refused_total: int = 0
    sent_bytes: int = 0  # towards the far edge
    received_bytes: int = 0


class ConfigurationStatus(Struct, frozen=True, kw_only=True):
    """The result of the last reload; the start counts as one."""

    successful: bool = True
    timestamp_s: float = 0.0  # when a configuration was last applied
    reason: str = ""  # why the last one was refused


class TablesStatus(Struct, frozen=True, kw_only=True):
    """Whether the data plane serves by the current configuration and catalogue."""

    successful: bool = True
    reason: str = ""  # why the last tables were refused: the previous ones stay, less what is no longer allowed


class StateStatus(Struct, frozen=True, kw_only=True):
    """What outlasts the process."""

    folder: bool = False  # the configuration names one
    lost: bool = False  # shares that were set are not known any more
    older: bool = False  # the newest file could not be read, and the one before it holds
    reason: str = ""  # why what holds could not be written
    days_reason: str = ""  # why day records could not be written
    retired: tuple[str, ...] = ()  # outlets that are retired, and that the configuration still names


class CutoverLine(Struct, frozen=True, kw_only=True):
    """A cut-over of a service, in short; `pcgrelay cutover status` has it whole."""

    service: str
    phase: str  # planned, soaking, paused, back, arrived, quiet, retired, lost
    old: str = ""
    new: str = ""
    share: float = 0.0  # of the new outlet, 0 to 1
    step: int = 0  # 1 is the first
    steps: int = 0
    since: str = ""
    held: bool = False
    odds: float = 1.0  # of a worse new outlet
    moved_total: int = 0  # streams led on before anybody noticed
    lost_total: int = 0  # applications that were refused because no outlet was left
    fell_back_total: int = 0
    decisions: dict[str, int] = {}  # of those that are kept, by what
    troubles: tuple[str, ...] = ()
    grave: bool = False  # streams are not where they are to be, and nothing mends that by itself


class DrillDueStatus(Struct, frozen=True, kw_only=True):
    """A drill that is due again and again."""

    kind: str
    subject: str
    due_s: float  # wall time; 0: it was never held, and is due
    overdue: bool
    sentence: str = ""  # what is wrong, if it is overdue


class DrillLastStatus(Struct, frozen=True, kw_only=True):
    """The last drill that ended with a result."""

    kind: str
    subject: str
    result: str  # passed, failed, stopped, broken
    timestamp_s: float


class DrillsStatus(Struct, frozen=True, kw_only=True):
    """Drills of an edge."""

    running: str = ""  # the one that runs, in a few words
    dues: tuple[DrillDueStatus, ...] = ()
    last: tuple[DrillLastStatus, ...] = ()
    reason: str = ""  # why a record could not be written


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


class WitnessStatus(Struct, frozen=True, kw_only=True):
    """A neighbour that witnesses the audit log."""

    peer: str
    size: int = 0  # records of which it last signed that they are there
    timestamp_s: float = 0.0  # when; 0: never
    linked: bool = False  # it is there now


class AuditStatus(Struct, frozen=True, kw_only=True):
    """The audit log."""

    records: int = 0
    signed: int = 0  # of these
    signed_timestamp_s: float = 0.0  # 0: not by this process
    lost_total: int = 0
    queue: int = 0
    failing: str = ""  # why it cannot be written
    refusing: str = ""  # why it is not signed
    witnesses: tuple[WitnessStatus, ...] = ()
    stale: bool = False  # there are witnesses, and none has signed for a day
    conflicts: tuple[str, ...] = ()  # logs that were proved to have two histories


class WorkerStatus(Struct, frozen=True, kw_only=True):
    """One thread of the data plane."""

    index: int
    lanes: int = 0
    streams: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0


class ApprovalsStatus(Struct, frozen=True, kw_only=True):
    """What was approved last; of a node whose changes have to be approved."""

    active: bool = False
    policy: str = ""  # digest of what is in force, 64 hex digits
    unapproved: str = ""  # what the files had at the start that nobody approved: the approved copy is in force
    older: bool = False  # the newest copy could not be read, and the one before it holds
    unwritten: str = ""  # why what is in force could not be kept
    taken: str = ""  # when what is in force was taken, UTC
    change: str = ""  # the number of the change that brought it; empty: it needed none
    waiting: tuple[WaitingStatus, ...] = ()  # texts that can still be taken


class Status(Struct, frozen=True, kw_only=True):
    """The whole answer."""

    node: NodeStatus
    condition: str = ""  # ready, degraded, failing, draining
    marking: str = ""  # the highest of an edge's services, or of a relay's paths; empty: nobody has configured any
    clearances: ClearancesStatus = ClearancesStatus()
    links: tuple[LinkStatus, ...] = ()
    discoveries: tuple[DiscoveryStatus, ...] = ()
    sessions: tuple[SessionStatus, ...] = ()
    services: tuple[ServiceStatus, ...] = ()
    organisations: tuple[OrganisationStatus, ...] = ()  # those with most bytes first
    streams: StreamStatus = StreamStatus()
    memory: MemoryStatus = MemoryStatus()
    workers: tuple[WorkerStatus, ...] = ()
    log: LogStatus = LogStatus()
    audit: AuditStatus | None = None  # none: there is no audit log
    configuration: ConfigurationStatus = ConfigurationStatus()
    tables: TablesStatus = TablesStatus()
    state: StateStatus = StateStatus()
    approvals: ApprovalsStatus = ApprovalsStatus()
    cutovers: tuple[CutoverLine, ...] = ()
    drills: DrillsStatus = DrillsStatus()
    clocks: tuple[ClockStatus, ...] = ()
    credentials: CredentialsStatus = CredentialsStatus()
    bundle: BundleStatus | None = None  # of the realm; none: there is none in force
    rules: tuple[RuleStatus, ...] = ()  # that have ended or soon will
    fleet: FleetStatus | None = None  # none: there is no store
    twins: tuple[str, ...] = ()  # identities that more than one process uses
    refusals: dict[str, int] = {}  # refused peers, streams and frames, by reason
