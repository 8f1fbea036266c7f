"""What the sender of one direction owes its receiver after a renewal: a step with the newest mix (protocol, 6.4)."""

from tests.reference.refusals import Reason, Refused

GRACE = 300.0


class Owed:
    """Kept by the receiver of a lane or flow. Time is an argument, and only that in which the way was up counts."""

    def __init__(self) -> None:
        self.mix = 0  # the newest that a step has named
        self.agreed = 0  # the newest for which both sides have told RENEWED
        self.since: float | None = None
        self.plain = False

    def agree(self, mix_id: int, now: float, *, is_new: bool = False) -> None:
        """Both have told RENEWED. is_new: the lane was opened after that."""
        self.agreed = max(self.agreed, mix_id)
        if self.mix < self.agreed and self.since is None:
            self.since, self.plain = now, is_new

    def step(self, mix_id: int, now: float, *, knows: bool = True) -> None:
        """A step names this mix, or none (0). knows: the sender has heard of a newer one than it has named."""
        if mix_id > self.mix:
            self.mix, self.since = mix_id, None
            self.agree(0, now)
        elif self.since is not None:
            if self.is_over(now) or (knows and self.plain):
                raise Refused(Reason.MIX_OVERDUE, f"a step without {self.agreed}")
            self.plain = self.plain or knows

    def is_over(self, now: float) -> bool:
        return self.since is not None and now - self.since >= GRACE

    def pause(self, since: float, now: float) -> None:
        """Leave out what a flow spent in RESUMING. The renewal may have come within that."""
        if self.since is not None:
            self.since += now - max(self.since, since)
