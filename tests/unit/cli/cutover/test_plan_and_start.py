"""`pcgrelay cutover rehearse`, `plan` and `start`: what comes before a service moves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from pcgrelay.admin.answers import OUTLET_PATH, OutletAnswer
from pcgrelay.admin.cutover_answers import CUTOVER_PATH, REHEARSE_PATH, CutoverStatus, Rehearsal
from pcgrelay.cutover.plan import PLAN_LIMIT_BYTES, parse_plan
from tests.support.command_line import Invoke
from tests.support.cutover_examples import CUSTODY, OUTLETS, PLAN, REHEARSED, SOAKING
from tests.support.fake_node import Asked, FakeNode

# --- rehearse ------------------------------------------------------------------------------------------------------


def test_a_rehearsal_is_a_table(invoke: Invoke, file: Path, node: FakeNode) -> None:
    answer = invoke("cutover", "rehearse", "custody", "-c", file, "--count", "50", "--from", "cjx", "--send", "\\x00")
    assert answer.code == 0
    query = {"service": "custody", "count": "50", "old": "cjx", "send": "\\x00"}
    assert node.asked == [Asked("POST", REHEARSE_PATH, query, b"")]
    assert (
        answer.out
        == """\
Rehearsal of custody@kent.police.example: 100 connections over each way, in turn, 12 s. No application was touched.

                 cjx            gateway             difference  allowed  judged
  set up         100 of 100     100 of 100                               good    at most 3 % may fail more often (95 %)
  set-up time    11.8 ms        13.1 ms             +1.30 ms    +5 ms    good
  slowest of 20  14.2 ms        15.9 ms             +1.70 ms
  first answer   4.10 ms        4.40 ms             +0.30 ms    +5 ms    good
  suite          none           AES-256-GCM
  key exchange   none           X25519MLKEM768
  marking        OFFICIAL       OFFICIAL-SENSITIVE
  support        to 2020-01-31  no end is known
It can begin.
Next: pcgrelay cutover plan custody@kent.police.example --from cjx --deadline DATE > FILE
"""
    )


def test_a_rehearsal_that_fails_says_so(invoke: Invoke, file: Path, node: FakeNode) -> None:
    assert REHEARSED.new is not None
    new = replace(REHEARSED.new, up=97, outcomes={"up": 97, "silent": 3})
    node.answers[REHEARSE_PATH] = replace(REHEARSED, new=new, can_begin=False, sentence="It cannot begin.")
    answer = invoke("cutover", "rehearse", "custody", "-c", file)
    assert answer.code == 6
    assert answer.out.endswith("  failed on gateway: 3 silent\nIt cannot begin.\n")
    node.answers[REHEARSE_PATH] = Rehearsal(service="custody", reason="There is no outlet cjy.", exit_code=1)
    assert invoke("cutover", "rehearse", "custody", "-c", file).code == 1
    assert invoke("cutover", "rehearse", "custody", "-c", file, "--json").code == 1
    assert invoke("cutover", "rehearse", "custody", "-c", file, "--count", "1000").code == 2


# --- plan ----------------------------------------------------------------------------------------------------------


def with_support(until: str) -> OutletAnswer:
    gateway, cjx = OUTLETS.outlets
    return replace(OUTLETS, outlets=(gateway, replace(cjx, supported_until=until)))


def test_a_plan_is_printed_and_can_be_read(invoke: Invoke, file: Path, node: FakeNode) -> None:
    node.answers[OUTLET_PATH] = with_support("2199-01-31")
    words = ["--soak", "20s", "--steps", "5, 50,100", "--freeze", "2099-12-20/2100-01-05", "--owner", 'O"Neil \\ é']
    more = ["--advance", "mon-fri 08:00-16:00", "--zone", "Europe/London", "--change", "CR-1042", "--title", "Custody"]
    answer = invoke(
        "cutover", "plan", "custody", "--from", "cjx", "--deadline", "2190-03-31", *words, *more, "-c", file
    )
    assert (answer.code, answer.err) == (0, "")
    plan, _ = parse_plan(answer.out, Path("plan"))
    assert (plan.service, plan.old, plan.new, plan.back) == (CUSTODY, "cjx", "gateway", ("cjx",))
    assert (plan.steps, plan.soak_s, plan.owner) == ((5.0, 50.0, 100.0), 20, 'O"Neil \\ é')
    assert (str(plan.deadline), plan.calendar.zone, plan.report.title) == ("2190-03-31", "Europe/London", "Custody")
    assert "#   cjx over cjx: supported until 2199-01-31" in answer.out
    assert "#   gateway: no end of support is known" in answer.out
    assert node.asked == [Asked("GET", OUTLET_PATH, {"service": "custody"}, b"")]
    facts = json.loads(
        invoke("cutover", "plan", "custody", "--from", "cjx", "--deadline", "2190-03-31", "-c", file, "--json").out
    )
    assert (facts["against"], facts["plan"]["old"]) == ([], "cjx")


def test_the_calendars_trap_is_told_at_once(invoke: Invoke, file: Path, node: FakeNode) -> None:
    node.answers[OUTLET_PATH] = with_support("2190-01-31")
    answer = invoke("cutover", "plan", "custody", "--from", "cjx", "--deadline", "2190-03-31", "-c", file)
    assert (answer.code, answer.out) == (78, "")
    assert answer.err == (
        "pcgrelay: plan:10: cutover.back: on 59 days, 2190-02-01 to 2190-03-31, there is nothing to fall back to: "
        "cjx is supported until 2190-01-31. Add an outlet that is supported until then, or move the deadline to "
        "2190-01-31.\n"
    )
    late = invoke("cutover", "plan", "custody", "--from", "cjx", "--deadline", "2190-01-20", "-c", file)
    assert late.code == 0
    assert late.err.startswith("Note: plan:")


@pytest.mark.parametrize(
    ("outlets", "words", "why"),
    [
        (OUTLETS, ["--deadline", "2001-01-01"], "cutover.deadline: 2001-01-01 is past"),
        (OUTLETS, ["--from", "cjy"], "cutover.from: custody@kent.police.example has no outlet cjy"),
        (OUTLETS, ["--back", "cjz"], "cutover.back[1]: custody@kent.police.example has no outlet cjz"),
        (
            replace(OUTLETS, outlets=(replace(OUTLETS.outlets[0], state="away"), OUTLETS.outlets[1])),
            [],
            "cutover.to: gateway has no session for custody@kent.police.example yet",
        ),
    ],
)
def test_what_speaks_against_a_plan_is_told(
    invoke: Invoke, file: Path, node: FakeNode, outlets: OutletAnswer, words: list[str], why: str
) -> None:
    node.answers[OUTLET_PATH] = outlets
    basis = ["--from", "cjx", "--deadline", "2190-03-31"]
    answer = invoke("cutover", "plan", "custody", *basis, *words, "-c", file)
    assert (answer.code, answer.out) == (78, "")
    assert why in answer.err
    facts = json.loads(invoke("cutover", "plan", "custody", *basis, *words, "-c", file, "--json").out)
    assert why in facts["against"][0]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--deadline", "soon"], "--deadline: 'soon' is no date"),
        (["--deadline", "20900331"], "--deadline: '20900331' is no date"),
        (["--deadline", "2090-02-30"], "--deadline: there is no day 2090-02-30"),
        (["--deadline", "9999-12-31"], "--deadline: 9999-12-31 is no deadline that anybody means"),
        (["--soak", "never"], '--soak: "never" is no soak'),
        (["--steps", "1,5,200"], "--steps: 200 is no step"),
        (["--steps", "5,1,100"], "--steps: 1 comes after 5"),
        (["--steps", "nan"], "--steps: 'nan' is no percentage"),
        (["--steps", "1]\n"], "--steps has a character in it that cannot be seen"),
        (["--advance", "always"], '--advance: "always" is no window'),
        (["--zone", "Mars/Base"], '--zone: "Mars/Base" is no time zone'),
        (["--freeze", "xmas"], '--freeze: "xmas" is no freeze'),
        (["--to", "cjx"], "--to: cjx is also where it moves from"),
        (["--from", "Über weg"], "--from: "),
        (["--back", "gateway"], "--back: gateway is where it moves to"),
        (["--owner", "x" * 201], "--owner has 201 characters"),
        (["--title", "\x1b"], "--title has a character in it that cannot be seen"),
    ],
)
def test_a_wrong_option_is_named(invoke: Invoke, file: Path, node: FakeNode, words: list[str], why: str) -> None:
    answer = invoke("cutover", "plan", "custody", "--from", "cjx", "--deadline", "2190-03-31", *words, "-c", file)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"pcgrelay: {why}")


def test_a_service_that_is_not_imported_has_no_plan(invoke: Invoke, file: Path, node: FakeNode) -> None:
    node.answers[OUTLET_PATH] = OutletAnswer(service="x", reason="There is no import x.", exit_code=1)
    answer = invoke("cutover", "plan", "x", "--from", "cjx", "--deadline", "2190-03-31", "-c", file)
    assert (answer.code, answer.out, answer.err) == (1, "", "pcgrelay: There is no import x.\n")


# --- start ---------------------------------------------------------------------------------------------------------


def test_a_plan_is_sent_as_it_is_written(invoke: Invoke, file: Path, node: FakeNode, plan_file: Path) -> None:
    node.answers[CUTOVER_PATH] = replace(SOAKING, changed=True, step=1, share=1.0, warnings=("Only so far.",))
    answer = invoke("cutover", "start", plan_file, "-c", file, "--by", "j.smith")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == (
        f"{CUSTODY} is being moved: 1 % of new streams take gateway (step 1 of 5).\n"
        "The next step, 5 %, comes on 2019-12-23 at 14:12 UTC, if nothing speaks against it.\n"
        "Falls back to cjx (in support to 2020-01-31), then psnp-b (in support to 2020-12-31).\n"
        "Note: Only so far.\n"
    )
    query = {"service": CUSTODY, "act": "start", "file": str(plan_file), "reason": "", "by": "j.smith"}
    assert node.asked == [Asked("POST", CUTOVER_PATH, query, PLAN.encode())]
    invoke("cutover", "start", plan_file, "--again", "-c", file)
    assert node.asked[1].query["again"] == "1"
    node.answers[CUTOVER_PATH] = SOAKING
    answer = invoke("cutover", "start", plan_file, "-c", file)
    assert answer.out == f"{CUSTODY} is soaking already, at 25 %; nothing has changed.\n"


def test_several_begin_in_order_and_each_is_told(
    invoke: Invoke, file: Path, node: FakeNode, plan_file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "pnd.plan.toml"
    other.write_text(PLAN.replace("custody@kent", "pnd@kent"))
    begun = replace(SOAKING, changed=True)
    refusal = CutoverStatus(service=CUSTODY, reason="Digest differs:\n-3: a\n+3: b", exit_code=6)
    node.answers[CUTOVER_PATH] = [refusal, begun]
    answer = invoke("cutover", "start", plan_file, other, "-c", file)
    assert answer.code == 6
    assert answer.err == f"pcgrelay: {plan_file}: Digest differs:\n  -3: a\n  +3: b\n"
    assert all(line.startswith(f"{other}: ") for line in answer.out.splitlines())
    assert [asked.query["service"] for asked in node.asked] == [CUSTODY, "pnd@kent.police.example"]
    node.answers[CUTOVER_PATH] = begun
    assert len(json.loads(invoke("cutover", "start", plan_file, other, "-c", file, "--json").out)) == 2


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (PLAN.replace('"cjx"\n', '"gateway"\n', 1), ":6: cutover.to: "),
        (PLAN.replace("2020-03-31", '"soon"'), ":5: cutover.deadline: "),
        ("nonsense", ": this is not valid TOML"),
        ("[cutover]\nnonsense\n", ":2: this is not valid TOML"),
        ("", ": the plan is empty"),
        ("# " + "x" * PLAN_LIMIT_BYTES, ": the plan is larger than 64 KiB"),
        (PLAN + "[gate]\nstreams = -1\n", ":7: gate.streams: "),
        (PLAN + "[gate]\nstreams = nan\n", ":7: gate.streams: "),
        (PLAN + '[gate]\nfailures = "101 %"\n', ":7: gate.failures: "),
        (PLAN + '[report]\ntitle = "\\u001b[2J"\n', ":7: report.title: "),
        (PLAN + "# \x1b[2J\n", ":6: this is not valid TOML"),
        ("#" * 10_000_000, ": the plan is larger than 64 KiB"),
    ],
)
def test_what_is_no_plan_begins_nothing(
    invoke: Invoke, file: Path, node: FakeNode, plan_file: Path, tmp_path: Path, text: str, why: str
) -> None:
    bad = tmp_path / "bad.plan.toml"
    bad.write_text(text)
    answer = invoke("cutover", "start", plan_file, bad, "-c", file)
    assert (answer.code, answer.out, node.asked) == (78, "", [])
    assert answer.err.startswith(f"pcgrelay: {bad}")
    if ":6:" not in why:
        assert answer.err.startswith(f"pcgrelay: {bad}{why}")


def test_one_service_has_one_plan(invoke: Invoke, file: Path, node: FakeNode, plan_file: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.plan.toml"
    again.write_text(PLAN)
    answer = invoke("cutover", "start", plan_file, again, "-c", file)
    assert (answer.code, node.asked) == (78, [])
    assert answer.err.startswith(f"pcgrelay: {again}:2: cutover.service: {CUSTODY} is in {plan_file} as well")
    assert invoke("cutover", "start", tmp_path / "none.toml", "-c", file).code == 78
    assert invoke("cutover", "start", tmp_path, "-c", file).code == 78
    assert invoke("cutover", "start", "-c", file).code == 2
