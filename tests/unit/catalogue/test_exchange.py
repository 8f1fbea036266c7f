"""The catalogue as neighbours tell it: what one of them may have a node look at."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from pcgrelay.catalogue import exchange, own_entry, proofs
from pcgrelay.catalogue.entries import Entry, Offer, ReceivedEntry, SignedEntry, VerifiedEntry, sign_entry
from pcgrelay.clock import SetClock
from pcgrelay.messages import Advert
from pcgrelay.model import NodeId
from tests.support.nodes_in_process import HUB, KENT, MET, Nodes
from tests.support.pki import REALM
from tests.support.ports import free_port
from tests.support.waiting import until_async as until


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    nodes = Nodes(tmp_path)
    yield nodes
    await nodes.stop()


async def test_proofs_of_a_neighbour_have_a_budget(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proofs, "PROOFS_AT_ONCE", 40)
    monkeypatch.setattr(proofs, "PROOFS_EACH_SECOND", 1)
    looked_at = 0
    proved = proofs.verify_entry

    def counting(*arguments: object) -> None:
        nonlocal looked_at
        looked_at += 1
        proved(*arguments)  # type: ignore[arg-type]

    named = 0
    checked = proofs.check_names

    def naming(entry: Entry) -> None:
        nonlocal named
        named += 1
        checked(entry)

    monkeypatch.setattr(proofs, "verify_entry", counting)
    monkeypatch.setattr(proofs, "check_names", naming)
    port = free_port()
    links = [{"peer": f"relay-1.{HUB}", "address": f"127.0.0.1:{port}"}]
    relay = await nodes.start(HUB, "relay-1", role="relay", listens=[f"127.0.0.1:{port}"])
    met = await nodes.start(MET, "met-1", links=links)
    await until(lambda: list(met.node.link_table.usable()))
    (link,) = met.node.link_table.links.values()
    await until(lambda: looked_at >= 1)

    # The member tells of an edge again and again, each time with another proof.
    edge = NodeId(REALM, MET, "met-1")
    now_s = int(met.node.clock.wall().timestamp())
    local = met.node.local
    for number in range(200):
        signed = sign_entry(
            edge,
            (Offer(f"service-{number}", 1),),
            sequence=now_s * 2_000 + number,
            not_after=now_s + 600,
            key=local.credentials.key,
            chain=local.chain,
        )
        link.send(Advert(signed.entry, signed.signature, signed.chain, ()))
        if number == 150:
            # The same proof another time costs nothing, and is no part of the budget.
            link.send(Advert(signed.entry, signed.signature, signed.chain, ()))
    await until(lambda: relay.node.refused.total().get("advert_waits", 0) >= 150)
    # Neither its signature nor its names are looked at beyond the budget.
    assert looked_at <= 50
    assert named <= 50
    assert "advert_budget" not in relay.node.refused.total()
    assert link.usable
    # The last one waits in place of all before it.
    assert len(relay.node.exchange._waiting) == 1

    def newest() -> ReceivedEntry:
        found = relay.node.exchange.catalogue.newest(edge)
        assert found
        return found

    await until(lambda: newest().offers[0].service == "service-199")
    # A neighbour beside it has a budget of its own.
    kent = await nodes.start(
        KENT, "kent-1", links=links, exports=[{"service": "mail", "target": "127.0.0.1:25", "allow": [MET]}]
    )
    await until(lambda: kent.node.config.node.id in set(relay.node.exchange.catalogue.edges()))


@pytest.mark.parametrize("newest_is_good", [True, False])
async def test_a_reload_forgets_what_a_revoked_certificate_signed_and_no_more(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, newest_is_good: bool
) -> None:
    relay = await nodes.start(HUB, "relay-1", role="relay", listens=[f"127.0.0.1:{free_port()}"])
    known = relay.node.exchange
    monkeypatch.setattr(known._proofs, "chain_refusal", lambda chain: "revoked" if chain == (b"old",) else None)
    edge, offers = NodeId(REALM, MET, "met-1"), (Offer("mail", 1),)
    lives_ms = known._clock.monotonic_ms() + 600_000
    for link, chain in ((1, b"old"), (2, b"new"), (3, b"old")):
        sequence = 5 if (chain == b"new") is newest_is_good else 4
        known.catalogue.put(
            link, ReceivedEntry(VerifiedEntry(SignedEntry(b"", b"", (chain,)), edge, sequence, lives_ms, offers), ())
        )
    known.reload()
    assert list(known.catalogue.ways(edge)) == [2]
    assert known.refused["revoked"] == 2


async def test_messages_of_unknown_kinds_are_shown(nodes: Nodes) -> None:
    port = free_port()
    links = [{"peer": f"relay-1.{HUB}", "address": f"127.0.0.1:{port}"}]
    relay = await nodes.start(HUB, "relay-1", role="relay", listens=[f"127.0.0.1:{port}"])
    met = await nodes.start(MET, "met-1", links=links)
    await until(lambda: list(met.node.link_table.usable()))
    (link,) = met.node.link_table.links.values()
    body = msgspec.msgpack.encode([99, "something newer"])
    connection = link._connection
    for _ in range(3):
        connection._tls.write(len(body).to_bytes(4, "big") + body)
        connection._outgoing += connection._tls.take()
    connection._wake.set()
    await until(lambda: relay.node.refused.total().get("unknown_message") == 3)
    # It is not forgotten with the link.
    link.close("test")
    await until(lambda: relay.lines("link.down"))
    await until(lambda: relay.node.refused.total().get("unknown_message") == 3)


async def test_what_a_neighbour_says_all_the_time_is_looked_at_now_and_then(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    links = [{"peer": f"relay-1.{HUB}", "address": f"127.0.0.1:{port}"}]
    relay = await nodes.start(HUB, "relay-1", role="relay", listens=[f"127.0.0.1:{port}"])
    met = await nodes.start(MET, "met-1", links=links)
    await until(lambda: list(met.node.link_table.usable()) and list(relay.node.exchange.catalogue.edges()))
    (link,) = met.node.link_table.links.values()
    looked = 0

    def changed() -> None:
        nonlocal looked
        looked += 1

    monkeypatch.setattr(relay.node.exchange, "_changed", changed)
    edge, local = NodeId(REALM, MET, "met-1"), met.node.local
    now_s = int(met.node.clock.wall().timestamp())

    def told(number: int) -> Advert:
        signed = sign_entry(
            edge,
            (Offer(f"service-{number}", 1),),
            sequence=now_s * 2_000 + number,
            not_after=now_s + 600,
            key=local.credentials.key,
            chain=local.chain,
        )
        return Advert(signed.entry, signed.signature, signed.chain, ())

    began_ms = met.node.clock.monotonic_ms()
    for number in range(300):
        link.send(told(number))
    last = told(300)
    for _ in range(50):
        link.send(last)
    await until(lambda: relay.node.refused.total().get("advert_repeated") == 49)
    # The last change is looked at too, though a little later.
    ways = relay.node.exchange.catalogue.ways(edge)
    assert [known.sequence for known in ways.values()] == [now_s * 2_000 + 300]
    await until(lambda: not relay.node.exchange._change_waits)
    # At once, and then once in each interval of the time that it took; a few times for the link itself.
    assert 1 <= looked <= 30 + (met.node.clock.monotonic_ms() - began_ms) // exchange.CHANGED_INTERVAL_MS


async def test_an_entry_that_was_signed_after_the_clock_was_set_is_signed_again_soon(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A neighbour whose clock is set a moment later has refused the first by its dates."""
    kent = await nodes.start(KENT, "kent-1", listens=[f"127.0.0.1:{free_port()}"])
    told, wall_ms = kent.node.exchange.own, kent.node.clock.wall().timestamp() * 1_000
    clock, now_ms = SetClock(kent.node.clock.wall()), kent.node.clock.monotonic_ms()
    clock._monotonic_ms = now_ms
    monkeypatch.setattr(told, "_clock", clock)
    for jump_ms, again_ms in ((0, 1_800_000 // 2), (-86_400_000, own_entry.RENEW_JUMPED_MS), (0, 1_800_000 // 2)):
        wall_ms += jump_ms
        clock._wall = datetime.fromtimestamp(wall_ms / 1_000, UTC)
        told.offer([Offer("custody", 1)])
        assert told._renew_ms - now_ms == again_ms
