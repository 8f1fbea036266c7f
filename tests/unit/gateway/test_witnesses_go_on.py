"""A witness that is away, has lost its keys, or knows nothing of witnesses: the log goes on, and it is said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pcgrelay.admin.audit_line import audit_line
from pcgrelay.admin.condition import troubles
from pcgrelay.audit.history import read_newest
from pcgrelay.audit.note import NoteVerifier
from pcgrelay.audit.restarting import Restart
from pcgrelay.gateway import witnesses
from pcgrelay.identity import handshake
from pcgrelay.link.link import Link
from pcgrelay.messages import Message, Witness
from pcgrelay.views.status import node_status
from tests.support.nodes_in_process import HUB, KENT, Nodes, Running, dial
from tests.support.ports import free_port
from tests.support.waiting import until_async as until
from tests.support.witnessed_nodes import flush, start, stop, witnessed

STALE_MS = 300
DAY_OLD = "No neighbour has witnessed the audit log for a day."


@pytest.fixture
async def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Nodes]:
    monkeypatch.setattr(witnesses, "EACH_MS", 100)
    monkeypatch.setattr(witnesses, "ASKED_EACH_S", 0.01)
    made = Nodes(tmp_path)
    yield made
    await made.stop()


async def relay_at(nodes: Nodes, port: int) -> Running:
    return await start(nodes, HUB, "relay-1", role="relay", listens=[f"127.0.0.1:{port}"])


def says_a_day(running: Running) -> bool:
    return any(each.sentence == DAY_OLD and not each.is_grave for each in troubles(node_status(running.node)))


async def test_a_log_whose_witness_is_away_goes_on_and_says_for_how_long(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    relay = await relay_at(nodes, port)
    kent = await start(nodes, KENT, "kent-1", links=[dial(1, port)])
    await until(lambda: kent.lines("link.up"))
    size = await flush(kent)
    await until(lambda: witnessed(kent) >= size)
    assert not says_a_day(kent)
    await stop(relay)
    await until(lambda: kent.lines("link.down"))
    assert await flush(kent) > size  # that the link is down is on record, and signed
    monkeypatch.setattr(witnesses, "STALE_MS", STALE_MS)
    await until(lambda: says_a_day(kent))
    status = node_status(kent.node).audit
    assert status is not None
    (witness,) = status.witnesses
    assert (witness.size, witness.linked, status.stale) == (witnessed(kent), False, True)
    assert (status.failing, status.refusing) == ("", "")
    assert "witnessed by relay-1.hub.example 2 h 0 min ago" in audit_line(status, witness.timestamp_s + 7_200)
    monkeypatch.undo()
    monkeypatch.setattr(witnesses, "EACH_MS", 100)
    monkeypatch.setattr(witnesses, "ASKED_EACH_S", 0.01)
    await relay_at(nodes, port)
    await until(lambda: len(kent.lines("link.up")) == 2)
    size = await flush(kent)
    await until(lambda: witnessed(kent) >= size)
    assert not says_a_day(kent)


async def test_a_log_whose_witness_never_came_says_so(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a restart, while the neighbour is away: it was never asked."""
    monkeypatch.setattr(witnesses, "STALE_MS", STALE_MS)
    kent = await start(nodes, KENT, "kent-1", links=[dial(1, free_port())])
    await flush(kent)
    await until(lambda: says_a_day(kent))
    assert not kent.node.witnesses.asked


async def test_a_witness_that_has_lost_its_keys_signs_by_others_which_are_on_record(nodes: Nodes) -> None:
    port = free_port()
    relay = await relay_at(nodes, port)
    kent = await start(nodes, KENT, "kent-1", links=[dial(1, port)])
    await until(lambda: kent.lines("link.up"))
    size = await flush(kent)
    await until(lambda: witnessed(kent) >= size)
    assert relay.node.audit.log is not None
    relay.node.audit.log.refuse("Its keys are gone.")
    await until(lambda: relay.node.audit.figures.refusing)  # type: ignore[union-attr]
    await relay.node.audit.restart(Restart(uid=0, by="", reason="a new disk"))
    kent.node.drain_begin(0)  # something to sign
    size = await flush(kent)
    await until(lambda: witnessed(kent) >= size)
    await until(lambda: len(kent.lines("witness.keys")) == 2)
    old, new = (NoteVerifier.parse(each["cosigner"]) for each in kent.lines("witness.keys"))
    assert old.name == new.name == "hub.example/relay-1"
    assert old.public != new.public

    def has_signed() -> bool:
        newest = read_newest(nodes.folder / "state-kent-1" / "audit")
        assert newest is not None
        return any(new.has_signed(each) for each in newest.note.signatures)

    await until(has_signed)
    assert not kent.node.witnesses.conflicts


async def test_a_neighbour_that_does_not_list_the_feature_is_asked_nothing(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of an earlier version: nothing that it does not know is sent to it."""
    without = tuple(each for each in handshake.LINK_FEATURES if each != handshake.WITNESS)
    monkeypatch.setattr(handshake, "LINK_FEATURES", without)
    sent: list[Message] = []
    send = Link.send

    def noted(link: Link, message: Message) -> None:
        sent.append(message)
        send(link, message)

    monkeypatch.setattr(Link, "send", noted)
    port = free_port()
    relay = await relay_at(nodes, port)
    kent = await start(nodes, KENT, "kent-1", links=[dial(1, port)])
    await until(lambda: kent.lines("link.up") and relay.lines("link.up"))
    for node in (kent, relay):
        await flush(node)
        node.node.tick()
        assert not node.node.witnesses.asked
    assert not any(isinstance(message, Witness) for message in sent)
    assert sent
    # What such a neighbour sends all the same is counted, and costs no link.
    (link,) = kent.node.link_table.links.values()
    link.send(Witness(1, b"old 0\n\nx"))
    await until(lambda: relay.node.witnesses.refused["witness_unasked"] == 1)
    assert link.controlled
