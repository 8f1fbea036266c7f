"""Limits on log lines that others can cause in any number: some are written, the rest is counted (pure)."""

from __future__ import annotations

from dataclasses import dataclass

from pcgrelay.net.ratelimit import TokenBucket

# The fields by which the kinds of line that others can cause in any number are limited. All other kinds are caused by
# this node alone, or are the access log.
BOUNDED_BY: dict[str, tuple[str, ...]] = {
    "link.up": ("peer",),
    "link.down": ("peer", "reason"),
    "link.renewed": ("peer",),
    "session.renewed": ("peer",),
    "renewal.failed": ("peer", "reason"),
    "link.control_lost": ("peer", "reason"),
    "link.failed": ("peer", "reason"),
    "lane.down": ("peer", "reason"),
    "handshake.refused": ("purpose", "reason", "peer"),
    "clock.skew": ("peer",),
    "listener.paused": ("reason",),
    "crl.refused": ("peer", "reason"),
    "session.up": ("peer",),
    "session.stalled": ("peer", "reason"),
    "session.resumed": ("peer",),
    "session.down": ("peer", "reason"),
    "session.failed": ("peer", "reason"),
    "path.refused": ("reason",),
    "catalogue.refused": ("peer", "reason"),
    "stream.refused": ("from_organisation", "to_organisation", "cause"),
    "service.full": ("service",),
    "events.lost": (),
    "node.failure": ("where", "error"),
    "member.away": ("peer",),
    "member.back": ("peer",),
    "identity.twins": ("peer",),
    "witness.new_log": ("peer",),
    "cutover.reported": ("service",),
    "import.up": ("service",),
    "import.down": ("service",),
    "import.moved": ("service",),
    "import.unavailable": ("service",),
}


@dataclass(slots=True)
class Lines:
    """The lines of one key."""

    bucket: TokenBucket
    suppressed: int = 0  # left out since the last that was written


class Throttle:
    """Admits for each key some lines at once and one more per interval, and counts the rest.

    So no peer can fill a disk. Keys beyond the limit share the allowance of one key.
    """

    def __init__(self, interval_ms: int, keys_most: int = 1024, *, at_once: int = 1) -> None:
        self._at_once = at_once
        self._each_second = 1000 / interval_ms
        self._keys_most = keys_most
        self._known: dict[str, Lines] = {}

    def admit(self, key: str, now_ms: int) -> int | None:
        """Return how many lines were left out before this one, or None if this one is left out too."""
        if key not in self._known and len(self._known) >= self._keys_most - 1:
            self._forget(now_ms)
            if len(self._known) >= self._keys_most - 1:
                key = ""
        lines = self._known.get(key)
        if lines is None:
            lines = self._known[key] = Lines(TokenBucket(self._at_once, self._each_second, now_ms))
        if not lines.bucket.spend(now_ms):
            lines.suppressed += 1
            return None
        suppressed, lines.suppressed = lines.suppressed, 0
        return suppressed

    def _forget(self, now_ms: int) -> None:
        """Remove the keys that have left out nothing and have their full allowance again."""
        for key, lines in list(self._known.items()):
            if not lines.suppressed and lines.bucket.is_whole(now_ms):
                del self._known[key]
