"""What the demonstration of a cut-over makes of what it saw: stages, the verdict, and what is drawn of both."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from pcgrelay.cutover.plan import parse_plan
from pcgrelay.cutover.plan_text import render
from pcgrelay.demo.cutover.applications import Seen
from pcgrelay.demo.cutover.database import answer_to, network_of
from pcgrelay.demo.cutover.drawing import DRAWING, bar, kept_text, measured_lines, shares
from pcgrelay.demo.cutover.measured import (
    Fault,
    Measured,
    Moment,
    Others,
    Paper,
    Quiet,
    Rehearsed,
    Stage,
    problems_of,
    stages_of,
)
from pcgrelay.demo.cutover.pace import DEMONSTRATED, FAULT_AT, QUICK, WHOLE, Pace, edited
from pcgrelay.demo.cutover.paper import found_in
from pcgrelay.demo.cutover.telling import INDENT, LINE_MOST, dated, typed

STAGE = Stage(
    name="25 %",
    from_s=20.0,
    to_s=24.0,
    planned_percent=25.0,
    connections=1_000,
    over_new=250,
    over_old=750,
    failed=0,
    new_median_ms=1.5,
    old_median_ms=0.75,
    slowest_ms=12.0,
)
GOOD = Measured(
    total_s=60.0,
    began_again=1,
    arrived=True,
    stages=(STAGE,),
    rehearsed=Rehearsed(each=40, old_ms=0.1, new_ms=0.6, could_begin=True),
    fault=Fault(at_s=24.0, back_after_s=0.19, began=47, failed=0, moved=5, waited_ms=0, why="It failed."),
    others=Others(connections=500, failed=0, moved=21, kept=4, kept_answers=448, kept_broken=0),
    quiet=Quiet(used="2026-11-29T08:35:42Z", used_s=46.0, left=0, days_wanted=35, refused="not quiet"),
    report=Paper(folder="r", files=("SHA256SUMS", "part1.md"), sums_right=True, names_found=(), names_sought=13,
                 verdicts=5, verdicts_same=5),
)  # fmt: skip


# --- stages --------------------------------------------------------------------------------------------------------


def seen(began_s: float, network: str = "cjx", took_s: float = 0.001) -> Seen:
    return Seen(began_s, took_s, network)


def test_a_connection_belongs_to_the_stage_in_which_it_began() -> None:
    # The last one to begin ended first, and one began before anything is told of.
    found = [seen(99.0), seen(100.0), seen(109.9, took_s=5.0), seen(110.0, "gateway", 0.004), seen(111.0, "", 15.0)]
    moments = [Moment(100.0, "before", 0.0), Moment(110.0, "1 %", 1.0)]
    first, second = stages_of(reversed(found), moments, 90.0, 120.0)
    assert (first.name, first.from_s, first.to_s) == ("before", 10.0, 20.0)
    assert (first.connections, first.over_old, first.over_new, first.failed) == (2, 2, 0, 0)
    assert (first.slowest_ms, first.new_median_ms) == (5_000.0, None)
    assert (second.connections, second.over_old, second.over_new, second.failed) == (2, 0, 1, 1)
    assert (second.measured_percent, second.new_median_ms) == (100.0, 4.0)


def test_moments_are_put_in_order_first() -> None:
    """The node tells of a step with its own time, which may be before what the demonstration has done meanwhile."""
    moments = [Moment(100.0, "25 %", 25.0), Moment(104.5, "a fault", None), Moment(104.0, "50 %", 50.0)]
    found = stages_of([seen(104.2), seen(104.7)], moments, 100.0, 110.0)
    assert [(stage.name, stage.connections) for stage in found] == [("25 %", 0), ("50 %", 1), ("a fault", 1)]


def test_without_a_moment_there_is_no_stage() -> None:
    assert stages_of([seen(1.0)], [], 0.0, 2.0) == []


@pytest.mark.parametrize(
    ("over_new", "is_so"), [(250, True), (200, True), (300, True), (100, False), (400, False), (0, False)]
)
def test_a_share_is_as_planned_but_for_what_began_about_the_steps(over_new: int, is_so: bool) -> None:
    assert replace(STAGE, over_new=over_new, over_old=1_000 - over_new).as_planned is is_so


# --- the verdict ---------------------------------------------------------------------------------------------------


def test_nothing_is_wrong_where_all_is_as_it_should_be() -> None:
    assert list(problems_of(GOOD)) == []


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (replace(GOOD, stages=(replace(STAGE, failed=1),)), "1 of 1000 connections failed: 25 %."),
        (replace(GOOD, stages=(replace(STAGE, over_new=0),)), "Another share took the gateway"),
        (replace(GOOD, lost=2), "The node refused 2 connections"),
        (replace(GOOD, faults=("connection reset by peer",)), "An application saw: connection reset by peer."),
        (replace(GOOD, others=replace(GOOD.others, failed=3)), "3 connections of Surrey failed"),
        (replace(GOOD, others=replace(GOOD.others, kept_broken=1)), "1 that were kept broke"),
        (replace(GOOD, fault=None), "It did not fall back."),
        (replace(GOOD, fault=replace(GOOD.fault, back_after_s=2.1)), "It fell back 2.1 s after the fault"),
        (replace(GOOD, arrived=False), "did not arrive"),
        (replace(GOOD, quiet=replace(GOOD.quiet, left=1)), "Streams are left on the old network."),
        (replace(GOOD, report=None), "There is no report."),
        (replace(GOOD, report=replace(GOOD.report, sums_right=False)), "not what its SHA256SUMS says"),
        (replace(GOOD, report=replace(GOOD.report, names_found=("kent-1",))), "names kent-1"),
        (replace(GOOD, report=replace(GOOD.report, verdicts_same=4)), "1 verdicts do not come out the same"),
    ],
)  # fmt: skip
def test_each_thing_that_is_wrong_is_said_alone(found: Measured, words: str) -> None:
    (problem,) = problems_of(found)
    assert words in problem


def test_names_are_found_however_they_are_written() -> None:
    assert found_in(["Nothing", "at KENT-1."], ["kent-1", "met-1"]) == ["kent-1"]


# --- what is shown -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 120])
def test_everything_fits_the_terminal(width: int) -> None:
    found = replace(GOOD, ok=True, stages=(replace(STAGE, connections=9_999, over_new=2_500, over_old=7_499),) * 12)
    lines = [line.plain for line in (*shares(found.stages, width), *measured_lines(found, width))]
    assert max(map(len, [*lines, *DRAWING])) <= width


def test_the_table_says_what_was_planned_and_what_was_measured() -> None:
    _, columns, row = (line.plain for line in shares([STAGE], 120))
    assert columns.split() == ("from s planned measured gateway cjx failed gateway median cjx median slowest".split())
    assert " ".join(row.split()) == "20.0 25 % 25 % 25.0 % ####.......... 250 750 0 1.50 ms 0.75 ms 12.0 ms"


def test_a_little_is_not_shown_as_nothing() -> None:
    assert bar(replace(STAGE, over_new=1, over_old=999)).startswith("#.")
    assert bar(replace(STAGE, over_new=0, over_old=1_000)) == "." * 14
    assert bar(replace(STAGE, connections=0, over_new=0, over_old=0)) == ""


def test_the_end_says_how_it_was() -> None:
    good = [line.plain for line in measured_lines(replace(GOOD, ok=True), 120)]
    assert good[-1] == "The service has moved, and nobody noticed: 1,000 connections, none failed."
    bad = [line.plain for line in measured_lines(replace(GOOD, problems=("It did not fall back.",)), 120)]
    assert bad[-1] == "It did not fall back."
    assert not any("nobody noticed:" in line for line in bad)


def test_waiting_is_never_nothing() -> None:
    assert (kept_text(0), kept_text(3)) == ("within a millisecond", "within 3 ms")


@pytest.mark.parametrize("width", [80, 120, 200])
def test_a_line_has_its_second_and_goes_on_below_its_words(width: int) -> None:
    first, *rest = (line.plain for line in dated(7.25, "word " * 60, width))
    assert first.startswith("  7.2 s  word")
    assert rest
    assert all(line.startswith(" " * INDENT + "word") for line in rest)
    assert max(map(len, [first, *rest])) <= min(width, LINE_MOST)


@pytest.mark.parametrize("width", [80, 120])
def test_a_long_command_can_be_copied_as_it_stands(width: int) -> None:
    words = "cutover plan custody --from cjx --deadline 2027-02-27 --soak 4s --steps 10,25,100 > custody.plan.toml"
    lines = typed(words, width)
    assert max(map(len, lines)) <= width
    assert all(line.endswith(" \\") for line in lines[:-1])
    assert " ".join(line.rstrip("\\").strip() for line in lines) == f"$ pcgrelay {words}"


# --- the plan, the database ----------------------------------------------------------------------------------------


def test_a_plan_is_edited_line_by_line() -> None:
    text = '[gate]\nfailures = "1 %"    # so much\nrate = "10 %"\n'
    assert edited(text, {"failures": '"5 %"'}) == '[gate]\nfailures = "5 %"    # so much\nrate = "10 %"\n'
    with pytest.raises(KeyError, match="pace"):
        edited(text, {"pace": '"off"'})


@pytest.mark.parametrize("pace", [WHOLE, QUICK])
def test_each_form_has_the_fault_at_one_of_its_steps_and_ends_with_all(pace: Pace) -> None:
    steps = pace.steps
    assert FAULT_AT in steps
    assert steps[-1] == 100
    assert sorted(steps) == list(steps)


def test_what_is_edited_is_in_every_plan() -> None:
    made = '[cutover]\nservice = "custody@kent.police.example"\nfrom = "cjx"\nto = "gateway"\nback = ["cjx"]\n'
    plan, _ = parse_plan(f"{made}deadline = 2150-01-01\n", Path("plan"))
    again, _ = parse_plan(edited(render(plan)), Path("plan"))
    assert again.shadow.per_minute == 60
    assert again.change == "CR-1042"
    assert str(again.limits.failures) == "10 %"
    assert set(DEMONSTRATED) == {"change", "title", "failures", "setup", "answer", "pace", "send", "expect"}


def test_an_answer_is_that_to_its_question_and_to_no_other() -> None:
    answer = answer_to(b"question", "cjx")
    assert network_of(answer, b"question") == "cjx"
    assert network_of(answer, b"another") == ""
    assert network_of(answer[:-2] + b"\n", b"question") == ""
    assert network_of(b"custody over\n", b"question") == ""
