"""Differences between this node's clock and those of others, for the status, metrics and troubles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct


class ClockStatus(Struct, frozen=True, kw_only=True):
    """The clock of one other node."""

    peer: str  # name.organisation
    skew_s: int  # positive: it is ahead of this node's
    at_least: bool = False  # skew_s is a lower bound, from the signing time of its catalogue entry
    large: bool = False  # large enough to be reported


def clock_sentences(clocks: Sequence[ClockStatus]) -> Iterator[str]:
    """Yield a sentence for each clock that needs attention."""
    large = [clock for clock in clocks if clock.large]
    ahead = {clock.skew_s > 0 for clock in large}
    if len(clocks) > 1 and len(large) == len(clocks) and len(ahead) == 1:
        nearest = min(large, key=lambda clock: abs(clock.skew_s))
        word = "behind" if nearest.skew_s > 0 else "ahead of"
        seconds = f"{abs(nearest.skew_s)} s or more"
        yield f"The clock of this machine is {seconds} {word} those of all {len(large)} nodes that sent theirs; set it."
        return
    for clock in large:
        least = "at least " if clock.at_least else ""
        word = "ahead of" if clock.skew_s > 0 else "behind"
        figure = f"{least}{abs(clock.skew_s)} s"
        yield f"The clock of {clock.peer} is {figure} {word} this node's; set the one that is wrong."
