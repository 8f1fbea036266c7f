"""A door can be closed whatever is broken: a full disk, a damaged file of holds, no ssh-keygen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pcgrelay.daemon.policy_api import PolicyApi
from pcgrelay.errors import RunError
from pcgrelay.policy import signatures
from pcgrelay.policy.gate import change_path, propose, read_policy
from pcgrelay.state.approved import USED, ApprovedStore
from tests.support.approving_node import MET, ApprovedNode
from tests.support.nodes_in_process import Nodes

ESSEX = "essex.police.example"


@pytest.fixture
def kent(nodes: Nodes) -> ApprovedNode:
    return ApprovedNode(nodes)


def full(*_: object) -> None:
    raise RunError("There is no room on the disk.")


async def test_what_narrows_is_in_force_though_it_cannot_be_kept(
    kent: ApprovedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    kent.write(MET, ESSEX)
    running = await kent.first()
    approvals = running.node.approvals
    first = approvals.digest
    with monkeypatch.context() as patched:
        patched.setattr(ApprovedStore, "write", full)
        kent.write(MET)
        assert (await kent.reload()).ok
        assert kent.allowed() == (MET,)
        assert running.lines("policy.taken")[-1]["narrows"] == 1
        assert "no room" in approvals.unwritten
        # What is told to who plans is what holds, and before it stands what is on the disk.
        assert approvals.kept is not None
        assert approvals.kept.pointer.digest == approvals.digest != first
        before = approvals.before
        assert before is not None
        assert before.pointer.digest == first
        # What widens is refused, for nobody could say after a restart who allowed it.
        kent.write(MET, ESSEX)
        kent.plan(*kent.people[1:3], text=_text(kent))
        answer = await kent.reload()
        assert not answer.ok
        assert "no room" in answer.reason
        assert kent.allowed() == (MET,)
        kent.write(MET)
    # As soon as there is room, the same file is kept.
    assert (await kent.reload()).ok
    assert approvals.unwritten == ""
    held = kent.held()
    assert held is not None
    assert held.digest == approvals.digest != first


def _text(kent: ApprovedNode) -> bytes:
    """The change from what the node has in force, which is not what is on the disk."""
    assert kent.running is not None
    made, held = kent.text(), kent.running.node.approvals.held
    proposed = propose(held, read_policy(kent.path))
    return replace(made, before=proposed.before, lines=proposed.lines).render()


async def test_what_narrows_needs_neither_the_tool_nor_the_file_of_holds(
    kent: ApprovedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    kent.approvals["holds"] = True
    kent.write(MET, ESSEX)
    await kent.first()
    monkeypatch.setattr(signatures, "SSH_KEYGEN", "/nonexistent/ssh-keygen")
    for name in (USED, f"{USED}.before"):
        (kent.store.folder / name).write_text("damaged")
    change_path(kent.path).write_bytes(b"\xff" * 100)
    kent.write(MET)
    assert (await kent.reload()).ok
    assert kent.allowed() == (MET,)
    # What widens meets all of them.
    kent.write(MET, ESSEX)
    assert not (await kent.reload()).ok
    assert kent.allowed() == (MET,)


async def test_the_view_of_a_policy_that_is_not_kept_is_whole(
    kent: ApprovedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    kent.write(MET, ESSEX)
    running = await kent.first()
    monkeypatch.setattr(ApprovedStore, "write", full)
    kent.write(MET)
    assert (await kent.reload()).ok
    answer = PolicyApi(running.node, running.node.identity_lock)._answer()
    assert answer.holds.digest == running.node.approvals.digest
    assert ESSEX not in answer.holds.text
    assert answer.before is not None
    assert ESSEX in answer.before.text
