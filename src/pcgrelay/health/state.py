"""Health with hysteresis: two failures in a row make it failing, one success makes it well again."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

FAILURES_BEFORE_FAILING = 2


class Health(Enum):
    """Degree of health."""

    UNKNOWN = "unknown"  # not observed yet, or not often enough
    OK = "ok"
    FAILING = "failing"


@dataclass(frozen=True, slots=True)
class HealthState:
    """The judgement so far."""

    health: Health = Health.UNKNOWN
    failures: int = 0  # in a row

    def after(self, succeeded: bool) -> HealthState:
        """Return the judgement after one more observation."""
        if succeeded:
            return HealthState(Health.OK)
        failures = self.failures + 1
        return HealthState(Health.FAILING if failures >= FAILURES_BEFORE_FAILING else self.health, failures)

    @property
    def is_doubtful(self) -> bool:
        """Whether the next observation should come soon, because the last one contradicts the judgement."""
        return self.failures > 0 and self.health is not Health.FAILING
