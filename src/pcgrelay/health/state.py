"""Health with hysteresis: two failures in a row make something fail, one success makes it well again."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

FAILURES_BEFORE_FAILING = 2


class Health(Enum):
    """How well something is."""

    UNKNOWN = "unknown"  # not looked at yet, or not often enough
    OK = "ok"
    FAILING = "failing"


@dataclass(frozen=True, slots=True)
class HealthState:
    """The judgement so far."""

    health: Health = Health.UNKNOWN
    failures: int = 0  # in a row

    def after(self, succeeded: bool) -> HealthState:
        """The judgement after one more look."""
        if succeeded:
            return HealthState(Health.OK)
        failures = self.failures + 1
        return HealthState(Health.FAILING if failures >= FAILURES_BEFORE_FAILING else self.health, failures)

    @property
    def is_doubtful(self) -> bool:
        """Whether the next look should come soon, because the last one contradicts the judgement."""
        return self.failures > 0 and self.health is not Health.FAILING
