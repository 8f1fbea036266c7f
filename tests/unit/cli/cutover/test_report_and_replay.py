"""`pcgrelay cutover report` and `replay`: a folder from what a node knows, and its verdicts again."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from pcgrelay.admin.report_answers import REPORT_PATH, ReportAnswer
from pcgrelay.views.cutover_report import report_facts
from tests.support.command_line import Invoke, invoker
from tests.support.cut_over import CUSTODY, CutRunning, cut_running
from tests.support.fake_node import FakeNode, fake_node, node_named
from tests.support.nodes_in_process import Nodes
from tests.support.reported import reported
from tests.support.waiting import until_async as until


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Invoke:
    return invoker(capsys, monkeypatch)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return node_named(tmp_path / "met-1.toml", "met-1")


@pytest.fixture
def node(config: Path) -> object:
    with fake_node(config.with_suffix(".sock")) as fake:
        fake.answers[REPORT_PATH] = ReportAnswer(service="custody@kent.police.example", facts=reported())
        yield fake


def test_a_report_is_written_and_replayed(call: Invoke, node: FakeNode, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "custody-report"
    done = call("cutover", "report", "custody", "--out", out, "-c", config)
    assert (done.code, done.err) == (0, "")
    assert f"{out}: facts.json, part1.html, part1.md, part2.html, part2.md, plan.toml and SHA256SUMS." in done.out
    assert node.asked[0].query == {"service": "custody"}
    again = call("cutover", "report", "custody", "--out", out, "-c", config)
    assert again.code == 1
    assert "is never overwritten" in again.err

    same = call("cutover", "replay", out)
    assert same.code == 0
    assert same.out.endswith("4 verdicts: each comes out the same.\n")

    facts = json.loads((out / "facts.json").read_text())
    facts["decisions"][2]["verdict"]["facts"]["pairs"] = [[False, False]] * 9
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(facts))
    other = call("cutover", "replay", changed)
    assert other.code == 8
    assert "fell back   NOT THE SAME" in other.out
    assert "1 of 4 verdicts do not come out the same." in other.err
    as_json = call("cutover", "replay", changed, "--json")
    assert (as_json.code, json.loads(as_json.out)["same"]) == (8, False)


def test_a_title_of_its_own(call: Invoke, node: FakeNode, config: Path, tmp_path: Path) -> None:
    done = call("cutover", "report", "custody", "--out", tmp_path / "a", "--title", "Records of custody", "-c", config)
    assert done.code == 0
    assert "# Records of custody\n" in (tmp_path / "a" / "part1.md").read_text()


@pytest.mark.parametrize(
    ("title", "code", "words"),
    [
        ("Leaving cjx", 78, '"cjx", a name of the configuration'),
        ("a\nb", 2, "on one line"),
        ("x" * 201, 2, "at most 200 characters"),
    ],
)
def test_a_title_that_is_refused(
    call: Invoke, node: FakeNode, config: Path, tmp_path: Path, title: str, code: int, words: str
) -> None:
    done = call("cutover", "report", "custody", "--out", tmp_path / "a", "--title", title, "-c", config)
    assert done.code == code
    assert words in done.err
    assert not (tmp_path / "a").exists()


def test_a_service_without_a_cut_over(call: Invoke, node: FakeNode, config: Path, tmp_path: Path) -> None:
    node.answers[REPORT_PATH] = ReportAnswer(service="x", reason="x has no cut-over here.", exit_code=1)
    done = call("cutover", "report", "x", "--out", tmp_path / "a", "-c", config)
    assert (done.code, done.err) == (1, "pcgrelay: x has no cut-over here.\n")
    assert not (tmp_path / "a").exists()


def test_what_is_no_report(call: Invoke, tmp_path: Path) -> None:
    done = call("cutover", "replay", tmp_path)
    assert done.code == 78
    assert done.err.count("\n") == 1


# -- what a node tells ------------------------------------------------------------------------------------------------


@pytest.fixture
async def met(tmp_path: Path) -> AsyncIterator[CutRunning]:
    nodes = Nodes(tmp_path)
    yield await cut_running(nodes)
    await nodes.stop()


async def test_the_facts_of_a_node(met: CutRunning) -> None:
    await met.start_plan()
    met.good()
    await until(lambda: met.share == 50, 10)
    facts = report_facts(met.node, met.edge, met.cutover)
    assert (facts.service, facts.phase.value, facts.step) == (CUSTODY, "soaking", 1)
    assert [each.what for each in facts.decisions] == ["started", "stepped"]
    assert {each.name: each.kind for each in facts.outlets} == {"psnp": "direct", "cjx": "direct"}
    assert all(each.addresses and each.sums is not None for each in facts.outlets)
    assert {"kent.police.example", "cjx", "psnp", "met-1"} <= {*facts.names, facts.node}
    answer = ReportAnswer(service=facts.service, facts=facts)
    assert msgspec.json.decode(msgspec.json.encode(answer), type=ReportAnswer) == answer
