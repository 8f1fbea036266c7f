"""The day records of a node: a clock that tests set, figures that tests write, and a file that has to be believed."""

from __future__ import annotations

import asyncio
import io
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pcgrelay import config, files
from pcgrelay.cutover.days import DaysState, KeptDays
from pcgrelay.cutover.quiet import DAY_MINUTES, DayRecord
from pcgrelay.daemon.run import make_node
from pcgrelay.figures import OutletFigures
from pcgrelay.gateway.days import KIND, NAME, VERSION
from pcgrelay.handover.node import NodeHandover, OutletHandover, OutletsHandover, ServiceHandover
from pcgrelay.log.writer import Log
from pcgrelay.services.outlet_meter import OutletMeter
from pcgrelay.state.file import BEFORE, StateFile
from pcgrelay.state.folder import StateFolder
from pcgrelay.views.status import node_status
from tests.support import fake_core
from tests.support.nodes_in_process import MET, Nodes, Running
from tests.support.ports import free_port
from tests.support.quiet_world import BEGIN, CUSTODY, GONE, HOUR_MS, Outlets, World


@pytest.fixture
async def world(tmp_path: Path) -> World:
    return await World(tmp_path).start()


async def test_days_of_quiet_are_proven_one_by_one(world: World) -> None:
    assert world.why() == "0 of 35 days are quiet"
    await world.quiet_days(34)
    assert world.why() == "34 of 35 days are quiet"
    await world.quiet_days(1)
    assert world.why() is None
    quiet = world.days.quiet(CUSTODY, "cjx")
    assert (quiet.days, quiet.since, quiet.coverage) == (35, BEGIN.date(), 1.0)
    assert world.days.used(CUSTODY, "cjx") == ""
    assert world.days.known() == [(str(CUSTODY), "cjx")]
    assert world.days.records(CUSTODY, "psnp") == ()


async def test_one_stray_byte_on_day_34_starts_the_count_anew(world: World) -> None:
    await world.quiet_days(33)
    await world.pass_(10 * HOUR_MS)
    world.use(received_bytes=1)
    await world.pass_(1_000)
    assert world.why() == "0 of 35 days are quiet: 1 byte on 2020-03-29"
    assert world.days.used(CUSTODY, "cjx") == "2020-03-29T10:00:01Z"
    assert "quiet.ended" in world.events()
    await world.pass_(14 * HOUR_MS - 1_000)
    await world.quiet_days(1)
    assert world.why() == "1 of 35 days are quiet: 1 byte on 2020-03-29"
    await world.quiet_days(34)
    assert world.why() is None


async def test_a_node_that_is_down_for_five_minutes_makes_no_quiet_day(world: World) -> None:
    await world.quiet_days(33)
    await world.pass_(10 * HOUR_MS)
    await world.restart(300_000)
    await world.quiet_days(2)
    assert world.why() == "1 of 35 days are quiet: 2020-03-29 was looked at for 99.6 % of the time"


async def test_a_restart_of_a_few_seconds_breaks_nothing(world: World) -> None:
    await world.quiet_days(33)
    await world.pass_(10 * HOUR_MS + 59_000)
    await world.restart(3_000)
    await world.quiet_days(2)
    assert world.why() is None
    (found,) = (record for record in world.days.records(CUSTODY, "cjx") if record.day == date(2020, 3, 29))
    assert found.looked == DAY_MINUTES - 1


async def test_a_process_that_is_killed_takes_no_stray_along(world: World) -> None:
    await world.quiet_days(35)
    await world.pass_(90_000, 1_000)
    world.use(tried=1)
    await world.pass_(1_000)
    await world.restart(killed=True)
    assert world.why() == "0 of 35 days are quiet: 1 connection on 2020-03-31"


async def test_a_stream_that_stays_open_uses_each_day(world: World) -> None:
    world.use(tried=1, up=1, active=1)
    await world.quiet_days(3)
    assert [record.streams for record in world.days.records(CUSTODY, "cjx")] == [1, 1, 1, 1]
    assert world.days.used(CUSTODY, "cjx") == "2020-02-25T12:00:00Z"
    assert world.why(1) == "0 of 1 days are quiet: 1 live stream on 2020-02-28"
    world.use(active=0)
    await world.quiet_days(2)
    assert world.why(1) is None


async def test_shadows_are_ours(world: World) -> None:
    await world.quiet_days(1)
    world.plane.core.meters[world.meter.number][1][1].update(tried=100, up=100, sent_bytes=800)
    await world.quiet_days(1)
    assert world.why(2) is None


@pytest.mark.parametrize("seconds", [62, 86_400, -62, -86_400])
async def test_a_clock_that_jumps_is_told_and_proves_nothing(world: World, seconds: int) -> None:
    await world.quiet_days(3)
    await world.pass_(HOUR_MS)
    world.clock._wall += timedelta(seconds=seconds)
    await world.pass_(1_000)
    (told,) = [line for line in world.lines if line.EVENT == "quiet.doubtful"]
    assert told.seconds == seconds  # type: ignore[attr-defined]
    assert "the clock jumped on" in (world.why() or "")


async def test_while_a_drain_or_a_lost_port_keeps_strays_out_nothing_is_proven(world: World) -> None:
    world.draining = True
    await world.pass_(2 * 60_000, 60_000)
    world.draining = False
    await world.quiet_days(1)
    assert world.why(1) == "0 of 1 days are quiet: 2020-02-25 was looked at for 99.8 % of the time"
    world.imported.is_open = False
    await world.pass_(1_000)
    world.imported.is_open = True
    await world.pass_(24 * HOUR_MS)
    assert "2020-02-26 was looked at" in (world.why(1) or "")


async def test_an_outlet_that_is_gone_keeps_its_days_and_a_meter_that_is_new_hides_nothing(world: World) -> None:
    world.use(tried=5)
    await world.quiet_days(1)
    world.outlets.names[1] = ""
    await world.quiet_days(1)
    assert world.days.records(CUSTODY, "cjx")[0].connections == 5
    # It is back, in a meter that has counted as many again meanwhile.
    world.meter = OutletMeter(cast(Any, world.plane))
    world.outlets = Outlets(world.meter, ["gateway", "cjx", "", ""])
    world.use(tried=5)
    await world.pass_(1_000)
    assert sum(record.connections for record in world.days.records(CUSTODY, "cjx")) == 10


async def test_a_meter_of_the_same_import_that_was_opened_anew_is_counted_whole(world: World) -> None:
    world.use(tried=5)
    await world.pass_(1_000)
    world.meter = OutletMeter(cast(Any, world.plane))
    world.outlets = Outlets(world.meter, ["gateway", "cjx", "", ""])
    world.use(tried=7)
    await world.pass_(1_000)
    assert sum(record.connections for record in world.days.records(CUSTODY, "cjx")) == 12


async def test_without_a_folder_they_end_with_the_process() -> None:
    world = await World(None).start()
    await world.quiet_days(2)
    assert not world.days.has_home
    assert world.why(2) is None
    await world.restart()
    assert world.why(2) == "0 of 2 days are quiet"


async def test_a_disk_that_is_full_is_told_once_and_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        await world.pass_(10 * 60_000, 10_000)
    assert world.events().count("state.unwritten") == 1
    assert "no space left" in world.days.reason
    await world.pass_(60_000, 10_000)
    assert world.days.reason == ""
    await world.restart(killed=True)
    assert world.days.records(CUSTODY, "cjx")[0].looked >= 10


async def test_what_the_file_does_not_have_is_handed_over(world: World) -> None:
    await world.quiet_days(3)
    world.use(tried=2, received_bytes=10)
    await world.pass_(25_000, 1_000)
    world.use(tried=3)
    world.meter.look_again()
    left = world.days.to_handover()
    assert [record.day for record in left.outlets[0].records] == [date(2020, 2, 27), date(2020, 2, 28)]
    real = OutletFigures(tried=3, received_bytes=10)
    handover = NodeHandover(
        started_ms=0,
        imports=(ServiceHandover(number=0, service=str(CUSTODY)),),
        outlets=(
            OutletsHandover(number=0, outlets=(OutletHandover(name="gateway"), OutletHandover(name="cjx", real=real))),
        ),
        days=left,
    )
    before = world.days.records(CUSTODY, "cjx")
    world.begin()
    await world.days.prepare(world.config)
    world.days.restore(handover)
    world.days.load()
    world.meter.restore(1, real, OutletFigures())
    assert world.days.records(CUSTODY, "cjx") == before
    await world.pass_(35_000, 1_000)
    found = world.days.records(CUSTODY, "cjx")
    assert (found[-1].connections, found[-1].transferred, found[-1].looked) == (3, 10, 1)
    world.use(tried=1)
    await world.pass_(1_000)
    assert world.days.records(CUSTODY, "cjx")[-1].connections == 4


async def test_a_process_of_before_hands_no_days_over(world: World) -> None:
    real = OutletFigures(tried=1_000)
    handover = NodeHandover(
        started_ms=0,
        imports=(ServiceHandover(number=0, service=str(CUSTODY)),),
        outlets=(OutletsHandover(number=0, outlets=(OutletHandover(name=""), OutletHandover(name="cjx", real=real))),),
    )
    world.days.restore(handover)
    world.meter.restore(1, real, OutletFigures())
    await world.pass_(60_000)
    assert [record.connections for record in world.days.records(CUSTODY, "cjx")] == [0]


async def test_a_file_that_cannot_be_read_is_told_and_proves_nothing(world: World, tmp_path: Path) -> None:
    await world.quiet_days(3)
    await world.days.stop()
    (tmp_path / NAME).write_bytes(GONE)
    world.begin()
    await world.start()
    # The one before is a minute old or an hour; here all but the last of the days.
    assert "state.unreadable" in world.events()
    assert len(world.days.records(CUSTODY, "cjx")) >= 3
    for name in (NAME, NAME + BEFORE):
        (tmp_path / name).write_bytes(GONE)
    world.begin()
    await world.start()
    assert world.why() == "0 of 35 days are quiet"


RECORDS = st.builds(
    DayRecord,
    day=st.dates(),
    looked=st.integers(0, 2**31),
    connections=st.integers(0, 2**62),
    transferred=st.integers(0, 2**62),
    streams=st.integers(0, 2**31),
    is_doubtful=st.booleans(),
)
KEPT = st.builds(
    KeptDays,
    service=st.sampled_from([str(CUSTODY), "", "x" * 300, "\x00"]),
    outlet=st.sampled_from(["cjx", "gateway", "", "\u202e"]),
    records=st.lists(RECORDS, max_size=5).map(tuple),
    used=st.text(max_size=30),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    outlets=st.lists(KEPT, max_size=4).map(tuple),
    until=st.none() | st.datetimes(timezones=st.just(UTC)),
    rest_ms=st.integers(-(2**40), 2**40),
)
def test_no_file_makes_more_of_today_than_it_was(
    tmp_path: Path, outlets: tuple[KeptDays, ...], until: datetime | None, rest_ms: int
) -> None:
    """Whatever a whole file says, the node goes on by its own clock, and what it counts itself is counted."""

    async def run() -> None:
        StateFile(tmp_path / NAME, KIND, VERSION, DaysState).write(
            DaysState(until=until, rest_ms=rest_ms, outlets=outlets)
        )
        world = World(tmp_path)
        await world.start()
        world.use(tried=1)
        await world.pass_(1_000)
        assert world.why(1) is not None
        days = [record.day for record in world.days.records(CUSTODY, "cjx")]
        assert days == sorted(set(days))
        await world.days.stop()

    asyncio.run(run())


async def test_a_node_keeps_them_and_shows_them(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path)
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    path = nodes.write(
        MET,
        "met-1",
        node_table={"state": str(folder)},
        imports=[{"service": str(CUSTODY), "listen": f"127.0.0.1:{free_port()}", "outlet": "cjx"}],
        directs=[{"service": str(CUSTODY), "name": "cjx", "address": "127.0.0.9:5432", "probe": "none"}],
    )

    async def run() -> Running:
        sink = io.StringIO()
        running = Running(make_node(config.load(path), fake_core, Log("debug", sink)), sink)
        running.node.state = StateFolder.take(folder)
        await running.node.start()
        await asyncio.sleep(0)
        return running

    first = await run()
    (meter,) = first.core.meters
    first.core.meters[meter][1][0].update(tried=2, up=2, sent_bytes=10)
    first.node.tick()
    (_, shown) = node_status(first.node).services[0].outlets
    assert (shown.name, shown.quiet_days, shown.quiet_since) == ("cjx", 0, "")
    assert shown.used.startswith("20")
    await first.node.stop()
    assert first.node.state is not None
    first.node.state.close()
    again = await run()
    (_, kept) = node_status(again.node).services[0].outlets
    assert kept.used == shown.used
    assert again.edge.days.records(CUSTODY, "cjx")[-1].connections == 2
    await again.node.stop()
