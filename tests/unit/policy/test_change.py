"""The texts that people sign have one spelling, and every other one is refused by its name."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay.model import NodeId
from pcgrelay.policy.change import Change, make_act, make_head, parse_act, parse_change
from pcgrelay.policy.signed_text import COLUMN, LINE_MOST, Line, Misspelt, plain, plain_lines

NODE = NodeId(realm="police.example", organisation="kent.police.example", name="kent-1")
MADE = datetime(2026, 11, 3, 9, 12, tzinfo=UTC)
HEAD = make_head(NODE, "j.smith@kent.police.example", MADE, "CR-1042", "Essex needs custody look-ups")
LINES = (
    Line("WIDENS", "export custody: allow essex.police.example added"),
    Line("NARROWS", "export pnd: removed"),
    Line("NEUTRAL", "log.level debug"),
)
CHANGE = Change(HEAD, "7f" * 32, "a9" * 32, LINES)
TEXT = f"""\
pcgrelay change, version 1
node      kent-1.kent.police.example, realm police.example
before    {"7f" * 32}
after     {"a9" * 32}
by        j.smith@kent.police.example
made      2026-11-03T09:12:00Z, to be taken before 2026-11-06T09:12:00Z
change    CR-1042
reason    Essex needs custody look-ups
WIDENS    export custody: allow essex.police.example added
NARROWS   export pnd: removed
NEUTRAL   log.level debug
"""


def test_a_change_is_written_and_read_as_it_stands_here() -> None:
    assert CHANGE.render().decode() == TEXT
    assert parse_change(TEXT.encode()) == CHANGE
    assert max(map(len, TEXT.splitlines())) <= 80


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("line-ends", TEXT.replace("\n", "\r\n")),
        ("line-ends", TEXT.replace("CR-1042\n", "CR-1042\r")),
        ("characters", TEXT.replace("essex", "еssex")),  # a Cyrillic letter
        ("characters", TEXT.replace("export pnd", "export\u00a0pnd")),
        ("characters", TEXT.replace("export pnd", "export\tpnd")),
        ("characters", TEXT.replace("export pnd", "export \u202epnd")),
        ("characters", TEXT.replace("export pnd", "export \x1b[2Kpnd")),
        ("characters", "\ufeff" + TEXT),
        ("title", TEXT.replace("version 1", "version 2")),
        ("title", "\n" + TEXT),
        ("order", TEXT.replace("change    CR-1042\n", "")),
        ("order", TEXT.replace("before    ", "BEFORE    ")),
        ("order", TEXT.replace("NEUTRAL   ", "SAFE      ")),
        ("duplicate", TEXT.replace("by        j", "before    " + "7f" * 32 + "\nby        j")),
        ("duplicate", TEXT + "reason    another\n"),
        ("trailing", TEXT.removesuffix("\n")),
        ("trailing", TEXT + "\n"),
        ("trailing", TEXT.replace("removed\n", "removed \n")),
        ("field", TEXT.replace("WIDENS    ", "WIDENS     ")),
        ("field", TEXT.replace("by        ", "by  ")),
        ("field", TEXT.replace("7f7f", "7F7F")),
        ("field", TEXT.replace("a9a9", "a9", 1)),
        ("field", TEXT.replace("j.smith@", "J.Smith@")),
        ("field", TEXT.replace(", realm ", " realm ")),
        ("field", TEXT.replace("2026-11-06", "2026-12-06")),
        ("field", TEXT.replace("2026-11-06", "2026-11-02")),
        ("field", TEXT.replace("09:12:00Z,", "09:12:00+00:00,")),
        ("field", TEXT.replace("2026-11-03", "2026-11-31")),
        ("field", TEXT[: TEXT.index("WIDENS")]),
        ("field", TEXT[: TEXT.index("reason")]),
        ("field", TEXT.replace("CR-1042", "C" * 201)),
        ("size", TEXT + "WIDENS    " + "x" * 2_000 + "\n"),
        ("size", TEXT + "WIDENS    xxxxxxxxx\n" * 4_000),
    ],
)  # fmt: skip
def test_another_spelling_is_refused_by_its_name(name: str, text: str) -> None:
    with pytest.raises(Misspelt) as refused:
        parse_change(text.encode())
    assert refused.value.name == name
    assert str(refused.value).isascii()


@given(st.lists(st.text(max_size=60), max_size=6), st.sampled_from(["", "00" * 32]))
def test_whatever_is_written_is_read_as_it_was(sentences: list[str], before: str) -> None:
    lines = tuple(Line("WIDENS", shown) for each in sentences if (shown := plain(each)))
    change = Change(HEAD, before, "11" * 32, (*lines, LINES[0]))
    assert parse_change(change.render()) == change


@given(st.integers(0, len(TEXT) - 1), st.binary(min_size=0, max_size=2))
def test_another_text_is_never_the_same_change(at: int, put: bytes) -> None:
    data = TEXT.encode()
    spoilt = data[:at] + put + data[at + 1 :]
    if spoilt == data:
        return
    try:
        assert parse_change(spoilt) != CHANGE
    except Misspelt:
        pass


def test_an_act_shows_the_text_that_it_is_about() -> None:
    act = make_act(HEAD, "start", 'service = "custody"\n\nowner = "Zoë"\n')
    text = act.render()
    assert text.decode().splitlines()[-2:] == ['TEXT      service = "custody"', 'TEXT      owner = "Zo\\xeb"']
    assert parse_act(text) == act
    with pytest.raises(Misspelt):
        parse_act(TEXT.encode())
    with pytest.raises(Misspelt):
        parse_change(text)


def test_nothing_of_a_long_line_is_left_out() -> None:
    networks = ", ".join(f"10.{number // 256}.{number % 256}.0/24" for number in range(600))
    lines = plain_lines(f"caller met: networks {networks}")
    assert len(lines) > 3
    assert all(len(line) <= LINE_MOST - COLUMN for line in lines)
    assert "".join(line.removeprefix("... ").removesuffix("...") for line in lines).endswith(networks)
    change = replace(CHANGE, lines=tuple(Line("WIDENS", line) for line in lines))
    assert parse_change(change.render()) == change
    act = make_act(HEAD, "start", "steps = [" + "1, " * 2_000 + "100]")
    assert act.lines[-1].sentence.endswith("100]")
    assert parse_act(act.render()) == act
    assert plain_lines("a short one") == ("a short one",)
    assert plain_lines("") == ("",)


def test_a_head_that_cannot_stand_there_is_refused() -> None:
    for by, change, reason in (("smith", "CR-1", "why"), ("a@b.example", "", "why"), ("a@b.example", "CR-1", "a\nb")):
        with pytest.raises(Misspelt):
            make_head(NODE, by, MADE, change, reason)
    with pytest.raises(Misspelt):
        make_head(NODE, "a@b.example", MADE, "CR-1", "why", timedelta(days=15))
