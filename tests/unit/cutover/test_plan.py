"""The plan: the documented file is read, and every wrong one is refused by file, line, key and remedy."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pcgrelay.cutover import plan_schema as schema
from pcgrelay.cutover.margin import Margin
from pcgrelay.cutover.objections import Surroundings, objections, refuse_plan, warnings
from pcgrelay.cutover.plan import PLAN_LIMIT_BYTES, Plan, example_for, parse_plan
from pcgrelay.cutover.plan_text import changed_lines, digest, render
from pcgrelay.errors import ConfigError

PATH = Path("custody.plan.toml")
DOCUMENTED = r"""# custody.plan.toml - made by `pcgrelay cutover plan`; every line may be edited before it is approved
[cutover]
service = "custody@kent.police.example"
from = "cjx"
to = "gateway"
back = ["cjx"]                           # where it falls back to: the first that is well and in support
steps = [1, 5, 25, 50, 100]              # percent; rising, ends at 100
soak = "30m"                             # least time at each step
deadline = 2020-03-31
advance = "mon-fri 08:00-16:00"          # only then a step forward; falling back at any time
zone = "Europe/London"                   # of the line above; without it UTC
freeze = ["2019-12-20/2020-01-05"]       # no step forward at all
change = "CR-1042"
owner = "j.smith@met.police.example"

[gate]
streams = 30
failures = "1 %"
setup = "10 % or 5 ms"
answer = "10 % or 5 ms"
rate = "10 %"

[shadow]
pace = "6 / min"
send = '\x00\x00\x00\x08\x04\xd2\x16\x2f'
expect = 'N'

[quiet]
days = 35

[report]
title = "Custody records: transition to the Police Cloud Gateway"
part1 = "OFFICIAL - PUBLIC"
part2 = "OFFICIAL-SENSITIVE [OPERATIONAL]"
exempt = ["FOIA s.31 Law Enforcement", "FOIA s.43 Commercial Interests"]
defer_until = ""
defer_reason = ""
advice = ["information assurance", "service owner", "finance"]
"""
SHORTEST = """[cutover]
service = "custody@kent.police.example"
from = "cjx"
back = ["cjx"]
deadline = 2020-03-31
"""
TODAY = datetime(2019, 11, 8, 9, 0, tzinfo=UTC)
END = date(2020, 1, 31)
LONG: dict[str, date | None] = {"cjx": None, "gateway": None}


def read(text: str) -> Plan:
    return parse_plan(text, PATH)[0]


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_plan(text, PATH)
    return str(caught.value)


def with_line(key: str, line: str) -> str:
    """The documented plan with another line for a key."""
    lines = DOCUMENTED.splitlines()
    at = next(number for number, each in enumerate(lines) if each.startswith(f"{key} ="))
    return "\n".join([*lines[:at], line, *lines[at + 1 :]])


def around(**changes: object) -> Surroundings:
    basis = Surroundings(TODAY, {"cjx": END, "gateway": None, "psnp-b": date(2021, 1, 1)})
    return msgspec.structs.replace(basis, **changes)


def against(text: str, surroundings: Surroundings) -> str:
    plan, source = parse_plan(text, PATH)
    with pytest.raises(ConfigError) as caught:
        refuse_plan(plan, source, surroundings)
    return str(caught.value)


def test_the_documented_plan_is_read() -> None:
    plan = read(DOCUMENTED)
    assert (plan.old, plan.new, plan.back) == ("cjx", "gateway", ("cjx",))
    assert plan.steps == (1, 5, 25, 50, 100)
    assert (plan.soak_s, plan.deadline, plan.quiet_days) == (1_800, date(2020, 3, 31), 35)
    assert plan.limits.setup == Margin(0.1, 5_000)
    assert (plan.shadow.per_minute, plan.shadow.expect) == (6, "N")
    assert read(SHORTEST).limits == plan.limits


# --- datagrams -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("", "shadow.send: custody@kent.police.example carries datagrams (udp), and only an answer shows that one has"),
        ("[shadow]\nsend = 'who'\n", 'shadow.expect: custody@kent.police.example carries datagrams (udp), and only an'),
        ("[shadow]\nsend = 'who'\nexpect = 'me'\n", None),
        ("[shadow]\npace = 'off'\n", None),
    ],
)  # fmt: skip
def test_shadows_of_datagrams_have_a_question_and_an_answer(lines: str, words: str | None) -> None:
    text = SHORTEST + lines
    found = [objection.problem for objection in objections(read(text), around(of_datagrams=True, supported_until=LONG))]
    assert bool(found) is (words is not None)
    if words is not None:
        refusal = against(text, around(of_datagrams=True, supported_until=LONG))
        assert words in refusal
        assert 'or pace = "off"' in refusal
    assert not list(objections(read(text), around(supported_until=LONG)))


# --- the calendar's trap -------------------------------------------------------------------------------------------


def test_days_without_anything_to_fall_back_to_are_refused_with_the_arithmetic() -> None:
    assert against(DOCUMENTED, around()) == (
        "custody.plan.toml:6: cutover.back: on 60 days, 2020-02-01 to 2020-03-31, there is nothing to fall back to: "
        "cjx is supported until 2020-01-31. Add an outlet that is supported until then, or move the deadline to "
        "2020-01-31."
    )


@pytest.mark.parametrize(
    ("deadline", "words"),
    [
        ("2020-01-31", None),
        ("2020-02-01", "on 1 day, 2020-02-01, there is nothing"),
        ("2020-02-29", "on 29 days, 2020-02-01 to 2020-02-29, there is nothing"),
        ("2020-03-01", "on 30 days, 2020-02-01 to 2020-03-01, there is nothing"),
        ("2020-03-31", "on 60 days, 2020-02-01 to 2020-03-31, there is nothing"),
    ],
)
def test_the_dates_of_the_decision(deadline: str, words: str | None) -> None:
    text = with_line("deadline", f"deadline = {deadline}")
    found = [objection.problem for objection in objections(read(text), around())]
    assert [problem for problem in found if words is not None and words in problem] == found
    assert bool(found) is (words is not None)


@pytest.mark.parametrize("month", [1, 2, 3])
def test_support_that_ended_before_today_has_no_earlier_deadline_as_a_remedy(month: int) -> None:
    text = with_line("deadline", f"deadline = 2020-{month:02d}-28")
    problem = against(text, around(supported_until={"cjx": date(2019, 10, 31), "gateway": None}))
    assert "2019-11-08 to 2020-" in problem
    assert problem.endswith("Add an outlet that is supported until then.")


def test_an_outlet_that_is_supported_for_longer_fills_the_gap() -> None:
    text = with_line("back", 'back = ["cjx", "psnp-b"]')
    assert list(objections(read(text), around())) == []
    short = around(supported_until={"cjx": END, "gateway": None, "psnp-b": date(2020, 3, 1)})
    assert "on 30 days, 2020-03-02 to 2020-03-31" in against(text, short)
    assert "cjx is supported until 2020-01-31, psnp-b is supported until 2020-03-01" in against(text, short)
    endless = around(supported_until={"cjx": END, "gateway": None, "psnp-b": None})
    assert list(objections(read(text), endless)) == []


def test_a_deadline_that_is_past_has_a_sentence_of_its_own() -> None:
    problem = against(DOCUMENTED, around(now=datetime(2020, 4, 1, tzinfo=UTC)))
    assert problem == (
        "custody.plan.toml:9: cutover.deadline: 2020-03-31 is past, today is 2020-04-01. Choose a later day."
    )


def test_the_day_is_that_of_the_zone() -> None:
    text = with_line("zone", 'zone = "Pacific/Auckland"')
    evening = datetime(2020, 3, 31, 12, 0, tzinfo=UTC)  # the first of April over there
    assert "is past, today is 2020-04-01" in against(text, around(now=evening))


def test_steps_that_do_not_fit_are_refused_with_the_arithmetic() -> None:
    text = with_line("soak", 'soak = "30d"')
    problem = against(text, around(supported_until={"cjx": None, "gateway": None}))
    assert problem.startswith("custody.plan.toml:8: cutover.soak: 5 steps of 30d each, begun mon-fri 08:00-16:00 only")
    assert "are done on 2020-04-" in problem
    assert "the deadline is 2020-03-31" in problem


def test_no_window_at_all_is_refused() -> None:
    text = with_line("freeze", 'freeze = ["2019-01-01/2030-01-01"]')
    endless = around(supported_until={"cjx": None, "gateway": None})
    assert "no open window for them within two years" in against(text, endless)


def test_what_the_node_does_not_have_is_refused() -> None:
    assert "has no outlet cjx; there are: gateway" in against(DOCUMENTED, around(supported_until={"gateway": None}))
    assert "does not import custody@kent.police.example" in against(DOCUMENTED, around(is_imported=False))
    text = with_line("deadline", "deadline = 2020-01-31")
    assert "gateway has no session for custody@" in against(text, around(has_session=False))


def test_days_of_quiet_beyond_support_are_a_warning() -> None:
    text = with_line("deadline", "deadline = 2020-01-31")
    assert list(objections(read(text), around())) == []
    (warning,) = warnings(read(text), around())
    assert warning.problem == "the 35 days after the deadline end on 2020-03-06, and cjx is supported until 2020-01-31"
    assert list(warnings(read(text), around(supported_until={"cjx": None, "gateway": None}))) == []


# --- what is wrong in itself ---------------------------------------------------------------------------------------

WRONG = [
    ("service", 'service = "custody"', 'cutover.service: "custody" is no service'),
    ("from", 'from = "Old CJX"', 'cutover.from: "Old CJX" is no outlet'),
    ("from", 'from = "gateway"', "cutover.to: gateway is also where it moves from"),
    ("back", "back = []", "cutover.back: there are 0 outlets"),
    ("back", 'back = ["cjx", "cjx"]', "cutover.back[2]: cjx stands here twice"),
    ("back", 'back = ["gateway"]', "cutover.back[1]: gateway is where it moves to"),
    ("steps", "steps = []", "cutover.steps: there are 0 steps"),
    ("steps", "steps = [1, 5, 50]", "cutover.steps: the last step is 50"),
    ("steps", "steps = [1, 5, 5, 100]", "cutover.steps: 5 comes after 5, and steps rise"),
    ("steps", "steps = [50, 120]", "cutover.steps: 120 is no step"),
    ("steps", "steps = [0.25, 100]", "cutover.steps: 0.25 is no step"),
    ("steps", "steps = [nan, 100]", "cutover.steps: nan is no step"),
    ("steps", "steps = [-inf, 100]", "cutover.steps: -inf is no step"),
    ("steps", 'steps = ["all"]', "cutover.steps[1]: this must be"),
    ("soak", 'soak = "half an hour"', "cutover.soak: \"half an hour\" is no soak, which is 1s to 30d"),
    ("soak", 'soak = "99999d"', "is no soak"),
    ("soak", "soak = 30", "cutover.soak: this must be text in quotes"),
    ("deadline", 'deadline = "soon"', "cutover.deadline: "),
    ("deadline", "deadline = 1066-10-14", "cutover.deadline: 1066-10-14 is no deadline"),
    ("deadline", "deadline = 9999-12-31", "cutover.deadline: 9999-12-31 is no deadline"),
    ("deadline", "", "cutover.deadline: this is missing; write for example: deadline = 2020-03-31"),
    ("advance", 'advance = "weekdays"', 'cutover.advance: "weekdays" is no window'),
    ("advance", 'advance = "mon-fri 16:00-08:00"', "ends before it begins"),
    ("advance", 'advance = "mon-fry 08:00-16:00"', "names no day of the week"),
    ("advance", 'advance = "mon 08:61-24:01"', "has no time of day"),
    ("zone", 'zone = "Europe/Camelot"', 'cutover.zone: "Europe/Camelot" is no time zone'),
    ("zone", 'zone = "Europe"', "is no time zone"),
    ("zone", 'zone = "../../etc/passwd"', "is no time zone"),
    ("freeze", 'freeze = ["2020-02-30/2020-03-01"]', "cutover.freeze[1]: "),
    ("freeze", 'freeze = ["2020-03-02/2020-03-01"]', "ends before it begins"),
    ("change", 'change = "CR\\u0007"', "cutover.change: there is a character in it that cannot be seen"),
    ("owner", 'owner = "\\u202Ej.smith"', "cutover.owner: there is a character in it that cannot be seen"),
    ("owner", f'owner = "{"j" * 201}"', "cutover.owner: this has 201 characters"),
    ("streams", "streams = -1", "gate.streams: this must be at least 0"),
    ("streams", "streams = 100001", "gate.streams: this must be at most 100000"),
    ("streams", "streams = nan", "gate.streams: this must be a whole number"),
    ("failures", 'failures = "101 %"', "gate.failures: "),
    ("failures", 'failures = "1 % or 5 ms"', "gate.failures: "),
    ("failures", 'failures = "nan %"', "gate.failures: "),
    ("setup", 'setup = "10 %5 ms"', "gate.setup: "),
    ("setup", 'setup = " or "', "gate.setup: "),
    ("setup", 'setup = "9999 %"', "gate.setup: "),
    ("rate", 'rate = "100 %"', "gate.rate: "),
    ("pace", 'pace = "61 / min"', "shadow.pace: "),
    ("pace", 'pace = "0 / min"', "shadow.pace: "),
    ("send", "send = '\\q'", "shadow.send: "),
    ("expect", f"expect = '{'N' * 257}'", "shadow.expect: these are 257 bytes"),
    ("days", "days = 0", "quiet.days: this must be at least 1"),
    ("title", f'title = "{"t" * 201}"', "report.title: this has 201 characters"),
    ("exempt", f"exempt = {['s.31'] * 21}", "report.exempt: there are 21 entries"),
    ("defer_until", 'defer_until = "2020-13-01"', "report.defer_until: "),
    ("defer_until", 'defer_until = "2020-06-30"', "report.defer_until: a publication is deferred for a reason"),
    ("change", "chnage = 'CR-1'", "cutover.chnage: this key is unknown; the nearest that there is: change"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "line", "words"), WRONG)
def test_what_is_wrong_is_refused_with_file_line_and_key(key: str, line: str, words: str) -> None:
    problem = refused(with_line(key, line))
    assert words in problem
    assert problem.startswith("custody.plan.toml:")
    assert problem.isprintable()
    number = int(problem.split(":")[1])
    # The right line, or that of the table where the key is missing.
    found = with_line(key, line).splitlines()[number - 1].partition(" ")[0]
    assert found in {line.partition(" ")[0], "[cutover]", "to"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cutover: this is missing; write for example: [cutover]"),
        ("cutover = 1", "this table comes once; write [cutover] with its keys below"),
        ("[[cutover]]", "this table comes once; write [cutover] with its keys below"),
        ("[cutovers]", "this table is unknown; the nearest that there is: cutover"),
        ("a" * (PLAN_LIMIT_BYTES + 1), "the plan is larger than 64 KiB"),
        ("[cutover]\x00", "not valid TOML"),
        ("x = " + "[" * 5_000, "nested too deeply"),
        (".".join(["x"] * 1_500) + " = 1", "nested too deeply"),
        (f"x = {'9' * 5_000}", "too many digits"),
    ],
)
def test_what_is_no_plan_at_all_is_refused(text: str, words: str) -> None:
    assert words in refused(text)


def test_ten_megabytes_are_refused_at_once() -> None:
    assert "the plan is larger than 64 KiB" in refused("# " + "a" * 10_000_000)


def test_each_key_has_an_example_that_is_right() -> None:
    keys = {
        f"{name}.{field.encode_name}"
        for name, table in schema.TABLES.items()
        for field in msgspec.structs.fields(table)
    }
    assert keys | set(schema.TABLES) == set(schema.EXAMPLES)
    for key in keys:
        line = example_for(tuple(key.split(".")))
        name = key.split(".")[1]
        text = with_line(name, line)
        if name == "defer_until":
            text = text.replace('defer_reason = ""', 'defer_reason = "a procurement is open"')
        read(text)


# --- the text of a plan --------------------------------------------------------------------------------------------


def test_a_plan_is_rendered_as_it_is_read() -> None:
    for text in (DOCUMENTED, SHORTEST, with_line("pace", 'pace = "7 / h"'), with_line("pace", 'pace = "off"')):
        plan = read(text)
        assert read(render(plan)) == plan
        assert render(read(render(plan))) == render(plan)
    assert digest(render(read(DOCUMENTED))) == digest(render(read(DOCUMENTED)))
    assert len(digest("")) == 64


def test_what_was_changed_is_shown_line_by_line() -> None:
    before = render(read(DOCUMENTED))
    after = before.replace('soak = "30m"', 'soak = "10s"')
    lines = changed_lines(before, after)
    assert [line[0] for line in lines] == ["-", "+"]
    assert 'soak = "10s"' in lines[1]
    assert changed_lines(before, before) == []
    assert changed_lines("", "a\n" * 100)[-1] == "and 60 lines more"


def safe(text: str) -> Plan | None:
    """The plan, or nothing if it was refused in one sentence; anything else is a fault."""
    try:
        return read(text)
    except ConfigError as error:
        problem = str(error)
    assert problem.isprintable()
    assert problem.startswith("custody.plan.toml")
    return None


@given(st.text(max_size=300))
def test_no_text_is_answered_with_a_traceback(text: str) -> None:
    safe(text)


pieces = st.one_of(
    st.text(max_size=12),
    st.sampled_from("nan inf -1 1e400 0 100.5 99999999999999999999 '' \"\" [] {} true 2020-02-30 1979-05-27T07:32:00Z "
                    "[[cutover]] [gate] ''' \\u0000 # = . \n 12:00 -> % or ms 9999-12-31 0001-01-01".split(" ")),
)  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, len(DOCUMENTED)), st.integers(0, 30), pieces), min_size=1, max_size=4))
@example([(DOCUMENTED.index("2020-03-31"), 10, "9999-12-31")])
@example([(DOCUMENTED.index("2019-12-20"), 10, "0001-01-01")])
def test_a_mutated_plan_is_read_or_refused_in_one_sentence(changes: list[tuple[int, int, str]]) -> None:
    text = DOCUMENTED
    for at, length, piece in changes:
        text = text[:at] + piece + text[at + length :]
    plan = safe(text)
    if plan is not None:
        assert read(render(plan)) == plan
        for objection in [*objections(plan, around()), *warnings(plan, around())]:
            assert objection.problem.isprintable()


@given(st.floats(0, 1_000).map(lambda share: round(share, 3)), st.integers(0, 60_000_000))
def test_margins_are_written_as_they_are_read(percent: float, amount_us: int) -> None:
    margin = Margin.parse(f"{percent:.3f} % or {amount_us / 1_000:.3f} ms")
    assert Margin.parse(str(margin)) == margin
