"""`pcgrelay cutover list`: one table of all nodes, totals, and the calendar."""

from __future__ import annotations

from datetime import date

import pytest
from msgspec.structs import replace

from pcgrelay.admin.cutover_answers import CutoverList
from pcgrelay.cli.cutover.calendar import bar_of, calendar_lines, scale_of
from pcgrelay.cli.cutover.listing import table, totals
from tests.support.cutover_examples import ALL, ARRIVED, BACK, LATE, NOW, SOAKING

TODAY = NOW.date()
ROWS = [("met-1", each) for each in ALL.cutovers]


def test_the_table_has_a_row_for_each_service() -> None:
    assert (
        "\n".join(line.plain for line in table(ROWS, 160, NOW))
        == """\
service                      state    share  since    deadline    forecast    left on old  note
custody@kent.police.example  soaking   25 %  18 min   2020-03-31  2020-02-11   88 streams
pnd@hub.example              arrived  100 %  12 days  2020-03-31  done                  0  quiet for 12 of 35 days
ident@surrey.police.example  back       0 %  11 min   2020-03-31  -                   all  on cjx; odds 1,147 : 1
ppu@gmp.police.example       planned    0 %  -        2020-03-31  2020-04-06          all  LATE by 6 days; unapproved"""
    )


def test_a_narrow_table_has_the_rest_below() -> None:
    lines = [line.plain for line in table(ROWS[:1] + ROWS[3:], 80, NOW)]
    assert lines == [
        "service                      state    share  forecast    left on old",
        "custody@kent.police.example  soaking   25 %  2020-02-11   88 streams",
        "  since 18 min, deadline 2020-03-31",
        "ppu@gmp.police.example       planned    0 %  2020-04-06          all",
        "  deadline 2020-03-31",
        "  LATE by 6 days",
        "  unapproved",
    ]


def test_rows_of_several_nodes_say_which() -> None:
    lines = [line.plain for line in table([("met-1", SOAKING), ("met-2", BACK)], 160, NOW, with_node=True)]
    assert [line.split()[1] for line in lines] == ["node", "met-1", "met-2"]


def test_what_is_held_or_has_nowhere_to_go_is_told() -> None:
    rows = [("met-1", replace(SOAKING, held=True, lost=3)), ("met-1", replace(SOAKING, nowhere=True))]
    lines = [line.plain for line in table(rows, 200, NOW)]
    assert lines[1].split()[1] == "held"
    assert lines[1].endswith("  3 refused")
    assert lines[2].endswith("  A FALL-BACK IS WANTED, AND THERE IS NOWHERE TO GO")


def test_totals_and_the_forecast_of_all() -> None:
    def told(answer: CutoverList) -> list[str]:
        return list(totals([("met-1", answer)]))

    assert told(ALL) == [
        "0 of 5 services retired, 3 on their way, 2 not begun. "
        "When all are moved cannot be foreseen: ident@surrey.police.example is back.",
        "Without a plan: vdb@met.police.example.",
    ]
    going = CutoverList(cutovers=(SOAKING, ARRIVED, replace(LATE, done="2020-03-19T09:00:00Z")))
    assert told(going)[0].endswith("2 on their way, 1 not begun. At this pace all are moved by 2020-03-19.")
    assert told(CutoverList(cutovers=(replace(ARRIVED, phase="retired"),)))[0] == (
        "1 of 1 services retired, 0 on their way, 0 not begun. All are moved."
    )
    assert told(CutoverList(cutovers=(SOAKING,), imports=("a@b.example",)))[0].endswith("cannot be foreseen.")
    assert told(CutoverList())[0].startswith("No import of this kind")


def test_the_calendar_has_walls_where_support_ends() -> None:
    assert (
        "\n".join(line.plain for line in calendar_lines(ROWS, 120, TODAY))
        == """\
                             Dec 2019   Jan 2020        Feb           Mar             Apr
                                    v today
custody@kent.police.example         -------------------|------                       D
pnd@hub.example               #######...........       |                             D
ident@surrey.police.example         !                  |                             D
ppu@gmp.police.example              -------------------|-----------------------------D!!!
= moving  - as foreseen  ! fell back, or after the deadline  # arrived  . quiet days to come  D deadline
| end of support  one character is 2 days
Support ends: cjx 2020-01-31, psnp-b 2020-12-31."""
    )


def test_a_deadline_and_a_wall_on_one_day_are_both_seen() -> None:
    same = replace(SOAKING, deadline="2020-01-31")
    assert "D|" in bar_of(same, scale_of([same], 60, TODAY), TODAY)
    before = replace(SOAKING, deadline="2020-02-01", done="")
    assert "|D" in bar_of(before, scale_of([before], 40, TODAY), TODAY)


@pytest.mark.parametrize("width", [10, 30, 60, 80, 120, 1000])
def test_the_calendar_fits(width: int) -> None:
    lines = [line.plain for line in calendar_lines(ROWS, width, TODAY)]
    bars = [line for line in lines if "D" in line and "deadline" not in line and "Dec" not in line]
    assert len(bars) == len(ROWS)
    assert all(len(line) <= max(width, 28) for line in lines[:2] + bars)


def test_dates_of_other_centuries_are_drawn_within_two_years() -> None:
    odd = replace(SOAKING, deadline="2199-12-31", began="1970-01-01T00:00:00Z", done="9999-12-31T23:59:59Z")
    scale = scale_of([odd], 60, date(2019, 12, 23))
    assert scale.columns <= 60
    assert bar_of(odd, scale, date(2019, 12, 23))
