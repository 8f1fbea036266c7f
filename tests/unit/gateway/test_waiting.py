"""What a node says of texts that wait: in its status, its metrics and its page."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pcgrelay.admin.condition import troubles
from pcgrelay.admin.metrics import metrics_text
from pcgrelay.gateway.waiting import LOOK_MS
from pcgrelay.policy.gate import change_path
from pcgrelay.views.status import node_status
from pcgrelay.views.status_page import node_part
from tests.support.approving_node import MET, ApprovedNode
from tests.support.nodes_in_process import Nodes

ESSEX = "essex.police.example"


@pytest.fixture
def kent(nodes: Nodes) -> ApprovedNode:
    return ApprovedNode(nodes)


async def test_a_change_is_shown_while_it_waits(kent: ApprovedNode) -> None:
    running = await kent.first()
    node = running.node
    held = node.approvals.held
    assert held is not None
    await node.waiting.look(held)
    assert node_status(node).approvals.waiting == ()  # the first one was taken
    before = troubles(node_status(node))
    kent.write(MET, ESSEX)
    kent.plan(kent.people[1])
    await node.waiting.look(held)
    status = node_status(node)
    (found,) = status.approvals.waiting
    assert (found.what, found.change, found.signatures, found.needs) == ("change", "CR-1042", 1, 2)
    assert status.approvals.taken[:4].isdigit()
    # To wait is nothing that needs attention, and who looks at the page sees it.
    assert troubles(status) == before
    page = node_part(status, (), "kent-1.kent.police.example", datetime.now(UTC))
    assert "change CR-1042 waits: 1 of 2 signatures, until " in page
    text = metrics_text(status, {})
    assert 'pcgrelay_approval_waiting{text="change"} 1' in text
    assert "pcgrelay_policy_kept 1" in text
    assert "pcgrelay_policy_unapproved 0" in text
    # Taken: it waits no more.
    kent.people[2].put(change_path(kent.path))
    assert (await kent.reload()).ok
    held = node.approvals.held
    assert held is not None
    await node.waiting.look(held)
    assert node_status(node).approvals.waiting == ()


async def test_it_looks_now_and_then_and_not_without_approvals(kent: ApprovedNode, nodes: Nodes) -> None:
    running = await kent.first()
    waiting = running.node.waiting
    waiting.tick()
    first = waiting._task
    assert first is not None
    await first
    waiting.tick()
    assert waiting._task is first  # not due again for LOOK_MS
    assert LOOK_MS >= 1_000
    running.node.approvals.held = None
    waiting.tick()
    assert waiting.found == ()
    text = metrics_text(node_status(running.node), {})
    assert "pcgrelay_policy_kept" not in text


async def test_what_is_not_kept_is_an_alarm(kent: ApprovedNode) -> None:
    running = await kent.first()
    running.node.approvals.unwritten = "no room"
    assert "pcgrelay_policy_kept 0" in metrics_text(node_status(running.node), {})
