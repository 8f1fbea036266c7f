"""A back-up that is exercised: its share, and when a stream got through over it."""

from __future__ import annotations

from pcgrelay.admin.metrics import metrics_text
from pcgrelay.views.explain import explain
from pcgrelay.views.outlets import outlet_answer
from pcgrelay.views.status import node_status
from tests.support.metric_samples import value
from tests.support.nodes_in_process import Nodes
from tests.support.outlet_nodes import CUSTODY, direct, met, stop


async def test_a_back_up_is_exercised_until_somebody_sets_shares(nodes: Nodes) -> None:
    running, _ = await met(nodes, direct(), direct("old", 5433), entry={"outlet": "old", "exercise": 1})
    # The gateway is away: the next one is taken.
    assert running.counts() == [0, 2, 198]
    answer = outlet_answer(running.node, running.edge, running.edge.services.imports[0])
    assert answer.exercise == 1
    assert [outlet.exercised for outlet in answer.outlets] == [False, True, False]
    assert explain(running.node, CUSTODY).outlets[1].exercised
    # Shares by hand decide, whatever they are.
    await running.move("gateway=0", "cjx=0", "old=100")
    assert running.counts() == [0, 0, 200]
    answer = outlet_answer(running.node, running.edge, running.edge.services.imports[0])
    assert (answer.exercise, [outlet.exercised for outlet in answer.outlets]) == (0, [False] * 3)
    await stop(running)


async def test_when_a_stream_got_through_over_an_exercised_outlet_is_told_and_handed_over(nodes: Nodes) -> None:
    running, _ = await met(nodes, direct(), entry={"exercise": 2.5})
    assert running.counts() == [195, 5]

    def seen(up: int) -> float:
        running.figures(1, up=up)
        for _, outlets in running.edge.outlets.with_outlets():
            outlets.meter.look_again()
        running.edge.outlets.tick()
        return node_status(running.node).services[0].outlets[1].exercise_success_s

    assert seen(up=0) == 0
    assert "exercise_last_success_timestamp_seconds{" not in metrics_text(node_status(running.node), {})
    at = seen(up=1)
    assert abs(at - running.node.clock.wall().timestamp()) < 60
    text = metrics_text(node_status(running.node), {})
    assert value(text, "pcgrelay_exercise_last_success_timestamp_seconds", service=CUSTODY, outlet="cjx") == at
    assert running.edge.outlets.to_handover()[0].exercised == {"cjx": at}
    # Not what is set up later while it is not exercised.
    await running.move("cjx=50")
    assert seen(up=9) == at
    await stop(running)


async def test_an_exercise_comes_and_goes_with_a_reload(nodes: Nodes) -> None:
    running, path = await met(nodes, direct())
    assert running.counts() == [200, 0]
    text = path.read_text()
    path.write_text(text.replace("[[import]]", "[[import]]\nexercise = 10"))
    running.edge.outlets.tick()
    await running.reload(path)
    assert running.counts() == [180, 20]
    # What got through before the first look at the exercise is told too.
    running.figures(1, up=20)
    for _, outlets in running.edge.outlets.with_outlets():
        outlets.meter.look_again()
    running.edge.outlets.tick()
    assert node_status(running.node).services[0].outlets[1].exercise_success_s > 0
    path.write_text(text)
    await running.reload(path)
    assert running.counts() == [200, 0]
    await stop(running)
