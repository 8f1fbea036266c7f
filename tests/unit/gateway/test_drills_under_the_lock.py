"""Drills of an edge with a fleet: each holds the lock of the organisation, and ends when it is lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from pcgrelay.drills.record import DrillRecord
from pcgrelay.errors import RuleProblem
from pcgrelay.gateway import drills as drills_module
from pcgrelay.gateway.change_lock import ChangeHeld, ChangeUnproved
from tests.support.drilled_edges import BACKUP, Met, begun, met
from tests.support.nodes_in_process import Nodes
from tests.support.outlet_nodes import stop
from tests.support.waiting import until_async as until


class Lock:
    """The lock of a fleet that answers as this test wants."""

    def __init__(self, running: Met) -> None:
        self.refuses: Exception | None = None
        self.asked: list[tuple[str, ...]] = []
        running.node.fleet.changes = self  # type: ignore[assignment]

    async def take(self, act: str, by: str) -> None:
        self.asked.append(("take", act, by))
        if self.refuses is not None:
            raise self.refuses

    def pass_over(self, act: str, by: str) -> None:
        self.asked.append(("pass over", act, by))

    async def give_back(self, act: str) -> None:
        self.asked.append(("give back", act))

    async def stop(self) -> None:
        pass


async def test_a_drill_holds_the_lock_of_the_fleet_and_none_begins_without_it(nodes: Nodes) -> None:
    running = await met(nodes)
    lock = Lock(running)
    for problem in (ChangeHeld("Somebody else is at it."), ChangeUnproved("Nobody knows.")):
        lock.refuses = problem
        with pytest.raises(type(problem)):
            await running.begin()
        assert running.edge.drills.running is None
        assert running.counts() == [0, 200, 0]
    assert not (nodes.folder / "state" / "drills").exists()
    assert lock.asked == [("take", "drill", "root")] * 2
    await running.begin(replace(BACKUP, without_lock=True))
    await begun(running)
    running.edge.drills.stop("enough")
    await running.ended()
    assert lock.asked[2:3] == [("pass over", "drill", "root")]
    lock.refuses = None
    await running.begin()
    await begun(running)
    running.edge.drills.stop("enough")
    await running.ended()
    await until(lambda: lock.asked[-2:] == [("take", "drill", "root"), ("give back", "drill")])
    await stop(running)


async def test_the_lock_of_the_next_drill_is_not_given_back_by_the_one_before(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await met(nodes)
    lock = Lock(running)
    drills = running.edge.drills
    write, written = drills._write, asyncio.Event()

    async def slow(record: DrillRecord) -> None:
        if record.is_over:
            await written.wait()
        await write(record)

    monkeypatch.setattr(drills, "_write", slow)
    await running.begin()
    await begun(running)
    drills.stop("enough")
    await running.ended()
    await running.begin()
    written.set()
    await begun(running)
    await until(lambda: len(list((nodes.folder / "state" / "drills").iterdir())) == 2)
    assert lock.asked == [("take", "drill", "root"), ("give back", "drill"), ("take", "drill", "root")]
    await stop(running)


async def test_the_lock_that_was_lost_ends_the_drill(nodes: Nodes) -> None:
    running = await met(nodes)
    end_drill = running.node.fleet.changes.end_drill
    await running.begin()
    await begun(running)
    end_drill("the lock of the fleet was lost")
    record = await running.ended()
    assert (record.result, record.sentence) == ("stopped", "the lock of the fleet was lost")
    assert running.counts() == [0, 200, 0]
    await stop(running)


async def test_what_begins_while_the_lock_is_asked_for_refuses_the_drill(nodes: Nodes) -> None:
    running = await met(nodes)
    lock = Lock(running)
    take = lock.take

    async def slow(act: str, by: str) -> None:
        await take(act, by)
        with pytest.raises(RuleProblem, match="One drill at a time: another one begins"):
            await running.begin()
        running.node.drain_begin(0)

    lock.take = slow  # type: ignore[method-assign]
    with pytest.raises(RuleProblem, match="The node drains"):
        await running.begin()
    assert lock.asked[-1] == ("give back", "drill")
    assert not (nodes.folder / "state" / "drills").exists()
    await stop(running)


async def test_one_that_is_stopped_while_its_record_is_written_touches_nothing(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await met(nodes)
    drills = running.edge.drills
    write = drills._write

    async def slow(record: DrillRecord) -> None:
        await write(record)
        if record.result == "running":
            running.node.fleet.changes.end_drill("the lock of the fleet was lost")

    monkeypatch.setattr(drills, "_write", slow)
    await running.begin()
    record = await running.ended()
    assert (record.result, record.sentence) == ("stopped", "the lock of the fleet was lost")
    assert running.core.shadows == []
    assert running.counts() == [0, 200, 0]
    await stop(running)


async def test_one_that_is_due_waits_for_the_lock_and_is_not_said_to_have_failed(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drills_module, "AUTO_FIRST_MS", 0)
    drill = {"kind": "backup", "every": "90d", "window": "daily 00:00-24:00", "auto": True, "for": "50s"}
    running = await met(nodes, drills=[drill])
    lock = Lock(running)
    lock.refuses = ChangeHeld("Somebody else is at it.")
    running.edge.drills.tick()
    await until(lambda: running.lines("drill.refused"))
    running.edge.drills.tick()
    await asyncio.sleep(0.05)
    assert len(lock.asked) == 1, "it is not asked each second"
    monkeypatch.setattr(drills_module, "AUTO_AGAIN_MS", 0)
    running.edge.drills._auto_after_ms = 0
    for _ in range(3):
        running.edge.drills.tick()
        assert running.edge.drills._auto is not None
        await running.edge.drills._auto
    assert len(lock.asked) == 4
    assert len(running.lines("drill.refused")) == 1, "it is told once"
    assert running.edge.drills.records == []
    lock.refuses = None
    running.edge.drills.tick()
    await until(lambda: running.edge.drills.running is not None)
    assert lock.asked[-1] == ("take", "drill", "the node itself")
    await begun(running)
    await stop(running)
