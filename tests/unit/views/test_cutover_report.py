"""What a node tells for a report: the drills of what a plan falls back to, and the advice that was noted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from pcgrelay.admin.server import UID
from pcgrelay.cutover.part1 import part1_of
from pcgrelay.cutover.phases import Phase
from pcgrelay.cutover.publishable import patterns_found
from pcgrelay.cutover.report import report_files
from pcgrelay.cutover.report_words import summary
from pcgrelay.daemon.paper_api import PaperApi
from pcgrelay.drills.record import DrillOutlet, DrillRecord
from pcgrelay.gateway.advice import note_advice
from pcgrelay.gateway.drill_parts import Request
from pcgrelay.log.cutover_events import CutoverReported
from pcgrelay.views.cutover_report import report_facts
from tests.support.cut_over import CUSTODY, OPERATOR, PLAN, CutRunning, cut_running, stopped
from tests.support.nodes_in_process import Nodes
from tests.support.waiting import until_async as until

LEASED = 3  # index of the third outlet
ADVISED = f"""\
{PLAN.replace('back = ["cjx"]', 'back = ["cjx", "leased"]')}
[report]
title = "Custody records"
advice = ["information assurance", "finance"]
"""


@pytest.fixture
async def met(tmp_path: Path) -> AsyncIterator[CutRunning]:
    nodes = Nodes(tmp_path)
    running = await cut_running(nodes, third="leased")
    yield running
    await stopped(running)
    await nodes.stop()


async def arrived(met: CutRunning) -> None:
    await met.start_plan(ADVISED)
    for share in (1, 50, 100):
        await until(lambda share=share: met.share == share, 10)
        met.good()
    await until(lambda: met.phase is Phase.ARRIVED, 10)


def a_drill(outlet: str, **more: object) -> DrillRecord:
    outlets = (DrillOutlet(name=outlet, role="back-up", setups=4), DrillOutlet(name="psnp", role="usual"))
    values = {
        "id": f"2026-01-01-backup-{CUSTODY}", "kind": "backup", "subject": CUSTODY, "node": "met-1",
        "begun": "2026-01-01T03:00:00Z", "ended": "2026-01-01T03:10:00Z", "result": "passed", "outlets": outlets,
    }  # fmt: skip
    return DrillRecord(**{**values, **more})  # type: ignore[arg-type]


async def test_a_drill_that_was_held_is_in_both_parts(met: CutRunning) -> None:
    await arrived(met)
    before = report_facts(met.node, met.edge, met.cutover)
    assert before.drills == ()
    assert dict(summary(part1_of(before)))["Back-up"] == "not exercised yet"
    await met.edge.drills.begin(Request("backup", CUSTODY, 1.0), OPERATOR)
    await until(lambda: met.row[5].count(LEASED) == 200, 10)
    met.count(LEASED, tried=5, up=5, setup_us={64: 5})
    await until(lambda: met.edge.drills.running is None, 20)
    facts = report_facts(met.node, met.edge, met.cutover)
    (drill,) = facts.drills
    today = met.edge.days.today()
    assert (drill.on, drill.outlet, drill.passed, drill.lost) == (today, "leased", True, 0)
    files = report_files(facts)
    for name in ("part1.md", "part1.html"):
        text = files[name].decode()
        assert f"exercised on {today}: 0 connections lost" in text
        assert not [word for word in ("leased", "psnp", "cjx", "met-1", CUSTODY, "night shift") if word in text]
    assert patterns_found(files["part1.md"].decode()) == ""
    part2 = files["part2.md"].decode()
    assert f"| {today} | leased, 100 % of new connections for " in part2
    assert " s | passed: 5 of 5 set-ups got through | 5 | 0 |" in part2
    assert "leased, 100 % of new connections" in files["part2.html"].decode()


NOT_PASSED = "exercised on 2026-01-01: 0 connections lost; 1 of 1 not passed"


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (a_drill("leased"), "exercised on 2026-01-01: 0 connections lost"),
        (a_drill("cjx", result="failed"), NOT_PASSED),
        (a_drill("leased", result="stopped"), NOT_PASSED),
        (a_drill("leased", result="broken", outlets=()), NOT_PASSED),
        (
            a_drill(
                "leased",
                outlets=(
                    DrillOutlet(name="leased", role="back-up", setups=4, failed=3, moved=3),
                    DrillOutlet(name="psnp", role="usual", failed=3, moved=1, lost=2),
                ),
            ),
            "exercised on 2026-01-01: 2 connections lost",
        ),
        # What is moved to is no back-up, and neither is another service's.
        (a_drill("psnp"), "not exercised yet"),
        (a_drill("leased", subject="pnd@kent.police.example"), "not exercised yet"),
        (a_drill("leased", kind="relay-loss"), "not exercised yet"),
        (a_drill("leased", result="running"), "not exercised yet"),
        (a_drill("leased", result="failed", outlets=(), sentence="it could not begin: x"), "not exercised yet"),
    ],
)
async def test_what_counts_as_an_exercise_of_the_back_up(met: CutRunning, record: DrillRecord, words: str) -> None:
    await met.start_plan(ADVISED)
    met.edge.drills.records = [record]
    facts = report_facts(met.node, met.edge, met.cutover)
    assert dict(summary(part1_of(facts)))["Back-up"] == words


async def test_who_asked_for_a_report_is_on_record(met: CutRunning) -> None:
    await met.start_plan()
    answer = PaperApi(met.node).facts({"service": CUSTODY, UID: "7"})
    assert answer.code == 200
    (record,) = met.lines("cutover.reported")
    assert (record["service"], record["uid"]) == (CUSTODY, 7)
    assert CutoverReported.AUDIT
    assert PaperApi(met.node).facts({"service": "pnd@hub.example", UID: "7"}).code == 409
    assert len(met.lines("cutover.reported")) == 1


async def test_a_connection_that_was_lost_is_told(met: CutRunning) -> None:
    await met.start_plan(ADVISED)
    met.fail(2)  # led on from psnp,
    met.fail(1, moved=0)  # and nothing was left
    met.edge.cutovers.look_all()
    facts = report_facts(met.node, met.edge, met.cutover)
    assert met.cutover.lost == 1
    assert dict(summary(part1_of(facts)))["Effect on users"].startswith("1 connection lost; 1 was set up later")


async def test_advice_that_was_noted_is_in_both_parts_and_the_names_in_the_second(met: CutRunning) -> None:
    await met.start_plan(ADVISED)
    day = met.node.clock.wall().date() - timedelta(days=3)
    said = {"role": "Finance", "on": day.isoformat()}
    assert await note_advice(met.edge.cutovers, met.cutover, said, OPERATOR, met.node)
    facts = report_facts(met.node, met.edge, met.cutover)
    files = report_files(facts)
    part1 = files["part1.md"].decode()
    assert "| Information assurance | not on record | - |" in part1
    assert f"| Finance | ✓ | {day} |" in part1
    assert "night shift" not in part1
    assert f"| finance | {day} | {met.node.clock.wall():%Y-%m-%d}" in files["part2.md"].decode()
    assert "(night shift) Reason: INC-77" in files["part2.md"].decode().replace("\\", "")
    assert f"{day}" in files["part1.html"].decode()
