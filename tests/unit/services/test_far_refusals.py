"""An exporter that takes a grant away: what its callers' edge says of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pcgrelay.admin.condition import troubles
from pcgrelay.dataplane.events import StreamEnd, StreamsDone
from pcgrelay.messages import Code
from pcgrelay.model import NodeId
from pcgrelay.services.far_refusals import OPEN_MS, REFUSALS_MOST, FarRefusals
from pcgrelay.views.explain import explain
from pcgrelay.views.status import node_status
from tests.support import fake_core
from tests.support.nodes_in_process import HUB, KENT, MET, Nodes, Running, entry, export, is_live
from tests.support.ports import free_port
from tests.support.waiting import until_async as until

SERVICE = f"custody@{KENT}"
NO_RULE = 0xFFFF


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    nodes = Nodes(tmp_path)
    yield nodes
    await nodes.stop()


@pytest.fixture
async def met(nodes: Nodes) -> Running:
    """An importer beside its exporter."""
    port = free_port()
    await nodes.start(KENT, "kent-1", listens=[f"127.0.0.1:{port}"], exports=[export()])
    link = {"peer": f"kent-1.{KENT}", "address": f"127.0.0.1:{port}"}
    met = await nodes.start(MET, "met-1", links=[link], imports=[entry()])
    await until(lambda: is_live(met))
    return met


def ended(
    met: Running,
    code: int,
    cause: str,
    *,
    rule: int = NO_RULE,
    remote: bool = True,
    received: int = 0,
    open_us: int = 0,
) -> None:
    session = next(iter(met.edge.sessions)).number
    event = StreamEnd(True, 0, session, b"custody", 0, received, open_us, code, cause, rule, remote)
    met.edge.stream_ends.ended(event)


def seen(met: Running) -> tuple[Any, ...]:
    """What status, its troubles and explain say."""
    status = node_status(met.node)
    (service,) = [each for each in status.services if each.direction == "import"]
    answer = explain(met.node, SERVICE)
    states = [route.state for route in service.routes]
    return status.condition, service.state, states, answer.open, answer.health


async def test_a_refusal_by_rule_is_seen_until_a_stream_gets_through(met: Running) -> None:
    well = ("ready", "ready", ["ready"], True, "ok")
    refused = ("failing", "refused", ["refused"], False, "failing")
    assert seen(met) == well
    ended(met, Code.REFUSED, "far-reset", rule=3)
    assert seen(met) == refused
    words = f"kent-1.{KENT} refused the last stream 0 s ago (not-allowed, by its rule export[4])"
    assert words in explain(met.node, SERVICE).verdict
    assert any(words in trouble.sentence for trouble in troubles(node_status(met.node)))
    line = met.lines("stream.refused")[-1]
    assert (line["cause"], line["code"], line["rule"]) == ("not-allowed", "refused", 3)
    # What says nothing of the rules changes nothing.
    ended(met, Code.BUSY, "far-reset")
    ended(met, Code.TIMEOUT, "waited-too-long", remote=False)
    assert seen(met) == refused
    # Nor does the end of a stream that was accepted before.
    ended(met, Code.DONE, "done", remote=False, received=1, open_us=60_000_000)
    assert seen(met) == refused
    ended(met, Code.DONE, "done", remote=False, received=1)
    assert seen(met) == well
    ended(met, Code.UNKNOWN, "far-reset")
    assert seen(met) == refused
    assert met.lines("stream.refused")[-1]["cause"] == "unknown-service"
    # It came as far as the target.
    ended(met, Code.UNREACHABLE, "far-reset")
    assert seen(met) == well


async def test_one_of_many_that_were_done_takes_a_refusal_back_if_it_came_later(met: Running) -> None:
    ended(met, Code.REFUSED, "far-reset")
    assert seen(met)[1] == "refused"
    session = next(iter(met.edge.sessions)).number
    met.edge.stream_ends.done(StreamsDone(True, 0, session, 20, answered_us=60_000_000))
    assert seen(met)[1] == "refused"
    # Those that were opened to us say nothing of it either, nor do those of no session.
    met.edge.stream_ends.done(StreamsDone(False, 0, session, 20, answered_us=0))
    met.edge.stream_ends.done(StreamsDone(True, 0, 0, 20, answered_us=0))
    assert seen(met)[1] == "refused"
    met.edge.stream_ends.done(StreamsDone(True, 0, session, 20, answered_us=0))
    assert seen(met)[1] == "ready"


async def test_a_refusal_goes_with_its_import_and_outlives_a_session(met: Running) -> None:
    ended(met, Code.REFUSED, "far-reset")
    session = next(iter(met.edge.sessions))
    met.core.emit(fake_core.EVENT_SESSION_DOWN, session.number, Code.BUSY, "test", True)
    await until(lambda: met.lines("session.down") and is_live(met))
    assert seen(met)[1] == "refused"


async def test_one_exporter_of_two_that_refuses_leaves_the_service_ready(nodes: Nodes) -> None:
    ports = [free_port(), free_port()]
    for number, port in enumerate(ports, 1):
        await nodes.start(KENT, f"kent-{number}", listens=[f"127.0.0.1:{port}"], exports=[export()])
    links = [{"peer": f"kent-{n}.{KENT}", "address": f"127.0.0.1:{port}"} for n, port in enumerate(ports, 1)]
    met = await nodes.start(MET, "met-1", links=links, imports=[entry()])
    await until(lambda: is_live(met) and len(met.routes()[0]) == 2)
    ended(met, Code.REFUSED, "far-reset")
    assert seen(met)[:2] == ("ready", "ready")
    assert sorted(seen(met)[2]) == ["ready", "refused"]
    answer = explain(met.node, SERVICE)
    assert answer.open
    assert "refused the last stream" in answer.verdict


def test_refusals_are_bounded_and_a_stream_that_stays_open_ends_one() -> None:
    now = 0
    far = FarRefusals()

    def refuse(number: int, edge: NodeId) -> None:
        far.heard(
            StreamEnd(True, number, 1, b"x", 0, 0, 1, Code.REFUSED, "far-reset", NO_RULE, True),
            edge,
            now,
        )

    edge = NodeId("police.example", KENT, "kent-1")
    other = NodeId("police.example", HUB, "hub-1")
    for number in range(REFUSALS_MOST + 5):
        refuse(number, edge)
    assert far.of(4, edge) is None
    assert far.of(5, edge) is not None
    far.looked_at(5, {edge}, 1, now + OPEN_MS)
    far.looked_at(6, {edge, other}, 1, now + OPEN_MS + 1)
    far.looked_at(7, {edge}, 0, now + OPEN_MS + 1)
    assert all(far.of(number, edge) for number in (5, 6, 7))
    far.looked_at(5, {edge}, 1, now + OPEN_MS + 1)
    assert far.of(5, edge) is None
    far.forget([6])
    assert far.of(6, edge) is None
