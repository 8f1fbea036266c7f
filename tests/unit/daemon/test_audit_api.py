"""A query of the audit log at the admin socket: on record, or the reason why not."""

from __future__ import annotations

import asyncio
import json
from io import StringIO
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pcgrelay.admin.server import UID
from pcgrelay.daemon.audit_api import TEXT_LIMIT, AuditApi
from pcgrelay.gateway.node import Node
from pcgrelay.log.audit_events import AuditExported, AuditQueried
from pcgrelay.log.events import Record
from pcgrelay.log.writer import Log


class Sink:
    """An audit log that keeps what it gets, or a disk that fails."""

    def __init__(self, *, is_well: bool = True) -> None:
        self.is_well = is_well
        self.records: list[Record] = []

    def emit(self, record: Record, policy: str) -> bool:
        self.records.append(record)
        return True

    async def settle(self, seconds: float) -> bool:
        return self.is_well


async def asked(sink: Sink | None, **query: str) -> dict[str, Any]:
    log = Log(sink=StringIO())
    log.audit = sink
    answer = await AuditApi(cast(Node, SimpleNamespace(log=log)), asyncio.Lock()).queried({UID: "7", **query}, b"")
    return cast(dict[str, Any], json.loads(answer.body))


async def test_it_is_on_record_with_who_asked_and_why() -> None:
    sink = Sink()
    answer = await asked(sink, service="custody", since="2026-11-03T02:00:00.000Z", by="night", reason="R-1")
    assert answer["is_kept"]
    (record,) = sink.records
    assert isinstance(record, AuditQueried)
    assert (record.id, record.uid, record.service, record.by) == (answer["id"], 7, "custody", "night")
    assert (record.since, record.until, record.reason) == ("2026-11-03T02:00:00.000Z", "", "R-1")


async def test_what_is_said_is_bounded_and_safe_to_print() -> None:
    sink = Sink()
    await asked(sink, reason="\x1b[2J" + "x" * 10_000)
    (record,) = sink.records
    assert isinstance(record, AuditQueried)
    assert "\x1b" not in record.reason
    assert len(record.reason) <= 2 * TEXT_LIMIT


async def exported(sink: Sink | None, **query: str) -> dict[str, Any]:
    log = Log(sink=StringIO())
    log.audit = sink
    answer = await AuditApi(cast(Node, SimpleNamespace(log=log)), asyncio.Lock()).exported({UID: "7", **query}, b"")
    return cast(dict[str, Any], json.loads(answer.body))


async def test_an_export_is_on_record_with_what_it_has() -> None:
    sink = Sink()
    answer = await exported(sink, kind="tiles", first="0", last="8841272", by="night", reason="R-1")
    assert answer["is_kept"]
    (record,) = sink.records
    assert isinstance(record, AuditExported)
    assert (record.id, record.kind, record.first, record.last) == (answer["id"], "tiles", 0, 8_841_272)
    assert (record.uid, record.by, record.reason) == (7, "night", "R-1")
    assert not (await exported(None, kind="proof", first="1", last="1"))["is_kept"]


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"kind": "keys", "first": "0", "last": "1"},
        {"kind": "tiles", "first": "-1", "last": "1"},
        {"kind": "tiles", "first": "0", "last": "9" * 19},
        {"kind": "tiles", "first": "0", "last": "\u0661"},
    ],
)
async def test_what_is_no_export_is_not_on_record(query: dict[str, str]) -> None:
    sink = Sink()
    answer = await exported(sink, **query)
    assert (answer["is_kept"], sink.records) == (False, [])
    assert "an export is of" in answer["reason"]


async def test_a_disk_that_fails_is_said() -> None:
    answer = await asked(Sink(is_well=False))
    assert (answer["is_kept"], "not written" in answer["reason"]) == (False, True)


async def test_a_node_without_an_audit_log_says_so() -> None:
    answer = await asked(None)
    assert (answer["is_kept"], "[audit]" in answer["reason"]) == (False, True)
