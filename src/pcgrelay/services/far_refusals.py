"""What the far edges said last of an import's streams: who refused them, and by which rule.

A route whose session is up looks well, and yet each stream over it may be refused by the exporter's rules. So the last
refusal stands until a stream gets through.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from pcgrelay.dataplane.events import StreamEnd
from pcgrelay.messages import Code
from pcgrelay.model import NodeId
from pcgrelay.policy.rules import RULE_NONE
from pcgrelay.services.counts import was_refused

# Of all imports together; the oldest goes first.
REFUSALS_MOST = 4_096
# A stream that is refused is gone after one round trip. One that is there so long after the last refusal is not.
OPEN_MS = 5_000
_BY_RULE = {Code.REFUSED, Code.UNKNOWN}
# The far edge tried to connect, so its rules had nothing against the stream.
_BEYOND_RULES = {Code.UNREACHABLE, Code.TIMEOUT}


@dataclass(frozen=True, slots=True)
class FarRefusal:
    """The last stream of one import to one exporter was refused."""

    exporter: NodeId
    at_ms: int
    code: int
    rule: int | None  # its number there, if it was told

    def words(self, now_ms: int) -> str:
        """For a person."""
        seconds = max(0, now_ms - self.at_ms) // 1000
        why = "it knows no such service" if self.code == Code.UNKNOWN else "not-allowed"
        rule = f", by its rule export {self.rule}" if self.rule is not None else ""
        return f"{self.exporter.dotted} refused the last stream {seconds} s ago ({why}{rule})"


class FarRefusals:
    """The last refusals, by import and exporter."""

    def __init__(self) -> None:
        self._last: dict[tuple[int, NodeId], FarRefusal] = {}

    def heard(self, event: StreamEnd, exporter: NodeId, now_ms: int) -> None:
        """A stream to an exporter has ended."""
        if not event.opener:
            return
        key = (event.number, exporter)
        if not was_refused(event) or (event.remote and event.code in _BEYOND_RULES):
            self._last.pop(key, None)
        elif event.remote and event.code in _BY_RULE:
            self._last.pop(key, None)
            if len(self._last) >= REFUSALS_MOST:
                del self._last[next(iter(self._last))]
            rule = None if event.rule == RULE_NONE else event.rule
            self._last[key] = FarRefusal(exporter, now_ms, event.code, rule)

    def of(self, number: int, exporter: NodeId) -> FarRefusal | None:
        """The refusal that stands, if there is one."""
        return self._last.get((number, exporter))

    def looked_at(self, number: int, exporters: Collection[NodeId], active: int, now_ms: int) -> None:
        """So many streams of an import are open. With one exporter alone, they show that it lets them in."""
        if active and len(exporters) == 1:
            (exporter,) = exporters
            last = self.of(number, exporter)
            if last is not None and now_ms - last.at_ms > OPEN_MS:
                del self._last[(number, exporter)]

    def forget(self, numbers: Collection[int]) -> None:
        """These imports are gone."""
        for key in [key for key in self._last if key[0] in numbers]:
            del self._last[key]
