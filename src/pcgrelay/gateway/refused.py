"""All that a node refused, by the part that counts and by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from pcgrelay.dataplane.adapter import Plane


class RefusalCounts:
    """The counters of refusals of all parts; a part registers its own."""

    def __init__(self, plane: Plane, unknown_messages: Callable[[], Mapping[str, int]]) -> None:
        self._plane = plane
        self._unknown_messages = unknown_messages
        self._parts: dict[str, Counter[str]] = {}

    def register(self, part: str, counts: Counter[str]) -> None:
        """Sum these too. The part goes on counting in this very object."""
        self._parts[part] = counts

    def total(self) -> dict[str, int]:
        """By reason, of the control plane and of the core."""
        whole: Counter[str] = Counter()
        for counts in (*self._parts.values(), self._unknown_messages(), self._native()):
            whole.update(counts)
        return dict(whole)

    def to_handover(self) -> dict[str, dict[str, int]]:
        """By part, for another process; the core hands over its own."""
        return {part: dict(counts) for part, counts in self._parts.items()}

    def restore(self, refused: Mapping[str, Mapping[str, int]]) -> None:
        """Count on from where the process before this one was."""
        for part, counts in self._parts.items():
            # Not a sum: what counts streams is told of its refusals a second time.
            counts |= Counter(refused.get(part, {}))

    def _native(self) -> dict[str, int]:
        return {
            name.removeprefix("refused_").removesuffix("_total"): count
            for name, count in self._plane.counters().items()
            if name.startswith("refused_") and count
        }
