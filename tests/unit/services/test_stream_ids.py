"""One stream has one id at both edges; one without a session has an id of its own edge."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from pcgrelay.clock import SetClock
from pcgrelay.dataplane.events import StreamEnd
from pcgrelay.services.stream_ids import StreamIds, stream_id

NOW = datetime(2026, 3, 1, 12, 0, 1, tzinfo=UTC)


def ended(**values: Any) -> StreamEnd:
    return StreamEnd(True, 0, 1, b"sql", 1, 1, 1_500_000, 0, "done", 0xFFFF, False, **values)


def test_both_edges_make_the_same_of_what_both_know() -> None:
    here, there = (StreamIds(SetClock(NOW)) for _ in range(2))
    event = ended(id_head=0x00AB12CD, flow=3, stream=17)
    assert here.identify(event, None) == there.identify(event, None)
    assert here.identify(event, None).id == "00ab12cd-3-17" == stream_id(0x00AB12CD, 3, 17)


def test_it_says_when_the_stream_was_opened() -> None:
    assert StreamIds(SetClock(NOW)).identify(ended(), None).started == "2026-03-01T11:59:59.500Z"


def test_the_id_of_a_session_that_the_core_does_not_know_is_that_of_the_table() -> None:
    session: Any = SimpleNamespace(id_head=0xFFFFFFFF)
    assert StreamIds(SetClock(NOW)).identify(ended(flow=0, stream=2), session).id == "ffffffff-0-2"


def test_streams_without_a_session_have_ids_of_this_edge_alone() -> None:
    here, there = (StreamIds(SetClock(NOW)) for _ in range(2))
    first, second = (here.identify(ended(), None).id for _ in range(2))
    assert first != second
    assert first.count("-") == 1
    assert there.identify(ended(), None).id != first
