"""How far the clocks of others are from this one's.

Certificates, lists and catalogue entries are judged by each node's own clock. So one that is wrong refuses others, or
lets a service come and go, and none of the words for that says clock. Each handshake tells the time in a feature of its
HELLO (docs/protocol.md, 9.2), under the seal of TLS; and an entry tells when it was signed. Nothing is decided by that.
"""

from __future__ import annotations

from dataclasses import dataclass

from pcgrelay.clock import Clock
from pcgrelay.model import NodeId

FEATURE = "clock:"
SKEW_MOST_S = 30
PEERS_MOST = 10_000
FORGET_MS = 86_400_000
# Only what pcgrelay signs itself tells the time of its signature: another program may number its entries otherwise.
ENTRY_LIFE_MS = 1_800_000
ENTRY_AGE_MOST_MS = ENTRY_LIFE_MS // 2 + 60_000


@dataclass(frozen=True, slots=True)
class Skew:
    """Of one other node, in seconds; positive: its clock is ahead of this one's."""

    peer: NodeId
    seconds: int
    at_least: bool = False

    @property
    def is_large(self) -> bool:
        """Whether somebody should look at a clock."""
        return abs(self.seconds) > SKEW_MOST_S


@dataclass(frozen=True, slots=True)
class _Heard:
    offset_ms: int  # of its wall clock from this machine's monotonic one, so that a jump of this wall clock shows
    at_ms: int
    at_least: bool


class Skews:
    """What was heard of other clocks, each a day long."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heard: dict[NodeId, _Heard] = {}

    def feature(self) -> str:
        """This clock, as a HELLO tells it."""
        return f"{FEATURE}{self._wall_ms()}"

    def hear(self, peer: NodeId, features: tuple[str, ...]) -> None:
        """A handshake with that node is over; it listed these."""
        told = next((feature.removeprefix(FEATURE) for feature in features if feature.startswith(FEATURE)), "")
        if told.isascii() and told.isdigit():
            self._put(peer, int(told), at_least=False)

    def hear_entry(self, edge: NodeId, sequence: int, not_after_s: int) -> None:
        """An entry that was proved. It is new, or half of its life old at most; what is beyond that is the clocks'."""
        if abs(not_after_s * 1000 - sequence - ENTRY_LIFE_MS) > 2_000:
            return
        known = self._heard.get(edge)
        age_ms = self._wall_ms() - sequence
        beyond_ms = min(age_ms, 0) or max(age_ms - ENTRY_AGE_MOST_MS, 0)
        if known is not None and not known.at_least:
            return
        if abs(beyond_ms) > SKEW_MOST_S * 1000:
            self._put(edge, self._wall_ms() - beyond_ms, at_least=True)
        else:
            self._heard.pop(edge, None)

    def all(self) -> list[Skew]:
        """Of everybody who was heard of within a day, by name."""
        now_ms, wall_ms = self._clock.monotonic_ms(), self._wall_ms()
        self._heard = {peer: heard for peer, heard in self._heard.items() if now_ms - heard.at_ms < FORGET_MS}
        return [
            Skew(peer, round((heard.offset_ms + now_ms - wall_ms) / 1000), heard.at_least)
            for peer, heard in sorted(self._heard.items())
        ]

    def _put(self, peer: NodeId, wall_ms: int, *, at_least: bool) -> None:
        if peer not in self._heard and len(self._heard) >= PEERS_MOST:
            return
        now_ms = self._clock.monotonic_ms()
        self._heard[peer] = _Heard(min(wall_ms, 1 << 52) - now_ms, now_ms, at_least)

    def _wall_ms(self) -> int:
        return int(self._clock.wall().timestamp() * 1000)
