"""The exercise of back-ups: when a stream got through over one last, looked at each second.

With `[[import]] exercise` a part of the new streams always takes the first back-up. One that gets through shows that it
works; one that fails is led on, and no application notices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pcgrelay.clock import Clock
from pcgrelay.services.services import Imported

Exercised = tuple[int, str]  # the import's number, and the outlet


class Exercises:
    """The back-ups of one edge that are exercised."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._up: dict[Exercised, int] = {}  # set-ups that were answered, at the last look
        self._succeeded_s: dict[Exercised, float] = {}  # wall time

    def succeeded_s(self, number: int, outlet: str) -> float:
        """Return when a stream was last set up over an outlet that was exercised then; 0: not that this node knows."""
        return self._succeeded_s.get((number, outlet), 0.0)

    def look(self, imports: Iterable[Imported]) -> None:
        """Look at all imports. Their meters were read."""
        up, numbers = {}, set()
        for imported in imports:
            numbers.add(imported.number)
            outlets = imported.outlets
            if outlets is None:
                continue
            # Of all, so that what comes between the beginning of an exercise and the first look at it counts.
            for index, name in enumerate(outlets.names):
                key = imported.number, name
                up[key] = outlets.meter.up(index)
                if index == outlets.plan.exercised and up[key] > self._up.get(key, up[key]):
                    self._succeeded_s[key] = self._clock.wall().timestamp()
        self._up = up
        self._succeeded_s = {key: at for key, at in self._succeeded_s.items() if key[0] in numbers}

    def to_handover(self, number: int) -> dict[str, float]:
        """Return what is known of one import, by outlet."""
        return {outlet: at for (of, outlet), at in self._succeeded_s.items() if of == number}

    def restore(self, number: int, succeeded_s: Mapping[str, float]) -> None:
        """Have what the process before this one knew of one import."""
        self._succeeded_s.update({(number, outlet): at for outlet, at in succeeded_s.items()})
