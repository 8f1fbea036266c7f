"""Results of an edge's streams: counts by service and reason, and the access log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pcgrelay.dataplane.events import StreamEnd, StreamsDone
from pcgrelay.handover.node import ServiceHandover, StreamCountsHandover
from pcgrelay.log.events import Emit
from pcgrelay.log.stream_events import StreamEnd as StreamEndRecord
from pcgrelay.log.stream_events import StreamRefused
from pcgrelay.messages import Code, code_name
from pcgrelay.model import ServiceName, check_label
from pcgrelay.policy.rules import RULE_NONE, Rule
from pcgrelay.services.datagrams import dropped_by_cause
from pcgrelay.services.stream_ids import StreamIdentity
from pcgrelay.session.session import Session

# The cause of an end that both ends wished.
DONE = "done"
# Stands in the log for a service name that is malformed.
MALFORMED = "malformed"
# The cause that a far edge's code stands for, if the stream was refused.
_FAR_CAUSES = {Code.REFUSED: "not-allowed", Code.UNKNOWN: "unknown-service"}
# A stream that ended with one of these codes, and brought nothing from the far side, was refused.
_REFUSALS = {Code.LIMIT, Code.BUSY, Code.UNKNOWN, Code.REFUSED, Code.UNREACHABLE, Code.TIMEOUT, Code.DRAINING}


@dataclass(frozen=True, slots=True)
class AllowingRule:
    """The rule by which streams of an export are allowed, in the words of the log; made once, and not for each."""

    number: int | None = None
    text: str = ""


UNKNOWN_RULE = AllowingRule()  # of a far edge, or of no [[export]]


@dataclass(slots=True)
class ServiceCounts:
    """Counts of one import or export since the start."""

    opened_total: int = 0
    refused_total: int = 0
    # Of associations that have ended:
    sent_datagrams: int = 0  # towards the far edge
    received_datagrams: int = 0
    dropped: Counter[str] = field(default_factory=Counter)  # by cause


@dataclass(slots=True)
class StreamCounts:
    """Counts of an edge since the start."""

    opened_total: int = 0
    closed_total: Counter[str] = field(default_factory=Counter)
    refused_total: Counter[str] = field(default_factory=Counter)
    imports: dict[int, ServiceCounts] = field(default_factory=dict)
    exports: dict[int, ServiceCounts] = field(default_factory=dict)

    def to_handover(self) -> StreamCountsHandover:
        """Return the node's counts for the new process; the counts of each service are in its own record."""
        return StreamCountsHandover(
            opened_total=self.opened_total,
            closed_total=dict(self.closed_total),
            refused_total=dict(self.refused_total),
        )

    def restore(
        self, handover: StreamCountsHandover, imports: Sequence[ServiceHandover], exports: Sequence[ServiceHandover]
    ) -> None:
        """Restore the counts of the previous process."""
        self.opened_total = handover.opened_total
        self.closed_total |= Counter(handover.closed_total)
        self.refused_total |= Counter(handover.refused_total)
        for table, services in ((self.imports, imports), (self.exports, exports)):
            for each in services:
                datagrams = (each.sent_datagrams, each.received_datagrams, Counter(each.dropped))
                table[each.number] = ServiceCounts(each.opened_total, each.refused_total, *datagrams)

    def count(self, event: StreamEnd) -> None:
        """Count the end of one stream."""
        services = self.imports if event.opener else self.exports
        service = _of(services, event.number)
        service.sent_datagrams += event.sent_datagrams
        service.received_datagrams += event.received_datagrams
        service.dropped.update(dropped_by_cause(event.dropped))
        if was_refused(event):
            service.refused_total += 1
            reason = f"stream_{reason_of(event)}"
            self.refused_total[reason] += 1
            return
        service.opened_total += 1
        self.opened_total += 1
        self.closed_total[event.cause] += 1

    def count_done(self, event: StreamsDone) -> None:
        """Count many ends of streams."""
        service = _of(self.imports if event.opener else self.exports, event.number)
        service.sent_datagrams += event.sums.sent_datagrams
        service.received_datagrams += event.sums.received_datagrams
        service.dropped.update(dropped_by_cause(event.sums.dropped))
        if was_refused(event):
            service.refused_total += event.count
            self.refused_total[f"stream_{reason_of(event)}"] += event.count
            return
        service.opened_total += event.count
        self.opened_total += event.count
        self.closed_total[event.cause] += event.count


def _of(services: dict[int, ServiceCounts], number: int) -> ServiceCounts:
    """The counts of one service; of an unknown one, whose number is -1, they go nowhere."""
    service = services.get(number)
    if service is None:
        service = ServiceCounts()
        if number >= 0:
            services[number] = service
    return service


def service_handover(number: int, service: ServiceName, table: Mapping[int, ServiceCounts]) -> ServiceHandover:
    """Return a service with its counts, for the new process."""
    stream_counts = table.get(number, ServiceCounts())
    return ServiceHandover(
        number=number,
        service=str(service),
        opened_total=stream_counts.opened_total,
        refused_total=stream_counts.refused_total,
        sent_datagrams=stream_counts.sent_datagrams,
        received_datagrams=stream_counts.received_datagrams,
        dropped=dict(stream_counts.dropped),
    )


def was_refused(event: StreamEnd | StreamsDone) -> bool:
    """Return whether the stream was refused: it never carried anything back to its opener. Of many: each of them."""
    if event.code not in _REFUSALS:
        return False
    if isinstance(event, StreamsDone):
        return not event.answered
    return not (event.bytes_received if event.opener else event.bytes_sent)


def reason_of(event: StreamEnd | StreamsDone) -> str:
    """Return why a stream was refused: the local cause, or the code, which is all that the far edge sends."""
    return code_name(event.code) if event.remote else event.cause


def _name_of(service: bytes) -> str:
    """Return the service name that a peer asked for; a malformed one is replaced, since nobody could search for it."""
    try:
        return check_label(service.decode("ascii"), "service name")
    except ValueError:
        return MALFORMED


def cause_of(event: StreamEnd) -> str:
    """Return the cause, in the far edge's terms if its code identifies it, so that both logs say the same."""
    return _FAR_CAUSES.get(event.code, event.cause) if event.remote else event.cause


def emit_stream_end(
    emit: Emit,
    event: StreamEnd,
    own: str,
    session: Session | None,
    service: ServiceName | None,
    rules: tuple[Rule, ...],
    identity: StreamIdentity,
    outlet: str = "",
    allowing: AllowingRule = UNKNOWN_RULE,
    *,
    is_stray: bool = False,
) -> None:
    """Write a stream's end to the access log. service: the import's name, if this edge opened the stream.

    outlet: the one that it took, if its import has several. allowing: the rule of the export, if this edge has it.
    is_stray: it came to an export the old way; own is whose it was, and service that export.
    """
    line = _line_of(event.opener, event.service, own, session, service, identity, outlet, is_stray=is_stray)
    emit(_refused(event, line, rules) if was_refused(event) else _ended(event, line, allowing))


def record_of_done(
    event: StreamsDone,
    own: str,
    session: Session | None,
    service: ServiceName | None,
    outlet: str = "",
    allowing: AllowingRule = UNKNOWN_RULE,
    *,
    is_stray: bool = False,
) -> StreamEndRecord:
    """Return what lines of streams that were told together have in common. The arguments are those of the above."""
    identity = StreamIdentity("", "")
    line = _line_of(event.opener, event.service, own, session, service, identity, outlet, is_stray=is_stray)
    zero = StreamEnd(
        opener=event.opener,
        number=event.number,
        session=event.session,
        service=event.service,
        bytes_sent=0,
        bytes_received=0,
        duration_us=0,
        code=Code.DONE,
        cause=DONE,
        rule=RULE_NONE,
        remote=False,
        protocol=event.protocol,
    )
    return _ended(zero, line, allowing)


def _line_of(
    opener: bool,
    asked_for: bytes,
    own: str,
    session: Session | None,
    service: ServiceName | None,
    identity: StreamIdentity,
    outlet: str,
    *,
    is_stray: bool,
) -> _Line:
    peer = session.key.edge.organisation if session else service.organisation if service else ""
    name = service.service if service else _name_of(asked_for)
    from_organisation, to_organisation = (own, peer) if opener else (peer, own)
    return _Line(
        identity,
        from_organisation,
        to_organisation,
        service=f"{name}@{to_organisation}",
        direction="import" if opener and not is_stray else "export",
        suite=session.suite.title if session and session.suite else "",
        group=session.group if session else "",
        outlet=outlet,
    )


class _Line(NamedTuple):
    """What lines of both kinds have."""

    identity: StreamIdentity
    from_organisation: str
    to_organisation: str
    service: str
    direction: str
    suite: str
    group: str
    outlet: str


def _refused(event: StreamEnd, line: _Line, rules: tuple[Rule, ...]) -> StreamRefused:
    rule = None if event.rule == RULE_NONE else event.rule
    text = rules[rule].text if rule is not None and not event.opener and rule < len(rules) else ""
    return StreamRefused(
        id=line.identity.id,
        started=line.identity.started,
        from_organisation=line.from_organisation,
        to_organisation=line.to_organisation,
        service=line.service,
        direction=line.direction,
        session=max(event.session, 0),
        suite=line.suite,
        group=line.group,
        code=code_name(event.code),
        cause=cause_of(event),
        rule=rule,
        rule_text=text,
        remote=event.remote,
        outlet=line.outlet,
        moved=event.moved,
        protocol=event.protocol,
    )


def _ended(event: StreamEnd, line: _Line, allowing: AllowingRule) -> StreamEndRecord:
    return StreamEndRecord(
        id=line.identity.id,
        started=line.identity.started,
        from_organisation=line.from_organisation,
        to_organisation=line.to_organisation,
        service=line.service,
        direction=line.direction,
        session=event.session,
        sent_bytes=event.bytes_sent,
        received_bytes=event.bytes_received,
        duration_ms=event.duration_us / 1000,
        suite=line.suite,
        group=line.group,
        code=code_name(event.code),
        cause=event.cause,
        rule=allowing.number,
        rule_text=allowing.text,
        remote=event.remote,
        outlet=line.outlet,
        setup_ms=event.setup_us / 1000 if line.outlet else None,
        moved=event.moved,
        protocol=event.protocol,
        sent_datagrams=event.sent_datagrams,
        received_datagrams=event.received_datagrams,
        dropped=dropped_by_cause(event.dropped),
    )
