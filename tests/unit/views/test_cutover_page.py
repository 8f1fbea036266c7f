"""Pages about cut-overs: what they say, and that what others wrote is text."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from msgspec.structs import replace

from pcgrelay.admin.answers import BODY_LIMIT_BYTES
from pcgrelay.admin.cutover_answers import CutoverDecision, CutoverList, CutoverPoint, CutoverStatus
from pcgrelay.admin.http import Answer
from pcgrelay.daemon.paper_api import PaperApi
from pcgrelay.views.cutover_page import list_page, problem_page, status_page, style
from pcgrelay.views.cutover_picture import HEIGHT, MARKS_MOST, WIDTH, picture_of
from tests.support.cut_over import CUSTODY as MOVED
from tests.support.cut_over import CutRunning, cut_running
from tests.support.cutover_examples import ARRIVED, BACK, CUSTODY, NOW, SOAKING, WHOLE_DAY
from tests.support.nodes_in_process import Nodes

NODE = "met-1.met.police.example"
EVIL = '"><script>x</script><img src=x onerror=y>\u202e{{ 7*7 }}'


class Page(HTMLParser):
    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.text = answer.body.decode()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def pages() -> list[Answer]:
    every = CutoverList(cutovers=(WHOLE_DAY, BACK, ARRIVED), imports=("ident@surrey.police.example",))
    return [
        status_page(WHOLE_DAY, NODE, NOW), status_page(BACK, NODE, NOW), status_page(ARRIVED, NODE, NOW),
        list_page(every, NODE, NOW), list_page(CutoverList(), NODE, NOW), problem_page("Nothing.", NODE, NOW),
        status_page(CutoverStatus(service=CUSTODY, phase="lost", why="It is lost."), NODE, NOW),
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(7))
def test_each_page_has_its_marking_at_both_ends_and_no_script(number: int) -> None:
    answer = pages()[number]
    page = Page(answer)
    assert page.text.count('class="marking">OFFICIAL-SENSITIVE<') == 2
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "iframe", "form", "style", "object", "input", "button"}
    assert "http-equiv" not in page.text
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on") or name == "style"]
    assert [each["href"] for each in page.named("link")] == ["/page.css"]
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'; img-src 'self'")
    ids = [each["id"] for _, each in page.tags if "id" in each]
    assert len(set(ids)) == len(ids)


def test_what_is_said_of_one() -> None:
    text = Page(status_page(WHOLE_DAY, NODE, NOW)).text
    for words in (
        "The soak of step 3 goes on for 12 min", "25 %", "49 days before it", "1.4 : 1", "AES-256-GCM, X25519MLKEM768",
        "falls back at 1,000 : 1", "before anybody noticed, at most 0.31 s later", "to 2020-01-31",
        "As of 2019-12-23 13:42:00",
        "too little bulk to judge", "Over the last 24 hours the share of gateway went from 5 % to 25 %.",
        "gateway: 4 of 2,128 failed",
    ):  # fmt: skip
        assert words in text, words
    assert 'aria-current="step"' in text


def test_an_unknown_marking_is_handled_with_care_and_a_list_has_the_highest() -> None:
    assert ">OFFICIAL-SENSITIVE<" in Page(status_page(replace(SOAKING, marking=""), NODE, NOW)).text
    low = replace(SOAKING, marking="OFFICIAL")
    assert ">OFFICIAL<" in Page(status_page(low, NODE, NOW)).text
    both = CutoverList(cutovers=(low, replace(ARRIVED, marking="SECRET")))
    assert ">SECRET<" in Page(list_page(both, NODE, NOW)).text


def test_what_others_wrote_is_text() -> None:
    decision = CutoverDecision(at=WHOLE_DAY.began, what=EVIL, sentence=EVIL, phase=EVIL, step=1, by=EVIL, reason=EVIL)
    evil = replace(
        WHOLE_DAY, why=EVIL, owner=EVIL, change=EVIL, marking=EVIL, troubles=(EVIL,), verdict=EVIL, service=EVIL,
        decisions=(decision,),
        outlets=tuple(replace(each, reason=EVIL, well=False, bearer=EVIL) for each in WHOLE_DAY.outlets),
    )  # fmt: skip
    plain = {tag for tag, _ in Page(status_page(WHOLE_DAY, NODE, NOW)).tags} | {"section", "strong"}
    for answer in (status_page(evil, NODE, NOW), list_page(CutoverList(cutovers=(evil,), imports=(EVIL,)), NODE, NOW)):
        page = Page(answer)
        assert {tag for tag, _ in page.tags} <= plain | {"progress"}
        assert "\u202e" not in page.text
        assert "{{ 7*7 }}" in page.text
    (link,) = {each["href"] for each in page.named("a") if each["href"] not in ("/cutover", "")}
    assert link is not None
    assert re.fullmatch(r"/cutover/[\w%@.-]+", link)


# -- the pictures -----------------------------------------------------------------------------------------------------


def point(minutes_ago: float, share: float) -> CutoverPoint:
    at = (NOW - timedelta(minutes=minutes_ago)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return CutoverPoint(at=at, shares={"gateway": share, "cjx": 100 - share})


def test_shares_are_two_areas_to_scale() -> None:
    status = replace(WHOLE_DAY, points=(point(720, 0), point(715, 25), point(710, 100)), decisions=())
    picture = picture_of(status, NOW)
    assert picture is not None
    old, new = picture.charts[0].lines
    half, each = WIDTH / 2, WIDTH / 288
    x = [round(half + each * number, 1) for number in (-1, 0, 1, 2)]
    assert new.path == f"M{x[0]} {HEIGHT} V150.0 H{x[1]} V112.5 H{x[2]} V0.0 H{x[3]} V{HEIGHT} Z"
    assert old.path == f"M{x[0]} {HEIGHT} V0.0 H{x[1]} V0.0 H{x[2]} V0.0 H{x[3]} V{HEIGHT} Z"


def test_time_in_which_nobody_looked_is_left_open() -> None:
    status = replace(WHOLE_DAY, points=(point(100, 5), point(95, 5), point(60, 5)))
    picture = picture_of(status, NOW)
    assert picture is not None
    assert picture.charts[0].lines[1].path.count("M") == 2


def test_only_the_last_day_is_drawn() -> None:
    assert picture_of(replace(WHOLE_DAY, points=(point(24 * 60 + 1, 5),)), NOW) is None
    assert picture_of(replace(WHOLE_DAY, points=()), NOW) is None


def test_all_of_a_day_is_drawn_and_within_the_picture() -> None:
    picture = picture_of(WHOLE_DAY, NOW)
    assert picture is not None
    text = status_page(WHOLE_DAY, NODE, NOW).body.decode()
    for chart in picture.charts:
        for line in chart.lines:
            assert f'd="{line.path}"' in text
            for x in re.findall(r"[MLH](-?[\d.]+)", line.path):
                assert 0 <= float(x) <= WIDTH
            for y in re.findall(r"(?:V|[ML][\d.]+ )(-?[\d.]+)", line.path):
                assert 0 <= float(y) <= HEIGHT
        assert chart.words.endswith(".")
    assert [(mark.number, mark.is_bad) for mark in picture.marks] == [(1, False), (2, True), (3, False)]


def test_there_are_not_more_marks_than_anybody_can_tell_apart() -> None:
    many = tuple(replace(WHOLE_DAY.decisions[0]) for _ in range(200))
    picture = picture_of(replace(WHOLE_DAY, decisions=many), NOW)
    assert picture is not None
    assert len(picture.marks) == MARKS_MOST


def test_a_page_is_small() -> None:
    assert len(status_page(WHOLE_DAY, NODE, NOW).body) < BODY_LIMIT_BYTES
    assert len(style().body) < 10_000


# -- the paths --------------------------------------------------------------------------------------------------------


@pytest.fixture
async def met(tmp_path: Path) -> AsyncIterator[CutRunning]:
    nodes = Nodes(tmp_path)
    yield await cut_running(nodes)
    await nodes.stop()


async def test_a_node_has_a_page_for_each_cut_over(met: CutRunning) -> None:
    paper = PaperApi(met.node)
    empty = paper.page("/cutover")
    assert empty is not None
    assert b"No cut-over was started at this node." in empty.body
    await met.start_plan()
    for path in ("/cutover", f"/cutover/{MOVED}", f"/cutover/{MOVED.replace('@', '%40')}", "/cutover/custody"):
        answer = paper.page(path)
        assert answer is not None
        assert (answer.code, MOVED in answer.body.decode()) == (200, True)
    none = paper.page("/cutover/nobody%3Cscript%3E")
    assert none is not None
    assert none.code == 404
    assert b"<script" not in none.body
    assert [paper.page(path) for path in ("/", "/v1/cutover", "/cutoverx", "cutover2/x")] == [None] * 4
    met.edge.cutovers.lost["lost@x.example"] = "lost.json"
    lost = paper.page("/cutover/lost@x.example")
    assert lost is not None
    assert b"lost.json cannot be read" in lost.body
