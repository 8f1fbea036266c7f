"""Whatever a peer can cause any number of fills no disk: each kind of line is bounded, or this node alone causes it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from msgspec import structs

from pcgrelay.clock import Clock
from pcgrelay.log import events as records
from pcgrelay.log.events import LaneDown, Record
from pcgrelay.log.stream_events import StreamRefused
from pcgrelay.log.throttle import BOUNDED_BY, OWNED_MOST, Throttle, owner_of
from pcgrelay.log.writer import LINES_AT_ONCE, Log

# Lines of which the operator, a file, a target or this process itself is the cause; and the access log, whose lines are
# those of streams that were really open.
OWN = {
    "node.ready", "node.draining", "node.stopped", "node.drain_undone", "log.lost", "target.unresolved",
    "target.failing", "target.well", "config.reloaded", "config.refused", "handover.done", "handover.failed",
    "handover.taken", "stream.end", "tables.refused", "certificate.ending", "certificate.expired",
    "certificate.not_yet_valid", "crl.ending", "crl.expired", "crl.not_yet_valid",
    "clock.state",
}  # fmt: skip


def kinds() -> Iterator[type[Record]]:
    found = (kind for kind in vars(records).values() if isinstance(kind, type) and issubclass(kind, Record))
    return (kind for kind in found if hasattr(kind, "EVENT"))


@pytest.mark.parametrize("kind", list(kinds()), ids=lambda kind: kind.EVENT)
def test_each_kind_is_bounded_or_this_nodes_own(kind: type[Record]) -> None:
    assert (kind.EVENT in OWN) is (kind.EVENT not in BOUNDED_BY)
    assert set(BOUNDED_BY.get(kind.EVENT, ())) <= {field.name for field in structs.fields(kind)}


class LinkHistory(Clock):
    """A clock that goes on when it is told to."""

    now_ms = 1_000

    def wall(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_ms(self) -> int:
        return self.now_ms


def refused(cause: str) -> StreamRefused:
    return StreamRefused(
        id="6f2c9a01-0-1",
        started="2026-03-01T12:00:00.000Z",
        from_organisation="a.example",
        to_organisation="b.example",
        service="s@b.example",
        direction="export",
        session=1,
        code="refused",
        cause=cause,
    )


@pytest.fixture
def log() -> tuple[Log, io.StringIO, LinkHistory]:
    sink, clock = io.StringIO(), LinkHistory()
    return Log(sink=sink, clock=clock), sink, clock


def test_a_flood_is_cut_and_counted(log: tuple[Log, io.StringIO, LinkHistory]) -> None:
    said, sink, clock = log
    for _ in range(50_000):
        said.emit(refused("not-allowed"))
    assert len(sink.getvalue().splitlines()) == LINES_AT_ONCE
    # Another cause, and another kind, have lines of their own.
    said.emit(refused("unknown-service"))
    said.emit(LaneDown(link=1, peer="a", index=0, code="done", reason="silent"))
    assert len(sink.getvalue().splitlines()) == LINES_AT_ONCE + 2
    clock.now_ms += 1_000
    said.emit(refused("not-allowed"))
    assert json.loads(sink.getvalue().splitlines()[-1])["suppressed"] == 50_000 - LINES_AT_ONCE


def test_what_has_a_count_of_its_own_tells_the_sum(log: tuple[Log, io.StringIO, LinkHistory]) -> None:
    said, sink, clock = log
    line = records.PathRefused(source="a", destination="b", code="busy", reason="no_route", suppressed=5)
    for _ in range(LINES_AT_ONCE + 7):
        said.emit(line)
    clock.now_ms += 1_000
    said.emit(line)
    assert json.loads(sink.getvalue().splitlines()[-1])["suppressed"] == 12


def test_keys_without_end_share_what_one_has() -> None:
    throttle = Throttle(1_000, keys_most=10)
    admitted = sum(throttle.admit(str(number), 0) is not None for number in range(1_000))
    assert admitted <= 10
    # Who is known keeps what is its own.
    assert throttle.admit("3", 1_000) == 0


def test_one_organisation_does_not_take_the_keys_of_the_others() -> None:
    throttle = Throttle(1_000, keys_most=100_000, at_once=2)
    for number in range(3 * OWNED_MOST):
        throttle.admit(f"link.up met-{number}.met.example", 0, "met.example")
    assert throttle.admit("link.up kent-1.kent.example", 0, "kent.example") == 0
    assert throttle.admit("link.up met-0.met.example", 0, "met.example") == 0
    # What is beyond its part shares a key for each kind, and is counted.
    assert throttle.admit("link.up met-new.met.example", 0, "met.example") is None
    assert throttle.admit("link.down met-new.met.example", 0, "met.example") == 0
    assert len(throttle._known) <= OWNED_MOST + 3
    # When they are forgotten, it has its part again.
    assert throttle.admit("session.up met-new.met.example", 100_000, "met.example") == 0
    assert len(throttle._known) < 10


def test_the_organisation_of_a_record_is_found() -> None:
    assert owner_of(LaneDown(link=1, peer="met-1.met.example", index=0, code="done", reason="silent")) == "met.example"
    assert owner_of(refused("limit")) == "a.example"
    assert owner_of(records.EventsLost(count=1)) == ""
    # Whoever claims to be a node of an organisation takes nothing from it.
    claimed = records.HandshakeRefused(purpose="session", reason="deadline", cause="x", peer="n-1.met.example")
    assert "met.example" not in owner_of(claimed)
