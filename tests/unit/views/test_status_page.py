"""The page of a node: everything of the status, escaped, bounded, and without a script in it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from pcgrelay.admin.status import AuditStatus, ConfigurationStatus, LinkStatus, Status
from pcgrelay.admin.validity import CredentialsStatus, DateStatus
from pcgrelay.views.status_page import ROWS_MOST, CatalogueLine, node_page, node_part, script, style
from tests.support.healthy_status import HEALTHY, JUDGING

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
ME = "kent-1.kent.police.example"
LINE = CatalogueLine(
    edge="met-1.met.police.example",
    services=("custody", "pnc"),
    hops=("relay-1.hub.example", "met-1.met.police.example"),
    ways=2,
)
DATES = CredentialsStatus(
    dates=(
        DateStatus(
            kind="own", name=ME, state="ending", not_before=NOW, not_after=NOW + timedelta(days=20, hours=1),
            sentence="The certificate ends within 30 days.",
        ),
    )
)  # fmt: skip


def text_of(status: Status, *lines: CatalogueLine) -> str:
    answer = node_page(status, lines, ME, NOW)
    assert answer.code == 200
    return answer.body.decode()


def test_it_shows_what_there_is() -> None:
    text = text_of(replace(HEALTHY, credentials=DATES), LINE)
    for word in (
        ME, "Degraded", "relay-1.hub.example", "X25519MLKEM768", "custody@met.police.example",
        "met-1.met.police.example",
        "custody, pnc", "3,456", "20 days", "2026-12-21 13:00", "20 MiB of 256 MiB",
    ):  # fmt: skip
        assert word in text, word


def test_it_says_how_the_audit_log_stands() -> None:
    kept = replace(HEALTHY, audit=AuditStatus(records=8_841, signed=8_840, signed_timestamp_s=NOW.timestamp() - 40))
    assert "Audit log: 8,841 records; 8,840 signed 40 s ago; witnessed by nobody yet." in text_of(kept)
    assert "Audit log" not in text_of(HEALTHY)


def test_the_marking_of_what_it_shows_stands_above_and_below() -> None:
    text = node_page(replace(HEALTHY, marking="OFFICIAL-SENSITIVE"), [LINE], ME, NOW).body.decode()
    mark = '<p class="marking">OFFICIAL-SENSITIVE</p>'
    before, between, after = text.split(mark)
    assert "<header>" not in before
    assert "<footer>" in between
    assert after.split() == ["</body>", "</html>"]
    assert "marking" not in node_page(HEALTHY, [LINE], ME, NOW).body.decode()


def test_it_says_what_is_cleared() -> None:
    text = text_of(JUDGING)
    assert "Cleared networks: psn OFFICIAL-SENSITIVE, internet OFFICIAL." in text
    assert "Refused for their marking: 3 since the start." in text
    assert "internet<br>cleared for OFFICIAL</td>" in text
    assert "met-1.met.police.example<br>OFFICIAL-SENSITIVE</th>" in text
    assert "cleared" not in text_of(HEALTHY)


def test_what_needs_attention_comes_with_a_command() -> None:
    refused = ConfigurationStatus(successful=False, reason="line 3 is wrong")
    links = (replace(HEALTHY.links[0], state="down", reason="unreachable"), HEALTHY.links[1])
    text = text_of(replace(HEALTHY, configuration=refused, links=links, credentials=DATES))
    for command in ("pcgrelay check", "pcgrelay explain relay-1.hub.example", "pcgrelay ca"):
        assert f"<code>{command}" in text, command
    assert "What needs attention" not in text_of(HEALTHY)


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({}, "Ready"),
        ({"links": ()}, "Failing"),
        ({"node": replace(HEALTHY.node, draining=True)}, "Draining"),
    ],
)
def test_the_condition_is_a_word(changed: dict[str, object], word: str) -> None:
    text = text_of(replace(HEALTHY, **changed))
    assert re.search(rf'<h1>{ME} <strong class="tag \w+">{word}</strong></h1>', text)
    assert f"{word.lower()} – pcgrelay</title>" in text


HOSTILE = "<script>alert(1)</script>\"'&\x1b[2J\n"


def test_hostile_names_are_text() -> None:
    link = replace(HEALTHY.links[0], peer=HOSTILE, bearer=HOSTILE, reason=HOSTILE, group=HOSTILE, state="down")
    service = replace(HEALTHY.services[0], name=HOSTILE, reason=HOSTILE, state="down")
    line = replace(LINE, edge=HOSTILE, services=(HOSTILE,), hops=(HOSTILE, HOSTILE))
    text = text_of(replace(HEALTHY, links=(link,), services=(service,)), line)
    assert "<script>alert" not in text
    assert "\x1b" not in text
    assert text.count("<script") == 1
    assert "&lt;script&gt;" in text


def test_nothing_stands_in_the_page_that_its_policy_forbids() -> None:
    answer = node_page(HEALTHY, [LINE], ME, NOW)
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self'")
    assert "unsafe" not in policy
    text = answer.body.decode()
    assert not re.search(r"\sstyle=|\son\w+=|<style|javascript:|https?://", text)
    assert re.findall(r"<script[^>]*>", text) == ['<script src="/status.js" defer>']


def test_what_is_sent_again_is_what_stands_in_the_page() -> None:
    part = node_part(HEALTHY, [LINE], ME, NOW)
    assert part in text_of(HEALTHY, LINE)


def test_tables_are_bounded() -> None:
    links = tuple(replace(HEALTHY.links[0], peer=f"relay-{number}.hub.example") for number in range(ROWS_MOST + 3))
    text = text_of(replace(HEALTHY, links=links))
    assert text.count('<th scope="row">relay-') == ROWS_MOST
    assert "3 more are not shown" in text


def test_an_empty_node_has_a_page() -> None:
    text = text_of(Status(node=HEALTHY.node))
    assert "No neighbour is linked." in text
    assert "<h2>Links</h2>" not in text


def test_script_and_style_are_small_and_ours() -> None:
    assert len(script().body) < 1_000
    assert b"http" not in script().body + style().body
    assert b"@font-face" not in style().body
    assert style().kind.startswith("text/css")
    assert script().kind.startswith("text/javascript")


def test_a_link_that_is_down_is_drawn_so() -> None:
    down: LinkStatus = replace(HEALTHY.links[0], state="down")
    assert 'class="wire down"' in text_of(replace(HEALTHY, links=(down, HEALTHY.links[1])))
    assert 'class="wire far"' in text_of(HEALTHY, LINE)
