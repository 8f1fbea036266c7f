"""The odds that the new outlet fails more often than the old one, from failures alone (pure).

If both fail alike, a failure falls on the new outlet with the share p of set-ups that went there. If the new one fails
r times as often, it does so with r p / (r p + 1 - p). So each failure multiplies the odds for r by a known factor:

    on the new outlet:  r / (r p + 1 - p)          on the old one:  1 / (r p + 1 - p)

Four ratios are believed alike beforehand; the mean of their odds is what is judged. No baseline is needed, no window,
and looks may be taken at any time (M. Lindon, A. Malek, Anytime-valid inference for multinomial count data, NeurIPS
2022). When the target itself is ill, both fail by share and the odds stay. None is let fall below 1, so that a long
good time does not hide a fault that begins (E. S. Page, Continuous inspection schemes, Biometrika 41, 1954).

p is the share of *attempts*, those that were led on included: when a dead target makes each stream try both outlets, p
is a half whatever the shares say. A failure of a pair of shadows counts with p = 1/2.
"""

from __future__ import annotations

from math import exp, log
from typing import Annotated

from msgspec import Meta, Struct

from pcgrelay.ranges import Count, Share

# The new outlet fails so many times as often.
RATIOS = (3.0, 10.0, 100.0, 1000.0)
# So many batches of failures are kept one by one, for whoever computes a verdict again; what is older is in `base`.
TRAIL_MOST = 64
# Beyond e^40 nothing becomes clearer, and what has mended must be able to come down again.
LOG_MOST = 40.0

LogOdds = Annotated[float, Meta(ge=0.0, le=LOG_MOST)]


class Failures(Struct, frozen=True, array_like=True):
    """What failed between two looks, and the share of attempts that went to the new outlet (0 to 1)."""

    new: Count
    old: Count
    share: Share


class Odds(Struct, frozen=True):
    """The odds so far: their logarithms for each ratio, and from what they were computed."""

    logs: tuple[LogOdds, ...] = (0.0,) * len(RATIOS)
    base: tuple[LogOdds, ...] = (0.0,) * len(RATIOS)  # before the trail
    trail: tuple[Failures, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what has not one logarithm for each ratio: a file may be from elsewhere."""
        if not len(self.logs) == len(self.base) == len(RATIOS):
            raise ValueError(f"odds have {len(RATIOS)} logarithms")

    @property
    def mean(self) -> float:
        """The odds that the new outlet is worse; 1 where nothing speaks against it."""
        return sum(exp(each) for each in self.logs) / len(RATIOS)

    @property
    def is_rest(self) -> bool:
        """Whether nothing speaks against the new outlet."""
        return not any(self.logs)

    def after(self, failures: Failures) -> Odds:
        """The odds after some more failures."""
        if failures.new <= 0 and failures.old <= 0:
            return self
        logs = _after(self.logs, failures)
        if not any(logs):
            return Odds()
        base, trail = self.base, (*self.trail, failures)
        while len(trail) > TRAIL_MOST:
            base, trail = _after(base, trail[0]), trail[1:]
        return Odds(logs, base, trail)

    def recount(self) -> Odds:
        """The odds computed again from the trail."""
        logs = self.base
        for failures in self.trail:
            logs = _after(logs, failures)
        return Odds(logs, self.base, self.trail)


def share_of(new_tries: int, old_tries: int, otherwise: float) -> float:
    """The share of attempts that went to the new outlet; what is given where there were none."""
    tries = new_tries + old_tries
    return new_tries / tries if tries > 0 else otherwise


def _after(logs: tuple[float, ...], failures: Failures) -> tuple[float, ...]:
    share = min(max(failures.share, 0.0), 1.0)
    steps = (
        failures.new * log(ratio) - (failures.new + failures.old) * log(ratio * share + 1 - share) for ratio in RATIOS
    )
    return tuple(min(max(each + step, 0.0), LOG_MOST) for each, step in zip(logs, steps, strict=True))
