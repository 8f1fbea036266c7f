"""Part 1 of a report has no place for what must not be published, and its few texts are looked through."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from enum import Enum
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from msgspec import structs

from pcgrelay.cutover.part1 import Likeness, Part1, part1_of
from pcgrelay.cutover.phases import Phase
from pcgrelay.cutover.publishable import Published, Scanner, patterns_found
from pcgrelay.cutover.report import report_files
from pcgrelay.cutover.report_facts import ReportFacts
from pcgrelay.cutover.report_words import deferral, exemption, performance_text, summary
from pcgrelay.errors import ConfigError
from tests.support.machines import examples
from tests.support.realms import Realm, assert_nothing_is_named, realms
from tests.support.reported import PLAN, reported

# -- the types --------------------------------------------------------------------------------------------------------


def leaves(kind: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Each type that a value of that type may have in it."""
    if get_origin(kind) in (Union, UnionType, tuple):
        for argument in get_args(kind):
            if argument is not Ellipsis:
                yield from leaves(argument, where)
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind is not Published:
        for name, hint in get_type_hints(kind).items():
            yield from leaves(hint, f"{where}.{name}")
    else:
        yield where, kind


def test_part_1_has_numbers_dates_closed_words_and_scanned_texts_alone() -> None:
    found = dict(leaves(Part1, "part"))
    assert len(found) > 40
    for where, kind in found.items():
        closed = isinstance(kind, type) and issubclass(kind, Enum)
        assert closed or kind in (int, float, bool, date, type(None), Published), (where, kind)
    assert {where for where, kind in found.items() if kind is Published} == {
        "part.marking", "part.title", "part.change", "part.advice.role", "part.defer_reason", "part.exempt",
    }  # fmt: skip


# -- the scanner ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "to 10.20.30.40", "10.20.30.40:5432", "10.20.30.0/24 moves", "１０.20.30.40", "2001:db8::5",
        "[::1]:80", "fe80::1", "00:16:3e:00:00:01", "gw-3.met.police.example", "see kent.police.example.",
        "custody@kent", "j.smith@met.police.example", "https://intranet/x", "www.x", "localhost.localdomain",
        "münchen.example",
    ],
)  # fmt: skip
def test_addresses_and_hosts_are_found(text: str) -> None:
    assert patterns_found(text)
    with pytest.raises(ConfigError, match=r"report\.title: Part 1 is published, and here stands .*; write it without"):
        Scanner([]).published("report.title", text)


@pytest.mark.parametrize(
    "text",
    [
        "Custody records: transition to the Police Cloud Gateway", "FOIA s.31 Law Enforcement", "OFFICIAL - PUBLIC",
        "e.g. the old route, i.e. it", "at 13:52:07", "version 1.2.3", "50 % of 3.5 ms", "CR-1042/7",
        "U.K. forces", "a: b", "OFFICIAL-SENSITIVE [OPERATIONAL]", "s. 43",
    ],
)  # fmt: skip
def test_plain_words_are_none(text: str) -> None:
    assert Scanner(["met.police.example", "cjx", "a", "10"]).published("x", text) == Published(text)


@pytest.mark.parametrize(
    "title",
    ["Leaving cjx", "leaving CJX.", "for the KENT force", "via psnp", "Met-1 moves", "the (relay-1) is gone", "ｃｊｘ"],
)
def test_labels_of_the_configuration_are_found(title: str) -> None:
    with pytest.raises(ConfigError, match=r"a name of the configuration; write it without, or .* --title"):
        part1_of(structs.replace(reported(), title=title))


@pytest.mark.parametrize("key", ["change", "defer_reason", "part1"])
def test_each_text_is_looked_through(key: str) -> None:
    line = f'{key} = "ask 10.1.1.1"'
    plan = (
        PLAN.replace('change = "CR-1042"', line) if key == "change" else PLAN + line + '\ndefer_until = "2020-06-30"\n'
    )
    plan = plan if key != "part1" else PLAN + line
    if key == "defer_reason":
        plan = PLAN + line + '\ndefer_until = "2020-06-30"\n'
    with pytest.raises(ConfigError, match=rf"{key}: Part 1 is published, and here stands an IP address"):
        part1_of(structs.replace(reported(), plan_text=plan))


@pytest.mark.parametrize(("key", "index"), [("advice", 1), ("exempt", 0)])
def test_entries_are_looked_through(key: str, index: int) -> None:
    plan = PLAN.replace('"service owner"' if key == "advice" else '"FOIA s.31 Law Enforcement"', '"the owner of cjx"')
    with pytest.raises(ConfigError, match=rf"report\.{key}\[{index}\]: .*\"cjx\""):
        part1_of(structs.replace(reported(), plan_text=plan))


# -- what it says -----------------------------------------------------------------------------------------------------


def told(facts: ReportFacts) -> dict[str, str]:
    return dict(summary(part1_of(facts)))


def test_what_is_said_of_a_transition_that_is_over() -> None:
    assert told(reported()) == {
        "Decision": "CR-1042",
        "Moved": "from 2020-02-03 to 2020-02-11",
        "Deadline": "2020-03-31: met, 49 days before it",
        "Effect on users": "0 connections lost; 4 were set up later than usual, by at most 0.3 s",
        "Performance": "mirrors the old route: set-up time +1.1 ms (allowed +5 ms), first answer +0.1 ms "
        "(allowed +5 ms), failures 0.27 % (old 0.21 %, allowed +1 %)",
        "Back-up": "exercised on 2020-02-06, 2020-03-05: 0 connections lost",
        "Fell back": "once: 2020-02-05, for 2 h, by itself",
        "Old route": "silent since 2020-02-25 (35 of 35 days of silence are proven); retired on 2020-03-31; "
        "1 statement of others on it in Part 2",
        "Personal data": "none is stored or processed by the gateway",
    }


def test_what_is_said_while_it_has_fallen_back() -> None:
    facts = reported()
    now = structs.replace(
        facts, phase=Phase.BACK, decisions=facts.decisions[:3], arrived="", retired="", written="2020-04-02T09:00:00Z"
    )
    said = told(now)
    assert said["Moved"] == "begun on 2020-02-03; at present all new connections take the old route again"
    assert said["Deadline"] == "2020-03-31: missed by 2 days"
    assert said["Fell back"] == "once: 2020-02-05, until now, by itself"
    assert said["Performance"].startswith("does not mirror the old route: ")
    assert part1_of(now).percent == 0


def test_what_is_said_before_it_begins() -> None:
    facts = reported()
    bare = ReportFacts(
        written="2020-01-08T09:00:00Z", node=facts.node, organisation=facts.organisation, service=facts.service,
        plan_text=PLAN, plan_sha256=facts.plan_sha256, phase=Phase.PLANNED,
    )  # fmt: skip
    said = told(bare)
    assert (said["Moved"], said["Deadline"], said["Fell back"]) == ("not begun", "2020-03-31: 83 days left", "never")
    assert said["Effect on users"] == "0 connections lost"
    assert said["Performance"] == Likeness.UNKNOWN.value
    assert said["Back-up"] == "not exercised yet"
    assert said["Old route"] == "in use"
    assert performance_text(part1_of(bare).performance) == "not shown yet"
    assert b"No step has been taken yet." in report_files(bare)["part1.html"]


def test_deferral_and_exemption() -> None:
    plan = PLAN + 'defer_until = "2020-06-30"\ndefer_reason = "a procurement is open"\n'
    part = part1_of(structs.replace(reported(), plan_text=plan))
    assert deferral(part) == "YES, until 2020-06-30, because: a procurement is open"
    assert exemption(part) == "YES: exempt under FOIA s.31 Law Enforcement; FOIA s.43 Commercial Interests."
    assert deferral(part1_of(reported())) == "NO"


# -- realms that were made up -----------------------------------------------------------------------------------------


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(realms())
def test_part_1_of_any_realm_names_nothing_of_it(realm: Realm) -> None:
    """200 of them are for a scenario, which shows all that is published."""
    assert_nothing_is_named(*realm)
