"""What one look at a cut-over needs, and what comes of it."""

from __future__ import annotations

from pcgrelay.cutover.canary import Answer, Now
from pcgrelay.cutover.phases import Phase
from pcgrelay.cutover.state import CutoverState, KeptDecision
from pcgrelay.gateway.actor import Actor


class Seen:
    """What a look needs to know of the node."""

    __slots__ = ("is_starting", "not_quiet", "retained_bytes")

    def __init__(self, *, is_starting: bool, retained_bytes: int, not_quiet: str | None) -> None:
        self.is_starting = is_starting
        self.retained_bytes = retained_bytes
        self.not_quiet = not_quiet


class Forward:
    """A step forward that is to be written before it is in force."""

    __slots__ = ("actor", "answer", "is_led", "now", "phase", "state", "step")

    def __init__(
        self,
        answer: Answer,
        state: CutoverState,
        phase: Phase,
        step: int,
        now: Now,
        actor: Actor | None,
        *,
        is_led: bool,
    ) -> None:
        self.answer = answer
        self.state = state
        self.phase = phase
        self.step = step
        self.now = now
        self.actor = actor
        self.is_led = is_led  # another edge has decided it


class Look:
    """What came of one look."""

    __slots__ = ("answer", "decisions", "forward")

    def __init__(self, answer: Answer, forward: Forward | None, decisions: tuple[KeptDecision, ...]) -> None:
        self.answer = answer
        self.forward = forward
        self.decisions = decisions
