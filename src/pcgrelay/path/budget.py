"""What a relay promises to keep queued for all its paths together (pure)."""

from __future__ import annotations

from dataclasses import dataclass

from pcgrelay.identity.handshake import CAP_LEAST_BYTES

# Paths that all have a slow reader at once are rare, and the core holds the true bound: it drops the flows that would
# pass its budget, which then resume. So more is promised than is there, but not without end.
OVERCOMMIT = 4
# The first path gets this part of all, each later one this part of what is left, and at last the least cap: so one path
# is fast, and hundreds still fit.
SHARE = 64


@dataclass(frozen=True, slots=True)
class Budget:
    """What a relay promises to keep queued for all its paths together."""

    total_bytes: int
    reserved_bytes: int = 0

    @classmethod
    def of_memory(cls, memory_bytes: int) -> Budget:
        """The budget of a relay with so much memory in its data plane."""
        return cls(memory_bytes * OVERCOMMIT)

    def cap_granted(self, flows: int, cap: int, *, exactly: bool) -> int | None:
        """The cap that a new path gets, or nothing if there is no room.

        With exactly the answer is cap itself or nothing: a path that resumes has bytes in flight already.
        """
        left = (self.total_bytes - self.reserved_bytes) // (2 * flows)
        wanted = cap if exactly else min(cap, max(left // SHARE, CAP_LEAST_BYTES))
        return wanted if CAP_LEAST_BYTES <= wanted <= left else None

    def reserved(self, flows: int, cap: int) -> Budget:
        """The budget once a path with that cap is there."""
        return Budget(self.total_bytes, self.reserved_bytes + 2 * flows * cap)

    def released(self, flows: int, cap: int) -> Budget:
        """The budget once that path is gone."""
        return Budget(self.total_bytes, self.reserved_bytes - 2 * flows * cap)
