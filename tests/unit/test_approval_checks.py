"""What `check` and `doctor` say of approvals before anybody needs them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pcgrelay.approval_checks import approval_findings
from pcgrelay.finding import ERROR, OK, WARNING, Finding
from pcgrelay.policy import signatures
from tests.support.approved_node import ApprovedNode
from tests.support.signing import NAMESPACES, revoke

NOW = datetime(2026, 10, 2, tzinfo=UTC)


@pytest.fixture
def kent(tmp_path: Path) -> ApprovedNode:
    return ApprovedNode.make(tmp_path)


def found(kent: ApprovedNode, now: datetime = NOW) -> list[Finding]:
    return list(approval_findings(kent.config, now))


def wrong(kent: ApprovedNode, now: datetime = NOW) -> list[str]:
    return [each.sentence for each in found(kent, now) if each.level != OK]


def test_a_node_as_it_was_approved_is_good(kent: ApprovedNode) -> None:
    assert wrong(kent) == []
    assert found(kent)[-1].sentence == "The file is as it was approved last."


def test_without_approvals_there_is_nothing_to_say(kent: ApprovedNode) -> None:
    del kent.values["approvals"]
    kent.write()
    assert found(kent) == []


def test_a_list_that_is_refused_is_an_error_with_its_line(kent: ApprovedNode) -> None:
    path = kent.folder / "allowed_signers"
    path.write_text(path.read_text() + "everybody ssh-ed25519 AAAA\n")
    (only,) = found(kent)
    assert only.level == ERROR
    assert f"{path}:4: " in only.sentence
    path.unlink()
    assert [each.level for each in found(kent)] == [ERROR]


def test_without_ssh_keygen_its_package_is_named(kent: ApprovedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signatures, "SSH_KEYGEN", "/nonexistent/ssh-keygen")
    (only,) = [each for each in found(kent) if each.level != OK]
    assert only.level == WARNING
    assert only.mend == "Install the package openssh-client."


def test_too_few_signers_and_those_whose_time_ends_are_told(kent: ApprovedNode) -> None:
    path = kent.folder / "allowed_signers"
    jones, khan, smith = kent.people
    ends = f'namespaces="{NAMESPACES}",valid-before="20261020Z"'
    path.write_text(jones.line() + khan.line(ends) + smith.line())
    told = [each for each in found(kent) if each.where == "approvals.signers"]
    assert told[-1].dates
    assert told[-1].sentence == "The time of b.khan as a signer ends within 30 days."
    later = NOW + timedelta(days=60)
    assert "2 people may sign now; a change needs 2 of them, and one who proposes it." in wrong(kent, later)


def test_a_key_that_is_revoked_and_a_role_of_nobody_are_told(kent: ApprovedNode) -> None:
    revoke(kent.folder / "krl", kent.people[1])
    kent.values["approvals"]["revoked"] = "krl"
    kent.values["approvals"]["roles"] = {"officer": ["x.yellow@kent.police.example"]}
    kent.write()
    told = wrong(kent)
    assert "2 people may sign now; a change needs 2 of them, and one who proposes it." in told
    assert (
        'x.yellow@kent.police.example of the role "officer" may not sign, so what that role says is not noted.' in told
    )


def test_what_nobody_approved_yet_is_named(kent: ApprovedNode) -> None:
    kent.values["export"][0]["allow"].append("surrey.police.example")
    kent.write()
    assert wrong(kent) == ["It has changes that nobody approved: export custody: allow surrey.police.example added."]
    kent.values["export"][0]["allow"] = ["met.police.example"]
    kent.write()
    assert wrong(kent) == []
    assert "narrows what was approved last" in found(kent)[-1].sentence


def test_before_the_first_policy_it_says_how_to_begin(kent: ApprovedNode) -> None:
    kent.values["node"]["state"] = "new"
    (kent.folder / "new").mkdir()
    kent.write()
    (only,) = [each for each in found(kent) if each.level != OK]
    assert only.sentence == "Nothing was approved yet, so the node does not start."
    assert "approve --first" in only.mend
    del kent.values["node"]["state"]
    kent.write()
    assert any(each.level == ERROR and each.where == "node.state" for each in found(kent))


def test_a_copy_that_was_touched_is_an_error(kent: ApprovedNode) -> None:
    for copy in (kent.folder / "state" / "approved").glob("*/policy.toml"):
        copy.write_text("changed\n")
    assert any("cannot be read, nor the one before it" in each for each in wrong(kent))
