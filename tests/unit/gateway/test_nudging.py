"""Nudges of a whole node with the fake core: what is closed, what is refused, and when it ends by itself."""

from __future__ import annotations

import pytest

from pcgrelay.cutover.phases import Event
from pcgrelay.errors import PcgrelayError, RuleProblem, RunError
from pcgrelay.gateway.nudging import Nudge
from tests.support.cut_over import (
    LONG,
    NEW,
    OLD,
    OPERATOR,
    CutRunning,
    Time,
    lead_nowhere,
    looks,
)


def nudge(met: CutRunning, outlet: str, per_minute: int = 6_000) -> None:
    met.edge.cutovers.nudges.begin(met.cutover, Nudge(outlet, 60, per_minute), OPERATOR)


def nudged(met: CutRunning) -> list[int]:
    """The outlets on which streams were closed, without the rounds that only count."""
    return [outlet for _, outlet, _, most, _ in met.core.rounds if most]


async def test_a_nudge_closes_what_is_left_and_ends_when_that_is_where_streams_go_back_to(
    met: CutRunning, time: Time
) -> None:
    await met.start_plan(LONG)
    met.count(OLD, active=7)
    nudge(met, "cjx")
    await looks(met, time, 2)
    assert set(nudged(met)) == {OLD}
    # While it is held, what is closed would come back where it was.
    lead_nowhere(met, "psnp")
    await looks(met, time, 1)
    assert met.cutover.is_held
    met.core.rounds.clear()
    await looks(met, time, 2)
    assert nudged(met) == []
    await met.ask(Event.FALL_BACK)
    met.core.rounds.clear()
    await looks(met, time, 8)
    assert nudged(met) == []


async def test_after_a_return_a_nudge_is_for_what_is_left_on_the_new_outlet(met: CutRunning, time: Time) -> None:
    await met.start_plan(LONG)
    met.count(OLD, active=7)
    await met.ask(Event.FALL_BACK)
    with pytest.raises(RuleProblem, match=r"are led to cjx, so .* would come back there; .* --from psnp"):
        nudge(met, "cjx")
    with pytest.raises(RunError, match=r"No stream of .* is open on psnp; there is nothing to close"):
        nudge(met, "psnp")
    assert not met.lines("cutover.nudged")
    nudge(met, "cjx", 0)
    met.count(NEW, active=3)
    nudge(met, "psnp")
    await looks(met, time, 8)
    assert set(nudged(met)) == {NEW}


@pytest.mark.parametrize("outlet", ["psnp", "cjy"])
async def test_a_nudge_of_where_streams_are_led_or_of_no_outlet_is_refused(met: CutRunning, outlet: str) -> None:
    await met.start_plan(LONG)
    met.count(NEW, active=3)
    with pytest.raises(PcgrelayError, match="--from cjx" if outlet == "psnp" else "has no outlet cjy; there are: "):
        nudge(met, outlet)
    assert met.core.rounds == []
