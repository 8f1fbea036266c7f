"""When drills are due, when they are overdue, and when a node begins one by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pcgrelay.config import EVERY, DrillSettings
from pcgrelay.cutover.windows import Calendar, parse_windows
from pcgrelay.drills.due import (
    Due,
    begins_now,
    dues,
    moment_text,
    settings_of,
    was_tried_today,
    window_problem,
)
from pcgrelay.drills.record import DrillRecord, identifier, is_identifier, moment

CUSTODY, PND = "custody@kent.police.example", "pnd@hub.example"
SUNDAY = datetime(2026, 11, 1, 3, 30, tzinfo=UTC)
SUBJECTS = {"backup": [CUSTODY, PND], "relay-loss": ["relay-1.hub.example"], "restore": [""]}
DAY_S = 86_400


def drill(
    kind: str = "backup", subject: str = EVERY, every_s: int = 90 * DAY_S, *, auto: bool = False
) -> DrillSettings:
    return DrillSettings(
        kind=kind,
        subject=subject,
        every_s=every_s,
        calendar=Calendar(parse_windows("sun 03:00-05:00")),
        auto=auto,
        lasts_s=600,
        share=100.0,
    )


def held(days: float, result: str = "passed", subject: str = CUSTODY, now: datetime = SUNDAY) -> DrillRecord:
    """A drill that was held so many days ago."""
    at = moment_text(now - timedelta(days=days))
    return DrillRecord(
        id=f"{at[:10]}-backup-{subject}", kind="backup", subject=subject, node="met-1", begun=at, ended=at,
        result=result, sentence="so it was",
    )  # fmt: skip


def due(*records: DrillRecord, **keys: object) -> Due:
    (found,) = dues([drill(subject=CUSTODY, **keys)], SUBJECTS, records)  # type: ignore[arg-type]
    return found


def test_each_that_there_is_and_one_that_is_named() -> None:
    named = drill(subject=PND, every_s=7 * DAY_S)
    found = dues([named, drill(), drill("restore", "")], SUBJECTS, [])
    assert [(each.kind, each.subject, each.settings.every_s) for each in found] == [
        ("backup", CUSTODY, 90 * DAY_S),
        ("backup", PND, 7 * DAY_S),
        ("restore", "", 90 * DAY_S),
    ]
    assert settings_of([drill(), named], "backup", PND) is named
    assert settings_of([named], "backup", CUSTODY) is None


def test_one_that_was_never_held_is_overdue() -> None:
    never = due()
    assert never.is_overdue(SUNDAY)
    assert never.at is None
    assert never.sentence() == f"The drill backup {CUSTODY} was never held."


def test_only_one_that_passed_counts() -> None:
    assert not due(held(89)).is_overdue(SUNDAY)
    assert due(held(90)).is_overdue(SUNDAY)
    failed = due(held(91), held(1, "failed"))
    assert failed.is_overdue(SUNDAY)
    assert failed.sentence().endswith("failed: so it was")
    assert not due(held(89), held(1, "failed")).is_overdue(SUNDAY)
    assert due(held(2, "broken"), held(1, "stopped")).is_overdue(SUNDAY)
    # Another service's is none.
    assert due(held(1, subject=PND)).is_overdue(SUNDAY)


def test_a_node_begins_by_itself_in_the_last_window_before_it_is_overdue() -> None:
    def begins(days: float, now: datetime = SUNDAY, *, auto: bool = True) -> bool:
        return begins_now(due(held(days), auto=auto), now)

    assert not begins(70)
    assert begins(84)
    assert begins(200)
    assert not begins(84, auto=False)
    assert not begins(84, SUNDAY + timedelta(hours=2))
    assert begins_now(due(auto=True), SUNDAY)
    # A day before the due day it could still wait; but there is no window on that day.
    assert begins(90 - 6.9)
    assert not begins(90 - 7.1)


def test_it_is_not_tried_twice_on_a_day() -> None:
    assert was_tried_today(due(held(0, "failed")), SUNDAY)
    assert not was_tried_today(due(held(1, "failed")), SUNDAY)
    assert not was_tried_today(due(), SUNDAY)


def test_a_closed_window_says_when_it_opens() -> None:
    calendar = drill().calendar
    assert window_problem(calendar, SUNDAY) == ""
    assert window_problem(Calendar(), SUNDAY) == ""
    assert window_problem(calendar, SUNDAY + timedelta(days=1)) == (
        "its window is sun 03:00-05:00 UTC, and opens 2026-11-08 03:00 UTC"
    )


def test_moments_are_read_as_they_are_written() -> None:
    assert moment(moment_text(SUNDAY)) == SUNDAY


def test_each_drill_has_a_name_of_its_own() -> None:
    taken: set[str] = set()
    for _ in range(3):
        name = identifier("2026-11-01", "backup", CUSTODY, taken)
        assert is_identifier(name)
        assert name not in taken
        taken.add(name)
    assert f"2026-11-01-backup-{CUSTODY}-3" in taken
    assert identifier("2026-11-01", "restore", "", ()) == "2026-11-01-restore"


@pytest.mark.parametrize("text", ["", "..", "2026-11-01-backup-../../etc/passwd", "2026-11-01-backup-a/b", "x" * 400])
def test_what_is_no_name_of_a_drill_is_no_name_of_a_file(text: str) -> None:
    assert not is_identifier(text)
