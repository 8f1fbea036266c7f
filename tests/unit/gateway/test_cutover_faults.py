"""What may befall a cut-over beside a gateway that fails, on a whole node with the fake core, each alone."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from pcgrelay import config
from pcgrelay.admin.condition import troubles
from pcgrelay.admin.cutover_answers import CutoverStatus
from pcgrelay.admin.server import UID
from pcgrelay.cli.cutover.condition import code_of
from pcgrelay.cutover.phases import Event, Phase
from pcgrelay.cutover.state import Counts
from pcgrelay.daemon.cutover_api import CutoverApi
from pcgrelay.daemon.run import make_node
from pcgrelay.errors import ConfigError, RuleProblem
from pcgrelay.gateway.cutover_files import CutoverFiles
from pcgrelay.gateway.handover import to_handover
from pcgrelay.gateway.outlet_shares import move_shares
from pcgrelay.handover.node import decode_handover, encode_handover
from pcgrelay.log.writer import Log
from pcgrelay.state.file import BEFORE
from pcgrelay.state.folder import StateFolder
from pcgrelay.views.cutover import cutover_list, cutover_status
from pcgrelay.views.status import node_status
from tests.support import fake_core
from tests.support.cut_over import (
    CUSTODY,
    LONG,
    NEW,
    OLD,
    OPERATOR,
    PLAN,
    WITH_SHADOWS,
    CutRunning,
    Time,
    cut_running,
    direct,
    lead_nowhere,
    looks,
    stopped,
    written,
)
from tests.support.nodes_in_process import Nodes
from tests.support.waiting import until_async as until

TODAY = datetime.now(UTC).date()


def sentences(met: CutRunning) -> list[str]:
    return [trouble.sentence for trouble in troubles(node_status(met.node))]


# --- one of the outlets fails --------------------------------------------------------------------------------------


async def test_an_old_outlet_that_fails_is_told_and_moves_no_share(met: CutRunning, time: Time) -> None:
    await met.start_plan(LONG.replace("steps = [1,", "steps = [5,"))
    met.good()
    met.look()
    met.edge.outlets.tick()
    for client in range(30):
        # All of them are led on to the new outlet, as the order says.
        met.fail(OLD, client)
        met.look()
    await looks(met, time, 4)
    assert (met.phase, met.share) == (Phase.SOAKING, 5)
    assert set(met.row[6]) >= {OLD, NEW}
    status = cutover_status(met.node, met.edge, met.cutover)
    assert (status.odds, status.moved, status.lost) == (1.0, 30, 0)
    met.edge.outlets.tick()
    time.passes(3)
    met.edge.outlets.tick()
    (line,) = met.lines("outlet.failing")
    assert (line["outlet"], line["reason"]) == ("cjx", "its last 30 set-ups failed (refused)")
    assert any("The outlet cjx of" in sentence for sentence in sentences(met))


async def test_an_old_outlet_that_is_away_leaves_its_slots_to_the_other_at_once(met: CutRunning, time: Time) -> None:
    await met.start_plan(LONG.replace("steps = [1,", "steps = [5,"))
    lead_nowhere(met, "cjx")
    await looks(met, time)
    # What is dealt to it has nowhere to go there, and the core passes it on: first in the order is the other.
    assert (met.phase, met.share) == (Phase.SOAKING, 5)
    assert met.row[7][OLD][2] == ()
    assert met.row[6][0] == NEW
    with pytest.raises(RuleProblem, match="nothing it could go to is well and in support"):
        await met.ask(Event.FALL_BACK)


async def test_a_service_that_is_marked_higher_takes_neither_outlet_whatever_its_step_says(
    met: CutRunning, time: Time
) -> None:
    await met.start_plan(LONG.replace("steps = [1,", "steps = [5,"))
    met.edge.services.imports[0].marking = 2
    met.edge.tables.publisher.now()
    await looks(met, time)
    assert [met.row[7][outlet][0] for outlet in (OLD, NEW)] == [fake_core.OUTLET_FORBIDDEN] * 2
    assert set(met.row[5]) == set(met.row[6]) == {0}


async def test_while_both_are_away_nothing_steps_and_nothing_falls_back(met: CutRunning, time: Time) -> None:
    await met.start_plan()
    met.good()
    lead_nowhere(met, "psnp", "cjx")
    await looks(met, time, 24, 10)
    assert met.phase is Phase.SOAKING
    assert met.cutover.progress.step == 0
    assert not met.lines("cutover.stepped") + met.lines("cutover.fell_back")
    # Since nothing was well, nothing counts as having succeeded meanwhile.
    assert met.cutover.progress.hold.total_s == 0


async def test_what_this_node_has_no_room_for_speaks_against_no_outlet(met: CutRunning, time: Time) -> None:
    await met.start_plan(WITH_SHADOWS.replace('soak = "1s"', 'soak = "1h"'))
    met.good()
    met.look()
    shadows = len(met.core.shadows)
    before = met.cutover.state.compared("psnp"), met.cutover.state.compared("cjx")
    for index in (OLD, NEW):
        met.count(index, tried=500, local=500)
        met.core.emit(fake_core.EVENT_SETUP_ENDED, met.imports[0], index, "local", "local", 0, 0, 0, bytes(16), 0, 9)
    await looks(met, time, 4, 0.1)
    assert (met.cutover.state.compared("psnp"), met.cutover.state.compared("cjx")) == before
    assert met.cutover.progress.evidence.facts.odds.is_rest
    # At most the pair that its pace has due, and no burst.
    assert len(met.core.shadows) - shadows <= 2
    assert met.cutover.lost == 0


async def test_an_alarm_is_none_the_less_one_while_it_is_paused(met: CutRunning) -> None:
    await met.start_plan(WITH_SHADOWS)
    met.good()
    await met.ask(Event.PAUSE)
    met.core.shadow_ends = {OLD: "up", NEW: "refused"}
    met.fail(NEW)
    await until(lambda: met.phase is Phase.BACK)
    assert met.share == 0
    assert met.cutover.progress.is_alarmed


async def test_whoever_goes_back_waits_for_no_new_outlet_that_is_away(met: CutRunning, time: Time) -> None:
    await met.start_plan(LONG)
    lead_nowhere(met, "psnp")
    await looks(met, time, 2)
    assert met.cutover.progress.hold.is_held
    await met.ask(Event.FALL_BACK)
    assert (met.phase, met.share, met.cutover.progress.back_on) == (Phase.BACK, 0, "cjx")
    assert not met.cutover.progress.is_alarmed


async def test_with_nothing_in_support_the_shares_stay_and_that_is_grave(nodes: Nodes, time: Time) -> None:
    met = await cut_running(nodes, supported_until=TODAY + timedelta(days=20))
    await met.start_plan(LONG.replace("deadline = 2150-01-01", f"deadline = {TODAY + timedelta(days=10)}"))
    met.good()
    time.jump(timedelta(days=21))
    met.look()
    for client in range(40):
        met.fail(NEW, client)
        met.count(OLD, tried=9, up=9)
        met.look()
    assert met.cutover.progress.is_nowhere
    assert (met.phase, met.share) == (Phase.SOAKING, 1)
    assert len(met.lines("cutover.nowhere")) == 1
    assert code_of(cutover_status(met.node, met.edge, met.cutover)) == 3
    assert any(trouble.is_grave and "nowhere to go" in trouble.sentence for trouble in troubles(node_status(met.node)))
    with pytest.raises(RuleProblem, match="nothing it could go to"):
        await met.ask(Event.FALL_BACK)
    # Support that is prolonged is taken at once.
    direct(met, "cjx").bearer = direct(met, "psnp").bearer
    await until(lambda: met.phase is Phase.BACK)
    assert met.share == 0


# --- the clock -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [1, -1])
async def test_a_clock_that_jumps_a_day_costs_an_hour_and_no_share(met: CutRunning, time: Time, days: int) -> None:
    await met.start_plan()
    met.good()
    met.edge.days.tick()
    met.look()
    time.jump(timedelta(days=days))
    met.look()
    met.edge.days.tick()
    met.good()
    await looks(met, time, 59, 60.0)
    assert met.share == 1
    assert "jumped" in met.lines("cutover.held")[0]["sentence"]
    assert met.lines("quiet.doubtful")
    assert not met.edge.days.quiet(met.cutover.imported.settings.service, "cjx").days  # type: ignore[union-attr]
    await looks(met, time, 2, 60.0)
    await until(lambda: met.share == 50)


async def test_an_upgrade_within_the_hour_after_a_jump_steps_no_sooner(
    nodes: Nodes, met: CutRunning, time: Time
) -> None:
    await met.start_plan()
    time.jump(timedelta(days=1))
    met.look()
    met.good()
    time.passes(60)
    record = decode_handover(encode_handover(to_handover(met.node)))
    assert CutoverFiles(nodes.folder / "state").read()[0][CUSTODY].progress.jumped_at_s is None
    await stopped(met)
    path = met.node.config.path
    running = CutRunning(make_node(config.load(path), fake_core, Log("debug", sink := io.StringIO())), sink)
    nodes.running.append(running)
    running.node.state = StateFolder.take(nodes.folder / "state")
    running.edge.cutovers.restore(record.cutovers)
    await running.node.start()
    running.good()
    await looks(running, time, 58, 60.0)
    assert running.share == 1
    await looks(running, time, 2, 60.0)
    await until(lambda: running.share == 50)


async def test_a_deadline_that_passes_forces_nothing_and_is_told(met: CutRunning, time: Time) -> None:
    await met.start_plan(LONG.replace("deadline = 2150-01-01", f"deadline = {TODAY + timedelta(days=10)}"))
    time.jump(timedelta(days=12))
    await looks(met, time, 4)
    status = cutover_status(met.node, met.edge, met.cutover)
    assert (met.phase, met.share, status.late, code_of(status)) == (Phase.SOAKING, 1, True, 4)
    assert any("is late" in sentence for sentence in sentences(met))


async def test_what_was_counted_is_written_each_minute(nodes: Nodes, met: CutRunning, time: Time) -> None:
    await met.start_plan(LONG)

    def on_disk() -> dict[str, Counts]:
        return CutoverFiles(nodes.folder / "state").read()[0][CUSTODY].counts

    met.good(300)
    met.look()
    assert on_disk() == {}
    time.passes(61)
    met.look()
    await until(lambda: "psnp" in on_disk())
    assert on_disk()["psnp"].setups == 300


# --- the file ------------------------------------------------------------------------------------------------------


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "torn": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "older": lambda data: data.replace(b'"version":1', b'"version":0', 1),
    "newer": lambda data: data.replace(b'"version":1', b'"version":2', 1),
    "of another kind": lambda data: data.replace(b"pcgrelay cutover", b"pcgrelay outlets", 1),
    "changed": lambda data: data.replace(b'"cjx"', b'"cjy"', 1),
    "no text": lambda data: bytes(range(256)) * 64,
    "of another service": lambda data: data.replace(b"custody@", b"custodx@"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
async def test_a_file_that_makes_no_sense_leaves_the_configurations_outlet(
    nodes: Nodes, damage: Callable[[bytes], bytes]
) -> None:
    met = await cut_running(nodes)
    # Whatever somebody set before it began is not remembered instead.
    await move_shares(met.node, met.edge, CUSTODY, ["gateway=0", "cjx=20", "psnp=80"], OPERATOR)
    await met.start_plan()
    met.good()
    await until(lambda: met.share == 50, 10)
    await stopped(met)
    file = nodes.folder / "state" / "cutover" / f"{CUSTODY}.json"
    for each in (file, file.with_name(file.name + BEFORE)):
        whole = each.read_bytes()
        each.write_bytes(damage(whole))
        assert each.read_bytes() != whole
    lost = await cut_running(nodes)
    assert lost.share == 0
    assert lost.row[5].count(OLD) == 200
    (status,) = cutover_list(lost.node, lost.edge).cutovers
    assert (status.phase, code_of(status)) == ("lost", 3)
    assert any(
        trouble.is_grave and "cannot be read" in trouble.sentence for trouble in troubles(node_status(lost.node))
    )
    lost.good()
    for _ in range(8):
        lost.look()
    assert lost.share == 0
    # By hand anybody may do what has to be done.
    await move_shares(lost.node, lost.edge, CUSTODY, ["gateway=0", "cjx=90", "psnp=10"], OPERATOR)
    assert lost.share == 10


async def test_a_lost_file_and_an_outlet_without_support_leave_the_gateway(nodes: Nodes, time: Time) -> None:
    met = await cut_running(nodes, supported_until=TODAY + timedelta(days=20))
    await met.start_plan(LONG.replace("deadline = 2150-01-01", f"deadline = {TODAY + timedelta(days=10)}"))
    await until(lambda: CutoverFiles(nodes.folder / "state").read()[0] != {})
    await stopped(met)
    for each in (nodes.folder / "state" / "cutover").iterdir():
        each.write_bytes(b"{torn")
    time.jump(timedelta(days=30))
    lost = await cut_running(nodes, supported_until=TODAY + timedelta(days=20))
    assert lost.row[5].count(0) == 200


# --- a reload ------------------------------------------------------------------------------------------------------


async def test_a_reload_while_a_step_is_being_written_takes_nothing_away_and_undoes_nothing(
    nodes: Nodes, met: CutRunning, monkeypatch: pytest.MonkeyPatch
) -> None:
    await met.start_plan()
    go_on, waits, write = threading.Event(), threading.Event(), CutoverFiles.write

    def slow(files: CutoverFiles, state: object) -> None:
        waits.set()
        assert go_on.wait(20)
        write(files, state)  # type: ignore[arg-type]

    monkeypatch.setattr(CutoverFiles, "write", slow)
    met.good()
    await until(lambda: met.cutover.is_stepping and waits.is_set(), 10)
    listen = str(met.node.local.config.imports[0].listeners[0])
    with pytest.raises(ConfigError, match="take its outlet cjx away"):
        await met.reload(written(nodes, "psnp", listen=listen, outlet="gateway"))
    # Another address of the old network, and another listener: the import is another one then.
    await met.reload(written(nodes, "cjx", "psnp"))
    assert (met.share, met.cutover.is_stepping) == (1, True)
    go_on.set()
    await until(lambda: met.share == 50)
    met.good()
    await until(lambda: met.share == 100, 10)
    assert [line["step"] for line in met.lines("cutover.stepped")] == [2, 3]


# --- who asks twice, or for something else --------------------------------------------------------------------------


async def test_a_start_that_is_repeated_changes_nothing(met: CutRunning) -> None:
    await met.start_plan(LONG)
    decisions = met.cutover.state.decisions
    for again in (False, True):
        started = await met.start_plan(LONG, again=again)
        assert started.cutover is met.cutover
        assert started.requested.decisions == ()
    assert (met.share, met.cutover.state.decisions) == (1, decisions)
    assert len(met.lines("cutover.started")) == 1


async def test_a_plan_that_was_edited_is_refused_with_its_lines_while_the_other_runs(met: CutRunning) -> None:
    await met.start_plan(LONG)
    edited = LONG.replace("steps = [1, 50, 100]", "steps = [100]")
    with pytest.raises(RuleProblem) as refused:
        await met.start_plan(edited)
    number = LONG.splitlines().index("steps = [1, 50, 100]") + 1
    assert str(refused.value).splitlines()[1:] == [f"-{number}: steps = [1, 50, 100]", f"+{number}: steps = [100]"]
    assert (met.share, met.cutover.plan.steps) == (1, (1.0, 50.0, 100.0))
    await met.ask(Event.FALL_BACK)
    await met.start_plan(edited, again=True)
    assert met.share == 100


async def test_whoever_asks_at_the_admin_socket_hears_the_same(met: CutRunning) -> None:
    api = CutoverApi(met.node, asyncio.Lock())

    async def asked(act: str, body: str = "", **more: str) -> tuple[int, CutoverStatus]:
        answer = await api.acted({"service": CUSTODY, "act": act, UID: "0", "reason": "INC-77", **more}, body.encode())
        return answer.code, msgspec.json.decode(answer.body, type=CutoverStatus)

    code, told = await asked("start", LONG)
    assert (code, told.changed, told.exit_code) == (200, True, 0)
    code, told = await asked("start", LONG)
    assert (code, told.changed, told.exit_code, told.phase) == (200, False, 0, "soaking")
    code, told = await asked("start", LONG.replace('"1h"', '"2h"'))
    assert (code, told.exit_code) == (409, 6)
    assert '+7: soak = "2h"' in told.reason
    await asked("back")
    # Unless it is named, what is left is meant.
    code, told = await asked("nudge")
    assert (code, told.exit_code) == (409, 1)
    assert "is open on psnp" in told.reason
    code, told = await asked("nudge", outlet="cjx")
    assert (code, told.exit_code) == (409, 6)


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        (CUSTODY, "custody@other.police.example", r":2: cutover\.service: .*does not import"),
        (CUSTODY, "custody", r":2: cutover\.service: "),
        ("50, 100]", "50, 101]", r":6: cutover\.steps"),
        ("50, 100]", "nan, 100]", r":6: cutover\.steps"),
        ('"1000 %"', '"nan %"', r":\d+: gate\."),
        ('soak = "1s"', 'soak = "1\\u001bs"', r":7: cutover\.soak"),
        ('soak = "1s"', "soak = 1\x1b", "not valid TOML"),
        ("[gate]", "#" * 10_000_000 + "\n[gate]", "larger than 64 KiB"),
    ],
    ids=["service", "no service", "percent", "nan", "margin", "control", "escape", "size"],
)
async def test_a_plan_that_is_not_for_this_node_is_refused_whole(
    met: CutRunning, before: str, after: str, problem: str
) -> None:
    assert before in PLAN
    with pytest.raises(ConfigError, match=problem) as refused:
        await met.start_plan(PLAN.replace(before, after))
    assert str(refused.value).isprintable()
    assert refused.value.exit_code == 78
    assert met.edge.cutovers.get(CUSTODY) is None
    assert met.share == 0
