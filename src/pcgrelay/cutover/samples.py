"""What was counted of the two outlets that are compared, and how much worse the new one may be (pure).

Real set-ups and shadows are kept apart, for the outlets have different parts of each: where they are compared, each is
compared with its own kind.
"""

from __future__ import annotations

from msgspec import Struct

from pcgrelay.cutover.histogram import Histogram
from pcgrelay.cutover.margin import Margin
from pcgrelay.ranges import Count


class Limits(Struct, frozen=True):
    """What opens the next step: the plan's [gate]."""

    streams: Count = 30  # set-ups on the new outlet at this step, shadows included
    failures: Margin = Margin(0.01)
    setup: Margin = Margin(0.1, 5_000)
    answer: Margin = Margin(0.1, 5_000)
    rate: Margin = Margin(0.1)


class Samples(Struct, frozen=True):
    """What was counted of one kind of set-up over one outlet."""

    tried: Count = 0  # whole cut-over
    failed: Count = 0  # whole cut-over
    setup: Histogram = Histogram()  # us, this step
    answer: Histogram = Histogram()  # us, this step
    rate: Histogram = Histogram()  # KiB/s, this step
    broken: Count = 0  # streams that were up, and ended early or were cut; this step

    def __add__(self, other: Samples) -> Samples:
        return Samples(
            self.tried + other.tried,
            self.failed + other.failed,
            self.setup + other.setup,
            self.answer + other.answer,
            self.rate + other.rate,
            self.broken + other.broken,
        )

    def since(self, earlier: Samples) -> Samples:
        """What was counted after an earlier state of the same figures."""
        return Samples(
            self.tried - earlier.tried if self.tried >= earlier.tried else self.tried,
            self.failed - earlier.failed if self.failed >= earlier.failed else self.failed,
            self.setup.since(earlier.setup),
            self.answer.since(earlier.answer),
            self.rate.since(earlier.rate),
            self.broken - earlier.broken if self.broken >= earlier.broken else self.broken,
        )


class Outlet(Struct, frozen=True):
    """One outlet's samples of both kinds."""

    name: str
    real: Samples = Samples()
    shadow: Samples = Samples()

    def __add__(self, other: Outlet) -> Outlet:
        return Outlet(self.name, self.real + other.real, self.shadow + other.shadow)

    def since(self, earlier: Outlet) -> Outlet:
        """What was counted after an earlier state of the same outlet."""
        return Outlet(self.name, self.real.since(earlier.real), self.shadow.since(earlier.shadow))

    @property
    def kinds(self) -> tuple[Samples, Samples]:
        """Real and shadow."""
        return self.real, self.shadow

    @property
    def tried(self) -> int:
        """Attempts in the whole cut-over."""
        return self.real.tried + self.shadow.tried

    @property
    def failed(self) -> int:
        """Failures in the whole cut-over."""
        return self.real.failed + self.shadow.failed

    @property
    def setups(self) -> int:
        """Set-ups at this step."""
        return self.real.setup.total + self.shadow.setup.total
