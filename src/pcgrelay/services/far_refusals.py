"""The last refusals that far edges sent for an import's streams: who refused, and by which rule.

A route whose session is up looks healthy although the exporter's rules may refuse each stream over it. The last refusal
is therefore kept until a stream is accepted.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from pcgrelay.dataplane.events import StreamEnd
from pcgrelay.messages import Code
from pcgrelay.model import NodeId
from pcgrelay.policy.rules import RULE_NONE
from pcgrelay.services.counts import was_refused

# Limit for all imports together; the oldest entry is removed first.
REFUSALS_MOST = 4_096
# A refused stream is gone after one round trip. A stream still open this long after the last refusal was accepted.
OPEN_MS = 5_000
_BY_RULE = {Code.REFUSED, Code.UNKNOWN}
# The far edge tried to connect, so its rules allowed the stream.
_BEYOND_RULES = {Code.UNREACHABLE, Code.TIMEOUT}


@dataclass(frozen=True, slots=True)
class FarRefusal:
    """The last stream of one import to one exporter was refused."""

    exporter: NodeId
    at_ms: int
    code: int
    rule: int | None  # the exporter's rule number, if it was sent

    def words(self, now_ms: int) -> str:
        """Return a description for the status and for explain."""
        seconds = max(0, now_ms - self.at_ms) // 1000
        why = "it knows no such service" if self.code == Code.UNKNOWN else "not-allowed"
        rule = f", by its rule export[{self.rule + 1}]" if self.rule is not None else ""
        return f"{self.exporter.dotted} refused the last stream {seconds} s ago ({why}{rule})"


class FarRefusals:
    """The last refusals, by import and exporter."""

    def __init__(self) -> None:
        self._last: dict[tuple[int, NodeId], FarRefusal] = {}

    def heard(self, event: StreamEnd, exporter: NodeId, now_ms: int) -> None:
        """Apply the end of a stream to an exporter."""
        if not event.opener:
            return
        if not was_refused(event) or (event.remote and event.code in _BEYOND_RULES):
            self.accepted(event.number, exporter, now_ms - (event.duration_us - event.setup_us) / 1_000)
        elif event.remote and event.code in _BY_RULE:
            self.denied(event.number, exporter, event.code, event.rule, now_ms)

    def accepted(self, number: int, exporter: NodeId, at_ms: float) -> None:
        """An exporter took a stream of an import. One that it took before its refusal says nothing of that."""
        last = self._last.get((number, exporter))
        if last is not None and at_ms >= last.at_ms:
            del self._last[number, exporter]

    def denied(self, number: int, exporter: NodeId, code: int, rule: int, now_ms: int) -> None:
        """An exporter's rules were against a stream of an import."""
        key = (number, exporter)
        self._last.pop(key, None)
        if len(self._last) >= REFUSALS_MOST:
            del self._last[next(iter(self._last))]
        self._last[key] = FarRefusal(exporter, now_ms, code, None if rule == RULE_NONE else rule)

    def of(self, number: int, exporter: NodeId) -> FarRefusal | None:
        """Return the last refusal, if no stream has been accepted since."""
        return self._last.get((number, exporter))

    def looked_at(self, number: int, exporters: Collection[NodeId], active: int, now_ms: int) -> None:
        """Apply the number of open streams of an import over the gateway. With a single exporter they prove that it
        accepts them, for a reload that takes a grant away ends those that it forbids.
        """
        if active and len(exporters) == 1:
            (exporter,) = exporters
            last = self.of(number, exporter)
            if last is not None and now_ms - last.at_ms > OPEN_MS:
                del self._last[(number, exporter)]

    def forget(self, numbers: Collection[int]) -> None:
        """Remove the refusals of imports that are gone."""
        for key in [key for key in self._last if key[0] in numbers]:
            del self._last[key]
