"""A new audit log in the place of one that cannot be signed: with [approvals] others sign for it, and it says who."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from pcgrelay.admin.server import UID
from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.daemon.audit_api import AuditApi
from pcgrelay.gateway.audit import FOLDER
from pcgrelay.gateway.node import Node
from pcgrelay.policy.acts import act_path
from pcgrelay.policy.change import make_act, make_head
from pcgrelay.policy.signatures import ACT_NAMESPACE
from tests.support.approving_node import ApprovedNode
from tests.support.nodes_in_process import Nodes
from tests.support.waiting import until_async as until
from tests.support.written_logs import records_of

REASON = "disk restored, CR-1042"


@pytest.fixture
def kent(nodes: Nodes) -> ApprovedNode:
    made = ApprovedNode(nodes)
    made.write(audit={"keep_days": 400})
    return made


async def restart(node: Node, **query: str) -> tuple[int, dict[str, Any]]:
    answer = await AuditApi(node, asyncio.Lock()).restart({UID: "7", **query}, b"")
    return answer.code, json.loads(answer.body)


async def refuse(node: Node) -> None:
    """Have the log sign nothing any more, as a witness that proves a fork does."""
    assert node.audit.log is not None
    node.audit.log.refuse("It was cut.")
    await until(lambda: node.audit.figures is not None and node.audit.figures.refusing)


def sign(kent: ApprovedNode, reason: str, *signing: int) -> Path:
    assert kent.running is not None
    head = make_head(kent.running.node.config.node.id, kent.people[0].address, SYSTEM_CLOCK.wall(), "CR-1042", "why")
    where = act_path(kent.path, "audit restart")
    where.write_bytes(make_act(head, "audit restart", reason).render())
    for number in signing:
        kent.people[number].put(where, ACT_NAMESPACE)
    return where


async def test_others_sign_for_it_and_the_new_log_says_who(kent: ApprovedNode) -> None:
    node = (await kent.first()).node
    await refuse(node)
    code, answer = await restart(node, reason=REASON)
    assert (code, answer["exit_code"]) == (409, 6)
    assert "pcgrelay plan --act audit-restart" in answer["reason"]
    sign(kent, REASON, 1)
    assert (await restart(node, reason=REASON))[0] == 409
    sign(kent, REASON, 1, 2)
    assert (await restart(node, reason="another reason"))[0] == 409
    assert node.audit.figures is not None
    assert node.audit.figures.refusing
    code, answer = await restart(node, reason=REASON, by="night")
    assert (code, answer["ok"]) == (200, True)
    node.audit.tick()
    await node.audit.flush()
    records = records_of(kent.state / FOLDER)
    assert [each["event"] for each in records[:2]] == ["audit.keys", "audit.restarted"]
    assert (records[1]["reason"], records[1]["uid"], records[1]["by"]) == (REASON, 7, "night")
    (acted,) = [each for each in records if each["event"] == "approval.acted"]
    signers = [each.address for each in kent.people[1:3]]
    assert (acted["act"], acted["approved"]) == ("audit restart", signers)
    # And who had signed what holds, which the old log has.
    (holds,) = [each for each in records if each["event"] == "policy.in_force"]
    assert holds["approved"] == signers


async def test_a_log_that_is_whole_is_not_begun_again(kent: ApprovedNode) -> None:
    node = (await kent.first()).node
    sign(kent, REASON, 1, 2)
    code, answer = await restart(node, reason=REASON)
    assert (code, "is whole" in answer["reason"]) == (409, True)
    # The text is good still: nothing was done.
    await refuse(node)
    assert (await restart(node, reason=REASON))[0] == 200


@pytest.mark.parametrize("reason", ["", "  "])
async def test_nobody_begins_it_without_a_reason(kent: ApprovedNode, reason: str) -> None:
    node = (await kent.first()).node
    await refuse(node)
    code, answer = await restart(node, reason=reason)
    assert (code, "--reason" in answer["reason"]) == (409, True)


async def test_a_node_without_a_log_has_none_to_begin(nodes: Nodes) -> None:
    made = ApprovedNode(nodes)
    node = (await made.first()).node
    sign(made, REASON, 1, 2)
    code, answer = await restart(node, reason=REASON)
    assert (code, "no audit log" in answer["reason"]) == (409, True)
