"""The memory that a relay promises to its paths (pure)."""

from __future__ import annotations

from dataclasses import dataclass

from pcgrelay.identity.handshake import CAP_LEAST_BYTES

# It is rare that all paths have a slow reader at once, and the core enforces the true bound: it drops the flows that
# would exceed its budget, and these resume. So more is promised than there is, within this factor.
OVERCOMMIT = 4
# The first path gets 1/64 of the budget, each later one 1/64 of the rest, but never less than the least cap: so one
# path is fast, and hundreds still fit.
SHARE = 64


@dataclass(frozen=True, slots=True)
class Budget:
    """The bytes that a relay promises to keep queued, for all its paths together."""

    total_bytes: int
    reserved_bytes: int = 0

    @classmethod
    def of_memory(cls, memory_bytes: int) -> Budget:
        """Return the budget of a relay whose data plane has this much memory."""
        return cls(memory_bytes * OVERCOMMIT)

    def cap_granted(self, flows: int, cap: int, *, exactly: bool) -> int | None:
        """Return the cap of a new path in bytes for each flow and direction, or None if there is no room.

        exactly: cap itself or None, because a path that resumes has bytes in flight already.
        """
        left = (self.total_bytes - self.reserved_bytes) // (2 * flows)
        wanted = cap if exactly else min(cap, max(left // SHARE, CAP_LEAST_BYTES))
        return wanted if CAP_LEAST_BYTES <= wanted <= left else None

    def reserved(self, flows: int, cap: int) -> Budget:
        """Return the budget after a path with that cap was added."""
        return Budget(self.total_bytes, self.reserved_bytes + 2 * flows * cap)

    def released(self, flows: int, cap: int) -> Budget:
        """Return the budget after that path was removed."""
        return Budget(self.total_bytes, self.reserved_bytes - 2 * flows * cap)
