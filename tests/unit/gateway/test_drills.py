"""Drills of an edge, with the fake core: begun, refused, stopped, kept, due, and begun by the node itself."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from pcgrelay.admin.condition import Condition, condition_of, troubles
from pcgrelay.admin.metrics import metrics_text
from pcgrelay.drills.due import moment_text
from pcgrelay.drills.record import DrillRecord
from pcgrelay.errors import ConfigError, RuleProblem, RunError
from pcgrelay.gateway import drills as drills_module
from pcgrelay.gateway.actor import Actor
from pcgrelay.gateway.drill_files import RECORDS_MOST, DrillFiles
from pcgrelay.gateway.drill_parts import Request
from pcgrelay.services.shares import ShareChange
from pcgrelay.state.file import is_whole
from pcgrelay.views.drills import drill_list
from pcgrelay.views.status import node_status
from tests.support import fake_core
from tests.support.drilled_edges import CUSTODY, begun, met
from tests.support.metric_samples import value
from tests.support.nodes_in_process import KENT, Nodes
from tests.support.outlet_nodes import stop
from tests.support.waiting import until_async as until


async def test_new_streams_take_the_back_up_and_then_the_usual_outlet_again(nodes: Nodes) -> None:
    running = await met(nodes)
    assert running.counts() == [0, 200, 0]
    record = await running.begin()
    assert record.id.endswith(f"-backup-{CUSTODY}")
    await begun(running)
    # Pairs of connections of the node's own came first.
    assert len(running.core.shadows) >= 24
    (line,) = running.lines("drill.begun")
    assert (line["by"], line["reason"], line["kind"]) == ("night shift", "CR-7", "backup")
    assert running.edge.outlets.why_not_by_hand(running.edge.services.imports[0].settings.service)
    assert running.edge.why_no_upgrade()
    with pytest.raises(RuleProblem, match="One drill at a time"):
        await running.begin()
    running.edge.drills.stop("stopped by a person")
    record = await running.ended()
    assert (record.result, record.sentence) == ("stopped", "stopped by a person")
    assert running.counts() == [0, 200, 0]
    assert not running.edge.why_no_upgrade()
    await until(lambda: running.lines("drill.ended"))
    file = nodes.folder / "state" / "drills" / f"{record.id}.json"
    # It is told first, and written then.
    await until(lambda: json.loads(file.read_text())["body"]["result"] == "stopped")
    await stop(running)


async def test_a_service_that_is_marked_higher_meanwhile_leaves_its_back_up_at_once(nodes: Nodes) -> None:
    running = await met(nodes)
    await running.begin()
    await begun(running)
    (imported,) = running.edge.services.imports
    assert imported.outlets is not None
    imported.marking = 2
    running.edge.tables.publisher.now()
    assert running.counts() == [200, 0, 0]
    (row,) = [row[6] for row in running.core.published["imports"]]
    assert [way[0] for way in row[7][1:]] == [fake_core.OUTLET_FORBIDDEN] * 2
    assert "its network is for less than the marking of the service" in (await running.ended()).sentence
    assert running.counts() == [200, 0, 0]
    with pytest.raises(RunError, match="its network is for less than the marking of the service"):
        await running.begin()
    assert running.counts() == [200, 0, 0]
    await stop(running)


async def test_a_part_of_new_streams(nodes: Nodes) -> None:
    running = await met(nodes)
    await running.begin(Request("backup", CUSTODY, 50.0, 25.0))
    await until(lambda: running.counts() == [0, 150, 50], 10)
    # Somebody takes the back-up out of the configuration, or decides something else: it is of no use any more.
    running.edge.outlets.shares.state = running.edge.outlets.shares.state.with_change(
        ShareChange(
            service=CUSTODY,
            shares={"gateway": 50.0, "cjx": 50.0, "psnp": 0.0},
            before={},
            at="2026-11-01T00:00:00Z",
            uid=0,
        )
    )
    assert (await running.ended()).sentence == "its shares were to change meanwhile"
    assert running.counts() == [100, 100, 0]
    await stop(running)


async def test_a_drain_and_the_end_of_the_node_stop_it(nodes: Nodes) -> None:
    running = await met(nodes)
    await running.begin()
    await begun(running)
    running.node.drain_begin(0)
    assert (await running.ended()).sentence == "the node drains"
    with pytest.raises(RuleProblem, match="drains"):
        await running.begin()
    running.node.draining = False
    await running.begin()
    await begun(running)
    await stop(running)
    records, _ = DrillFiles(nodes.folder / "state").read()
    assert records[-1].sentence == "the node stops"


async def test_without_a_folder_there_is_none(nodes: Nodes) -> None:
    running = await met(nodes, state=False)
    with pytest.raises(ConfigError, match="no folder for its record"):
        await running.begin()
    assert running.counts() == [0, 200, 0]


async def test_what_cannot_be_held_is_refused_by_its_name(nodes: Nodes) -> None:
    running = await met(nodes)
    for request, words in (
        (Request("relay-loss", "relay-1.hub.example", 5.0), "No link with relay-1.hub.example is up here"),
        (Request("relay-loss", "no name", 5.0), "write for example relay-1.hub.example"),
        (Request("bearer-loss", "psn", 5.0), "No link over psn is up here"),
        (Request("restore", "", 5.0), "There is no drill restore"),
        (Request("backup", f"pnd@{KENT}", 5.0), "has one outlet"),
    ):
        with pytest.raises(RunError, match=words):
            await running.begin(request)
    assert not (nodes.folder / "state" / "drills").exists()
    await stop(running)


async def test_an_outlet_that_is_to_fall_silent_is_never_used(nodes: Nodes) -> None:
    running = await met(nodes)
    moved = SimpleNamespace(moves_away_from=lambda outlet: True, plan=SimpleNamespace(quiet_days=35))
    running.edge.cutovers.get = lambda service: moved  # type: ignore[method-assign, assignment, return-value]
    running.edge.cutovers.quiet_days = lambda plan: 12  # type: ignore[method-assign]
    with pytest.raises(RuleProblem, match="moved away from psnp, and a drill would cost its 12 of 35 days of quiet"):
        await running.begin()
    # One beside it is used.
    moved.moves_away_from = lambda outlet: outlet == "gateway"
    await running.begin()
    await begun(running)
    await stop(running)


@asynccontextmanager
async def refused(act: str, text: str, actor: Actor) -> AsyncIterator[None]:
    raise RuleProblem("two have to sign")
    yield


async def test_outside_of_its_window_only_even_so_and_approved(nodes: Nodes) -> None:
    weekday = (datetime.now(UTC) + timedelta(days=3)).strftime("%a").lower()
    running = await met(nodes, drills=[{"kind": "backup", "every": "90d", "window": f"{weekday} 03:00-05:00"}])
    with pytest.raises(RuleProblem, match=f"its window is {weekday} 03:00-05:00 UTC, and opens"):
        await running.begin()
    even_so = Request("backup", CUSTODY, 50.0, even_so=True)
    with pytest.raises(RuleProblem, match="two have to sign"):
        await running.begin(even_so, acting=refused)
    asked: list[str] = []

    @asynccontextmanager
    async def approved(act: str, text: str, actor: Actor) -> AsyncIterator[None]:
        asked.append(f"{act} {actor.by}: {text}")
        yield

    record = await running.begin(even_so, acting=approved)
    assert record.even_so
    assert asked[0].startswith(f"drill --even-so night shift: backup {CUSTODY}: its window is")
    await stop(running)


def a_record(number: int, result: str = "passed", day: str = "2026-01-01") -> DrillRecord:
    begun = f"{day}T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}Z"
    return DrillRecord(
        id=f"{day}-backup-{CUSTODY}-{number}", kind="backup", subject=CUSTODY, node="met-1", begun=begun, ended=begun,
        result=result,
    )  # fmt: skip


async def test_a_record_that_was_altered_does_not_count(nodes: Nodes) -> None:
    files = DrillFiles(nodes.folder / "state")
    (nodes.folder / "state").mkdir(mode=0o700)
    today = moment_text(datetime.now(UTC))[:10]
    files.write(a_record(1, "failed", today))
    path = nodes.folder / "state" / "drills" / f"{a_record(1, day=today).id}.json"
    path.write_text(path.read_text().replace('"failed"', '"passed"'))
    files.write(a_record(2, "passed", today))
    renamed = path.with_name(f"{a_record(3, day=today).id}.json")
    renamed.write_text((path.with_name(f"{a_record(2, day=today).id}.json")).read_text())
    running = await met(nodes)
    assert [each.id for each in running.edge.drills.records] == [a_record(2, day=today).id]
    assert {line["file"] for line in running.lines("state.unreadable")} == {
        f"drills/{path.name}", f"drills/{renamed.name}",
    }  # fmt: skip
    await stop(running)


def test_a_record_with_a_time_that_is_none_is_no_record(tmp_path: Path) -> None:
    """Its digest may be right: whoever may write there can make one."""
    files, record = DrillFiles(tmp_path), a_record(1)
    files.write(record)
    path = tmp_path / "drills" / f"{record.id}.json"
    whole = json.loads(path.read_text())
    for time in ("2026-13-01T00:00:00Z", "2026-11-01 00:00:00", "yesterday"):
        body = json.dumps(whole["body"] | {"ended": time}, separators=(",", ":"))
        envelope = whole | {"sha256": hashlib.sha256(body.encode()).hexdigest()}
        text = json.dumps(envelope | {"body": None}).replace("null", body)
        path.write_text(text)
        assert is_whole(text.encode())
        assert files.read() == ([], [f"drills/{path.name}"])


async def test_one_that_ran_when_the_node_died_was_broken_off(nodes: Nodes) -> None:
    files = DrillFiles(nodes.folder / "state")
    (nodes.folder / "state").mkdir(mode=0o700)
    files.write(a_record(1, "running"))
    running = await met(nodes)
    (record,) = running.edge.drills.records
    assert (record.result, record.sentence) == ("broken", "the node ended while it ran; all is as it was before")
    assert running.counts() == [0, 200, 0]
    await stop(running)
    again = await met(nodes)
    assert [each.result for each in again.edge.drills.records] == ["broken"]
    assert not again.lines("drill.ended")
    await stop(again)


async def test_the_oldest_records_go(nodes: Nodes) -> None:
    files = DrillFiles(nodes.folder / "state")
    (nodes.folder / "state").mkdir(mode=0o700)
    for number in range(RECORDS_MOST):
        files.write(a_record(number))
    running = await met(nodes)
    await running.begin()
    await begun(running)
    running.edge.drills.stop("enough")
    await running.ended()
    await until(lambda: files.read()[0][-1].result == "stopped" and len(files.read()[0]) == RECORDS_MOST)
    records, odd = files.read()
    assert odd == []
    assert records[0].id == a_record(1).id
    await stop(running)


async def test_one_that_is_overdue_is_told(nodes: Nodes) -> None:
    running = await met(nodes, drills=[{"kind": "backup", "every": "90d"}])
    status = node_status(running.node)
    words = f"The drill backup {CUSTODY} was never held."
    assert words in [each.sentence for each in troubles(status)]
    series = {"name": "pcgrelay_drill_due_timestamp_seconds", "kind": "backup", "subject": CUSTODY}
    assert value(metrics_text(status, {}), **series) == 0
    now = datetime.now(UTC)
    running.edge.drills.records.append(a_record(1, day=moment_text(now)[:10]))
    status = node_status(running.node)
    assert words not in [each.sentence for each in troubles(status)]
    assert condition_of(status, [each for each in troubles(status) if "drill" in each.sentence]) is Condition.READY
    assert value(metrics_text(status, {}), **series) > 0
    assert 'pcgrelay_drill_last_timestamp_seconds{kind="backup"' in metrics_text(status, {})
    (due,) = drill_list(running.edge.drills, now).dues
    assert (due.overdue, due.sentence) == (False, "")
    await stop(running)


async def test_the_node_begins_one_by_itself_and_not_twice_a_day(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drills_module, "AUTO_FIRST_MS", 0)
    drill = {"kind": "backup", "every": "90d", "window": "daily 00:00-24:00", "auto": True, "for": "50s", "share": 25}
    running = await met(nodes, drills=[drill])
    running.edge.drills.tick()
    await until(lambda: running.counts() == [0, 150, 50], 10)
    running_record = running.edge.drills.running
    assert running_record is not None
    assert (running_record.auto, running_record.uid) == (True, None)
    running.edge.drills.stop("enough")
    await running.ended()
    running.edge.drills.tick()
    await asyncio.sleep(0)
    assert running.edge.drills.running is None
    await stop(running)


async def test_one_that_cannot_begin_by_itself_is_kept_as_failed(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drills_module, "AUTO_FIRST_MS", 0)
    drill = {"kind": "relay-loss", "every": "90d", "window": "daily 00:00-24:00", "auto": True}
    running = await met(nodes, drills=[drill])
    running.edge.drills.tick()
    await until(lambda: running.lines("drill.refused"))
    (record,) = running.edge.drills.records
    assert record.result == "failed"
    assert record.sentence.startswith("it could not begin: No link with relay-1.hub.example is up here")
    for _ in range(3):
        running.edge.drills.tick()
        await asyncio.sleep(0)
    assert len(running.edge.drills.records) == 1
    await stop(running)
