"""Limits on log lines that others can cause in any number: some are written, the rest is counted (pure)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from pcgrelay.log.events import Record
from pcgrelay.net.ratelimit import TokenBucket

# One organisation has so many keys apart, an eighth of all: its CA can make names at will, and the rest of what it
# causes shares a key for each kind.
OWNED_MOST = 1_024

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
    "link.udp_lane_up": ("peer",),
    "link.udp_lane_down": ("peer", "reason"),
    "handshake.refused": ("purpose", "reason", "peer"),
    "clock.skew": ("peer",),
    "listener.paused": ("reason",),
    "crl.refused": ("peer", "reason"),
    "bundle.refused": ("peer", "reason"),
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


# Their peer is who somebody said to be, and has not proved it: all of them together have one part, and nobody pays for
# what is done in another's name.
CLAIMED = ("handshake.refused",)


def owner_of(record: Record) -> str:
    """Return the organisation that causes a record, as far as it names one; the name of a node has no dot."""
    if record.EVENT in CLAIMED:
        return f"({record.EVENT})"
    organisation = getattr(record, "from_organisation", "")
    return str(organisation or getattr(record, "peer", "").partition(".")[2])


class Owned:
    """How many keys each organisation has, so that none takes the place of the others'."""

    def __init__(self, most: int = OWNED_MOST) -> None:
        self._most = most
        self._counts: Counter[str] = Counter()

    def is_full(self, owner: str) -> bool:
        """Whether an organisation has no place for one more of its own. What nobody is named for has no such bound."""
        return bool(owner) and self._counts[owner] >= self._most

    def add(self, owner: str) -> None:
        """Note one more."""
        self._counts[owner] += 1

    def remove(self, owner: str) -> None:
        """Note one less."""
        self._counts[owner] -= 1
        if not self._counts[owner]:
            del self._counts[owner]


@dataclass(slots=True)
class Lines:
    """The lines of one key."""

    bucket: TokenBucket
    owner: str = ""  # the organisation that causes them
    suppressed: int = 0  # left out since the last that was written


class Throttle:
    """Admits for each key some lines at once and one more per interval, and counts the rest.

    So no peer can fill a disk. Keys beyond the limit share the allowance of one key, those beyond the part of an
    organisation that of one key for each kind.
    """

    def __init__(self, interval_ms: int, keys_most: int = 1024, *, at_once: int = 1) -> None:
        self._at_once = at_once
        self._each_second = 1000 / interval_ms
        self._keys_most = keys_most
        self._known: dict[str, Lines] = {}
        self._owned = Owned()

    def admit(self, key: str, now_ms: int, owner: str = "") -> int | None:
        """Return how many lines were left out before this one, or None if this one is left out too.

        owner: the organisation that causes it, if one does; the first word of the key is its kind.
        """
        if key not in self._known and self._owned.is_full(owner):
            self._forget(now_ms)
            if self._owned.is_full(owner):
                key = f"{key.partition(' ')[0]} *.{owner}"
        if key not in self._known and len(self._known) >= self._keys_most - 1:
            self._forget(now_ms)
            if len(self._known) >= self._keys_most - 1:
                key = ""
        lines = self._known.get(key)
        if lines is None:
            owner = owner if key else ""
            lines = self._known[key] = Lines(TokenBucket(self._at_once, self._each_second, now_ms), owner)
            self._owned.add(owner)
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
                self._owned.remove(lines.owner)
