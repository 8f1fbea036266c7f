"""The kinds of log line, each a Struct: an event name, a level, and fields in the terms of the protocol.

The only free text about a peer are sentences that pcgrelay makes itself. No record has a field for payload, a key, or
the address of an application.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import ClassVar

from msgspec import Struct

LEVELS = ("debug", "info", "warning", "error")


def time_text(moment: datetime) -> str:
    """Return a time as it stands in the log: UTC, with milliseconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


class Record(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The common part of all lines. The log adds the time."""

    EVENT: ClassVar[str]
    LEVEL: ClassVar[str] = "info"
    AUDIT: ClassVar[bool] = False  # a decision or its ground: it goes to the audit log too, whatever the level


class NodeReady(Record, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "node.ready"
    AUDIT: ClassVar[bool] = True
    node: str
    role: str
    version: str
    workers: int


class NodeDraining(Record, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "node.draining"
    AUDIT: ClassVar[bool] = True
    node: str
    milliseconds: int
    streams: int


class NodeStopped(Record, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "node.stopped"
    AUDIT: ClassVar[bool] = True
    node: str
    streams: int  # still open


class LogLost(Record, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "log.lost"
    LEVEL: ClassVar[str] = "error"
    AUDIT: ClassVar[bool] = True
    count: int


class LinkUp(Record, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "link.up"
    AUDIT: ClassVar[bool] = True
    link: int
    peer: str
    bearer: str
    direction: str
    lanes: int
    suite: str
    group: str
    tls_suite: str
    replaces: int = 0


class LinkDown(Record, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "link.down"
    LEVEL: ClassVar[str] = "warning"
    AUDIT: ClassVar[bool] = True
    link: int
    peer: str
    bearer: str
    reason: str
    duration_ms: int
    wanted: bool = False  # a stop, a drain, or a newer link in its place: then it is no warning


class MemberAway(Record, frozen=True, kw_only=True):
    """A neighbour that dials this node has no link any more, or an edge with an imported service is gone."""

    EVENT: ClassVar[str] = "member.away"
    LEVEL: ClassVar[str] = "warning"
    peer: str
    bearer: str = ""
    listener: str = ""  # where its link arrived
    services: int = 0  # imports that it served


class MemberBack(Record, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "member.back"
    peer: str
    bearer: str = ""
    listener: str = ""
    services: int = 0
    away_ms: int


class IdentityTwins(Record, frozen=True, kw_only=True):
    """Two processes use one identity: a machine was copied, or an old process runs beside the new one."""

    EVENT: ClassVar[str] = "identity.twins"
    LEVEL: ClassVar[str] = "warning"
    AUDIT: ClassVar[bool] = True
    peer: str


class LinkRenewed(Record, frozen=True, kw_only=True):
    """Both ends proved their identities again; the result is mixed into the keys of the lanes."""

    EVENT: ClassVar[str] = "link.renewed"
    AUDIT: ClassVar[bool] = True
    link: int
    peer: str
    generation: int
    group: str
    tls_suite: str


class SessionRenewed(Record, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "session.renewed"
    AUDIT: ClassVar[bool] = True
    session: int
    peer: str
    generation: int
    group: str
    tls_suite: str


class RenewalFailed(Record, frozen=True, kw_only=True):
    """A link or session was not renewed; unless it ended for that reason, the renewal is retried."""

    EVENT: ClassVar[str] = "renewal.failed"
    LEVEL: ClassVar[str] = "warning"
    AUDIT: ClassVar[bool] = True
    purpose: str
    peer: str
    reason: str
    cause: str
    attempts: int


class LinkControlLost(Record, frozen=True, kw_only=True):
    """The control connection ended; the lanes stay up."""

    EVENT: ClassVar[str] = "link.control_lost"
    LEVEL: ClassVar[str] = "warning"
    link: int
    peer: str
    reason: str


class LinkFailed(Record, frozen=True, kw_only=True):
    """A link that this node dials could not be made. Logged once for each reason, then once a minute."""

    EVENT: ClassVar[str] = "link.failed"
    LEVEL: ClassVar[str] = "warning"
    AUDIT: ClassVar[bool] = True
    peer: str
    bearer: str
    reason: str
    cause: str
    attempts: int
    discover: str = ""  # the name that led to it; `peer` is empty until a relay has answered there


class LaneDown(Record, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "lane.down"
    LEVEL: ClassVar[str] = "warning"
    link: int
    peer: str
    index: int
    code: str
    reason: str
    wanted: bool = False  # as for the link


class HandshakeRefused(Record, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "handshake.refused"
    LEVEL: ClassVar[str] = "warning"
    AUDIT: ClassVar[bool] = True
    purpose: str
    reason: str
    cause: str
    bearer: str = ""
    source: str = ""  # an unauthenticated neighbour's; the one case in which only an address is known
    peer: str = ""
    suppressed: int = 0  # number of similar lines left out since the last
    claims: str = ""  # the subject of the shown certificate, if a CA signed it; possession of its key is not proved
    serial: str = ""
    not_after: str = ""
    untried: bool = False  # closed before it sent anything, as by a load balancer's check


class ClockSkew(Record, frozen=True, kw_only=True):
    """The clocks of another node and of this one differ. Logged at once, at each change, and once an hour."""

    EVENT: ClassVar[str] = "clock.skew"
    LEVEL: ClassVar[str] = "warning"
    AUDIT: ClassVar[bool] = True
    peer: str
    skew_s: int  # positive: the peer's is ahead
    at_least: bool


class ClockState(Record, frozen=True, kw_only=True):
    """How this node's clock stands to those of other nodes. Recorded once an hour, whatever it is."""

    EVENT: ClassVar[str] = "clock.state"
    LEVEL: ClassVar[str] = "debug"
    AUDIT: ClassVar[bool] = True
    peers: int  # whose clocks are known
    most_skew_s: int  # of these, the largest difference
    skewed: int  # how many differ by more than is taken


class DateRecord(Record, frozen=True, kw_only=True):
    """A date in this node's own files is near or past. Logged once a day."""

    AUDIT: ClassVar[bool] = True

    kind: str  # own, trust, crl
    name: str
    not_before: str
    not_after: str
    mend: str


class CertificateEnding(DateRecord, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "certificate.ending"
    LEVEL: ClassVar[str] = "warning"


class CertificateExpired(DateRecord, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "certificate.expired"
    LEVEL: ClassVar[str] = "error"


class CertificateNotYetValid(DateRecord, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "certificate.not_yet_valid"
    LEVEL: ClassVar[str] = "error"


class CrlEnding(DateRecord, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "crl.ending"
    LEVEL: ClassVar[str] = "warning"


class CrlExpired(DateRecord, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "crl.expired"
    LEVEL: ClassVar[str] = "error"


class CrlNotYetValid(DateRecord, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "crl.not_yet_valid"
    LEVEL: ClassVar[str] = "error"


class AcceptPaused(Record, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "listener.paused"
    LEVEL: ClassVar[str] = "error"
    bearer: str
    reason: str


class SessionUp(Record, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "session.up"
    AUDIT: ClassVar[bool] = True
    session: int
    peer: str
    via: str
    initiator: bool
    flows: int
    cap: int
    marking: int
    priority: int = 0
    suite: str
    group: str
    tls_suite: str
    duration_ms: int


class SessionStalled(Record, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "session.stalled"
    LEVEL: ClassVar[str] = "warning"
    session: int
    peer: str
    via: str
    reason: str


class SessionResumed(Record, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "session.resumed"
    session: int
    peer: str
    via: str
    pause_ms: int


class SessionDown(Record, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "session.down"
    LEVEL: ClassVar[str] = "warning"
    AUDIT: ClassVar[bool] = True
    session: int
    peer: str
    code: str
    reason: str
    remote: bool = False


class SessionFailed(Record, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "session.failed"
    LEVEL: ClassVar[str] = "warning"
    AUDIT: ClassVar[bool] = True
    peer: str
    reason: str
    cause: str
    by: str = ""
    attempts: int = 1


class PathRefused(Record, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "path.refused"
    LEVEL: ClassVar[str] = "warning"
    AUDIT: ClassVar[bool] = True
    source: str
    destination: str
    code: str
    reason: str
    suppressed: int = 0


class EntryRefused(Record, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "catalogue.refused"
    LEVEL: ClassVar[str] = "warning"
    peer: str
    edge: str
    reason: str
    seconds: int | None = None  # by this node's clock; expired: how long ago; lives_too_long: how much too far ahead
    suppressed: int = 0


class ServiceFull(Record, frozen=True, kw_only=True):
    """A service has reached a limit; what is beyond is refused."""

    EVENT: ClassVar[str] = "service.full"
    LEVEL: ClassVar[str] = "warning"
    service: str
    imported: bool
    limit: str  # the cause of the refusals
    organisation: str = ""  # whose streams alone are refused
    suppressed: int


class TablesRefused(Record, frozen=True, kw_only=True):
    """The core refuses one service; all others are served."""

    EVENT: ClassVar[str] = "tables.refused"
    LEVEL: ClassVar[str] = "error"
    AUDIT: ClassVar[bool] = True
    part: str
    reason: str


class ConfigReloaded(Record, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "config.reloaded"
    AUDIT: ClassVar[bool] = True
    changes: tuple[str, ...]
    policy: tuple[str, ...] = ()  # what of it widens what is allowed, narrows it, or does neither
    milliseconds: int


class ConfigRefused(Record, frozen=True, kw_only=True):
    """A new configuration was refused as a whole; the old one stays in force."""

    EVENT: ClassVar[str] = "config.refused"
    LEVEL: ClassVar[str] = "error"
    AUDIT: ClassVar[bool] = True
    reason: str


class HandoverDone(Record, frozen=True, kw_only=True):
    """Another process has replaced this one; this is its last line. The other one has the audit log by then."""

    EVENT: ClassVar[str] = "handover.done"
    pid: int
    milliseconds: int  # how long the workers were paused, as far as this process knows


class HandoverFailed(Record, frozen=True, kw_only=True):
    """A process that was to replace this one failed to; this one continues."""

    EVENT: ClassVar[str] = "handover.failed"
    LEVEL: ClassVar[str] = "error"
    AUDIT: ClassVar[bool] = True
    reason: str


class HandoverTaken(Record, frozen=True, kw_only=True):
    """This process has replaced another one."""

    EVENT: ClassVar[str] = "handover.taken"
    AUDIT: ClassVar[bool] = True
    node: str
    version: str
    streams: int
    links: int


class NodeDrainUndone(Record, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "node.drain_undone"
    AUDIT: ClassVar[bool] = True
    node: str


class EventsLost(Record, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "events.lost"
    LEVEL: ClassVar[str] = "error"
    AUDIT: ClassVar[bool] = True
    count: int


class Failure(Record, frozen=True, kw_only=True):
    """An internal error of pcgrelay; the node continues."""

    EVENT: ClassVar[str] = "node.failure"
    LEVEL: ClassVar[str] = "error"
    AUDIT: ClassVar[bool] = True
    where: str
    error: str  # the type of the exception; its text may quote a peer


# Destination of records; that of `log.writer` writes them.
Emit = Callable[[Record], None]
