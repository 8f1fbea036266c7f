"""A node whose changes have to be approved: what it takes, what it refuses by name, and what it starts with."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from pcgrelay.clock import SYSTEM_CLOCK, SetClock
from pcgrelay.errors import ConfigError, RuleProblem, RunError
from pcgrelay.gateway import approvals as approvals_module
from pcgrelay.gateway.actor import Actor
from pcgrelay.gateway.approved_start import starting_policy
from pcgrelay.gateway.node import Node
from pcgrelay.policy.acts import act_path
from pcgrelay.policy.change import Act, make_act, make_head
from pcgrelay.policy.gate import change_path
from pcgrelay.policy.signatures import ACT_NAMESPACE, HOLD_NAMESPACE, PLAN_NAMESPACE
from tests.support.approving_node import HUB, MET, PAPER, ApprovedNode
from tests.support.nodes_in_process import Nodes
from tests.support.signing import make_person

ESSEX = "essex.police.example"


@pytest.fixture
def kent(nodes: Nodes) -> ApprovedNode:
    return ApprovedNode(nodes)


# --- the ordinary course -------------------------------------------------------------------------------------------


async def test_the_first_policy_is_signed_by_two_and_then_changes_are(kent: ApprovedNode) -> None:
    with pytest.raises(ConfigError, match="approve --first"):
        starting_policy(kent.path)
    kent.plan(kent.people[1])
    with pytest.raises(ConfigError, match=r"has 1 \(a\.jones\)"):
        starting_policy(kent.path)
    running = await kent.first()
    (first,) = running.lines("policy.first")
    assert first["approved"] == [each.address for each in kent.people[1:3]]
    assert running.node.log.policy == running.node.approvals.digest[:12] == first["after"][:12]

    kent.write(MET, ESSEX)
    await kent.refused("before", f"export custody: allow {ESSEX} added")
    change_path(kent.path).unlink()
    await kent.refused("no-change", f"export custody: allow {ESSEX} added")
    kent.plan(kent.people[1])
    await kent.refused("signatures", "has 1 (a.jones). Ask one of: b.khan, c.lee.")
    kent.people[2].put(change_path(kent.path))
    answer = await kent.reload()
    assert answer.ok
    assert answer.approval is not None
    assert answer.approval.approved == tuple(each.address for each in kent.people[1:3])
    assert answer.approval.widens >= 1
    assert ESSEX in kent.allowed()
    (taken,) = running.lines("policy.taken")
    assert taken["uid"] == 1000
    assert taken["by"] == kent.people[0].address
    assert taken["before"] == first["after"]
    assert taken["after"] == running.node.approvals.digest
    assert any(ESSEX in line for line in taken["lines"])
    kept = kent.store.read()
    assert kept is not None
    assert kept.text == kent.path.read_text()
    assert {name for name in kept.files if name.endswith(".sig")} == {
        f"policy.change.{each.address}.sig" for each in kent.people[1:3]
    }


async def test_what_narrows_or_says_nothing_needs_no_signature(kent: ApprovedNode) -> None:
    kent.write(MET, ESSEX)
    running = await kent.first()
    kent.write(MET)
    answer = await kent.reload()
    assert answer.ok
    assert answer.approval is not None
    assert (answer.approval.widens, answer.approval.narrows) == (0, 1)
    assert kent.allowed() == (MET,)
    assert running.lines("policy.taken")[-1].get("approved", []) == []
    digest = running.node.approvals.digest
    kent.path.write_text("# a comment\n" + kent.path.read_text().replace("\n\n", "\n\n\n"))
    assert (await kent.reload()).ok
    assert running.node.approvals.digest == digest
    kept = kent.store.read()
    assert kept is not None
    assert kept.text.startswith("# a comment")
    kent.write(MET, log={"level": "debug"})
    assert (await kent.reload()).ok


async def test_without_approvals_nothing_is_kept_and_nothing_is_asked(nodes: Nodes) -> None:
    kent = ApprovedNode(nodes)
    kent.path = kent.write(approvals=None)
    running = await kent.start()
    kent.write(MET, ESSEX, approvals=None)
    answer = await kent.reload()
    assert answer.ok
    assert answer.approval is None
    assert list(kent.state.iterdir()) == [kent.state / "lock"]
    assert running.node.log.policy == ""
    assert await why_not(running.node, "retire", "x") == ""
    assert not [line for line in running.lines() if line["event"].startswith(("policy.", "approval."))]


async def test_approvals_that_are_added_to_a_running_node_begin_with_a_first_policy(nodes: Nodes) -> None:
    kent = ApprovedNode(nodes)
    kent.write(approvals=None)
    running = await kent.start()
    kent.write()
    answer = await kent.reload()
    assert (answer.ok, answer.exit_code) == (False, 78)
    assert "approve --first" in answer.reason
    kent.plan(*kent.people[1:3])
    assert (await kent.reload()).ok
    assert running.lines("policy.first")
    assert running.node.approvals.is_active


async def test_a_change_is_taken_once_also_after_a_restart(kent: ApprovedNode) -> None:
    running = await kent.first()
    kent.write(MET, ESSEX)
    where = kent.plan(*kent.people[1:3])
    text = where.read_bytes()
    assert (await kent.reload()).ok
    kept = kent.store.read()
    assert kept is not None
    assert hashlib.sha256(text).hexdigest() in kept.pointer.changes
    kent.write(MET)
    assert (await kent.reload()).ok
    # The policy from which it begins holds again, so all its digests fit.
    kent.write(MET, ESSEX)
    await kent.refused("used", "CR-1042 was used already, and is good for once. Write it again with: pcgrelay plan")
    await kent.stop()
    running = await kent.start()
    assert kent.allowed() == (MET,)
    assert running.lines("policy.unapproved")[-1]["reason"] == "used"
    await kent.refused("used")
    # A new text for the same is another one, be it for the same change.
    kent.plan(*kent.people[1:3], made=SYSTEM_CLOCK.wall() - timedelta(minutes=1))
    assert (await kent.reload()).ok
    assert kent.allowed() == (MET, ESSEX)


async def test_a_change_stays_used_through_undo_and_an_upgrade(kent: ApprovedNode) -> None:
    await kent.first()
    kent.write(MET, ESSEX)
    kent.plan(*kent.people[1:3])
    assert (await kent.reload()).ok
    # `undo` puts the files of before back, and the node takes them as any that narrow.
    before = kent.store.before()
    assert before is not None
    kent.path.write_text(before.text)
    assert (await kent.reload()).ok
    kent.write(MET, ESSEX)
    policy = starting_policy(kent.path, taking_over=True)
    assert policy.config.exports[0].allow == (MET,)
    assert policy.start.kept is not None
    await kent.stop()
    await kent.start()
    await kent.refused("used")


async def test_a_clock_that_is_set_forward_and_back_makes_no_text_good_again(kent: ApprovedNode) -> None:
    running = await kent.first()
    approvals, now = running.node.approvals, SYSTEM_CLOCK.wall()
    kent.write(MET, ESSEX)
    change = kent.plan(*kent.people[1:3]).read_bytes()
    assert (await kent.reload()).ok
    put_act(kent, "retire", "cjx/custody", 1, 2, made=now)
    assert await why_not(running.node, "retire", "cjx/custody") == ""
    # A year later other texts are used, and the state is written.
    approvals.clock = SetClock(now + timedelta(days=365))
    put_act(kent, "waive", "custody enough", 1, 2, made=approvals.clock.wall())
    assert await why_not(running.node, "waive", "custody enough") == ""
    kent.write(MET)
    assert (await kent.reload()).ok
    kent.write(MET, HUB)
    kent.plan(*kent.people[1:3], made=approvals.clock.wall())
    assert (await kent.reload()).ok
    kent.write(MET)
    assert (await kent.reload()).ok
    # And back: both of the first are in their time again.
    approvals.clock = SetClock(now + timedelta(minutes=1))
    kent.write(MET, ESSEX)
    kent.plan(*kent.people[1:3], text=change)
    await kent.refused("used")
    put_act(kent, "retire", "cjx/custody", 1, 2, made=now)
    assert "for once" in await why_not(running.node, "retire", "cjx/custody")
    await kent.stop()
    running = await kent.start()
    assert running.lines("policy.unapproved")[-1]["reason"] == "used"
    assert "for once" in await why_not(running.node, "retire", "cjx/custody")


# --- a start -------------------------------------------------------------------------------------------------------


async def test_a_restart_with_an_unapproved_file_serves_as_before(kent: ApprovedNode) -> None:
    running = await kent.first()
    digest = running.node.approvals.digest
    await kent.stop()
    kent.write(MET, ESSEX)
    running = await kent.start()
    assert kent.allowed() == (MET,)
    assert running.node.approvals.digest == digest
    (told,) = running.lines("policy.unapproved")
    assert told["sentence"].startswith(f"{kent.path.name} has changes that nobody approved: export custody: allow")
    status = running.node.approvals.status()
    assert status.unapproved == told["sentence"]
    kent.write(MET)
    assert (await kent.reload()).ok
    assert running.node.approvals.unapproved == ""


async def test_a_restart_takes_what_narrows_and_what_was_signed(kent: ApprovedNode) -> None:
    await kent.first()
    await kent.stop()
    kent.write(MET, ESSEX)
    kent.plan(*kent.people[1:3])
    running = await kent.start()
    assert kent.allowed() == (MET, ESSEX)
    assert running.lines("policy.taken")[-1]["widens"] >= 1
    await kent.stop()
    kent.write(MET)
    await kent.start()
    assert kent.allowed() == (MET,)


@pytest.mark.parametrize("spoil", ["signers", "trust", "approvals", "signers gone"])
async def test_a_restart_runs_on_the_copies(kent: ApprovedNode, spoil: str) -> None:
    running = await kent.first()
    digest = running.node.approvals.digest
    await kent.stop()
    trust, good = kent.nodes.pki.trust, kent.nodes.pki.trust.read_bytes()
    if spoil == "signers":
        mallory = make_person(kent.nodes.folder, "mallory@kent.police.example")
        kent.signers.write_text(kent.signers.read_text() + mallory.line())
    elif spoil == "signers gone":
        kent.signers.unlink()
    elif spoil == "trust":
        other = kent.nodes.folder / "other"
        other.mkdir()
        trust.write_bytes(good + type(kent.nodes.pki)(other).trust.read_bytes())
    else:
        kent.write(approvals=None)
    running = await kent.start()
    assert running.node.approvals.digest == digest
    assert running.lines("policy.unapproved")
    assert len(running.node.local.credentials.trust) == 1
    assert running.node.approvals.held is not None
    assert len(running.node.approvals.held.signers) == 4


async def test_no_rule_begins_with_an_end_that_is_too_far(kent: ApprovedNode) -> None:
    """By a start neither: whoever may sign says until when, within what [approvals] allows."""
    late = (SYSTEM_CLOCK.wall() + timedelta(days=500)).date()

    def write() -> None:
        export = {"service": "custody", "target": "127.0.0.1:5432", "allow": [MET, ESSEX], **PAPER, "until": late}
        kent.write(exports=[export])

    write()
    kent.plan(*kent.people[1:3])
    with pytest.raises(ConfigError, match="days ahead; 400 is the most"):
        starting_policy(kent.path)
    kent.write()
    await kent.first()
    write()
    kent.plan(*kent.people[1:3])
    answer = await kent.reload()
    assert (answer.ok, answer.exit_code) == (False, 78)
    assert "days ahead; 400 is the most" in answer.reason
    await kent.stop()
    running = await kent.start()
    assert kent.allowed() == (MET,)
    assert "days ahead; 400 is the most" in running.lines("policy.unapproved")[-1]["sentence"]


async def test_a_take_over_leaves_what_widens_for_a_reload(kent: ApprovedNode) -> None:
    await kent.first()
    kent.write(MET, ESSEX)
    kent.plan(*kent.people[1:3])
    policy = starting_policy(kent.path, taking_over=True)
    assert policy.config.exports[0].allow == (MET,)
    assert policy.start.refused is not None
    assert (await kent.reload()).ok


async def test_another_version_computes_the_digest_again(
    kent: ApprovedNode, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    await kent.first()
    await kent.stop()
    held = kent.store.read()
    assert held is not None
    kent.store.rehash(held, "0" * 64, "0.0.1")
    monkeypatch.setattr(approvals_module, "__version__", "9.9.9")
    running = await kent.start()
    (again,) = running.lines("policy.rehashed")
    assert (again["before"], again["after"]) == ("0" * 64, running.node.approvals.digest)
    kept = kent.store.read()
    assert kept is not None
    assert (kept.pointer.digest, kept.pointer.version) == (running.node.approvals.digest, "9.9.9")


async def test_a_copy_that_was_touched_is_not_used(kent: ApprovedNode) -> None:
    await kent.first()
    kent.write(MET, ESSEX)
    kent.plan(*kent.people[1:3])
    assert (await kent.reload()).ok
    await kent.stop()
    kept = kent.store.read()
    assert kept is not None
    (kept.path / "policy.toml").write_text(kept.text.replace(ESSEX, "evil.example"))
    change_path(kent.path).unlink()
    running = await kent.start()
    assert running.node.approvals.status().older
    assert "evil.example" not in kent.allowed()


# --- acts and holds ------------------------------------------------------------------------------------------------


def put_act(
    kent: ApprovedNode,
    act: str,
    text: str,
    *signing: int,
    namespace: str = ACT_NAMESPACE,
    made: datetime | None = None,
) -> Path:
    assert kent.running is not None
    made = made or SYSTEM_CLOCK.wall()
    head = make_head(kent.running.node.config.node.id, kent.people[0].address, made, "CR-7", "why")
    where = act_path(kent.path, act)
    for old in where.parent.glob(f"{where.name}*"):
        old.unlink()
    where.write_bytes(make_act(head, act, text).render())
    for number in signing:
        kent.people[number].put(where, namespace)
    return where


async def why_not(node: Node, act: str, text: str, role: str = "") -> str:
    """Why an act is not approved; nothing: it is, and is carried out."""
    try:
        async with node.approvals.acting(act, text, Actor(1000, "ops"), role):
            return ""
    except RuleProblem as problem:
        return str(problem)


async def test_an_act_is_allowed_once_by_a_text_that_others_signed(kent: ApprovedNode) -> None:
    running = await kent.first()
    node, text = running.node, "cjx/custody@kent.police.example"
    why = await why_not(node, "retire", text)
    assert "needs a text that others signed" in why
    assert f"pcgrelay plan --act retire -c {kent.path}" in why
    assert node.approvals.pending == {"retire": text}
    put_act(kent, "retire", text, 1)
    assert "has 1 (a.jones)" in await why_not(node, "retire", text)
    put_act(kent, "retire", text, 0, 1)
    assert "has 1 (a.jones)" in await why_not(node, "retire", text)
    put_act(kent, "retire", text, 1, 2, namespace=PLAN_NAMESPACE)
    assert "another namespace" in await why_not(node, "retire", text)
    put_act(kent, "retire", text, 1, 2)
    assert "something else" in await why_not(node, "retire", "psnp/custody")
    assert await why_not(node, "retire", text) == ""
    assert node.approvals.pending == {}
    assert "for once" in await why_not(node, "retire", text)
    reasons = [line["reason"] for line in running.lines("approval.refused")]
    assert reasons == ["no-change", "signatures", "signatures", "signatures", "act", "used"]
    (acted,) = running.lines("approval.acted")
    assert acted["approved"] == [each.address for each in kent.people[1:3]]
    await kent.stop()
    running = await kent.start()
    assert "for once" in await why_not(running.node, "retire", text)


async def test_of_acts_that_are_asked_for_at_once_one_has_the_text(kent: ApprovedNode) -> None:
    running = await kent.first()
    text = "cjx/custody@kent.police.example"
    put_act(kent, "retire", text, 1, 2)
    answers = await asyncio.gather(*(why_not(running.node, "retire", text) for _ in range(6)))
    assert sorted(map(bool, answers)) == [False, True, True, True, True, True]
    assert all("for once" in answer for answer in answers if answer)


async def test_the_text_of_an_act_that_was_refused_otherwise_is_good_again(kent: ApprovedNode) -> None:
    running = await kent.first()
    node, text, actor = running.node, "cjx/custody@kent.police.example", Actor(1000)
    put_act(kent, "retire", text, 1, 2)
    with pytest.raises(RunError, match="disk"):
        async with node.approvals.acting("retire", text, actor):
            raise RunError("The disk is full.")
    assert running.lines("approval.refused")[-1]["reason"] == "not-done"
    assert running.lines("approval.refused")[-1]["sentence"].endswith("The disk is full.")
    assert kent.store.used().acts == {}
    assert await why_not(node, "retire", text) == ""
    assert "for once" in await why_not(node, "retire", text)
    # What ends otherwise may have been carried out, so it is used up.
    put_act(kent, "waive", text, 1, 2)
    with pytest.raises(ZeroDivisionError):
        async with node.approvals.acting("waive", text, actor):
            raise ZeroDivisionError
    assert "for once" in await why_not(node, "waive", text)


async def test_the_text_is_used_up_before_the_act_begins(kent: ApprovedNode) -> None:
    running = await kent.first()
    where = put_act(kent, "retire", "cjx/custody", 1, 2)
    async with running.node.approvals.acting("retire", "cjx/custody", Actor(1000)):
        assert list(kent.store.used().acts) == [hashlib.sha256(where.read_bytes()).hexdigest()]
        assert running.lines("approval.acted")


async def test_what_a_role_advises_is_signed_by_somebody_who_has_it(kent: ApprovedNode) -> None:
    lee, smith = kent.people[3].address, kent.people[0].address
    kent.approvals["roles"] = {'"information assurance"': [lee], '"service owner"': [smith]}
    kent.write()
    running = await kent.first()
    node, text, role = running.node, "custody@kent.police.example Information Assurance", "Information Assurance"
    put_act(kent, "advice", text, 1, 2)
    why = await why_not(node, "advice", text, role)
    assert f'Nobody who has the role "{role}" has signed it. Ask {lee}.' in why
    assert running.lines("approval.refused")[-1]["reason"] == "signatures"
    put_act(kent, "advice", text, 3)
    assert "has 1 (c.lee)" in await why_not(node, "advice", text, role)
    put_act(kent, "advice", text, 1, 3)
    assert await why_not(node, "advice", text, role) == ""
    # Whoever proposes it may be the one who has the role; others approve it.
    put_act(kent, "advice", "custody@kent.police.example service owner", 1, 2)
    assert "has the role" in await why_not(node, "advice", "custody@kent.police.example service owner", "service owner")
    put_act(kent, "advice", "custody@kent.police.example service owner", 0, 1, 2)
    assert await why_not(node, "advice", "custody@kent.police.example service owner", "service owner") == ""
    # A role that nobody was named for: the signatures are enough.
    put_act(kent, "advice", "custody@kent.police.example finance", 1, 2)
    assert await why_not(node, "advice", "custody@kent.police.example finance", "finance") == ""


async def test_a_signer_holds_a_change_and_alone_lifts_that(kent: ApprovedNode) -> None:
    kent.approvals["holds"] = True
    kent.write()
    running = await kent.first()
    kent.write(MET, ESSEX)
    where = kent.plan(*kent.people[1:3])
    sha256 = hashlib.sha256(where.read_bytes()).hexdigest()

    def text(number: int, act: str) -> Path:
        person = kent.people[number]
        head = make_head(running.node.config.node.id, person.address, SYSTEM_CLOCK.wall(), "CR-7", f"{act} it")
        path = where.with_suffix(f".{act}{number}")
        path.write_bytes(Act(head, act, sha256, ()).render())
        person.put(path, HOLD_NAMESPACE)
        return path

    approvals = running.node.approvals
    assert await approvals.hold(where, text(3, "hold"), 1000) == (kent.people[3].address,)
    await kent.refused("held", kent.people[3].address)
    assert await approvals.hold(where, text(2, "lift"), 1000) == (kent.people[3].address,)
    await kent.refused("held")
    assert await approvals.hold(where, text(3, "lift"), 1000) == ()
    assert (await kent.reload()).ok
    assert [line["lifted"] for line in running.lines("policy.held")] == [False, True, True]


async def test_nobody_holds_where_that_is_not_allowed(kent: ApprovedNode) -> None:
    running = await kent.first()
    with pytest.raises(ConfigError, match="holds = true"):
        await running.node.approvals.hold(kent.path, kent.path, 1000)
