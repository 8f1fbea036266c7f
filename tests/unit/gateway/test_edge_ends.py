"""What an edge has open past the end of a rule; and a cut-over whose outlets end goes on without an error."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from msgspec import structs

from pcgrelay.config import Paper
from pcgrelay.views.status import node_status
from tests.support.cut_over import CutRunning

OLD, NEW = "cjx", "psnp"
YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)


def end(met: CutRunning, *names: str, until: date = YESTERDAY) -> None:
    """Have the rules of these outlets of the written configuration end, as if that had been the time until now."""
    local = met.node.local
    paper = Paper(until=until)
    directs = tuple(
        structs.replace(each, paper=paper) if each.name in names else each for each in local.written.directs
    )
    local.written = structs.replace(local.written, directs=directs)
    local.hold(local.written)
    met.node.tick()


@pytest.mark.parametrize("names", [(OLD,), (NEW,), (OLD, NEW)])
async def test_a_cut_over_whose_outlets_end_goes_on_without_an_error(met: CutRunning, names: tuple[str, ...]) -> None:
    await met.start_plan()
    end(met, *names)
    for _ in range(3):
        met.look()
        met.node.tick()
    assert not {each.name for each in met.node.config.directs} & set(names)
    assert met.lines("failure") == []
    assert node_status(met.node).condition
    assert len(met.lines("rule.expired")) <= len(names)


async def test_what_is_open_over_an_outlet_that_has_ended_is_reset_each_second(met: CutRunning) -> None:
    nudged: list[tuple[int, int, bool]] = []
    plane = met.node.plane

    def nudge(number: int, outlet: int, idle_us: int, most: int, hard: bool = False) -> int:
        nudged.append((number, outlet, hard))
        return 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plane, "streams_nudge", nudge)
        ((imported, outlets),) = met.edge.outlets.with_outlets()
        index = outlets.names.index(OLD)
        figures = outlets.meter.figures(index)
        patch.setattr(outlets.meter, "figures", lambda _: (structs.replace(figures[0], active=3), figures[1]))
        met.node.tick()
        assert nudged == []
        end(met, OLD)
        assert nudged == [(imported.number, index, True)]
        met.node.tick()
        assert len(nudged) == 2
