"""Queries: streams summed by who, how and by which rule, and who had signed the policy of then."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pcgrelay.audit import query as query_module
from pcgrelay.audit.query import Allowed, Found, Wanted, checked_time, query
from pcgrelay.audit.segments import segments_of
from tests.support.audit_logs import AuditLog

DIGEST = "7f3ac1aa0912" + "0" * 52


def record(log: AuditLog, ts: str, event: str, **fields: object) -> None:
    log.append([msgspec.json.encode({"n": log.size, "ts": ts, "event": event, **fields})])


def stream(log: AuditLog, ts: str, event: str = "stream.end", **fields: object) -> None:
    usual = {
        "from_organisation": "met.police.example",
        "to_organisation": "kent.police.example",
        "service": "custody@kent.police.example",
        "direction": "export",
        "suite": "AES-256-GCM",
        "group": "X25519MLKEM768",
        "policy": DIGEST[:12],
    }
    sums = {"sent_bytes": 10, "received_bytes": 5} if event == "stream.end" else {}
    record(log, ts, event, **usual | sums | fields)


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    log = AuditLog(tmp_path / "audit", segment_records=3)
    record(log, "2026-10-01T09:00:00.000Z", "policy.taken", after=DIGEST, approved=["a.jones", "b.khan"], change="CR-1")
    for minute in range(4):
        stream(log, f"2026-11-03T02:0{minute}:00.000Z")
    refused = {"from_organisation": "essex.police.example", "rule": 3, "suite": "", "group": ""}
    stream(log, "2026-11-03T02:05:00.000Z", "stream.refused", **refused, rule_text="export 3 allows met alone")
    stream(log, "2026-11-03T04:00:00.000Z")
    record(log, "2026-11-03T04:00:01.000Z", "node.ready", node="kent-1")
    stream(log, "2026-11-03T05:00:00.000Z", service="pnd@hub.example", direction="import", policy="")
    return log


def ask(log: AuditLog, **wanted: str) -> Found:
    return query(segments_of(log.folder), Wanted(**wanted))


def test_who_used_a_service_and_who_had_allowed_it(log: AuditLog) -> None:
    found = ask(
        log, service="custody@kent.police.example", since="2026-11-03T02:00:00.000Z", until="2026-11-03T04:00:00.000Z"
    )
    met, essex = found.usages
    assert (met.organisation, met.streams, met.refused, met.transferred_bytes) == ("met.police.example", 4, 0, 60)
    assert met.allowed == Allowed(("a.jones", "b.khan"), "2026-10-01T09:00:00.000Z", "CR-1")
    assert (met.suite, met.group, met.policy) == ("AES-256-GCM", "X25519MLKEM768", DIGEST[:12])
    assert (met.first, met.last) == ("2026-11-03T02:00:00.000Z", "2026-11-03T02:03:00.000Z")
    assert (essex.organisation, essex.streams, essex.refused) == ("essex.police.example", 0, 1)
    assert essex.rule == "export 3 allows met alone"
    assert found.records == 5


def test_all_of_it(log: AuditLog) -> None:
    found = ask(log)
    assert (len(found.usages), found.records) == (3, 7)
    assert next(each for each in found.usages if each.service == "pnd@hub.example").allowed is None


def test_by_the_name_alone_and_by_organisation(log: AuditLog) -> None:
    assert ask(log, service="custody").records == 6
    assert ask(log, service="cust").records == 0
    assert ask(log, organisation="essex.police.example").records == 1
    assert ask(log, organisation="police.example").records == 0


def test_the_rule_that_allowed_streams_is_named_at_the_exporting_side(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    record(log, "2026-10-01T09:00:00.000Z", "policy.taken", after=DIGEST, approved=["a.jones", "b.khan"], change="CR-1")
    rule = {"rule": 2, "rule_text": "export[3], until 2027-03-31"}
    stream(log, "2026-11-03T02:00:00.000Z", **rule)
    stream(log, "2026-11-03T02:01:00.000Z", "stream.totals", streams=4, refused=0, **rule)
    stream(
        log, "2026-11-03T02:02:00.000Z", direction="import", to_organisation="hub.example", service="pnd@hub.example"
    )
    exported, imported = ask(log).usages
    assert (exported.streams, exported.rule) == (5, "export[3], until 2027-03-31")
    assert exported.allowed == Allowed(("a.jones", "b.khan"), "2026-10-01T09:00:00.000Z", "CR-1")
    assert imported.rule == ""


def test_minutes_in_sum_count_as_so_many(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    stream(log, "2026-11-03T02:00:00.000Z", "stream.totals", streams=40, refused=2, sent_bytes=7, received_bytes=1)
    (usage,) = ask(log).usages
    assert (usage.streams, usage.refused, usage.transferred_bytes) == (40, 2, 8)


def test_another_version_computes_another_digest_of_the_same_policy(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    record(log, "2026-10-01T09:00:00.000Z", "policy.first", after=DIGEST, by="j.smith")
    record(log, "2026-10-02T09:00:00.000Z", "policy.rehashed", before=DIGEST, after="aa" * 32)
    stream(log, "2026-11-03T02:00:00.000Z", policy="aa" * 6)
    (usage,) = ask(log).usages
    assert usage.allowed is not None
    assert usage.allowed.by == ("j.smith",)


def test_what_narrows_was_allowed_by_those_who_signed_before(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    record(log, "2026-10-01T09:00:00.000Z", "policy.taken", after=DIGEST, approved=["a.jones", "b.khan"], change="CR-1")
    record(log, "2026-10-02T09:00:00.000Z", "policy.taken", before=DIGEST, after="bb" * 32, narrows=1)
    record(log, "2026-10-03T09:00:00.000Z", "policy.taken", before="cc" * 32, after="dd" * 32, narrows=1)
    stream(log, "2026-11-03T02:00:00.000Z", policy="bb" * 6)
    stream(log, "2026-11-03T02:00:00.000Z", policy="dd" * 6)
    allowed = {each.policy: each.allowed for each in ask(log).usages}
    assert allowed["bb" * 6] == Allowed(("a.jones", "b.khan"), "2026-10-01T09:00:00.000Z", "CR-1")
    assert allowed["dd" * 6] == Allowed((), "2026-10-03T09:00:00.000Z", "")


def test_what_makes_no_sense_is_passed_over(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    log.append(
        [b'{"event":"stream.end"', b"\xff", b"x" * 70_000, b'{"n":3,"event":"stream.end","streams":"many"}', b""]
    )
    stream(log, "2026-11-03T02:00:00.000Z")
    assert ask(log).records == 1


def test_more_groups_than_are_kept_are_counted(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_module, "GROUPS_MOST", 1)
    found = ask(log)
    assert (len(found.usages), found.left_out) == (1, 2)


def test_refusals_that_have_no_record_of_their_own_are_counted(tmp_path: Path) -> None:
    """A node bounds what others can cause, and says with the next record how many it has left out."""
    log = AuditLog(tmp_path / "audit")
    stream(log, "2026-11-03T02:00:00.000Z", "stream.refused", rule=3)
    stream(log, "2026-11-03T02:01:00.000Z", "stream.refused", rule=3, suppressed=9_940)
    # For the bound services are one: these may have been for custody too.
    stream(log, "2026-11-03T02:02:00.000Z", "stream.refused", service="pnd@kent.police.example", suppressed=7)
    stream(log, "2026-11-03T02:02:00.000Z", "stream.refused", service="pnd@hub.example", suppressed=100)
    stream(log, "2026-11-03T03:00:00.000Z", "stream.refused", suppressed=1_000)
    wanted = {"service": "custody@kent.police.example", "until": "2026-11-03T03:00:00.000Z"}
    found = ask(log, **wanted)
    assert ([each.refused for each in found.usages], found.bounded) == ([9_942], 9_947)
    assert ask(log, **wanted, organisation="essex.police.example").bounded == 0
    assert ask(log).bounded == 9_940 + 7 + 100 + 1_000


def test_records_that_were_lost_in_that_time_are_counted(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    stream(log, "2026-11-03T02:00:00.000Z")
    hole = {"count": 212, "since": "2026-11-03T02:10:00.000Z", "until": "2026-11-03T02:20:00.000Z", "reason": "full"}
    record(log, "2026-11-03T05:00:00.000Z", "audit.lost", **hole)
    record(log, "2026-11-03T06:00:00.000Z", "audit.left_out", count=3)
    for since, until, lost in (
        ("", "", 215),
        ("2026-11-03T02:15:00.000Z", "2026-11-03T02:16:00.000Z", 212),
        ("2026-11-03T02:20:00.000Z", "", 215),
        ("2026-11-03T02:20:00.001Z", "2026-11-03T06:00:00.000Z", 0),
        ("", "2026-11-03T02:10:00.000Z", 0),
        ("2026-11-03T06:00:00.000Z", "", 3),
    ):
        assert ask(log, since=since, until=until).lost == lost, (since, until)


def test_who_had_allowed_it_is_said_again_where_that_record_is_not(tmp_path: Path) -> None:
    """A log that began after the approval, or whose records of it were removed."""
    log = AuditLog(tmp_path / "audit")
    stream(log, "2026-11-03T02:00:00.000Z")
    told = {"approved": ["a.jones", "b.khan"], "by": "j.smith", "change": "CR-1", "taken": "2025-10-01T09:00:00Z"}
    for day in (3, 4):
        record(log, f"2026-11-0{day}T09:00:00.000Z", "policy.in_force", holds=DIGEST, **told)
    (usage,) = ask(log).usages
    assert usage.allowed == Allowed(("a.jones", "b.khan"), "2025-10-01T09:00:00Z", "CR-1")
    # The record of the approval itself says it better.
    record(log, "2026-10-01T09:00:00.000Z", "policy.taken", after=DIGEST, approved=["c.brown"], change="CR-2")
    record(log, "2026-11-05T09:00:00.000Z", "policy.in_force", holds=DIGEST, **told)
    (usage,) = ask(log).usages
    assert usage.allowed == Allowed(("c.brown",), "2026-10-01T09:00:00.000Z", "CR-2")


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-03T02:00Z", "2026-11-03T02:00:00.000Z"),
        ("2026-11-03T02:00", "2026-11-03T02:00:00.000Z"),
        ("2026-11-03", "2026-11-03T00:00:00.000Z"),
        ("2026-11-03T02:00+01:00", "2026-11-03T01:00:00.000Z"),
        ("2026-11-03T02:00:01.5Z", "2026-11-03T02:00:01.500Z"),
    ],
)
def test_times_are_those_of_records(text: str, time: str) -> None:
    assert checked_time(text) == time


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "", "2026-11-03T25:00Z", "0001-01-01T00:00+14:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"isoformat|must be|calendar"):
        checked_time(text)
