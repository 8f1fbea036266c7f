"""Reports of a running node about other nodes' clocks: status, and a line in the log when one is wrong."""

from __future__ import annotations

from pcgrelay.admin.clocks import ClockStatus
from pcgrelay.clock import Clock
from pcgrelay.identity.skew import SKEW_MOST_S, Skews
from pcgrelay.log.events import ClockSkew, Emit
from pcgrelay.model import NodeId

SAID_AGAIN_MS = 3_600_000


class Clocks:
    """The clocks of other nodes."""

    def __init__(self, skews: Skews, emit: Emit, clock: Clock) -> None:
        self._skews = skews
        self._emit = emit
        self._clock = clock
        self._said: dict[NodeId, tuple[int, int]] = {}  # the skew that was logged, in seconds, and when

    def tick(self) -> None:
        """Log large skews that are new or have changed, the others once an hour; called once a second."""
        large = [skew for skew in self._skews.all() if skew.is_large]
        now_ms = self._clock.monotonic_ms()
        self._said = {skew.peer: self._said[skew.peer] for skew in large if skew.peer in self._said}
        for skew in large:
            seconds, at_ms = self._said.get(skew.peer, (0, 0))
            if abs(skew.seconds - seconds) > SKEW_MOST_S or now_ms - at_ms >= SAID_AGAIN_MS:
                self._said[skew.peer] = skew.seconds, now_ms
                self._emit(ClockSkew(peer=skew.peer.dotted, skew_s=skew.seconds, at_least=skew.at_least))

    def status(self) -> tuple[ClockStatus, ...]:
        """Return the skews of all nodes whose clock is known."""
        return tuple(
            ClockStatus(peer=skew.peer.dotted, skew_s=skew.seconds, at_least=skew.at_least, large=skew.is_large)
            for skew in self._skews.all()
        )
