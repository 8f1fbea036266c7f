"""Labels: the numbers by which arriving frames name their path (docs/protocol.md, 9.5)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from pcgrelay.clock import Clock
from pcgrelay.handover.records import LabelsHandover

LABELS_MOST = 0xFFFF_FFFF
QUARANTINE_MS = 60_000


class Labels:
    """The labels of one node: never 0, never one that is in use or was given back less than QUARANTINE_MS ago."""

    def __init__(self, clock: Clock, first: int = 1) -> None:
        self._clock = clock
        self._next = first
        self._taken: set[int] = set()
        self._resting: deque[tuple[int, int]] = deque()  # (when it may be used again, label)

    def take(self) -> int:
        """Allocate a label."""
        now = self._clock.monotonic_ms()
        while self._resting and self._resting[0][0] <= now:
            self._taken.discard(self._resting.popleft()[1])
        while self._next in self._taken:
            self._next = self._next % LABELS_MOST + 1
        label = self._next
        self._taken.add(label)
        self._next = label % LABELS_MOST + 1
        return label

    def to_handover(self) -> LabelsHandover:
        """Return the hand-over record of the labels."""
        return LabelsHandover(following=self._next, resting=tuple(self._resting))

    def restore(self, handover: LabelsHandover, taken: Iterable[int]) -> None:
        """Restore the labels of the previous process. taken: the labels of its paths."""
        self._next = handover.following
        self._resting = deque(handover.resting)
        self._taken = {*taken, *(label for _, label in handover.resting)}

    def give_back(self, label: int) -> None:
        """Free the label of a path that ended. It rests first, because frames in flight may still name it."""
        if label in self._taken:
            self._resting.append((self._clock.monotonic_ms() + QUARANTINE_MS, label))
