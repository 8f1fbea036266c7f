"""Cut-overs as commands, status and pages show them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from msgspec import structs

from pcgrelay.admin.cutover_answers import (
    CutoverAdvice,
    CutoverDecision,
    CutoverFinding,
    CutoverList,
    CutoverOutlet,
    CutoverPoint,
    CutoverShared,
    CutoverStatus,
)
from pcgrelay.admin.status import CutoverLine
from pcgrelay.config import GATEWAY
from pcgrelay.cutover.alarm import judge_alarm
from pcgrelay.cutover.canary import Facts, step_figures
from pcgrelay.cutover.forecast import Forecast, foresee, wait_s
from pcgrelay.cutover.gate import TITLES, Verdict, preview
from pcgrelay.cutover.phases import Phase
from pcgrelay.cutover.samples import Limits, Outlet
from pcgrelay.cutover.state import Counts, KeptDecision, Point
from pcgrelay.cutover.windows import end_of
from pcgrelay.gateway.cutover import Cutover
from pcgrelay.gateway.edge import EdgeRole
from pcgrelay.gateway.node import Node
from pcgrelay.model import Marking
from pcgrelay.policy.rules import MARKING_NUMBERS
from pcgrelay.services.outlet_plan import Away, away_words
from pcgrelay.services.outlets import ImportOutlets
from pcgrelay.services.services import Imported
from pcgrelay.session.session import Session
from pcgrelay.views.cutover_why import shared_why, why
from pcgrelay.views.outlets import who

_MARKINGS = {number: marking for marking, number in MARKING_NUMBERS.items()}
# The pace of set-ups is that of so long.
PACE_LEAST_S = 10.0


def cutover_list(node: Node, edge: EdgeRole) -> CutoverList:
    """All cut-overs of an edge, without what only one of them is asked for."""
    found = [cutover_status(node, edge, cutover, with_details=False) for cutover in edge.cutovers.all()]
    found += [lost_status(edge, service) for service in edge.cutovers.lost]
    known = {each.service for each in found}
    imports = (str(imported.settings.service) for imported, _ in edge.outlets.with_outlets())
    return CutoverList(
        cutovers=tuple(sorted(found, key=lambda each: each.service)),
        imports=tuple(service for service in imports if service not in known),
    )


def lost_status(edge: EdgeRole, service: str) -> CutoverStatus:
    """A cut-over whose file cannot be read."""
    sentence = (
        f"{edge.cutovers.lost[service]} cannot be read, so nobody knows how far it was; new streams go by the "
        f"configuration. Start it again: pcgrelay cutover start PLAN --again"
    )
    return CutoverStatus(service=service, phase="lost", why=sentence, troubles=(sentence,))


def cutover_lines(node: Node, edge: EdgeRole) -> tuple[CutoverLine, ...]:
    """All cut-overs in short, without what has to be computed."""
    found = [_line(node, cutover) for cutover in edge.cutovers.all()]
    for service in edge.cutovers.lost:
        troubles = lost_status(edge, service).troubles
        found.append(CutoverLine(service=service, phase="lost", troubles=troubles, grave=True))
    return tuple(sorted(found, key=lambda each: each.service))


def _line(node: Node, cutover: Cutover) -> CutoverLine:
    plan, progress, state = cutover.plan, cutover.progress, cutover.state
    decisions = Counter(each.what for each in state.decisions)
    return CutoverLine(
        service=plan.service,
        phase=progress.phase.value,
        old=plan.old,
        new=plan.new,
        share=cutover.shares.get(plan.new, 0.0) / 100,
        step=progress.step + 1,
        steps=len(plan.steps),
        since=state.since,
        held=cutover.is_held,
        odds=_odds(cutover),
        moved_total=sum(each.moved for each in state.counts.values()),
        lost_total=cutover.lost,
        fell_back_total=decisions["fell_back"],
        decisions=dict(decisions),
        troubles=tuple(_troubles(cutover, is_late=_is_past(node, cutover))),
        grave=progress.is_nowhere,
    )


def _odds(cutover: Cutover) -> float:
    plan = cutover.plan
    return round(judge_alarm(cutover.progress.evidence.facts, plan.new, plan.old).odds, 3)


def _is_past(node: Node, cutover: Cutover) -> bool:
    """Whether the deadline has passed and it has not arrived."""
    plan = cutover.plan
    is_open = cutover.phase in (Phase.PLANNED, Phase.SOAKING, Phase.PAUSED, Phase.BACK)
    return is_open and node.clock.wall() >= end_of(plan.deadline, plan.calendar.zone)


def cutover_status(node: Node, edge: EdgeRole, cutover: Cutover, *, with_details: bool = True) -> CutoverStatus:
    """One cut-over as it is now."""
    plan, state, progress = cutover.plan, cutover.state, cutover.progress
    verdict = _verdict(cutover)
    forecast = _forecast(node, cutover, verdict)
    old = plan.old
    left = _active(cutover.outlets, old)
    not_quiet = edge.cutovers.not_quiet(plan) if progress.phase is Phase.ARRIVED else None
    status = CutoverStatus(
        service=plan.service,
        phase=progress.phase.value,
        old=old,
        new=plan.new,
        back=plan.back,
        step=progress.step + 1,
        steps=plan.steps,
        share=cutover.shares.get(plan.new, 0.0),
        held=cutover.is_held,
        nowhere=progress.is_nowhere,
        since=state.since,
        began=state.began,
        soaked_s=round(progress.soaked_s, 1),
        soak_s=plan.soak_s,
        change=plan.change,
        owner=plan.owner,
        deadline=plan.deadline.isoformat(),
        plan_sha256=state.plan_sha256,
        marking=_marking(cutover.outlets),
        outlets=tuple(_outlets(node, edge, cutover)),
        findings=findings_of(verdict, plan.limits) if with_details else (),
        verdict=verdict.sentence,
        needed=verdict.needed,
        odds=_odds(cutover),
        moved=sum(each.moved for each in state.counts.values()),
        lost=cutover.lost,
        waited_ms=state.waited_ms,
        next_step="" if forecast.next_step is None else _moment(forecast.next_step.isoformat()),
        done="" if forecast.done is None else _moment(forecast.done.isoformat()),
        late=forecast.is_late and progress.phase in (Phase.PLANNED, Phase.SOAKING, Phase.PAUSED, Phase.BACK),
        days_left=forecast.days_left,
        back_on=progress.back_on or "",
        fell_back=state.since if progress.phase is Phase.BACK else "",
        alarmed=progress.is_alarmed,
        quiet_days=edge.cutovers.quiet_days(plan),
        quiet_of=plan.quiet_days,
        not_quiet=not_quiet or "",
        left_on_old=left,
        oldest_s=cutover.oldest_s if left else None,
        decisions=tuple(_decision(each) for each in state.decisions) if with_details else (),
        points=tuple(_point(each) for each in state.points) if with_details else (),
        advice=tuple(_advice(cutover)) if with_details else (),
        shared=_shared(node, cutover),
    )
    troubles = tuple(_troubles(cutover, is_late=status.late))
    sentences = " ".join((why(plan, state, status), *shared_why(status), *_denials(node, edge, cutover)))
    return structs.replace(status, why=sentences, troubles=troubles)


def _shared(node: Node, cutover: Cutover) -> CutoverShared | None:
    sharing = cutover.sharing
    if sharing is None or not sharing.is_joined:
        return None
    now_s = node.clock.monotonic_ms() / 1_000
    since_s = sharing.silent_since_s
    return CutoverShared(
        run=sharing.mine.run,
        epoch=sharing.known.epoch,
        in_force=sharing.is_in_force(cutover.progress),
        decider=sharing.decider,
        decides=sharing.seat > 0,
        edges=tuple(sharing.others.edges()),
        held_at=tuple(sharing.others.held()),
        silent_s=None if since_s is None else round(max(0.0, now_s - since_s), 1),
        untold=sharing.mine.narrowed is not None,
        no_step=sharing.why_no_step(now_s),
    )


def _denials(node: Node, edge: EdgeRole, cutover: Cutover) -> Iterator[str]:
    """Which exporters' rules are against us: a wrong allow list must not look like a network that fails."""
    imported = cutover.imported
    if imported is None or GATEWAY not in (cutover.plan.new, cutover.plan.old) or cutover.phase is Phase.RETIRED:
        return
    ours, now_ms = node.local.config.node.id.organisation, node.clock.monotonic_ms()
    for exporter in imported.exporters:
        last = edge.services.far_refusals.of(imported.number, exporter.edge)
        if last is not None:
            yield f"{last.words(now_ms)}: it does not allow {ours}; its organisation has to mend that."


def _verdict(cutover: Cutover) -> Verdict:
    facts = Facts(*cutover.compared())
    figures = step_figures(cutover.progress, facts)
    return preview(*figures, cutover.plan.limits, cutover.progress.looks)


def _forecast(node: Node, cutover: Cutover, verdict: Verdict) -> Forecast:
    plan, progress = cutover.plan, cutover.progress
    if progress.phase not in (Phase.SOAKING, Phase.PAUSED):
        return Forecast(None, None, _is_past(node, cutover), None)
    per_s = verdict.facts.new.setups / progress.soaked_s if progress.soaked_s >= PACE_LEAST_S else 0.0
    needed = verdict.needed if per_s or not verdict.needed else None
    first = wait_s(max(0.0, plan.soak_s - progress.soaked_s), needed, per_s)
    if first is None and progress.soaked_s < plan.soak_s:
        # Too early to say how fast set-ups come: at best when the soak is over.
        first = max(0.0, plan.soak_s - progress.soaked_s)
    steps_left = len(plan.steps) - 1 - progress.step
    return foresee(plan.calendar, node.clock.wall(), plan.deadline, plan.soak_s, steps_left, first)


def _outlets(node: Node, edge: EdgeRole, cutover: Cutover) -> list[CutoverOutlet]:
    plan, outlets = cutover.plan, cutover.outlets
    sums = cutover.state.sums
    facts = Facts(*cutover.compared())
    new, old = step_figures(cutover.progress, facts)
    found = []
    for name in dict.fromkeys((plan.old, plan.new, *plan.back)):
        figures = new if name == plan.new else old if name == plan.old else sums.get(name, Outlet(name))
        role = "new" if name == plan.new else "old" if name == plan.old else "back"
        counts = cutover.state.counts.get(name, Counts())
        outlet = _outlet(cutover, name, role, figures, counts)
        found.append(outlet if outlets is None else _with_network(node, edge, cutover, outlets, outlet))
    return found


def _outlet(cutover: Cutover, name: str, role: str, figures: Outlet, counts: Counts) -> CutoverOutlet:
    setup, answer = (figures.real.setup + figures.shadow.setup), (figures.real.answer + figures.shadow.answer)
    rate = figures.real.rate
    return CutoverOutlet(
        name=name,
        role=role,
        share=cutover.shares.get(name, 0.0),
        setups=counts.setups,
        shadows=counts.shadows,
        failed=figures.failed,
        failure_share=figures.failed / figures.tried if figures.tried else None,
        moved=counts.moved,
        setup_median_ms=_ms(setup.quantile(0.5)),
        setup_p95_ms=_ms(setup.quantile(0.95)),
        answer_median_ms=_ms(answer.quantile(0.5)),
        rate_median_kib_s=rate.quantile(0.5),
        rate_count=rate.total,
        nudged=counts.nudged,
    )


def _with_network(
    node: Node, edge: EdgeRole, cutover: Cutover, outlets: ImportOutlets, outlet: CutoverOutlet
) -> CutoverOutlet:
    """The same with what is known of its network now."""
    index = outlets.index_of(outlet.name)
    imported = cutover.imported
    if index is None or imported is None:
        return structs.replace(outlet, well=False, reason=away_words(Away.REMOVED))
    away, direct = outlets.away(index), outlets.directs.get(outlet.name)
    until = None if direct is None else direct.bearer.supported_until
    suite = ""
    if direct is None:
        session = session_of(edge, imported)
        suite = "" if session is None or session.suite is None else session.suite.title
    return structs.replace(
        outlet,
        well=away is Away.NOT,
        reason=away_words(away, is_known=imported.is_known),
        bearer="" if direct is None else direct.settings.bearer,
        marking="" if direct is None else direct.bearer.marking.value,
        supported_until="" if until is None else until.isoformat(),
        supported=until is None or node.clock.wall().date() <= until,
        streams_active=_active(outlets, outlet.name),
        oldest_s=cutover.oldest_s if outlet.role == "old" else None,
        suite=suite,
    )


def session_of(edge: EdgeRole, imported: Imported) -> Session | None:
    """The session that a new stream takes over the gateway."""
    numbers = {route[0] for route in imported.plan.routes}
    return next((each for each in edge.sessions if each.number in numbers), None)


def _active(outlets: ImportOutlets | None, name: str) -> int:
    index = None if outlets is None else outlets.index_of(name)
    return 0 if outlets is None or index is None else max(0, outlets.meter.figures(index)[0].active)


def _marking(outlets: ImportOutlets | None) -> str:
    marking: Marking | None = None if outlets is None or outlets.marking is None else _MARKINGS.get(outlets.marking)
    return "" if marking is None else marking.value


def findings_of(verdict: Verdict, limits: Limits) -> tuple[CutoverFinding, ...]:
    """The answers to the gate's questions, for people."""
    allowed = {
        "enough": f"{limits.streams:,}",
        "failures": f"+{limits.failures}",
        "broken": f"+{limits.failures}",
        "tail": f"+{limits.setup}",
        "setup": f"+{limits.setup}",
        "answer": f"+{limits.answer}",
        "rate": f"-{limits.rate}",
    }
    return tuple(
        CutoverFinding(
            question=each.question,
            title=TITLES[each.question],
            outcome=each.outcome.value,
            sentence=each.sentence,
            allowed=allowed[each.question],
            needed=each.needed,
        )
        for each in verdict.findings
    )


def _decision(each: KeptDecision) -> CutoverDecision:
    return CutoverDecision(
        at=each.at,
        what=each.what,
        sentence=each.sentence,
        phase=each.phase.value,
        step=each.step + 1,
        shares=each.shares,
        by="" if each.uid is None else who(each.uid, each.by),
        reason=each.reason,
        verdict=each.verdict is not None,
    )


def _point(each: Point) -> CutoverPoint:
    return CutoverPoint(
        at=each.at,
        shares=each.shares,
        setups=each.setups,
        failures=each.failures,
        median_ms={name: value / 1_000 for name, value in each.median_us.items()},
        p95_ms={name: value / 1_000 for name, value in each.p95_us.items()},
    )


def _advice(cutover: Cutover) -> Iterator[CutoverAdvice]:
    given = {each.role.casefold(): each for each in cutover.state.advice}
    for role in cutover.plan.report.advice:
        each = given.get(role.casefold())
        if each is None:
            yield CutoverAdvice(role=role)
        else:
            yield CutoverAdvice(role=role, on=each.on.isoformat(), by=who(each.uid, each.by), reason=each.reason)


def _troubles(cutover: Cutover, *, is_late: bool) -> Iterator[str]:
    plan, state, progress = cutover.plan, cutover.state, cutover.progress
    service = plan.service
    if progress.is_nowhere:
        yield f"A fall-back of {service} is wanted, and there is nowhere to go that is well and in support."
    if cutover.outlets is None and progress.phase is not Phase.RETIRED:
        yield f"The cut-over of {service} stands still: the configuration has no outlets of it any more."
    if progress.phase is Phase.BACK and progress.is_alarmed:
        yield f"{service} fell back to {progress.back_on} at {state.since}; see pcgrelay cutover why {service}."
    if cutover.is_held:
        yield f"{plan.new} is away, and has no share of {service} for now."
    if is_late:
        yield f"The cut-over of {service} is late: its deadline is {plan.deadline}."
    if (sharing := cutover.sharing) is not None and sharing.is_joined and sharing.silent_since_s is not None:
        yield f"No step forward of {service} is made: the store of the fleet is silent."
    if cutover.reason:
        yield f"The cut-over of {service} cannot be written ({cutover.reason.rstrip('.')})."


def _ms(value_us: float | None) -> float | None:
    return None if value_us is None else round(value_us / 1_000, 3)


def _moment(text: str) -> str:
    return f"{text[:19]}Z"
