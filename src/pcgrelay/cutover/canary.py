"""The state machine of a cut-over: plan, progress, facts and time in; progress, shares and decisions out (pure).

Whoever runs it asks a few times a second, and again at once when a hard fact changes. Two rules are the caller's, and
`Answer.is_forward` says which holds: forward is written first and published only if that succeeded; backward is
published first and written then. So no crash ever wakes up further forward than was written.

What is looked at, in this order, each tick: requests of people that lead back; hard facts (the new outlet is away: its
share is 0 at once); the alarm; slowness; and only then whether a step forward may be.
"""

from __future__ import annotations

from datetime import date, datetime

from msgspec import Struct, structs

from pcgrelay.cutover import holding, requests
from pcgrelay.cutover.alarm import Pair, judge_alarm
from pcgrelay.cutover.gate import GateFacts, Looks, Verdict, judge_gate, preview
from pcgrelay.cutover.odds import Failures
from pcgrelay.cutover.phases import FORWARD, UNDER_WAY, Decision, Event, Hold, Phase, Progress, move
from pcgrelay.cutover.plan import Plan
from pcgrelay.cutover.questions import TAIL_LEAST, Levels, Outcome
from pcgrelay.cutover.requests import Request
from pcgrelay.cutover.samples import Outlet
from pcgrelay.cutover.windows import find_zone

CLOCK_JUMP_S = 60.0
AFTER_JUMP_S = 3_600.0
SUSPECT_INTERVALS = 2
# What passes between two ticks counts as looked at up to this; longer, and nobody was looking.
TICK_MOST_S = 10.0


class Now(Struct, frozen=True):
    """The two clocks."""

    wall: datetime  # aware
    monotonic_s: float


class Facts(Struct, frozen=True):
    """What was seen since the last tick."""

    new: Outlet  # sums of the whole cut-over
    old: Outlet
    well: frozenset[str] = frozenset()  # outlets that can carry new streams now
    supported_until: dict[str, date | None] = {}
    setups: Failures = Failures(0, 0, 0.5)  # set-ups that failed; without what is away or local
    setup_clients: tuple[int, ...] = ()
    later: Failures = Failures(0, 0, 0.5)  # ended early or cut
    later_clients: tuple[int, ...] = ()
    pairs: tuple[Pair, ...] = ()
    # Shadows or streams over what it falls back to, since the new outlet is away; nothing: there were none yet.
    back_succeeds: bool | None = True
    both_fail: bool = False  # nothing of late succeeded on either outlet: the target is down
    is_unacknowledged: bool = False  # frames of the session, beyond the time-out of a pair
    probe_interval_s: float = 0.5
    is_quiet: bool = False  # the plan's days of quiet are full
    stray: str | None = None  # what ended the quiet, in words
    request: Request | None = None
    # Where edges share the cut-over. One of them decides: it alone asks the gate, with the sums of all of them.
    decides: bool = True
    no_step: str = ""  # why no step forward is made now, whatever the gate says
    is_shared: bool = False  # an arrival is told to the others before it is in force, as a step is


class Answer(Struct, frozen=True):
    """What is to be in force."""

    progress: Progress
    shares: dict[str, float]  # percent by outlet; adds up to 100
    decisions: tuple[Decision, ...] = ()
    is_forward: bool = False  # to be written before it is published
    otherwise: Progress | None = None  # of what is forward: the progress if it cannot be written


class Followed(Struct, frozen=True):
    """What another edge of the organisation decided."""

    phase: Phase  # soaking, paused, back or arrived
    step: int
    decision: Decision
    is_alarmed: bool = False  # it went back by itself


def tick(plan: Plan, progress: Progress, facts: Facts, now: Now) -> Answer:
    """One look. The caller keeps the answer's progress, unless it is forward and could not be written."""
    progress, told = _clocked(progress, now)
    passed_s = 0.0 if progress.ticked_s is None else min(max(0.0, now.monotonic_s - progress.ticked_s), TICK_MOST_S)
    progress = structs.replace(progress, ticked_s=now.monotonic_s)
    asked = requests.refusal_or_event(plan, progress, facts.request, now.wall) if facts.request else None
    if asked is not None and asked.event is Event.FALL_BACK:
        return _fall_back(plan, progress, facts, now, [*told, asked.decision])
    if progress.phase in UNDER_WAY:
        progress, events = _watched(plan, progress, facts, now, passed_s)
        told += events
        wanted = _wants_back(plan, progress, facts, now)
        if isinstance(wanted, Decision):
            if asked is not None:
                told.append(Decision("refused", f"{plan.new} is being left just now."))
            return _fall_back(plan, progress, facts, now, [*told, wanted])
        progress = structs.replace(wanted, is_nowhere=False)
    if asked is not None:
        return _or_else(_asked(plan, progress, facts, now, told, asked), progress)
    if progress.phase is Phase.SOAKING and not facts.no_step and _may_step(plan, progress, now):
        return _or_else(_try_step(plan, progress, facts, now, told, waived=frozenset()), progress)
    if progress.phase is Phase.QUIET and facts.stray:
        told.append(Decision("stray", f"{facts.stray}; the days of quiet begin again."))
        return _answer(plan, structs.replace(progress, phase=Phase.ARRIVED), facts, now, told)
    if progress.phase is Phase.ARRIVED and facts.is_quiet and not progress.hold.is_held:
        told.append(Decision("quiet", f"Nothing used {plan.old} for {plan.quiet_days} days."))
        return _answer(plan, structs.replace(progress, phase=Phase.QUIET), facts, now, told)
    if progress.phase is Phase.BACK:
        return _fall_back(plan, progress, facts, now, told)
    return _answer(plan, progress, facts, now, told)


def follow(plan: Plan, progress: Progress, facts: Facts, now: Now, other: Followed) -> Answer:
    """Have in force what another edge decided. It is forward if it gives the new outlet a larger share than here."""
    told = [other.decision]
    if other.phase is Phase.BACK:
        answer = _fall_back(plan, progress, facts, now, told)
        return structs.replace(answer, progress=structs.replace(answer.progress, is_alarmed=other.is_alarmed))
    if other.phase is Phase.ARRIVED:
        after = structs.replace(progress, phase=Phase.ARRIVED, seen=None, soaked_s=0.0)
    else:
        after = progress if progress.step == other.step else _begin(progress, facts, other.step)
        after = structs.replace(after, phase=other.phase)
    is_more = standing_shares(plan, after)[plan.new] > standing_shares(plan, progress)[plan.new]
    answer = _answer(plan, after, facts, now, told)
    return structs.replace(answer, is_forward=is_more, otherwise=progress if is_more else None)


def is_followed(progress: Progress, other: Followed) -> bool:
    """Whether what another edge decided is in force. An edge is quiet, and retires its outlet, by itself."""
    if other.phase is Phase.ARRIVED:
        return progress.phase in {Phase.ARRIVED, Phase.QUIET, Phase.RETIRED}
    if progress.phase is not other.phase:
        return progress.phase is Phase.RETIRED
    return other.phase is Phase.BACK or progress.step == other.step


def settle(before: Answer, answer: Answer, *, was_written: bool) -> Answer:
    """What is in force after an attempt to write: a step forward that could not be written is not taken.

    What was seen in this tick is kept. So is the look that opened the gate: to try again is no further chance.
    """
    if not answer.is_forward or was_written:
        return answer
    refused = Decision("refused", "The state cannot be written, so no step forward is taken.")
    return Answer(answer.otherwise or before.progress, before.shares, (refused,))


def _or_else(answer: Answer, progress: Progress) -> Answer:
    return structs.replace(answer, otherwise=progress) if answer.is_forward else answer


def step_figures(progress: Progress, facts: Facts) -> tuple[Outlet, Outlet]:
    """The outlets' figures of this step, new and old; attempts and failures are those of the whole cut-over.

    The old outlet has fewer and fewer set-ups, and at the last step none but shadows. As long as there are too few to
    compare with, all of this cut-over are taken.
    """
    base, origin = progress.base, progress.origin
    if base is None or origin is None:
        return facts.new, facts.old
    old = _of_step(facts.old, base[1], origin[1])
    return _of_step(facts.new, base[0], origin[0]), old if old.setups >= TAIL_LEAST else facts.old.since(origin[1])


def setups_since(outlet: Outlet, earlier: Outlet | None) -> int:
    """How many set-ups came after an earlier state. Most ticks need no more than that, and it costs no histogram."""
    count = outlet.setups - (earlier.setups if earlier is not None else 0)
    # A counter that began anew: then all that is there is new.
    return count if count >= 0 else outlet.setups


def _of_step(outlet: Outlet, base: Outlet, origin: Outlet) -> Outlet:
    since, whole = outlet.since(base), outlet.since(origin)
    real = structs.replace(since.real, tried=whole.real.tried, failed=whole.real.failed)
    shadow = structs.replace(since.shadow, tried=whole.shadow.tried, failed=whole.shadow.failed)
    return Outlet(outlet.name, real, shadow)


def _clocked(progress: Progress, now: Now) -> tuple[Progress, list[Decision]]:
    offset = now.wall.timestamp() - now.monotonic_s
    last = progress.clock_offset_s
    progress = structs.replace(progress, clock_offset_s=offset)
    if last is None or abs(offset - last) <= CLOCK_JUMP_S:
        return progress, []
    told = Decision("held", f"The clock jumped by {offset - last:+,.0f} s; no step is taken within an hour.")
    return structs.replace(progress, jumped_at_s=now.monotonic_s), [told]


def _watched(
    plan: Plan, progress: Progress, facts: Facts, now: Now, passed_s: float
) -> tuple[Progress, list[Decision]]:
    """After what was seen: the hold, the soak, the evidence."""
    hold, told = holding.after(
        progress.hold, plan.new in facts.well, facts.back_succeeds, now.monotonic_s, passed_s,
        is_patient=progress.phase in {Phase.ARRIVED, Phase.QUIET},
    )  # fmt: skip
    soaked_s = progress.soaked_s
    if hold.is_held or facts.both_fail:
        # What is down on both sides says nothing of either, and is no time to step forward.
        soaked_s = 0.0
    elif progress.phase is not Phase.PAUSED:
        soaked_s += passed_s
        if soaked_s >= plan.soak_s > soaked_s - passed_s:
            # A whole soak without an absence: earlier ones no longer count.
            hold = structs.replace(hold, count=0, total_s=0.0)
    before_s = now.monotonic_s - SUSPECT_INTERVALS * facts.probe_interval_s
    settled = [each for each in progress.checkpoints if each[0] <= before_s]
    kept = (*settled[-1:], *(each for each in progress.checkpoints if each[0] > before_s))
    if plan.new not in facts.well:
        # What failed while it went away, or just before, is no evidence: a dead relay is a hold.
        evidence = kept[0][1] if kept else progress.evidence
        progress = structs.replace(progress, evidence=evidence, checkpoints=(), suspected_at_s=None)
        return structs.replace(progress, hold=hold, soaked_s=soaked_s), told
    evidence = progress.evidence.after_setups(facts.setups, facts.setup_clients)
    evidence = evidence.after_later(facts.later, facts.later_clients)
    for pair in facts.pairs:
        evidence = evidence.after_pair(pair)
    if evidence != progress.evidence:
        kept = (*(kept or ((before_s, progress.evidence),)), (now.monotonic_s, evidence))
    return structs.replace(progress, hold=hold, soaked_s=soaked_s, evidence=evidence, checkpoints=kept), told


def _wants_back(plan: Plan, progress: Progress, facts: Facts, now: Now) -> Decision | Progress:
    """Why to fall back, or the progress after the looks that were due."""
    if why := holding.exhausted(progress.hold):
        return Decision("fell_back", f"{plan.new} {why}.")
    alarm = judge_alarm(progress.evidence.facts, plan.new, plan.old)
    if alarm.is_raised:
        since = progress.suspected_at_s
        waits_s = SUSPECT_INTERVALS * facts.probe_interval_s
        if facts.is_unacknowledged and (since is None or now.monotonic_s - since < waits_s):
            # Perhaps its relay is dead: share 0 now, and back only if the session is still up then.
            return structs.replace(progress, suspected_at_s=now.monotonic_s if since is None else since)
        return Decision("fell_back", alarm.sentence, alarm)
    progress = structs.replace(progress, suspected_at_s=None)
    if progress.phase is not Phase.SOAKING or progress.hold.is_held or not facts.decides:
        return progress
    return _slowness(plan, progress, facts)


def _slowness(plan: Plan, progress: Progress, facts: Facts) -> Decision | Progress:
    looks = progress.looks
    if looks.bad_due(setups_since(facts.new, progress.base and progress.base[0])):
        new, old = step_figures(progress, facts)
        verdict = judge_gate(GateFacts(new, old, plan.limits, Levels(0.0, looks.bad_level)))
        if verdict.outcome is Outcome.BAD:
            return Decision("fell_back", verdict.sentence, verdict)
        progress = structs.replace(progress, looks=looks.after_bad(new.setups))
    seen = progress.seen or progress.base
    if seen is None:
        return structs.replace(progress, seen=(facts.new, facts.old))
    if progress.looks.recent_due(setups_since(facts.new, seen[0]), setups_since(facts.old, seen[1])):
        since = facts.new.since(seen[0]), facts.old.since(seen[1])
        levels = Levels(0.0, progress.looks.recent_level)
        verdict = judge_gate(GateFacts(*since, plan.limits, levels, is_recent=True))
        if verdict.outcome is Outcome.BAD:
            return Decision("fell_back", verdict.sentence, verdict)
        progress = structs.replace(progress, looks=progress.looks.after_recent(), seen=(facts.new, facts.old))
    return progress


def _may_step(plan: Plan, progress: Progress, now: Now) -> bool:
    """Whether everything but the gate allows a step forward."""
    jumped = progress.jumped_at_s
    return (
        progress.soaked_s >= plan.soak_s
        and not progress.hold.is_held
        and progress.suspected_at_s is None
        and (jumped is None or now.monotonic_s - jumped >= AFTER_JUMP_S)
        and (progress.step + 1 >= len(plan.steps) or plan.calendar.is_open(now.wall))
    )


def _try_step(
    plan: Plan, progress: Progress, facts: Facts, now: Now, told: list[Decision], waived: frozenset[str]
) -> Answer:
    """Look at the gate, if a look is due, and go on if it is open."""
    if not waived and setups_since(facts.new, progress.base and progress.base[0]) < progress.looks.good_next:
        return _answer(plan, progress, facts, now, told)
    new, old = step_figures(progress, facts)
    if not waived and not progress.looks.good_due(new, old, plan.limits):
        return _answer(plan, progress, facts, now, told)
    # Whoever waives a question looks at the others, and that spends as much as any other look.
    levels = Levels(progress.looks.good_level, 0.0)
    verdict = judge_gate(GateFacts(new, old, plan.limits, levels))
    progress = structs.replace(progress, looks=progress.looks.after_good(new.setups))
    if not _is_open(verdict, waived):
        told = [*told, Decision("refused", verdict.sentence, verdict)] if waived else told
        return _answer(plan, progress, facts, now, told)
    return _step(plan, progress, facts, now, told, verdict)


def _is_open(verdict: Verdict, waived: frozenset[str]) -> bool:
    return all(
        finding.outcome is Outcome.GOOD or (finding.outcome is Outcome.OPEN and finding.question in waived)
        for finding in verdict.findings
    )


def _step(plan: Plan, progress: Progress, facts: Facts, now: Now, told: list[Decision], verdict: Verdict) -> Answer:
    if progress.step + 1 >= len(plan.steps):
        arrived = structs.replace(progress, phase=Phase.ARRIVED, seen=None, soaked_s=0.0)
        told = [*told, Decision("arrived", f"All new streams take {plan.new}: {verdict.sentence}", verdict)]
        return structs.replace(_answer(plan, arrived, facts, now, told), is_forward=facts.is_shared)
    stepped = _begin(progress, facts, progress.step + 1)
    told = [*told, Decision("stepped", f"{plan.steps[stepped.step]:g} % take {plan.new}: {verdict.sentence}", verdict)]
    return _answer(plan, stepped, facts, now, told, Event.STEP)


def _begin(progress: Progress, facts: Facts, step: int) -> Progress:
    """At the beginning of a step."""
    figures = facts.new, facts.old
    return structs.replace(
        progress, phase=Phase.SOAKING, step=step, soaked_s=0.0, looks=Looks(), base=figures, seen=figures,
        hold=structs.replace(progress.hold, count=0, total_s=0.0), back_on=None,
    )  # fmt: skip


def _asked(
    plan: Plan, progress: Progress, facts: Facts, now: Now, told: list[Decision], asked: requests.Asked
) -> Answer:
    """Carry out what a person asked for, if it is allowed."""
    event = asked.event
    if event is None:
        return _answer(plan, progress, facts, now, [*told, asked.decision])
    if event is Event.STEP:
        if facts.no_step:
            waits = Decision("refused", f"No step forward is made here: {facts.no_step}.")
            return _answer(plan, progress, facts, now, [*told, waits])
        if not _may_step(plan, progress, now):
            waits = Decision("refused", "The soak is not over, no window is open, or the new outlet is away.")
            return _answer(plan, progress, facts, now, [*told, waits])
        if not asked.waived:
            shut = Decision("refused", preview(*step_figures(progress, facts), plan.limits, progress.looks).sentence)
            answer = _try_step(plan, progress, facts, now, told, frozenset())
            return answer if answer.is_forward or answer.progress.phase is Phase.ARRIVED else _told(answer, shut)
        return _try_step(plan, progress, facts, now, told, asked.waived)
    if event is Event.START:
        if plan.new not in facts.well:
            waits = Decision("refused", f"{plan.new} cannot carry streams now; see pcgrelay explain {plan.service}.")
            return _answer(plan, progress, facts, now, [*told, waits])
        fresh = Progress(
            ticked_s=progress.ticked_s, clock_offset_s=progress.clock_offset_s, origin=(facts.new, facts.old)
        )
        return _answer(plan, _begin(fresh, facts, 0), facts, now, [*told, asked.decision], event)
    if event is Event.RETIRE and progress.hold.is_held:
        waits = Decision("refused", f"{plan.new} is away just now, and nothing else would be left.")
        return _answer(plan, progress, facts, now, [*told, waits])
    phase = move(progress.phase, event) or progress.phase
    return _answer(plan, structs.replace(progress, phase=phase), facts, now, [*told, asked.decision], event)


def _fall_back(plan: Plan, progress: Progress, facts: Facts, now: Now, told: list[Decision]) -> Answer:
    """All new streams to the first of `back` that is well and in support. If there is none, the shares stay."""
    target = _back_target(plan, progress, facts, now)
    is_new = progress.phase is not Phase.BACK
    if target is None:
        if is_new:
            told = told[:-1]
        if facts.request is not None or not progress.is_nowhere:
            sentence = "A fall-back is wanted, and nothing it could go to is well and in support."
            told = [*told, Decision("nowhere", sentence)]
        return _answer(plan, structs.replace(progress, is_nowhere=True), facts, now, told)
    progress = structs.replace(progress, is_nowhere=False)
    if is_new:
        by_itself = facts.request is None or facts.request.event is not Event.FALL_BACK
        progress = structs.replace(progress, phase=Phase.BACK, is_alarmed=by_itself, suspected_at_s=None, hold=Hold())
    return _answer(plan, structs.replace(progress, back_on=target), facts, now, told)


def _back_target(plan: Plan, progress: Progress, facts: Facts, now: Now) -> str | None:
    today = now.wall.astimezone(find_zone(plan.calendar.zone)).date()
    able = []
    for name in plan.back:
        end = facts.supported_until.get(name)
        if name in facts.well and (end is None or today <= end):
            able.append(name)
    if progress.back_on in able:
        return progress.back_on
    return able[0] if able else None


def _answer(
    plan: Plan, progress: Progress, facts: Facts, now: Now, told: list[Decision], event: Event | None = None
) -> Answer:  # fmt: skip
    shares = _shares(plan, progress, facts, now)
    return Answer(progress, shares, tuple(told), event in FORWARD)


def _told(answer: Answer, decision: Decision) -> Answer:
    return structs.replace(answer, decisions=(*answer.decisions, decision))


def standing_shares(plan: Plan, progress: Progress) -> dict[str, float]:
    """Percent by outlet, zeros included, as long as the new outlet is not held."""
    shares = dict.fromkeys((plan.new, plan.old, *plan.back), 0.0)
    if progress.phase is Phase.PLANNED:
        shares[plan.old] = 100.0
    elif progress.phase is Phase.BACK:
        shares[progress.back_on or plan.old] = 100.0
    else:
        part = plan.steps[progress.step] if progress.phase in {Phase.SOAKING, Phase.PAUSED} else 100.0
        shares[plan.new] += part
        shares[plan.old] += 100.0 - part
    return shares


def _shares(plan: Plan, progress: Progress, facts: Facts, now: Now) -> dict[str, float]:
    is_held = progress.hold.is_held or progress.suspected_at_s is not None
    if progress.phase in UNDER_WAY and is_held:
        target = _back_target(plan, progress, facts, now)
        if target is not None:
            shares = dict.fromkeys((plan.new, plan.old, *plan.back), 0.0)
            shares[target] = 100.0
            return shares
    return standing_shares(plan, progress)
