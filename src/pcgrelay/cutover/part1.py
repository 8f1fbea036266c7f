"""Part 1 of a report: what may be published (pure).

It has no field for an address, a host, an outlet, a network, an organisation or a person: numbers, dates, words of
closed lists, and a few texts of the plan that the scanner has passed. A test walks its types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime
from enum import Enum

from msgspec import Struct

from pcgrelay.cutover.gate import Verdict
from pcgrelay.cutover.histogram import Histogram
from pcgrelay.cutover.phases import Phase
from pcgrelay.cutover.plan import Plan
from pcgrelay.cutover.publishable import Published, Scanner
from pcgrelay.cutover.questions import Outcome
from pcgrelay.cutover.report_facts import OutletFacts, ReportFacts
from pcgrelay.cutover.samples import Samples

ARRIVED = frozenset({Phase.ARRIVED, Phase.QUIET, Phase.RETIRED})
# Below this on a side a median says nothing.
TIMES_LEAST = 20


class Deadline(Enum):
    """How the deadline stands."""

    MET = "met"
    MISSED = "missed"
    AHEAD = "ahead"  # not there yet, and time is left


class Likeness(Enum):
    """Whether the new route is as the old one was."""

    MIRRORS = "mirrors the old route"
    WORSE = "does not mirror the old route"
    UNKNOWN = "not shown yet"


class Time(Struct, frozen=True, kw_only=True):
    """Two medians, and by how much the new one may be longer."""

    old_ms: float
    new_ms: float
    allowed_ms: float

    @property
    def difference_ms(self) -> float:
        """How much longer the new one is."""
        return self.new_ms - self.old_ms


class Performance(Struct, frozen=True, kw_only=True):
    """The new route beside the old one, in the whole transition."""

    likeness: Likeness
    connections: int  # over the new route, those of users and our own
    old_failures: float | None = None  # 0 to 1
    new_failures: float | None = None
    allowed_failures: float = 0.0
    setup: Time | None = None
    answer: Time | None = None


class StepTaken(Struct, frozen=True, kw_only=True):
    """One step."""

    percent: float
    on: date


class FellBack(Struct, frozen=True, kw_only=True):
    """One return to the old route."""

    on: date
    by_itself: bool
    hours: float | None  # until it was started again; nothing: it was not


class Drilled(Struct, frozen=True, kw_only=True):
    """One drill of the back-up."""

    on: date
    passed: bool
    lost: int


class Advised(Struct, frozen=True, kw_only=True):
    """One tick."""

    role: Published
    on: date | None  # nothing: it is not given yet


class Part1(Struct, frozen=True, kw_only=True):
    """All that is published."""

    marking: Published
    title: Published
    change: Published
    written: date
    phase: Phase
    percent: float  # of new connections that take the new route
    began: date | None
    arrived: date | None
    retired: date | None
    steps: tuple[StepTaken, ...]
    steps_planned: tuple[float, ...]
    deadline: date
    deadline_state: Deadline
    deadline_days: int  # between the deadline and the arrival, or the day of the report
    lost: int
    moved: int
    waited_ms: int
    performance: Performance
    fell_back: tuple[FellBack, ...]
    drills: tuple[Drilled, ...]
    quiet_since: date | None
    quiet_days: int
    quiet_wanted: int
    statements: int
    advice: tuple[Advised, ...]
    deferred_until: date | None
    defer_reason: Published
    exempt: tuple[Published, ...]


def scanner_of(facts: ReportFacts) -> Scanner:
    """What looks for this cut-over's names."""
    names = [facts.node, facts.organisation, *facts.names]
    label, _, owner = facts.service.partition("@")
    names += [facts.service, owner]
    for outlet in facts.outlets:
        names += [
            outlet.name,
            outlet.bearer,
            *outlet.addresses,
            *(each.rpartition(":")[0] for each in outlet.addresses),
        ]
    plan = facts.plan
    names += [plan.old, plan.new, *plan.back, plan.owner]
    return Scanner(name.strip("[]") for name in names if name and name != label)


def part1_of(facts: ReportFacts) -> Part1:
    """The publishable part. ConfigError: a text of the plan names what must not be published."""
    plan, scan = facts.plan, scanner_of(facts).published
    report, written = plan.report, _day(facts.written)
    assert written is not None
    arrived = _day(facts.arrived) if facts.phase in ARRIVED else None
    state, days = _deadline(plan, arrived, written)
    given = {each.role.casefold(): each.on for each in facts.advice}
    return Part1(
        marking=scan("report.part1", report.part1),
        title=scan("report.title", facts.title or report.title or "Transition of a service"),
        change=scan("cutover.change", plan.change),
        written=written,
        phase=facts.phase,
        percent=_percent(facts, plan),
        began=_day(facts.began),
        arrived=arrived,
        retired=_day(facts.retired) if facts.phase is Phase.RETIRED else None,
        steps=tuple(_steps(facts, plan)),
        steps_planned=plan.steps,
        deadline=plan.deadline,
        deadline_state=state,
        deadline_days=days,
        lost=sum(each.counts.lost for each in facts.outlets),
        moved=sum(each.counts.moved for each in facts.outlets),
        waited_ms=facts.waited_ms,
        performance=_performance(facts, plan),
        fell_back=tuple(_fell_back(facts)),
        drills=tuple(Drilled(on=each.on, passed=each.passed, lost=each.lost) for each in facts.drills),
        quiet_since=facts.quiet.since,
        quiet_days=facts.quiet.days,
        quiet_wanted=plan.quiet_days,
        statements=len(facts.statements),
        advice=tuple(
            Advised(role=scan(f"report.advice[{index}]", role), on=given.get(role.casefold()))
            for index, role in enumerate(report.advice)
        ),
        deferred_until=report.defer_until,
        defer_reason=scan("report.defer_reason", report.defer_reason),
        exempt=tuple(scan(f"report.exempt[{index}]", text) for index, text in enumerate(report.exempt)),
    )


def moment(text: str) -> datetime | None:
    """A wall time as it is kept; nothing for none."""
    return datetime.fromisoformat(text) if text else None


def _day(text: str) -> date | None:
    at = moment(text)
    return at.date() if at else None


def _deadline(plan: Plan, arrived: date | None, written: date) -> tuple[Deadline, int]:
    if arrived is not None:
        days = (plan.deadline - arrived).days
        return (Deadline.MET if days >= 0 else Deadline.MISSED), abs(days)
    days = (plan.deadline - written).days
    return (Deadline.AHEAD if days >= 0 else Deadline.MISSED), abs(days)


def _percent(facts: ReportFacts, plan: Plan) -> float:
    if facts.phase in ARRIVED:
        return 100.0
    return facts.decisions[-1].shares.get(plan.new, 0.0) if facts.decisions else 0.0


def _steps(facts: ReportFacts, plan: Plan) -> Iterator[StepTaken]:
    """Each rise of the new route's share that lasted; what a return undid is told elsewhere."""
    before = 0.0
    for decision in facts.decisions:
        percent, on = decision.shares.get(plan.new, 0.0), _day(decision.at)
        if decision.what in ("started", "stepped", "arrived") and percent > before and on is not None:
            yield StepTaken(percent=percent, on=on)
        before = percent


def _performance(facts: ReportFacts, plan: Plan) -> Performance:
    new, old = facts.outlet(plan.new), facts.outlet(plan.old)
    limits = plan.limits
    return Performance(
        likeness=_likeness(facts),
        connections=new.sums.tried if new and new.sums else 0,
        old_failures=_failures(old),
        new_failures=_failures(new),
        allowed_failures=limits.failures.share,
        setup=_time(old, new, "setup", limits.setup.beyond),
        answer=_time(old, new, "answer", limits.answer.beyond),
    )


def _likeness(facts: ReportFacts) -> Likeness:
    """What the last look at the gate has shown."""
    for decision in reversed(facts.decisions):
        if isinstance(decision.verdict, Verdict) and decision.verdict.outcome is not Outcome.OPEN:
            return Likeness.MIRRORS if decision.verdict.outcome is Outcome.GOOD else Likeness.WORSE
        if decision.what == "fell_back" and decision.uid is None:
            return Likeness.WORSE
    return Likeness.UNKNOWN


def _failures(outlet: OutletFacts | None) -> float | None:
    if outlet is None or outlet.sums is None or not outlet.sums.tried:
        return None
    return outlet.sums.failed / outlet.sums.tried


def _time(old: OutletFacts | None, new: OutletFacts | None, kind: str, beyond: Callable[[float], float]) -> Time | None:
    """The two medians of the kind of connection of which both routes have more; the kinds are never mixed."""
    if old is None or new is None or old.sums is None or new.sums is None:
        return None
    kinds = zip(old.sums.kinds, new.sums.kinds, strict=True)
    pairs = [(_times(mine, kind), _times(theirs, kind)) for mine, theirs in kinds]
    before, after = max(pairs, key=lambda pair: min(each.total for each in pair))
    low, high = before.quantile(0.5), after.quantile(0.5)
    if min(before.total, after.total) < TIMES_LEAST or low is None or high is None:
        return None
    return Time(old_ms=low / 1_000, new_ms=high / 1_000, allowed_ms=(beyond(low) - low) / 1_000)


def _times(samples: Samples, kind: str) -> Histogram:
    return samples.setup if kind == "setup" else samples.answer


def _fell_back(facts: ReportFacts) -> Iterator[FellBack]:
    decisions = facts.decisions
    for index, decision in enumerate(decisions):
        at = moment(decision.at)
        if decision.what != "fell_back" or at is None:
            continue
        again = next((moment(later.at) for later in decisions[index + 1 :] if later.what == "started"), None)
        hours = (again - at).total_seconds() / 3_600 if again else None
        yield FellBack(on=at.date(), by_itself=decision.uid is None, hours=hours)
