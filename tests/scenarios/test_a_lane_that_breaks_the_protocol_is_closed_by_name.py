"""A member with a good certificate breaks every rule of lanes, at a relay and at an edge.

Each time the lane is closed, the reason is counted, and two good edges talk on through the same nodes.
"""

from __future__ import annotations

import asyncio
import hmac
import random
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest

from tests.reference.frames import BODIES, FlowFrame, Header, Type, body_encode
from tests.reference.keys import PREAMBLE_SIZE, LinkSecrets, Preamble
from tests.reference.node import Neighbour
from tests.reference.refusals import Code, Reason
from tests.scenarios.kit.echo_witness import await_more, counts
from tests.scenarios.kit.malicious_member import Linked, Member
from tests.scenarios.kit.under_attack import POLICY, Battle, battle_begun

pytestmark = pytest.mark.tier_test

FRAME_BYTES = 48 + 8  # a PING
JUNK_TAG = bytes(16)


@pytest.fixture(scope="module")
def battle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Battle]:
    with battle_begun(tmp_path_factory.mktemp("lanes")) as begun:
        yield begun


@pytest.fixture(autouse=True)
def undisturbed(battle: Battle) -> Iterator[None]:
    """Whatever a test does, the good application notices nothing."""
    yield
    battle.witness.check()


@pytest.fixture(params=["relay", "kent"])
def victim(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def length_of(kind: Type) -> int:
    return struct.calcsize(BODIES[kind][0])


@dataclass(frozen=True)
class Malformed:
    """A header that is sealed well and says what it must not."""

    name: str
    header: Header
    reason: Reason

    def __str__(self) -> str:
        return self.name


def headers() -> Iterator[Malformed]:
    yield Malformed("longer-than-any", Header(65_537, Type.PADDING), Reason.BAD_LENGTH)
    yield Malformed("as-long-as-can-be-said", Header((1 << 24) - 1, Type.BUNDLE, flow=7), Reason.BAD_LENGTH)
    for kind in BODIES:
        flow = 0 if kind.is_lane else 7
        for more in (-1, 1):
            name = f"{kind.name}-{'short' if more < 0 else 'long'}"
            yield Malformed(name, Header(length_of(kind) + more, kind, flow=flow), Reason.BAD_LENGTH)
        yield Malformed(f"{kind.name}-empty", Header(0, kind, flow=flow), Reason.BAD_LENGTH)
    for kind in (Type.BUNDLE, Type.DATAGRAMS):
        yield Malformed(f"{kind.name}-of-7", Header(7, kind, flow=7), Reason.BAD_LENGTH)
    for number in (0x00, 0x09, 0x3F, 0x40, 0x44, 0x7F, 0x80, 0x86, 0xFF):
        yield Malformed(f"type-{number:02x}", Header(8, number, flow=7 if number & 0xC0 else 0), Reason.BAD_TYPE)
    for bit in range(8):
        yield Malformed(f"flag-{bit}", Header(8, Type.PING, flags=1 << bit), Reason.BAD_FLAGS)
    yield Malformed("flag-and-length", Header(9, Type.PING, flags=1), Reason.BAD_FLAGS)
    yield Malformed("flag-in-a-flow-frame", Header(8, Type.ACK, flow=7, flags=1), Reason.BAD_FLAGS)
    yield Malformed("lane-frame-with-a-label", Header(8, Type.PING, flow=1), Reason.BAD_FIELD)
    yield Malformed("lane-frame-with-an-epoch", Header(8, Type.PING, epoch=1), Reason.BAD_FIELD)
    yield Malformed("lane-frame-with-a-number", Header(8, Type.PING, number=1), Reason.BAD_FIELD)
    for kind in (Type.FLOW_CONFIRM, Type.BUNDLE, Type.FLOW_REKEY, Type.ACK, Type.RESUME, Type.FLOW_CLOSE):
        length = length_of(kind) if kind in BODIES else 8
        yield Malformed(f"{kind.name}-without-label", Header(length, kind), Reason.BAD_FIELD)


async def refused(battle: Battle, victim: str, linked: Linked, reason: Reason, before: dict[str, float]) -> None:
    """The lane ends, and the reason is counted and logged under its name."""
    await linked.neighbour.until(linked.neighbour.ended.is_set)
    node = battle.node(victim)
    await_more(node, reason.name.lower(), before)
    node.await_log("lane.down", peer=linked.member.dotted, reason=reason.name.lower().replace("_", "-"))


async def test_every_header_that_says_what_it_must_not(battle: Battle, victim: str) -> None:
    async with Member.new(battle.stage.pki).linked(battle.ports[victim]) as linked:
        for case in headers():
            before = counts(battle.node(victim))
            length = min(case.header.length, 64)
            linked.neighbour.send_header(case.header, JUNK_TAG, bytes(length))
            await refused(battle, victim, linked, case.reason, before)
            # The code alone is told.
            assert linked.neighbour.events[-1].fields == {"code": Code.VIOLATION}, case
            await linked.lane()


LaneCase = tuple[str, Callable[[Neighbour], None], Reason]


def lane_frame(kind: Type, **fields: int | bytes) -> Callable[[Neighbour], None]:
    return lambda neighbour: neighbour.send(kind, body_encode(kind, **fields))


def confirm_again(neighbour: Neighbour) -> None:
    lane = neighbour.lane
    fields: dict[str, int | bytes] = {"version": 1, "index": lane.index, "number": lane.number, "binding": lane.binding}
    neighbour.send(Type.CONFIRM, body_encode(Type.CONFIRM, **fields))


LANE_CASES: list[LaneCase] = [
    ("a second CONFIRM", confirm_again, Reason.BAD_CONFIRM),
    ("CLOSE with its reserved field set", lane_frame(Type.CLOSE, code=0, zero=1), Reason.BAD_FIELD),
    ("LOST with its reserved field set", lane_frame(Type.LOST, flow=7, code=4, zero=1), Reason.BAD_FIELD),
    ("REKEY to the same epoch", lane_frame(Type.REKEY, next_epoch=0, mix_id=0), Reason.BAD_EPOCH),
    ("REKEY over an epoch", lane_frame(Type.REKEY, next_epoch=2, mix_id=0), Reason.BAD_EPOCH),
    ("REKEY to the last epoch of all", lane_frame(Type.REKEY, next_epoch=(1 << 32) - 1, mix_id=0), Reason.BAD_EPOCH),
    ("REKEY with a mix that nobody renewed", lane_frame(Type.REKEY, next_epoch=1, mix_id=1), Reason.UNKNOWN_MIX),
]


@pytest.mark.parametrize(("name", "act", "reason"), LANE_CASES, ids=[case[0] for case in LANE_CASES])
async def test_a_lane_frame_that_is_sealed_well_and_wrong(
    battle: Battle, victim: str, name: str, act: Callable[[Neighbour], None], reason: Reason
) -> None:
    before = counts(battle.node(victim))
    async with Member.new(battle.stage.pki).linked(battle.ports[victim]) as linked:
        act(linked.neighbour)
        await refused(battle, victim, linked, reason, before)


def sealed(neighbour: Neighbour, kind: Type, body: bytes) -> bytearray:
    """A frame as it would go out next."""
    neighbour.lane.send(kind, body, neighbour.now())
    wire = bytearray(neighbour.lane.out)
    neighbour.lane.out.clear()
    return wire


def ping(neighbour: Neighbour, token: int = 1) -> bytearray:
    return sealed(neighbour, Type.PING, body_encode(Type.PING, token=token))


async def test_a_flipped_bit_at_every_place_of_a_frame(battle: Battle, victim: str) -> None:
    """In each field of the header, in both tags and in the body: a random bit of every byte."""
    chosen = random.Random(4)
    before = counts(battle.node(victim))
    async with Member.new(battle.stage.pki).linked(battle.ports[victim]) as linked:
        for place in range(FRAME_BYTES):
            neighbour = linked.neighbour
            wire = ping(neighbour)
            wire[place] ^= 1 << chosen.randrange(8)
            neighbour.send_wire(bytes(wire))
            await neighbour.until(neighbour.ended.is_set)
            assert not any(event.type is Type.PONG and event.fields["token"] == 1 for event in neighbour.events), place
            await linked.lane()
    await_more(battle.node(victim), "bad_tag", before, FRAME_BYTES)


def replayed(linked: Linked) -> bytes:
    wire = ping(linked.neighbour)
    return bytes(wire + wire)


def reordered(linked: Linked) -> bytes:
    first, second = ping(linked.neighbour, 1), ping(linked.neighbour, 2)
    return bytes(second + first)


def left_out(linked: Linked) -> bytes:
    ping(linked.neighbour, 1)
    return bytes(ping(linked.neighbour, 2))


def reflected(linked: Linked) -> bytes:
    """A frame as the node itself seals it: whoever sends it back has no key of this direction."""
    neighbour = linked.neighbour
    mirror = linked.reference.lane(neighbour.lane.index, neighbour.lane.number, False)
    mirror.tx_count = neighbour.lane.tx_count
    mirror.send(Type.PING, body_encode(Type.PING, token=1))
    return bytes(mirror.out)


def of_another_lane(linked: Linked) -> bytes:
    other = linked.reference.lane(0, linked.neighbour.lane.number + 1, True)
    other.tx_count = linked.neighbour.lane.tx_count
    other.send(Type.PING, body_encode(Type.PING, token=1))
    return bytes(other.out)


def of_the_next_epoch(linked: Linked) -> bytes:
    lane = linked.neighbour.lane
    lane.tx = lane.tx.next()
    return bytes(ping(linked.neighbour))


def body_under_another_header(linked: Linked) -> bytes:
    first, second = ping(linked.neighbour, 1), ping(linked.neighbour, 2)
    return bytes(first[:32] + second[32:])


def body_alone_of_another_frame(linked: Linked) -> bytes:
    first, second = ping(linked.neighbour, 1), ping(linked.neighbour, 2)
    return bytes(first[:48] + second[48:])


def unsealed(linked: Linked) -> bytes:
    return Header(8, Type.PING).encode() + bytes(32) + bytes(8)


@pytest.mark.parametrize(
    "wire",
    [
        replayed,
        reordered,
        left_out,
        reflected,
        of_another_lane,
        of_the_next_epoch,
        body_under_another_header,
        body_alone_of_another_frame,
        unsealed,
    ],
)
async def test_a_frame_at_the_wrong_place(battle: Battle, victim: str, wire: Callable[[Linked], bytes]) -> None:
    before = counts(battle.node(victim))
    async with Member.new(battle.stage.pki).linked(battle.ports[victim]) as linked:
        linked.neighbour.send_wire(wire(linked))
        await refused(battle, victim, linked, Reason.BAD_TAG, before)


FIRST_FRAMES = {
    "PING": (Type.PING, body_encode(Type.PING, token=1), Reason.NOT_CONFIRMED),
    "CLOSE": (Type.CLOSE, body_encode(Type.CLOSE, code=0), Reason.NOT_CONFIRMED),
    "PADDING": (Type.PADDING, b"", Reason.NOT_CONFIRMED),
    "REKEY": (Type.REKEY, body_encode(Type.REKEY, next_epoch=1), Reason.NOT_CONFIRMED),
    "LOST": (Type.LOST, body_encode(Type.LOST, flow=7), Reason.NOT_CONFIRMED),
    "CONFIRM of another version": (Type.CONFIRM, {"version": 2}, Reason.BAD_CONFIRM),
    "CONFIRM of another index": (Type.CONFIRM, {"index": 1}, Reason.BAD_CONFIRM),
    "CONFIRM of another number": (Type.CONFIRM, {"number": 77}, Reason.BAD_CONFIRM),
    "CONFIRM of another link": (Type.CONFIRM, {"binding": bytes(32)}, Reason.BAD_CONFIRM),
}


@pytest.mark.parametrize("name", FIRST_FRAMES)
async def test_a_first_frame_that_is_not_the_right_confirm(battle: Battle, victim: str, name: str) -> None:
    kind, content, reason = FIRST_FRAMES[name]
    before = counts(battle.node(victim))
    async with Member.new(battle.stage.pki).linked(battle.ports[victim]) as linked:
        lane, reader, writer = await linked.bare_lane(index=0)
        if isinstance(content, dict):
            fields = {"version": 1, "index": 0, "number": lane.number, "binding": lane.binding}
            content = body_encode(kind, **(fields | content))
        lane.send(kind, content)
        writer.write(bytes(lane.out))
        await asyncio.wait_for(reader.read(-1), 20)
        writer.close()
        await_more(battle.node(victim), reason.name.lower(), before)
        # The lane that is up was not touched by the one that failed.
        assert not linked.neighbour.ended.is_set()


async def test_a_flow_frame_before_confirm(battle: Battle, victim: str) -> None:
    before = counts(battle.node(victim))
    async with Member.new(battle.stage.pki).linked(battle.ports[victim]) as linked:
        lane, reader, writer = await linked.bare_lane(index=0)
        lane.send_flow(7, FlowFrame(Type.BUNDLE, 0, 0, JUNK_TAG, bytes(8)))
        writer.write(bytes(lane.out))
        await asyncio.wait_for(reader.read(-1), 20)
        writer.close()
        await_more(battle.node(victim), "not_confirmed", before)


async def test_a_lane_that_never_confirms_is_closed_by_the_deadline(battle: Battle, victim: str) -> None:
    before = counts(battle.node(victim))
    async with Member.new(battle.stage.pki).linked(battle.ports[victim]) as linked:
        _, reader, writer = await linked.bare_lane(index=0)
        await asyncio.wait_for(reader.read(-1), battle_deadline_s() + 2)
        writer.close()
        await_more(battle.node(victim), "confirm_timeout", before)
        assert not linked.neighbour.ended.is_set()


async def test_a_lane_that_falls_silent_is_closed(battle: Battle, victim: str) -> None:
    before = counts(battle.node(victim))
    async with Member.new(battle.stage.pki).linked(battle.ports[victim]) as linked:
        lane, reader, writer = await linked.bare_lane(index=0)
        lane.confirm()
        writer.write(bytes(lane.out))
        await asyncio.wait_for(reader.read(-1), 20)
        writer.close()
        await_more(battle.node(victim), "silent", before)


async def test_a_frame_that_comes_byte_by_byte_is_a_frame(battle: Battle, victim: str) -> None:
    async with Member.new(battle.stage.pki).linked(battle.ports[victim]) as linked:
        neighbour = linked.neighbour
        await neighbour.send_byte_by_byte(bytes(ping(neighbour, 4_711)))
        await neighbour.until(lambda: any(event.fields.get("token") == 4_711 for event in neighbour.events))


def preambles(linked: Linked) -> dict[str, bytes]:
    """Preambles that are not to be taken, of a link whose lane of index 0 is up with the number 0."""
    proof_key = LinkSecrets(linked.reference.secret).proof_key
    link_id = linked.reference.link_id

    def proved(clear: bytes) -> bytes:
        return clear + hmac.digest(proof_key, clear, "sha256")[:16]

    def made(index: int = 0, number: int = 1, link: bytes = link_id) -> bytes:
        return Preamble(index, number, link).encode(proof_key)

    good = made()
    flipped = {
        f"bit flipped in byte {place}": good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :]
        for place in range(1, PREAMBLE_SIZE)
    }
    return flipped | {
        "version 2, proved": proved(good[:4] + b"\0\2" + good[6:32]),
        "reserved field set, proved": proved(good[:12] + b"\0\0\0\1" + good[16:32]),
        "a number that is used": made(number=0),
        "a number far ahead": made(number=66),
        "the greatest number": made(number=(1 << 32) - 1),
        "an index that the link has not": made(index=1, number=3),
        "the greatest index": made(index=65_535, number=4),
        "a link that nobody knows": made(link=bytes(16)),
        "another key": Preamble(0, 5, link_id).encode(bytes(32)),
    }


async def test_preambles_that_are_forged_replayed_or_out_of_range(battle: Battle, victim: str) -> None:
    """Each is closed in silence; the lane that is up goes on, and the numbers of good ones are not used up."""
    node = battle.node(victim)
    before = counts(node)
    async with Member.new(battle.stage.pki).linked(battle.ports[victim]) as linked:
        cases = preambles(linked)
        for name, preamble in cases.items():
            assert await answered(battle.ports[victim], preamble) == b"", name
        # A flipped bit of the link id names another link; all else is the word of the core.
        more = {"lane_unknown_link": 17, "lane_refused": len(cases) - 17}
        for word, count in more.items():
            await_more(node, word, before, count)
        after = counts(node)
        assert {word: after[word] - before.get(word, 0) for word in more} == more
        assert not linked.neighbour.ended.is_set()
        neighbour = linked.neighbour
        neighbour.send(Type.PING, body_encode(Type.PING, token=99))
        await neighbour.until(lambda: any(event.fields.get("token") == 99 for event in neighbour.events))
        neighbour.send(Type.CLOSE, body_encode(Type.CLOSE, code=0))
        await neighbour.until(neighbour.ended.is_set)
        await linked.lane(number=6)


async def test_a_preamble_that_was_caught_opens_no_lane(battle: Battle, victim: str) -> None:
    """Who replays it gets nothing, and the lane stays up; who caught an unused one fails at CONFIRM."""
    before = counts(battle.node(victim))
    async with Member.new(battle.stage.pki).linked(battle.ports[victim]) as linked:
        assert await answered(battle.ports[victim], linked.reference.preamble(0, 0)) == b""
        await_more(battle.node(victim), "lane_refused", before)
        neighbour = linked.neighbour
        neighbour.send(Type.CLOSE, body_encode(Type.CLOSE, code=0))
        await neighbour.until(neighbour.ended.is_set)
        assert await answered(battle.ports[victim], linked.reference.preamble(0, 0)) == b""
        before = counts(battle.node(victim))
        # Here the node sends its CONFIRM first: it is sealed, and no answer to it can be made without the key.
        await answered(battle.ports[victim], linked.reference.preamble(0, 1) + bytes(88))
        await_more(battle.node(victim), "bad_tag", before)


async def test_who_has_the_proof_but_not_the_keys_takes_no_lane_away(battle: Battle, victim: str) -> None:
    """A good preamble for an index that is up changes nothing before CONFIRM is opened."""
    async with Member.new(battle.stage.pki).linked(battle.ports[victim]) as linked:
        reader, writer = await asyncio.open_connection("127.0.0.1", battle.ports[victim])
        writer.write(linked.reference.preamble(0, 1) + bytes(88))
        with suppress(ConnectionResetError):
            await asyncio.wait_for(reader.read(-1), 20)
        writer.close()
        linked.neighbour.send(Type.PING, body_encode(Type.PING, token=98))
        await linked.neighbour.until(lambda: any(e.fields.get("token") == 98 for e in linked.neighbour.events))


async def answered(port: int, data: bytes) -> bytes:
    """All that a node says to these bytes before it closes the connection."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionResetError:
        return b""
    writer.write(data)
    try:
        return await asyncio.wait_for(reader.read(-1), 20)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def test_a_frame_for_an_unknown_flow_is_dropped_and_answered_lost(battle: Battle, victim: str) -> None:
    before = counts(battle.node(victim))
    async with Member.new(battle.stage.pki).linked(battle.ports[victim]) as linked:
        frame = FlowFrame(Type.BUNDLE, 0, 0, JUNK_TAG, bytes(8))
        linked.neighbour.send_flow(0x7777_7777, frame)
        event = await linked.neighbour.arrived(Type.LOST)
        assert event.fields == {"flow": 0x7777_7777, "code": Code.UNKNOWN}
        await_more(battle.node(victim), "unknown_flow", before)
        assert not linked.neighbour.ended.is_set()


async def test_a_label_of_somebody_else_is_an_unknown_flow(battle: Battle, victim: str) -> None:
    """The good edges' own labels are small numbers; on a link that has not got them they mean nothing."""
    before = counts(battle.node(victim))
    async with Member.new(battle.stage.pki).linked(battle.ports[victim]) as linked:
        for label in range(1, 33):
            for kind, size in ((Type.BUNDLE, 8), (Type.RESUME, 16), (Type.FLOW_CLOSE, 4), (Type.ACK, 8)):
                linked.neighbour.send_flow(label, FlowFrame(kind, 0, 1 << 40, JUNK_TAG, bytes(size)))
        await_more(battle.node(victim), "unknown_flow", before, 32 * 4)
        assert not linked.neighbour.ended.is_set()


def battle_deadline_s() -> float:
    return float(POLICY["handshake_deadline_ms"]) / 1_000
