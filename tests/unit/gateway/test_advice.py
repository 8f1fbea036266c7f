"""Advice on a cut-over: noted, withdrawn, refused, kept through a restart."""

from __future__ import annotations

import asyncio
import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pcgrelay import config, files
from pcgrelay.daemon.cutover_api import CutoverApi
from pcgrelay.daemon.run import make_node
from pcgrelay.log.writer import Log
from pcgrelay.state.folder import StateFolder
from tests.support import fake_core
from tests.support.cut_over import CUSTODY, PLAN, CutRunning, stopped
from tests.support.nodes_in_process import Nodes

ADVISED = PLAN + '\n[report]\nadvice = ["information assurance", "finance"]\n'


async def note(met: CutRunning, role: str, **more: str) -> tuple[int, dict[str, Any]]:
    """Ask as the command does."""
    query = {"service": "custody", "act": "advice", "role": role, "uid": "0", "by": "a.jones", "reason": "minute 7"}
    answer = await CutoverApi(met.node, asyncio.Lock()).acted({**query, **more}, b"")
    return answer.code, json.loads(answer.body)


def given(answer: dict[str, Any]) -> dict[str, str]:
    return {each["role"]: each["on"] for each in answer["advice"]}


async def test_it_is_noted_and_withdrawn(met: CutRunning) -> None:
    await met.start_plan(ADVISED)
    today = met.node.clock.wall().date()
    code, answer = await note(met, " Finance")
    assert (code, answer["changed"]) == (200, True)
    assert given(answer) == {"information assurance": "", "finance": today.isoformat()}
    (line,) = met.lines("cutover.advised")
    assert (line["role"], line["by"], line["withdrawn"]) == ("finance", "a.jones", False)
    # The latest of a role holds.
    earlier = (today - timedelta(days=9)).isoformat()
    _, answer = await note(met, "finance", on=earlier)
    assert given(answer)["finance"] == earlier
    assert len(met.cutover.state.advice) == 1
    _, answer = await note(met, "finance", withdraw="1")
    assert (answer["changed"], given(answer)["finance"]) == (True, "")
    _, answer = await note(met, "finance", withdraw="1")
    assert answer["changed"] is False
    assert [line["withdrawn"] for line in met.lines("cutover.advised")] == [False, False, True]


@pytest.mark.parametrize(
    ("role", "on", "words"),
    [
        ("legal", "", 'asks no "legal" for advice; it asks: information assurance, finance.'),
        ("", "", 'asks no "" for advice'),
        ("finance", "yesterday", '--on "yesterday" is no date; write it as 2020-01-30.'),
        ("finance", "2149-12-31", "--on 2149-12-31 lies ahead"),
        ("\x1b[2J", "", 'asks no "\\x1b[2J" for advice'),
    ],
)
async def test_what_is_no_advice_is_refused(met: CutRunning, role: str, on: str, words: str) -> None:
    await met.start_plan(ADVISED)
    code, answer = await note(met, role, on=on)
    assert (code, answer["exit_code"]) == (409, 2)
    assert words in answer["reason"]
    assert met.cutover.state.advice == ()
    assert not met.lines("cutover.advised")


async def test_a_plan_that_asks_for_none_says_so(met: CutRunning) -> None:
    await met.start_plan()
    _, answer = await note(met, "finance")
    assert "it asks for none ([report] advice)" in answer["reason"]


async def test_it_is_kept(nodes: Nodes, met: CutRunning) -> None:
    await met.start_plan(ADVISED)
    await note(met, "finance")
    kept = json.loads((nodes.folder / "state" / "cutover" / f"{CUSTODY}.json").read_text())
    assert [each["role"] for each in kept["body"]["advice"]] == ["finance"]
    path = met.node.config.path
    await stopped(met)
    running = CutRunning(make_node(config.load(path), fake_core, Log("debug", io.StringIO())), io.StringIO())
    nodes.running.append(running)
    running.node.state = StateFolder.take(nodes.folder / "state")
    await running.node.start()
    assert [each.by for each in running.cutover.state.advice] == ["a.jones"]


async def test_what_cannot_be_written_does_not_hold(met: CutRunning, monkeypatch: pytest.MonkeyPatch) -> None:
    await met.start_plan(ADVISED)
    await note(met, "finance", on="2026-01-01")

    def full(path: Path, data: bytes, mode: int = 0) -> None:
        raise files.RunError("No space is left.")

    monkeypatch.setattr("pcgrelay.state.file.write_replacing", full)
    code, answer = await note(met, "finance", withdraw="1")
    assert (code, answer["exit_code"]) == (409, 1)
    assert [each.on.isoformat() for each in met.cutover.state.advice] == ["2026-01-01"]
