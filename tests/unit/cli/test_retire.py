"""`pcgrelay retire`: one outlet, a whole network, what is missing, and which lines to delete."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from pcgrelay import config
from pcgrelay.admin.quiet_answers import QUIET_PATH, RETIRE_PATH, QuietAnswer, QuietOutlet, QuietStatement, RetireAnswer
from pcgrelay.admin.report_answers import REPORT_PATH, ReportAnswer
from pcgrelay.cli.retire import lines_to_delete
from pcgrelay.cli.switch_off import judge, lines_of
from pcgrelay.config.inventory import parse_inventory
from pcgrelay.config.source import Source
from pcgrelay.cutover.phases import Phase
from pcgrelay.cutover.report_facts import ReportFacts
from tests.support.command_line import invoker
from tests.support.fake_node import FakeNode, fake_node
from tests.support.reported import reported

Call = Callable[..., tuple[int, str, str]]
CUSTODY, PND = "custody@kent.police.example", "pnd@hub.example"
INVENTORY = f"""\
[[service]]
name = "{CUSTODY}"
from = "cjx"

[[service]]
name = "{PND}"
from = "cjx"

[[service]]
name = "other@hub.example"
from = "psnp"
"""
NODE = f"""\
[node]
name = "met-1"
admin = "met-1.sock"
inventory = "inventory.toml"

[[import]]
service = "{CUSTODY}"
listen = "127.0.0.1:15432"
outlet = "cjx"                # until it has moved

# the old exchange
[[direct]]
service = "{CUSTODY}"
name = "cjx"
address = "10.20.30.40:5432"

# another one
[[direct]]
service = "{PND}"
name = "cjx"
address = "10.20.30.41:443"
"""
GONE = QuietOutlet(
    service=CUSTODY,
    outlet="cjx",
    bearer="cjx",
    days=40,
    since="2020-02-25",
    coverage=0.9998,
    used="2020-02-24T17:03:12Z",
    used_connections=1,
    phase="retired",
    quiet_of=35,
    retired="2020-03-31T09:00:00Z",
)
ALSO_GONE = replace(GONE, service=PND, since="2020-01-01", used="2019-12-31T00:00:01Z", used_connections=7)
ANSWER = QuietAnswer(node="met-1.met.police.example", today="2020-04-01", kept=True, outlets=(GONE, ALSO_GONE))
SAID = QuietStatement(
    bearer="cjx",
    observer="CJX router GW-3",
    since="2020-02-25",
    until="2020-03-31",
    transferred_bytes=0,
    at="2020-04-01T09:00:00Z",
)


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    call = invoker(capsys, monkeypatch)

    def called(*words: str) -> tuple[int, str, str]:
        answer = call(*words)
        return answer.code, answer.out, answer.err

    return called


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "inventory.toml").write_text(INVENTORY)
    path = tmp_path / "met-1.toml"
    path.write_text(NODE)
    return path


@pytest.fixture
def node(file: Path) -> Iterator[FakeNode]:
    with fake_node(config.admin_path(file)) as node:
        node.answers = {QUIET_PATH: ANSWER}
        yield node


def missing(*answers: QuietAnswer, text: str = INVENTORY) -> list[str]:
    found = judge(
        "cjx", parse_inventory(text, Path("inventory.toml")), [(f"met-{n}", a) for n, a in enumerate(answers, 1)]
    )
    assert found.is_possible == (not found.missing)
    return list(found.missing)


def test_a_network_that_all_have_left_is_certified(invoke: Call, file: Path, node: FakeNode) -> None:
    node.answers[QUIET_PATH] = replace(ANSWER, statements=(SAID,))
    code, out, err = invoke("retire", "cjx", "-c", str(file))
    assert (code, err) == (0, "")
    digest = hashlib.sha256(INVENTORY.encode()).hexdigest()
    assert [" ".join(line.split()) for line in out.splitlines()] == [
        "cjx can be switched off.",
        "as of 2020-04-01",
        f"services 2 of 2 retired {file.parent}/inventory.toml, SHA-256 {digest}",
        f"last byte 2020-02-24 17:03:12 UTC {CUSTODY}, 1 connection on that day",
        "quiet since 2020-02-25 36 days, looked at 99.98 % of the time by met-1",
        "statements 1 CJX router GW-3: 0 bytes, 2020-02-25 to 2020-03-31",
        "live streams 0",
    ]
    code, out, _ = invoke("retire", "cjx", "--check", "-c", str(file))
    assert (code, out.splitlines()[-1].startswith("Print the certificate with: pcgrelay retire cjx")) == (0, True)
    found = json.loads(invoke("retire", "cjx", "--json", "-c", str(file))[1])
    assert (found["possible"], found["quiet_since"], found["missing"]) == (True, "2020-02-25", [])


def test_what_is_missing_is_said_line_by_line(invoke: Call, file: Path, node: FakeNode) -> None:
    node.answers[QUIET_PATH] = replace(ANSWER, outlets=(GONE,))
    code, out, _ = invoke("retire", "cjx", "--check", "-c", str(file))
    assert code == 6
    assert out.splitlines()[0] == "cjx cannot be switched off yet."
    assert out.splitlines()[-2:] == ["Missing:", f"  {PND}: not begun: none of the nodes asked imports it"]
    assert json.loads(invoke("retire", "cjx", "--json", "-c", str(file))[1])["possible"] is False


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"phase": "soaking"}, "soaking: its streams have not left cjx (met-1)"),
        ({"phase": "back"}, "back: its streams have not left cjx (met-1)"),
        ({"phase": ""}, "cjx is in use, and no cut-over moves the service away from it (met-1)"),
        (
            {"phase": "arrived", "days": 12, "why": "1 byte on 2020-03-19"},
            "quiet for 12 of 35 days: 1 byte on 2020-03-19 (met-1)",
        ),
        ({"phase": "quiet"}, f"quiet for 40 days; retire it: pcgrelay retire cjx/{PND} (met-1)"),
    ],
)
def test_a_service_that_is_not_retired(change: dict[str, object], words: str) -> None:
    outlet = replace(ALSO_GONE, retired="", **change)
    assert missing(replace(ANSWER, outlets=(GONE, outlet))) == [f"{PND}: {words}"]


def test_each_node_has_to_have_let_go() -> None:
    second = replace(ANSWER, outlets=(replace(ALSO_GONE, retired="", phase="soaking"),))
    assert missing(ANSWER, second) == [f"{PND}: soaking: its streams have not left cjx (met-2)"]
    assert missing(ANSWER, replace(ANSWER, outlets=())) == []


def test_what_nobody_thought_of_keeps_a_network_on() -> None:
    stranger = replace(GONE, service="ppu@gmp.police.example", retired="", phase="")
    assert missing(replace(ANSWER, outlets=(*ANSWER.outlets, stranger))) == [
        "ppu@gmp.police.example: uses cjx, and inventory.toml does not say that it moves (met-1)"
    ]
    assert missing(replace(ANSWER, linked=("cjx",))) == ["links of met-1 go over cjx: move or remove them"]
    assert missing(replace(ANSWER, outlets=(GONE,), services=(PND,))) == [
        f"{PND}: not begun: met-1 has no outlet of it over this network"
    ]
    late = replace(GONE, used="2020-04-01T08:00:00Z")
    assert missing(replace(ANSWER, outlets=(late, ALSO_GONE))) == [
        f"{CUSTODY}: cjx was used after it was retired on 2020-03-31 09:00:00 UTC (met-1)"
    ]
    live = replace(GONE, streams=3)
    assert missing(replace(ANSWER, outlets=(live, ALSO_GONE))) == [f"{CUSTODY}: 3 streams are open on cjx (met-1)"]


def test_what_others_saw_lately_counts_and_what_they_saw_before_does_not() -> None:
    saw = replace(SAID, transferred_bytes=1_200)
    words = "CJX router GW-3 saw 1,200 bytes from 2020-02-25 to 2020-03-31"
    assert missing(replace(ANSWER, statements=(saw,))) == [words]
    assert missing(replace(ANSWER, statements=(replace(saw, until="2020-02-24", since="2020-02-01"),))) == []
    assert missing(replace(ANSWER, statements=(replace(saw, bearer="psnp"),))) == []


def test_a_row_of_quiet_begins_with_the_last_of_all() -> None:
    inventory = parse_inventory(INVENTORY, Path("inventory.toml"))
    found = judge("cjx", inventory, [("met-1", ANSWER), ("met-2", replace(ANSWER, today="2020-04-02"))])
    assert (f"{found.since}", found.days, found.nodes) == ("2020-02-25", 37, ("met-1", "met-2"))
    unused = judge(
        "cjx", inventory, [("met-1", replace(ANSWER, outlets=(replace(GONE, since="", used=""), ALSO_GONE)))]
    )
    assert unused.since is None
    assert any("not quiet" in line for line in lines_of(unused))


def test_a_node_that_does_not_answer_may_have_had_the_last_stray(
    invoke: Call, file: Path, node: FakeNode, tmp_path: Path
) -> None:
    other = tmp_path / "met-2.toml"
    other.write_text('[node]\nname = "met-2"\nadmin = "met-2.sock"\n')
    code, out, err = invoke("retire", "cjx", "-c", str(file), "-c", str(other))
    assert (code, out) == (3, "")
    assert "nobody knows whether cjx can be switched off" in err


def test_who_still_uses_an_old_address_is_told_and_keeps_nothing_on() -> None:
    inventory = parse_inventory(INVENTORY, Path("inventory.toml"))
    stray = QuietOutlet(service=CUSTODY, outlet="at 10.20.30.40:5432", listener="also-1", used="2020-03-30T17:03:12Z")
    early = replace(stray, used="2020-01-30T17:03:12Z")
    never = replace(stray, used="", service=PND)
    found = judge("cjx", inventory, [("met-1", replace(ANSWER, outlets=(*ANSWER.outlets, stray, early, never)))])
    assert (found.is_possible, found.total, found.retired) == (True, 2, 2)
    (line,) = [line for line in lines_of(found) if "old addresses" in line]
    assert " ".join(line.split()) == f"old addresses 1 still in use {CUSTODY} at also-1 of met-1, last on 2020-03-30"
    assert "10.20.30.40" not in line
    assert not any("old addresses" in line for line in lines_of(judge("cjx", inventory, [("met-1", ANSWER)])))


def test_without_an_inventory_nobody_knows(invoke: Call, file: Path, node: FakeNode, tmp_path: Path) -> None:
    bare = tmp_path / "bare.toml"
    bare.write_text('[node]\nname = "met-1"\nadmin = "met-1.sock"\n')
    code, _, err = invoke("retire", "cjx", "-c", str(bare))
    assert (code, "nobody knows what has to leave" in err) == (78, True)
    assert invoke("retire", "cjx", "-c", str(bare), "--inventory", str(tmp_path / "inventory.toml"))[0] == 0
    code, _, err = invoke("retire", "gone", "-c", str(file))
    assert (code, err.endswith("nothing moves from gone; there are: cjx, psnp.\n")) == (2, True)
    (tmp_path / "inventory.toml").write_text(INVENTORY.replace("from", "form", 1))
    code, _, err = invoke("retire", "cjx", "-c", str(file))
    assert (code, "inventory.toml:3: service[1].form: this key is unknown" in err) == (78, True)


RETIRED = RetireAnswer(
    service=CUSTODY,
    outlet="cjx",
    node="met-1.met.police.example",
    retired="2020-03-31T09:00:00Z",
    changed=True,
    days=35,
    since="2020-02-25",
)
KNOWN = replace(reported(), phase=Phase.QUIET, retired="", decisions=reported().decisions[:-1])


def told(facts: ReportFacts) -> ReportAnswer:
    return ReportAnswer(service=CUSTODY, facts=facts)


def test_one_outlet_is_retired_its_report_written_and_its_lines_named(
    invoke: Call, file: Path, node: FakeNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    node.answers[RETIRE_PATH] = [RetireAnswer(service=CUSTODY, outlet="cjx", ready=True), RETIRED]
    node.answers[REPORT_PATH] = [told(KNOWN), told(reported())]
    code, out, err = invoke("retire", "cjx/custody", "--reason", "CR-1042", "-c", str(file))
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"cjx of {CUSTODY} is retired: it takes no more streams.",
        "It was quiet for 35 days, since 2020-02-25.",
        "custody-report: the last report of its cut-over. Two people read part1.html before it is published.",
        f"To be removed from {file}; until then a reload is refused:",
        '  line 9: outlet = "cjx"                # until it has moved',
        f"  lines 12 to 15: [[direct]] cjx of {CUSTODY}",
    ]
    asked = [(each.method, each.path) for each in node.asked if each.path in (RETIRE_PATH, REPORT_PATH)]
    # It is looked at before, and made from what is known afterwards.
    assert asked == [("GET", RETIRE_PATH), ("GET", REPORT_PATH), ("POST", RETIRE_PATH), ("GET", REPORT_PATH)]
    (query,) = [each.query for each in node.asked if each.method == "POST"]
    assert query == {"service": "custody", "outlet": "cjx", "reason": "CR-1042", "by": ""}
    assert "retired on 2020-03-31" in (tmp_path / "custody-report" / "part1.md").read_text()
    # Again it is no fault, and the report stays.
    node.answers[RETIRE_PATH] = replace(RETIRED, changed=False)
    code, out, err = invoke("retire", "cjx/custody", "-c", str(file))
    assert (code, err, "is retired already, since 2020-03-31" in out, "report" in out) == (0, "", True, False)
    code, out, _ = invoke("retire", "cjx/custody", "--report", str(tmp_path / "second"), "--json", "-c", str(file))
    assert (code, json.loads(out)["report"]) == (0, str(tmp_path / "second"))
    assert (tmp_path / "second" / "part2.html").exists()


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (["--report", "there"], 1, "there: this is there already and is never overwritten; name another folder."),
        (["--report", "none/report"], 1, "none/report: the folder none does not exist; create it first."),
        (["--title", "Leaving cjx"], 78, 'here stands "cjx", a name of the configuration'),
        (["--title", "a\nb"], 2, "--title is at most 200 characters on one line."),
    ],
)
def test_what_keeps_the_report_from_being_written_keeps_the_outlet_open(
    invoke: Call,
    file: Path,
    node: FakeNode,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    code: int,
    why: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    before = sorted(tmp_path.iterdir())
    node.answers[RETIRE_PATH] = RetireAnswer(service=CUSTODY, outlet="cjx", ready=True)
    node.answers[REPORT_PATH] = told(KNOWN)
    found = invoke("retire", "cjx/custody", *words, "-c", str(file))
    assert (found[0], found[1], why in found[2]) == (code, "", True)
    assert all(asked.method == "GET" for asked in node.asked)
    assert sorted(tmp_path.iterdir()) == before
    if "--title" in words:
        assert invoke("retire", "cjx/custody", "--check", *words, "-c", str(file))[0] == code
    else:
        assert invoke("retire", "cjx/custody", "--check", *words, "-c", str(file))[0] == 0


def test_a_disk_that_fills_up_meanwhile_is_told(
    invoke: Call, file: Path, node: FakeNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    node.answers[RETIRE_PATH] = RETIRED
    node.answers[REPORT_PATH] = told(KNOWN)

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pcgrelay.cutover.report._write", full)
    code, out, err = invoke("retire", "cjx/custody", "-c", str(file))
    assert (code, err, "it takes no more streams" in out) == (4, "", True)
    assert "Note: The report is not written: custody-report: the report cannot be written (no space left" in out
    assert f"pcgrelay cutover report {CUSTODY} --out custody-report" in out


def test_each_node_has_a_report_of_its_own(
    invoke: Call, file: Path, node: FakeNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "met-2.toml"
    other.write_text('[node]\nname = "met-2"\nadmin = "met-2.sock"\n')
    node.answers |= {RETIRE_PATH: RETIRED, REPORT_PATH: told(KNOWN)}
    with fake_node(config.admin_path(other)) as second:
        # It says no, and writes nothing.
        second.answers = {
            QUIET_PATH: ANSWER,
            RETIRE_PATH: RetireAnswer(service=CUSTODY, reason="cjx is not quiet.", exit_code=6),
            REPORT_PATH: told(KNOWN),
        }
        code, out, err = invoke("retire", "cjx/custody", "-c", str(file), "-c", str(other))
    assert (code, err) == (6, "pcgrelay: met-2: cjx is not quiet.\n")
    assert "custody-report-met-1: the last report" in out
    assert [path.name for path in tmp_path.glob("custody-report*")] == ["custody-report-met-1"]


def test_an_outlet_that_is_not_quiet_is_refused(invoke: Call, file: Path, node: FakeNode) -> None:
    node.answers[RETIRE_PATH] = RetireAnswer(service=CUSTODY, reason="cjx of custody is not quiet.", exit_code=6)
    for words in (("--check",), ()):
        code, out, err = invoke("retire", "cjx/custody", *words, "-c", str(file))
        assert (code, out, err) == (6, "", "pcgrelay: cjx of custody is not quiet.\n")
    node.answers[RETIRE_PATH] = RetireAnswer(service=CUSTODY, outlet="cjx", ready=True)
    node.answers[REPORT_PATH] = told(KNOWN)
    assert invoke("retire", "cjx/custody", "--check", "-c", str(file)) == (0, f"cjx of {CUSTODY} can be retired.\n", "")
    for words in ("/custody", "cjx/"):
        assert invoke("retire", words, "-c", str(file))[0] == 2


def test_the_last_outlet_of_a_network_stays_while_a_service_has_not_left(
    invoke: Call, file: Path, node: FakeNode
) -> None:
    node.answers[QUIET_PATH] = replace(ANSWER, outlets=(replace(GONE, retired="", phase="quiet"),))
    code, _, err = invoke("retire", "cjx/custody", "-c", str(file))
    assert code == 6
    assert err.startswith(f"pcgrelay: This is the last outlet over cjx, and {PND} has to leave it still")
    assert [asked.method for asked in node.asked] == ["GET"]


def test_nothing_of_another_service_is_to_be_deleted() -> None:
    source = Source(Path("met-1.toml"), NODE)
    assert list(lines_to_delete(source, PND, "cjx")) == [(18, 21, f"[[direct]] cjx of {PND}")]
    assert list(lines_to_delete(source, CUSTODY, "psnp")) == []
