"""pcgrelay approve: a text is read, shown and signed by one who may."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.approved_node import ApprovedNode
from tests.support.command_line import Invoke
from tests.support.signing import make_person
from tests.unit.cli.approvals.conftest import ESSEX, allow

MET, SURREY = "met.police.example", "surrey.police.example"
BY = ("--by", "j.smith@kent.police.example", "--change", "CR-3", "--reason", "Surrey needs look-ups")


@pytest.fixture
def change(invoke: Invoke, kent: ApprovedNode, file: Path) -> Path:
    allow(kent, MET, ESSEX, SURREY)
    assert invoke("plan", "-c", file, *BY).code == 0
    return file.with_suffix(".change")


def test_a_signer_sees_the_text_and_signs_it(invoke: Invoke, kent: ApprovedNode, change: Path) -> None:
    answer = invoke("approve", change, "--key", kent.people[0].key, "--yes")
    assert answer.code == 0, answer.err
    assert answer.out.startswith(change.read_text())
    assert "SHA-256 of this text, to compare: " in answer.out
    assert change.with_name(f"{change.name}.{kent.people[0].address}.sig").exists()


def test_who_proposes_it_does_not_sign(invoke: Invoke, kent: ApprovedNode, change: Path) -> None:
    answer = invoke("approve", change, "--key", kent.people[2].key, "--yes")
    assert answer.code == 6
    assert "proposes it, and so does not sign it" in answer.err
    assert not list(change.parent.glob("*.sig"))


def test_without_a_yes_nothing_is_signed(invoke: Invoke, kent: ApprovedNode, change: Path) -> None:
    answer = invoke("approve", change, "--key", kent.people[0].key)  # nobody is there to answer
    assert answer.code == 1
    assert not list(change.parent.glob("*.sig"))


def test_a_key_of_nobody_is_named(invoke: Invoke, kent: ApprovedNode, change: Path) -> None:
    other = make_person(kent.folder / "keys", "m.mallory@kent.police.example")
    answer = invoke("approve", change, "--key", other.key, "--yes")
    assert answer.code == 78
    assert "nobody in the list of signers has this key" in answer.err
    assert invoke("approve", change, "--key", kent.folder / "none", "--yes").code == 78
    assert not list(change.parent.glob("*.sig"))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"my notes\n", "this is no text to sign"),
        (b"pcgrelay change, version 1\r\n", "line-ends"),
        (b"pcgrelay change, version 1\nnode      x\n", "this is no change"),
    ],
)
def test_what_is_no_text_is_not_signed(
    invoke: Invoke, kent: ApprovedNode, change: Path, data: bytes, said: str
) -> None:
    change.write_bytes(data)
    answer = invoke("approve", change, "--key", kent.people[0].key, "--yes")
    assert answer.code == 78
    assert said in answer.err
    assert "do not sign it" in answer.err


def test_a_node_that_has_a_policy_has_no_first_one_again(invoke: Invoke, kent: ApprovedNode, file: Path) -> None:
    answer = invoke("approve", "--first", "-c", file, *BY, "--key", kent.people[0].key, "--yes")
    assert answer.code == 6
    assert "was approved at this node already" in answer.err


def test_a_first_policy_is_written_and_signed_with_fingerprints(invoke: Invoke, kent: ApprovedNode) -> None:
    kent.values["node"]["state"] = "new"
    (kent.folder / "new").mkdir(mode=0o700)
    kent.write()
    file = kent.folder / "kent-1.toml"
    first = invoke("approve", "--first", "-c", file, *BY, "--key", kent.people[0].key, "--yes")
    assert first.code == 0, first.err
    assert "Keys that have signed, to be compared by telephone:" in first.out
    assert first.out.count("SHA256:") >= 1
    second = invoke("approve", "--first", "-c", file, "--key", kent.people[1].key, "--yes")
    assert second.code == 0, second.err
    assert len(list(kent.folder.glob("kent-1.change.*.sig"))) == 2


def test_without_a_text_the_usage_is_said(invoke: Invoke) -> None:
    assert invoke("approve").code == 2
    assert invoke("approve", "--first").code == 2
