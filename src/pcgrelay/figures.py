"""Counts and histograms, as the core counts them (pure): above all of what the outlets of an import have done.

Histograms are sparse, by bucket (`cutover/histogram`); times are in microseconds, rates in KiB/s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field

OUTCOMES = ("up", "refused", "silent", "away", "denied", "local", "left", "lost")
FAILURES = ("refused", "silent", "away", "denied", "lost")  # that speak against an outlet

Histogram = dict[int, int]


BUCKETS = 40  # of a time in microseconds: the number of its bits; the last has all longer ones, from six days


class Durations(Struct, kw_only=True):
    """How long something took: counts of octaves, and the sum. It counts on."""

    counts: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    sum_us: int = 0

    def __post_init__(self) -> None:
        if len(self.counts) != BUCKETS:
            raise ValueError(f"durations have {BUCKETS} counts")

    def add(self, us: int) -> None:
        """Count one of so many microseconds."""
        self.counts[min(us.bit_length(), BUCKETS - 1)] += 1
        self.sum_us += us

    def add_all(self, counts: Sequence[int], sum_us: int) -> None:
        """Count many."""
        self.counts = [mine + more for mine, more in zip(self.counts, counts, strict=True)]
        self.sum_us += sum_us


class ExportStreams(Struct, frozen=True):
    """Streams of one export that are open: those of one organisation, in sessions of one class."""

    organisation: int  # its number
    export: int
    marking: int
    priority: int
    streams: int


class UdpLaneFigures(Struct, frozen=True):
    """The newest UDP lane of one index of a link. Packets count since the first UDP lane of the index."""

    index: int
    number: int  # of the lane
    state: str  # closed, opening, up or broken
    longest: int  # body that it carries, in bytes
    rtt_us: int  # 0: not measured
    loss_ppm: int  # of what this side has sent lately
    sent: int  # packets
    taken: int
    refused: int  # after they had found their lane


class OutletFigures(Struct, frozen=True, kw_only=True):
    """Set-ups of one outlet and their streams. A set-up has one outcome."""

    tried: int = 0
    up: int = 0  # the far side answered
    refused: int = 0  # it, or the exporter, said no
    silent: int = 0  # no answer within the patience
    away: int = 0  # there was nowhere to go: no session, no address
    denied: int = 0  # the exporter's rules do not allow it
    local: int = 0  # this node is the cause: memory, descriptors, a limit
    left: int = 0  # the application went
    lost: int = 0  # the session ended before the answer
    moved: int = 0  # led on from here to the next outlet
    early: int = 0  # ended by the far side within a second without a byte
    cut: int = 0  # reset after data, and not by the application
    active: int = 0  # streams that are open now
    sent_bytes: int = 0
    received_bytes: int = 0
    nudged: int = 0  # closed by order
    setup_us: Histogram = {}  # until the answer
    answer_us: Histogram = {}  # from there to the first byte of the far side
    rate_kib_s: Histogram = {}  # of streams that moved a MiB

    @property
    def failed(self) -> int:
        """Set-ups that failed for a reason that speaks against the outlet."""
        return sum(getattr(self, name) for name in FAILURES)

    def plus(self, other: OutletFigures) -> OutletFigures:
        """Return both together."""
        return self._with(other, 1)

    def minus(self, other: OutletFigures) -> OutletFigures:
        """Return what has come since the other."""
        return self._with(other, -1)

    def _with(self, other: OutletFigures, sign: int) -> OutletFigures:
        sums: dict[str, Any] = {}
        for name in self.__struct_fields__:
            mine, theirs = getattr(self, name), getattr(other, name)
            sums[name] = _added(mine, theirs, sign) if isinstance(mine, dict) else mine + sign * theirs
        return OutletFigures(**sums)


class ListenerFigures(Struct, frozen=True, kw_only=True):
    """What came by one listener of an import that has several."""

    connections: int = 0  # accepted, whatever became of them
    active: int = 0  # streams that are open now
    sent_bytes: int = 0  # of streams that have ended: of the application,
    received_bytes: int = 0  # and for it

    def minus(self, other: ListenerFigures) -> ListenerFigures:
        """Return what has come since the other."""
        return ListenerFigures(
            connections=self.connections - other.connections,
            active=max(0, self.active - other.active),
            sent_bytes=self.sent_bytes - other.sent_bytes,
            received_bytes=self.received_bytes - other.received_bytes,
        )


def _added(mine: Mapping[int, int], theirs: Mapping[int, int], sign: int) -> Histogram:
    summed = dict(mine)
    for bucket, number in theirs.items():
        summed[bucket] = summed.get(bucket, 0) + sign * number
    return {bucket: number for bucket, number in summed.items() if number}
