"""Retiring an outlet: only if it is proven quiet, for good, and never brought back by a file."""

from __future__ import annotations

import asyncio
import io
import shutil
from datetime import date, timedelta

import pytest

from pcgrelay import config, files
from pcgrelay.admin.condition import troubles
from pcgrelay.check import check, exit_code
from pcgrelay.cutover.days import KeptDays
from pcgrelay.cutover.phases import Phase
from pcgrelay.cutover.quiet import DAY_MINUTES, DayRecord
from pcgrelay.daemon.run import make_node
from pcgrelay.errors import ConfigError, PcgrelayError, RuleProblem
from pcgrelay.gateway.outlet_shares import move_shares
from pcgrelay.log.writer import Log
from pcgrelay.model import ServiceName
from pcgrelay.services.retired import NAME
from pcgrelay.services.shares import ShareChange
from pcgrelay.state.folder import StateFolder
from pcgrelay.views.quiet import quiet_answer, retire_answer
from pcgrelay.views.status import node_status
from tests.support import fake_core
from tests.support.cut_over import CUSTODY, NEW, OLD, OPERATOR, CutRunning, cut_running, stopped
from tests.support.nodes_in_process import Nodes
from tests.support.waiting import until_async as until

SERVICE = ServiceName.parse(CUSTODY)
LEASED = 3  # index of a third outlet


def days_of_quiet(met: CutRunning, days: int, **last: int) -> None:
    """Have so many days behind us, as they would be recorded; last: of the day before them."""
    today = met.edge.days.today()
    before = DayRecord(today - timedelta(days=days + 1), DAY_MINUTES, **last)
    records = (before, *(DayRecord(today - timedelta(days=back), DAY_MINUTES) for back in range(days, 0, -1)))
    met.edge.days._kept[CUSTODY, "cjx"] = KeptDays(
        service=CUSTODY, outlet="cjx", records=records, used=f"{before.day}T17:03:12Z"
    )


async def arrive(met: CutRunning) -> None:
    await met.start_plan()
    for share in (1, 50, 100):
        await until(lambda share=share: met.share == share, 10)
        met.good()
    await until(lambda: met.phase is Phase.ARRIVED, 10)


async def quiet(met: CutRunning) -> None:
    await arrive(met)
    days_of_quiet(met, 35, connections=1)
    await until(lambda: met.phase is Phase.QUIET, 10)


async def again(nodes: Nodes, met: CutRunning) -> CutRunning:
    """Another process with the same file and folder."""
    path = met.node.config.path
    await stopped(met)
    sink = io.StringIO()
    running = CutRunning(make_node(config.load(path), fake_core, Log("debug", sink)), sink)
    nodes.running.append(running)
    running.node.state = StateFolder.take(nodes.folder / "state")
    await running.node.start()
    await asyncio.sleep(0)
    return running


async def test_what_is_not_proven_quiet_is_refused(met: CutRunning) -> None:
    retirement = met.edge.retirement
    for outlet, words in (("cjx", "has no cut-over, so nothing shows that it has moved away from cjx"),):
        with pytest.raises(RuleProblem, match=words):
            await retirement.retire(SERVICE, outlet, OPERATOR)
    await met.start_plan()
    with pytest.raises(RuleProblem, match="is soaking; it has to arrive, and cjx to be quiet for 35 days"):
        await retirement.retire(SERVICE, "cjx", OPERATOR)
    with pytest.raises(RuleProblem, match="moves it away from cjx, and not from psnp"):
        await retirement.retire(SERVICE, "psnp", OPERATOR)
    for share in (1, 50, 100):
        await until(lambda share=share: met.share == share, 10)
        met.good()
    await until(lambda: met.phase is Phase.ARRIVED, 10)
    days_of_quiet(met, 1, connections=1)
    with pytest.raises(RuleProblem, match=r"cjx of custody@.* is not quiet: 1 of 35 days are quiet: 1 connection on"):
        await retirement.retire(SERVICE, "cjx", OPERATOR)
    assert met.phase is Phase.ARRIVED
    assert not retirement.is_retired(SERVICE, "cjx")


async def test_a_stray_after_it_was_quiet_is_refused_too(met: CutRunning) -> None:
    await quiet(met)
    met.count(OLD, tried=1, up=1)
    met.node.tick()
    with pytest.raises(RuleProblem, match="0 of 35 days are quiet: 1 connection on"):
        await met.edge.retirement.retire(SERVICE, "cjx", OPERATOR)


async def test_it_takes_no_streams_any_more_and_what_was_proven_is_kept(nodes: Nodes, met: CutRunning) -> None:
    await quiet(met)
    assert met.edge.retirement.why_not(SERVICE, "cjx") == ""
    assert await met.edge.retirement.retire(SERVICE, "cjx", OPERATOR) == ()
    assert met.phase is Phase.RETIRED
    assert OLD not in met.row[5] + met.row[6]
    assert NEW in met.row[6]
    answer = retire_answer(met.node, met.edge, SERVICE, "cjx", changed=True)
    since = date.fromisoformat(answer.since)
    assert (answer.days, answer.coverage, since) == (35, 1.0, met.edge.days.today() - timedelta(days=35))
    (line,) = met.lines("cutover.retired")
    assert (line["by"], line["reason"]) == ("night shift", "INC-77")
    # Again it is no fault, and nothing happens.
    assert await met.edge.retirement.retire(SERVICE, "cjx", OPERATOR) == ()
    assert len(met.lines("cutover.retired")) == 1
    running = await again(nodes, met)
    assert running.phase is Phase.RETIRED
    assert OLD not in running.row[5] + running.row[6]
    (outlet,) = [each for each in quiet_answer(running.node, running.edge).outlets if each.outlet == "cjx"]
    assert (outlet.retired, outlet.days, outlet.used_connections) == (answer.retired, 35, 1)
    assert outlet.used.endswith("T17:03:12Z")


async def test_a_file_that_names_it_is_refused_and_at_a_start_a_trouble(nodes: Nodes, met: CutRunning) -> None:
    await quiet(met)
    await met.edge.retirement.retire(SERVICE, "cjx", OPERATOR)
    settings = met.node.config
    with pytest.raises(ConfigError, match=r"direct\[1\]: cjx of custody@.* is retired since .*; remove this table"):
        await met.node.prepare(settings)
    findings = [each for each in check(settings) if each.where == "direct[1]"]
    assert [each.level for each in findings] == ["error"]
    assert exit_code(findings) == 78
    words = [trouble.sentence for trouble in troubles(node_status(met.node)) if "takes no streams" in trouble.sentence]
    assert len(words) == 1
    text = settings.path.read_text()
    running = await again(nodes, met)
    assert any("takes no streams" in trouble.sentence for trouble in troubles(node_status(running.node)))
    # Without it the file is taken, and its days stay.
    first = text.index("[[direct]]")
    clean = text[:first] + text[text.index("[[direct]]", first + 1) :].replace('outlet = "cjx"', 'outlet = "psnp"')
    settings.path.write_text(clean.replace('outlet = "cjx"', 'outlet = "psnp"'))
    fresh = config.load(settings.path)
    (await running.node.prepare(fresh)).close()
    assert [each for each in check(fresh) if each.where == "direct[1]"] == []
    assert len(running.edge.days.records(CUSTODY, "cjx")) >= 36


async def test_a_cut_over_whose_file_is_lost_brings_nothing_back(nodes: Nodes, met: CutRunning) -> None:
    await quiet(met)
    await met.edge.retirement.retire(SERVICE, "cjx", OPERATOR)
    path = met.node.config.path
    await stopped(met)
    for file in (nodes.folder / "state" / "cutover").iterdir():
        file.write_bytes(b"gone")
    sink = io.StringIO()
    running = CutRunning(make_node(config.load(path), fake_core, Log("debug", sink)), sink)
    nodes.running.append(running)
    running.node.state = StateFolder.take(nodes.folder / "state")
    await running.node.start()
    await asyncio.sleep(0)
    assert running.edge.cutovers.get(CUSTODY) is None
    assert OLD not in running.row[5] + running.row[6]
    assert "an outlet of custody" in (running.edge.retirement.why_not_by_hand(SERVICE) or "")


async def test_a_disk_that_is_full_retires_nothing(met: CutRunning, monkeypatch: pytest.MonkeyPatch) -> None:
    await quiet(met)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(PcgrelayError, match=r"(?i)no space left|no step forward"):
            await met.edge.retirement.retire(SERVICE, "cjx", OPERATOR)
        assert met.phase is not Phase.RETIRED
        assert not met.edge.retirement.is_retired(SERVICE, "cjx")


async def test_what_the_cut_over_knows_and_the_file_does_not_is_noted(nodes: Nodes, met: CutRunning) -> None:
    await quiet(met)
    await met.edge.retirement.retire(SERVICE, "cjx", OPERATOR)
    path = met.node.config.path
    await stopped(met)
    for file in (nodes.folder / "state").glob(f"{NAME}*"):
        shutil.move(file, nodes.folder)
    sink = io.StringIO()
    running = CutRunning(make_node(config.load(path), fake_core, Log("debug", sink)), sink)
    nodes.running.append(running)
    running.node.state = StateFolder.take(nodes.folder / "state")
    await running.node.start()
    await asyncio.sleep(0)
    running.node.tick()
    assert running.edge.retirement.is_retired(SERVICE, "cjx")
    await until((nodes.folder / "state" / NAME).exists)


async def test_what_is_left_may_be_shared_by_hand_and_what_is_retired_gets_nothing(nodes: Nodes) -> None:
    met = await cut_running(nodes, third="leased")
    await met.start_plan()
    with pytest.raises(RuleProblem, match="is soaking and decides its shares"):
        await move_shares(met.node, met.edge, CUSTODY, ["gateway=0", "cjx=100", "psnp=0", "leased=0"], OPERATOR)
    # What was set before the move has no say after it.
    met.edge.outlets.shares.state = met.edge.outlets.shares.state.with_change(
        ShareChange(service=CUSTODY, shares={"cjx": 100.0}, before={}, at="2020-01-01T00:00:00Z", uid=0)
    )
    for share in (1, 50, 100):
        await until(lambda share=share: met.share == share, 10)
        met.good()
    await until(lambda: met.phase is Phase.ARRIVED, 10)
    days_of_quiet(met, 35, connections=1)
    await until(lambda: met.phase is Phase.QUIET, 10)
    await met.edge.retirement.retire(SERVICE, "cjx", OPERATOR)
    assert met.share == 100
    with pytest.raises(RuleProblem, match=r"cjx of custody@.* is retired, and takes no stream any more"):
        await move_shares(met.node, met.edge, CUSTODY, ["gateway=0", "cjx=10", "psnp=90", "leased=0"], OPERATOR)
    moved = await move_shares(met.node, met.edge, CUSTODY, ["gateway=0", "cjx=0", "psnp=40", "leased=60"], OPERATOR)
    assert moved.changed
    assert (met.share, met.row[5].count(LEASED), OLD in met.row[6]) == (40, 120, False)
    running = await again(nodes, met)
    assert (running.share, running.row[5].count(LEASED), OLD in running.row[5] + running.row[6]) == (40, 120, False)
