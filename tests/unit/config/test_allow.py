"""Entries of `allow`: names, and tables that say until when, why and by which decision."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pcgrelay import config
from pcgrelay.config.settings import AllowTerms
from pcgrelay.errors import ConfigError
from tests.support.documented_config import DOCUMENTED, PATH

LINE = 'allow = ["met.police.example"]'


def parsed(entries: str) -> config.ExportSettings:
    assert DOCUMENTED.count(LINE) == 1
    return config.parse(DOCUMENTED.replace(LINE, f"allow = [{entries}]"), PATH).exports[0]


def test_names_and_tables_stand_side_by_side() -> None:
    found = parsed(
        '"met.police.example", { organisation = "sussex.police.example", until = 2026-12-31T01:00:00+01:00, '
        'reason = "an operation", reference = "R-17" }, { organisation = "essex.police.example" }'
    )
    assert found.allow == ("met.police.example", "sussex.police.example", "essex.police.example")
    until = datetime(2026, 12, 31, tzinfo=UTC)
    first, second = found.terms
    expected = AllowTerms(organisation="sussex.police.example", until=until, reason="an operation", reference="R-17")
    assert first == expected
    assert first.until is not None
    assert first.until.utcoffset() == until.utcoffset()
    assert second == AllowTerms(organisation="essex.police.example")


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ("{}", "export[1].allow[1].organisation: this is missing"),
        ('"met.example", { organisation = "met.example" }', "met.example stands here twice"),
        ('"met.example", "met.example"', "met.example stands here twice"),
        ('{ organisation = "*" }', "export[1].allow[1]"),
        (
            '{ organisation = "met.example", until = "2026-12-31T00:00:00Z" }',
            "a moment with its zone and without quotes",
        ),
        ('{ organisation = "met.example", until = 2026-12-31 }', "a moment with its zone and without quotes"),
        ('{ organisation = "met.example", until = 2026-12-31T00:00:00 }', "a moment with its zone and without quotes"),
        ('{ organisation = "met.example", end = 1 }', "there is no end here"),
        ('{ organisation = "met.example", reason = "a\\nb" }', "reason is one line of at most 200 characters"),
        (f'{{ organisation = "met.example", reference = "{"x" * 201}" }}', "reference is one line of at most 200"),
        ("7", "text in quotes, or a table in braces"),
    ],
)
def test_what_is_wrong_is_refused(entries: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parsed(entries)
    assert words in str(refused.value)
    assert "export[1].allow" in str(refused.value)


def test_another_end_is_a_difference_of_allow() -> None:
    old, new = (
        config.parse(
            DOCUMENTED.replace(
                LINE, f'allow = [{{ organisation = "met.police.example", until = 20{year}-01-01T00:00:00Z }}]'
            ),
            PATH,
        )
        for year in (30, 31)
    )
    assert any("changed (allow)" in line for line in config.differences(old, new))
