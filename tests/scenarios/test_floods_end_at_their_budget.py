"""A member floods a node with what is allowed once: PING, LOST, OPEN, late records, paths, messages, entries.

A budget ends each flood under its name, or the flood is borne. Memory stays within bounds, and two good edges talk on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import msgspec
import pytest

from pcgrelay.messages import (
    MESSAGE_LIMIT_BYTES,
    Advert,
    Beat,
    Carry,
    PathAccept,
    PathClose,
    PathOpen,
    Withdraw,
)
from pcgrelay.model import NodeId
from tests.reference.flows import NotNow
from tests.reference.frames import FlowFrame, Type, body_encode
from tests.reference.node import FarEdge
from tests.reference.records import Record, record_credit, record_data, record_open, record_reset
from tests.reference.refusals import Code
from tests.scenarios.kit.echo_witness import await_more, counts
from tests.scenarios.kit.malicious_member import EVIL, HUB_ROLE, Linked, Member, Refused, advert
from tests.scenarios.kit.nodes import KENT, MET
from tests.scenarios.kit.under_attack import RESETS, Battle, battle_begun
from tests.support.pki import REALM
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

KENT_ID = NodeId(REALM, KENT, "kent-1")
WINDOW = 1 << 20
MIB = 1 << 20
# OPENs that an organisation may have end unanswered; what the good application opens meanwhile.
OPENS_AT_ONCE, OPENS_EACH_SECOND, WITNESSED = 1_000, 100, 500
BUDGET_BYTES = 64 * MIB
# Python's own share of a process grows a little with anything at all.
RSS_MOST_BYTES = BUDGET_BYTES + 24 * MIB


@pytest.fixture(scope="module")
def battle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Battle]:
    with battle_begun(tmp_path_factory.mktemp("floods"), access=False) as begun:
        yield begun


@pytest.fixture(autouse=True)
def undisturbed(battle: Battle) -> Iterator[None]:
    """The good application notices nothing, and neither node grows past its budget."""
    before = {node: node.memory.rss_bytes for node in (battle.relay, battle.kent)}
    yield
    battle.witness.check()
    for node, rss_bytes in before.items():
        assert node.memory.rss_bytes - rss_bytes < RSS_MOST_BYTES
        assert node.status().memory.high_water_bytes <= BUDGET_BYTES
        assert not node.log("node.failure")


@pytest.fixture(params=["relay", "kent"])
def victim(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_pings(battle: Battle, victim: str) -> None:
    before = counts(battle.node(victim))
    async with Member.new(battle.stage.pki).linked(battle.ports[victim]) as linked:
        lane = linked.neighbour.lane
        for token in range(130):
            lane.send(Type.PING, body_encode(Type.PING, token=token), linked.neighbour.now())
        # All at once: what the node had not read when it closes would take its CLOSE away from this end.
        linked.neighbour.send_wire(bytes(lane.out))
        lane.out.clear()
        await linked.neighbour.until(linked.neighbour.ended.is_set)
        assert linked.neighbour.events[-1].fields == {"code": Code.LIMIT}
        await asyncio.to_thread(await_more, battle.node(victim), "glitches", before)


async def test_pongs_that_nobody_asked_for(battle: Battle, victim: str) -> None:
    before = counts(battle.node(victim))
    async with Member.new(battle.stage.pki).linked(battle.ports[victim]) as linked:
        for token in range(2_000):
            linked.neighbour.send(Type.PONG, body_encode(Type.PONG, token=token | 1 << 60))
        await asyncio.to_thread(await_more, battle.node(victim), "unknown_pongs_total", before, 2_000)
        assert not linked.neighbour.ended.is_set()


async def test_lost_of_flows_that_are_not(battle: Battle, victim: str) -> None:
    """Ignored and counted; the labels of the good edges are theirs on their own links alone."""
    before = counts(battle.node(victim))
    async with Member.new(battle.stage.pki).linked(battle.ports[victim]) as linked:
        for number in range(3_000):
            body = body_encode(Type.LOST, flow=number % 64 + 1, code=Code.UNREACHABLE)
            linked.neighbour.send(Type.LOST, body)
        await asyncio.to_thread(await_more, battle.node(victim), "unknown_flow_frames_total", before, 3_000)
        assert not linked.neighbour.ended.is_set()


async def test_frames_of_flows_that_are_not(battle: Battle, victim: str) -> None:
    """Each is dropped and counted, and LOST is said at a bounded rate."""
    before = counts(battle.node(victim))
    async with Member.new(battle.stage.pki).linked(battle.ports[victim]) as linked:
        for number in range(3_000):
            frame = FlowFrame(Type.BUNDLE, 0, number, bytes(16), bytes(64))
            linked.neighbour.send_flow(0x7000_0000 + number, frame)
        await asyncio.to_thread(await_more, battle.node(victim), "unknown_flow", before, 3_000)
        said = sum(event.type is Type.LOST for event in linked.neighbour.events)
        assert 0 < said < 3_000
        assert not linked.neighbour.ended.is_set()


async def test_padding(battle: Battle, victim: str) -> None:
    async with Member.new(battle.stage.pki).linked(battle.ports[victim]) as linked:
        for _ in range(200):
            linked.neighbour.send(Type.PADDING, bytes(65_536))
        linked.neighbour.send(Type.PING, body_encode(Type.PING, token=5))
        await linked.neighbour.until(lambda: any(event.fields.get("token") == 5 for event in linked.neighbour.events))


def closed(far: FarEdge) -> list[int]:
    """The codes of FLOW_CLOSE that came."""
    return [int(a.fields["code"]) for a in far.arrivals if a.type is Type.FLOW_CLOSE]


def bundles(records: list[Record]) -> Iterator[bytes]:
    """Bodies as full as may be."""
    body = b""
    for record in records:
        if len(body) + len(record.encode()) > 65_000:
            yield body
            body = b""
        body += record.encode()
    yield body


async def flooded(battle: Battle, linked: Linked, records: list[Record], *, mute: bool = False) -> FarEdge:
    """A session of the double with all these records sent at once."""
    far = await linked.session(KENT_ID)
    far.mute = mute
    far.flow.cap = 1 << 30
    # The double keeps no table of the streams: what it opens so fast it does not look after.
    far.neighbour.on_flow[far.session.label_in] = lambda frame: taken(far, frame)
    for body in bundles(records):
        try:
            far.send_anyway(body)
        except NotNow:
            break  # the node has ended the session
        await asyncio.sleep(0)
    return far


def taken(far: FarEdge, frame: FlowFrame) -> None:
    arrival = far.flow.receive(frame, far.neighbour.now())
    if arrival is not None:
        far.arrivals.append(arrival)
        if not frame.type.is_volatile and not far.mute:
            far.flow.send_ack()
    far.flush()


async def test_open_and_reset_at_once(battle: Battle) -> None:
    """Rapid reset: so many reach the target and no more, each is let go of, and nothing remains."""
    before = counts(battle.kent)
    descriptors = battle.kent.descriptors
    records = []
    for number in range(15_000):
        records += [record_open(2 * number + 1, "gift", WINDOW), record_reset(2 * number + 1, Code.ABORTED)]
    async with Member.new(battle.stage.pki, organisation=RESETS).linked(battle.ports["kent"]) as linked:
        began = time.monotonic()
        far = await flooded(battle, linked, records)
        await asyncio.to_thread(await_more, battle.kent, "unanswered_opens", before, 5_000)
        took_s = time.monotonic() - began
        assert not closed(far)
        made = counts(battle.kent)["streams_opened_total"] - before["streams_opened_total"]
        assert OPENS_AT_ONCE <= made < OPENS_AT_ONCE + OPENS_EACH_SECOND * (took_s + 1) + WITNESSED
        await asyncio.to_thread(until, lambda: battle.kent.descriptors <= descriptors + 4, 10, "sockets are let go of")


@pytest.mark.parametrize("service", ["echo", "nothing"])
async def test_opens_of_what_is_not_granted(battle: Battle, service: str) -> None:
    """Each is answered by RESET; no target is dialled; beyond the budget nothing is made of it."""
    before = counts(battle.kent)
    records = [record_open(2 * number + 1, service, WINDOW) for number in range(5_000)]
    organisation = f"{service}.evil.example"
    async with Member.new(battle.stage.pki, organisation).linked(battle.ports["kent"]) as linked:
        far = await flooded(battle, linked, records)
        await asyncio.to_thread(await_more, battle.kent, "unanswered_opens", before, 2_000)
        made = counts(battle.kent)["streams_opened_total"] - before["streams_opened_total"]
        assert made < 5_000 - 2_000 + WITNESSED
        assert not closed(far)


async def test_opens_without_end(battle: Battle) -> None:
    """Who goes on all the same loses the session, and with the next one has no budget again."""
    organisation = "opens.evil.example"
    for _ in range(2):
        before = counts(battle.kent)
        records = [record_open(2 * number + 1, "nothing", WINDOW) for number in range(60_000)]
        async with Member.new(battle.stage.pki, organisation).linked(battle.ports["kent"]) as linked:
            far = await flooded(battle, linked, records)
            await far.neighbour.until(lambda far=far: closed(far), 20)
            assert closed(far)[0] in (Code.LIMIT, Code.BUSY)
        made = counts(battle.kent)["streams_opened_total"] - before["streams_opened_total"]
        assert made < 3 * OPENS_AT_ONCE + WITNESSED


async def test_opens_whose_answers_are_never_acknowledged(battle: Battle) -> None:
    """What is to be said piles up at the node, up to the cap of the session, and no further than the budget."""
    records = [record_open(2 * number + 1, "nothing", WINDOW) for number in range(60_000)]
    async with Member.new(battle.stage.pki).linked(battle.ports["kent"]) as linked:
        far = await flooded(battle, linked, records, mute=True)
        battle.witness.check()
        far.send_frame(Type.FLOW_CLOSE, body_encode(Type.FLOW_CLOSE, code=0))
    await asyncio.to_thread(until, lambda: battle.kent.status().streams.active < 100, 10, "the streams are gone")


async def test_late_records(battle: Battle) -> None:
    """A hundred thousand at once are borne, and ten thousand more each second; then the session ends."""
    records = [record_open(1, "nothing", WINDOW)] + [record_credit(1, WINDOW)] * 160_000
    async with Member.new(battle.stage.pki).linked(battle.ports["kent"]) as linked:
        far = await flooded(battle, linked, records)
        await far.neighbour.until(lambda: closed(far), 10)
        assert closed(far) == [Code.LIMIT]
        await asyncio.to_thread(battle.kent.await_log, "session.down", peer=linked.member.dotted, reason="glitches")
        assert not linked.neighbour.ended.is_set()


async def test_credit_and_tiny_data(battle: Battle) -> None:
    """Fair records in great number are work and nothing else; the stream goes on."""
    async with Member.new(battle.stage.pki).linked(battle.ports["kent"]) as linked:
        records = [record_open(1, "gift", WINDOW)]
        records += [record_data(1, b"x"), record_credit(1, WINDOW)] * 8_000
        far = await flooded(battle, linked, records)
        await far.neighbour.until(lambda: len(far.data(1)) == 8_000, 10)
        assert not closed(far)


async def test_paths_that_lead_nowhere(battle: Battle) -> None:
    """The relay refuses each by name, and says so in the log now and then."""
    before = counts(battle.relay)
    nowhere = NodeId(REALM, MET, "nobody-1")
    async with Member.new(battle.stage.pki).linked(battle.ports["relay"]) as linked:
        for _ in range(300):
            with pytest.raises(Refused, match="no_route"):
                await linked.path(nowhere)
        await asyncio.to_thread(await_more, battle.relay, "no_route", before, 300)
        lines = battle.relay.log("path.refused", reason="no_route", source=linked.member.id.uri)
        assert 1 <= len(lines) < 30


async def test_paths_that_are_never_used(battle: Battle, victim: str) -> None:
    """So many set-ups of one peer at a time and no more; the deadline clears them."""
    before = counts(battle.kent)
    async with Member.new(battle.stage.pki).linked(battle.ports[victim]) as linked:
        accepted, refusals = 0, []
        for _ in range(40):
            try:
                await linked.path(KENT_ID)
                accepted += 1
            except Refused as refused:
                refusals.append(str(refused))
        assert accepted <= 4
        assert set(refusals) == {"too_many_handshakes"}
        await asyncio.to_thread(await_more, battle.kent, "too_many_handshakes", before, len(refusals))


async def test_sessions_in_names_made_up(battle: Battle) -> None:
    """A relay fills the places of its own link and no others; a member that comes another way has its session."""
    before, pki, liar = counts(battle.kent), battle.stage.pki, Member.new(battle.stage.pki, role=HUB_ROLE)
    async with liar.linked(battle.ports["kent"]) as flooding, Member.new(pki).linked(battle.ports["relay"]) as good:
        for number in range(300):
            source = good.member.id if number % 2 else NodeId(REALM, EVIL, f"nobody-{number}")
            flooding.send(
                PathOpen(
                    session=number.to_bytes(16, "little"),
                    source=source.uri,
                    destination=KENT_ID.uri,
                    marking=1,
                    priority=0,
                    flows=1,
                    cap=MIB,
                    label=number + 1,
                    resume=False,
                    via=(liar.id.uri,),
                )
            )
        # The good name alone is asked for 150 times; how many of the others are dropped by chance is not known.
        await asyncio.to_thread(await_more, battle.kent, "too_many_handshakes", before, 100)
        assert sum(isinstance(message, PathAccept) for message in flooding.messages) <= 64
        far = await good.session(KENT_ID)
        assert far.session.is_initiator
        assert not flooding.has_ended


async def test_data_through_the_control_plane(battle: Battle) -> None:
    """CARRY is for handshakes: two members that move data with it through a relay lose the path."""
    before, pki, port = counts(battle.relay), battle.stage.pki, battle.ports["relay"]
    async with Member.new(pki).linked(port) as giver, Member.new(pki).linked(port) as taker:

        def accept(message: object) -> None:
            if isinstance(message, PathOpen):
                taker.send(PathAccept(message.session, message.flows, message.cap, 0x5000_0001))

        taker.on_message = accept
        taker.send(advert(taker.member, "trap"))
        await giver.until(lambda: any(isinstance(m, Advert) and m.chain == taker.member.chain for m in giver.messages))
        asked, _ = await giver.path(taker.member.id)
        for _ in range(64):
            giver.send(Carry(asked.session, bytes(16_384)))
        for end in (giver, taker):
            await end.until(lambda end=end: any(isinstance(m, PathClose) for m in end.messages))
        await asyncio.to_thread(await_more, battle.relay, "carry_limit", before)
        assert sum(len(m.data) for m in taker.messages if isinstance(m, Carry)) <= 600_000


@pytest.mark.parametrize("kind", ["known", "unknown"])
async def test_messages(battle: Battle, victim: str, kind: str) -> None:
    """More than any neighbour has to say ends the link, be it of a kind that is not known."""
    node = battle.node(victim)
    async with Member.new(battle.stage.pki).linked(battle.ports[victim]) as linked:
        whole = msgspec.msgpack.encode(Beat(1, True) if kind == "known" else [99])
        linked.send_raw((len(whole).to_bytes(4, "big") + whole) * 30_000)
        await linked.ended(20)
        line = await asyncio.to_thread(node.await_log, "link.down", 10.0, peer=linked.member.dotted)
        assert line["reason"] == "too_many_messages"


def message(value: object) -> bytes:
    body = msgspec.msgpack.encode(value)
    return len(body).to_bytes(4, "big") + body


SESSION = bytes(16)
URI = f"spiffe://{REALM}/org/{EVIL}/node/evil-0"
MALFORMED = {
    "a length over the limit": (MESSAGE_LIMIT_BYTES + 1).to_bytes(4, "big"),
    "no msgpack": b"\0\0\0\4\xc1\xc1\xc1\xc1",
    "an empty message": b"\0\0\0\0",
    "no array": message({"tag": 2}),
    "an empty array": message([]),
    "a tag that is a word": message(["BEAT", 1, True]),
    "BEAT without fields": message([2]),
    "BEAT with a negative token": message([2, -1, True]),
    "ADVERT without a chain": message([3, b"", b"", [], []]),
    "ADVERT with too long a path": message([3, b"", b"", [b"x"], [URI] * 9]),
    "PATH_OPEN with a short session": message([5, SESSION[:15], URI, URI, 1, 0, 1, 1 << 20, 1, False, []]),
    "PATH_OPEN with label 0": message([5, SESSION, URI, URI, 1, 0, 1, 1 << 20, 0, False, []]),
    "PATH_OPEN without flows": message([5, SESSION, URI, URI, 1, 0, 0, 1 << 20, 1, False, []]),
    "PATH_OPEN with 65 flows": message([5, SESSION, URI, URI, 1, 0, 65, 1 << 20, 1, False, []]),
    "PATH_OPEN with an endless name": message([5, SESSION, "x" * 2_000, URI, 1, 0, 1, 1 << 20, 1, False, []]),
    "PATH_ACCEPT with label 0": message([6, SESSION, 1, 1 << 20, 0]),
    "CARRY of too much": message([9, SESSION, bytes(16_385)]),
    "GOODBYE with an endless reason": message([12, 0, "x" * 300]),
    "nested without end": (1 << 16).to_bytes(4, "big") + b"\x91" * (1 << 16),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_a_control_message_that_breaks_its_form(battle: Battle, victim: str, name: str) -> None:
    """The control connection ends under that name."""
    async with Member.new(battle.stage.pki).linked(battle.ports[victim]) as linked:
        await asyncio.to_thread(battle.node(victim).await_log, "link.up", peer=linked.member.dotted)
        linked.send_raw(MALFORMED[name])
        await linked.ended()
        line = await asyncio.to_thread(
            battle.node(victim).await_log, "link.control_lost", 5.0, peer=linked.member.dotted
        )
        assert line["reason"] == "violation"


async def test_what_a_newer_node_may_say_is_ignored(battle: Battle, victim: str) -> None:
    """Unknown tags, and fields behind the known ones, end nothing."""
    async with Member.new(battle.stage.pki).linked(battle.ports[victim]) as linked:
        linked.send_raw(message([99, "new"]) + message([2, 7, True, "more", 1]) + message([0]))
        for word in (Withdraw(URI, 1), Withdraw(KENT_ID.uri, 1 << 62)):
            # Nobody takes back what another link has told.
            linked.send(word)
        with pytest.raises(Refused):
            await linked.path(NodeId(REALM, MET, "nobody-1"))
        assert not linked.has_ended


async def test_entries(battle: Battle, victim: str) -> None:
    """A member that tells its catalogue again without end is borne, and what it told last holds."""
    async with Member.new(battle.stage.pki).linked(battle.ports[victim]) as linked:
        for sequence in range(1, 200):
            linked.send(advert(linked.member, "trap", sequence=sequence))
        linked.send(advert(linked.member, sequence=300))
        before = counts(battle.node(victim))
        linked.send(advert(linked.member, "trap", sequence=299))
        await asyncio.to_thread(await_more, battle.node(victim), "old_sequence", before)
        assert not linked.has_ended


async def test_entries_beside_a_neighbour_that_does_not_read(battle: Battle) -> None:
    """What a member tells without end is not queued for the others: each gets the newest when it comes to read."""
    services = [f"{number:04}{'x' * 59}" for number in range(1_000)]
    before, hears, last = counts(battle.relay), asyncio.Event(), 300
    slow = Member.new(battle.stage.pki)
    async with slow.linked(battle.ports["relay"], hears=hears) as reader:
        await asyncio.to_thread(battle.relay.await_log, "link.up", peer=slow.dotted)
        async with Member.new(battle.stage.pki).linked(battle.ports["relay"]) as linked:
            room = asyncio.Event()
            linked._connection.on_room = room.set
            for sequence in range(1, last + 1):
                linked.send(advert(linked.member, *services, sequence=sequence))
                # The double's own queue is bounded too.
                if linked._connection.backlog_bytes > MIB:
                    room.clear()
                    await asyncio.wait_for(room.wait(), 10)
            await asyncio.to_thread(await_more, battle.relay, "advert_flapping", before)
            hears.set()

            def told() -> list[int]:
                mine = (m for m in reader.messages if isinstance(m, Advert))
                entries = (msgspec.msgpack.decode(message.entry) for message in mine)
                return [entry[2] for entry in entries if entry[1] == linked.member.id.uri]

            await reader.until(lambda: told()[-1:] == [last])
            assert len(told()) < 40
            assert not reader.has_ended
            assert not battle.relay.log("link.control_lost", peer=slow.dotted)
