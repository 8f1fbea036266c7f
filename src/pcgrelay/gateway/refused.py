"""The counts of refusals of a node, by part and by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from pcgrelay.dataplane.adapter import Plane


class RefusalCounts:
    """The counters of refusals of all parts. Each part registers its own."""

    def __init__(self, plane: Plane, unknown_messages: Callable[[], Mapping[str, int]]) -> None:
        self._plane = plane
        self._unknown_messages = unknown_messages
        self._parts: dict[str, Counter[str]] = {}

    def register(self, part: str, counts: Counter[str]) -> None:
        """Add the counter of a part. The part goes on counting in the same object."""
        self._parts[part] = counts

    def total(self) -> dict[str, int]:
        """Return the sums by reason, of the control plane and the core."""
        whole: Counter[str] = Counter()
        for counts in (*self._parts.values(), self._unknown_messages(), self._native()):
            whole.update(counts)
        return dict(whole)

    def to_handover(self) -> dict[str, dict[str, int]]:
        """Return the counts by part, for the hand-over; the core hands over its own."""
        return {part: dict(counts) for part, counts in self._parts.items()}

    def restore(self, refused: Mapping[str, Mapping[str, int]]) -> None:
        """Continue from the counts of the previous process."""
        for part, counts in self._parts.items():
            # The maximum and not the sum: the stream counts restore their refusals themselves.
            counts |= Counter(refused.get(part, {}))

    def _native(self) -> dict[str, int]:
        return {
            name.removeprefix("refused_").removesuffix("_total"): count
            for name, count in self._plane.counters().items()
            if name.startswith("refused_") and count
        }
