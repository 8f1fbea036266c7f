"""Whom records about approvals name, and whom none does: the page about personal data says each field of it."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import msgspec
import pytest

from pcgrelay.assure.dpia import fields_about_people
from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.errors import RuleProblem
from pcgrelay.gateway.actor import Actor
from pcgrelay.policy.acts import act_path
from pcgrelay.policy.approving import without_people
from pcgrelay.policy.change import make_act, make_head
from pcgrelay.policy.gate import change_path
from pcgrelay.policy.signatures import ACT_NAMESPACE
from pcgrelay.views.status import node_status
from tests.support.approving_node import MET, PAPER, ApprovedNode
from tests.support.nodes_in_process import Nodes
from tests.support.signing import listed, make_person

OWNER, NEXT = "hidden.owner@kent.police.example", "next.owner@kent.police.example"
PEOPLE = "j.smith|a.jones|b.khan|c.lee|d.new|hidden.owner|next.owner".replace(".", r"\.")
NAMED = re.compile(rf"\b(?:{PEOPLE})\b|SHA256:[A-Za-z0-9+/]{{43}}")


@pytest.fixture
def kent(nodes: Nodes) -> ApprovedNode:
    return ApprovedNode(nodes)


def with_owner(owner: str, *allow: str) -> list[dict[str, object]]:
    paper = {**PAPER, "owner": owner}
    return [{"service": "custody", "target": "127.0.0.1:5432", "allow": list(allow), **paper}]


async def test_each_field_that_names_a_person_is_on_the_page_and_no_owner_is_in_any(kent: ApprovedNode) -> None:
    _, jones, khan, lee = kent.people
    kent.write(exports=with_owner(OWNER, MET))
    running = await kent.first()
    # Another owner: refused, signed, taken.
    kent.write(exports=with_owner(NEXT, MET))
    await kent.refused("before", "export custody: owner (not shown here)")
    plan = kent.plan(jones, khan)
    assert f"owner {NEXT} (was {OWNER})" in plan.read_text()  # who signs reads it
    answer = await kent.reload()
    assert answer.ok
    assert any(NEXT in line for line in answer.policy)  # and so does who asks for it
    # Another signer, and a role.
    kent.people.append(make_person(kent.nodes.folder / "keys", "d.new@kent.police.example"))
    kent.signers.write_text(listed(kent.people))
    kent.approvals["roles"] = {"officer": [lee.address]}
    kent.write(exports=with_owner(NEXT, MET))
    kent.plan(jones)
    await kent.refused("signatures", "has 1 (a.jones)")
    khan.put(change_path(kent.path))
    assert (await kent.reload()).ok
    # An act, refused and allowed.
    head = make_head(running.node.config.node.id, kent.people[0].address, SYSTEM_CLOCK.wall(), "CR-1", "Quiet",
                     timedelta(days=1))  # fmt: skip
    actor = Actor(uid=1000, by="j.smith", reason="quiet")
    text = act_path(kent.path, "retire")
    text.write_bytes(make_act(head, "retire", "an outlet").render())
    with pytest.raises(RuleProblem):
        async with running.node.approvals.acting("retire", "an outlet", actor):
            raise AssertionError("it was not approved")
    for person in (jones, khan):
        person.put(text, ACT_NAMESPACE)
    async with running.node.approvals.acting("retire", "an outlet", actor):
        pass

    records = running.lines()
    assert {"policy.first", "policy.taken", "policy.refused", "approval.acted", "approval.refused"} <= {
        each["event"] for each in records
    }
    named = {
        (each["event"], field) for each in records for field, value in each.items() if NAMED.search(json.dumps(value))
    }
    told = {(event, field) for field, _, events in fields_about_people() for event in events.split(", ")}
    assert named <= told, named - told
    assert {field for _, field in named} >= {"by", "approved", "keys", "lines", "policy", "sentence", "reason"}
    whole = json.dumps(records)
    assert OWNER not in whole
    assert NEXT not in whole


async def test_the_status_names_nobody(kent: ApprovedNode) -> None:
    _, jones, _, lee = kent.people
    running = await kent.first()
    kent.people.append(make_person(kent.nodes.folder / "keys", "d.new@kent.police.example"))
    kent.signers.write_text(listed(kent.people))
    kent.approvals["roles"] = {"officer": [lee.address]}
    kent.write()
    change_path(kent.path).unlink()
    await kent.refused("no-change", "d.new@kent.police.example")
    status = json.dumps(msgspec.to_builtins(node_status(running.node)))
    assert "approvals.signers: (not shown here)" in status
    kent.plan(jones)
    named = await kent.refused("signatures", "has 1 (a.jones). Ask one of: b.khan, c.lee.")
    status = json.dumps(msgspec.to_builtins(node_status(running.node)))
    assert "It needs 2 signatures of others than who proposed it; has 1." in status
    assert named not in status
    assert not NAMED.search(status), NAMED.findall(status)
    await kent.stop()
    # A start with the approved copy says it too.
    again = await kent.start()
    status = json.dumps(msgspec.to_builtins(node_status(again.node)))
    assert "nobody approved" in status
    assert again.lines("policy.unapproved")
    assert not NAMED.search(status), NAMED.findall(status)


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        (
            "It has changes that nobody approved: approvals.signers: a@b.example SHA256:x added; allow z added.",
            "It has changes that nobody approved: approvals.signers: (not shown here); allow z added.",
        ),
        (
            "It has changes that nobody approved: approvals.roles x = (a@b.example) (was none). Write it with: x",
            "It has changes that nobody approved: approvals.roles (not shown here). Write it with: x",
        ),
        ("import custody@kent.example: priority high.", "import custody@kent.example: priority high."),
    ],
)
def test_only_people_are_left_out(sentence: str, words: str) -> None:
    assert without_people(sentence) == words
