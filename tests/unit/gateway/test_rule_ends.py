"""What a node has told of rules that end goes into its hand-over record, and out of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pcgrelay.gateway.handover import to_handover
from pcgrelay.handover.node import decode_handover, encode_handover
from tests.support.nodes_in_process import KENT, MET, Nodes
from tests.support.ports import free_port


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    made = Nodes(tmp_path)
    yield made
    await made.stop()


async def test_an_end_between_two_processes_is_logged_by_the_second(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
    rule = {"organisation": MET, "until": until, "reason": "an operation", "reference": "DPIA-2026-114"}
    export = {"service": "custody", "target": "127.0.0.1:5432", "allow": [rule], "probe": "none"}
    old = await nodes.start(KENT, "kent-1", listens=[f"127.0.0.1:{free_port()}"], exports=[export])
    old.edge.tables.tick()
    record = decode_handover(encode_handover(to_handover(old.node)))
    assert [(each.organisation, each.until, each.told) for each in record.rule_ends] == [(MET, until, False)]
    await asyncio.sleep(0)  # its tasks begin
    await old.node.stop()
    new = await nodes.start(KENT, "kent-1", listens=[f"127.0.0.1:{free_port()}"], exports=[export])
    new.edge.tables.restore(record.rule_ends)
    monkeypatch.setattr(new.node.clock, "wall", lambda: until + timedelta(seconds=1))
    new.edge.tables.tick()
    (told,) = new.lines("rule.ended")
    assert (told["organisation"], told["reference"]) == (MET, "DPIA-2026-114")
    new.edge.tables.tick()
    assert len(new.lines("rule.ended")) == 1
    await asyncio.sleep(0)
