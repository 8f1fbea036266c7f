"""Streams in an audit log that has no record for each: totals of a minute, or refused ones alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from pcgrelay.audit.audit_log import AuditLog
from pcgrelay.audit.query import Wanted, query
from pcgrelay.audit.segments import segments_of
from pcgrelay.audit.totals import KINDS_MOST, Totals
from pcgrelay.audit.turns import CHECKPOINT_MS
from pcgrelay.clock import SetClock
from pcgrelay.config import AuditSettings
from pcgrelay.log.audit_events import StreamTotals
from pcgrelay.log.stream_events import StreamEnd, StreamRefused
from tests.support.written_logs import NODE, Endorser, check_log, records_of

NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)
KENT, MET, ESSEX = "kent.police.example", "met.police.example", "essex.police.example"
OLD, NEW = "7f3ac1aa0912", "aa0912bb1234"


def ended(organisation: str = MET, service: str = f"custody@{KENT}", outlet: str = "") -> StreamEnd:
    return StreamEnd(
        id="1", started="", from_organisation=organisation, to_organisation=KENT, service=service, direction="export",
        session=1, sent_bytes=100, received_bytes=10, duration_ms=1.5, suite="", group="", code="closed", cause="",
        outlet=outlet,
    )  # fmt: skip


def refused(organisation: str = MET) -> StreamRefused:
    return StreamRefused(
        id="1", started="", from_organisation=organisation, to_organisation=KENT, service=f"custody@{KENT}",
        direction="export", session=1, code="REFUSED", cause="not-allowed",
    )  # fmt: skip


def taken(totals: Totals) -> list[tuple[str, StreamTotals]]:
    made = []
    for queued in totals.take(NOW):
        assert isinstance(queued.record, StreamTotals)
        assert queued.moment == NOW
        made.append((queued.policy, queued.record))
    return made


def test_a_line_for_each_service_peer_and_outlet() -> None:
    totals = Totals()
    for record in [ended(), ended(), refused(), ended(ESSEX), ended(service=f"sql@{KENT}"), ended(outlet="cjx")]:
        totals.add(record, OLD)
    lines = {
        (each.service, each.from_organisation, each.outlet): (each.streams, each.refused, each.sent_bytes)
        for _, each in taken(totals)
    }
    assert lines == {
        (f"custody@{KENT}", MET, ""): (2, 1, 200),
        (f"custody@{KENT}", ESSEX, ""): (1, 0, 100),
        (f"sql@{KENT}", MET, ""): (1, 0, 100),
        (f"custody@{KENT}", MET, "cjx"): (1, 0, 100),
    }
    assert taken(totals) == []


def test_streams_under_two_policies_within_a_minute_are_told_apart() -> None:
    totals = Totals()
    for policy in (OLD, OLD, NEW):
        totals.add(ended(), policy)
    assert [(policy, each.streams) for policy, each in taken(totals)] == [(OLD, 2), (NEW, 1)]


def test_more_kinds_than_are_told_apart_are_one() -> None:
    totals = Totals()
    for number in range(KINDS_MOST + 500):
        totals.add(ended(f"o{number}.example"), OLD)
    lines = [each for _, each in taken(totals)]
    assert len(lines) == KINDS_MOST + 1
    assert (lines[-1].service, lines[-1].streams) == ("others", 500)


class Minutes:
    """A log whose clock is set."""

    def __init__(self, folder: Path, streams: str) -> None:
        self.folder = folder
        self.clock = SetClock(NOW)
        settings = AuditSettings(keep_days=400, kept_streams=streams)
        self.log = AuditLog(folder, NODE, settings, Endorser(), lambda record: None, self.clock)
        self.log.start()

    def minute(self, policy: str) -> None:
        for _ in range(60):
            self.clock.advance(CHECKPOINT_MS // 60)
            self.log.tick(policy)

    def streams(self) -> list[dict[str, Any]]:
        return [record for record in records_of(self.folder) if record["event"].startswith("stream.")]


@pytest.fixture
async def totals(tmp_path: Path) -> AsyncIterator[Minutes]:
    made = Minutes(tmp_path / "audit", "totals")
    yield made
    await made.log.stop()


async def test_each_minute_is_told_once_and_an_empty_one_not_at_all(totals: Minutes) -> None:
    for _ in range(1_000):
        totals.log.emit(ended(), OLD)
    totals.minute(OLD)
    totals.minute(OLD)
    totals.log.emit(refused(), OLD)
    totals.minute(OLD)
    assert await totals.log.flush()
    assert [(each["ts"], each["streams"], each["refused"]) for each in totals.streams()] == [
        ("2026-11-03T12:01:00.000Z", 1_000, 0),
        ("2026-11-03T12:03:00.000Z", 0, 1),
    ]
    check_log(totals.folder)


async def test_a_minute_that_is_not_over_is_told_at_the_end(totals: Minutes) -> None:
    totals.log.emit(ended(), OLD)
    await totals.log.stop(OLD)
    (line,) = totals.streams()
    assert (line["streams"], line["sent_bytes"], line["received_bytes"], line["policy"]) == (1, 100, 10, OLD)


async def test_another_process_goes_on_after_the_minute_that_is_not_over(totals: Minutes) -> None:
    assert await totals.log.flush()
    totals.log.emit(ended(), OLD)
    rest = totals.log.release(OLD)
    other = Minutes(totals.folder, "totals")
    other.log.restore(rest)
    other.log.emit(ended(), OLD)
    await other.log.stop(OLD)
    assert [each["streams"] for each in totals.streams()] == [1, 1]
    check_log(totals.folder)


async def test_the_next_policy_does_not_answer_for_streams_before_it(totals: Minutes) -> None:
    totals.log.emit(ended(), OLD)
    totals.log.emit(ended(), NEW)
    totals.minute(NEW)
    assert await totals.log.flush()
    assert [(each["policy"], each["streams"]) for each in totals.streams()] == [(OLD, 1), (NEW, 1)]


async def test_what_was_summed_is_told_after_a_reload_to_each_stream(totals: Minutes) -> None:
    totals.log.emit(ended(), OLD)
    totals.log.apply(AuditSettings(keep_days=400, kept_streams="all"))
    totals.log.emit(ended(ESSEX), OLD)
    totals.minute(OLD)
    assert await totals.log.flush()
    assert [each["event"] for each in totals.streams()] == ["stream.end", "stream.totals"]


async def test_a_query_counts_what_was_summed(totals: Minutes) -> None:
    for record in [ended(), ended(), refused(), ended(ESSEX)]:
        totals.log.emit(record, OLD)
    totals.minute(OLD)
    assert await totals.log.flush()
    usages = query(segments_of(totals.folder), Wanted(service="custody", organisation=MET)).usages
    assert [(each.streams, each.refused, each.transferred_bytes, each.policy) for each in usages] == [(2, 1, 220, OLD)]


async def test_refused_streams_alone(tmp_path: Path) -> None:
    log = Minutes(tmp_path / "audit", "refused")
    for record in [ended(), refused(), structs.replace(refused(ESSEX), rule=3, rule_text="export 3 allows met alone")]:
        log.log.emit(record, OLD)
    log.minute(OLD)
    await log.log.stop(OLD)
    lines = log.streams()
    assert [(each["event"], each["from_organisation"]) for each in lines] == [
        ("stream.refused", MET),
        ("stream.refused", ESSEX),
    ]
    assert (lines[1]["rule"], lines[1]["rule_text"]) == (3, "export 3 allows met alone")
    (usage, *_) = query(segments_of(log.folder), Wanted(organisation=MET)).usages
    assert (usage.streams, usage.refused) == (0, 1)
