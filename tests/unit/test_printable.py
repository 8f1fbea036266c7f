"""A peer's words on terminals, in logs and in metrics: whatever they are, they do nothing there."""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.text import Text

from pcgrelay.admin.metrics import metrics_text
from pcgrelay.admin.server import AdminHandlers, answered
from pcgrelay.admin.status import ConfigurationStatus, OrganisationStatus, Status
from pcgrelay.cli import explain, status
from pcgrelay.dataplane.events import StreamEnd
from pcgrelay.log.events import PathRefused
from pcgrelay.log.writer import line_of
from pcgrelay.output import Layout, Row, Screen, print_json, print_table, say
from pcgrelay.printable import TEXT_MOST, json_printable, printable
from pcgrelay.services.counts import MALFORMED, emit_stream_end
from pcgrelay.services.stream_ids import StreamIdentity
from tests.support.healthy_status import HEALTHY

# Clears a screen, by one byte too; sets a title; turns the order; hides; ends a line; a lone half of a pair.
EVIL = ["\x1b[2J", "\x9b2J", "\x1b]0;title\x07", "a\u202eb", "\u200b", "a\rb", "a\nb", "\u2028", "\ud800", "\U000e0041"]


@given(st.text())
def test_what_is_printed_is_printable_and_ends(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown) <= TEXT_MOST
    if text.isprintable() and len(text) <= TEXT_MOST:
        assert shown == text


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner, max_size=3)))
def test_json_means_the_same(value: object) -> None:
    for text in (json.dumps(value, ensure_ascii=False), json.dumps(value, ensure_ascii=False, indent=2)):
        shown = json_printable(text)
        assert shown.replace("\n", "").isprintable()
        assert json.loads(shown) == value


@pytest.mark.parametrize("evil", EVIL)
def test_a_line_of_the_log_is_one_printable_line(evil: str) -> None:
    if not evil.isprintable() and evil == "\ud800":
        return  # no text from the wire has one: it would be no UTF-8
    record = PathRefused(source=evil, destination=evil, code="busy", reason=evil)
    line = line_of(record, datetime(2027, 1, 1, tzinfo=UTC))
    assert line.isprintable()
    assert json.loads(line)["source"] == evil


@pytest.mark.parametrize("evil", EVIL)
@pytest.mark.parametrize("width", [20, 80, 200])
def test_a_screen_shows_the_number_of_what_it_cannot_show(
    evil: str, width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = Screen(file=io.StringIO(), width=width, highlight=False, markup=False, emoji=False)
    screen.print(evil)
    screen.print(Text("x ") + Text(evil, style="bold"))
    print_table(screen, f"T {evil}", Layout(["peer", ">n"], [Row([evil, "1"], [evil]), Row(["kent", "22"])]))
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    assert shown.replace("\n", "").isprintable()
    assert "1" in shown
    say(evil)
    assert capsys.readouterr().out.rstrip("\n").isprintable()


def evil_status(evil: str) -> Status:
    link, *others = HEALTHY.links
    return replace(
        HEALTHY,
        links=(replace(link, peer=evil, reason=evil, state="down", group=evil), *others),
        refusals={evil: 1, "revoked": 2},
        streams=replace(HEALTHY.streams, closed_total={evil: 3}),
        configuration=ConfigurationStatus(successful=False, reason=evil),
        organisations=(OrganisationStatus(organisation=evil, direction="import"),),
        twins=(evil,),
    )


@pytest.mark.parametrize("evil", EVIL[:-2])
def test_the_whole_status_is_shown_without_harm(evil: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = evil_status(evil)
    screen = Screen(file=io.StringIO(), width=80, highlight=False, markup=False, emoji=False)
    status._print(screen, told, [], True, True)
    assert screen.file.getvalue().replace("\n", "").isprintable()  # type: ignore[attr-defined]
    print_json(told)
    assert capsys.readouterr().out.replace("\n", "").isprintable()
    for path in ("/metrics", "/readyz"):
        body = answered("GET", path, AdminHandlers(status=lambda: told, counters=dict)).body.decode()
        assert body.replace("\n", "").isprintable()


def test_only_one_place_makes_a_console() -> None:
    assert not hasattr(status, "Screen")
    assert explain.terminal is status.terminal


@given(st.binary(max_size=63))
def test_what_a_peer_calls_a_service_is_a_name_or_no_word_of_its_own(service: bytes) -> None:
    said: list[object] = []
    end = StreamEnd(False, -1, 1, service, 0, 0, 5, 4, "unknown-service", 0xFFFF, False)
    named = StreamIdentity("6f2c9a01-1", "2026-03-01T12:00:00.000Z")
    emit_stream_end(said.append, end, "kent.police.example", None, None, (), named)  # type: ignore[arg-type]
    name = said[0].service.partition("@")[0]  # type: ignore[attr-defined]
    assert name == MALFORMED or re.fullmatch(r"[a-z0-9-]{1,63}", name)


def test_metrics_have_the_words_as_they_are_shown() -> None:
    assert 'reason="\\\\x1b[2J"' in metrics_text(evil_status("\x1b[2J"), {})
