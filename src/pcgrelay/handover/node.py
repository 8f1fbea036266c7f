"""The whole state of a node's control plane in one hand-over record (docs/decisions/0009)."""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec import Struct, field

from pcgrelay.cutover.days import KeptDays, Moment
from pcgrelay.errors import RunError
from pcgrelay.figures import Durations, ListenerFigures, OutletFigures
from pcgrelay.handover.records import (
    EntryHandover,
    LabelsHandover,
    LinkHandover,
    RelayPathHandover,
    SessionHandover,
    UdpSocketHandover,
)
from pcgrelay.handover.traffic import TrafficHandover

VERSION = 3  # 2: adds renewals, and the addresses of links; 3: outlets of imports
LEAST = 1  # the oldest version that is read


class ListenerHandover(Struct, frozen=True, kw_only=True):
    """A listener of an import that has several, with the number of its counts in the core."""

    address: str
    number: int
    base: ListenerFigures = ListenerFigures()  # what is not its own of them
    figures: ListenerFigures | None = None  # what is, up to now; nothing: a process of before did not say


class ServiceHandover(Struct, frozen=True, kw_only=True):
    """An import or export, with the number by which the core knows it."""

    number: int
    service: str
    listen: str = ""  # of an import
    protocol: str = "tcp"  # of its listeners
    workers: int = 1  # of datagrams: so many have a socket of each of them
    also: tuple[str, ...] = ()
    mode: int = 0o600  # of its unix sockets,
    group: int | None = None  # and who else may use them
    listeners: tuple[ListenerHandover, ...] = ()
    is_open: bool = False
    target: str = ""  # of an export,
    addresses: tuple[tuple[str, int], ...] = ()  # and the addresses that it resolved to
    opened_total: int = 0
    refused_total: int = 0
    sent_datagrams: int = 0
    received_datagrams: int = 0
    dropped: dict[str, int] = {}  # datagrams, by cause


class StreamCountsHandover(Struct, frozen=True, kw_only=True):
    """Counts of streams."""

    opened_total: int = 0
    closed_total: dict[str, int] = {}
    refused_total: dict[str, int] = {}


class SeenHandover(Struct, frozen=True, kw_only=True):
    """A known peer: a neighbour by identity, bearer and listener, or an exporter by service and identity."""

    names: tuple[str, ...]
    away_ms: int = 0  # since when, on the monotonic clock; 0: present


class RuleEndHandover(Struct, frozen=True, kw_only=True):
    """An entry of `allow` that has an end."""

    service: str
    organisation: str
    until: datetime
    told: bool = False  # that it has ended


class PaperEndHandover(Struct, frozen=True, kw_only=True):
    """A rule that has an end."""

    rule: str
    end: datetime
    told: bool = False  # that it has ended
    announced: int = 0  # at how many days its end was last announced


class LinkTotalHandover(Struct, frozen=True, kw_only=True):
    """What ended links to one neighbour have carried."""

    place: tuple[str, str, str, str]  # peer, bearer, direction, address
    sent_bytes: int = 0
    received_bytes: int = 0


class OutletHandover(Struct, frozen=True, kw_only=True):
    """What one outlet of an import has done. Streams that are open the core knows itself."""

    name: str
    real: OutletFigures = OutletFigures()
    shadow: OutletFigures = OutletFigures()
    target: str = ""  # of a direct one,
    addresses: tuple[tuple[str, int], ...] = ()  # and where that led


class OutletsHandover(Struct, frozen=True, kw_only=True):
    """The outlets of an import, by index."""

    number: int
    outlets: tuple[OutletHandover, ...]
    marking: int | None = None  # of the service, as it was last told
    exercised: dict[str, float] = {}  # by outlet: when a stream got through over it while it was exercised


class StrayHandover(Struct, frozen=True, kw_only=True):
    """Callers of one organisation who come to an export the old way, with what they have done."""

    number: int
    service: str
    caller: str
    real: OutletFigures = OutletFigures()
    shadow: OutletFigures = OutletFigures()


class DaysHandover(Struct, frozen=True, kw_only=True):
    """The day records that the file may not have yet, and how far the time was looked at."""

    until: Moment | None = None
    rest_ms: int = 0
    monotonic_ms: int | None = None  # the last look
    outlets: tuple[KeptDays, ...] = ()


class CutoverHandover(Struct, frozen=True, kw_only=True):
    """A cut-over, as its file has it, with figures up to the hand-over."""

    service: str
    state: bytes  # JSON of a CutoverState


class ListHandover(Struct, frozen=True, kw_only=True):
    """A revocation list that a neighbour brought."""

    data: bytes  # DER
    source: str = ""


class BundleHandover(Struct, frozen=True, kw_only=True):
    """The realm's bundle that is in force."""

    data: bytes  # as it travels
    source: str = ""


class NodeHandover(Struct, frozen=True, kw_only=True):
    """The state of a node; fields of the other role are empty."""

    started_ms: int
    links: tuple[LinkHandover, ...] = ()
    entries: tuple[EntryHandover, ...] = ()
    labels: LabelsHandover = LabelsHandover()
    sessions: tuple[SessionHandover, ...] = ()
    last_session: int = 0
    relay_paths: tuple[RelayPathHandover, ...] = field(default=(), name="forwards")
    last_relay_path: int = field(default=0, name="last_forward")
    imports: tuple[ServiceHandover, ...] = ()
    exports: tuple[ServiceHandover, ...] = ()
    stream_counts: StreamCountsHandover = field(default=StreamCountsHandover(), name="tally")
    member_sources: tuple[str, ...] = ()  # addresses that members came from, which flood protection must not shut out
    refused: dict[str, dict[str, int]] = {}  # by the part that counts
    members: tuple[SeenHandover, ...] = ()
    exporters: tuple[SeenHandover, ...] = ()
    outlets: tuple[OutletsHandover, ...] = ()
    unwritten_shares: bytes = b""  # that could not be written to the folder of state
    strays: tuple[StrayHandover, ...] = ()
    days: DaysHandover | None = None  # none: a process that counted no days
    cutovers: tuple[CutoverHandover, ...] = ()
    link_totals: tuple[LinkTotalHandover, ...] = ()
    lists: tuple[ListHandover, ...] = ()
    bundle: BundleHandover | None = None
    traffic: TrafficHandover = TrafficHandover()
    link_handshakes: Durations = field(default_factory=Durations)
    session_handshakes: Durations = field(default_factory=Durations)
    rule_ends: tuple[RuleEndHandover, ...] = ()
    paper_ends: tuple[PaperEndHandover, ...] = ()
    udp_sockets: tuple[UdpSocketHandover, ...] = ()
    audit: tuple[bytes, ...] = ()  # lines of the audit log that were not written yet, without their numbers


def encode_handover(handover: NodeHandover) -> bytes:
    """Return the record as msgpack."""
    return msgspec.msgpack.encode(handover)


def decode_handover(data: bytes) -> NodeHandover:
    """Decode a record. RunError: it cannot be read."""
    try:
        return msgspec.msgpack.decode(data, type=NodeHandover)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RunError(f"The state of the running node cannot be read ({error}); restart it instead.") from None
