"""The attacks on approvals, each with real keys and the real ssh-keygen, and each refused by its name."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.errors import ConfigError
from pcgrelay.gateway.approved_start import starting_policy
from pcgrelay.model import NodeId
from pcgrelay.policy import signatures
from pcgrelay.policy.change import Change, make_head
from pcgrelay.policy.gate import change_path
from pcgrelay.policy.signatures import PLAN_NAMESPACE
from pcgrelay.policy.signed_text import Line
from tests.support.approving_node import ESSEX, HUB, MET, ApprovedNode
from tests.support.nodes_in_process import Nodes
from tests.support.signing import make_person, revoke


@pytest.fixture
def kent(nodes: Nodes) -> ApprovedNode:
    return ApprovedNode(nodes)


async def test_a_signature_over_another_text(kent: ApprovedNode) -> None:
    await kent.widened()
    where = kent.plan(kent.people[1])
    other = kent.nodes.folder / "other"
    other.write_bytes(where.read_bytes() + b"\n")
    kent.people[2].put(other).rename(where.with_name(f"{where.name}.{kent.people[2].address}.sig"))
    await kent.refused("signatures", "it is over another text")


async def test_a_signature_for_another_purpose(kent: ApprovedNode) -> None:
    await kent.widened()
    where = kent.plan(kent.people[1])
    kent.people[2].put(where, PLAN_NAMESPACE)
    await kent.refused("signatures", "another namespace")


async def test_a_signer_whose_time_is_over(kent: ApprovedNode) -> None:
    lines = kent.signers.read_text().splitlines(keepends=True)
    lines[2] = lines[2].replace('" ssh', '",valid-before="20200101Z" ssh')
    kent.signers.write_text("".join(lines))
    kent.plan(kent.people[1], kent.people[3])
    await kent.start()
    kent.write(MET, ESSEX)
    kent.plan(*kent.people[1:3])
    assert (
        "b.khan" not in (await kent.refused("signatures", "the key has expired")).partition("Ask")[2].partition(".")[0]
    )


async def test_a_signer_who_is_added_in_the_same_change(kent: ApprovedNode) -> None:
    await kent.widened()
    mallory = make_person(kent.nodes.folder, "mallory@kent.police.example")
    kent.signers.write_text(kent.signers.read_text() + mallory.line())
    kent.plan(kent.people[1], mallory)
    await kent.refused("signatures", "nobody in the list of signers has that key")
    kent.people[2].put(change_path(kent.path))
    assert (await kent.reload()).ok


async def test_one_key_under_two_names(kent: ApprovedNode) -> None:
    kent.signers.write_text(kent.signers.read_text() + kent.people[1].line().replace("a.jones", "z.jones"))
    with pytest.raises(ConfigError, match="stands on line 2 already"):
        starting_policy(kent.path)


async def test_who_proposes_does_not_sign(kent: ApprovedNode) -> None:
    await kent.widened()
    kent.plan(kent.people[0], kent.people[1])
    await kent.refused("signatures", "of others than j.smith; has 1 (a.jones)")


async def test_a_change_is_not_taken_twice(kent: ApprovedNode) -> None:
    await kent.widened()
    where = kent.plan(*kent.people[1:3])
    assert (await kent.reload()).ok
    kent.write(MET)
    assert (await kent.reload()).ok
    kent.write(MET, ESSEX)
    # Back at the policy from which it began, its digests fit again.
    assert where.exists()
    await kent.refused("used", "is good for once")
    kent.write(MET, ESSEX, HUB)
    await kent.refused("after")


async def test_a_change_that_begins_elsewhere(kent: ApprovedNode) -> None:
    await kent.widened()
    change = kent.text()
    kent.plan(*kent.people[1:3], text=Change(change.head, "00" * 32, change.after, change.lines).render())
    await kent.refused("before")


async def test_two_changes_that_cross(kent: ApprovedNode) -> None:
    await kent.first()
    kent.write(MET, ESSEX)
    kent.plan(*kent.people[1:3])
    essex = change_path(kent.path).read_bytes()
    kent.write(MET, HUB)
    kent.plan(*kent.people[1:3])
    assert (await kent.reload()).ok
    kent.write(MET, ESSEX)
    kent.plan(*kent.people[1:3], text=essex)
    await kent.refused("before", "another was taken before it")


async def test_a_change_of_another_node(kent: ApprovedNode) -> None:
    await kent.widened()
    change = kent.text()
    node = NodeId(realm="police.example", organisation="kent.police.example", name="kent-2")
    head = make_head(node, kent.people[0].address, SYSTEM_CLOCK.wall(), "CR-1", "why")
    kent.plan(*kent.people[1:3], text=Change(head, change.before, change.after, change.lines).render())
    await kent.refused("node", "kent-2")


async def test_a_date_that_has_passed(kent: ApprovedNode) -> None:
    await kent.widened()
    kent.plan(*kent.people[1:3], made=SYSTEM_CLOCK.wall() - timedelta(days=3))
    await kent.refused("date")


async def test_a_text_from_the_future(kent: ApprovedNode) -> None:
    await kent.widened()
    kent.plan(*kent.people[1:3], made=SYSTEM_CLOCK.wall() + timedelta(hours=1))
    await kent.refused("early")


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("line-ends", lambda text: text.replace(b"\n", b"\r\n")),
        ("characters", lambda text: text.replace(b"essex", "еssex".encode())),
        ("characters", lambda text: b"\xef\xbb\xbf" + text),
        ("duplicate", lambda text: text + b"reason    another\n"),
        ("order", lambda text: text.replace(b"CR-1042\nreason", b"CR-1042\nREASON")),
        ("trailing", lambda text: text.replace(b"CR-1042", b"CR-1042 ")),
        ("size", lambda text: text + b"NEUTRAL   x\n" * 10_000),
    ],
)
async def test_a_text_that_reads_alike(kent: ApprovedNode, name: str, spoil: object) -> None:
    await kent.widened()
    assert callable(spoil)
    text = spoil(kent.text().render())
    kent.plan(*kent.people[1:3], text=text)
    if name == "size":
        answer = await kent.reload()
        assert (answer.ok, answer.exit_code) == (False, 78)
        assert "larger than 64 KiB" in answer.reason
    else:
        await kent.refused("text", f"({name})")


async def test_a_key_that_was_revoked(kent: ApprovedNode) -> None:
    revoked = kent.nodes.folder / "krl"
    await kent.widened()
    revoke(revoked, kent.people[2])
    kent.approvals["revoked"] = str(revoked)
    # The very change that revokes it is not signed by it either.
    kent.write(MET, ESSEX)
    kent.plan(*kent.people[1:3])
    said = await kent.refused("signatures", "the key is revoked")
    assert "Ask c.lee." in said  # and not whose key is revoked
    kent.write(MET)
    assert (await kent.reload()).ok
    kent.write(MET, ESSEX)
    kent.plan(*kent.people[1:3])
    said = await kent.refused("signatures", "the key is revoked")
    assert "Ask c.lee." in said  # and not whose key is revoked
    kent.people[3].put(change_path(kent.path))
    assert (await kent.reload()).ok


async def test_a_huge_signature_and_a_link(kent: ApprovedNode) -> None:
    await kent.widened()
    where = kent.plan(kent.people[1])
    link = where.with_name(f"{where.name}.x@y.example.sig")
    link.symlink_to(where.with_name(f"{where.name}.{kent.people[1].address}.sig"))
    answer = await kent.reload()
    assert not answer.ok
    assert "symbolic link" in answer.reason
    link.unlink()
    link.write_bytes(b"x" * 100_000)
    answer = await kent.reload()
    assert not answer.ok
    assert "larger than 16 KiB" in answer.reason
    link.unlink()
    real = where.rename(where.with_name("real"))
    where.symlink_to(real)
    answer = await kent.reload()
    assert not answer.ok
    assert "symbolic link" in answer.reason
    assert kent.allowed() == (MET,)


async def test_an_edit_after_signing(kent: ApprovedNode) -> None:
    await kent.widened()
    kent.plan(*kent.people[1:3])
    kent.write(MET, ESSEX, HUB)
    await kent.refused("after", "edited since")


async def test_a_text_that_hides_what_it_widens(kent: ApprovedNode) -> None:
    await kent.widened()
    change = kent.text()
    hidden = (Line("NEUTRAL", "log.level debug"),)
    kent.plan(*kent.people[1:3], text=Change(change.head, change.before, change.after, hidden).render())
    await kent.refused("lines", f"allow {ESSEX} added")


async def test_a_name_in_upper_case(kent: ApprovedNode) -> None:
    await kent.first()
    kent.write(MET, "Essex.police.example")
    answer = await kent.reload()
    assert (answer.ok, answer.exit_code) == (False, 78)


async def test_approvals_that_are_taken_out(kent: ApprovedNode) -> None:
    await kent.first()
    kent.write(MET, approvals=None)
    await kent.refused("before", "approvals: removed")
    change_path(kent.path).unlink()
    kent.approvals["needs"] = 1
    kent.write(MET)
    await kent.refused("no-change", "needs")


async def test_another_state_folder(kent: ApprovedNode) -> None:
    await kent.first()
    other = kent.nodes.folder / "other"
    other.mkdir(mode=0o700)
    kent.write(MET, ESSEX, node_table={"state": str(other)})
    answer = await kent.reload()
    assert not answer.ok
    assert kent.allowed() == (MET,)


async def test_a_signature_under_the_name_of_another(kent: ApprovedNode) -> None:
    await kent.widened()
    where = kent.plan(kent.people[1])
    copied = where.with_name(f"{where.name}.{kent.people[1].address}.sig").read_bytes()
    where.with_name(f"{where.name}.{kent.people[2].address}.sig").write_bytes(copied)
    await kent.refused("signatures", "the key is that of another person")


async def test_without_the_tool_nothing_widens(kent: ApprovedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    await kent.widened()
    kent.plan(*kent.people[1:3])
    monkeypatch.setattr(signatures, "SSH_KEYGEN", "/nonexistent/ssh-keygen")
    answer = await kent.reload()
    assert (answer.ok, answer.exit_code) == (False, 1)
    assert "openssh-client" in answer.reason
    assert kent.allowed() == (MET,)
    kent.write(MET, log={"level": "debug"})
    assert (await kent.reload()).ok
