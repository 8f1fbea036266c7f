"""What people ask of a cut-over, and what is refused in one sentence (pure).

The safe direction needs no paper: back, pause. What widens is approved by whoever calls, before it comes here.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from pcgrelay.cutover.phases import Decision, Event, Phase, Progress, move
from pcgrelay.cutover.plan import Plan


class Request(Struct, frozen=True):
    """One request of a person: START (also again), PAUSE, RESUME, FALL_BACK, STEP (advance) or RETIRE."""

    event: Event
    by: str = ""
    reason: str = ""
    is_approved: bool = False
    waived: frozenset[str] = frozenset()  # questions of the gate, for STEP


class Asked(Struct, frozen=True):
    """What comes of a request: an event, or nothing but a refusal."""

    event: Event | None
    decision: Decision
    waived: frozenset[str] = frozenset()


REQUESTS = frozenset({Event.START, Event.PAUSE, Event.RESUME, Event.FALL_BACK, Event.STEP, Event.RETIRE})
DONE = {
    Event.START: "started",
    Event.PAUSE: "paused",
    Event.RESUME: "resumed",
    Event.FALL_BACK: "fell_back",
    Event.STEP: "stepped",
    Event.RETIRE: "retired",
}


def refusal_or_event(plan: Plan, progress: Progress, request: Request, wall: datetime) -> Asked:
    """Whether what is asked for may be in this phase, and now."""
    event, phase = request.event, progress.phase
    if event not in REQUESTS:
        return _refused(f"{event.value} is nothing that a person asks for")
    if move(phase, event) is None:
        return _refused(_why_not(plan, phase, event))
    if event is Event.START:
        if phase is Phase.BACK and progress.is_alarmed and not request.is_approved:
            return _refused("it fell back by itself, so starting again needs an approval")
        if (opens := plan.calendar.next_open(wall)) != wall:
            when = f"the next is on {opens:%Y-%m-%d at %H:%M} UTC" if opens else "there is none within two years"
            return _refused(f"no window for a step forward is open; {when}")
    if event is Event.RETIRE and not request.is_approved:
        return _refused("retiring an outlet needs an approval")
    if event is Event.STEP and request.waived and not request.is_approved:
        return _refused("waiving a question of the gate needs an approval")
    by = f" by {request.by}" if request.by else ""
    reason = f": {request.reason}" if request.reason else ""
    return Asked(
        event, Decision(DONE[event], f"{DONE[event].replace('_', ' ').capitalize()}{by}{reason}."), request.waived
    )


def _why_not(plan: Plan, phase: Phase, event: Event) -> str:
    if event is Event.START and phase not in {Phase.RETIRED}:
        return f"the cut-over of {plan.service} is running: {phase.value}"
    return f"the cut-over of {plan.service} is {phase.value}, and {event.value} means nothing there"


def _refused(why: str) -> Asked:
    return Asked(None, Decision("refused", f"{why[:1].upper()}{why[1:]}."))
