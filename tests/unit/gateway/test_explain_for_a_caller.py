"""`pcgrelay explain SERVICE --from ORGANISATION`: by which rule or limit an export would let an organisation in now."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pcgrelay.admin.answers import CallerCheck, ExplainAnswer
from pcgrelay.figures import ExportStreams
from pcgrelay.model import organisation_number
from pcgrelay.views.explain import explain
from tests.support.nodes_in_process import KENT, MET, Nodes, Running, dial, entry, relays
from tests.support.ports import free_port

SUSSEX = "sussex.police.example"
NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    made = Nodes(tmp_path)
    yield made
    await made.stop()


async def exporting(nodes: Nodes, policy: dict[str, int] | None = None, **keys: object) -> Running:
    settings = {"service": "custody", "target": "127.0.0.1:5432", "allow": [MET], "probe": "none", **keys}
    listens = [f"127.0.0.1:{free_port()}"]
    return await nodes.start(KENT, "kent-1", listens=listens, exports=[settings], policy=policy or {})


def rule(organisation: str, until: datetime) -> dict[str, Any]:
    return {"organisation": organisation, "until": until, "reason": "Operation Heron", "reference": "DPIA-2026-114"}


def by(answer: ExplainAnswer) -> dict[str, CallerCheck]:
    return {check.name: check for check in answer.checks}


def open_streams(monkeypatch: pytest.MonkeyPatch, kent: Running, **of: int) -> None:
    """So many streams of each organisation are open."""
    (exported,) = kent.edge.services.exports
    names = {"met": MET, "sussex": SUSSEX}
    rows = [ExportStreams(organisation_number(names[name]), exported.number, 1, 0, n) for name, n in of.items()]
    monkeypatch.setattr(kent.node.plane, "export_streams", lambda: rows)
    monkeypatch.setattr(
        kent.node.plane, "services", lambda: {"imports": {}, "exports": {exported.number: sum(of.values())}}
    )


async def test_one_that_the_rule_allows(nodes: Nodes) -> None:
    kent = await exporting(nodes)
    answer = explain(kent.node, "custody", MET)
    assert (answer.open, answer.caller) == (True, MET)
    assert answer.verdict == f"A new stream of {MET} would be let in now."
    assert answer.rule == f"export[1] (custody@{KENT}) allows {MET}"
    assert list(by(answer)) == ["allow", "service", "max_streams_per_organisation", "max_streams"]
    assert by(answer)["allow"].state == "without an end"
    assert explain(kent.node, f"custody@{KENT}", MET) == answer


async def test_one_that_the_rule_does_not_name(nodes: Nodes) -> None:
    kent = await exporting(nodes, max_streams=1)
    answer = explain(kent.node, "custody", SUSSEX)
    assert not answer.open
    (check,) = answer.checks
    assert (check.name, check.cause) == ("allow", "not-allowed")
    assert answer.verdict == f"A new stream of {SUSSEX} would be refused now (not-allowed): the rule does not name it."
    near = explain(kent.node, "custody", "mett.police.example").verdict
    assert near.endswith(f"the rule does not name it; the nearest that it names: {MET}.")


async def test_an_entry_that_ends(nodes: Nodes) -> None:
    kent = await exporting(nodes, allow=[rule(MET, NOW + timedelta(days=9)), rule(SUSSEX, NOW - timedelta(days=1))])
    good = by(explain(kent.node, "custody", MET))["allow"]
    assert good.passed
    assert good.state == f"until {NOW + timedelta(days=9):%Y-%m-%dT%H:%M:%S}.000Z"
    assert good.detail == "Operation Heron, DPIA-2026-114"
    over = explain(kent.node, "custody", SUSSEX)
    assert not over.open
    assert f"(not-allowed): its entry ended at {NOW - timedelta(days=1):%Y-%m-%dT%H:%M:%S}.000Z." in over.verdict
    assert by(over)["allow"].detail == "Operation Heron, DPIA-2026-114"


@pytest.mark.parametrize(
    ("limits", "of", "cause"),
    [
        ({"max_streams": 5}, {"met": 2, "sussex": 2}, ""),
        ({"max_streams": 4}, {"met": 2, "sussex": 2}, "limit"),
        ({"max_streams_per_organisation": 3}, {"met": 2, "sussex": 9}, ""),
        ({"max_streams_per_organisation": 2}, {"met": 2, "sussex": 1}, "organisation-limit"),
        # What it has used up itself comes first, as in the core.
        ({"max_streams_per_organisation": 2, "max_streams": 2}, {"met": 2}, "organisation-limit"),
    ],
)
async def test_a_limit_that_is_reached(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, limits: dict[str, int], of: dict[str, int], cause: str
) -> None:
    kent = await exporting(nodes, allow=[MET, SUSSEX], new_streams_per_second=7, **limits)
    open_streams(monkeypatch, kent, **of)
    answer = explain(kent.node, "custody", MET)
    assert answer.open == (cause == "")
    assert f"({cause})" in answer.verdict or not cause
    assert [check.cause for check in answer.checks if not check.passed][:1] == ([cause] if cause else [])
    assert by(answer)["new_streams_per_second"].state == "7 in a second"


@pytest.mark.parametrize(("most", "cause"), [(12, "organisation-limit"), (13, "")])
async def test_a_limit_of_all_exports_together(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, most: int, cause: str
) -> None:
    policy = {"max_streams_per_organisation": most, "new_streams_per_second": 9}
    kent = await exporting(nodes, policy=policy, max_streams_per_organisation=20)
    open_streams(monkeypatch, kent, met=12)
    answer = explain(kent.node, "custody", MET)
    assert answer.open == (cause == "")
    assert by(answer)["policy.max_streams_per_organisation"].state == f"12 of {most} open"
    assert by(answer)["policy.max_streams_per_organisation"].cause == cause
    assert by(answer)["policy.new_streams_per_second"].state == "9 in a second"


async def test_a_service_that_is_not_there(nodes: Nodes) -> None:
    kent = await exporting(nodes)
    kent.node.drain_begin(0)
    answer = explain(kent.node, "custody", MET)
    assert not answer.open
    assert by(answer)["service"].cause == "draining"


async def test_what_cannot_be_answered_is_said(nodes: Nodes) -> None:
    kent = await exporting(nodes)
    assert explain(kent.node, "custdy", MET).reason.startswith("custdy is neither imported nor exported here; the near")
    assert explain(kent.node, "custody", "Met Police").reason.startswith('"Met Police" is no organisation')
    ((hub, port),) = await relays(nodes, 1)
    assert "this node is a relay" in explain(hub.node, f"custody@{KENT}", MET).reason
    met = await nodes.start(MET, "met-1", links=[dial(1, port)], imports=[entry()])
    reason = explain(met.node, f"custody@{KENT}", SUSSEX).reason
    assert (
        reason == f"custody@{KENT} is imported here; whether {SUSSEX} may use it, only the edge that exports it knows."
    )
