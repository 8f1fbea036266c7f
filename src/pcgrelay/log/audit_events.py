"""The records of the audit log about itself: its keys, what it lost, and who has witnessed it."""

from __future__ import annotations

from typing import ClassVar

from msgspec import field

from pcgrelay.log.events import Record


class LogKeysRecord(Record, frozen=True, kw_only=True):
    """The keys of a log, signed by the certificate of the node that keeps it (docs/protocol.md, 9.12)."""

    AUDIT: ClassVar[bool] = True

    origin: str  # pcgrelay.REALM/ORGANISATION/NODE
    ed25519: str  # C2SP vkeys: of its checkpoints, type 0x01,
    ml_dsa_44: str  # type 0x06,
    cosigner: str  # and of its cosignatures under the checkpoints of others, type 0x04
    certificates: tuple[str, ...]  # DER in base64, leaf first
    signature: str  # base64; by the key of the leaf, over `statement_of` these keys


class AuditKeys(LogKeysRecord, frozen=True, kw_only=True):
    """The keys of this log: its first record, and one at each new certificate."""

    EVENT: ClassVar[str] = "audit.keys"


class WitnessKeys(LogKeysRecord, frozen=True, kw_only=True):
    """The keys of a neighbour that witnesses this log: at its first cosignature, and when they change."""

    EVENT: ClassVar[str] = "witness.keys"
    peer: str


class AuditLost(Record, frozen=True, kw_only=True):
    """Records that the audit log could not keep: the first record after them."""

    EVENT: ClassVar[str] = "audit.lost"
    LEVEL: ClassVar[str] = "error"
    AUDIT: ClassVar[bool] = True
    count: int
    since: str  # when the first of them happened,
    until: str  # and the last
    reason: str  # full: the disk; busy: the queue; refusing: nothing is signed; fault: an error of this program


class AuditLeftOut(Record, frozen=True, kw_only=True):
    """Similar records of more kinds and peers than are counted apart, in the last minute."""

    EVENT: ClassVar[str] = "audit.left_out"
    LEVEL: ClassVar[str] = "warning"
    AUDIT: ClassVar[bool] = True
    count: int


class AuditTorn(Record, frozen=True, kw_only=True):
    """The end of the log was not whole when the node started; what nobody had signed was moved aside."""

    EVENT: ClassVar[str] = "audit.torn"
    LEVEL: ClassVar[str] = "warning"
    AUDIT: ClassVar[bool] = True
    file: str
    size_bytes: int


class AuditPruned(Record, frozen=True, kw_only=True):
    """Segments beyond keep_days that are removed: on record, and signed, before they go."""

    EVENT: ClassVar[str] = "audit.pruned"
    AUDIT: ClassVar[bool] = True
    first: int  # numbers of records
    last: int
    segments: int


class AuditRemoved(Record, frozen=True, kw_only=True):
    """Something else that is removed from the folder of the log: on record, and signed, before it goes."""

    EVENT: ClassVar[str] = "audit.removed"
    AUDIT: ClassVar[bool] = True
    what: str  # heads: of records that are removed, but the last of each day; log: one before this; torn: an end
    file: str  # below the folder of the log
    count: int = 0  # of heads with their cosignatures; of records that were signed of a log
    size_bytes: int = 0
    root: str = ""  # of a log: its newest, in base64


class AuditRestarted(Record, frozen=True, kw_only=True):
    """Somebody has begun a new log, because the old one could not be signed any more."""

    EVENT: ClassVar[str] = "audit.restarted"
    LEVEL: ClassVar[str] = "error"
    AUDIT: ClassVar[bool] = True
    old_size: int
    old_root: str  # base64
    folder: str  # where the old one is now
    problem: str
    uid: int
    by: str = ""
    reason: str = ""


class AuditRefusing(Record, frozen=True, kw_only=True):
    """The log does not agree with what was signed: nothing is signed until somebody begins a new one."""

    EVENT: ClassVar[str] = "audit.refusing"
    LEVEL: ClassVar[str] = "error"
    problem: str


class AuditQueried(Record, frozen=True, kw_only=True):
    """Somebody has read the audit log for what it says of streams."""

    EVENT: ClassVar[str] = "audit.queried"
    AUDIT: ClassVar[bool] = True
    id: str
    service: str = ""
    organisation: str = ""
    since: str = ""
    until: str = ""
    uid: int
    by: str = ""
    reason: str = ""


class AuditExported(Record, frozen=True, kw_only=True):
    """Somebody has copied records, or the proof of one, for others."""

    EVENT: ClassVar[str] = "audit.exported"
    AUDIT: ClassVar[bool] = True
    id: str
    kind: str  # tiles, proof
    first: int  # numbers of records
    last: int
    uid: int
    by: str = ""
    reason: str = ""


class AuditFailing(Record, frozen=True, kw_only=True):
    """The audit log cannot be written; it is tried again each second."""

    EVENT: ClassVar[str] = "audit.failing"
    LEVEL: ClassVar[str] = "error"
    reason: str


class AuditWell(Record, frozen=True, kw_only=True):
    EVENT: ClassVar[str] = "audit.well"
    lost: int


class AuditEnded(Record, frozen=True, kw_only=True):
    """The configuration has no audit log any more: this is its last record."""

    EVENT: ClassVar[str] = "audit.ended"
    LEVEL: ClassVar[str] = "warning"
    AUDIT: ClassVar[bool] = True


class StreamTotals(Record, frozen=True, kw_only=True):
    """The streams of a minute, of one service, peer and outlet."""

    EVENT: ClassVar[str] = "stream.totals"
    LEVEL: ClassVar[str] = "debug"
    AUDIT: ClassVar[bool] = True
    service: str
    from_organisation: str
    to_organisation: str
    direction: str
    outlet: str = ""
    rule: int | None = None  # at the exporting side
    rule_text: str = ""
    streams: int
    refused: int
    sent_bytes: int
    received_bytes: int
    # Of associations:
    sent_datagrams: int = 0
    received_datagrams: int = 0
    dropped: dict[str, int] = field(default_factory=dict)  # by cause


class WitnessConflict(Record, frozen=True, kw_only=True):
    """Two notes that the same log has signed, and that cannot both be: it was cut, or written a second time."""

    EVENT: ClassVar[str] = "witness.conflict"
    LEVEL: ClassVar[str] = "error"
    AUDIT: ClassVar[bool] = True
    peer: str
    origin: str  # the log
    known_size: int
    known_root: str
    told_size: int
    told_root: str
    file: str  # in which both notes are kept


class WitnessNewLog(Record, frozen=True, kw_only=True):
    """A neighbour has begun its log again, with other keys: the old one, as it was last witnessed here, ends."""

    EVENT: ClassVar[str] = "witness.new_log"
    LEVEL: ClassVar[str] = "warning"
    AUDIT: ClassVar[bool] = True
    peer: str
    origin: str
    old_size: int
    old_root: str
