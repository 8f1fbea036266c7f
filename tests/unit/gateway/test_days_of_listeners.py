"""The day records of further listeners of imports: who uses an old address still."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from pcgrelay.handover.node import NodeHandover, ServiceHandover
from tests.support.quiet_world import CUSTODY, World

OLD_ADDRESS = "10.20.30.40:5432"
AT = f"at {OLD_ADDRESS}"


@pytest.fixture
async def with_also(tmp_path: Path) -> World:
    return await World(tmp_path, OLD_ADDRESS).start()


def come(world: World, **figures: int) -> None:
    """Somebody comes to the old address; the figures are those since the process began."""
    (listener,) = world.counts.to_handover(world.imported.settings)[1:]
    world.plane.came.setdefault(listener.number, {}).update(figures)


async def test_each_further_listener_has_days_of_its_own(with_also: World) -> None:
    world = with_also
    assert world.days.known() == [(str(CUSTODY), AT), (str(CUSTODY), "cjx")]
    await world.quiet_days(34)
    come(world, connections=1, active=1)
    await world.pass_(1_000)
    # It was written at once, and it is no use of the outlet.
    await world.restart(killed=True)
    come(world, connections=0)
    assert world.days.why_not_quiet(CUSTODY, AT, 35) == "0 of 35 days are quiet: 1 connection on 2020-03-30"
    await world.quiet_days(2)
    assert world.days.quiet_days(CUSTODY, AT) == 1
    assert world.days.used(CUSTODY, AT) == "2020-03-30T00:00:01Z"
    assert world.why() is None


async def test_bytes_and_open_streams_at_a_listener_count_too(with_also: World) -> None:
    world = with_also
    come(world, connections=1, active=1)
    await world.quiet_days(2)
    assert [record.streams for record in world.days.records(CUSTODY, AT)] == [1, 1, 1]
    come(world, active=0, sent_bytes=3, received_bytes=4)
    await world.pass_(1_000)
    record = world.days.records(CUSTODY, AT)[-1]
    assert (record.connections, record.transferred) == (0, 7)


@pytest.mark.parametrize("is_told", [True, False])
async def test_what_came_by_a_listener_is_handed_over(with_also: World, is_told: bool) -> None:
    world = with_also
    come(world, connections=5)
    await world.quiet_days(2)
    come(world, connections=6)
    left = world.days.to_handover()
    listeners = world.counts.to_handover(world.imported.settings)
    if not is_told:
        # A process of before did not say how far it had counted.
        listeners = tuple(replace(each, figures=None) for each in listeners)
    service = ServiceHandover(number=0, service=str(CUSTODY), listeners=listeners)
    came = world.plane.came
    world.begin()
    world.plane.came = came
    world.counts.restore(CUSTODY, listeners)
    world.counts.configure([world.imported.settings])
    await world.days.prepare(world.config)
    world.days.restore(NodeHandover(started_ms=0, imports=(service,), days=left))
    world.days.load()
    if is_told:
        # Somebody comes before the first look.
        come(world, connections=7)
    await world.pass_(1_000)
    found = [record.connections for record in world.days.records(CUSTODY, AT)]
    assert found == [5, 0, 2 if is_told else 1]
    come(world, connections=8)
    await world.pass_(1_000)
    assert sum(record.connections for record in world.days.records(CUSTODY, AT)) == 8
