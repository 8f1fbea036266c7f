"""pcgrelay cutover list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import click
from rich.text import Text

from pcgrelay.admin.cutover_answers import CUTOVER_PATH, CutoverList, CutoverStatus
from pcgrelay.cli.cutover.calendar import calendar_lines
from pcgrelay.cli.cutover.condition import code_of, phase_word
from pcgrelay.cli.cutover.nodes import answered, ask_each, code_of_all, nodes_of, nodes_option, print_answers, worst
from pcgrelay.cli.cutover.screen import odds_text, troubles_beside
from pcgrelay.cli.cutover.times import day_of, days_text, since_text
from pcgrelay.cli.root import json_option
from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.output import Layout, Row, count, percent_exact, table_lines, terminal

EPILOG = """\b
Examples:
  pcgrelay cutover list -c met-1.toml
  pcgrelay cutover list -c met-1.toml -c met-2.toml --calendar

\b
Exit codes, the gravest of all cut-overs:
   0  all go their way
   3  one has nowhere to fall back to, its state is lost, or no answer
   4  one is late or held, or something needs attention
   6  one fell back
"""
# Odds below it are no news.
ODDS_TOLD = 10
DONE = ("arrived", "quiet", "retired")

Known = Sequence[tuple[str, CutoverList]]


@click.command("list", epilog=EPILOG)
@nodes_option
@click.option("--calendar", is_flag=True, help="Draw each service over the weeks, with the ends of support as walls.")
@json_option
def list_all(paths: tuple[Path, ...], calendar: bool, as_json: bool) -> int:
    """List all cut-overs, and when all are done.

    Answers of several nodes are joined, and each row says its node.
    """
    gots = ask_each(nodes_of(paths), "GET", CUTOVER_PATH, CutoverList)
    if as_json:
        print_answers(gots)
        return code_of_all(gots, _code)
    known, now, console = answered(gots), SYSTEM_CLOCK.wall(), terminal()
    rows = [(node, each) for node, answer in known for each in answer.cutovers]
    for line in table(rows, console.width, now, with_node=len(gots) > 1):
        console.print(line)
    if rows and calendar:
        console.print()
        for line in calendar_lines(rows, console.width, now.date(), with_node=len(gots) > 1):
            console.print(line)
        console.print()
    for sentence in totals(known):
        console.print(sentence)
    return code_of_all(gots, _code)


def _code(answer: CutoverList) -> int:
    return worst(code_of(each) for each in answer.cutovers)


def table(
    rows: Sequence[tuple[str, CutoverStatus]], width: int, now: datetime, *, with_node: bool = False
) -> Iterator[Text]:
    """A row for each cut-over, with its node; nothing if there is none."""
    if rows:
        yield from table_lines(width, "", *_layouts(rows, now, with_node=with_node))


def _layouts(rows: Sequence[tuple[str, CutoverStatus]], now: datetime, *, with_node: bool) -> Iterator[Layout]:
    """The wide table, one with notes below its rows, and one that is narrower still."""
    tables: list[list[Row]] = [[], [], []]
    for node, each in rows:
        first = [each.service, *([node] if with_node else []), phase_word(each), percent_exact(each.share)]
        since, deadline = since_text(each.since, now), each.deadline or "-"
        last, notes = [_forecast(each), _left(each)], list(_notes(each))
        tables[0].append(Row([*first, since, deadline, *last, "; ".join(notes)]))
        tables[1].append(Row([*first, since, deadline, *last], notes))
        known = f"since {since}, deadline {deadline}" if each.since else f"deadline {deadline}"
        tables[2].append(Row([*first, *last], [known, *notes]))
    columns = ["service", *(["node"] if with_node else []), "state", ">share"]
    dates, left = ["since", "deadline"], ["forecast", ">left on old"]
    yield Layout([*columns, *dates, *left, "note"], tables[0])
    yield Layout([*columns, *dates, *left], tables[1])
    yield Layout([*columns, *left], tables[2])


def _forecast(each: CutoverStatus) -> str:
    day = day_of(each.done)
    if each.phase in DONE:
        return "done"
    return "-" if day is None else f"{day}"


def _left(each: CutoverStatus) -> str:
    if each.phase in ("planned", "back"):
        return "all"
    return f"{count(each.left_on_old)} stream{'' if each.left_on_old == 1 else 's'}" if each.left_on_old else "0"


def _notes(each: CutoverStatus) -> Iterator[str]:
    if each.nowhere:
        yield "A FALL-BACK IS WANTED, AND THERE IS NOWHERE TO GO"
    if each.late:
        days = f" by {days_text(max(1, -each.days_left))}" if each.days_left is not None else ""
        yield f"LATE{days}"
    if each.phase == "back" and each.back_on:
        yield f"on {each.back_on}"
    if each.odds >= ODDS_TOLD:
        yield f"odds {odds_text(each.odds)} : 1"
    if each.phase in ("arrived", "quiet") and each.quiet_of:
        yield f"quiet for {each.quiet_days} of {days_text(each.quiet_of)}"
    if each.lost:
        yield f"{count(each.lost)} refused"
    yield from troubles_beside(each)


def totals(known: Known) -> Iterator[str]:
    """How many there are, how far, and when all are done."""
    cutovers = [each for _, answer in known for each in answer.cutovers]
    unplanned = [service for _, answer in known for service in answer.imports]
    total = len(cutovers) + len(unplanned)
    if not total:
        yield "No import of this kind: one with [[direct]] outlets can be moved by a cut-over."
        return
    retired = sum(each.phase == "retired" for each in cutovers)
    planned = sum(each.phase == "planned" for each in cutovers)
    begun = len(cutovers) - retired - planned
    counted = f"{retired} of {total} services retired, {begun} on their way, {planned + len(unplanned)} not begun."
    yield f"{counted} {_all_done(cutovers, unplanned)}"
    if unplanned:
        yield f"Without a plan: {', '.join(unplanned)}."


def _all_done(cutovers: Sequence[CutoverStatus], unplanned: Sequence[str]) -> str:
    moving = [each for each in cutovers if each.phase not in DONE]
    unknown = [each.service for each in moving if day_of(each.done) is None]
    if unplanned or unknown:
        waits = f": {unknown[0]} is {_phase_of(moving, unknown[0])}" if unknown else ""
        return f"When all are moved cannot be foreseen{waits}."
    days = [day for each in moving if (day := day_of(each.done))]
    return f"At this pace all are moved by {max(days)}." if days else "All are moved."


def _phase_of(cutovers: Sequence[CutoverStatus], service: str) -> str:
    return next(phase_word(each) for each in cutovers if each.service == service)
