"""The configuration file as it is written: one Struct for each table, with the names that users type.

Nothing outside this package uses these. `build` turns them into a Config, in which every value is checked and typed.
The metadata of a key is a correct example, which refusals show.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

Milliseconds = Annotated[int, Meta(ge=1, le=3_600_000)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Weight = Annotated[int, Meta(ge=0, le=100)]
Streams = Annotated[int, Meta(ge=0, le=1_000_000)]
PrecedenceWord = Literal["preferred", "default", "back-up"]
PriorityWord = Literal["normal", "interactive", "critical"]
MarkingWord = Literal["OFFICIAL", "OFFICIAL-SENSITIVE", "SECRET"]
ProbeWord = Literal["connect", "expect", "none"]
# Of new streams, in percent; steps are checked in `outlets`.
Exercise = Annotated[float, Meta(ge=0, le=10)]
ProbeInterval = Annotated[int, Meta(ge=200, le=3_600_000)]
# 0: no limit.
Seconds = Annotated[int, Meta(ge=0, le=31_536_000)]
StreamsWord = Literal["all", "refused", "totals"]
ProxyWord = Literal["v2"]
ProtocolWord = Literal["tcp", "udp"]
Wait = Annotated[int, Meta(ge=1, le=10_000)]
Texts = str | tuple[str, ...]  # one, or a list


class Table(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of the file."""


class RuleTable(Table, frozen=True, kw_only=True):
    """What a table that allows something says of who allowed it; required where there is [approvals]."""

    owner: str | None = None
    reason: str | None = None
    change: str | None = None
    until: date | None = None  # none: without end


class PolicyPaperTable(RuleTable, frozen=True, kw_only=True):
    """[policy.paper]."""


class NodeTable(Table, frozen=True, kw_only=True):
    """[node]."""

    name: str
    organisation: str
    realm: str
    role: Literal["edge", "relay"]
    workers: Annotated[int, Meta(ge=0, le=64)] = 0
    lanes: Annotated[int, Meta(ge=0, le=64)] = 0
    udp_lanes: bool = False
    memory: str = "256MiB"
    admin: str | None = None
    admin_group: str | None = None  # none: the owner only
    state: str | None = None  # none: nothing is kept
    inventory: str | None = None  # none: nobody says which services must move


class IdentityTable(Table, frozen=True, kw_only=True):
    """[identity]."""

    certificate: str
    key: str
    trust: str
    crl: str | None = None


class PolicyTable(Table, frozen=True, kw_only=True):
    """[policy]."""

    post_quantum: Literal["required", "preferred"] = "required"
    suites: tuple[str, ...] = ("AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305")
    members: tuple[str, ...] = ()
    relays: tuple[str, ...] | None = None  # any member
    paper: PolicyPaperTable | None = None
    clearances: dict[str, str] | None = None  # none: organisations are not judged by markings
    transit: tuple[tuple[str, ...], ...] | None = None  # none: between no two bearers, once there is a [[bearer]]
    handshake_deadline_ms: Milliseconds = 10_000
    half_open_total: Count = 256
    half_open_per_source: Count | None = None  # an eighth of the total
    rekey_bytes: str = "64GiB"
    rekey_frames: Annotated[int, Meta(ge=16, le=4_194_304)] = 4_194_304
    rekey_s: Annotated[int, Meta(ge=1, le=120)] = 120
    renewal_interval_s: Annotated[int, Meta(ge=1, le=43_200)] = 3_600
    renewal_age_s: Annotated[int, Meta(ge=2, le=86_400)] = 86_400
    path_wait_ms: Milliseconds = 30_000
    half_closed_s: Annotated[int, Meta(ge=1, le=604_800)] = 3_600
    max_streams_per_organisation: Streams = 0
    new_streams_per_second: Streams = 0
    probe_interval_ms: Annotated[int, Meta(ge=75, le=5_000)] = 500


class BearerTable(Table, frozen=True, kw_only=True):
    name: str
    marking: MarkingWord = "OFFICIAL"
    supported_until: date | None = None  # none: no end is known


class ListenTable(RuleTable, frozen=True, kw_only=True):
    """[[listen]]."""

    address: str
    bearer: str = "internet"
    precedence: PrecedenceWord = "default"
    weight: Weight = 100
    udp_port: Annotated[int, Meta(ge=1, le=65_535)] | None = None  # none: the number of the port of `address`


class LinkTable(RuleTable, frozen=True, kw_only=True):
    """[[link]]."""

    peer: str | None = None  # this and `address`, or `discover`
    address: str | None = None
    discover: str | None = None
    links: Annotated[int, Meta(ge=1, le=3)] | None = None  # none: 2; with `discover` alone
    peers: tuple[str, ...] | None = None  # none: each relay that [policy] relays admits; with `discover` alone
    bearer: str = "internet"
    precedence: PrecedenceWord = "default"
    weight: Weight = 100
    source: Texts | None = None  # none: the system's choice


class AllowTable(Table, frozen=True, kw_only=True):
    """An entry of `allow` that says more than a name."""

    organisation: str
    until: Annotated[datetime, Meta(tz=True)] | None = None  # none: without end
    reason: str = ""
    reference: str = ""


class ExportTable(RuleTable, frozen=True, kw_only=True):
    """[[export]]."""

    service: str
    protocol: ProtocolWord = "tcp"
    target: str
    allow: tuple[str | AllowTable, ...] = ()
    source: Texts | None = None
    proxy: ProxyWord | None = None  # none: the target is told nothing
    marking: MarkingWord = "OFFICIAL"
    precedence: PrecedenceWord = "default"
    weight: Weight = 100
    priority: PriorityWord = "normal"
    connect_timeout_ms: Milliseconds = 10_000
    max_streams: Streams = 0
    max_streams_per_organisation: Streams = 0
    new_streams_per_second: Streams = 0
    idle_timeout_s: Seconds = 0
    max_duration_s: Seconds = 0
    wait_ms: Wait | None = None  # of udp alone; none: 200
    rate: str | None = None  # of udp alone; none: no limit
    probe: ProbeWord | None = None  # none: connect; of udp none
    probe_send: str = ""
    probe_expect: str = ""
    probe_interval_ms: ProbeInterval = 5_000
    also: tuple[str, ...] = ()


class CallerTable(Table, frozen=True, kw_only=True):
    """[[caller]]."""

    organisation: str
    networks: tuple[str, ...]


class ImportTable(RuleTable, frozen=True, kw_only=True):
    """[[import]]."""

    service: str
    protocol: ProtocolWord = "tcp"
    listen: str
    sources: tuple[str, ...] | None = None  # of udp alone; none: everybody
    priority: PriorityWord | None = None  # as its owner says
    max_streams: Streams = 0
    max_streams_per_source: Count | None = None  # of udp alone; none: 256
    new_streams_per_second: Streams = 0
    idle_timeout_s: Seconds = 0
    max_duration_s: Seconds = 0
    wait_ms: Wait | None = None  # of udp alone; none: 200
    rate: str | None = None  # of udp alone; none: no limit
    mode: str | None = None  # of unix sockets: these two
    group: str | None = None
    outlet: str = "gateway"
    also: tuple[str, ...] = ()
    careful: bool = True
    exercise: Exercise = 0.0
    srv: str | None = None  # the code that a network has for it


class DirectTable(RuleTable, frozen=True, kw_only=True):
    service: str
    name: str
    address: str
    bearer: str = "internet"
    source: Texts | None = None  # none: the system's choice
    connect_timeout_ms: Annotated[int, Meta(ge=100, le=60_000)] = 3_000
    probe: ProbeWord | None = None  # none: connect; of an import of udp none
    probe_send: str = ""
    probe_expect: str = ""
    probe_interval_ms: ProbeInterval = 5_000


class DrillTable(Table, frozen=True, kw_only=True):
    kind: Literal["backup", "relay-loss", "bearer-loss", "restore"]
    service: str | None = None  # these three: every one there is
    relay: str | None = None
    bearer: str | None = None
    every: str
    window: str = ""  # at any time
    zone: str = "UTC"
    auto: bool = False
    lasts: str | None = field(name="for", default=None)
    share: Annotated[float, Meta(ge=0.5, le=100)] = 100.0


class LogTable(Table, frozen=True, kw_only=True):
    """[log]."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    access: bool = True
    format: Literal["json", "text"] = "json"


class AuditTable(Table, frozen=True, kw_only=True):
    """[audit]."""

    keep_days: Annotated[int, Meta(ge=1, le=36_500)] = 400
    streams: StreamsWord = "all"


class AssureTable(Table, frozen=True, kw_only=True):
    """[assure]."""

    probe: str | None = None  # configuration of an edge of a throw-away organisation on this machine
    revoked: str | None = None  # a certificate that the realm has revoked; its key lies beside it


class RealmTable(Table, frozen=True, kw_only=True):
    """[realm]."""

    bundle: str


class ReaderTable(Table, frozen=True, kw_only=True):
    """[metrics] and [page]."""

    listen: str
    allow: tuple[str, ...] | None = None  # none: the node's own organisation


class ApprovalsTable(Table, frozen=True, kw_only=True):
    """[approvals]."""

    signers: str
    needs: Annotated[int, Meta(ge=1, le=16)] = 2
    roles: dict[str, tuple[str, ...]] = {}
    revoked: str | None = None  # none: no key is
    holds: bool = False
    most_days: Annotated[int, Meta(ge=1, le=3_660)] = 400


class FleetTable(Table, frozen=True, kw_only=True):
    """[fleet]."""

    store: Literal["etcd"]
    endpoints: tuple[str, ...]
    certificate: str | None = None  # none: these three are those of [identity]
    key: str | None = None
    trust: str | None = None
    user: str | None = None  # none: the certificate alone
    password: str | None = None  # a file


class FileTable(Table, frozen=True, kw_only=True):
    """The whole file."""

    node: NodeTable
    identity: IdentityTable
    policy: PolicyTable = PolicyTable()
    bearer: tuple[BearerTable, ...] = ()
    listen: tuple[ListenTable, ...] = ()
    link: tuple[LinkTable, ...] = ()
    exports: tuple[ExportTable, ...] = field(name="export", default=())
    imports: tuple[ImportTable, ...] = field(name="import", default=())
    direct: tuple[DirectTable, ...] = ()
    drill: tuple[DrillTable, ...] = ()
    caller: tuple[CallerTable, ...] = ()
    log: LogTable = LogTable()
    audit: AuditTable | None = None
    assure: AssureTable | None = None
    realm: RealmTable | None = None
    metrics: ReaderTable | None = None
    page: ReaderTable | None = None
    approvals: ApprovalsTable | None = None
    fleet: FleetTable | None = None


TABLES: dict[str, type[Struct]] = {
    "node": NodeTable,
    "identity": IdentityTable,
    "policy": PolicyTable,
    "bearer": BearerTable,
    "listen": ListenTable,
    "link": LinkTable,
    "export": ExportTable,
    "import": ImportTable,
    "direct": DirectTable,
    "drill": DrillTable,
    "caller": CallerTable,
    "log": LogTable,
    "audit": AuditTable,
    "assure": AssureTable,
    "realm": RealmTable,
    "metrics": ReaderTable,
    "page": ReaderTable,
    "approvals": ApprovalsTable,
    "fleet": FleetTable,
}
# The tables that are rules, and the four keys that say of each who allowed it.
RULES = ("listen", "link", "export", "import", "direct")
PAPER = {
    "owner": 'owner = "j.smith@kent.police.example"',
    "reason": 'reason = "Custody look-ups, ISA 2026/14"',
    "change": 'change = "CR-1042"',
    "until": "until = 2027-03-31",
}
