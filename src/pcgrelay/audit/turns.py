"""When the thread that writes the audit log has something to do, and its priority."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass

SYNC_MS = 1_000
CHECKPOINT_MS = 60_000
PRUNE_MS = 3_600_000
# The first time after a start. A node that is started again and again by a clock that is wrong removes nothing.
PRUNE_FIRST_MS = 600_000


@dataclass(slots=True)
class Times:
    """When something is due, on the monotonic clock."""

    sync_ms: int
    checkpoint_ms: int = 0
    prune_ms: int = 0

    def __post_init__(self) -> None:
        # A log that begins is signed at once, and one that goes on is what its witnesses are asked for.
        self.checkpoint_ms = self.sync_ms
        self.prune_ms = self.sync_ms + PRUNE_FIRST_MS

    def wait_s(self, now_ms: int, *, is_idle: bool) -> float:
        """How long there is nothing to do. is_idle: nothing is to be synced, or to be tried again."""
        due_ms = min(self.checkpoint_ms, self.prune_ms)
        if not is_idle:
            due_ms = min(due_ms, max(self.sync_ms, now_ms))
        return max(0.0, (due_ms - now_ms) / 1_000)


def follow_priority() -> None:
    """Have the priority of the main thread: with a lower one this thread would hold Python's lock while it waits."""
    with suppress(OSError):
        wanted = os.getpriority(os.PRIO_PROCESS, os.getpid())
        if wanted > os.getpriority(os.PRIO_PROCESS, 0):
            os.setpriority(os.PRIO_PROCESS, 0, wanted)
