"""The figures of one import's outlets: read from the core, counted on over hand-overs and reloads.

The core counts by index, from when its meter was opened. What came before that is added: from the process before this
one, or taken away again where an index had another outlet's name then.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from pcgrelay.cutover.histogram import Histogram, from_counts
from pcgrelay.dataplane.adapter import Plane
from pcgrelay.figures import ListenerFigures, OutletFigures
from pcgrelay.services.outlet_plan import OUTLETS_MOST, PATIENCE_MOST_MS, PATIENCE_SHARE, patience_ms

FRESH_MS = 1_000
# Patience goes by the set-ups of the last while: of at least so long, and so many.
WINDOW_MS = 600_000
WINDOW_SETUPS = 200
# A change of patience by less than this share of it is none.
CHANGE_LEAST = 0.1

NOTHING = OutletFigures()
Pair = tuple[OutletFigures, OutletFigures]  # of real set-ups, and of shadows


class Use(NamedTuple):
    """What applications have made of an outlet."""

    connections: int  # that were tried
    transferred: int  # bytes, both directions
    streams: int  # that are open

    @classmethod
    def of(cls, real: OutletFigures) -> Use:
        return cls(real.tried, real.sent_bytes + real.received_bytes, max(real.active, 0))

    @classmethod
    def of_listener(cls, figures: ListenerFigures) -> Use:
        return cls(figures.connections, figures.sent_bytes + figures.received_bytes, max(figures.active, 0))

    def since(self, before: Use) -> Use:
        """Return what is new; all of it, if these are the figures of a later meter, which began with nothing."""
        if self.connections < before.connections or self.transferred < before.transferred:
            return self
        return Use(self.connections - before.connections, self.transferred - before.transferred, self.streams)


class OutletMeter:
    """One meter of the core. It is opened at once, and has to be closed."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self.number = plane.meter_open(OUTLETS_MOST)
        self._base: list[Pair] = [(NOTHING, NOTHING)] * OUTLETS_MOST
        self._read: list[Pair] = [(NOTHING, NOTHING)] * OUTLETS_MOST
        self._read_ms: int | None = None
        self._patience: dict[int, int] = {}  # as it was told last
        self._marks: list[deque[tuple[int, Histogram]]] = [deque() for _ in range(OUTLETS_MOST)]

    def close(self) -> None:
        self._plane.meter_close(self.number)

    def look(self, now_ms: int) -> None:
        """Read the core's figures, unless that was done within a second."""
        if self._read_ms is None or now_ms - self._read_ms >= FRESH_MS:
            self._read_ms = now_ms
            self._read = self._plane.meter_read(self.number)

    def look_again(self) -> None:
        """Read the core's figures, however lately that was done."""
        self._read = self._plane.meter_read(self.number)

    def figures(self, index: int) -> Pair:
        """Return what one outlet has done, as of the last look."""
        (real, shadow), (real_before, shadow_before) = self._read[index], self._base[index]
        return real.plus(real_before), shadow.plus(shadow_before)

    def up(self, index: int) -> int:
        """Return how many set-ups of applications an outlet answered, as of the last look. It adds no histogram."""
        return self._read[index][0].up + self._base[index][0].up

    def use(self, index: int) -> Use:
        """Return what applications have made of one outlet, as of the last look."""
        real, before = Use.of(self._read[index][0]), Use.of(self._base[index][0])
        active = self._read[index][0].active + self._base[index][0].active
        return Use(real.connections + before.connections, real.transferred + before.transferred, max(active, 0))

    def begin(self, index: int) -> None:
        """Another outlet has this index from now on: it begins with nothing. Streams that are open count for it."""
        self.look_again()
        (real, shadow), active = self._read[index], OutletFigures(active=self._read[index][0].active)
        self._base[index] = (NOTHING.minus(real).plus(active), NOTHING.minus(shadow))
        self._marks[index].clear()
        self._patience.pop(index, None)

    def restore(self, index: int, real: OutletFigures, shadow: OutletFigures) -> None:
        """Count on from where the process before this one was. The streams that are open the core counts itself."""
        self._base[index] = (real.minus(OutletFigures(active=real.active)), shadow)

    def patience_ms(self, index: int, now_ms: int, deadline_ms: int = PATIENCE_MOST_MS) -> int:
        """Return how long an outlet may take to answer, by its latest set-ups."""
        real, shadow = self.figures(index)
        setups = from_counts(real.setup_us) + from_counts(shadow.setup_us)
        marks = self._marks[index]
        if not marks or now_ms - marks[-1][0] >= WINDOW_MS:
            marks.append((now_ms, setups))
        # The oldest may go once there is enough since the one behind it.
        while len(marks) > 1 and setups.since(marks[1][1]).total >= WINDOW_SETUPS:
            marks.popleft()
        latest = setups.since(marks[0][1]) if len(marks) > 1 else setups
        found = patience_ms(latest.total, latest.quantile(PATIENCE_SHARE), deadline_ms)
        # Tables are not given to the core anew for each set-up that was a little slower.
        last = self._patience.get(index)
        if last is None or abs(found - last) > last * CHANGE_LEAST or last > deadline_ms:
            self._patience[index] = found
        return self._patience[index]
