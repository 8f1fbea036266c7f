"""`pcgrelay cutover advice`: what is asked of a node, and what is printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from pcgrelay.admin.cutover_answers import CUTOVER_PATH, CutoverAdvice, CutoverStatus
from tests.support.command_line import Invoke
from tests.support.cutover_examples import SOAKING
from tests.support.fake_node import Asked, FakeNode

ADVISED = replace(
    SOAKING,
    changed=True,
    advice=(
        CutoverAdvice(role="finance", on="2020-01-31", by="root (a.jones)", reason="minute 7"),
        CutoverAdvice(role="service owner"),
    ),
)


@pytest.fixture
def advised(node: FakeNode) -> FakeNode:
    node.answers[CUTOVER_PATH] = ADVISED
    return node


def test_it_is_noted(invoke: Invoke, file: Path, advised: FakeNode) -> None:
    words = ("--on", "2020-01-31", "--by", "a.jones", "--reason", "minute 7")
    answer = invoke("cutover", "advice", "custody", "finance", *words, "-c", file)
    assert (answer.code, answer.err) == (0, "")
    query = {"service": "custody", "act": "advice", "role": "finance", "on": "2020-01-31", "by": "a.jones"}
    assert advised.asked == [Asked("POST", CUTOVER_PATH, {**query, "reason": "minute 7"}, b"")]
    lines = answer.out.splitlines()
    assert lines[0] == "Noted: finance."
    assert "2020-01-31" in answer.out
    assert lines[-1] == 'Part 1 of the report says "not on record" of: service owner.'


def test_it_is_withdrawn(invoke: Invoke, file: Path, advised: FakeNode) -> None:
    answer = invoke("cutover", "advice", "custody", "finance", "--withdraw", "-c", file)
    assert advised.asked[0].query["withdraw"] == "1"
    assert answer.out.startswith("Withdrawn: finance.\n")
    advised.answers[CUTOVER_PATH] = replace(ADVISED, changed=False)
    answer = invoke("cutover", "advice", "custody", "finance", "--withdraw", "-c", file)
    assert (answer.code, answer.out.splitlines()[0]) == (0, "There is no advice of finance that could be withdrawn.")


def test_what_there_is_is_shown(invoke: Invoke, file: Path, advised: FakeNode) -> None:
    answer = invoke("cutover", "advice", "custody", "-c", file)
    assert advised.asked == [Asked("GET", CUTOVER_PATH, {"service": "custody"}, b"")]
    assert "minute 7" in answer.out
    assert "Noted" not in answer.out
    facts = json.loads(invoke("cutover", "advice", "custody", "--json", "-c", file).out)
    assert [each["role"] for each in facts["advice"]] == ["finance", "service owner"]
    advised.answers[CUTOVER_PATH] = replace(ADVISED, advice=())
    assert "asks for no advice" in invoke("cutover", "advice", "custody", "-c", file).out


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--on", "2020-01-31"], "Whose advice?"),
        (["x" * 201], "ROLE has 201 characters"),
        (["finance", "--by", "a\nb"], "--by has a character in it that cannot be seen"),
    ],
)
def test_wrong_words_are_sent_to_nobody(
    invoke: Invoke, file: Path, advised: FakeNode, words: list[str], why: str
) -> None:
    answer = invoke("cutover", "advice", "custody", *words, "-c", file)
    assert (answer.code, advised.asked) == (2, [])
    assert why in answer.err


def test_a_refusal_has_its_code_and_its_sentence(invoke: Invoke, file: Path, advised: FakeNode) -> None:
    advised.answers[CUTOVER_PATH] = CutoverStatus(service="custody", reason="It may not be.", exit_code=6)
    answer = invoke("cutover", "advice", "custody", "finance", "-c", file)
    assert (answer.code, answer.out, answer.err) == (6, "", "pcgrelay: It may not be.\n")
