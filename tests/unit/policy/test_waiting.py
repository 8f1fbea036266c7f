"""Texts that wait beside a configuration: found while they can be taken, and no longer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pcgrelay.model import NodeId
from pcgrelay.policy.acts import act_path
from pcgrelay.policy.change import WIDENS, Change, make_act, make_head
from pcgrelay.policy.gate import Paper, change_path
from pcgrelay.policy.signed_text import Line
from pcgrelay.policy.waiting import Holding, waiting_texts

NODE = NodeId(name="kent-1", organisation="kent.police.example", realm="police.example")
NOW = datetime(2026, 11, 3, 9, 12, tzinfo=UTC)
BY = "j.smith@kent.police.example"
HOLDS = Holding(NODE.dotted, NODE.realm, "a" * 64)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kent-1.toml"


def put(path: Path, before: str = "a" * 64, node: NodeId = NODE) -> bytes:
    head = make_head(node, BY, NOW, "CR-1042", "Joint operation")
    data = Change(head, before, "b" * 64, (Line(WIDENS, "export custody: allow essex.police.example added"),)).render()
    change_path(path).write_bytes(data)
    return data


def sign(path: Path, *people: str) -> None:
    for person in people:
        path.with_name(f"{path.name}.{person}.sig").write_text("any")


def test_a_change_waits_from_when_it_is_written_until_its_date(path: Path) -> None:
    assert waiting_texts(path, HOLDS, NOW) == ()
    put(path)
    (found,) = waiting_texts(path, HOLDS, NOW)
    assert (found.what, found.number, found.signatures, found.held) == ("change", "CR-1042", 0, False)
    assert found.until == NOW + timedelta(days=3)
    assert waiting_texts(path, HOLDS, found.until - timedelta(seconds=1))
    assert waiting_texts(path, HOLDS, found.until) == ()


def test_signatures_are_counted_but_not_that_of_who_proposes(path: Path) -> None:
    put(path)
    sign(change_path(path), "a.jones@kent.police.example", BY)
    assert waiting_texts(path, HOLDS, NOW)[0].signatures == 1


def test_what_was_taken_or_is_about_something_else_waits_for_nobody(path: Path) -> None:
    data = put(path)
    mark = Paper(data, ()).sha256
    assert waiting_texts(path, Holding(NODE.dotted, NODE.realm, "a" * 64, {mark}), NOW) == ()
    assert waiting_texts(path, Holding(NODE.dotted, NODE.realm, "c" * 64), NOW) == ()
    assert waiting_texts(path, Holding("met-1.met.police.example", NODE.realm, "a" * 64), NOW) == ()
    held = Holding(NODE.dotted, NODE.realm, "a" * 64, (), {mark: (BY,)})
    assert waiting_texts(path, held, NOW)[0].held


def test_an_act_waits_under_its_name(path: Path) -> None:
    text = make_act(make_head(NODE, BY, NOW, "CR-7", "quiet for 60 days"), "retire", "an outlet")
    act_path(path, "retire").write_bytes(text.render())
    act_path(path, "outlet").write_bytes(text.render())  # another name than it says
    (found,) = waiting_texts(path, HOLDS, NOW)
    assert (found.what, found.number) == ("retire", "CR-7")


@pytest.mark.parametrize("data", [b"", b"notes\n", b"\xff" * 9, b"x" * (1 << 20)])
def test_what_cannot_be_read_is_passed_over(path: Path, data: bytes) -> None:
    change_path(path).write_bytes(data)
    act_path(path, "waive").write_bytes(data)
    assert waiting_texts(path, HOLDS, NOW) == ()


def test_neither_a_link_nor_a_folder_is_read(path: Path, tmp_path: Path) -> None:
    put(path)
    there = change_path(path).rename(tmp_path / "elsewhere")
    change_path(path).symlink_to(there)
    act_path(path, "waive").mkdir()
    assert waiting_texts(path, HOLDS, NOW) == ()
