"""Who used a service, and who had allowed it: the records of streams, summed by who, how and by which rule.

Each record says which approved policy held when it was written. The record of that policy's approval says who had
signed it; a log that began later, or whose old records are gone, says the same each day (`policy.in_force`). So from
any stream one gets to those who allowed it. What the log does not have one by one is counted and said: refusals beyond
the bound on what others can cause, and records that were lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from pcgrelay.audit.lines import time_in
from pcgrelay.audit.segments import Segment, SegmentGone, read_lines

GROUPS_MOST = 10_000
POLICIES_MOST = 10_000
SHORT = 12  # hex digits by which a record names a policy
_STREAM = (b'"event":"stream.end"', b'"event":"stream.refused"', b'"event":"stream.totals"')
_REFUSED = (b'"event":"stream.refused"', b'"suppressed":')
_LOST = (b'"event":"audit.lost"', b'"event":"audit.left_out"')
_POLICY = (
    b'"event":"policy.taken"',
    b'"event":"policy.first"',
    b'"event":"policy.rehashed"',
    b'"event":"policy.in_force"',
)


class Wanted(Struct, frozen=True, kw_only=True):
    """Which streams are asked for."""

    service: str = ""  # custody@kent.police.example, or custody alone; empty: all
    organisation: str = ""  # on either side
    since: str = ""  # times as records have them; empty: from the first,
    until: str = ""  # and to the last; this one is not included


class Allowed(Struct, frozen=True):
    """The approval of a policy."""

    by: tuple[str, ...]
    at: str
    change: str


class Usage(Struct, frozen=True, kw_only=True):
    """Streams that have all of this in common."""

    organisation: str  # from which they came
    service: str  # with the organisation of its exporter
    outlet: str  # empty: there is one alone
    suite: str
    group: str  # of the key exchange
    rule: str  # in words; empty: the records do not say
    policy: str  # short digest; empty: there were no approvals
    streams: int = 0
    refused: int = 0
    transferred_bytes: int = 0  # both ways
    first: str = ""  # when the first of them began or was refused,
    last: str = ""  # and the last record of them
    allowed: Allowed | None = None


class Found(Struct, frozen=True):
    """The answer to a query."""

    usages: tuple[Usage, ...]
    records: int  # that were looked at
    left_out: int  # records of more groups than are kept apart
    first: int = 0  # number of the first record that was read; those before it were removed
    since: str = ""  # its time
    gone: int = 0  # segments that were removed while the log was read
    # Refused streams that have no record of their own. Each is counted with the last one from the same organisation to
    # the same for the same cause, whatever its service.
    bounded: int = 0
    lost: int = 0  # records of that time, of whatever kind, that the log could not keep


class _Line(Struct, frozen=True, kw_only=True):
    """What is read of a record."""

    ts: str = ""
    event: str = ""
    service: str = ""
    from_organisation: str = ""
    to_organisation: str = ""
    outlet: str = ""
    suite: str = ""
    group: str = ""
    rule: int | None = None
    rule_text: str = ""
    direction: str = ""
    policy: str = ""
    sent_bytes: int = 0
    received_bytes: int = 0
    streams: int = 1
    refused: int = 0
    suppressed: int = 0  # similar refusals that were left out before this one
    # Of an approval:
    before: str = ""
    after: str = ""
    holds: str = ""
    taken: str = ""
    approved: tuple[str, ...] = ()
    by: str = ""
    change: str = ""
    # Of records that were lost:
    count: int = 0
    since: str = ""
    until: str = ""


class _Sum:
    """A group while it grows."""

    __slots__ = ("first", "last", "refused", "streams", "transferred_bytes")

    def __init__(self, ts: str) -> None:
        self.streams = self.refused = self.transferred_bytes = 0
        self.first = self.last = ts


def query(segments: Sequence[Segment], wanted: Wanted) -> Found:
    """Read all records that can matter. A line that makes no sense is passed over: `verify` tells of these."""
    asked, reading = _Asked(wanted), _Reading()
    for line in reading.lines(segments):
        if any(event in line for event in _POLICY):
            if (read := _read(line)) is not None:
                _note_policy(read, asked.policies)
        elif any(event in line for event in _LOST):
            if (read := _read(line)) is not None:
                asked.note_lost(read)
        elif asked.may_matter(line) and (read := _read(line)) is not None:
            asked.add(read)
    usages = (_usage(key, total, asked.policies) for key, total in asked.sums.items())
    found = tuple(sorted(usages, key=lambda each: (-each.streams, -each.refused, each.organisation)))
    return Found(
        found,
        asked.records,
        asked.left_out,
        first=reading.first,
        since=reading.since,
        gone=reading.gone,
        bounded=asked.bounded,
        lost=asked.lost,
    )


class _Asked:
    """An answer while it grows."""

    def __init__(self, wanted: Wanted) -> None:
        self.sums: dict[tuple[str, ...], _Sum] = {}
        self.policies: dict[str, Allowed] = {}
        self.records = self.left_out = self.bounded = self.lost = 0
        self._wanted = wanted
        self._needle = wanted.service.partition("@")[0].encode("utf-8", "surrogateescape")

    def may_matter(self, line: bytes) -> bool:
        """Whether a line is of a stream that may be wanted: cheaper than to decode it."""
        if self._needle in line:
            return any(event in line for event in _STREAM)
        return all(part in line for part in _REFUSED)

    def add(self, line: _Line) -> None:
        """Count the record of a stream."""
        wanted = self._wanted
        if not _is_between(line, wanted):
            return
        if line.event == "stream.refused" and _may_be_of(line, wanted):
            self.bounded += line.suppressed
        if not _is_of(line, wanted):
            return
        self.records += 1
        key = _key(line)
        if key not in self.sums:
            if len(self.sums) >= GROUPS_MOST:
                self.left_out += 1
                return
            self.sums[key] = _Sum(line.ts)
        _add(self.sums[key], line)

    def note_lost(self, line: _Line) -> None:
        """Count records that were lost or left out, if that may have been in the time that is asked for."""
        wanted, since, until = self._wanted, line.since or line.ts, line.until or line.ts
        if (not wanted.until or since < wanted.until) and (not wanted.since or until >= wanted.since):
            self.lost += line.count


def checked_time(text: str) -> str:
    """A time as records have it, of an ISO date or time; without an offset it is UTC. ValueError: it is none."""
    moment = datetime.fromisoformat(text)
    try:
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("beyond the calendar") from None
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1_000:03d}Z"


class _Reading:
    """The records of a log, from which a node may remove the oldest meanwhile."""

    def __init__(self) -> None:
        self.first = 0
        self.since = ""
        self.gone = 0

    def lines(self, segments: Sequence[Segment]) -> Iterator[bytes]:
        """All whole lines. ConfigError, PermissionProblem: a segment cannot be read."""
        is_first = True
        # Each segment is read, whatever the times in it: a clock may have been wrong, and was set back.
        for segment in segments:
            try:
                for line in read_lines(segment):
                    if not line.is_torn and not line.is_long:
                        if is_first:
                            self.first, self.since, is_first = line.number, time_in(line.data), False
                        yield line.data
            except SegmentGone:
                self.gone += 1


def _read(line: bytes) -> _Line | None:
    try:
        return msgspec.json.decode(line, type=_Line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _note_policy(line: _Line, policies: dict[str, Allowed]) -> None:
    if len(policies) >= POLICIES_MOST:
        return
    digest = line.after[:SHORT]
    if line.event == "policy.in_force":
        # Of a policy that was approved before the records that are here.
        policies.setdefault(line.holds[:SHORT], Allowed(line.approved or _one(line.by), line.taken, line.change))
        return
    if line.event == "policy.rehashed":
        known = policies.get(line.before[:SHORT])
        if known is not None:
            policies[digest] = known
        return
    by, before = line.approved or _one(line.by), policies.get(line.before[:SHORT])
    if not by and before is not None:
        # It widened nothing, so nobody had to sign: what it allows was allowed before.
        policies[digest] = before
    else:
        policies[digest] = Allowed(by, line.ts, line.change)


def _one(name: str) -> tuple[str, ...]:
    return (name,) if name else ()


def _is_between(line: _Line, wanted: Wanted) -> bool:
    """Whether a stream is of the time, and of the organisation, that is asked for."""
    if (wanted.since and line.ts < wanted.since) or (wanted.until and line.ts >= wanted.until):
        return False
    return not wanted.organisation or wanted.organisation in (line.from_organisation, line.to_organisation)


def _is_of(line: _Line, wanted: Wanted) -> bool:
    """Whether a stream is of the service that is asked for."""
    whole = _whole_name(line)
    return not wanted.service or wanted.service in (whole, whole.partition("@")[0])


def _may_be_of(line: _Line, wanted: Wanted) -> bool:
    """Whether refusals that are counted with this one may have been of the service that is asked for."""
    owner = wanted.service.partition("@")[2]
    return not owner or owner == _whole_name(line).partition("@")[2]


def _whole_name(line: _Line) -> str:
    return line.service if "@" in line.service else f"{line.service}@{line.to_organisation}"


def _key(line: _Line) -> tuple[str, ...]:
    rule = line.rule_text or (f"{line.direction} {line.rule}".strip() if line.rule is not None else "")
    return (line.from_organisation, _whole_name(line), line.outlet, line.suite, line.group, rule, line.policy[:SHORT])


def _add(total: _Sum, line: _Line) -> None:
    if line.event == "stream.refused":
        total.refused += 1 + line.suppressed
    else:
        total.streams += line.streams
        total.refused += line.refused
        total.transferred_bytes += line.sent_bytes + line.received_bytes
    total.first, total.last = min(total.first, line.ts), max(total.last, line.ts)


def _usage(key: tuple[str, ...], total: _Sum, policies: dict[str, Allowed]) -> Usage:
    organisation, service, outlet, suite, group, rule, policy = key
    return Usage(
        organisation=organisation,
        service=service,
        outlet=outlet,
        suite=suite,
        group=group,
        rule=rule,
        policy=policy,
        streams=total.streams,
        refused=total.refused,
        transferred_bytes=total.transferred_bytes,
        first=total.first,
        last=total.last,
        allowed=policies.get(policy) if policy else None,
    )
