"""The log."""

from __future__ import annotations

import importlib
import io
import json
import os
import pkgutil
import subprocess
import sys
from datetime import UTC, datetime

import pytest

import pcgrelay.log
from pcgrelay.log import events as records
from pcgrelay.log.events import Record
from pcgrelay.log.throttle import Throttle
from pcgrelay.log.writer import KEEP_S, LINES_AT_ONCE, Log, line_of


def test_a_line() -> None:
    record = records.LinkDown(link=1, peer="kent-1", bearer="psn", reason="silent", duration_ms=5)
    assert line_of(record, datetime(2027, 1, 2, 3, 4, 5, 67_890, tzinfo=UTC)) == (
        '{"ts":"2027-01-02T03:04:05.067Z","level":"warning","event":"link.down",'
        '"link":1,"peer":"kent-1","bearer":"psn","reason":"silent","duration_ms":5}'
    )


def test_foreign_text_cannot_break_a_line() -> None:
    record = records.SessionFailed(peer="x", reason="y", cause='"\n{"event":"link.up"}\x1b[31m')
    line = line_of(record, datetime.now(UTC))
    assert "\n" not in line
    assert "\x1b" not in line
    assert json.loads(line)["event"] == "session.failed"


for module in pkgutil.iter_modules(pcgrelay.log.__path__):
    importlib.import_module(f"pcgrelay.log.{module.name}")


def kinds(base: type[Record] = Record) -> list[type[Record]]:
    """What is said; a record that others are made from has no event of its own."""
    return [leaf for kind in base.__subclasses__() for leaf in (kinds(kind) if kind.__subclasses__() else [kind])]


@pytest.mark.parametrize("kind", kinds())
def test_every_record_has_its_event_and_no_field_for_what_must_not_be_kept(kind: type[Record]) -> None:
    assert kind.LEVEL in records.LEVELS
    assert kind.EVENT.count(".") == 1
    forbidden = {"payload", "key", "secret", "user", "address", "target", "data"}
    assert not forbidden & set(kind.__struct_fields__)
    assert not {"EVENT", "LEVEL"} & set(kind.__struct_fields__)


# What is no decision and no ground of one: the state of services and targets, and what goes on by itself. All other
# kinds are audited; a new one is either, on purpose.
NOT_AUDITED = set(
    """
    member.away member.back link.control_lost lane.down session.stalled session.resumed listener.paused
    catalogue.refused service.full crl.too_large discovery.failed fleet.store_refuses fleet.store_live
    fleet.store_silent fleet.locked fleet.unlocked fleet.lock_lost outlet.failing outlet.well
    audit.failing audit.well audit.refusing handover.done
    rule.ending rule.unreturned stream.evicted
    import.up import.down import.unavailable import.moved target.unresolved target.failing target.well
    """.split()
)


def test_every_kind_is_audited_or_not_on_purpose() -> None:
    assert {kind.EVENT for kind in kinds() if not kind.AUDIT} == NOT_AUDITED


class Kept:
    """An audit log that notes what it gets."""

    def __init__(self) -> None:
        self.records: list[tuple[Record, str]] = []
        self.waited: list[float] = []

    def emit(self, record: Record, policy: str) -> bool:
        self.records.append((record, policy))
        return True

    async def settle(self, seconds: float) -> bool:
        self.waited.append(seconds)
        return False


def test_neither_level_nor_throttle_keeps_a_record_from_the_audit_log() -> None:
    log, log.audit = Log("error", io.StringIO()), (kept := Kept())
    log.policy = "7f3ac1000000"
    up = records.LinkRenewed(link=1, peer="x", generation=2, group="g", tls_suite="s")
    for _ in range(LINES_AT_ONCE + 5):
        log.emit(up)
    log.emit(records.LaneDown(link=1, peer="x", index=0, code="c", reason="r"))
    assert kept.records == [(up, "7f3ac1000000")] * (LINES_AT_ONCE + 5)


async def test_a_record_that_promises_something_waits_for_the_disk() -> None:
    sink = io.StringIO()
    log, stopped = Log("info", sink), records.NodeStopped(node="x", streams=0)
    assert await log.keep(stopped)
    log.audit = kept = Kept()
    assert not await log.keep(stopped)
    assert kept.records == [(stopped, "")]
    assert kept.waited == [KEEP_S]
    assert len(sink.getvalue().splitlines()) == 2


def test_event_names_are_unique() -> None:
    names = [kind.EVENT for kind in kinds()]
    assert len(set(names)) == len(names)


def test_levels() -> None:
    sink = io.StringIO()
    log = Log("warning", sink)
    log.emit(records.NodeStopped(node="x", streams=0))
    log.emit(records.EventsLost(count=1))
    assert [json.loads(line)["event"] for line in sink.getvalue().splitlines()] == ["events.lost"]


def test_a_closed_sink_stops_nothing() -> None:
    sink = io.StringIO()
    sink.close()
    log = Log("info", sink)
    log.emit(records.EventsLost(count=1))
    assert log.lost_total == 1


def test_what_a_sink_did_not_take_is_told_once_it_takes_again() -> None:
    class Full(io.StringIO):
        is_full = False

        def write(self, text: str) -> int:
            if self.is_full:
                raise OSError
            return super().write(text)

    sink = Full()
    log = Log("info", sink)
    sink.is_full = True
    for _ in range(3):
        log.emit(records.EventsLost(count=1))
    assert (log.lost_total, log.is_failing) == (3, True)
    sink.is_full = False
    log.emit(records.EventsLost(count=2))
    assert (log.lost_total, log.is_failing) == (3, False)
    lines = [json.loads(line) for line in sink.getvalue().splitlines()]
    assert [(line["event"], line["count"]) for line in lines] == [("log.lost", 3), ("events.lost", 2)]


def test_standard_error_that_nobody_reads_is_not_waited_for() -> None:
    """A pipe that is full: lines are lost, none is torn, and the process goes on to its end."""
    program = """
from pcgrelay.log.writer import Log
from pcgrelay.log.events import LogLost
log = Log("info")
for count in range(5_000):
    log.emit(LogLost(count=count))
print(log.lost_total)
"""
    reading, writing = os.pipe()
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=writing, text=True, check=True, timeout=20
    )
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        written = [json.loads(line)["count"] for line in pipe]
    assert written == list(range(len(written)))
    assert int(done.stdout) == 5_000 - len(written) > 0


def test_throttle() -> None:
    throttle = Throttle(1_000, keys_most=3)
    assert throttle.admit("a", 0) == 0
    assert throttle.admit("a", 999) is None
    assert throttle.admit("a", 500) is None
    assert throttle.admit("b", 500) == 0
    assert throttle.admit("a", 1_000) == 2
    for number in range(100):
        throttle.admit(str(number), 2_000)
    assert len(throttle._known) <= 3
