"""Who used a service, and who had allowed it: the records of streams, summed by who, how and by which rule.

Each record says which approved policy held when it was written. The record of that policy's approval says who had
signed it. So from any stream one gets to those who allowed it.
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
_POLICY = (b'"event":"policy.taken"', b'"event":"policy.first"', b'"event":"policy.rehashed"')


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
    # Of an approval:
    before: str = ""
    after: str = ""
    approved: tuple[str, ...] = ()
    by: str = ""
    change: str = ""


class _Sum:
    """A group while it grows."""

    __slots__ = ("first", "last", "refused", "streams", "transferred_bytes")

    def __init__(self, ts: str) -> None:
        self.streams = self.refused = self.transferred_bytes = 0
        self.first = self.last = ts


def query(segments: Sequence[Segment], wanted: Wanted) -> Found:
    """Read all records that can matter. A line that makes no sense is passed over: `verify` tells of these."""
    sums: dict[tuple[str, ...], _Sum] = {}
    policies: dict[str, Allowed] = {}
    records = left_out = 0
    reading = _Reading()
    needle = wanted.service.partition("@")[0].encode("utf-8", "surrogateescape")  # cheaper than to decode each line
    for line in reading.lines(segments):
        if any(event in line for event in _POLICY):
            if (read := _read(line)) is not None:
                _note_policy(read, policies)
            continue
        if needle not in line or not any(event in line for event in _STREAM):
            continue
        read = _read(line)
        if read is None or not _is_wanted(read, wanted):
            continue
        records += 1
        key = _key(read)
        if key not in sums:
            if len(sums) >= GROUPS_MOST:
                left_out += 1
                continue
            sums[key] = _Sum(read.ts)
        _add(sums[key], read)
    usages = (_usage(key, total, policies) for key, total in sums.items())
    return Found(
        tuple(sorted(usages, key=lambda each: (-each.streams, -each.refused, each.organisation))),
        records,
        left_out,
        reading.first,
        reading.since,
        reading.gone,
    )


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
    if line.event == "policy.rehashed":
        known = policies.get(line.before[:SHORT])
        if known is not None:
            policies[digest] = known
        return
    policies[digest] = Allowed(line.approved or ((line.by,) if line.by else ()), line.ts, line.change)


def _is_wanted(line: _Line, wanted: Wanted) -> bool:
    if (wanted.since and line.ts < wanted.since) or (wanted.until and line.ts >= wanted.until):
        return False
    if wanted.organisation and wanted.organisation not in (line.from_organisation, line.to_organisation):
        return False
    whole = _whole_name(line)
    return not wanted.service or wanted.service in (whole, whole.partition("@")[0])


def _whole_name(line: _Line) -> str:
    return line.service if "@" in line.service else f"{line.service}@{line.to_organisation}"


def _key(line: _Line) -> tuple[str, ...]:
    rule = line.rule_text or (f"{line.direction} {line.rule}".strip() if line.rule is not None else "")
    return (line.from_organisation, _whole_name(line), line.outlet, line.suite, line.group, rule, line.policy[:SHORT])


def _add(total: _Sum, line: _Line) -> None:
    if line.event == "stream.refused":
        total.refused += 1
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
