"""`pcgrelay drain`: how it goes, and what is refused because another node of the fleet is being changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pcgrelay.admin.answers import DRAIN_PATH, DrainAnswer
from pcgrelay.cli import drain as module
from tests.support.command_line import Answer, Invoke, invoker
from tests.support.fake_node import FakeNode, fake_node, node_named

BUSY = DrainAnswer(draining=True, empty=False, streams=3, paths=1)
EMPTY = DrainAnswer(draining=True, empty=True)
HELD = DrainAnswer(draining=False, empty=False, reason="relay-1 is being changed. Nothing was done.", exit_code=6)


class Drained:
    """A fake node, and the command about it."""

    def __init__(self, node: FakeNode, path: Path, call: Invoke) -> None:
        self.node = node
        self.path = path
        self._call = call

    def __call__(self, *answers: DrainAnswer, words: tuple[str, ...] = ()) -> Answer:
        self.node.answers[DRAIN_PATH] = list(answers)
        return self._call("drain", "-c", self.path, *words)


@pytest.fixture
def drained(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Drained]:
    monkeypatch.setattr(module, "POLL_S", 0.0)
    path = node_named(tmp_path / "relay-1.toml", "relay-1")
    with fake_node(tmp_path / "relay-1.sock") as node:
        yield Drained(node, path, invoker(capsys, monkeypatch))


def test_it_waits_until_the_node_is_empty(drained: Drained) -> None:
    found = drained(BUSY, BUSY, EMPTY)
    assert (found.code, found.out) == (0, "The node is empty; it can be stopped.\n")
    assert [each.method for each in drained.node.asked] == ["POST", "GET", "GET"]


def test_one_that_is_not_empty_in_time_goes_on(drained: Drained) -> None:
    found = drained(BUSY, words=("--wait", "0"))
    assert (found.code, found.out) == (1, "The node is not empty yet: 3 streams, 1 path; it goes on draining.\n")


@pytest.mark.parametrize("code", [6, 1, 0])
def test_a_refusal_is_not_waited_upon_and_has_its_code(drained: Drained, code: int) -> None:
    """0: a node of an older version says none."""
    refused = DrainAnswer(draining=False, empty=False, reason=HELD.reason, exit_code=code)
    found = drained(refused)
    assert (found.code, found.out) == (code or 1, "")
    assert found.err == f"pcgrelay: {HELD.reason}\n"
    assert len(drained.node.asked) == 1


def test_programs_get_the_refusal_too(drained: Drained) -> None:
    found = drained(HELD, words=("--json",))
    assert found.code == 6
    assert json.loads(found.out)["reason"] == HELD.reason


def test_the_lock_is_passed_over_if_somebody_says_so(drained: Drained) -> None:
    drained(EMPTY)
    assert "without_lock" not in drained.node.asked[-1].query
    drained(EMPTY, words=("--without-lock",))
    assert drained.node.asked[-1].query["without_lock"] == "1"


def test_an_end_that_is_refused_has_a_code(drained: Drained) -> None:
    refused = DrainAnswer(draining=True, empty=False, reason="Port 7400 is taken.", exit_code=1)
    assert drained(refused, words=("--undo",)).code == 1
    found = drained(DrainAnswer(draining=False, empty=False), words=("--undo",))
    assert (found.code, found.out) == (0, "The node takes new work again.\n")
