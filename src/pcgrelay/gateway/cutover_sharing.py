"""One edge's part in a cut-over that edges of its organisation share: what it follows, and what it may decide.

It holds what is known, and waits for nothing; `shared_cutovers` speaks with the store.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import structs

from pcgrelay.cutover import shared
from pcgrelay.cutover.canary import Facts, Followed, is_followed
from pcgrelay.cutover.phases import Decision, Phase, Progress
from pcgrelay.cutover.plan import Plan
from pcgrelay.cutover.samples import Outlet
from pcgrelay.cutover.shared import Known, Mine, SharedPart, SharedState, Write
from pcgrelay.cutover.shared_figures import EdgeFigures, OthersFigures
from pcgrelay.cutover.state import CutoverState, KeptDecision

# After a step of another edge could not be written here, it is tried again so much later.
FOLLOW_AGAIN_S = 5.0
ENDED = "The other edges went back and began again; start it with --again here to join them."


class CutoverSharing:
    """What an edge knows of one cut-over beside its own progress."""

    def __init__(self, node: str, plan: Plan, part: SharedPart | None) -> None:
        part = part or SharedPart()
        self.node = node
        self.plan = plan
        self.known = Known(part.record)
        self.mine = part.mine
        self.seat = 0  # the fencing token while this edge decides; 0: it does not
        self.decider = ""  # the node that has the seat, as the store says
        self.silent_since_s: float | None = None  # monotonic; nothing: the store is heard
        self.others = OthersFigures(*(part.others or (Outlet(plan.new), Outlet(plan.old))))
        self.follow_again_s = 0.0
        self.starts_until_s = 0.0  # so long a start has the seat though this edge has joined no run yet

    @property
    def is_joined(self) -> bool:
        """Whether this edge takes part in a run; if not it goes by itself."""
        return self.mine.run > 0

    def part(self, mine: Mine | None = None) -> SharedPart:
        """What is kept of it."""
        return SharedPart(self.known.record, mine or self.mine, (self.others.new, self.others.old))

    # -- what the canary is told ---------------------------------------------------------------------------------

    def facts(self, facts: Facts, now_s: float) -> Facts:
        """The facts, with who decides."""
        if not self.is_joined:
            return facts
        return structs.replace(
            facts,
            decides=self.seat > 0,
            no_step=self.why_no_step(now_s),
            is_shared=True,
        )

    def with_others(self, new: Outlet, old: Outlet) -> tuple[Outlet, Outlet]:
        """The sums of this edge and of the others."""
        return (new + self.others.new, old + self.others.old) if self.is_joined else (new, old)

    def why_no_step(self, now_s: float) -> str:
        """Why this edge makes no step forward now, whatever its gate says; nothing: it may."""
        if not self.is_joined:
            return ""
        if self.silent_since_s is not None:
            return "the store of the fleet is silent"
        why = shared.why_no_step(self.mine, self.known, self.seat, now_s)
        if not self.seat and self.decider and self.decider != self.node:
            return f"{self.decider} decides"
        held = self.others.held()
        return why or (f"the new outlet is away at {held[0]}" if held else "")

    def followed(self, now_s: float) -> Followed | None:
        """What another edge decided, and this one has in force or is about to; nothing: it goes by itself."""
        if not self.is_joined or now_s < self.follow_again_s:
            return None
        if shared.has_ended(self.mine, self.known):
            return Followed(Phase.BACK, 0, Decision("fell_back", ENDED))
        record = shared.followed(self.mine, self.known)
        if record is None or record.step >= len(self.plan.steps):
            return None
        decision = Decision(record.what, f"{record.node}: {record.sentence}")
        return Followed(record.phase, record.step, decision, is_alarmed=not record.by)

    def is_in_force(self, progress: Progress) -> bool:
        """Whether this edge deals its shares by the newest decision that it knows, or deals less by itself."""
        record = shared.followed(self.mine, self.known)
        if record is None:
            return False
        return is_followed(progress, Followed(record.phase, record.step, Decision("", "")))

    # -- what this edge tells ------------------------------------------------------------------------------------

    def narrowed(self, phase: Phase, state: CutoverState) -> None:
        """This edge went back, or was paused, by itself; it is in force already."""
        if self.is_joined and phase in {Phase.BACK, Phase.PAUSED}:
            decision = state.decisions[-1] if state.decisions else None
            self.mine = shared.narrow(self.mine, self.known, self._record(state, decision))

    def step(self, state: CutoverState, run: int) -> Write:
        """The write of a step forward to a state, in a run."""
        decision = state.decisions[-1] if state.decisions else None
        return shared.step_forward(self.known, self.seat, structs.replace(self._record(state, decision), run=run))

    def resume(self, actor_by: str, reason: str, wall: datetime) -> Write | None:
        """The write by which a pause ends; nothing: it is not paused for all."""
        record, narrowed = self.known.record, self.mine.narrowed
        if narrowed is not None and narrowed.phase is Phase.PAUSED:
            # Nobody was told of it yet.
            self.mine = structs.replace(self.mine, narrowed=None)
        if record is None or record.run != self.mine.run or record.phase is not Phase.PAUSED:
            return None
        told = structs.replace(
            record, epoch=record.epoch + 1, phase=Phase.SOAKING, seat=0, node=self.node, what="resumed",
            sentence="Resumed.", by=actor_by, reason=reason, at=wall.isoformat(timespec="milliseconds"),
        )  # fmt: skip
        return Write(told, self.known.revision)

    def figures(self, state: CutoverState, *, held: bool) -> EdgeFigures:
        """This edge's own sums, as they are published."""
        return EdgeFigures(
            service=self.plan.service,
            plan_sha256=state.plan_sha256,
            run=self.mine.run,
            held=held,
            new=state.compared(self.plan.new),
            old=state.compared(self.plan.old),
        )

    def _record(self, state: CutoverState, decision: KeptDecision | None) -> SharedState:
        progress = state.progress
        return SharedState(
            service=self.plan.service,
            plan_sha256=state.plan_sha256,
            run=max(1, self.mine.run),
            epoch=self.known.epoch + 1,
            phase=progress.phase,
            step=progress.step,
            node=self.node,
            at="" if decision is None else decision.at,
            what="" if decision is None else decision.what,
            sentence="" if decision is None else decision.sentence[: shared.TEXT_MOST],
            by="" if decision is None else decision.by[: shared.TEXT_MOST],
            reason="" if decision is None else decision.reason[: shared.TEXT_MOST],
        )
