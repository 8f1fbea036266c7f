"""Further attacks on approvals, by what lies in files and by when they are read; each with the real ssh-keygen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pcgrelay.clock import SYSTEM_CLOCK, SetClock
from pcgrelay.errors import ConfigError, RuleProblem
from pcgrelay.gateway.actor import Actor
from pcgrelay.gateway.approved_start import starting_policy
from pcgrelay.model import NodeId
from pcgrelay.policy import used as used_module
from pcgrelay.policy.acts import act_path
from pcgrelay.policy.change import Change, make_act, make_head, time_shown
from pcgrelay.policy.signatures import ACT_NAMESPACE
from pcgrelay.policy.used import UsedTexts
from pcgrelay.state import file
from tests.support.approving_node import ESSEX, HUB, MET, PAPER, ApprovedNode
from tests.support.nodes_in_process import Nodes
from tests.support.signing import make_person


@pytest.fixture
def kent(nodes: Nodes) -> ApprovedNode:
    return ApprovedNode(nodes)


async def unread(kent: ApprovedNode, words: str) -> None:
    """Reload: a file is refused before anything is judged, and nothing changes."""
    assert kent.running is not None
    before = kent.allowed(), kent.running.node.approvals.digest
    answer = await kent.reload()
    assert (answer.ok, answer.exit_code) == (False, 78)
    assert words in answer.reason
    assert "\n" not in answer.reason
    assert (kent.allowed(), kent.running.node.approvals.digest) == before


async def test_a_list_of_signers_that_is_a_link_is_judged_by_what_it_leads_to(kent: ApprovedNode) -> None:
    real, other = kent.nodes.folder / "real", kent.nodes.folder / "turned"
    kent.signers.rename(real)
    kent.signers.symlink_to(real)
    await kent.first()
    mallory = make_person(kent.nodes.folder, "mallory@kent.police.example")
    other.write_text(real.read_text() + mallory.line())
    kent.signers.unlink()
    kent.signers.symlink_to(other)
    await kent.refused("before", "mallory@kent.police.example")
    kent.write(MET, ESSEX)
    kent.plan(kent.people[1], mallory)
    await kent.refused("signatures", "nobody in the list of signers has that key")
    # It is the copy that a start goes by, whatever the link leads to then.
    await kent.stop()
    await kent.start()
    assert kent.allowed() == (MET,)
    assert kent.running is not None
    assert kent.running.node.approvals.held is not None
    assert len(kent.running.node.approvals.held.signers) == 4


async def test_line_ends_of_another_system(kent: ApprovedNode) -> None:
    await kent.widened()
    kent.plan(*kent.people[1:3])
    good = kent.signers.read_bytes()
    kent.signers.write_bytes(good.replace(b"\n", b"\r\n"))
    await unread(kent, "control character (0x0d)")
    kent.signers.write_bytes(good)
    # In the configuration they mean nothing, so the digest is the same.
    kent.path.write_bytes(kent.path.read_bytes().replace(b"\n", b"\r\n"))
    assert (await kent.reload()).ok


async def test_a_node_of_that_name_in_another_realm(kent: ApprovedNode) -> None:
    await kent.widened()
    change = kent.text()
    twin = NodeId(realm="other.example", organisation="kent.police.example", name="kent-1")
    head = make_head(twin, kent.people[0].address, SYSTEM_CLOCK.wall(), "CR-1", "why")
    kent.plan(*kent.people[1:3], text=Change(head, change.before, change.after, change.lines).render())
    await kent.refused("node", "of the realm other.example")


async def test_a_key_or_a_table_that_stands_twice(kent: ApprovedNode) -> None:
    await kent.widened()
    kent.plan(*kent.people[1:3])
    text = kent.path.read_text()
    for more in ("[approvals]\nneeds = 1\n", "needs = 1\n", '[policy]\nmembers = ["*"]\n'):
        kent.path.write_text(text.replace("[approvals]\n", f"[approvals]\nneeds = 2\n{more}", 1))
        await unread(kent, str(kent.path))
    kent.path.write_text(text)
    assert (await kent.reload()).ok


async def test_a_principal_in_other_letters(kent: ApprovedNode) -> None:
    await kent.widened()
    where = kent.plan(kent.people[1])
    upper = where.with_name(f"{where.name}.B.Khan@kent.police.example.sig")
    upper.write_bytes(kent.people[2].sign(where.read_bytes()))
    await kent.refused("signatures", "not called after an address")
    upper.unlink()
    # Who proposes it is no other person for being written otherwise.
    text = kent.text().render().replace(b"j.smith@", b"J.Smith@")
    kent.plan(kent.people[0], kent.people[1], text=text)
    await kent.refused("text", "(field)")
    # A list that names a person twice in other letters is refused as a whole.
    kent.signers.write_text(kent.signers.read_text() + kent.people[2].line().replace("b.khan", "B.khan"))
    await unread(kent, "begins with one literal address")


async def test_a_change_at_the_very_second_of_its_date(kent: ApprovedNode) -> None:
    running = await kent.first()
    made = SYSTEM_CLOCK.wall().replace(microsecond=0)
    kent.write(MET, ESSEX)
    kent.plan(*kent.people[1:3], made=made)
    approvals = running.node.approvals
    approvals.clock = SetClock(made + timedelta(days=3))
    await kent.refused("date")
    approvals.clock = SetClock(made + timedelta(days=3) - timedelta(microseconds=1))
    assert (await kent.reload()).ok


async def test_a_signer_at_the_very_second_of_their_end(kent: ApprovedNode) -> None:
    end = (SYSTEM_CLOCK.wall() + timedelta(days=1)).replace(microsecond=0)
    lines = kent.signers.read_text().splitlines(keepends=True)
    lines[2] = lines[2].replace('" ssh', f'",valid-before="{end:%Y%m%d%H%M%S}Z" ssh')
    kent.signers.write_text("".join(lines))
    running = await kent.first()
    kent.write(MET, ESSEX)
    kent.plan(*kent.people[1:3])
    running.node.approvals.clock = SetClock(end)
    await kent.refused("signatures", "the key has expired")
    running.node.approvals.clock = SetClock(end - timedelta(seconds=1))
    assert (await kent.reload()).ok


async def test_reloads_between_the_first_signature_and_the_second(kent: ApprovedNode) -> None:
    running = await kent.first()
    both = {"log": {"level": "debug"}}
    kent.write(MET, ESSEX, **both)
    where = kent.plan(kent.people[1])
    for _ in range(3):
        # All or nothing: what needs no paper does not come alone either.
        await kent.refused("signatures", "has 1 (a.jones)")
        assert running.node.config.log.level == "info"
    # Meanwhile something narrows and is taken, and that makes another policy of it.
    kent.approvals["needs"] = 3
    kent.write(MET)
    assert (await kent.reload()).ok
    kent.people[2].put(where)
    kent.people[3].put(where)
    kent.write(MET, ESSEX, **both)
    await kent.refused("before")
    kent.approvals["needs"] = 2
    kent.write(MET, ESSEX, **both)
    await kent.refused("before", "needs 2 (was 3)")


async def test_files_without_end(kent: ApprovedNode) -> None:
    await kent.widened()
    kent.plan(*kent.people[1:3])
    good, text = kent.signers.read_bytes(), kent.path.read_bytes()
    for path, size in ((kent.signers, 1 << 17), (kent.path, 1 << 24), (kent.nodes.pki.trust, 1 << 21)):
        whole = path.read_bytes()
        path.write_bytes(whole + b"\n" + b"#" * size)
        await unread(kent, "larger than")
        path.unlink()
        path.symlink_to("/dev/zero")
        await unread(kent, "larger than")
        path.unlink()
        path.write_bytes(whole)
    assert (kent.signers.read_bytes(), kent.path.read_bytes()) == (good, text)
    assert (await kent.reload()).ok


@pytest.mark.parametrize("name", ["approved.json", "used.json"])
@pytest.mark.parametrize("spoil", ["torn", "folder", "link to nothing"])
async def test_state_that_cannot_be_read_allows_nothing(kent: ApprovedNode, name: str, spoil: str) -> None:
    running = await kent.first()
    text = "cjx/custody@kent.police.example"
    put(kent, text)
    async with running.node.approvals.acting("retire", text, Actor(1000)):
        pass
    put(kent, "other")
    async with running.node.approvals.acting("retire", "other", Actor(1000)):
        pass
    await kent.stop()
    path = kent.state / "approved" / name
    for each in (path, path.with_name(f"{name}.before")):
        each.unlink(missing_ok=True)
        if spoil == "torn":
            each.write_text("{")
        elif spoil == "folder":
            each.mkdir()
        else:
            each.symlink_to(kent.nodes.folder / "nowhere")
    if name == "approved.json":
        # Nor is it taken for a node that never had approvals, by a file without them.
        for approvals in (kent.approvals, None):
            kent.write(MET, ESSEX, approvals=approvals)
            with pytest.raises(ConfigError, match="cannot be read"):
                starting_policy(kent.path)
        return
    running = await kent.start()
    with pytest.raises(RuleProblem, match="no act is allowed"):
        async with running.node.approvals.acting("retire", "other", Actor(1000)):
            raise AssertionError


async def test_of_the_texts_that_were_used_the_newest_file_alone_counts(kent: ApprovedNode) -> None:
    """In the one before, what was used last is good again."""
    running = await kent.first()
    for text in ("one", "two"):
        put(kent, text)
        async with running.node.approvals.acting("retire", text, Actor(1000)):
            pass
    (kent.state / "approved" / "used.json").unlink()
    with pytest.raises(RuleProblem, match="no act is allowed"):
        async with running.node.approvals.acting("retire", "two", Actor(1000)):
            raise AssertionError


async def test_a_folder_that_nobody_may_look_into_is_not_an_empty_one(
    kent: ApprovedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kent.first()
    await kent.stop()
    kent.write(MET, ESSEX, approvals=None)

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(file.os, "lstat", refuse)
    monkeypatch.setattr(file, "read_bounded", lambda path, what, limit: (_ for _ in ()).throw(ConfigError(str(path))))
    with pytest.raises(ConfigError, match="cannot be read"):
        starting_policy(kent.path)


async def test_an_act_that_shows_something_else_than_it_is_for(kent: ApprovedNode) -> None:
    running = await kent.first()
    real, shown = "cjx/custody@kent.police.example", "old/nothing@kent.police.example"
    where = put(kent, real)
    data = where.read_bytes().replace(f"TEXT      {real}".encode(), f"TEXT      {shown}".encode())
    assert shown.encode() in data
    where.write_bytes(data)
    for person in kent.people[1:3]:
        person.put(where, ACT_NAMESPACE)
    with pytest.raises(RuleProblem, match="shows something else"):
        async with running.node.approvals.acting("retire", real, Actor(1000)):
            raise AssertionError
    assert running.lines("approval.refused")[-1]["reason"] == "lines"
    assert kent.store.used().acts == {}


async def test_the_end_of_a_long_list_is_signed_for_as_its_beginning(kent: ApprovedNode) -> None:
    """A line has a length, and what is beyond it would be in force without anybody having read it."""
    await kent.first()
    networks = [f"10.{number // 250}.{number % 250}.0/24" for number in range(250)]
    also = [f"127.0.0.1:{kent.port + 1}"]
    export = {"service": "custody", "target": "127.0.0.1:5432", "allow": [MET], "also": also, **PAPER}
    kent.write(exports=[export], callers=[{"organisation": MET, "networks": networks}])
    signed = " ".join(line.sentence for line in kent.text().lines)
    assert all(each in signed.replace("... ...", "").replace("...", "") for each in (networks[0], networks[-1]))
    assert kent.text().render()


async def test_a_hand_over_between_the_signatures_and_the_taking(kent: ApprovedNode) -> None:
    running = await kent.first()
    put(kent, "one")
    async with running.node.approvals.acting("retire", "one", Actor(1000)):
        pass
    kent.write(MET, ESSEX)
    kent.plan(*kent.people[1:3])
    # The process that takes over leaves it alone, and knows what was used.
    policy = starting_policy(kent.path, taking_over=True)
    assert policy.config.exports[0].allow == (MET,)
    await kent.stop()
    running = await kent.start()
    assert kent.allowed() == (MET, ESSEX)
    kent.write(MET)
    assert (await kent.reload()).ok
    kent.write(MET, ESSEX)
    await kent.refused("used")
    put(kent, "one", made=datetime.now(UTC) - timedelta(hours=1))
    with pytest.raises(RuleProblem, match="something else"):
        async with running.node.approvals.acting("retire", "two", Actor(1000)):
            raise AssertionError


async def test_texts_that_are_forgotten_for_want_of_room_are_good_no_more(
    kent: ApprovedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await kent.first()
    approvals, now = running.node.approvals, SYSTEM_CLOCK.wall()
    monkeypatch.setattr(used_module, "USED_MOST", 1)
    approvals.taken = UsedTexts({"aa" * 32: time_shown(now + timedelta(days=1))})
    kent.write(MET, ESSEX)
    kent.plan(*kent.people[1:3])
    answer = await kent.reload()
    assert not answer.ok
    assert "wait until some are too old" in answer.reason
    assert kent.allowed() == (MET,)
    approvals.clock = SetClock(now + timedelta(days=2))
    assert (await kent.reload()).ok
    kept = kent.store.read()
    assert kept is not None
    assert kept.pointer.forgotten == time_shown(now + timedelta(days=1))
    kent.write(MET)
    assert (await kent.reload()).ok
    kent.write(MET, HUB)
    kent.plan(*kent.people[1:3], made=now - timedelta(days=2))
    approvals.clock = SetClock(now)
    await kent.refused("used", "nothing is known any more of texts up to")


def put(kent: ApprovedNode, text: str, made: datetime | None = None) -> Path:
    """Lay the signed text of an act beside the configuration."""
    assert kent.running is not None
    head = make_head(
        kent.running.node.config.node.id, kent.people[0].address, made or SYSTEM_CLOCK.wall(), "CR-7", text[:20]
    )
    where = act_path(kent.path, "retire")
    where.write_bytes(make_act(head, "retire", text).render())
    for person in kent.people[1:3]:
        person.put(where, ACT_NAMESPACE)
    return where
