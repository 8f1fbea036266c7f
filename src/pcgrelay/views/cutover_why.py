"""Why a cut-over is where it is, what it waits for, and who has to do what: one sentence (pure)."""

from __future__ import annotations

from pcgrelay.admin.cutover_answers import CutoverStatus
from pcgrelay.cutover.plan import Plan
from pcgrelay.cutover.plan_text import duration_text
from pcgrelay.cutover.state import CutoverState


def why(plan: Plan, state: CutoverState, status: CutoverStatus) -> str:
    """The sentence."""
    if status.nowhere:
        return (
            f"A fall-back from {plan.new} is wanted, and nothing in {', '.join(plan.back)} is well and in support: "
            "mend one of them, or add an outlet that is."
        )
    return _BY_PHASE[status.phase](plan, state, status)


def shared_why(status: CutoverStatus) -> tuple[str, ...]:
    """The sentence about the other edges of the organisation that move the service, if there are any."""
    shared = status.shared
    if shared is None or status.phase not in ("soaking", "paused", "back"):
        return ()
    if shared.untold:
        return ("The other edges are not told of it yet, for the store of the fleet does not take it.",)
    if status.phase == "back":
        return ()
    if shared.decides:
        others = f"{len(shared.edges)} other edge{'' if len(shared.edges) == 1 else 's'}"
        waits = f", and makes no step: {shared.no_step}" if shared.no_step else ""
        return (f"This edge decides for itself and {others}{waits}.",)
    if shared.silent_s is not None:
        return ("No step is made while the store of the fleet is silent.",)
    return (
        f"{shared.decider or 'No edge'} decides{'' if shared.decider else ' for the moment'}, and this one follows.",
    )


def _planned(plan: Plan, state: CutoverState, status: CutoverStatus) -> str:
    return f"It has not begun: all new streams take {plan.old} until pcgrelay cutover start."


def _soaking(plan: Plan, state: CutoverState, status: CutoverStatus) -> str:
    where = f"Step {status.step} of {len(status.steps)}, {status.steps[status.step - 1]:g} % on {plan.new}"
    if status.held:
        return f"{where}: held, because {plan.new} is away; it goes on by itself when that is well again."
    left_s = max(0.0, plan.soak_s - status.soaked_s)
    if left_s >= 1:
        return f"{where}: it soaks for another {duration_text(max(1, round(left_s)))}, and then the gate is asked."
    if status.needed is None:
        return f"{where}: the gate stays shut. {status.verdict}"
    if status.needed:
        return f"{where}: {status.verdict}"
    if status.next_step and status.step < len(status.steps):
        return f"{where}: the gate is open, and the next step may be made from {status.next_step} on."
    return f"{where}: the gate is open."


def _paused(plan: Plan, state: CutoverState, status: CutoverStatus) -> str:
    paused = next((each for each in reversed(state.decisions) if each.what == "paused"), None)
    reason = f" ({paused.reason})" if paused is not None and paused.reason else ""
    share = f"{status.share:g} % stay on {plan.new}"
    return f"Somebody paused it{reason}: {share} until pcgrelay cutover resume, or back."


def _back(plan: Plan, state: CutoverState, status: CutoverStatus) -> str:
    fell = next((each for each in reversed(state.decisions) if each.what == "fell_back"), None)
    cause = "" if fell is None else f" {fell.sentence}"
    return (
        f"All new streams take {status.back_on or plan.old} since {status.since}.{cause} When it is mended: "
        "pcgrelay cutover start PLAN --again."
    )


def _arrived(plan: Plan, state: CutoverState, status: CutoverStatus) -> str:
    quiet = status.not_quiet or f"{status.quiet_days} of {status.quiet_of} days are quiet"
    return f"All new streams take {plan.new}; it waits until {plan.old} is proven quiet: {quiet}."


def _quiet(plan: Plan, state: CutoverState, status: CutoverStatus) -> str:
    service = plan.service.partition("@")[0]
    return f"Nothing used {plan.old} for {plan.quiet_days} days; pcgrelay retire {plan.old}/{service} ends it."


def _retired(plan: Plan, state: CutoverState, status: CutoverStatus) -> str:
    return f"It has moved to {plan.new}, and {plan.old} was retired at {state.retired}."


_BY_PHASE = {
    "planned": _planned,
    "soaking": _soaking,
    "paused": _paused,
    "back": _back,
    "arrived": _arrived,
    "quiet": _quiet,
    "retired": _retired,
}
