"""A reload during a cut-over: what would take away what it needs is refused, and nothing has changed then."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from msgspec import structs

from pcgrelay import config
from pcgrelay.cutover.phases import Event, Phase
from pcgrelay.errors import ConfigError
from pcgrelay.gateway.cutover_config import refuse_config
from tests.support.cut_over import CUSTODY, CutRunning, written
from tests.support.nodes_in_process import MET, Nodes
from tests.support.waiting import until_async as until


async def reload_with(nodes: Nodes, met: CutRunning, *names: str, outlet: str = "gateway") -> None:
    """Reload with these direct outlets alone; with none, without the import."""
    before = met.node.local.config
    listen = str(before.imports[0].listeners[0])
    directs = [
        {"service": CUSTODY, "name": name, "address": f"127.0.0.9:{port}", "bearer": name, "probe": "none"}
        for name, port in (("cjx", 5432), ("psnp", 5433))
        if name in names
    ]
    path = nodes.write(
        MET,
        "met-1",
        node_table={"state": str(nodes.folder / "state")},
        links=[{"peer": "relay-1.hub.example", "address": "127.0.0.1:9"}],
        imports=[{"service": CUSTODY, "listen": listen, "outlet": outlet}] if names else [],
        directs=directs,
        bearers=[{"name": "cjx"}, {"name": "psnp"}],
    )
    await met.reload(path)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (("psnp",), "is being moved from cjx to psnp, and this configuration would take its outlet cjx away"),
        (("cjx",), "would take its outlet psnp away"),
        ((), "would take its import away"),
    ],
)
async def test_what_it_needs_stays(nodes: Nodes, met: CutRunning, names: tuple[str, ...], problem: str) -> None:
    await met.start_plan()
    with pytest.raises(ConfigError, match=problem):
        await reload_with(nodes, met, *names)
    assert (met.phase, met.share) == (Phase.SOAKING, 1)
    met.good()
    await until(lambda: met.share == 50, 10)


@pytest.mark.parametrize(
    ("phase", "is_refused"),
    [
        (Phase.PLANNED, False),
        (Phase.SOAKING, True),
        (Phase.PAUSED, True),
        (Phase.ARRIVED, True),
        (Phase.QUIET, False),
        (Phase.RETIRED, False),
    ],
)
async def test_the_old_outlet_stays_as_long_as_it_may_be_needed(
    nodes: Nodes, met: CutRunning, phase: Phase, is_refused: bool
) -> None:
    await met.start_plan()
    cutover = met.cutover
    cutover.state = structs.replace(cutover.state, progress=structs.replace(cutover.progress, phase=phase))
    fresh = config.load(written(nodes, "psnp", outlet="gateway"))
    with pytest.raises(ConfigError, match="outlet cjx away; go back first") if is_refused else nullcontext():
        refuse_config(fresh, [cutover])


async def test_before_it_has_begun_nothing_is_refused(nodes: Nodes, met: CutRunning) -> None:
    await reload_with(nodes, met, "psnp")


async def test_where_it_went_back_to_stays_and_the_rest_may_go(nodes: Nodes, met: CutRunning) -> None:
    await met.start_plan()
    await met.ask(Event.FALL_BACK)
    with pytest.raises(ConfigError, match="take cjx since its cut-over went back"):
        await reload_with(nodes, met, "psnp")
    await reload_with(nodes, met, "cjx", outlet="cjx")
    met.look()
    assert met.phase is Phase.BACK
    assert set(met.row[5]) == {1}


async def test_a_reload_that_changes_something_else_is_taken(nodes: Nodes, met: CutRunning) -> None:
    await met.start_plan()
    await reload_with(nodes, met, "cjx", "psnp", outlet="cjx")
    assert (met.phase, met.share) == (Phase.SOAKING, 1)
