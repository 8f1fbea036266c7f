"""What is kept of one cut-over: its plan, how far it is, what was counted, what was decided (pure).

This is what its state file holds and what report, pages and `status` are made from. It names no client.
"""

from __future__ import annotations

import hashlib
from datetime import date

from msgspec import Struct, structs

from pcgrelay.cutover.judge import AnyVerdict
from pcgrelay.cutover.phases import Phase, Progress
from pcgrelay.cutover.samples import Outlet
from pcgrelay.cutover.shared import SharedPart
from pcgrelay.ranges import Bytes, Count

DECISIONS_MOST = 200
# One in five minutes: what is drawn of the last day.
POINTS_MOST = 288
POINT_S = 300


class Counts(Struct, frozen=True, kw_only=True):
    """Sums of one outlet since the cut-over was first started: what the samples do not have."""

    setups: Count = 0  # of applications that were answered
    failures: Count = 0  # of applications, led on or not
    moved: Count = 0  # led on from here before the application noticed
    shadows: Count = 0
    shadow_failures: Count = 0
    early: Count = 0
    cut: Count = 0
    nudged: Count = 0
    transferred: Bytes = 0  # bytes, both directions

    @property
    def lost(self) -> int:
        """Connections of applications that failed here, and for which no outlet was left."""
        return max(0, self.failures - self.moved)

    def plus(self, other: Counts) -> Counts:
        """Both together."""
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})


class KeptDecision(Struct, frozen=True, kw_only=True):
    """One decision, as it is kept: what, when, by whom, and what it rests on."""

    at: str  # wall time, UTC, to the millisecond: 2020-02-05T13:52:07.211Z
    what: str  # as in the log: started, stepped, held, released, fell_back, paused, resumed, arrived, quiet, ...
    sentence: str
    phase: Phase  # after it
    step: Count  # index into the plan's steps, after it
    shares: dict[str, float]  # in percent by outlet, after it
    uid: int | None = None  # who asked, as the kernel names them; nothing: the node itself
    by: str = ""  # as they name themselves
    reason: str = ""
    verdict: AnyVerdict | None = None


class Point(Struct, frozen=True, kw_only=True):
    """What was seen in five minutes, for the pictures of the last day. Times are in microseconds."""

    at: str  # wall time, UTC, of its end
    shares: dict[str, float]  # in percent by outlet
    setups: dict[str, int] = {}
    failures: dict[str, int] = {}
    median_us: dict[str, int] = {}
    p95_us: dict[str, int] = {}


class KeptAdvice(Struct, frozen=True, kw_only=True):
    """Advice that was taken: a role that the plan's report asks, and who says so."""

    role: str  # as the plan has it
    on: date  # when it was given
    at: str  # when it was noted, wall time, UTC
    uid: int  # by whom, as the kernel named them
    by: str = ""  # as they named themselves
    reason: str = ""


class CutoverState(Struct, frozen=True, kw_only=True):
    """All that is kept of one cut-over. Wall times are UTC."""

    service: str
    plan_text: str  # as it was started
    plan_sha256: str
    progress: Progress = Progress()
    began: str = ""  # the first start
    since: str = ""  # of this phase or step
    arrived: str = ""  # the last arrival; "": not, or not any more
    retired: str = ""
    sums: dict[str, Outlet] = {}  # by outlet, since the first start; what the judge compares
    counts: dict[str, Counts] = {}
    common: Count = 0  # streams of applications that failed on both outlets: they say nothing of either
    waited_ms: Count = 0  # the longest that a stream was kept by an attempt that was then led on
    decisions: tuple[KeptDecision, ...] = ()
    points: tuple[Point, ...] = ()
    advice: tuple[KeptAdvice, ...] = ()  # the latest of each role
    shared: SharedPart | None = None  # with the other edges of the organisation; nothing: each by itself

    def compared(self, name: str) -> Outlet:
        """An outlet's sums as they are compared: without what failed on both, as a target that is down does."""
        outlet = self.sums.get(name, Outlet(name))
        common = min(self.common, outlet.real.failed)
        real = structs.replace(outlet.real, tried=outlet.real.tried - common, failed=outlet.real.failed - common)
        return structs.replace(outlet, real=real)

    def with_decision(self, decision: KeptDecision) -> CutoverState:
        """The state with one more decision; the latest 200 are kept."""
        return structs.replace(self, decisions=(*self.decisions, decision)[-DECISIONS_MOST:])

    def with_advice(self, role: str, advice: KeptAdvice | None) -> CutoverState:
        """The state with the advice of a role; nothing: it is withdrawn."""
        others = tuple(each for each in self.advice if each.role.casefold() != role.casefold())
        return structs.replace(self, advice=others if advice is None else (*others, advice))

    def with_point(self, point: Point) -> CutoverState:
        """The state with one more point of the pictures."""
        return structs.replace(self, points=(*self.points, point)[-POINTS_MOST:])


def digest_of(plan_text: str) -> str:
    """The SHA-256 by which a plan is known."""
    return hashlib.sha256(plan_text.encode()).hexdigest()
