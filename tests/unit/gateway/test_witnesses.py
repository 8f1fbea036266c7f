"""Neighbours that witness each other's audit logs, over loopback, with real control connections."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pcgrelay.admin.condition import troubles
from pcgrelay.audit.checkpoint import Checkpoint
from pcgrelay.audit.history import read_newest
from pcgrelay.audit.note import verify_note
from pcgrelay.audit.restarting import Restart
from pcgrelay.gateway import witnesses
from pcgrelay.gateway.witness_files import WitnessFiles
from pcgrelay.log.events import NodeDrainUndone
from pcgrelay.messages import Witness
from pcgrelay.views.status import node_status
from tests.support.nodes_in_process import HUB, KENT, Nodes, Running, dial
from tests.support.ports import free_port
from tests.support.waiting import until_async as until
from tests.support.witnessed_nodes import flush, start, stop, witnessed
from tests.support.written_logs import Endorser, records_of


@pytest.fixture
async def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Nodes]:
    monkeypatch.setattr(witnesses, "EACH_MS", 100)
    monkeypatch.setattr(witnesses, "ASKED_EACH_S", 0.01)
    made = Nodes(tmp_path)
    yield made
    await made.stop()


async def pair(nodes: Nodes, port: int, **tables: Any) -> tuple[Running, Running]:
    relay = await start(nodes, HUB, "relay-1", role="relay", listens=[f"127.0.0.1:{port}"])
    kent = await start(nodes, KENT, "kent-1", links=[dial(1, port)], **tables)
    return relay, kent


def folder(nodes: Nodes, name: str) -> Path:
    return nodes.folder / f"state-{name}" / "audit"


def read(file: str) -> str:
    return Path(file).read_text(encoding="utf-8")


async def test_neighbours_sign_each_others_heads(nodes: Nodes) -> None:
    relay, kent = await pair(nodes, free_port())
    await until(lambda: kent.lines("link.up") and relay.lines("link.up"))
    for one, other in ((kent, relay), (relay, kent)):
        size = await flush(one)
        await until(lambda one=one, size=size: witnessed(one) >= size)
        status = node_status(one.node).audit
        assert status is not None
        (found,) = status.witnesses
        assert (found.peer, found.linked) == (other.node.config.node.id.dotted, True)
        assert found.size >= size
        (record,) = one.lines("witness.keys")
        assert record["peer"] == found.peer
    await flush(kent)
    head = read_newest(folder(nodes, "kent-1"))
    keys = relay.node.audit.log
    assert head is not None
    assert keys is not None
    assert keys.keys is not None
    await until(lambda: len(read_newest(folder(nodes, "kent-1")).note.signatures) == 3)  # type: ignore[union-attr]
    head = read_newest(folder(nodes, "kent-1"))
    assert head is not None
    assert verify_note(head.note, [keys.keys.public.cosigner])[0].time_s > 1_700_000_000
    assert not kent.node.witnesses.refused["witness_malformed"]
    # What the witness has signed it has kept.
    known = WitnessFiles(nodes.folder / "state-relay-1").read(kent.node.config.node.id)
    assert known is not None
    assert known.size == head.checkpoint.size


async def test_a_neighbour_without_a_log_witnesses_nothing(nodes: Nodes) -> None:
    port = free_port()
    relay = await start(nodes, HUB, "relay-1", audited=False, role="relay", listens=[f"127.0.0.1:{port}"])
    kent = await start(nodes, KENT, "kent-1", links=[dial(1, port)])
    await until(lambda: kent.lines("link.up"))
    await flush(kent)
    await until(lambda: kent.node.witnesses.refused["witness_refused"])
    assert not (nodes.folder / "state-relay-1" / "witness").exists()
    assert not relay.node.witnesses.refused


async def test_a_log_that_was_put_back_is_found_out_by_its_witness(nodes: Nodes, tmp_path: Path) -> None:
    """The folder is whole, its head is signed by the right keys, and it is older than what the witness signed."""
    port = free_port()
    relay, kent = await pair(nodes, port)
    await until(lambda: kent.lines("link.up"))
    await flush(kent)
    await stop(kent)
    shutil.copytree(folder(nodes, "kent-1"), tmp_path / "copy")
    kent = await start(nodes, KENT, "kent-1", links=[dial(1, port)])
    await until(lambda: kent.lines("link.up"))
    size = await flush(kent)
    await until(lambda: witnessed(kent) >= size)
    await stop(kent)
    shutil.rmtree(folder(nodes, "kent-1"))
    shutil.copytree(tmp_path / "copy", folder(nodes, "kent-1"))
    kent = await start(nodes, KENT, "kent-1", links=[dial(1, port)])
    await until(lambda: kent.node.audit.figures.refusing)  # type: ignore[union-attr]
    for each in (kent, relay):
        await until(lambda each=each: each.lines("witness.conflict"))
        (line,) = each.lines("witness.conflict")
        assert line["origin"].endswith("/kent.police.example/kent-1")
        assert read(line["file"]).count("pcgrelay.police.example/kent.police.example/kent-1\n") == 2
        assert any(
            trouble.is_grave and "two histories" in trouble.sentence for trouble in troubles(node_status(each.node))
        )
    # Nobody signs that log any more, in later processes neither, until somebody begins another.
    await stop(kent)
    kent = await start(nodes, KENT, "kent-1", links=[dial(1, port)])
    await until(lambda: kent.node.audit.figures.refusing)  # type: ignore[union-attr]
    await kent.node.audit.restart(Restart(uid=0, by="j.smith", reason="the disk was restored"))
    await until(lambda: kent.lines("link.up"))
    size = await flush(kent)
    await until(lambda: witnessed(kent) >= size)
    await until(lambda: relay.lines("witness.new_log"))
    assert records_of(folder(nodes, "kent-1"))[1]["event"] == "audit.restarted"


async def test_a_tile_that_a_power_failure_took_is_no_other_history(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proof by a damaged tile would be a conflict for the witness, and would be told of for ever."""
    monkeypatch.setattr(witnesses, "ANSWER_MS", 100)
    relay, kent = await pair(nodes, free_port())
    await until(lambda: kent.lines("link.up") and relay.lines("link.up"))
    size = await flush(kent)
    await until(lambda: witnessed(kent) >= size)
    tile = folder(nodes, "kent-1") / "tile" / "0" / "000"
    data = tile.read_bytes()
    tile.write_bytes(bytes(32) + data[32:])
    kent.node.emit(NodeDrainUndone(node="kent-1"))
    size = await flush(kent)
    await until(lambda: kent.node.witnesses.refused["witness_no_proof"])
    assert not relay.node.witnesses.conflicts
    assert not relay.node.witnesses.refused["witness_conflict"]
    tile.write_bytes(data[:32] + tile.read_bytes()[32:])
    await until(lambda: witnessed(kent) >= size)
    assert not kent.node.witnesses.conflicts


async def test_keys_of_another_certificate_are_not_taken(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    relay, kent = await pair(nodes, free_port())
    stranger = Endorser(kent.node.config.node.id)
    monkeypatch.setattr(kent.node.audit, "_endorse", stranger)
    await until(lambda: kent.lines("link.up"))
    await flush(kent)
    await until(lambda: relay.node.witnesses.refused["witness_keys"])
    assert not (nodes.folder / "state-relay-1" / "witness").exists()


async def test_what_was_not_asked_is_counted_and_costs_no_link(nodes: Nodes) -> None:
    relay, kent = await pair(nodes, free_port(), audited=False)
    await until(lambda: kent.lines("link.up") and relay.lines("link.up"))
    await flush(relay)
    (link,) = kent.node.link_table.links.values()
    for kind, body in ((2, b"x"), (3, b"9999999999"), (5, b"x\n\ny"), (1, b"old 0\n\nx")):
        link.send(Witness(kind, body))
    link.send(Witness(1, b"old 0\n\nx", (b"a", b"b")))
    await until(lambda: relay.node.witnesses.refused.total() >= 5)
    assert set(relay.node.witnesses.refused) <= {"witness_unasked", "witness_keys", "witness_malformed"}
    assert link.controlled


async def test_a_witness_signs_nothing_that_it_could_not_keep(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(WitnessFiles, "write", refuse)
    relay, kent = await pair(nodes, free_port())
    await until(lambda: kent.lines("link.up"))
    await flush(kent)
    await until(lambda: relay.node.witnesses.refused["witness_unkept"])
    assert witnessed(kent) == 0
    newest = read_newest(folder(nodes, "kent-1"))
    assert newest is not None
    assert Checkpoint.parse(newest.note.text).size
