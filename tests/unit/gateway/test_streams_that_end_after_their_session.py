"""The core tells the ends of streams after the session that carried them has ended: whose they were is known still."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from pcgrelay.dataplane.events import StreamEnd
from pcgrelay.gateway import stream_ends
from pcgrelay.messages import Code
from pcgrelay.session.session import Session
from tests.support.nodes_in_process import KENT, MET, Nodes, Running, entry, export
from tests.support.ports import free_port
from tests.support.waiting import until_async as until


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    made = Nodes(tmp_path)
    yield made
    await made.stop()


def end(running: Running, session: int) -> dict[str, object]:
    """Have a stream of the export end that this session carried; return its line."""
    event = StreamEnd(False, 0, session, b"custody", 7, 8, 9, 0, "done", 0xFFFF, False)
    running.edge.stream_ends.ended(event)
    return running.lines("stream.end")[-1]


async def test_a_session_that_was_closed_has_its_streams_still(nodes: Nodes) -> None:
    port = free_port()
    kent = await nodes.start(KENT, "kent-1", listens=[f"127.0.0.1:{port}"], exports=[export()])
    links = [{"peer": f"kent-1.{KENT}", "address": f"127.0.0.1:{port}"}]
    await nodes.start(MET, "met-1", links=links, imports=[entry()])
    await until(kent.sessions_up)
    (session,) = kent.edge.sessions
    number, suite = session.number, session.suite
    assert suite is not None
    kent.edge.sessions.close(session, Code.REFUSED, "revoked")
    assert kent.edge.sessions.by_number(number) is None
    line = end(kent, number)
    assert (line["from_organisation"], line["suite"], line["group"]) == (MET, suite.title, session.group)
    # Of one that never was nothing is known.
    assert end(kent, 999)["from_organisation"] == ""


async def test_sessions_that_ended_long_ago_are_forgotten(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    kent = await nodes.start(KENT, "kent-1", listens=[f"127.0.0.1:{free_port()}"], exports=[export()])
    ends = kent.edge.stream_ends
    living = {1, 500}
    monkeypatch.setattr(ends._sessions, "by_number", lambda number: number if number in living else None)
    for number in range(1, 1_001):
        ends.remember(cast(Session, SimpleNamespace(number=number)))
    # Whatever their age, those that live are known; of the others the youngest.
    assert living < ends._known.keys()
    assert set(range(1_001 - stream_ends.PAST_MOST, 1_001)) < ends._known.keys()
    assert len(ends._known) < 3 * stream_ends.PAST_MOST
