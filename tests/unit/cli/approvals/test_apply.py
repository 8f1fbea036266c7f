"""pcgrelay apply and hold: what a node answered, in words and as an exit code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pcgrelay import config
from pcgrelay.admin.answers import RELOAD_PATH, ApprovalTaken, ReloadAnswer
from pcgrelay.admin.policy_answers import POLICY_PATH, PolicyAnswer
from tests.support.approved_node import ApprovedNode
from tests.support.command_line import Invoke
from tests.support.fake_node import FakeNode, fake_node
from tests.unit.cli.approvals.conftest import ESSEX, allow


def taken(**counts: int) -> ReloadAnswer:
    values = {"widens": 0, "narrows": 0, "neutral": 0, **counts}
    names = ("a.jones@kent.police.example", "b.khan@kent.police.example") if counts.get("widens") else ()
    return ReloadAnswer(ok=True, approval=ApprovalTaken(policy="a91b02ee" + "0" * 56, approved=names, **values))


@pytest.fixture
def node(file: Path) -> Iterator[FakeNode]:
    with fake_node(config.admin_path(file)) as node:
        node.answers = {POLICY_PATH: PolicyAnswer()}
        yield node


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            taken(widens=2, narrows=1),
            "Taken: 2 widen, 1 narrows. Approved by a.jones, b.khan. Policy a91b02ee. Undo: pcgrelay undo -c ",
        ),
        (taken(narrows=2, neutral=1), "Taken: 2 narrow, 1 is neutral. Policy a91b02ee. Undo: pcgrelay undo -c "),
        (taken(), "Taken: nothing differs from what was approved last. Policy a91b02ee.\n"),
        (ReloadAnswer(ok=True), "Applied. This node has no [approvals], so nobody had to approve it.\n"),
    ],
)
def test_what_was_taken(invoke: Invoke, file: Path, node: FakeNode, answer: ReloadAnswer, words: str) -> None:
    node.answers[RELOAD_PATH] = answer
    change = file.with_suffix(".change")
    told = invoke("apply", change, "-c", file)
    assert told.code == 0, told.err
    assert told.out.startswith(words)
    assert node.asked[-1].query["change"] == str(change)


@pytest.mark.parametrize("code", [1, 6, 77, 78])
def test_what_was_refused_is_one_sentence(invoke: Invoke, file: Path, node: FakeNode, code: int) -> None:
    node.answers[RELOAD_PATH] = ReloadAnswer(ok=False, reason="It needs 2 signatures; has 1.", exit_code=code)
    told = invoke("apply", file.with_suffix(".change"), "-c", file)
    assert (told.code, told.out) == (code, "")
    assert told.err == "pcgrelay: It needs 2 signatures; has 1.\n"


def test_a_node_that_does_not_run_takes_nothing(invoke: Invoke, file: Path) -> None:
    assert invoke("apply", file.with_suffix(".change"), "-c", file).code == 3


def test_nobody_holds_where_that_is_off(invoke: Invoke, kent: ApprovedNode, file: Path) -> None:
    allow(kent, "met.police.example", ESSEX, "surrey.police.example")
    change = file.with_suffix(".change")
    told = invoke("hold", change, "--reason", "no DPIA", "-c", file)
    assert told.code == 78
    assert (
        invoke("plan", "-c", file, "--by", "j.smith@kent.police.example", "--change", "CR-3", "--reason", "x").code == 0
    )
    told = invoke("hold", change, "--reason", "no DPIA", "-c", file, "--key", kent.people[0].key)
    assert told.code == 78
    assert "[approvals] holds = true allows it" in told.err
    assert not list(change.parent.glob("*.hold*"))
