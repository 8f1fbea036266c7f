"""`pcgrelay quiet`: what people see, what programs get, and how a statement is sent and refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from pcgrelay import config
from pcgrelay.admin.quiet_answers import QUIET_PATH, QuietAnswer, QuietOutlet, QuietStatement
from tests.support.command_line import invoker
from tests.support.fake_node import FakeNode, fake_node, node_named

CUSTODY = QuietOutlet(
    service="custody@kent.police.example",
    outlet="cjx",
    bearer="cjx",
    days=35,
    since="2020-02-25",
    coverage=0.99981,
    why="1 connection on 2020-02-24",
    used="2020-02-24T17:03:12Z",
    used_connections=1,
    records=60,
)
PND = QuietOutlet(service="pnd@hub.example", outlet="psnp", bearer="psnp", configured=False, streams=3)
SAID = QuietStatement(
    bearer="cjx",
    observer="CJX router GW-3, tcp/5432",
    since="2020-02-25",
    until="2020-03-31",
    transferred_bytes=0,
    at="2020-04-01T09:00:00Z",
    by="root (duty officer)",
    reason="CR-1042",
)
ANSWER = QuietAnswer(
    node="met-1.met.police.example", today="2020-03-31", kept=True, outlets=(CUSTODY, PND), statements=(SAID,)
)
Call = Callable[..., tuple[int, str, str]]
NOTE = ["note", "cjx", "--observer", "CJX router GW-3", "--from", "2020-02-25", "--to", "2020-03-31", "--bytes", "0"]


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    call = invoker(capsys, monkeypatch)

    def called(*words: str) -> tuple[int, str, str]:
        answer = call(*words)
        return answer.code, answer.out, answer.err

    return called


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return node_named(tmp_path / "node.toml", "met-1")


@pytest.fixture
def node(file: Path) -> Iterator[FakeNode]:
    with fake_node(config.admin_path(file)) as node:
        node.answers = {QUIET_PATH: ANSWER}
        yield node


def test_each_outlet_is_shown_with_its_days_and_what_ended_them(invoke: Call, file: Path, node: FakeNode) -> None:
    code, out, err = invoke("quiet", "-c", str(file))
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[1].split() == (
        "custody@kent.police.example cjx 35 days 2020-02-25 99.98 % 2020-02-24 17:03:12 UTC 0".split()
    )
    assert lines[2].strip() == "not longer: 1 connection on 2020-02-24"
    assert lines[3].split() == "pnd@hub.example psnp 0 days - - never 3".split()
    assert lines[4].strip() == "the configuration has it no more"
    assert "CJX router GW-3, tcp/5432" in lines[7]
    assert "root (duty officer)" in lines[7]
    assert lines[8].strip() == "CR-1042"
    assert [asked.method for asked in node.asked] == ["GET"]


def test_records_in_memory_alone_are_said(invoke: Call, file: Path, node: FakeNode) -> None:
    node.answers[QUIET_PATH] = replace(ANSWER, kept=False)
    assert "kept in memory alone" in invoke("quiet", "-c", str(file))[1]
    node.answers[QUIET_PATH] = QuietAnswer(kept=True)
    assert invoke("quiet", "-c", str(file))[1] == (
        "No import has an outlet or a listener beside its own; [[direct]] and also add them.\n"
    )


def test_programs_get_all_of_it(invoke: Call, file: Path, node: FakeNode) -> None:
    found = json.loads(invoke("quiet", "-c", str(file), "--json")[1])
    assert found["outlets"][0]["used"] == "2020-02-24T17:03:12Z"
    assert found["statements"][0]["transferred_bytes"] == 0


def test_several_nodes_are_asked(invoke: Call, file: Path, node: FakeNode, tmp_path: Path) -> None:
    other = node_named(tmp_path / "other.toml", "met-2")
    with fake_node(config.admin_path(other)) as second:
        second.answers = {QUIET_PATH: replace(ANSWER, outlets=(PND,), statements=())}
        code, out, _ = invoke("quiet", "-c", str(file), "-c", str(other))
    assert code == 0
    assert [line for line in out.splitlines() if line.endswith(":")] == ["met-1:", "met-2:"]
    assert invoke("quiet", "-c", str(file), "-c", str(other))[0] == 3


def test_a_statement_is_sent_to_the_node(invoke: Call, file: Path, node: FakeNode) -> None:
    node.answers[QUIET_PATH] = replace(ANSWER, noted=True)
    code, out, err = invoke("quiet", *NOTE, "--reason", "CR-1042", "-c", str(file))
    assert (code, err) == (0, "")
    assert out == "Noted at met-1.met.police.example. There is 1 of cjx now.\n"
    (asked,) = node.asked
    assert (asked.method, asked.query) == (
        "POST",
        {
            "bearer": "cjx",
            "observer": "CJX router GW-3",
            "from": "2020-02-25",
            "to": "2020-03-31",
            "bytes": "0",
            "reason": "CR-1042",
            "by": "",
        },
    )


def test_a_refusal_is_one_sentence_and_its_code(invoke: Call, file: Path, node: FakeNode) -> None:
    node.answers[QUIET_PATH] = QuietAnswer(reason='--bytes "-1" is no number of bytes.', exit_code=2)
    assert invoke("quiet", *NOTE, "-c", str(file)) == (2, "", 'pcgrelay: --bytes "-1" is no number of bytes.\n')
    assert invoke("quiet")[0] == 2
    code, _, err = invoke("quiet", "note", "cjx", "-c", str(file))
    assert (code, "--observer" in err) == (2, True)
