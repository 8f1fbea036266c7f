"""Statements of others: what is refused, what is kept, and that it outlasts the process."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pcgrelay import files
from pcgrelay.clock import SetClock
from pcgrelay.errors import ConfigError, PcgrelayError, RunError, UsageProblem
from pcgrelay.gateway.actor import Actor
from pcgrelay.gateway.role import NodeParts
from pcgrelay.gateway.statements import NAME, Statements
from pcgrelay.log.events import Record
from pcgrelay.services.statements import STATEMENTS_MOST, Statement, StatementsState
from pcgrelay.state.file import BEFORE
from pcgrelay.state.writes import StateWrites

OFFICER = Actor(0, "duty officer", "CR-1042")
SAID = {"observer": "CJX router GW-3, tcp/5432", "from": "2020-02-25", "to": "2020-03-31", "bytes": "0"}


def statements(folder: Path | None, lines: list[Record] | None = None) -> Statements:
    config = SimpleNamespace(
        node=SimpleNamespace(id=SimpleNamespace(name="met-1")),
        bearers=(SimpleNamespace(name="cjx"),),
        directs=(SimpleNamespace(bearer="psnp"),),
    )
    node = SimpleNamespace(
        clock=SetClock(datetime(2020, 3, 31, 12, tzinfo=UTC)),
        emit=[].append if lines is None else lines.append,
        state=None if folder is None else SimpleNamespace(path=folder),
        local=SimpleNamespace(config=config),
        writes=StateWrites(),
    )
    made = Statements(cast(NodeParts, node))
    made.load()
    return made


async def test_a_statement_is_kept_and_logged(tmp_path: Path) -> None:
    lines: list[Record] = []
    kept = await statements(tmp_path, lines).note("cjx", SAID, OFFICER)
    assert kept == Statement(
        bearer="cjx",
        observer="CJX router GW-3, tcp/5432",
        since=date(2020, 2, 25),
        until=date(2020, 3, 31),
        transferred=0,
        at="2020-03-31T12:00:00Z",
        uid=0,
        by="duty officer",
        reason="CR-1042",
    )
    assert [line.EVENT for line in lines] == ["quiet.noted"]
    again = statements(tmp_path)
    await again.note("psnp", {**SAID, "bytes": "9223372036854775807"}, OFFICER)
    assert [each.bearer for each in statements(tmp_path).state.statements] == ["cjx", "psnp"]
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("bearer", "said", "actor", "words"),
    [
        ("cjy", {}, OFFICER, "cjy is no bearer of this node's configuration; there are: cjx, psnp."),
        ("", {}, OFFICER, "bearer"),
        ("c\x1bjx", {}, OFFICER, "bearer"),
        ("cjx", {"observer": "  "}, OFFICER, "--observer is empty"),
        ("cjx", {"observer": "x" * 201}, OFFICER, "--observer has 201 characters, and 200 is the most"),
        ("cjx", {"observer": "GW\x00"}, OFFICER, "--observer has a character in it that cannot be seen"),
        ("cjx", {"observer": "GW\u202e3"}, OFFICER, "--observer has a character in it that cannot be seen"),
        ("cjx", {"from": "2020-13-01"}, OFFICER, '--from "2020-13-01" is no date'),
        ("cjx", {"to": ""}, OFFICER, '--to "" is no date'),
        ("cjx", {"from": "2020-04-01"}, OFFICER, "--to 2020-03-31 is before --from 2020-04-01"),
        ("cjx", {"to": "2020-04-01"}, OFFICER, "--to 2020-04-01 lies ahead (today is 2020-03-31)"),
        ("cjx", {"bytes": "-1"}, OFFICER, '--bytes "-1" is no number of bytes'),
        ("cjx", {"bytes": "9223372036854775808"}, OFFICER, "is no number of bytes"),
        ("cjx", {"bytes": "1e3"}, OFFICER, "is no number of bytes"),
        ("cjx", {}, Actor(0, "a\nb"), "--by has a character"),
        ("cjx", {}, Actor(0, "", "a\nb"), "--reason has a character"),
    ],
)
async def test_what_is_no_statement_is_refused(
    tmp_path: Path, bearer: str, said: dict[str, str], actor: Actor, words: str
) -> None:
    made = statements(tmp_path)
    with pytest.raises(UsageProblem) as refused:
        await made.note(bearer, {**SAID, **said}, actor)
    assert words in str(refused.value)
    assert made.state == StatementsState()
    assert not (tmp_path / NAME).exists()


async def test_without_a_folder_none_is_taken() -> None:
    with pytest.raises(ConfigError, match="would not outlast this process"):
        await statements(None).note("cjx", SAID, OFFICER)


async def test_what_cannot_be_written_does_not_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = statements(tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(PcgrelayError, match="no space left"):
        await made.note("cjx", SAID, OFFICER)
    assert made.state == StatementsState()


def test_there_is_a_bound_and_old_ones_make_room() -> None:
    today = date(2020, 3, 31)

    def said(until: date) -> Statement:
        return Statement(
            bearer="cjx", observer="GW-3", since=until, until=until, transferred=0, at="2020-03-31T12:00:00Z", uid=0
        )

    full: Any = StatementsState(statements=(said(today),) * (STATEMENTS_MOST - 1))
    full = full.with_statement(said(today), today)
    with pytest.raises(RunError, match="1000 statements are noted, which is the most"):
        full.with_statement(said(today), today)
    later = full.with_statement(said(today), today + timedelta(days=401))
    assert len(later.statements) == 1


async def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    await statements(tmp_path).note("cjx", SAID, OFFICER)
    for name in (NAME, NAME + BEFORE):
        (tmp_path / name).write_bytes(b"gone")
    lines: list[Record] = []
    assert statements(tmp_path, lines).state == StatementsState()
    assert [line.EVENT for line in lines] == ["state.unreadable"]
