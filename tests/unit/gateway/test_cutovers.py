"""Cut-overs of a whole node with the fake core: forward is written and then published, backward the other way round."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from pcgrelay.cutover.phases import Event, Phase
from pcgrelay.cutover.report_facts import decode_facts, encode_facts
from pcgrelay.cutover.state import CutoverState
from pcgrelay.errors import ConfigError, RuleProblem, RunError
from pcgrelay.gateway.cutover_files import CutoverFiles
from pcgrelay.gateway.handover import to_handover
from pcgrelay.gateway.outlet_shares import move_shares
from pcgrelay.handover.node import decode_handover, encode_handover
from pcgrelay.views.cutover import cutover_list, cutover_status
from pcgrelay.views.cutover_report import report_facts
from tests.support.cut_over import (
    CUSTODY,
    NEW,
    OLD,
    OPERATOR,
    PLAN,
    WITH_SHADOWS,
    CutRunning,
    cut_running,
    stopped,
)
from tests.support.nodes_in_process import Nodes
from tests.support.waiting import until_async as until


def kept(running: CutRunning) -> CutoverState:
    assert running.node.state is not None
    found, lost = CutoverFiles(running.node.state.path).read()
    assert not lost
    return found[CUSTODY]


async def test_a_start_has_the_first_step_in_force_after_it_was_written(met: CutRunning) -> None:
    assert met.share == 0
    at_publication = []
    publish = met.core.publish

    def noted(**tables: object) -> None:
        publish(**tables)
        if met.share:
            at_publication.append((kept(met).progress.phase, kept(met).progress.step))

    met.core.publish = noted
    started = await met.start_plan()
    assert met.share == 1
    assert at_publication[0] == (Phase.SOAKING, 0)
    assert [each.what for each in started.requested.decisions] == ["started"]
    (line,) = met.lines("cutover.started")
    assert line["shares"] == {"psnp": 1.0, "cjx": 99.0}
    assert (line["by"], line["reason"], line["uid"]) == ("night shift", "INC-77", 0)


async def test_it_steps_by_itself_once_the_gate_is_open_and_arrives(met: CutRunning) -> None:
    await met.start_plan()
    met.good()
    await until(lambda: met.share == 50, 10)
    assert kept(met).progress.step == 1
    met.good()
    await until(lambda: met.share == 100, 10)
    met.good()
    await until(lambda: met.phase is Phase.ARRIVED, 10)
    await until(lambda: kept(met).progress.phase is Phase.ARRIVED, 10)
    assert [line["step"] for line in met.lines("cutover.stepped")] == [2, 3]
    status = cutover_status(met.node, met.edge, met.cutover)
    assert (status.phase, status.share) == ("arrived", 100)
    assert "proven quiet" in status.why


async def test_without_set_ups_it_waits_and_says_for_what(met: CutRunning) -> None:
    await met.start_plan(PLAN.replace("streams = 0", "streams = 30"))
    await until(lambda: met.cutover.progress.soaked_s >= 1, 10)
    met.look()
    assert met.share == 1
    status = cutover_status(met.node, met.edge, met.cutover)
    assert "30" in status.why
    assert any(each.question == "enough" and each.outcome == "open" for each in status.findings)


async def test_a_step_that_cannot_be_written_is_not_taken(met: CutRunning, monkeypatch: pytest.MonkeyPatch) -> None:
    await met.start_plan()

    def refuse(files: CutoverFiles, state: CutoverState) -> None:
        raise RunError("no space is left.")

    with monkeypatch.context() as patched:
        patched.setattr(CutoverFiles, "write", refuse)
        met.good()
        await until(lambda: bool(met.lines("state.unwritten")), 10)
        await until(lambda: bool(met.lines("cutover.refused")), 10)
        assert met.share == 1
        status = cutover_status(met.node, met.edge, met.cutover)
        assert any("cannot be written" in trouble for trouble in status.troubles)
        # The safe direction waits for nothing.
        requested = await met.ask(Event.FALL_BACK)
        assert met.share == 0
        assert "is not written" in requested.warnings[0]
    await until(lambda: kept(met).progress.phase is Phase.BACK, 10)


async def test_a_start_that_cannot_be_written_changes_nothing(met: CutRunning, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(files: CutoverFiles, state: CutoverState) -> None:
        raise RunError("no space is left.")

    monkeypatch.setattr(CutoverFiles, "write", refuse)
    with pytest.raises(RunError, match="No step forward was taken: no space is left"):
        await met.start_plan()
    assert met.share == 0
    assert met.edge.cutovers.get(CUSTODY) is None


async def test_back_is_published_before_it_is_written_and_wins_over_a_step(
    met: CutRunning, monkeypatch: pytest.MonkeyPatch
) -> None:
    await met.start_plan()
    go_on, waits, write = threading.Event(), threading.Event(), CutoverFiles.write

    def slow(files: CutoverFiles, state: CutoverState) -> None:
        waits.set()
        assert go_on.wait(20)
        write(files, state)

    monkeypatch.setattr(CutoverFiles, "write", slow)
    met.good()
    await until(lambda: met.cutover.is_stepping and waits.is_set(), 10)
    assert met.share == 1
    asked = asyncio.create_task(met.ask(Event.FALL_BACK))
    await until(lambda: met.phase is Phase.BACK)
    assert met.share == 0
    go_on.set()
    await asked
    await until(lambda: kept(met).progress.phase is Phase.BACK, 10)
    assert met.share == 0
    assert not met.lines("cutover.stepped")


async def test_failures_that_pairs_confirm_lead_back_and_nobody_else_is_asked(met: CutRunning) -> None:
    await met.start_plan(WITH_SHADOWS)
    met.good()
    met.look()
    met.core.shadow_ends = {OLD: "up", NEW: "refused"}
    began = asyncio.get_running_loop().time()
    met.fail(NEW)
    await until(lambda: met.phase is Phase.BACK)
    assert asyncio.get_running_loop().time() - began < 2
    assert met.share == 0
    assert met.lines("cutover.fell_back")[0]["sentence"].count("to 1")
    status = cutover_status(met.node, met.edge, met.cutover)
    assert (status.back_on, status.alarmed, status.moved) == ("cjx", True, 1)
    await until(lambda: kept(met).decisions[-1].verdict is not None)


async def test_a_target_that_is_down_on_both_sides_leads_nowhere(met: CutRunning) -> None:
    await met.start_plan(WITH_SHADOWS)
    met.good()
    met.look()
    met.core.shadow_ends = {OLD: "refused", NEW: "refused"}
    for client in range(50):
        met.fail(NEW, client)
        met.fail(OLD, client, moved=0)
        met.look()
        await asyncio.sleep(0.005)
    await until(lambda: len(met.core.shadows) >= 24)
    await asyncio.sleep(0.2)
    assert met.phase is Phase.SOAKING
    assert not met.lines("cutover.fell_back")
    # Nor is it time to step forward: the soak begins anew.
    met.look()
    assert (met.cutover.progress.step, met.cutover.progress.soaked_s) == (0, 0.0)
    # Nor does it keep the gate shut: these streams say nothing of either outlet.
    assert met.cutover.state.common == 50
    assert [met.cutover.state.compared(name).real.failed for name in ("psnp", "cjx")] == [0, 0]


async def test_one_client_that_fails_moves_nobody_where_pairs_succeed(met: CutRunning) -> None:
    await met.start_plan(WITH_SHADOWS)
    met.good()
    met.look()
    met.core.shadow_ends = {OLD: "up", NEW: "up"}
    for _ in range(10):
        met.fail(NEW, 7)
        met.look()
        await asyncio.sleep(0.02)
    await until(lambda: len(met.core.shadows) >= 24)
    assert met.phase is Phase.SOAKING


async def test_a_restart_has_the_step_that_was_written_and_its_soak_begins_again(nodes: Nodes) -> None:
    met = await cut_running(nodes)
    await met.start_plan()
    met.good()
    await until(lambda: met.share == 50, 10)
    await stopped(met)
    began = time.monotonic()
    again = await cut_running(nodes)
    assert again.share == 50
    assert again.cutover.progress.soaked_s <= time.monotonic() - began
    assert again.cutover.state.counts["psnp"].setups == 500
    assert [each.what for each in again.cutover.state.decisions] == ["started", "stepped"]


async def test_a_torn_file_leads_to_the_one_before_and_two_to_nothing_forward(nodes: Nodes) -> None:
    met = await cut_running(nodes)
    await met.start_plan()
    met.good()
    await until(lambda: met.share == 50, 10)
    await stopped(met)
    file = nodes.folder / "state" / "cutover" / f"{CUSTODY}.json"
    file.write_bytes(file.read_bytes()[:-100])
    again = await cut_running(nodes)
    assert again.share in (1, 50)
    await stopped(again)
    for each in file.parent.iterdir():
        each.write_bytes(b"{torn")
    lost = await cut_running(nodes)
    assert lost.share == 0
    (status,) = cutover_list(lost.node, lost.edge).cutovers
    assert (status.phase, status.service) == ("lost", CUSTODY)
    assert lost.lines("state.unreadable")[0]["lost"] is True
    with pytest.raises(RuleProblem, match="--again"):
        await lost.start_plan()
    await lost.start_plan(again=True)
    assert lost.share == 1


async def test_a_hand_over_takes_all_along(nodes: Nodes) -> None:
    met = await cut_running(nodes)
    await met.start_plan()
    met.good()
    await until(lambda: met.share == 50, 10)
    met.count(NEW, tried=3, up=3)
    record = decode_handover(encode_handover(to_handover(met.node)))
    (handed,) = record.cutovers
    assert handed.service == CUSTODY
    fresh = met.edge.cutovers
    fresh.restore(record.cutovers)
    assert fresh._left[CUSTODY].counts["psnp"].setups == 503


async def test_shares_are_not_set_by_hand_meanwhile_and_are_again_afterwards(met: CutRunning) -> None:
    await met.start_plan()
    with pytest.raises(RuleProblem, match="cut-over of custody"):
        await move_shares(met.node, met.edge, "custody", ["cjx=50", "psnp=50", "gateway=0"], OPERATOR)
    assert met.share == 1


@pytest.mark.parametrize(
    ("line", "other", "problem"),
    [
        ('from = "cjx"', 'from = "old"', "has no outlet old"),
        ("deadline = 2150-01-01", "deadline = 2020-01-31", "is past"),
        ('soak = "1s"', 'soak = "1 fortnight"', "is no soak"),
        (f'service = "{CUSTODY}"', 'service = "other@kent.police.example"', "does not import"),
    ],
)
async def test_a_plan_that_does_not_fit_is_refused_with_its_line(
    met: CutRunning, line: str, other: str, problem: str
) -> None:
    assert line in PLAN
    with pytest.raises(ConfigError, match=rf"custody\.plan\.toml:\d+: .*{problem}"):
        await met.start_plan(PLAN.replace(line, other))
    assert met.edge.cutovers.get(CUSTODY) is None


async def test_without_a_folder_it_is_refused(nodes: Nodes) -> None:
    met = await cut_running(nodes, state=False)
    with pytest.raises(ConfigError, match=r"\[node\]"):
        await met.start_plan()


async def test_a_return_needs_words(met: CutRunning) -> None:
    await met.start_plan()
    await met.ask(Event.FALL_BACK)
    with pytest.raises(RuleProblem, match="--again"):
        await met.start_plan()
    await met.start_plan(again=True)
    assert met.share == 1
    assert [each.what for each in met.cutover.state.decisions] == ["started", "fell_back", "started"]


async def test_pause_stays_and_resume_goes_on(met: CutRunning) -> None:
    await met.start_plan()
    await met.ask(Event.PAUSE)
    met.good()
    for _ in range(8):
        met.look()
        await asyncio.sleep(0.15)
    assert (met.share, met.phase) == (1, Phase.PAUSED)
    await met.ask(Event.RESUME)
    await until(lambda: met.share == 50, 10)
    with pytest.raises(RuleProblem):
        await met.ask(Event.RESUME)


async def test_a_report_is_made_from_what_the_node_knows(met: CutRunning) -> None:
    await met.start_plan()
    met.good()
    await until(lambda: met.share == 50, 10)
    facts = report_facts(met.node, met.edge, met.cutover)
    assert decode_facts(encode_facts(facts), Path("facts.json")) == facts
    assert [outlet.name for outlet in facts.outlets] == ["psnp", "cjx"]
    assert {"met-1", "met.police.example", "cjx", "127.0.0.9"} <= set(facts.names)
    assert facts.outlets[0].counts.setups == 500
    assert [each.what for each in facts.decisions] == ["started", "stepped"]
