"""What `check` says of the ends of rules."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from pcgrelay import config
from pcgrelay.finding import ERROR, WARNING
from pcgrelay.rule_checks import rule_findings
from tests.support.documented_config import PATH, approved, documented, written

LAST = date(2027, 3, 31)
NOON = datetime(2027, 3, 31, 12, tzinfo=UTC)


def found(now: datetime, values: dict[str, Any] | None = None) -> list[tuple[str, str]]:
    read = config.parse(written(values or approved()), PATH)
    return [(each.level, each.sentence) for each in rule_findings(read, now)]


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (0, "end today"),
        (1, "end in 2 days"),
        (29, "end in 30 days"),
        (-1, "ended on 2027-03-31 (UTC) and allow nothing"),
    ],
)
def test_ends_are_announced_from_thirty_days_on_those_of_a_day_together(days: int, words: str) -> None:
    ((level, sentence),) = found(NOON - timedelta(days=days))
    assert level == WARNING
    assert words in sentence
    assert "policy members and relays and 5 more rules" in sentence


def test_before_that_nothing_is_said() -> None:
    assert found(NOON - timedelta(days=31)) == []


def test_an_end_that_is_too_far_ahead_is_an_error_with_approvals_alone() -> None:
    allowed = datetime(2027, 3, 31, tzinfo=UTC) - timedelta(days=400)
    assert found(allowed) == []
    errors = found(allowed - timedelta(seconds=1))
    assert len(errors) == 6
    assert {level for level, _ in errors} == {ERROR}
    assert "which is 401 days ahead; 400 is the most" in errors[0][1]
    values = documented()
    values["export"][0]["until"] = date(2999, 1, 1)
    assert found(NOON, values) == []


def test_how_far_is_the_files_own_matter() -> None:
    values = approved()
    values["approvals"]["most_days"] = 10
    assert len(found(NOON - timedelta(days=11), values)) == 7  # each, and that all of them end soon
    assert len(found(NOON - timedelta(days=10), values)) == 1


def test_many_days_are_told_shortly() -> None:
    values = approved()
    values["export"] = [
        {**values["export"][0], "service": f"s{number}", "also": [], "until": LAST + timedelta(days=number)}
        for number in range(12)
    ]
    del values["caller"]
    sentences = [sentence for _, sentence in found(NOON, values)]
    assert len(sentences) == 9
    assert sentences[-1] == "4 more rules have ended or will within 30 days."
