"""Pages and reports in a real browser: axe finds nothing against them, and each printed page has its marking twice."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from msgspec.structs import replace

from pcgrelay.admin.cutover_answers import CutoverList
from pcgrelay.assure.judgement import OUTCOMES
from pcgrelay.assure.pack import pack_files
from pcgrelay.cutover.report import report_files
from pcgrelay.cutover.report_facts import AdviceFacts, DrillFacts, ReportFacts
from pcgrelay.views.cutover_page import list_page, problem_page, status_page, style
from tests.scenarios.kit.axe import RUN, fetch_axe
from tests.scenarios.kit.browser import Browser
from tests.support.cutover_examples import ARRIVED, BACK, NOW, WHOLE_DAY
from tests.support.evidence_examples import evidence, result
from tests.support.realms import Realm, assert_nothing_is_named, realms
from tests.support.reported import reported

pytestmark = pytest.mark.tier_all

NODE = "met-1.met.police.example"
MARKINGS = {"part1": "OFFICIAL - PUBLIC", "part2": "OFFICIAL-SENSITIVE [OPERATIONAL]"}
TROUBLED = replace(BACK, troubles=("It fell back by itself 12 min ago; look at kent-1.",))
PAGES = ("cutover", "back", "arrived", "cutovers", "none", "problem")
REPORTS = tuple(f"{part}{kind}" for part in MARKINGS for kind in ("", "-long"))


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    return fetch_axe(tmp_path_factory.mktemp("npm"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


def much(facts: ReportFacts) -> ReportFacts:
    """A service that is retired after many drills, some of which have failed, with the advice of all roles."""
    drills = tuple(
        DrillFacts(
            on=date(2020, 2, 12) + timedelta(days=number),
            kind="backup",
            passed=bool(number % 4),
            lost=number % 3,
            sentence="4,210 of 4,210 set-ups got through"
            if number % 4
            else "9 of the last 20 pairs failed on it alone",
            outlet="psnp-b",
            result="passed" if number % 4 else "failed",
            share=100.0,
            lasted_s=600.0,
            streams=4_210,
        )
        for number in range(40)
    )
    roles = ("information assurance", "service owner", "finance")
    advice = tuple(
        AdviceFacts(role=role, on=date(2020, 1, 30), by="root (a.jones)", at="2020-02-01T09:00:00Z", reason="minute 7")
        for role in roles
    )
    return replace(facts, drills=drills, advice=advice)


def summary(folder: Path, part: int = 2) -> str:
    """The first page of a pack, with as many controls as a node has, of all outcomes."""
    results = tuple(result(f"X{number}", OUTCOMES[number % len(OUTCOMES)]) for number in range(45))
    return pack_files(evidence(folder, results), part)["summary.html"].decode()


@cache
def shown() -> dict[str, str]:
    """Every kind of page, with its style in it, and both parts of two reports."""
    every = CutoverList(cutovers=(WHOLE_DAY, replace(TROUBLED, service="ident@surrey.police.example"), ARRIVED))
    answers = (
        status_page(WHOLE_DAY, NODE, NOW),
        status_page(TROUBLED, NODE, NOW),
        status_page(ARRIVED, NODE, NOW),
        list_page(replace(every, imports=("pnd@hub.example",)), NODE, NOW),
        list_page(CutoverList(), NODE, NOW),
        problem_page("There is no such cut-over.", NODE, NOW),
    )
    css = f"<style>{style().body.decode()}</style>"
    texts = [answer.body.decode().replace("</head>", f"{css}</head>") for answer in answers]
    reports = {"": report_files(reported()), "-long": report_files(much(reported()))}
    papers = {f"{part}{kind}": files[f"{part}.html"].decode() for kind, files in reports.items() for part in MARKINGS}
    return dict(zip(PAGES, texts, strict=True)) | papers


def judged(browser: Browser, text: str, axe: str) -> dict[str, Any]:
    """What axe says."""
    page = browser.page(text)
    page.run(axe)
    found: dict[str, Any] = page.run(RUN)
    return found


@pytest.mark.parametrize("name", [*PAGES, *REPORTS])
def test_axe_finds_nothing(browser: Browser, axe: str, name: str) -> None:
    found = judged(browser, shown()[name], axe)
    assert found["violations"] == []
    assert found["passes"] > 10


@pytest.mark.parametrize("part", [1, 2])
def test_axe_finds_nothing_in_a_pack_of_evidence(browser: Browser, axe: str, tmp_path: Path, part: int) -> None:
    found = judged(browser, summary(tmp_path, part), axe)
    assert found["violations"] == []
    assert found["passes"] > 10


def test_axe_would_find_something(browser: Browser, axe: str) -> None:
    bad = shown()["cutover"].replace('lang="en-GB"', "").replace("</style>", ".why { color: #bbb; }</style>")
    assert {each[0] for each in judged(browser, bad, axe)["violations"]} == {"html-has-lang", "color-contrast"}


def printed(pdf: Path) -> list[list[str]]:
    """The lines of each page."""
    done = subprocess.run(("pdftotext", "-layout", pdf, "-"), capture_output=True, text=True, timeout=60, check=True)
    return [page.strip().splitlines() for page in done.stdout.split("\f") if page.strip()]


@pytest.mark.parametrize("name", REPORTS)
def test_each_printed_page_has_its_marking_at_the_top_and_at_the_bottom(
    tmp_path: Path, browser: Browser, name: str
) -> None:
    pdf, marking = tmp_path / "paper.pdf", MARKINGS[name.partition("-")[0]]
    browser.page(shown()[name]).print_to(pdf)
    pages = printed(pdf)
    assert len(pages) > 1
    for number, lines in enumerate(pages, 1):
        assert lines[0].strip() == marking
        assert re.fullmatch(rf"{re.escape(marking)}\s+{number} ?/ ?{len(pages)}", lines[-1].strip())
    said = "\n".join(line for lines in pages for line in lines)
    assert ("psnp-b" in said, "a.jones" in said) == (name.startswith("part2"),) * 2
    assert "retired" in said


@pytest.mark.parametrize(("part", "marking"), [(1, "OFFICIAL"), (2, "OFFICIAL-SENSITIVE")])
def test_each_printed_page_of_evidence_has_its_marking(
    tmp_path: Path, browser: Browser, part: int, marking: str
) -> None:
    pdf = tmp_path / "evidence.pdf"
    browser.page(summary(tmp_path, part)).print_to(pdf)
    pages = printed(pdf)
    assert len(pages) > 1
    for number, lines in enumerate(pages, 1):
        assert lines[0].strip() == marking
        assert re.fullmatch(rf"{re.escape(marking)}\s+{number} ?/ ?{len(pages)}", lines[-1].strip())


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(realms())
def test_part_1_of_two_hundred_realms_names_nothing_of_them(realm: Realm) -> None:
    assert_nothing_is_named(*realm)
