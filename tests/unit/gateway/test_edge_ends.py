"""What an edge has open past the end of a rule; and a cut-over whose outlets end goes on without an error."""

from __future__ import annotations

import asyncio
import io
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from msgspec import structs

from pcgrelay import config
from pcgrelay.clock import SystemClock
from pcgrelay.config import Paper
from pcgrelay.daemon.run import make_node
from pcgrelay.gateway.handover import restore, to_handover
from pcgrelay.handover.node import decode_handover, encode_handover
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.log.writer import Log
from pcgrelay.state.folder import StateFolder
from pcgrelay.views.status import node_status
from tests.support import fake_core
from tests.support.cut_over import CutRunning
from tests.support.nodes_in_process import KENT, MET, Nodes, Running, entry, export, is_live
from tests.support.outlet_nodes import Met, direct
from tests.support.outlet_nodes import met as met_with
from tests.support.ports import free_port
from tests.support.waiting import until_async

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


# -- at the second, with the clock of the node ---------------------------------------------------------------


def until_today(**keys: Any) -> dict[str, Any]:
    return {**keys, "until": datetime.now(UTC).date()}


def midnight(running: Running, patch: pytest.MonkeyPatch) -> None:
    moment = datetime.combine(datetime.now(UTC).date() + timedelta(days=1), datetime.min.time(), UTC)
    patch.setattr(running.node.clock, "wall", lambda: moment)


def kinds(running: Met) -> list[int]:
    return [way[0] for way in running.row()[7]]


@pytest.mark.parametrize("is_locked", [False, True], ids=["free", "while a reload waits"])
async def test_what_is_open_over_an_outlet_that_has_ended_is_ended_by_its_row(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, is_locked: bool
) -> None:
    running, _ = await met_with(nodes, until_today(**direct()), direct("psnp", 5433))
    running.figures(1, up=1, active=1)
    running.node.tick()
    assert kinds(running) == [fake_core.OUTLET_GATEWAY, fake_core.OUTLET_DIRECT, fake_core.OUTLET_DIRECT]
    if is_locked:
        await running.node.identity_lock.acquire()
    midnight(running, monkeypatch)
    running.node.tick()
    await asyncio.sleep(0)
    assert kinds(running) == [fake_core.OUTLET_GATEWAY, fake_core.OUTLET_ENDED, fake_core.OUTLET_DIRECT]
    assert running.row()[7][1][2] == ()
    assert 1 not in running.row()[6]
    (service,) = node_status(running.node).services
    assert ("cjx", "ended") in [(outlet.name, outlet.state) for outlet in service.outlets]
    assert bool(running.node.config.directs[0].name == "cjx") is is_locked
    if is_locked:
        running.node.identity_lock.release()
        running.node.tick()
    assert [each.name for each in running.node.config.directs] == ["psnp"]
    assert kinds(running)[1] == fake_core.OUTLET_ENDED
    # The clock is put right.
    monkeypatch.undo()
    running.node.tick()
    await until_async(lambda: kinds(running)[1] == fake_core.OUTLET_DIRECT)


async def test_an_outlet_that_ended_between_two_processes_has_its_row_in_the_second(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, path = await met_with(nodes, until_today(**direct()))
    running.figures(1, up=1, active=1)
    record = decode_handover(encode_handover(to_handover(running.node)))
    await running.node.stop()
    assert running.node.state is not None
    running.node.state.close()
    moment = datetime.combine(datetime.now(UTC).date() + timedelta(days=1), datetime.min.time(), UTC)
    monkeypatch.setattr(SystemClock, "wall", lambda self: moment)
    fresh = make_node(config.load(path), fake_core, Log("debug", io.StringIO()))
    fresh.state = StateFolder.take(nodes.folder / "state")
    second = Met(fresh, io.StringIO())
    nodes.running.append(second)
    assert fresh.config.directs == ()
    prepared = await fresh.prepare(fresh.config)
    prepared.listen()
    restore(fresh, record, prepared)
    assert kinds(second) == [fake_core.OUTLET_GATEWAY, fake_core.OUTLET_ENDED]


async def test_an_import_that_has_ended_has_no_row_while_a_reload_waits(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, _ = await met_with(nodes, entry=until_today())
    assert len(running.core.published["imports"]) == 1
    async with running.node.identity_lock:
        midnight(running, monkeypatch)
        running.node.tick()
        await asyncio.sleep(0)
        assert running.core.published["imports"] == []
        monkeypatch.undo()
        running.node.tick()
        await asyncio.sleep(0)
        assert len(running.core.published["imports"]) == 1


async def test_callers_of_the_old_way_end_with_the_export(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    also = [f"127.0.0.1:{free_port()}"]
    kent = await nodes.start(
        KENT, "kent-1", listens=[f"127.0.0.1:{free_port()}"], exports=[until_today(**export(), also=also)]
    )

    def ways() -> list[int]:
        (outlets,) = [row[6] for row in kent.core.published["imports"]]
        return [way[0] for way in outlets[7]]

    assert ways() == [fake_core.OUTLET_GATEWAY, fake_core.OUTLET_DIRECT]
    async with kent.node.identity_lock:
        midnight(kent, monkeypatch)
        kent.node.tick()
        await asyncio.sleep(0)
        assert ways() == [fake_core.OUTLET_GATEWAY, fake_core.OUTLET_ENDED]


async def test_an_export_that_has_ended_is_announced_no_more_until_it_is_renewed(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    kent = await nodes.start(KENT, "kent-1", listens=[f"127.0.0.1:{port}"], exports=[until_today(**export())])
    link = {"peer": f"kent-1.{KENT}", "address": f"127.0.0.1:{port}"}
    met = await nodes.start(MET, "met-1", links=[link], imports=[entry()])
    await until_async(lambda: is_live(met))

    def announced() -> list[str]:
        edge = kent.node.config.node.id
        known = met.node.exchange.catalogue.newest(edge)
        return [] if known is None else [offer.service for offer in known.offers]

    assert announced() == ["custody"]
    # While something holds the lock, too.
    async with kent.node.identity_lock:
        midnight(kent, monkeypatch)
        kent.node.tick()
        await until_async(lambda: announced() == [] and met.imports() == [fake_core.IMPORT_DOWN])
    assert met.node.link_table.links
    later = {**export(), "until": datetime.now(UTC).date() + timedelta(days=30)}
    path = nodes.write(KENT, "kent-1", listens=[f"127.0.0.1:{port}"], exports=[later])
    fresh = LocalIdentity(config.load(path), clock=kent.node.clock)
    prepared = await kent.node.prepare(fresh.config)
    kent.node.take(fresh, prepared)
    await until_async(lambda: announced() == ["custody"])
    await until_async(lambda: is_live(met))
