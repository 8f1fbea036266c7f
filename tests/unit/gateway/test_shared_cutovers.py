"""A cut-over that edges of one organisation share: one decides, all follow, and whoever goes back does so at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from pcgrelay.clock import SystemClock
from pcgrelay.cutover import shared
from pcgrelay.cutover.phases import Event, Phase
from pcgrelay.errors import RuleProblem, RunError
from pcgrelay.fleet import client, lease
from pcgrelay.gateway import cutovers, shared_cutovers
from tests.support.cut_over import LONG, PLAN, CutRunning
from tests.support.nodes_in_process import Nodes
from tests.support.shared_cut_overs import ROOT, STATE, SharedEdges, shared_edges
from tests.support.waiting import until_async as until

FASTER = 3  # a plan soaks for whole seconds


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clocks of nodes go faster, they look more often, and a store that says nothing is silent sooner."""
    monotonic_ms = SystemClock.monotonic_ms
    began_ms = monotonic_ms(SystemClock())
    monkeypatch.setattr(SystemClock, "monotonic_ms", lambda clock: began_ms + FASTER * (monotonic_ms(clock) - began_ms))
    # A lease is kept by the time of the machine, and is over by the clock.
    monkeypatch.setattr(shared_cutovers, "SEAT_TTL_S", FASTER * shared_cutovers.SEAT_TTL_S)
    monkeypatch.setattr(lease, "KEPT_TIMES", FASTER * lease.KEPT_TIMES)
    monkeypatch.setattr(shared_cutovers, "WORK_EVERY_S", 0.05)
    monkeypatch.setattr(shared_cutovers, "FIGURES_EVERY_S", 0.2)
    monkeypatch.setattr(cutovers, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(client, "REQUEST_S", 0.8)
    monkeypatch.setattr(client, "TRY_S", 0.4)


@pytest.fixture
async def three(nodes: Nodes) -> AsyncIterator[SharedEdges]:
    async with shared_edges(nodes, "met-1", "met-2", "met-3") as edges:
        yield edges


async def decided(edges: SharedEdges) -> CutRunning:
    await until(lambda: edges.decider is not None)
    assert edges.decider is not None
    return edges.decider


async def soaked(seconds: float) -> None:
    """Let so much time pass by the clocks of the nodes."""
    await asyncio.sleep(seconds / FASTER)


def seat_of(edge: CutRunning) -> int:
    sharing = edge.cutover.sharing
    return 0 if sharing is None else sharing.seat


async def test_one_edge_decides_and_all_make_the_same_steps(three: SharedEdges) -> None:
    await three.start()
    await three.all_at(Phase.SOAKING, 1)
    decider = await decided(three)
    for share in (50, 100):
        three.good()
        await three.all_at(Phase.SOAKING, share)
    three.good()
    await three.all_at(Phase.ARRIVED, 100)
    record = three.record
    assert record is not None
    assert (record.run, record.epoch, record.phase) == (1, 4, Phase.ARRIVED)
    assert record.node == str(decider.node.local.config.node.id)
    for edge in three.followers:
        whats = [each.what for each in edge.cutover.state.decisions]
        assert whats == ["started", "stepped", "stepped", "arrived"]
        assert record.node in edge.cutover.state.decisions[-1].sentence


async def test_the_gate_asks_what_all_of_them_have_counted(three: SharedEdges) -> None:
    await three.start(PLAN.replace("streams = 0", "streams = 1200"))
    await decided(three)
    await until(lambda: all(edge.cutover.progress.soaked_s >= 1 for edge in three.edges), 10)
    # None of them has 1,200 set-ups, and they have them together.
    three.good()
    await three.all_at(Phase.SOAKING, 50)


async def test_who_goes_back_takes_all_with_it(three: SharedEdges) -> None:
    await three.start(LONG)
    await decided(three)
    edge = three.followers[0]
    await edge.ask(Event.FALL_BACK)
    assert edge.share == 0
    await three.all_at(Phase.BACK, 0)
    assert three.record is not None
    assert (three.record.phase, three.record.by) == (Phase.BACK, "night shift")
    assert not any(each.cutover.progress.is_alarmed for each in three.edges)
    # Nobody has the seat of what does not move.
    await until(lambda: three.decider is None)


async def test_after_a_return_each_edge_is_started_again(three: SharedEdges) -> None:
    await three.start(LONG)
    await three.edges[0].ask(Event.FALL_BACK)
    await three.all_at(Phase.BACK, 0)
    await three.edges[1].start_plan(LONG, again=True)
    assert three.edges[1].share == 1
    await asyncio.sleep(0.6)
    assert [edge.share for edge in three.edges] == [0, 1, 0]
    await three.edges[0].start_plan(LONG, again=True)
    assert three.record is not None
    assert (three.record.run, three.record.epoch) == (2, 3)
    assert [edge.share for edge in three.edges] == [1, 1, 0]


async def test_a_seat_of_which_the_lease_was_in_doubt_is_left_all_the_same(
    three: SharedEdges, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its key lives with the lease: if it stayed, nobody could start again."""
    await three.start(LONG)
    first = await decided(three)
    shared_part = first.edge.cutovers.shared
    assert shared_part is not None
    assert shared_part._lease is not None
    with monkeypatch.context() as doubt:
        doubt.setattr(shared_part._lease, "is_held", lambda: False)
        await until(lambda: not seat_of(first))
        other = next(edge for edge in three.edges if edge is not first)
        await other.ask(Event.FALL_BACK)
        await three.all_at(Phase.BACK, 0)
    await until(lambda: not three.has_seat)
    await other.start_plan(LONG, again=True)


async def test_another_decides_when_the_first_is_gone(three: SharedEdges) -> None:
    await three.start()
    first = await decided(three)
    three.store_of(first).cut()
    three.expire_seat()
    others = [edge for edge in three.edges if edge is not first]
    await until(lambda: any(seat_of(edge) for edge in others))
    three.good()
    await until(lambda: {edge.share for edge in others} == {50}, 10)
    assert first.share == 1


async def test_a_lease_that_ends_leaves_the_seat_to_another_or_is_claimed_again(three: SharedEdges) -> None:
    await three.start(LONG)
    await decided(three)
    three.expire_seat()
    await until(lambda: three.record is not None and three.decider is not None)
    assert three.shares == {1}


async def test_a_silent_store_changes_nothing_and_forbids_only_steps_forward(three: SharedEdges) -> None:
    await three.start(PLAN.replace('soak = "1s"', 'soak = "3s"'))
    await decided(three)
    for store in three.stores:
        store.cut()
    await until(lambda: not any(store.client.state.live for store in three.stores), 15)
    three.good()
    await soaked(4)
    assert three.shares == {1}
    edge = three.edges[2]
    await edge.ask(Event.FALL_BACK)
    assert [each.share for each in three.edges] == [1, 1, 0]
    for store in three.stores:
        store.mend()
    await three.all_at(Phase.BACK, 0, 15)


async def test_who_was_away_takes_what_is_newest(three: SharedEdges) -> None:
    await three.start()
    decider = await decided(three)
    away = three.followers[0]
    three.store_of(away).cut()
    others = [edge for edge in three.edges if edge is not away]
    three.good()
    await until(lambda: {edge.share for edge in others} == {50}, 10)
    assert (away.share, decider.share) == (1, 50)
    three.store_of(away).mend()
    await until(lambda: away.share == 50, 15)


async def test_a_decider_that_is_cut_off_makes_no_step(three: SharedEdges) -> None:
    await three.start(PLAN.replace("streams = 0", "streams = 2000"))
    decider = await decided(three)
    three.store_of(decider).cut()
    # It has seen more than its gate asks, and cannot write.
    decider.good(5_000)
    await soaked(3)
    assert three.shares == {1}
    assert three.record is not None
    assert three.record.epoch == 1


async def test_an_old_value_that_is_written_again_is_refused_and_put_right(three: SharedEdges) -> None:
    await three.start()
    old = three.etcd.content[(ROOT + STATE).encode()].value
    await decided(three)
    three.good()
    await three.all_at(Phase.SOAKING, 50)
    three.etcd.put(ROOT + STATE, old)
    await asyncio.sleep(0.5)
    assert three.shares == {50}
    await three.edges[0].ask(Event.FALL_BACK)
    await three.all_at(Phase.BACK, 0)
    assert three.record is not None
    assert three.record.phase is Phase.BACK


async def test_a_store_that_was_emptied_is_told_again_and_no_step_follows_soon(three: SharedEdges) -> None:
    await three.start()
    await decided(three)
    three.etcd.wipe()
    three.good()
    await until(lambda: three.record is not None and three.record.epoch == 1, 20)
    assert three.shares == {1}
    sharings = [edge.cutover.sharing for edge in three.edges]
    assert any(sharing is not None and sharing.known.behind_s is not None for sharing in sharings)


async def test_a_plan_that_differs_is_refused_by_name(three: SharedEdges) -> None:
    await three.edges[0].start_plan(LONG)
    with pytest.raises(RuleProblem, match=r"met-1.* by another plan"):
        await three.edges[1].start_plan(PLAN)
    assert three.edges[1].share == 0
    assert three.edges[1].edge.cutovers.get("custody@kent.police.example") is None


async def test_a_step_is_asked_for_where_it_is_decided(three: SharedEdges) -> None:
    await three.start(LONG)
    decider = await decided(three)
    name = str(decider.node.local.config.node.id)
    with pytest.raises(RuleProblem, match=f"No step forward is made here: {name} decides"):
        await three.followers[0].ask(Event.STEP)


async def test_a_pause_and_its_end_are_those_of_all(three: SharedEdges) -> None:
    await three.start(LONG)
    await three.edges[1].ask(Event.PAUSE)
    await three.all_at(Phase.PAUSED, 1)
    await three.edges[2].ask(Event.RESUME)
    await three.all_at(Phase.SOAKING, 1)
    assert [each.what for each in three.edges[0].cutover.state.decisions][-2:] == ["paused", "resumed"]


async def test_a_start_needs_a_store_that_answers(three: SharedEdges) -> None:
    three.stores[0].cut()
    with pytest.raises(RunError, match="store of the fleet"):
        await three.edges[0].start_plan(LONG)
    assert three.shares == {0}


async def test_without_a_seat_nothing_is_written_forward() -> None:
    told = shared.SharedState(
        service="a@b.example", plan_sha256="ab" * 32, run=1, epoch=1, phase=Phase.SOAKING, step=0, node="n", at="",
        what="", sentence="",
    )  # fmt: skip
    assert shared.step_forward(shared.Known(), 7, told).seat == 7
    assert shared.why_no_step(shared.Mine(1), shared.Known(told, 3, 1), 0, 0.0)
