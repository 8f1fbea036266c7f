"""Skew between the clocks of other nodes and this one's.

Each node judges certificates, lists and catalogue entries by its own clock. A node whose clock is wrong so refuses
others, or loses services, and none of the reasons names the clock. Each handshake therefore carries the time in a
feature of HELLO (docs/protocol.md, 9.2), protected by TLS, and an entry shows when it was signed. The skew is only
reported; nothing is decided by it.
"""

from __future__ import annotations

from dataclasses import dataclass

from pcgrelay.clock import Clock
from pcgrelay.model import NodeId

FEATURE = "clock:"
SKEW_MOST_S = 30
PEERS_MOST = 10_000
FORGET_MS = 86_400_000
# Only entries with this life have the time of signing as their sequence: another program may number them otherwise.
ENTRY_LIFE_MS = 1_800_000
ENTRY_AGE_MOST_MS = ENTRY_LIFE_MS // 2 + 60_000


@dataclass(frozen=True, slots=True)
class Skew:
    """The skew of one node, in seconds; positive: its clock is ahead. at_least: a lower bound of the magnitude."""

    peer: NodeId
    seconds: int
    at_least: bool = False

    @property
    def is_large(self) -> bool:
        """Whether it is large enough to check the clocks."""
        return abs(self.seconds) > SKEW_MOST_S


@dataclass(frozen=True, slots=True)
class _Heard:
    offset_ms: int  # its wall clock less this node's monotonic clock, so that a jump of this wall clock shows
    at_ms: int
    at_least: bool


class Skews:
    """The skews of other nodes; each is kept for a day (FORGET_MS)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heard: dict[NodeId, _Heard] = {}

    def feature(self) -> str:
        """Return the feature of HELLO with the time of this node."""
        return f"{FEATURE}{self._wall_ms()}"

    def hear(self, peer: NodeId, features: tuple[str, ...]) -> None:
        """Record the time in the features of a node's HELLO, after the handshake. A malformed one is ignored."""
        told = next((feature.removeprefix(FEATURE) for feature in features if feature.startswith(FEATURE)), "")
        if told.isascii() and told.isdigit():
            self._put(peer, int(told), at_least=False)

    def hear_entry(self, edge: NodeId, sequence: int, not_after_s: int) -> None:
        """Record the skew that a verified entry shows: its age is 0 to half of its life, the rest is skew.

        sequence: the time of signing, Unix time in milliseconds. not_after_s: Unix time in seconds.
        """
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
        """Return the skews that were recorded within a day, sorted by node."""
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
