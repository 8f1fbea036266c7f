"""The health of a link, from the probes on its lanes (pure).

A probe that is not answered within two intervals counts as lost. TCP loses nothing for good, so such a probe came late:
behind a retransmission, or behind a full queue. Loss is the share of lost probes, weighted towards the latest. Between
the two thresholds the judgement does not change.
"""

from __future__ import annotations

from dataclasses import dataclass

from pcgrelay.health.state import Health

LOSS_FAILING = 0.25
LOSS_WELL = 0.05
SILENCE_FAILING_MS = 1_500
# The weight of one probe in the loss: about the last ten count.
PROBE_WEIGHT = 0.1


@dataclass(frozen=True, slots=True)
class LinkProbing:
    """The judgement so far, and the counters that the next one starts from."""

    health: Health = Health.UNKNOWN
    loss: float = 0.0
    silent_ms: int = 0
    round_trip_ms: float | None = None
    sent: int = 0
    lost: int = 0
    received_bytes: int = 0
    heard_ms: int = 0

    def after(
        self, *, sent: int, lost: int, received_bytes: int, round_trip_us: int, lanes_up: bool, now_ms: int
    ) -> LinkProbing:
        """Return the judgement after one more reading of a link's counters, which only grow."""
        fresh = max(0, sent - self.sent)
        loss = self.loss
        if fresh:
            share = min(1.0, max(0, lost - self.lost) / fresh)
            loss = share + (loss - share) * (1 - PROBE_WEIGHT) ** fresh
        heard_ms = now_ms if received_bytes != self.received_bytes or not self.heard_ms else self.heard_ms
        silent_ms = now_ms - heard_ms
        is_bad = not lanes_up or loss >= LOSS_FAILING or silent_ms >= SILENCE_FAILING_MS
        if is_bad or (self.health is Health.FAILING and loss > LOSS_WELL):
            health = Health.FAILING
        else:
            health = Health.OK if sent else Health.UNKNOWN
        return LinkProbing(
            health=health,
            loss=loss,
            silent_ms=silent_ms,
            round_trip_ms=round_trip_us / 1000 if round_trip_us else self.round_trip_ms,
            sent=sent,
            lost=lost,
            received_bytes=received_bytes,
            heard_ms=heard_ms,
        )
