"""What a rehearsal says in the end: never more than its own list."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pcgrelay.admin.cutover_answers import Rehearsal
from pcgrelay.cutover.gate import GateFacts, judge_gate
from pcgrelay.cutover.histogram import Histogram
from pcgrelay.cutover.questions import Levels
from pcgrelay.cutover.samples import Limits, Outlet, Samples
from pcgrelay.gateway.cutover_rehearsal import LEVEL, Rehearsed
from pcgrelay.views.cutover_rehearsal import rehearsal_answer
from tests.support.cut_over import CutRunning, cut_running
from tests.support.nodes_in_process import Nodes


@pytest.fixture
async def met(tmp_path: Path) -> AsyncIterator[CutRunning]:
    made = Nodes(tmp_path)
    yield await cut_running(made)
    await made.stop()


def answer(met: CutRunning, tried: int, failed: int = 0, setup: int = 64) -> Rehearsal:
    """Of so many connections over each; failed and setup are the new outlet's."""

    def outlet(name: str, failed: int, bucket: int) -> Outlet:
        times = Histogram(((bucket, tried - failed),)) if tried > failed else Histogram()
        return Outlet(name, shadow=Samples(tried, failed, times, times))

    facts = GateFacts(outlet("psnp", failed, setup), outlet("cjx", 0, 64), Limits(streams=1), Levels(LEVEL, 0.0))
    (imported,) = met.edge.services.imports
    assert imported.outlets is not None
    rehearsed = Rehearsed({"psnp": [], "cjx": []}, judge_gate(facts), 1.0)
    return rehearsal_answer(met.edge, imported, imported.outlets, ("cjx", "psnp"), rehearsed)


async def test_what_so_few_connections_cannot_judge_is_said(met: CutRunning) -> None:
    said = answer(met, 100)
    left = {each.title for each in said.findings if each.outcome == "open"}
    assert left
    assert said.sentence.startswith("It can begin: nothing speaks against it. 100 connections are too few to judge all")
    assert all(title in said.sentence for title in left)
    assert (said.can_begin, said.exit_code) == (True, 0)


async def test_where_all_is_judged_good_it_can_begin(met: CutRunning) -> None:
    said = answer(met, 5_000)
    assert {each.outcome for each in said.findings} == {"good"}
    assert said.sentence == "It can begin."


@pytest.mark.parametrize(
    ("tried", "failed", "sentence"),
    [
        (100, 100, "It cannot begin: no connection over psnp"),
        (100, 1, "It should not begin: 1 of 100 failed over psnp"),
    ],
)
async def test_what_fails_on_the_new_outlet_alone_is_against_it(
    met: CutRunning, tried: int, failed: int, sentence: str
) -> None:
    said = answer(met, tried, failed)
    assert said.sentence.startswith(sentence)
    assert (said.can_begin, said.exit_code) == (False, 6)
