"""The audit log of a node: begun, reloaded, handed over and ended with it."""

from __future__ import annotations

import io
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from pcgrelay import config
from pcgrelay.admin.condition import troubles
from pcgrelay.admin.metrics import metrics_text
from pcgrelay.daemon.reload import Reloader
from pcgrelay.daemon.run import make_node
from pcgrelay.gateway import handover
from pcgrelay.gateway.audit import FOLDER
from pcgrelay.handover.node import decode_handover, encode_handover
from pcgrelay.log.writer import Log
from pcgrelay.messages import Code
from pcgrelay.state.folder import StateFolder
from pcgrelay.views.status import node_status
from tests.support import fake_core
from tests.support.nodes_in_process import HUB, KENT, Nodes, Running, entry, export
from tests.support.ports import free_port
from tests.support.waiting import until_async as until
from tests.support.written_logs import records_of

AUDIT: dict[str, Any] = {"keep_days": 400}


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    made = Nodes(tmp_path)
    (tmp_path / "state").mkdir(mode=0o700)
    yield made
    await made.stop()


def relay(nodes: Nodes, **tables: Any) -> Running:
    """A relay with a folder of state, not started."""
    return made(nodes, HUB, "relay-1", role="relay", **tables)


def made(nodes: Nodes, organisation: str, name: str, **tables: Any) -> Running:
    """A node with a folder of state, not started."""
    state = nodes.folder / "state"
    listens = tables.pop("listens", [f"127.0.0.1:{free_port()}"])
    path = nodes.write(organisation, name, listens=listens, node_table={"state": str(state)}, **tables)
    node = make_node(config.load(path), fake_core, Log("debug", sink := io.StringIO()))
    node.state = StateFolder.take(state)
    running = Running(node, sink)
    nodes.running.append(running)
    return running


def events(nodes: Nodes) -> list[str]:
    return [record["event"] for record in records_of(nodes.folder / "state" / FOLDER)]


async def test_a_node_without_the_table_has_no_log_and_no_thread(nodes: Nodes) -> None:
    running = relay(nodes)
    await running.node.start()
    assert running.node.audit.figures is None
    assert node_status(running.node).audit is None
    assert "audit" not in metrics_text(node_status(running.node), {})
    await running.node.stop()
    assert not (nodes.folder / "state" / FOLDER).exists()


async def test_a_life_is_on_record_and_signed_at_its_end(nodes: Nodes) -> None:
    running = relay(nodes, audit=AUDIT)
    await running.node.start()
    await until(lambda: events(nodes) == ["audit.keys", "node.ready"])
    running.node.log.policy = "7f3ac1000000"
    running.node.drain_begin(0)
    await running.node.stop()
    records = records_of(nodes.folder / "state" / FOLDER)
    assert [record["event"] for record in records] == ["audit.keys", "node.ready", "node.draining", "node.stopped"]
    assert [record.get("policy") for record in records] == [None, None, "7f3ac1000000", "7f3ac1000000"]
    assert not running.node.audit.figures


async def test_a_reload_begins_it_and_ends_it(nodes: Nodes) -> None:
    running = relay(nodes, listens=[f"127.0.0.1:{(port := free_port())}"])
    await running.node.start()
    reloader = Reloader(running.node, running.node.log, lambda text: None)

    async def reload(**tables: Any) -> tuple[str, ...]:
        nodes.write(
            HUB,
            "relay-1",
            role="relay",
            listens=[f"127.0.0.1:{port}"],
            node_table={"state": str(nodes.folder / "state")},
            **tables,
        )
        answer = await reloader.reload()
        assert answer.ok, answer.reason
        return answer.changes

    assert await reload(audit=AUDIT) == ("audit added",)
    await until(lambda: events(nodes) == ["audit.keys", "config.reloaded"])
    assert await reload(audit={"keep_days": 3}) == ("audit.keep_days changed",)
    assert await reload() == ("audit removed",)
    assert running.node.audit.figures is None
    await running.node.stop()
    assert events(nodes) == ["audit.keys", "config.reloaded", "config.reloaded", "audit.ended"]
    assert running.lines("audit.ended")


async def test_the_next_process_goes_on_with_what_was_not_written(nodes: Nodes) -> None:
    running = relay(nodes, audit=AUDIT)
    await running.node.start()
    await running.node.audit.flush()
    running.node.audit.release()
    running.node.audit.rest += (b'"ts":"2026-11-03T02:14:07.113Z","event":"x"}',)
    record = decode_handover(encode_handover(handover.to_handover(running.node)))
    assert record.audit == running.node.audit.rest
    fresh = make_node(running.node.config, fake_core, Log("debug", io.StringIO()))
    fresh.state = running.node.state
    fresh.audit.attach(fresh.state)
    fresh.audit.restore(record.audit)
    fresh.audit.start()
    await fresh.audit.flush()
    assert events(nodes) == ["audit.keys", "node.ready", "x"]
    await fresh.audit.stop()


async def test_what_is_wrong_with_it_is_in_status_and_metrics(nodes: Nodes) -> None:
    running = relay(nodes, audit=AUDIT)
    await running.node.start()
    await running.node.audit.flush()
    status = node_status(running.node)
    assert status.audit is not None
    assert status.audit.records == status.audit.signed == 2
    assert not [each for each in troubles(status) if "audit" in each.sentence]
    assert "pcgrelay_audit_size 2" in metrics_text(status, {})
    words = {
        "refusing": ("It was cut.", "Nothing of the audit log is signed any more: It was cut.", True),
        "failing": ("no space left on device", "cannot be written (no space left on device); 7 records", False),
    }
    for field, (reason, sentence, is_grave) in words.items():
        wrong = structs.replace(status, audit=structs.replace(status.audit, lost_total=7, **{field: reason}))
        (found,) = [each for each in troubles(wrong) if "audit" in each.sentence]
        assert sentence in found.sentence
        assert found.is_grave is is_grave
        assert "pcgrelay_audit_failing 1" in metrics_text(wrong, {})


# Two streams that were done, and what differs between them.
SUMS = (128, 140, 10_000, 0, [0] * 40, [0] * 40)
LAYOUT = struct.Struct("=QQQQQIIII9IBBBx")
DETAILS = b"".join(LAYOUT.pack(64, 70, 5_000, 0, 0, 0, 0xCAFE, 1, stream, *[0] * 12) for stream in (3, 5))
REFUSED = (0, b"custody", 0, 0, 5_000, Code.REFUSED, "not-allowed", 0xFFFF, True, (0, 0, 0, False, False))


@pytest.mark.parametrize(
    ("streams", "kept"),
    [
        ("all", [("stream.end", 0), ("stream.end", 0), ("stream.refused", 0)]),
        ("refused", [("stream.refused", 0)]),
        ("totals", [("stream.totals", 2)]),
    ],
)
async def test_an_edge_keeps_of_its_streams_what_it_is_told_to(
    nodes: Nodes, streams: str, kept: list[tuple[str, int]]
) -> None:
    tables = {"audit": AUDIT | {"streams": streams}, "log": {"access": False}}
    running = made(nodes, KENT, "kent-1", **tables, exports=[export()], imports=[entry()])
    await running.node.start()
    # Those that were done are told together, with what differs between them where each is on record.
    assert not running.node.plane.tells_each_end
    # Those that made room for others may have been refused, and are told each.
    assert running.node.plane.tells_limits
    assert running.node.plane.tells_details is (streams == "all")
    details = DETAILS if running.node.plane.tells_details else b""
    running.core.emit(fake_core.EVENT_STREAMS_DONE, True, 0, 0, 2, 5_000, SUMS, 0, b"custody", details)
    running.core.emit(fake_core.EVENT_STREAM_END, True, 0, *REFUSED)
    running.node.plane.deliver()
    await running.node.stop()
    records = [each for each in records_of(nodes.folder / "state" / FOLDER) if each["event"].startswith("stream.")]
    assert [(each["event"], each.get("streams", 0)) for each in records] == kept
    if streams == "all":
        assert [each.get("id") for each in records[:2]] == ["0000cafe-1-3", "0000cafe-1-5"]
        assert {each["service"] for each in records[:2]} == {"custody@kent.police.example"}
        assert all("received_bytes" in each and each["duration_ms"] == 5.0 for each in records[:2])
    if streams == "totals":
        assert (records[0]["refused"], records[0]["sent_bytes"], records[0]["received_bytes"]) == (1, 128, 140)
    counts = running.edge.services.stream_counts
    assert (counts.opened_total, sum(counts.refused_total.values())) == (2, 1)


# Two associations: one with a question and its answer, and one that dropped something.
OF_DATAGRAMS = (*SUMS, 4, 1, (2, 0, 0, 0, 0, 1, 0, 0, 0))
ASSOCIATIONS = LAYOUT.pack(64, 70, 5_000, 1, 1, 0, 0xCAFE, 1, 3, *[0] * 11, 1) + LAYOUT.pack(
    64, 70, 5_000, 3, 0, 0, 0xCAFE, 1, 5, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1
)


@pytest.mark.parametrize("streams", ["all", "totals"])
async def test_datagrams_of_associations_that_are_told_together_are_on_record_and_counted(
    nodes: Nodes, streams: str
) -> None:
    tables = {"audit": AUDIT | {"streams": streams}, "log": {"access": False}}
    running = made(nodes, KENT, "kent-1", **tables, exports=[export()], imports=[entry()])
    await running.node.start()
    details = ASSOCIATIONS if streams == "all" else b""
    done = True, 0, 0, 2, 5_000, OF_DATAGRAMS, 0, b"custody", details, "udp"
    running.core.emit(fake_core.EVENT_STREAMS_DONE, *done)
    running.node.plane.deliver()
    await running.node.stop()
    records = [each for each in records_of(nodes.folder / "state" / FOLDER) if each["event"].startswith("stream.")]
    names = ("protocol", "sent_datagrams", "received_datagrams", "dropped")
    told = [tuple(each.get(name) for name in names) for each in records]
    dropped = {"queue": 2, "no-stream": 1}
    if streams == "all":
        assert told == [("udp", 1, 1, None), ("udp", 3, None, dropped)]
    else:
        assert told == [(None, 4, 1, dropped)]
    counts = running.edge.services.stream_counts.imports[0]
    assert (counts.opened_total, counts.sent_datagrams, counts.received_datagrams) == (2, 4, 1)
    assert counts.dropped == dropped
