"""What readers find of clocks, of the audit log, of what records can hold, and of alerts: facts of M1 to M7."""

from __future__ import annotations

from pcgrelay.assure.facts import Facts


class ClockFacts(Facts, frozen=True, kw_only=True):
    """The clock of this machine, as the kernel keeps it, and those of other nodes."""

    synchronised: bool
    error_ms: float  # the most that it may be wrong, as the kernel reckons
    recorded_s: float | None  # since the log last had its state; None: it never had
    peers: int = 0  # nodes whose clocks are known
    skewed: tuple[str, ...] = ()  # of these, those that differ by more than is taken


class WitnessFact(Facts, frozen=True, kw_only=True):
    """The youngest signature of one witness."""

    name: str
    age_s: float


class LogVerified(Facts, frozen=True, kw_only=True):
    """The audit log, examined as a whole."""

    verdict: str  # whole, unproved, changed
    problem: str = ""  # the first
    records: int
    unsigned: int  # records after the last checkpoint
    checkpoint_age_s: float | None
    witnesses: tuple[WitnessFact, ...] = ()
    lost: int = 0  # records that the log itself says were lost


class Kept(Facts, frozen=True, kw_only=True):
    """How long records are kept, and who may change them."""

    keep_days: int
    oldest_days: float | None  # since the oldest record; None: there is none
    pruned: bool  # records before it were removed
    writable: tuple[str, ...] = ()  # files and folders of the log that others may write


class Marker(Facts, frozen=True, kw_only=True):
    """A stream with a marker that was sent through this node, and where the marker was found afterwards."""

    sent_bytes: int
    came_back: bool  # the target sent it back, or read it all
    searched: tuple[str, ...]  # log, metrics, audit, status
    hits: tuple[str, ...] = ()  # of these


class Privacy(Facts, frozen=True, kw_only=True):
    """The schema of all records, and a marker."""

    records: int
    fields: int
    open_fields: tuple[str, ...]  # stream.end.note: may hold what came from the wire, or nobody has said what it holds
    marker: Marker | None = None  # None: there is no probe


class Observed(Facts, frozen=True, kw_only=True):
    """A stream and a refusal of the probe, and their records."""

    stream_s: float | None  # until its record was there; None: it never was
    refusal_s: float | None
    missing: tuple[str, ...] = ()  # fields that the records lack
    refusal_tried: bool = True


class Alerts(Facts, frozen=True, kw_only=True):
    """The rules for Prometheus."""

    file: str
    alerts: int
    complaint: str = ""  # of promtool, or why it cannot be read
    checked_by: str = ""  # promtool; "": it is not on this machine, and the form was read here
    unknown: tuple[str, ...] = ()  # metrics that a rule names and no node has
