"""Neighbours that abuse what witnesses do for them: two links at once, answers in turn, keys and names without end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from pcgrelay.audit.checkpoint import Checkpoint
from pcgrelay.audit.keys import LogKeys
from pcgrelay.audit.note import sign_note
from pcgrelay.audit.witnessing import Known, parse_request, request_body
from pcgrelay.errors import RunError
from pcgrelay.gateway import witness_files, witnesses
from pcgrelay.gateway.witness_files import WitnessFiles
from pcgrelay.identity.handshake import WITNESS
from pcgrelay.link.link import Link
from pcgrelay.messages import Witness, WitnessKind
from pcgrelay.model import NodeId
from tests.support.nodes_in_process import HUB, KENT, Nodes, Running, dial
from tests.support.ports import free_port
from tests.support.waiting import until_async as until
from tests.support.witnessed_nodes import flush, start

REFUSED, COSIGNED, REQUEST = WitnessKind.REFUSED, WitnessKind.COSIGNED, WitnessKind.REQUEST


@dataclass
class FakeLink:
    """A link that keeps what is sent on it."""

    number: int
    peer: NodeId
    features: tuple[str, ...] = (WITNESS,)
    controlled: bool = True
    draining: bool = False
    sent: list[Witness] = field(default_factory=list)

    def send(self, message: Witness) -> None:
        self.sent.append(message)

    @property
    def link(self) -> Link:
        return cast("Link", self)


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    made = Nodes(tmp_path)
    yield made
    await made.stop()


async def opened(nodes: Nodes, organisation: str, name: str, **tables: Any) -> Running:
    """A node whose audit log is open."""
    running = await start(nodes, organisation, name, **tables)
    await flush(running)
    return running


def keys_of(running: Running) -> LogKeys:
    log = running.node.audit.log
    assert log is not None
    assert log.keys is not None
    return log.keys


def request(running: Running, root: bytes) -> Witness:
    """A request of a node to sign a head of one record, with its keys."""
    keys = keys_of(running)
    note = sign_note(Checkpoint(keys.origin, 1, root).text, keys.signers, 1_800_000_000)
    return Witness(int(REQUEST), request_body(0, (), note), running.node.audit.told_keys(keys))


async def test_a_fork_on_two_links_at_once_is_signed_on_one_at_most(nodes: Nodes) -> None:
    relay = await opened(nodes, HUB, "relay-1", role="relay", listens=[f"127.0.0.1:{free_port()}"])
    kent = await opened(nodes, KENT, "kent-1", links=[dial(1, free_port())])
    peer = kent.node.config.node.id
    links = [FakeLink(number, peer) for number in (9_001, 9_002, 9_003)]
    for link in links:
        relay.node.witnesses.receive(link.link, request(kent, bytes([link.number & 0xFF]) * 32))
    await until(lambda: all(link.sent for link in links))
    assert sorted(link.sent[0].kind for link in links) == [COSIGNED, REFUSED, REFUSED]
    assert [link.sent[0].body for link in links if link.sent[0].kind == REFUSED] == [b"busy"] * 2
    # And what comes next is measured by what was signed.
    other = FakeLink(9_004, peer)
    relay.node.witnesses.receive(other.link, request(kent, b"x" * 32))
    await until(lambda: other.sent)
    assert other.sent[0].kind == WitnessKind.CONFLICT


async def test_a_witness_that_names_two_sizes_in_turn_is_asked_once_more_alone(nodes: Nodes) -> None:
    kent = await opened(nodes, KENT, "kent-1", links=[dial(1, free_port())])
    asker = kent.node.witnesses
    link = FakeLink(9_001, NodeId("police.example", HUB, "relay-1"))
    asker.look([link.link])
    for count in range(1, 6):
        await until(lambda: not asker._tasks)
        asker.receive(link.link, Witness(int(WitnessKind.SIZE), b"%d\n" % (count % 2)))
    await until(lambda: not asker._tasks)
    assert [message.kind for message in link.sent] == [REQUEST, REQUEST]
    assert asker.refused["witness_unasked"] == 3


async def test_keys_without_end_are_verified_a_few_times_alone(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    relay = await opened(nodes, HUB, "relay-1", role="relay", listens=[f"127.0.0.1:{free_port()}"])
    kent = await opened(nodes, KENT, "kent-1", links=[dial(1, free_port())])
    verified = []
    read = witnesses.read_keys_record
    monkeypatch.setattr(witnesses, "read_keys_record", lambda record: (verified.append(record), read(record))[1])
    link = FakeLink(9_001, kent.node.config.node.id)
    good = request(kent, b"r" * 32)
    for _ in range(20):
        relay.node.witnesses.receive(link.link, good)
    assert len(verified) == 1  # the same keys again cost nothing
    for count in range(20):
        bad = (*good.keys[:3], bytes([count]) * 70, *good.keys[4:])
        relay.node.witnesses.receive(link.link, Witness(good.kind, good.body, bad))
    refused = relay.node.witnesses.refused
    assert len(verified) == witnesses.ASKED_AT_ONCE
    assert refused["witness_keys"] == witnesses.ASKED_AT_ONCE - 1
    assert refused["witness_too_many"] >= 20 - witnesses.ASKED_AT_ONCE
    await asyncio.gather(*relay.node.witnesses._tasks)


async def test_nodes_that_come_and_go_are_not_remembered_without_end(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witnesses, "NEIGHBOURS_MOST", 3)
    kent = await opened(nodes, KENT, "kent-1", links=[dial(1, free_port())])
    asker = kent.node.witnesses
    for number in range(20):
        link = FakeLink(number, NodeId("police.example", "met.police.example", f"met-{number}"))
        asker.look([link.link])
        await until(lambda: not asker._tasks)
        link.controlled = False
        asker.link_down(link.link)
        # A task that ends after its link leaves nothing behind.
        asker._send(link.link, None, REFUSED, b"busy")
    assert len(asker.asked) <= 4
    assert not asker._links


def test_one_organisation_does_not_take_the_room_of_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witness_files, "LOGS_OF_ORGANISATION_MOST", 2)
    files = WitnessFiles(tmp_path)
    known = Known(origin="o", keys=("a", "b", "c"))
    mets = [NodeId("police.example", "met.police.example", f"met-{number}") for number in range(3)]
    for met in (*mets[:2], mets[0]):
        files.write(met, known)
    with pytest.raises(RunError, match=r"2 logs of met\.police\.example already"):
        files.write(mets[2], known)
    files.write(mets[1], known)
    files.write(NodeId("police.example", KENT, "kent-1"), known)


def test_what_was_signed_last_is_not_replaced_by_what_was_signed_before(tmp_path: Path) -> None:
    """The one before would let a log go on from there, beside what was signed since."""
    files, peer = WitnessFiles(tmp_path), NodeId("police.example", KENT, "kent-1")
    for size in (1, 2):
        files.write(peer, Known(origin="o", keys=("a", "b", "c"), size=size))
    (path,) = (tmp_path / "witness").glob("*.json")
    path.write_bytes(b"torn")
    with pytest.raises(RunError, match="cannot be read"):
        files.read(peer)


async def test_a_witness_that_signs_in_the_future_is_not_believed_for_years(nodes: Nodes) -> None:
    relay = await opened(nodes, HUB, "relay-1", role="relay", listens=[f"127.0.0.1:{free_port()}"])
    kent = await opened(nodes, KENT, "kent-1", links=[dial(1, free_port())])
    asker, witness = kent.node.witnesses, keys_of(relay)
    link = FakeLink(9_001, relay.node.config.node.id)
    asker.look([link.link])
    await until(lambda: not asker._tasks)
    asked = asker.asked[link.peer]
    assert asked.note is not None
    line = witness.cosigner.sign(asked.note.text, (1 << 63) - 1).line.encode()
    asker.receive(link.link, Witness(int(COSIGNED), line, relay.node.audit.told_keys(witness)))
    assert asked.cosigned_size
    assert 1_700_000_000 < asked.cosigned_s <= kent.node.clock.wall().timestamp()


async def test_an_empty_tree_with_another_root_is_refused_and_no_conflict(nodes: Nodes) -> None:
    relay = await opened(nodes, HUB, "relay-1", role="relay", listens=[f"127.0.0.1:{free_port()}"])
    kent = await opened(nodes, KENT, "kent-1", links=[dial(1, free_port())])
    keys = keys_of(kent)
    for number, (size, proof) in enumerate(((0, ()), (1, (bytes(32),)))):
        link = FakeLink(number, kent.node.config.node.id)
        note = sign_note(Checkpoint(keys.origin, size, b"r" * 32).text, keys.signers, 1_800_000_000)
        asking = Witness(int(REQUEST), request_body(0, proof, note), kent.node.audit.told_keys(keys))
        relay.node.witnesses.receive(link.link, asking)
        await until(lambda link=link: link.sent)  # type: ignore[misc]
        assert (link.sent[0].kind, link.sent[0].body) == (REFUSED, b"signature")
    assert not relay.node.witnesses.refused["witness_unkept"]
    assert not relay.node.witnesses.conflicts


async def test_nodes_of_one_organisation_without_end_fill_no_log_with_their_keys(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witnesses, "KEYS_AT_ONCE", 2)
    relay = await opened(nodes, HUB, "relay-1", role="relay", listens=[f"127.0.0.1:{free_port()}"])
    kent = await opened(nodes, KENT, "kent-1", links=[dial(1, free_port())])
    asker, of_relay, witness = kent.node.witnesses, relay.node.config.node.id, keys_of(relay)
    told = relay.node.audit.told_keys(witness)

    async def cosigned(number: int, organisation: str) -> int:
        """A neighbour of that name, with the keys of the relay, as if they were its own, signs."""
        link = FakeLink(number, NodeId("police.example", organisation, f"node-{number}"))
        asker.look([link.link])
        await until(lambda: not asker._tasks)
        asked = asker.asked[link.peer]
        assert asked.note is not None
        known = asker._links.setdefault(number, witnesses._OfLink())
        record, _ = witnesses.WitnessKeys(
            peer=link.peer.dotted, origin=witness.origin, ed25519="", ml_dsa_44="", cosigner="", certificates=(),
            signature="",
        ), of_relay  # fmt: skip
        known.learned, known.keys, known.record = told, witness.public, record
        line = witness.cosigner.sign(asked.note.text, 1_800_000_000).line.encode()
        asker.receive(link.link, Witness(int(COSIGNED), line, told))
        return asked.cosigned_size

    sizes = [await cosigned(number, "met.police.example") for number in range(5)]
    assert [bool(size) for size in sizes] == [True, True, False, False, False]
    assert asker.refused["witness_too_many"] == 3
    # That is the matter of this organisation alone.
    assert await cosigned(9, "essex.police.example")
    assert len(kent.lines("witness.keys")) == 3


async def test_one_organisation_is_forgotten_before_another_is(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witnesses, "NEIGHBOURS_MOST", 6)
    kent = await opened(nodes, KENT, "kent-1", links=[dial(1, free_port())])
    asker = kent.node.witnesses
    essex = FakeLink(100, NodeId("police.example", "essex.police.example", "essex-1"))
    asker.look([essex.link])
    for number in range(30):
        asker.look([FakeLink(number, NodeId("police.example", "met.police.example", f"met-{number}")).link])
    await until(lambda: not asker._tasks)
    assert essex.peer in asker.asked
    assert len(asker.asked) <= 7


async def test_requests_of_one_organisation_leave_threads_for_the_others(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = await opened(nodes, HUB, "relay-1", role="relay", listens=[f"127.0.0.1:{free_port()}"])
    witness = relay.node.witnesses
    gate, at_once, most = threading.Event(), [], []

    def slow(*_: object) -> witnesses.Verdict:
        at_once.append(1)
        most.append(len(at_once))
        gate.wait(20)
        at_once.pop()
        return witnesses.Verdict.REFUSED

    monkeypatch.setattr(witnesses, "judge", slow)
    keys = keys_of(relay)
    note = sign_note(Checkpoint(keys.origin, 1, b"r" * 32).text, keys.signers, 1_800_000_000)
    parsed = parse_request(request_body(0, (), note))
    links = [FakeLink(number, NodeId("police.example", "met.police.example", f"met-{number}")) for number in range(6)]
    assert witness.state is not None
    files = WitnessFiles(witness.state)
    for link in links:
        witness._judged.add(link.peer)
        witness._spawn(witness._judge(link.link, keys.public, keys, parsed, files))
    await until(lambda: len(most) == witnesses.JUDGED_AT_ONCE)
    other = FakeLink(99, NodeId("police.example", KENT, "kent-1"))
    witness._judged.add(other.peer)
    witness._spawn(witness._judge(other.link, keys.public, keys, parsed, files))
    await until(lambda: len(most) == witnesses.JUDGED_AT_ONCE + 1)
    gate.set()
    await until(lambda: not witness._tasks)
    assert max(most) == witnesses.JUDGED_AT_ONCE + 1
    assert all(link.sent for link in [*links, other])
    assert not witness._turns


async def test_what_is_being_written_is_finished_before_another_process_has_the_folder(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = await opened(nodes, HUB, "relay-1", role="relay", listens=[f"127.0.0.1:{free_port()}"])
    kent = await opened(nodes, KENT, "kent-1", links=[dial(1, free_port())])
    begun, gate, write = threading.Event(), threading.Event(), WitnessFiles.write

    def slow(self: WitnessFiles, peer: NodeId, known: Known) -> None:
        begun.set()
        gate.wait(20)
        write(self, peer, known)

    monkeypatch.setattr(WitnessFiles, "write", slow)
    link = FakeLink(9_001, kent.node.config.node.id)
    relay.node.witnesses.receive(link.link, request(kent, b"r" * 32))
    await asyncio.to_thread(begun.wait, 20)
    with pytest.raises(RunError, match="1 files of state are still being written"):
        await relay.node.writes.settle(0.01)
    gate.set()
    await relay.node.writes.settle(20)
    known = WitnessFiles(nodes.folder / "state-relay-1").read(kent.node.config.node.id)
    assert known is not None
    assert known.size == 1
    # Until the other process is there, or this one goes on, nothing is written.
    begun.clear()
    other = FakeLink(9_002, NodeId("police.example", KENT, "kent-2"))
    conflict = relay.node.writes.run(begun.set)
    waiting = asyncio.ensure_future(conflict)
    await asyncio.sleep(0.05)
    assert not begun.is_set()
    assert not other.sent
    relay.node.writes.resume()
    await waiting
    assert begun.is_set()
