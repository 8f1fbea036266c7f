"""The phases of a cut-over as a table, and what is known between two looks (pure).

            start           gate, soak, window         gate, soak         days of quiet        retire
    PLANNED -----> SOAKING 1 ---------------> SOAKING k ---------> ARRIVED -------------> QUIET -----> RETIRED
                     |  ^                      |  ^                 |  ^                   |
               pause |  | resume         pause |  | resume          |  +----- stray -------+
                     v  |                      v  |                 |
                    PAUSED                    PAUSED                |
                      |                                             |
                      +--> BACK <-- alarm, hold, slowness, a person-+-- also from SOAKING and QUIET
                            |
                            +--- start again ---> SOAKING 1

`held` (the new outlet is away: its share is 0) is a flag, and no phase.
"""

from __future__ import annotations

from enum import Enum

import msgspec
from msgspec import Struct, structs

from pcgrelay.cutover.alarm import Evidence
from pcgrelay.cutover.gate import Looks
from pcgrelay.cutover.judge import AnyVerdict
from pcgrelay.cutover.samples import Outlet
from pcgrelay.ranges import Count, Seconds


class Phase(Enum):
    """Where a cut-over is."""

    PLANNED = "planned"
    SOAKING = "soaking"
    PAUSED = "paused"
    BACK = "back"
    ARRIVED = "arrived"
    QUIET = "quiet"
    RETIRED = "retired"


class Event(Enum):
    """What moves it on."""

    START = "start"
    STEP = "step"
    ARRIVE = "arrive"
    PAUSE = "pause"
    RESUME = "resume"
    FALL_BACK = "fall back"
    BE_QUIET = "be quiet"
    STRAY = "stray"
    RETIRE = "retire"


TABLE: dict[Phase, dict[Event, Phase]] = {
    Phase.PLANNED: {Event.START: Phase.SOAKING},
    Phase.SOAKING: {
        Event.STEP: Phase.SOAKING,
        Event.ARRIVE: Phase.ARRIVED,
        Event.PAUSE: Phase.PAUSED,
        Event.FALL_BACK: Phase.BACK,
    },
    Phase.PAUSED: {Event.RESUME: Phase.SOAKING, Event.FALL_BACK: Phase.BACK},
    Phase.BACK: {Event.START: Phase.SOAKING},
    Phase.ARRIVED: {Event.BE_QUIET: Phase.QUIET, Event.FALL_BACK: Phase.BACK},
    Phase.QUIET: {Event.STRAY: Phase.ARRIVED, Event.RETIRE: Phase.RETIRED, Event.FALL_BACK: Phase.BACK},
    Phase.RETIRED: {},
}
# What may put more streams on the new outlet, or takes the old one away: written first, and published then.
FORWARD = frozenset({Event.START, Event.STEP, Event.RETIRE})
# Phases in which the new outlet has a share.
UNDER_WAY = frozenset({Phase.SOAKING, Phase.PAUSED, Phase.ARRIVED, Phase.QUIET})


class Decision(Struct, frozen=True):
    """What was decided or refused, for log, state file and report."""

    what: str  # as in the log: started, stepped, held, released, fell_back, paused, resumed, arrived, ...
    sentence: str
    verdict: AnyVerdict | None = None


class Hold(Struct, frozen=True):
    """The new outlet's absences in this soak. Times are monotonic seconds."""

    is_held: bool = False
    away_since_s: Seconds | None = None
    well_since_s: Seconds | None = None
    is_counted: bool = False  # this absence is in the count: what it would fall back to succeeds meanwhile
    count: Count = 0
    total_s: Seconds = 0.0  # while the back-up was well


class Progress(Struct, frozen=True):
    """All that is known of a cut-over. Times are monotonic seconds of this process where their name says so."""

    phase: Phase = Phase.PLANNED
    step: Count = 0  # index into the plan's steps
    soaked_s: Seconds = 0.0  # at this step, while it was well
    back_on: str | None = None  # where streams go in BACK
    is_nowhere: bool = False  # a fall-back is wanted, and there is nowhere to go
    is_alarmed: bool = False  # it fell back by itself, so that starting again needs an approval
    evidence: Evidence = Evidence()
    looks: Looks = Looks()
    origin: tuple[Outlet, Outlet] | None = None  # the outlets' figures when the cut-over began (again): new, old
    base: tuple[Outlet, Outlet] | None = None  # and when this step began
    seen: tuple[Outlet, Outlet] | None = None  # and at the last look at the last set-ups
    hold: Hold = Hold()
    # Of this process alone:
    ticked_s: float | None = None
    clock_offset_s: float | None = None  # wall less monotonic
    jumped_at_s: float | None = None
    suspected_at_s: float | None = None  # the odds crossed while frames are unacknowledged
    checkpoints: tuple[tuple[float, Evidence], ...] = ()  # evidence as it was, oldest first


def encode_progress(progress: Progress) -> bytes:
    """What is written: nothing of this process alone, and no hash of a client."""
    return msgspec.json.encode(after_upgrade(progress))


def decode_progress(data: bytes) -> Progress:
    """What was written; refuses with msgspec's ValidationError or DecodeError what is none."""
    return msgspec.json.decode(data, type=Progress)


def after_restart(progress: Progress) -> Progress:
    """What a new process knows: the soak of the step begins again, clocks and clients are forgotten."""
    return structs.replace(after_upgrade(progress), soaked_s=0.0, hold=Hold())


def after_upgrade(progress: Progress) -> Progress:
    """What the process after this one knows: all but this one's clocks, and hashes of clients."""
    return structs.replace(
        progress,
        evidence=Evidence(progress.evidence.facts),
        hold=structs.replace(progress.hold, away_since_s=None, well_since_s=None),
        ticked_s=None,
        clock_offset_s=None,
        jumped_at_s=None,
        suspected_at_s=None,
        checkpoints=(),
    )


def move(phase: Phase, event: Event) -> Phase | None:
    """The phase after an event; nothing if that phase does not know it."""
    return TABLE[phase].get(event)
