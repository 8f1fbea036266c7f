"""`pcgrelay cutover`: what is asked of a node, what is printed, and the exit code of each answer and each mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from pcgrelay.admin.cutover_answers import CUTOVER_PATH, REHEARSE_PATH, CutoverList, CutoverStatus
from tests.support.command_line import Answer, Invoke
from tests.support.cutover_examples import ALL, ARRIVED, BACK, CUSTODY, GATEWAY, SOAKING
from tests.support.fake_node import Asked, FakeNode, node_named

# --- status, watch, why --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["status"], ["watch", "--once"], ["watch"]])
def test_a_cut_over_is_shown(invoke: Invoke, file: Path, node: FakeNode, words: list[str]) -> None:
    answer = invoke("cutover", words[0], "custody", *words[1:], "-c", file)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(f"{CUSTODY}   cjx -> gateway      step 3 of 5, soak")
    assert node.asked == [Asked("GET", CUTOVER_PATH, {"service": "custody"}, b"")]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (SOAKING, 0),
        (ARRIVED, 0),
        (BACK, 6),
        (replace(BACK, late=True), 6),
        (replace(SOAKING, late=True), 4),
        (replace(SOAKING, held=True), 4),
        (replace(SOAKING, troubles=("No space is left.",)), 4),
        (replace(SOAKING, nowhere=True), 3),
        (replace(SOAKING, phase="lost"), 3),
        (CutoverStatus(service="x", reason="There is no cut-over of x.", exit_code=1), 1),
    ],
)
def test_the_exit_code_says_how_it_is(
    invoke: Invoke, file: Path, node: FakeNode, status: CutoverStatus, code: int
) -> None:
    node.answers[CUTOVER_PATH] = status
    for command in ("status", "why"):
        assert invoke("cutover", command, "x", "-c", file).code == code
        assert invoke("cutover", command, "x", "-c", file, "--json").code == code


def test_why_is_one_sentence(invoke: Invoke, file: Path, node: FakeNode) -> None:
    assert invoke("cutover", "why", "custody", "-c", file).out == f"{SOAKING.why}\n"
    node.answers[CUTOVER_PATH] = CutoverStatus(service="x", reason="There is no cut-over of x.", exit_code=1)
    answer = invoke("cutover", "why", "x", "-c", file)
    assert (answer.out, answer.err) == ("", "pcgrelay: There is no cut-over of x.\n")


def test_json_is_the_answer_of_the_node(invoke: Invoke, file: Path, node: FakeNode) -> None:
    facts = json.loads(invoke("cutover", "status", "custody", "-c", file, "--json").out)
    assert (facts["service"], facts["outlets"][0]["name"]) == (CUSTODY, "gateway")


def test_texts_of_others_move_no_cursor(invoke: Invoke, file: Path, node: FakeNode) -> None:
    evil = "\x1b[2Jgone\u202e"
    outlet = replace(GATEWAY, name=evil, reason=evil, well=False)
    status = replace(SOAKING, why=evil, owner=evil, troubles=(evil,), outlets=(outlet,), new=evil, back_on=evil)
    for phase in ("soaking", "back"):
        node.answers[CUTOVER_PATH] = replace(status, phase=phase)
        answer = invoke("cutover", "status", "custody", "-c", file)
        assert "\x1b" not in answer.out
        assert "\u202e" not in answer.out
        assert "\\x1b[2Jgone\\u202e" in answer.out
    node.answers[CUTOVER_PATH] = CutoverList(cutovers=(replace(status, service=evil),), imports=(evil,))
    answer = invoke("cutover", "list", "--calendar", "-c", file)
    assert "\x1b" not in answer.out
    assert answer.out.count("\\x1b[2Jgone\\u202e") >= 3


def test_several_nodes_are_asked_and_each_is_named(
    invoke: Invoke, file: Path, node: FakeNode, second: tuple[Path, FakeNode]
) -> None:
    path, other = second
    other.answers[CUTOVER_PATH] = BACK
    answer = invoke("cutover", "status", "custody", "-c", file, "-c", path)
    assert answer.code == 6
    lines = answer.out.splitlines()
    assert lines[0] == "kent-1:"
    assert "kent-2:" in lines
    answer = invoke("cutover", "why", "custody", "-c", file, "-c", path)
    assert answer.out == f"kent-1: {SOAKING.why}\nkent-2: {BACK.why}\n"
    facts = json.loads(invoke("cutover", "status", "custody", "-c", file, "-c", path, "--json").out)
    assert [(each["node"], each["answer"]["phase"]) for each in facts] == [("kent-1", "soaking"), ("kent-2", "back")]
    # The same node twice is asked once.
    node.asked.clear()
    assert invoke("cutover", "why", "custody", "-c", file, "-c", file).out == f"{SOAKING.why}\n"
    assert len(node.asked) == 1


def test_a_node_that_is_away_hides_no_other(
    invoke: Invoke, tmp_path: Path, node: FakeNode, second: tuple[Path, FakeNode]
) -> None:
    path, other = second
    other.answers[CUTOVER_PATH] = SOAKING
    away = node_named(tmp_path / "away.toml", "away-1")
    answer = invoke("cutover", "why", "custody", "-c", away, "-c", path)
    assert answer.code == 3
    assert answer.out == f"kent-2: {SOAKING.why}\n"
    assert answer.err.startswith("pcgrelay: away-1: ")
    assert invoke("cutover", "why", "custody", "-c", away).code == 3


def test_all_cut_overs_are_listed(invoke: Invoke, file: Path, node: FakeNode, second: tuple[Path, FakeNode]) -> None:
    path, other = second
    node.answers[CUTOVER_PATH] = ALL
    other.answers[CUTOVER_PATH] = CutoverList(cutovers=(SOAKING,))
    answer = invoke("cutover", "list", "-c", file)
    assert answer.code == 6
    assert "0 of 5 services retired, 3 on their way, 2 not begun." in answer.out
    assert node.asked == [Asked("GET", CUTOVER_PATH, {}, b"")]
    answer = invoke("cutover", "list", "-c", file, "-c", path, "--calendar")
    assert "0 of 6 services retired, 4 on their way, 2 not begun." in answer.out
    assert "Support ends: cjx 2020-01-31" in answer.out
    node.answers[CUTOVER_PATH] = CutoverList()
    answer = invoke("cutover", "list", "--calendar", "-c", file)
    assert (answer.code, answer.out.count("\n")) == (0, 1)


# --- pause, resume, back, advance, nudge ---------------------------------------------------------------------------


def act(invoke: Invoke, file: Path, *words: str) -> Answer:
    return invoke("cutover", words[0], "custody", *words[1:], "-c", file, "--reason", "INC 77&1", "--by", "j.smith")


def test_back_says_how_long_it_took(invoke: Invoke, file: Path, node: FakeNode) -> None:
    node.answers[CUTOVER_PATH] = replace(BACK, changed=True, took_ms=12)
    answer = act(invoke, file, "back")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == (
        "New streams take cjx (measured: 100 % since 2019-12-23 13:30:07.211 UTC).\n"
        "The data plane had it after 12 ms.\n"
        "97 live streams stay where they are.\n"
    )
    query = {"service": "custody", "act": "back", "reason": "INC 77&1", "by": "j.smith"}
    assert node.asked == [Asked("POST", CUTOVER_PATH, query, b"")]
    node.answers[CUTOVER_PATH] = BACK
    assert act(invoke, file, "back").out.startswith("New streams take cjx already (measured: ")


def test_back_goes_to_all_nodes_that_are_named(
    invoke: Invoke, file: Path, node: FakeNode, second: tuple[Path, FakeNode]
) -> None:
    path, other = second
    node.answers[CUTOVER_PATH] = replace(BACK, changed=True, took_ms=12)
    other.answers[CUTOVER_PATH] = CutoverStatus(service="custody", reason="There is nowhere to go.", exit_code=3)
    answer = invoke("cutover", "back", "custody", "-c", file, "-c", path, "--reason", "INC-77")
    assert answer.code == 3
    assert all(line.startswith("kent-1: ") for line in answer.out.splitlines())
    assert answer.err == "pcgrelay: kent-2: There is nowhere to go.\n"
    assert [asked.query["act"] for asked in node.asked + other.asked] == ["back", "back"]


@pytest.mark.parametrize(
    ("words", "status", "query", "first"),
    [
        (["pause"], replace(SOAKING, phase="paused", changed=True), {"act": "pause"}, f"{CUSTODY} is paused at 25 %"),
        (["pause"], replace(SOAKING, phase="paused"), {"act": "pause"}, f"{CUSTODY} is paused already; nothing has"),
        (["resume"], replace(SOAKING, changed=True), {"act": "resume"}, f"{CUSTODY} goes on at step 3 of 5, 25 %."),
        (["resume"], SOAKING, {"act": "resume"}, f"{CUSTODY} is soaking already; nothing has changed."),
        (
            ["advance"],
            replace(SOAKING, changed=True),
            {"act": "advance"},
            f"{CUSTODY} is at step 3 of 5: 25 % of new streams take gateway.",
        ),
        (["advance"], SOAKING, {"act": "advance"}, f"{CUSTODY} stays at 25 % on gateway: gateway is not worse"),
        (
            ["advance", "--waive", "streams, answer"],
            replace(SOAKING, changed=True, step=5, next_step=""),
            {"act": "advance", "waive": "enough,answer"},
            f"{CUSTODY} is at step 5 of 5: ",
        ),
        (
            ["nudge", "--from", "cjx", "--idle", "5 min", "--rate", "30/min"],
            replace(SOAKING, changed=True),
            {"act": "nudge", "outlet": "cjx", "idle_s": "300", "per_minute": "30"},
            f"Idle streams of {CUSTODY} on cjx are closed from now on, 30 a minute, once nothing has moved on them",
        ),
        (
            ["nudge", "--from", "cjx", "--hard"],
            replace(SOAKING, changed=True),
            {"act": "nudge", "outlet": "cjx", "idle_s": "60", "per_minute": "10", "hard": "1"},
            f"Streams of {CUSTODY} on cjx are reset from now on, 10 a minute.",
        ),
        (
            ["nudge", "--from", "cjx", "--rate", "0/min"],
            replace(SOAKING, changed=True),
            {"act": "nudge", "outlet": "cjx", "idle_s": "60", "per_minute": "0"},
            "No more streams on cjx are closed; 88 are open there.",
        ),
    ],
)
def test_a_request_is_sent_and_its_outcome_is_told(
    invoke: Invoke,
    file: Path,
    node: FakeNode,
    words: list[str],
    status: CutoverStatus,
    query: dict[str, str],
    first: str,
) -> None:
    node.answers[CUTOVER_PATH] = status
    answer = act(invoke, file, *words)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(first)
    assert node.asked[0].query == {"service": "custody", "reason": "INC 77&1", "by": "j.smith", **query}
    assert json.loads(act(invoke, file, *words, "--json").out)["service"] == CUSTODY


@pytest.mark.parametrize(
    "words", [["pause"], ["resume"], ["back"], ["advance"], ["nudge", "--from", "cjx"]], ids=lambda words: words[0]
)
def test_a_refusal_has_its_code_and_its_sentence(invoke: Invoke, file: Path, node: FakeNode, words: list[str]) -> None:
    node.answers[CUTOVER_PATH] = CutoverStatus(service="custody", reason="It may not be.", exit_code=6)
    answer = act(invoke, file, *words)
    assert (answer.code, answer.out, answer.err) == (6, "", "pcgrelay: It may not be.\n")
    if words[0] in ("pause", "resume", "back"):
        assert invoke("cutover", words[0], "custody", *words[1:], "-c", file).code == 2


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["back", "--reason", " "], "--reason is empty"),
        (["back", "--reason", "x" * 201], "--reason has 201 characters"),
        (["back", "--reason", "a\nb"], "--reason has a character in it that cannot be seen"),
        (["back", "--reason", "x", "--by", "\x1b[2J"], "--by has a character in it that cannot be seen"),
        (["advance", "--reason", "x", "--waive", "speed"], "--waive: 'speed' is no question of the gate"),
        (["nudge", "--reason", "x", "--from", "cjx", "--idle", "soon"], "--idle: 'soon' is no time from 1s to 1d"),
        (["nudge", "--reason", "x", "--from", "cjx", "--idle", "0s"], "--idle: '0s' is no time"),
        (["nudge", "--reason", "x", "--from", "cjx", "--rate", "10"], "--rate: '10' is no rate"),
        (["nudge", "--reason", "x", "--from", "cjx", "--rate", "9999/s"], "--rate: '9999/s' is no rate"),
    ],
)
def test_wrong_words_are_sent_to_nobody(invoke: Invoke, file: Path, node: FakeNode, words: list[str], why: str) -> None:
    answer = invoke("cutover", words[0], "custody", *words[1:], "-c", file)
    assert (answer.code, node.asked) == (2, [])
    assert answer.err.startswith(f"pcgrelay: {why}")


# --- whatever answers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["status", "why", "list", "start", "rehearse"])
@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'{"service": 5, "cutovers": 5}', b"\xff\xfe"])
def test_an_answer_that_makes_no_sense_is_told(
    invoke: Invoke, file: Path, node: FakeNode, plan_file: Path, command: str, body: bytes
) -> None:
    node.answers = {CUTOVER_PATH: body, REHEARSE_PATH: body}
    words = {"start": [plan_file], "list": []}.get(command, ["custody"])
    answer = invoke("cutover", command, *words, "-c", file)
    assert (answer.code, answer.out) == (3, "")
    assert answer.err.startswith("pcgrelay: ")
    assert "makes no sense" in answer.err


def test_status_loads_nothing_that_it_does_not_need() -> None:
    code = (
        "import sys, pcgrelay.cli.invocation, pcgrelay.cli.cutover, pcgrelay.cli.cutover.watch\n"
        "heavy = ('aiohttp', 'jinja2', 'scipy', 'asyncio', 'OpenSSL', 'uvloop', 'rich.live')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
