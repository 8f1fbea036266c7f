"""Reports of a running node about other nodes' clocks: status, and a line in the log when one is wrong."""

from __future__ import annotations

from collections.abc import Sequence

from pcgrelay.admin.clocks import ClockStatus
from pcgrelay.clock import Clock
from pcgrelay.identity.skew import SKEW_MOST_S, Skew, Skews
from pcgrelay.log.events import ClockSkew, ClockState, Emit
from pcgrelay.model import NodeId

SAID_AGAIN_MS = 3_600_000
# So long a node that has just started waits for a neighbour's clock before it records that it knows none.
FIRST_MS = 30_000


class Clocks:
    """The clocks of other nodes."""

    def __init__(self, skews: Skews, emit: Emit, clock: Clock) -> None:
        self._skews = skews
        self._emit = emit
        self._clock = clock
        self._state_due_ms: int | None = None
        self._said: dict[NodeId, tuple[int, int]] = {}  # the skew that was logged, in seconds, and when

    def tick(self) -> None:
        """Log large skews that are new or have changed, the others once an hour; called once a second."""
        skews, now_ms = self._skews.all(), self._clock.monotonic_ms()
        large = [skew for skew in skews if skew.is_large]
        self._record_state(skews, now_ms)
        self._said = {skew.peer: self._said[skew.peer] for skew in large if skew.peer in self._said}
        for skew in large:
            seconds, at_ms = self._said.get(skew.peer, (0, 0))
            if abs(skew.seconds - seconds) > SKEW_MOST_S or now_ms - at_ms >= SAID_AGAIN_MS:
                self._said[skew.peer] = skew.seconds, now_ms
                self._emit(ClockSkew(peer=skew.peer.dotted, skew_s=skew.seconds, at_least=skew.at_least))

    def _record_state(self, skews: Sequence[Skew], now_ms: int) -> None:
        if self._state_due_ms is None:
            self._state_due_ms = now_ms + FIRST_MS
        if now_ms >= self._state_due_ms:
            self._state_due_ms = now_ms + SAID_AGAIN_MS
            most = max((abs(skew.seconds) for skew in skews), default=0)
            skewed = sum(skew.is_large for skew in skews)
            self._emit(ClockState(peers=len(skews), most_skew_s=most, skewed=skewed))

    def status(self) -> tuple[ClockStatus, ...]:
        """Return the skews of all nodes whose clock is known."""
        return tuple(
            ClockStatus(peer=skew.peer.dotted, skew_s=skew.seconds, at_least=skew.at_least, large=skew.is_large)
            for skew in self._skews.all()
        )
